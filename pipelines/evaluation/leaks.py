"""Test questions that were trained on: what they score says nothing, so they are left out."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from pipelines.dataset.checks.similar import normalized
from pipelines.dataset.formats.rows import conversation_of
from pipelines.evaluation.report import Leaks
from pipelines.records import Example

_SHOWN = 3


def without_leaks(test: Sequence[Example], seen: Iterable[Example]) -> tuple[list[Example], Leaks]:
    """Return the test without what stands in the other splits, and what was left out.

    Questions are compared without case, punctuation and white space. Where the same task is put
    about other material, the material tells them apart.

    Args:
        test: The test split.
        seen: The training and validation splits.
    """
    known = {_asked(example) for example in seen}
    kept = [example for example in test if _asked(example) not in known]
    leaking = [example.question for example in test if _asked(example) in known]
    return kept, Leaks(count=len(leaking), examples=leaking[:_SHOWN])


def _asked(example: Example) -> str:
    """Return the question; of an example without passages all that was said before its answer."""
    if example.chunks:
        return normalized(example.question)
    turns = [message.content for message in conversation_of(example)[:-1] if message.role != "system"]
    return normalized(" ".join(turns))
