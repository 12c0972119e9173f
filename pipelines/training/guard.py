"""Looks at training data before any time is spent on it.

What would make training worthless is an error; what a person should know is a warning.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Literal

from pydantic import BaseModel
from transformers import PreTrainedTokenizerFast

from pipelines.errors import DataError
from pipelines.models.render import Rendered, render_example
from pipelines.privacy.detect import find_private
from pipelines.records import Message
from pipelines.text import words
from pipelines.training.data import TrainingData, TrainingRecord

# Fewer examples than these teach a form at best (research on small sets agrees on the order).
_FEW = 50
_PAIR = (
    'A pair is a record with a worse answer beside the one to be learnt: {"messages": [..., {"role": "assistant", '
    '"content": BETTER}], "rejected": WORSE}, or {"prompt": ..., "chosen": BETTER, "rejected": WORSE}.'
)


class GuardFinding(BaseModel):
    """One thing about the data."""

    check: Literal["leak", "empty_answer", "too_long", "private", "duplicate", "overlap", "few", "no_pair"]
    severity: Literal["error", "warning"]
    count: int
    detail: str


class MaskedPiece(BaseModel):
    """A stretch of a record as the model sees it."""

    text: str
    is_supervised: bool


def render_record(
    tokenizer: PreTrainedTokenizerFast, messages: Sequence[Message], *, split: str, number: int
) -> Rendered:
    """Return a record as tokens.

    Raises:
        DataError: The model has no chat template, or one that renders otherwise in training than in use.
    """
    if not tokenizer.chat_template:
        raise DataError(
            "the base model's tokenizer has no chat template",
            hint="Choose an instruction-tuned model, or add chat_template.jinja to its folder.",
        )
    try:
        return render_example(tokenizer, messages)
    except DataError as error:
        error.args = (f"{split} record {number}: {error}",)
        raise


def check_data(data: TrainingData, rendered: Sequence[Rendered], *, max_length: int, pairs: bool) -> list[GuardFinding]:
    """Return what there is to say about the data.

    Args:
        data: The splits.
        rendered: The training split as tokens, with the answer to be learnt.
        max_length: Longest example in tokens.
        pairs: Whether the objective needs a worse answer beside each.
    """
    tested = {_normal(record.asked) for record in data.test}
    tested.discard("")
    leaks = [record for record in (*data.train, *data.validation) if _normal(record.asked) in tested]
    known = Counter(_whole(record) for record in data.train)
    repeated = sum(count - 1 for count in known.values())
    overlap = sum(_whole(record) in known for record in data.validation)
    without = sum(not record.rejected or record.rejected == record.messages[-1].content for record in data.train)
    private = _private(data.train)
    found = [
        _finding("leak", "error", len(leaks), "questions of the test split are in the training data"),
        _finding(
            "empty_answer", "error", sum(len(each.answer) < 2 for each in rendered), "records have nothing to learn"
        ),
        _finding(
            "no_pair",
            "error" if without == len(data.train) else "warning",
            without if pairs else 0,
            "records have no worse answer and are left out",
        ),
        _finding("too_long", "warning", _too_long(rendered, max_length), f"records have more than {max_length} tokens"),
        _finding("private", "warning", sum(private.values()), f"pieces of personal data are learnt: {_told(private)}"),
        _finding("duplicate", "warning", repeated, "records stand twice in the training split"),
        _finding("overlap", "warning", overlap, "records of the validation split are trained on as well"),
        _finding(
            "few", "warning", len(data.train) if len(data.train) < _FEW else 0, "records teach a form, and hardly more"
        ),
    ]
    return [each for each in found if each.count]


def refuse_errors(findings: Sequence[GuardFinding], *, dataset: str) -> None:
    """Stop before time is spent on data that is not fit to learn.

    Raises:
        DataError: There is an error among the findings.
    """
    for each in findings:
        if each.check == "no_pair" and each.severity == "error":
            raise DataError(f"{each.count} records have no worse answer, so there is no pair (no_pair)", hint=_PAIR)
        if each.severity == "error":
            raise DataError(
                f"{each.count} {each.detail} ({each.check})",
                hint=f"Look at them with: assistant train plan {dataset} --show 3; then mend or curate the data again.",
            )


def masked_pieces(tokenizer: PreTrainedTokenizerFast, rendered: Rendered) -> list[MaskedPiece]:
    """Return a record as text, the supervised part apart."""
    return [
        MaskedPiece(text=tokenizer.decode(list(rendered.prompt)), is_supervised=False),
        MaskedPiece(text=tokenizer.decode(list(rendered.answer)), is_supervised=True),
    ]


def _finding(
    check: Literal["leak", "empty_answer", "too_long", "private", "duplicate", "overlap", "few", "no_pair"],
    severity: Literal["error", "warning"],
    count: int,
    detail: str,
) -> GuardFinding:
    return GuardFinding(check=check, severity=severity, count=count, detail=detail)


def _too_long(rendered: Sequence[Rendered], max_length: int) -> int:
    return sum(len(each.prompt) + len(each.answer) > max_length for each in rendered)


def _private(records: Sequence[TrainingRecord]) -> Counter[str]:
    """Count personal data in what is learnt; what is only shown is in the prompt, and not learnt by heart."""
    return Counter(found.kind.value for record in records for found in find_private(record.messages[-1].content))


def _told(counts: Counter[str]) -> str:
    return ", ".join(f"{name} {count}" for name, count in counts.most_common())


def _normal(text: str) -> str:
    return " ".join(words(text))


def _whole(record: TrainingRecord) -> str:
    return "\x1f".join(f"{message.role}\x1e{_normal(message.content)}" for message in record.messages)
