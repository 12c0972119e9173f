"""What a row of each format holds. A conversation is written to the letter, or not at all.

An example that a format cannot hold is refused with a reason, never bent to fit.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_origin

from pipelines.dataset.formats.shapes import Columns, ListOf, Shape, shape_of
from pipelines.records import Example, Message, Split

Row = dict[str, Any]  # one object of a JSON file
FormatName = Literal["openai", "sharegpt", "alpaca", "chatml", "dpo", "kto", "parquet", "hf"]

_CHATML_MARKER = re.compile(r"<\|(?:im_start|im_end|im_sep|endoftext)\|>")
_CHATML_ANSWER = "<|im_start|>assistant\n"
_SHAREGPT_SPEAKERS = {"system": "system", "user": "human", "assistant": "gpt"}
# Trainers take `prompt` and `rejected` for text to train on; these are a name and one half of a pair.
_RENAMED = {"prompt": "prompt_name", "rejected": "rejected_answer"}
_MAPPINGS = tuple(name for name, field in Example.model_fields.items() if get_origin(field.annotation) is dict)


class UnsuitableError(Exception):
    """A format has no place for an example; the message is the reason, in words."""


@dataclass(frozen=True, kw_only=True)
class Format:
    """One way of writing a dataset."""

    readers: str  # who takes it
    columns: Columns
    convert: Callable[[Example], Sequence[Row]]  # raises UnsuitableError
    # What a row asks, and what it answers; None where its rows hold the whole example.
    halves: Callable[[Row], tuple[object, object]] | None = None
    pattern: str = "{split}.jsonl"
    # Of such an example the row comes first, for readers that take the types from the beginning.
    comes_first: Callable[[Example], bool] | None = None

    @property
    def is_parquet(self) -> bool:
        """Whether its files are Parquet, and not JSON lines."""
        return self.pattern.endswith(".parquet")

    def file_name(self, split: Split) -> str:
        """Return the name of the file of a split, with forward slashes."""
        return self.pattern.format(split=split)


def conversation_of(example: Example) -> tuple[Message, ...]:
    """Return the conversation to train on; the bare question and answer where none was composed."""
    return example.messages or (
        Message(role="user", content=example.question),
        Message(role="assistant", content=example.answer),
    )


def example_of(row: Row) -> Example:
    """Return the example that a row of `parquet` or `hf` holds.

    Raises:
        ValidationError: It holds none.
    """
    fields = {name: row[_RENAMED.get(name, name)] for name in Example.model_fields}
    listed = {name: {each["name"]: each["value"] for each in fields[name]} for name in _MAPPINGS}
    return Example.model_validate({**fields, **listed})


def _dialogue(example: Example) -> tuple[Message, ...]:
    """Return a conversation that ends with a question and its answer."""
    messages = conversation_of(example)
    if [message.role for message in messages[-2:]] != ["user", "assistant"]:
        raise UnsuitableError("does not end with a question and its answer")
    return messages


def _turns(example: Example) -> tuple[str, tuple[Message, ...]]:
    """Return what the system says, and turns of user and assistant, each after the other."""
    messages = _dialogue(example)
    system = messages[0].content if messages[0].role == "system" else ""
    turns = messages[1:] if messages[0].role == "system" else messages
    expected = ["user", "assistant"] * (len(turns) // 2)
    if [message.role for message in turns] != expected:
        raise UnsuitableError("user and assistant do not take turns")
    return system, turns


def _pair(example: Example) -> tuple[tuple[Message, ...], str, str]:
    """Return the prompt, the better and the worse answer."""
    if not example.rejected:
        raise UnsuitableError("not a preference pair")
    *prompt, chosen = _dialogue(example)
    if chosen.content == example.rejected:
        raise UnsuitableError("both answers of the pair are the same")
    return tuple(prompt), chosen.content, example.rejected


def _plain(messages: Sequence[Message]) -> list[Row]:
    return [{"role": message.role, "content": message.content} for message in messages]


def _said(answer: str) -> list[Row]:
    return [{"role": "assistant", "content": answer}]


def _openai(example: Example) -> Sequence[Row]:
    return ({"messages": _plain(_dialogue(example))},)


def _sharegpt(example: Example) -> Sequence[Row]:
    _turns(example)
    said = [
        {"from": _SHAREGPT_SPEAKERS[message.role], "value": message.content} for message in conversation_of(example)
    ]
    return ({"conversations": said},)


def _alpaca(example: Example) -> Sequence[Row]:
    system, turns = _turns(example)
    contents = [message.content for message in turns]
    *history, (instruction, output) = zip(contents[::2], contents[1::2], strict=True)
    row = {"instruction": instruction, "input": "", "output": output, "system": system}
    return ({**row, "history": [list(turn) for turn in history]},)


def _has_history(example: Example) -> bool:
    try:
        return any(row["history"] for row in _alpaca(example))
    except UnsuitableError:
        return False


def _chatml(example: Example) -> Sequence[Row]:
    messages = _dialogue(example)
    # A marker inside a message would end it and open another one, for every trainer.
    if any(_CHATML_MARKER.search(message.content) for message in messages):
        raise UnsuitableError("a message holds a marker of ChatML")
    return ({"text": "".join(f"<|im_start|>{each.role}\n{each.content}<|im_end|>\n" for each in messages)},)


def _dpo(example: Example) -> Sequence[Row]:
    prompt, chosen, rejected = _pair(example)
    return ({"prompt": _plain(prompt), "chosen": _said(chosen), "rejected": _said(rejected)},)


def _kto(example: Example) -> Sequence[Row]:
    prompt, chosen, rejected = _pair(example)
    labelled = ((chosen, True), (rejected, False))
    return tuple({"prompt": _plain(prompt), "completion": _said(said), "label": label} for said, label in labelled)


def _record(example: Example) -> Sequence[Row]:
    row = example.model_dump(mode="json")
    row["messages"] = _plain(conversation_of(example))
    for name in _MAPPINGS:
        row[name] = [{"name": key, "value": value} for key, value in row[name].items()]
    return ({_RENAMED.get(name, name): value for name, value in row.items()},)


def _record_columns() -> Iterator[tuple[str, Shape]]:
    for name, field in Example.model_fields.items():
        yield _RENAMED.get(name, name), shape_of(field.annotation)


def _without(row: Row, name: str) -> Row:
    return {key: value for key, value in row.items() if key != name}


def _chatml_halves(row: Row) -> tuple[object, object]:
    asked, _opening, answered = row["text"].rpartition(_CHATML_ANSWER)
    return asked, answered


_TEXT: Shape = "string"
_MESSAGES: Shape = ListOf({"role": _TEXT, "content": _TEXT})
_RECORD_COLUMNS = dict(_record_columns())
FORMATS: Mapping[FormatName, Format] = {
    "openai": Format(
        readers="OpenAI's fine-tuning, TRL (SFTTrainer), Axolotl",
        columns={"messages": _MESSAGES},
        convert=_openai,
        halves=lambda row: (row["messages"][:-1], row["messages"][-1]["content"]),
    ),
    "sharegpt": Format(
        readers="LLaMA-Factory, Axolotl, FastChat",
        columns={"conversations": ListOf({"from": _TEXT, "value": _TEXT})},
        convert=_sharegpt,
        halves=lambda row: (row["conversations"][:-1], row["conversations"][-1]["value"]),
    ),
    "alpaca": Format(
        readers="LLaMA-Factory, Axolotl",
        columns={
            **dict.fromkeys(("instruction", "input", "output", "system"), _TEXT),
            "history": ListOf(ListOf(_TEXT)),
        },
        convert=_alpaca,
        halves=lambda row: (_without(row, "output"), row["output"]),
        comes_first=_has_history,
    ),
    "chatml": Format(
        readers="whoever trains on plain text, with a tokenizer that knows the markers of ChatML",
        columns={"text": _TEXT},
        convert=_chatml,
        halves=_chatml_halves,
    ),
    "dpo": Format(
        readers="TRL (DPOTrainer)",
        columns=dict.fromkeys(("prompt", "chosen", "rejected"), _MESSAGES),
        convert=_dpo,
        halves=lambda row: (row["prompt"], [row["chosen"], row["rejected"]]),
    ),
    "kto": Format(
        readers="TRL (KTOTrainer)",
        columns={"prompt": _MESSAGES, "completion": _MESSAGES, "label": "bool"},
        convert=_kto,
        halves=lambda row: ([row["prompt"], row["label"]], row["completion"]),
    ),
    "parquet": Format(
        readers="pyarrow, pandas, polars, DuckDB",
        columns=_RECORD_COLUMNS,
        convert=_record,
        pattern="{split}.parquet",
    ),
    "hf": Format(
        readers="the datasets library and the Hugging Face hub",
        columns=_RECORD_COLUMNS,
        convert=_record,
        pattern="data/{split}-00000-of-00001.parquet",
    ),
}
