"""`data list` and `data show`: what datasets there are, and what is in them."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, Field

from pipelines.dataset.files import EXAMPLES, REJECTED, split_file
from pipelines.errors import DataError
from pipelines.operation import Context, Operation, Positional
from pipelines.records import SPLITS, Example, Name, Rejection, read_records


class ListDatasetsParams(BaseModel):
    """Nothing to choose."""


class DatasetLine(BaseModel):
    """One dataset of the list."""

    dataset: str
    examples: int
    train: int
    validation: int
    test: int


class ListDatasetsReport(BaseModel):
    """The datasets of the workspace."""

    datasets: list[DatasetLine]


def list_datasets(params: ListDatasetsParams, context: Context) -> ListDatasetsReport:
    """List the datasets of the workspace."""
    del params
    lines = []
    for name in context.workspace.names("datasets"):
        folder = context.workspace.dataset(name)
        counts = [_count(folder / file) for file in (EXAMPLES, *(split_file(split) for split in SPLITS))]
        lines.append(
            DatasetLine(dataset=name, examples=counts[0], train=counts[1], validation=counts[2], test=counts[3])
        )
    return ListDatasetsReport(datasets=lines)


LIST_DATASETS = Operation(params=ListDatasetsParams, report=ListDatasetsReport, run=list_datasets, is_reading=True)


class ShowDatasetParams(BaseModel):
    """Which records to show."""

    dataset: Annotated[Name, Positional()] = Field(description="Name of the dataset.")
    part: Literal["examples", "train", "validation", "test", "rejected"] = Field(
        "examples", description="Which of its files."
    )
    count: int = Field(5, ge=1, le=1000, description="How many records.")


class ShownRecord(BaseModel):
    """One record, in short."""

    question: str
    answer: str
    source: str


class ShowDatasetReport(BaseModel):
    """The first records of a part of a dataset."""

    dataset: str
    part: str
    records: list[ShownRecord]


def show_dataset(params: ShowDatasetParams, context: Context) -> ShowDatasetReport:
    """Show some records of a dataset."""
    folder = context.workspace.dataset(params.dataset)
    if not folder.is_dir():
        known = ", ".join(context.workspace.names("datasets")) or "none"
        raise DataError(f"there is no dataset {params.dataset!r}; known: {known}", path=folder)
    records = itertools.islice(_shown(folder, params.part), params.count)
    return ShowDatasetReport(dataset=params.dataset, part=params.part, records=list(records))


SHOW_DATASET = Operation(params=ShowDatasetParams, report=ShowDatasetReport, run=show_dataset, is_reading=True)


def _shown(folder: Path, part: str) -> Iterator[ShownRecord]:
    if part == "rejected":
        for rejection in read_records(folder / REJECTED, Rejection):
            reason = f"{rejection.check}: {rejection.reason}"
            yield ShownRecord(question=rejection.text, answer=reason, source=rejection.source)
        return
    for example in read_records(folder / (EXAMPLES if part == "examples" else f"{part}.jsonl"), Example):
        answer = example.messages[-1].content if example.messages else example.answer
        source = example.quotes[0].document if example.quotes else ""
        yield ShownRecord(question=example.question, answer=answer, source=source)


def _count(path: Path) -> int:
    if not path.is_file():
        return 0
    with path.open("rb") as file:
        return sum(1 for _ in file)
