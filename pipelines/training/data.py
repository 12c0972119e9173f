"""What a run learns: the splits of a dataset, or a file of conversations, as records."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import Field, model_validator

from pipelines.errors import DataError
from pipelines.operation import Context
from pipelines.records import Conversation, Message, content_id, read_records
from pipelines.training.params import TrainParams

_VALIDATION_SHARE = 0.1
_FEWEST = 2
_SHOWN_CHARS = 60
_PREFERENCE_FIELDS = ("prompt", "chosen", "rejected")
_FORM = '{"messages": [{"role": "user", "content": ...}, {"role": "assistant", "content": ...}]}'


class TrainingRecord(Conversation):
    """A conversation that ends in the answer to be learnt, perhaps with a worse answer beside it.

    Rows of `prompt`, `chosen` and `rejected`, as preference datasets are often written, are
    understood as well.
    """

    rejected: str = Field("", description="The worse answer of a pair; empty if there is none.")

    @model_validator(mode="before")
    @classmethod
    def _from_preference(cls, row: Any) -> Any:  # noqa: ANN401 - whatever the file holds
        if not isinstance(row, dict) or "messages" in row or not all(name in row for name in _PREFERENCE_FIELDS):
            return row
        prompt, better, worse = (_turns(row[name], name) for name in _PREFERENCE_FIELDS)
        return {"messages": [*prompt, *better[-1:]], "rejected": worse[-1]["content"] if worse else ""}

    @property
    def asked(self) -> str:
        """What the person said last."""
        return next((message.content for message in reversed(self.messages) if message.role == "user"), "")

    @property
    def with_worse(self) -> tuple[Message, ...]:
        """The conversation with the worse answer."""
        return (*self.messages[:-1], Message(role="assistant", content=self.rejected))


@dataclass(frozen=True, kw_only=True)
class TrainingData:
    """The splits of a run. The test split is only looked at to see that nothing of it leaks in."""

    train: list[TrainingRecord]
    validation: list[TrainingRecord]
    test: list[TrainingRecord]


def data_files(params: TrainParams, context: Context) -> dict[str, Path]:
    """Return the files of a run's splits by their names; one file that is yet to be split is all `train`.

    Raises:
        DataError: One that is needed is not there.
    """
    if params.is_file:
        path = context.resolve(Path(params.dataset))
        if not path.is_file():
            raise DataError(f"there is no file {path}", path=path, hint="Name a JSONL file of messages, or a dataset.")
        return {"train": path}
    folder = context.workspace.dataset(params.dataset)
    files = {name: folder / f"{name}.jsonl" for name in ("train", "validation")}
    for path in files.values():
        if not path.is_file():
            raise DataError(
                f"there is no {path.name} in {folder}",
                path=path,
                hint=f"Make it with: assistant data curate {params.dataset}",
            )
    test = folder / "test.jsonl"
    return {**files, "test": test} if test.is_file() else files


def read_data(params: TrainParams, context: Context, *, with_test: bool = True) -> TrainingData:
    """Read the splits; a file without a validation split is given one, by the hash of its records.

    Args:
        params: What to train on.
        context: Where datasets are.
        with_test: Whether to read the test split too; not where parameters are chosen.

    Raises:
        DataError: A line is no conversation, or there are too few.
    """
    files = data_files(params, context)
    splits = {name: _read(path) for name, path in files.items() if with_test or name != "test"}
    if "validation" not in splits:
        splits |= _split(splits["train"], files["train"])
    for name in ("train", "validation"):
        if not splits[name]:
            raise DataError(f"{files.get(name, files['train']).name} holds no example", path=files["train"])
    return TrainingData(train=splits["train"], validation=splits["validation"], test=splits.get("test", []))


def _read(path: Path) -> list[TrainingRecord]:
    try:
        return list(read_records(path, TrainingRecord))
    except DataError as error:
        if error.hint:
            error.hint += f" Each has the form {_FORM}; other forms are taken in with: assistant data import NAME FILE"
        raise


def _split(records: list[TrainingRecord], path: Path) -> dict[str, list[TrainingRecord]]:
    if len(records) < _FEWEST:
        raise DataError(
            f"{path.name} holds {len(records)} record{'s' * (len(records) != 1)}, and at least {_FEWEST} are needed",
            path=path,
            hint="One of them has to be set aside for validation. Add records.",
        )
    ordered = sorted(records, key=lambda record: content_id("validation", record.asked, record.messages[-1].content))
    count = max(1, round(len(ordered) * _VALIDATION_SHARE))
    return {"train": ordered[count:], "validation": ordered[:count]}


def _turns(value: Any, name: str) -> list[dict[str, str]]:  # noqa: ANN401 - whatever the file holds
    if isinstance(value, str):
        return [{"role": "user" if name == "prompt" else "assistant", "content": value}]
    if not isinstance(value, list) or not all(isinstance(each, dict) and "content" in each for each in value):
        raise ValueError(f"expected a text or a list of messages in {name!r}, got {str(value)[:_SHOWN_CHARS]!r}")
    return value
