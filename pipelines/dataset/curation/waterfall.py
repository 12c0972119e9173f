"""The checks of a dataset in their order, cheap first.

schema (the reply itself) → form → language → personal data and secrets → duplicates (by the
collector, before an answer is paid for) → overlap with an evaluation set → quotes → relevance →
judge → toxicity and bias, which flag and do not reject.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from pipelines.dataset.checks import Check
from pipelines.dataset.checks.form import check_form
from pipelines.dataset.checks.language import check_language
from pipelines.dataset.checks.overlap import OverlapCheck, read_evaluation_texts
from pipelines.dataset.checks.private import Policy, PrivateCheck
from pipelines.dataset.checks.quote import QuoteCheck
from pipelines.dataset.checks.relevance import RelevanceCheck
from pipelines.dataset.checks.tone import check_tone
from pipelines.models.provider import Models
from pipelines.records import Chunk, Example, Rejection

_OF_FORM: tuple[Check, ...] = (check_form, check_language())


def checks_of(
    chunks: Mapping[str, Chunk], *, models: Models, against: Path | None = None, private: Policy = "keep"
) -> list[Check]:
    """Return the checks that an example passes alone, in order.

    Args:
        chunks: The passages that quotes have to stand in, by id.
        models: For the embedder, where an evaluation set is given, and the masker.
        against: Evaluation set that nothing may overlap with.
        private: What becomes of personal data.
    """
    overlap = [OverlapCheck(read_evaluation_texts(against), embedder=models.open_embedder())] if against else []
    return [
        *_OF_FORM,
        private_check(private, models),
        *overlap,
        QuoteCheck(chunks),
        RelevanceCheck(chunks, models.open_embedder()),
        check_tone,
    ]


def private_check(policy: Policy, models: Models) -> PrivateCheck:
    """Return the check that does with personal data what is wanted."""
    return PrivateCheck(policy, masker=models.masker if policy == "mask" else None)


def text_checks() -> list[Check]:
    """Return the checks that need nothing but the example, for data that comes from elsewhere."""
    return [*_OF_FORM, PrivateCheck("keep"), check_tone]


def pass_through(examples: Iterable[Example], checks: Sequence[Check]) -> tuple[list[Example], list[Rejection]]:
    """Return what passes all checks, as they leave it, and what was rejected."""
    kept: list[Example] = []
    rejections: list[Rejection] = []
    for example in examples:
        outcome: Example | Rejection = example
        for check in checks:
            if isinstance(outcome, Rejection):
                break
            outcome = check(outcome)
        if isinstance(outcome, Rejection):
            rejections.append(outcome)
        else:
            kept.append(outcome)
    return kept, rejections
