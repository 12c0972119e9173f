"""Labelled texts: of a curated dataset, or of any JSONL file, checked line by line.

A line is an example of the kind `classification` or `spans`, {"text", "label"}, or
{"text", "spans": [{"start", "end", "label"}]}. Splits that are missing are made by the hash of
the text, so that the same file always gives the same ones and no text is in two.
"""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, Field, ValidationError

from pipelines.errors import DataError
from pipelines.records import SPLITS, Span, Split
from pipelines.text import fold_space

HeadKind = Literal["classification", "tokens"]
Trained = Literal["lora", "full"]  # an adapter, or every weight but the embeddings
FILE_SUFFIX = ".jsonl"
_EXAMPLE_KINDS: dict[HeadKind, str] = {"classification": "classification", "tokens": "spans"}
_SHARES: dict[Split, float] = {"test": 0.2, "validation": 0.12}
_FEWEST_PER_LABEL = 2
_SHOWN = 5


class _SpanLine(BaseModel):
    start: int = Field(ge=0)
    end: int = Field(ge=1)
    label: str = Field(min_length=1)


class _Line(BaseModel):
    """What a line may say; a dataset's example has its text under `question`."""

    text: str = ""
    question: str = ""
    kind: str = ""
    label: str | int | None = None
    spans: tuple[_SpanLine, ...] | None = None


@dataclass(frozen=True, kw_only=True)
class Labelled:
    """A text with its label, or with its labelled pieces, in order and apart from each other."""

    text: str
    label: str = ""
    spans: tuple[Span, ...] = ()
    place: str = ""  # "train.jsonl line 3"

    @property
    def labels(self) -> set[str]:
        """Every label in it."""
        return {span.label for span in self.spans} or ({self.label} if self.label else set())


@dataclass(frozen=True, kw_only=True)
class LabelledData:
    """The splits of a labelled set, and what was done to get them."""

    train: list[Labelled]
    validation: list[Labelled]
    test: list[Labelled]
    labels: tuple[str, ...]  # of the training split, sorted
    other_kinds: int  # examples of a dataset that teach something else
    made_splits: tuple[Split, ...]  # that were not there, and are made of the training split


def data_files(source: Path) -> list[Path]:
    """Return the files that a folder of splits, or a single file, consists of."""
    files = [source / f"{split}.jsonl" for split in SPLITS] if source.is_dir() else [source]
    return [path for path in files if path.is_file()]


def load_labelled(source: Path, *, kind: HeadKind) -> LabelledData:
    """Read a folder of splits, or a file that is then split.

    Raises:
        DataError: A line is not usable, or what there is cannot be learnt from.
    """
    files = data_files(source)
    if not files or (source.is_dir() and files[0].name != "train.jsonl"):
        missing = source if source.suffix == FILE_SUFFIX else source / "train.jsonl"
        raise DataError(
            f"there is no {missing}", path=missing, hint="Name a dataset that was curated, or a .jsonl file."
        )
    splits: dict[Split, list[Labelled]] = {}
    other_kinds = 0
    for path in files:
        records, others = read_labelled(path, kind=kind)
        splits[_split_of(path) if source.is_dir() else "train"] = records
        other_kinds += others
    made = tuple(split for split in SPLITS if split not in splits)
    splits = {**splits, **divide(splits["train"], wanted=made)}
    labels = _check(splits, kind=kind, source=source)
    return LabelledData(
        train=splits["train"],
        validation=splits["validation"],
        test=splits["test"],
        labels=labels,
        other_kinds=other_kinds,
        made_splits=made,
    )


def read_labelled(path: Path, *, kind: HeadKind) -> tuple[list[Labelled], int]:
    """Return the labelled texts of a JSONL file, and how many examples teach something else.

    Raises:
        DataError: A line is not usable, or the file holds no such text.
    """
    records: list[Labelled] = []
    others = 0
    try:
        with path.open("rb") as file:
            for number, line in enumerate(file, start=1):
                if not line.strip():
                    continue
                place = f"{path.name} line {number}"
                try:
                    read = _Line.model_validate_json(line)
                    if read.kind and read.kind != _EXAMPLE_KINDS[kind]:
                        others += 1
                        continue
                    records.append(_labelled(read, kind=kind, place=place))
                except ValidationError as error:
                    problem = error.errors()[0]
                    where = ".".join(map(str, problem["loc"])) or "the line"
                    raise _bad_line(f"{place}: {where}: {problem['msg']}", path) from error
                except ValueError as error:
                    raise _bad_line(f"{place} {error}", path) from error
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror}", path=path) from error
    if not records:
        found = f", but {others} examples of other kinds" if others else ""
        raise DataError(
            f"{path.name} holds nothing of the kind {_EXAMPLE_KINDS[kind]}{found}",
            path=path,
            hint="Label texts first, or choose the other --kind.",
        )
    return records, others


def _bad_line(problem: str, path: Path) -> DataError:
    return DataError(problem, path=path, hint="Repair or remove that line.")


def _labelled(read: _Line, *, kind: HeadKind, place: str) -> Labelled:
    text = read.text or read.question
    if not text.strip():
        raise ValueError("has no text")
    if kind == "classification":
        label = "" if read.label is None else str(read.label).strip()
        if not label:
            raise ValueError("has no label")
        return Labelled(text=text, label=label, place=place)
    if read.spans is None:
        raise ValueError("has no spans; write [] where there is nothing to find")
    return Labelled(text=text, spans=_checked_spans(text, read.spans), place=place)


def _checked_spans(text: str, spans: Iterable[_SpanLine]) -> tuple[Span, ...]:
    ordered = sorted(spans, key=lambda span: (span.start, span.end))
    end = 0
    for span in ordered:
        where = f"the span {span.start} to {span.end} ({span.label})"
        if span.end > len(text):
            raise ValueError(f"has {where} outside of its {len(text)} characters")
        if not text[span.start : span.end].strip():
            raise ValueError(f"has {where}, which is empty")
        if span.start < end:
            raise ValueError(f"has {where}, which overlaps the one before")
        end = span.end
    return tuple(Span(start=span.start, end=span.end, label=span.label) for span in ordered)


def _split_of(path: Path) -> Split:
    return next(split for split in SPLITS if path.stem == split)


# ---- splits


def divide(records: Sequence[Labelled], *, wanted: Sequence[Split]) -> dict[Split, list[Labelled]]:
    """Return `train` and the wanted splits: of each label the same share, by the hash of the text."""
    counts = Counter(label for record in records for label in record.labels)
    strata: dict[str, dict[str, list[Labelled]]] = defaultdict(lambda: defaultdict(list))
    first_stratum: dict[str, str] = {}
    for record in records:
        key = fold_space(record.text).casefold()
        rarest = min(record.labels, key=lambda label: (counts[label], label), default="")
        strata[first_stratum.setdefault(key, rarest)][key].append(record)
    splits: dict[Split, list[Labelled]] = {"train": [], **{split: [] for split in wanted}}
    for groups in strata.values():
        left = sorted(groups.values(), key=lambda group: _hash(group[0].text))
        sizes = _sizes(len(left), wanted)
        for split, size in sizes.items():
            for group in left[:size]:
                splits[split] += group
            left = left[size:]
        for group in left:
            splits["train"] += group
    return splits


def _sizes(count: int, wanted: Sequence[Split]) -> dict[Split, int]:
    """Return how many texts of a label go where; validation comes first where there are few."""
    sizes: dict[Split, int] = {}
    spare = count - 1
    for split in ("validation", "test"):
        if split in wanted:
            sizes[split] = min(max(spare, 0), max(1, round(count * _SHARES[split])))
            spare -= sizes[split]
    return sizes


def _hash(text: str) -> str:
    return hashlib.sha256(fold_space(text).casefold().encode()).hexdigest()


def _check(splits: Mapping[Split, Sequence[Labelled]], *, kind: HeadKind, source: Path) -> tuple[str, ...]:
    """Return the labels, if they can be learnt and judged.

    Raises:
        DataError: There are too few, or one is not in the training split.
    """
    for split, records in splits.items():
        if not records:
            raise DataError(f"no text is left for the {split} split", path=source, hint="Label more texts.")
    everywhere = Counter(label for records in splits.values() for record in records for label in record.labels)
    labels = tuple(sorted({label for record in splits["train"] for label in record.labels}))
    unknown = next((record for split in SPLITS for record in splits[split] if not record.labels.issubset(labels)), None)
    if unknown is not None:
        label = min(unknown.labels.difference(labels))
        raise DataError(
            f"{unknown.place} has the label {label!r}, which no training text has",
            path=source,
            hint=f"Known: {', '.join(labels[:20])}. Correct it, or label training texts with it.",
        )
    if len(labels) < (2 if kind == "classification" else 1):
        raise DataError(
            f"there {'is one label' if labels else 'are no labels'} in the training split, so nothing can be learnt",
            path=source,
            hint="Label texts of at least two classes." if kind == "classification" else "Label some pieces of texts.",
        )
    rare = sorted(label for label, count in everywhere.items() if count < _FEWEST_PER_LABEL)
    if rare:
        raise DataError(
            f"{len(rare)} labels are on fewer than {_FEWEST_PER_LABEL} texts: {', '.join(rare[:_SHOWN])}",
            path=source,
            hint="Label more texts with them, or merge them into other labels.",
        )
    return labels
