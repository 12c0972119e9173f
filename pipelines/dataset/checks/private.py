"""The check for personal data and secrets in what is about to become training data."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

from pipelines.privacy.detect import PrivateKind, find_private
from pipelines.privacy.mask import Masker, Replacement, substitute
from pipelines.records import Example, Rejection, Span, rejected

Policy = Literal["keep", "mask", "reject"]
_CHECK = "private"


class PrivateCheck:
    """Keeps, masks or rejects examples that hold personal data; is itself a `Check`.

    - keep: nothing is changed; the score says how much there is.
    - mask: the question, the answer, the messages and the worse answer get placeholders, which
      are the same for the same value throughout the dataset. Labelled spans move with the text.
    - reject: one find drops the example.

    A secret (a key, a password) drops the example under both mask and reject: a place that
    held one is no place to learn from.

    A quote is the document's own text, to the letter, and what is trained on repeats it. Masked,
    it would prove nothing any more; unmasked, the record would hold what was to be masked. So
    under mask an example whose quotes hold personal data is dropped, and the reason says so. A
    dataset that is to keep such examples is made of documents that were masked beforehand.

    `scores["private"]` counts different values, not places: a question is repeated in its messages.
    """

    def __init__(self, policy: Policy, *, masker: Masker | None = None) -> None:
        if policy == "mask" and masker is None:
            raise ValueError("the policy 'mask' needs a masker")
        self._policy = policy
        self._masker = masker

    def __call__(self, example: Example) -> Example | Rejection:
        """Return the example as the policy wants it, or why it is dropped."""
        said = _findings((example.question, example.answer, example.rejected, *(m.content for m in example.messages)))
        quoted = _findings(quote.quote for quote in example.quotes)
        found = said | quoted
        if not found:
            return example
        scored = example.model_copy(update={"scores": {**example.scores, _CHECK: float(len(found))}})
        if self._policy == "keep":
            return scored
        kinds = {kind for kind, _ in found}
        if PrivateKind.KEY in kinds:
            return rejected(scored, check=_CHECK, reason="it holds a key or a password")
        if self._policy == "reject" or self._masker is None:
            return rejected(scored, check=_CHECK, reason=f"it holds personal data: {_list(kinds)}")
        if quoted:
            reason = (
                f"a quote holds personal data, so it cannot be masked and stay verbatim: {_list(k for k, _ in quoted)}"
            )
            return rejected(scored, check=_CHECK, reason=reason)
        return _masked(scored, self._masker)


def _findings(texts: Iterable[str]) -> set[tuple[PrivateKind, str]]:
    return {(each.kind, each.text) for text in texts for each in find_private(text)}


def _list(kinds: Iterable[PrivateKind]) -> str:
    return ", ".join(sorted({kind.value for kind in kinds}))


def _masked(example: Example, masker: Masker) -> Example:
    replacements = masker.redactions(example.question)
    return example.model_copy(
        update={
            "question": substitute(example.question, replacements),
            "answer": masker.redact(example.answer),
            "rejected": masker.redact(example.rejected),
            "messages": tuple(
                message.model_copy(update={"content": masker.redact(message.content)}) for message in example.messages
            ),
            "spans": tuple(_moved(span, replacements) for span in example.spans),
        }
    )


def _moved(span: Span, replacements: list[Replacement]) -> Span:
    """Return where a span of the question stands once the replacements are made.

    An end inside of what is replaced moves to the end of its placeholder, a start to its start.
    """
    start, end = span.start, span.end
    shift_start = shift_end = 0
    for each in replacements:
        piece, growth = each.piece, len(each.placeholder) - (each.piece.end - each.piece.start)
        if piece.end <= span.start:
            shift_start += growth
        elif piece.start < span.start:
            start = piece.start
        if piece.start < span.end:
            shift_end += growth
            end = max(end, piece.end)
    return Span(start=start + shift_start, end=end + shift_end, label=span.label)
