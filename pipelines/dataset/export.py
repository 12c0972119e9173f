"""`data export`: a dataset in the format that a trainer or the hub reads."""

from __future__ import annotations

import itertools
import json
import time
from collections import deque
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import BaseModel, Field, ValidationError

from pipelines.dataset.exporting.card import CARD, Card, ExportedFile, Facts, read_stages, write_card
from pipelines.dataset.exporting.croissant import CROISSANT, write_croissant
from pipelines.dataset.files import MANIFEST
from pipelines.dataset.formats import lines
from pipelines.dataset.formats.rows import FORMATS, Format, FormatName, Row, UnsuitableError
from pipelines.dataset.parts import find_dataset, is_curated, split_files
from pipelines.errors import DataError
from pipelines.lazy import lazy_import
from pipelines.manifest import Manifest, file_hash
from pipelines.operation import Context, Operation, Positional
from pipelines.records import SPLITS, Example, Name, Split, read_records
from pipelines.workspace import STAGING, locked, replacing, staged

if TYPE_CHECKING:
    from pipelines.dataset.formats import parquet
else:
    parquet = lazy_import("pipelines.dataset.formats.parquet", extra="data")

EXPORTS = "export"
_LAYOUT = 1  # of what is written here; raised when the same examples give other files
_EDITED_CARD = "README.edited.md"
_PROGRESS_EVERY = 1000
# The further rows of an example stand this many examples later: KTO's trainer takes the
# answer of a neighbouring row as one that does not belong to the prompt, within batches of
# any usual size, and wants both labels in each batch.
_LAG = 4


class ExportParams(BaseModel):
    """What to write, and how."""

    dataset: Annotated[Name, Positional()] = Field(description="Dataset to export.")
    format: FormatName = Field("openai", description="Format to write.")
    split: Literal["train", "validation", "test", "all"] = Field("all", description="Which split, or all.")
    into: Path | None = Field(None, description="Folder to write into, instead of the dataset's export folder.")
    license: str = Field(
        "unknown",
        pattern=r"^[a-z0-9][a-z0-9.\-]{0,39}$",
        description="Licence that the card states, as the hub names it.",
    )


class ExportReport(BaseModel):
    """What was written."""

    dataset: str
    format: FormatName
    folder: str
    files: list[ExportedFile]
    rows: dict[str, int]
    skipped: dict[str, int]
    seconds: float


def export_dataset(params: ExportParams, context: Context) -> ExportReport:
    """Write a dataset in the format of a trainer or the hub, with a card and hashes."""
    folder = find_dataset(params.dataset, context)
    into = folder / EXPORTS / params.format if params.into is None else context.resolve(params.into)
    with locked(folder):
        sources = _sources(folder, params)
        earlier = _check_target(into)
        manifest = Manifest(path=into / MANIFEST, inputs=_inputs(params, folder, sources))
        finished = manifest.finished(ExportReport)
        if finished is not None and _changed_files(finished, into) <= {CARD}:
            context.notice(f"the export in {into} is up to date")
            return finished.model_copy(update={"folder": str(into)})
        if not is_curated(folder):
            context.notice(f"{params.dataset} is not curated: all of its examples are exported as the train split")
        with staged(into) as staging:
            report = _export(params, context, sources, staging)
            # The folder's place on this machine does not belong into what is given away.
            Manifest(path=staging / MANIFEST, inputs=manifest.inputs).finish(report)
            _keep_edited_card(into, earlier, context)
            _publish(staging, into, report, earlier)
    return report.model_copy(update={"folder": str(into)})


EXPORT_DATASET = Operation(params=ExportParams, report=ExportReport, run=export_dataset)


def _sources(folder: Path, params: ExportParams) -> Mapping[Split, Path]:
    """Return the files of the splits that were asked for."""
    files = split_files(folder)
    if params.split == "all":
        return files
    path = files.get(params.split)
    if path is None or path.stat().st_size == 0:
        known = ", ".join(split for split, each in files.items() if each.stat().st_size) or "none"
        raise DataError(
            f"the {params.split} split of {params.dataset!r} is empty; splits with examples: {known}",
            path=folder,
            hint=f"Divide the examples with: assistant data curate {params.dataset}",
        )
    return {params.split: path}


def _inputs(params: ExportParams, folder: Path, sources: Mapping[Split, Path]) -> dict[str, object]:
    return {
        "params": params.model_dump(mode="json", exclude={"into"}),
        "layout": _LAYOUT,
        "files": {split: file_hash(path) for split, path in sources.items()},
        "stages": {path.name: file_hash(path) for path in sorted(folder.glob("*.json"))},
    }


def _check_target(into: Path) -> ExportReport | None:
    """Return the report of an earlier export into a folder; refuse one that holds anything else."""
    if into.exists() and not into.is_dir():
        raise DataError(f"{into} is a file", path=into, hint="Name a folder that does not exist yet.")
    try:
        stored = json.loads((into / MANIFEST).read_text(encoding="utf-8"))
        return ExportReport.model_validate(stored["report"])
    except (OSError, ValueError, KeyError, TypeError, ValidationError):
        if into.is_dir() and any(path.name != STAGING for path in into.iterdir()):
            raise DataError(
                f"{into} holds files that no export wrote",
                path=into,
                hint="Name an empty folder, or one that does not exist yet.",
            ) from None
    return None


def _changed_files(report: ExportReport, into: Path) -> set[str]:
    """Return which files of an export are missing, or not as it wrote them."""
    return {file.file for file in report.files if file_hash(into / file.file) != file.sha256}


def _keep_edited_card(into: Path, earlier: ExportReport | None, context: Context) -> None:
    """Put aside a card that a person has worked on, before it is written anew."""
    if earlier is not None and CARD in _changed_files(earlier, into) and (into / CARD).is_file():
        (into / CARD).replace(into / _EDITED_CARD)
        context.notice(f"the card was edited by hand; it is kept as {into / _EDITED_CARD}")


def _export(params: ExportParams, context: Context, sources: Mapping[Split, Path], staging: Path) -> ExportReport:
    started = time.monotonic()
    form = FORMATS[params.format]
    facts = Facts()
    files: list[ExportedFile] = []
    for split, path in sources.items():
        target = staging / form.file_name(split)
        target.parent.mkdir(exist_ok=True)
        count = _write(form, _rows(form, path, split, facts, context), target)
        if count:
            files.append(_described(target, staging, split=split, rows=count))
        else:  # loaders do not accept a file without rows
            target.unlink()
            context.notice(f"nothing of the {split} split can be written as {params.format}")
    if not files:
        reasons = ", ".join(f"{reason} ({count})" for reason, count in facts.skipped.items()) or "no examples"
        raise DataError(
            f"{params.dataset!r} has nothing to export as {params.format}: {reasons}",
            hint="Choose another format; assistant data show lists what is in the dataset.",
        )
    card = Card(
        dataset=params.dataset,
        license=params.license,
        format_name=params.format,
        format=form,
        facts=facts,
        stages=read_stages(next(iter(sources.values())).parent),
        files=tuple(files),
    )
    write_card(card, staging)
    write_croissant(card, staging)
    return ExportReport(
        dataset=params.dataset,
        format=params.format,
        folder="",
        files=[*files, *(_described(staging / name, staging) for name in (CARD, CROISSANT))],
        rows={file.split: file.rows for file in files if file.split is not None},
        skipped=dict(facts.skipped),
        seconds=round(time.monotonic() - started, 2),
    )


def _rows(form: Format, path: Path, split: Split, facts: Facts, context: Context) -> Iterator[Row]:
    """Yield the rows of a split; count what is written, and what has no place in the format."""
    late: deque[tuple[Row, ...]] = deque()
    for number, example in enumerate(_ordered(form, path), start=1):
        if number % _PROGRESS_EVERY == 0:
            context.progress(f"exporting {split}", number)
        try:
            first, *others = form.convert(example)
        except UnsuitableError as error:
            facts.skipped[str(error)] += 1
            continue
        facts.add(example, split)
        yield first
        late.append(tuple(others))
        if len(late) > _LAG:
            yield from late.popleft()
    for others_of_one in late:
        yield from others_of_one


def _ordered(form: Format, path: Path) -> Iterator[Example]:
    """Yield the examples of a file in order, but for one that has to come first."""
    number = None
    if form.comes_first is not None:
        found = ((index, each) for index, each in enumerate(read_records(path, Example)) if form.comes_first(each))
        number, example = next(found, (None, None))
        if example is not None:
            yield example
    yield from (each for index, each in enumerate(read_records(path, Example)) if index != number)


def _write(form: Format, rows: Iterator[Row], path: Path) -> int:
    with replacing(path, "wb") as file:
        return parquet.write_rows(file, rows, form.columns) if form.is_parquet else lines.write_rows(file, rows)


def _described(path: Path, folder: Path, *, split: Split | None = None, rows: int = 0) -> ExportedFile:
    name = path.relative_to(folder).as_posix()
    return ExportedFile(file=name, split=split, rows=rows, bytes=path.stat().st_size, sha256=file_hash(path))


def _publish(staging: Path, into: Path, report: ExportReport, earlier: ExportReport | None) -> None:
    """Move what was written to its place, and drop what an earlier export has left there."""
    # The manifest goes first: if the process is killed between two files, their hashes tell.
    for name in (MANIFEST, *(file.file for file in report.files)):
        (into / name).parent.mkdir(exist_ok=True)
        (staging / name).replace(into / name)
    ours = {form.file_name(split) for form, split in itertools.product(FORMATS.values(), SPLITS)}
    left = {file.file for file in earlier.files} if earlier is not None else set()
    for name in (left & ours) - {file.file for file in report.files}:
        (into / name).unlink(missing_ok=True)
