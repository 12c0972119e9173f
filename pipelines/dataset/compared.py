"""What is compared of a dataset or an export: digests of each example, and how it was made."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, cast

from pydantic import JsonValue, ValidationError
from pydantic_core import to_json

from pipelines.dataset.export import EXPORTS, ExportReport
from pipelines.dataset.files import EXAMPLES, MANIFEST
from pipelines.dataset.formats import lines
from pipelines.dataset.formats.rows import FORMATS, Format, FormatName, Row, conversation_of, example_of
from pipelines.dataset.parts import find_dataset, is_curated, split_files
from pipelines.errors import DataError, SettingsError
from pipelines.lazy import lazy_import
from pipelines.operation import Context
from pipelines.records import SPLITS, Example, Split, read_records
from pipelines.text import fold_space

if TYPE_CHECKING:
    from pipelines.dataset.formats import parquet
else:
    parquet = lazy_import("pipelines.dataset.formats.parquet", extra="data")

_KEY_BYTES = 16
_DIGEST_BYTES = 8
_LONGEST = 160
_PARTS = ("", *SPLITS)  # the empty one is for examples that are not divided


class Packed(NamedTuple):
    """What is remembered of an entry."""

    answered: bytes
    shown: bytes
    split: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Entry:
    """One example, as far as it is compared."""

    key: bytes  # digest of kind, question and sources
    answered: bytes  # digest of what is answered
    shown: bytes  # digest of what is shown with the question
    split: str
    kind: str
    question: str
    answer: str

    @property
    def packed(self) -> bytes:
        """What is remembered of it, in few bytes."""
        return self.answered + self.shown + bytes([_PARTS.index(self.split)])

    @staticmethod
    def unpack(packed: bytes) -> Packed:
        """Return what was remembered."""
        return Packed(packed[:_DIGEST_BYTES], packed[_DIGEST_BYTES:-1], _PARTS[packed[-1]])

    @staticmethod
    def next_key(key: bytes) -> bytes:
        """Return the key of the next entry that asks the same."""
        return _digest(_KEY_BYTES, key.hex())


@dataclass
class Side:
    """A dataset or an export, to be read as often as needed."""

    name: str
    folder: Path
    files: Mapping[Split, Path]
    format: Format | None  # None for a dataset's own records
    compared: str  # what of it is compared, in words
    is_divided: bool = True
    made_with: Counter[tuple[str, str]] = field(default_factory=Counter)  # teachers and prompts of the last reading

    @property
    def rows_of(self) -> Format | None:
        """The format whose rows are compared; None where whole examples are."""
        return self.format if self.format is not None and self.format.halves is not None else None

    def entries(self) -> Iterator[Entry]:
        """Yield the entries of all files.

        Raises:
            DataError: A file is missing, or a line is damaged.
        """
        self.made_with.clear()
        for split, path in self.files.items():
            part = split if self.is_divided else ""
            if self.rows_of is not None:
                for number, row in enumerate(lines.read_rows(path), start=1):
                    yield _entry_of_row(self.rows_of, row, part, where=(path, number))
            else:
                for example in self._examples(path):
                    self.made_with["teacher", example.teacher] += 1
                    self.made_with["prompt", example.prompt] += 1
                    yield _entry_of_example(example, part)

    def _examples(self, path: Path) -> Iterator[Example]:
        if self.format is None:
            yield from read_records(path, Example)
            return
        for number, row in enumerate(parquet.read_rows(path), start=1):
            try:
                yield example_of(row)
            except (KeyError, TypeError, ValidationError) as error:
                raise _damaged(path, number) from error


def open_sides(before: str, after: str, context: Context) -> tuple[Side, Side]:
    """Return both sides of a comparison.

    Raises:
        DataError: One of them does not exist.
        SettingsError: They are not of the same sort.
    """
    sides = _open(before, context), _open(after, context)
    if sides[0].rows_of is not sides[1].rows_of:
        raise SettingsError(
            f"{before!r} is {sides[0].compared}, {after!r} is {sides[1].compared}; only the same sort can be compared",
            hint="Compare two datasets, or two exports in the same format.",
        )
    if all(side.format is None for side in sides) and not all(is_curated(side.folder) for side in sides):
        for side in sides:
            _take_undivided(side)
    return sides


def record_differences(before: Side, after: Side) -> Iterator[tuple[str, str, str, str]]:
    """Yield what the sides were made differently with: stage, what, and its value on each side."""
    one, other = _recorded(before.folder), _recorded(after.folder)
    for stage, what in sorted(one.keys() | other.keys()):
        values = one.get((stage, what), "absent"), other.get((stage, what), "absent")
        if values[0] != values[1]:
            yield stage, what, *values
    for what, name in sorted(before.made_with.keys() | after.made_with.keys()):
        counts = before.made_with[what, name], after.made_with[what, name]
        if counts[0] != counts[1]:
            yield "examples", f"{what} {_short(name)}", str(counts[0]), str(counts[1])


def _open(place: str, context: Context) -> Side:
    name, _slash, format_name = place.partition("/")
    folder = find_dataset(name, context)
    if not format_name:
        return Side(name=name, folder=folder, files=split_files(folder), format=None, compared="a dataset")
    exports = folder / EXPORTS
    path = exports / format_name / MANIFEST
    form = FORMATS.get(cast("FormatName", format_name))
    if form is None or not path.is_file():
        known = sorted(each.parent.name for each in exports.glob(f"*/{MANIFEST}"))
        raise DataError(
            f"there is no export {place!r}; known: {', '.join(known) or 'none'}",
            path=path,
            hint=f"Make it with: assistant data export {name} --format {format_name}",
        )
    report = _export_report(path)
    files = {file.split: path.parent / file.file for file in report.files if file.split is not None}
    return Side(name=place, folder=path.parent, files=files, format=form, compared=f"an export as {format_name}")


def _export_report(path: Path) -> ExportReport:
    try:
        return ExportReport.model_validate(json.loads(path.read_text(encoding="utf-8"))["report"])
    except (ValueError, KeyError, TypeError) as error:
        raise DataError(f"{path} is not the record of an export: {error}", path=path, hint="Export again.") from error


def _take_undivided(side: Side) -> None:
    """Compare all examples of a dataset, since the other side has no splits."""
    if (side.folder / EXAMPLES).is_file():
        side.files = {"train": side.folder / EXAMPLES}
    side.is_divided = False
    side.compared = "datasets, before they are divided into splits"


def _entry_of_example(example: Example, split: str) -> Entry:
    *shown, answer = conversation_of(example)
    spans = [span.model_dump() for span in example.spans]
    answered = (answer.content, example.answer, example.rejected, example.label, spans)
    return Entry(
        key=_digest(_KEY_BYTES, example.kind.value, example.question, list(example.sources)),
        answered=_digest(_DIGEST_BYTES, *answered),
        shown=_digest(_DIGEST_BYTES, [[message.role, message.content] for message in shown]),
        split=split,
        kind=example.kind.value,
        question=_short(example.question),
        answer=_short(answer.content),
    )


def _entry_of_row(form: Format, row: Row, split: str, *, where: tuple[Path, int]) -> Entry:
    assert form.halves is not None
    try:
        asked, answered = form.halves(row)
    except (KeyError, IndexError, TypeError, AttributeError) as error:
        raise _damaged(*where) from error
    return Entry(
        key=_digest(_KEY_BYTES, asked),
        answered=_digest(_DIGEST_BYTES, answered),
        shown=b"\0" * _DIGEST_BYTES,
        split=split,
        kind="",
        question=_short(_last_text(asked)),
        answer=_short(_last_text(answered)),
    )


def _last_text(value: object) -> str:
    """Return the last text in nested lists and objects, which is the newest that was said."""
    if isinstance(value, str):
        return value
    inner = list(value.values()) if isinstance(value, dict) else value if isinstance(value, list | tuple) else []
    return next((text for each in reversed(inner) if (text := _last_text(each))), "")


def _recorded(folder: Path) -> dict[tuple[str, str], str]:
    """Return what the stages in a folder recorded of their inputs, by stage and name."""
    found: dict[tuple[str, str], str] = {}
    for path in sorted(folder.glob("*.json")):
        try:
            stored = json.loads(path.read_text(encoding="utf-8"))
        except ValueError as error:
            raise DataError(f"{path.name} is damaged: {error}", path=path) from error
        if isinstance(stored, dict) and isinstance(stored.get("inputs"), dict):
            found |= {(path.stem, name): value for name, value in _flat(stored["inputs"], "")}
    return found


def _flat(values: Mapping[str, JsonValue], prefix: str) -> Iterator[tuple[str, str]]:
    for name, value in values.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", _short(json.dumps(value, ensure_ascii=False))


def _short(text: str) -> str:
    folded = fold_space(text)
    return folded if len(folded) <= _LONGEST else folded[: _LONGEST - 1] + "…"


def _digest(size: int, *parts: object) -> bytes:
    return hashlib.blake2b(to_json(parts), digest_size=size).digest()


def _damaged(path: Path, number: int) -> DataError:
    return DataError(
        f"{path.name} row {number} is not of its format", path=path, hint="Export again: assistant data export."
    )
