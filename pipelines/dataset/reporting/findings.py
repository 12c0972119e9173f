"""What in the counts of a dataset a person should look at first, in words."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from pipelines.dataset.reporting.diversity import NEAR_COSINE, Diversity
from pipelines.dataset.reporting.tally import Tally
from pipelines.dataset.reporting.view import Measured

# Below these a thing is as it should be.
_NEAR_DUPLICATES = 0.01
_PARAPHRASES = 0.05
_ONE_CHECK = 0.5
_ONE_DOCUMENT = 0.5
_FEW = 8  # of so few, a share says nothing


@dataclass(frozen=True)
class Finding:
    """One thing worth knowing, and the section of the page that has more of it."""

    level: Literal["bad", "look", "good"]
    text: str
    section: str


def find(tally: Tally, measured: Measured) -> list[Finding]:
    """Return what is worth knowing, the worst first."""
    found = [
        *_of_yield(tally),
        *_of_splits(tally),
        *_of_repetition(tally, measured.diversity),
        *_of_documents(tally),
        *_of_flags(tally),
    ]
    left_out = measured.drawn - len(measured.mapped)
    if left_out and measured.vectors is not None:
        text = f"The embedding model does not know the language of {left_out:,} questions; the map leaves them out."
        found.append(Finding("look", text, "map"))
    return sorted(found, key=lambda finding: ("bad", "look", "good").index(finding.level))


def _of_yield(tally: Tally) -> Iterator[Finding]:
    requested = tally.generated.report.requested if tally.generated else None
    if not tally.examples:
        yield Finding("bad", "No example was kept; the rejections say why.", "rejections")
    elif requested and tally.examples < requested:
        yield Finding("look", f"{requested:,} examples were asked for and {tally.examples:,} written.", "funnel")
    elif requested:
        yield Finding("good", f"All {requested:,} examples that were asked for were written.", "funnel")
    drafted = tally.examples + tally.rejected("generation")
    for check in tally.checks:
        if check.stage == "generation" and drafted >= _FEW and check.count > _ONE_CHECK * drafted:
            share = check.count / drafted
            yield Finding("look", f"The check {check.check} alone rejected {share:.0%} of all drafts.", "rejections")


def _of_splits(tally: Tally) -> Iterator[Finding]:
    if not tally.splits:
        yield Finding("look", "The dataset is not curated, so there are no splits to train on yet.", "splits")
        return
    leaks = tally.curated.report.leaks if tally.curated else None
    if leaks:
        yield Finding("bad", f"{leaks:,} passages or questions occur in more than one split.", "splits")
    elif leaks == 0:
        yield Finding("good", "No passage or question occurs in more than one split.", "splits")
    likest = tally.curated.report.largest_similarity if tally.curated else None
    if likest is not None:
        text = f"The likest questions of different splits have a cosine of {likest.cosine:.3f}."
        yield Finding("look" if likest.cosine >= NEAR_COSINE else "good", text, "splits")


def _of_repetition(tally: Tally, diversity: Diversity | None) -> Iterator[Finding]:
    if diversity is None or tally.examples < 2:
        return
    if diversity.near_duplicates > _NEAR_DUPLICATES:
        text = f"{diversity.near_duplicates:.1%} of the questions have nearly the words of an earlier one."
        yield Finding("look", text, "duplicates")
    else:
        yield Finding("good", "Hardly a question has nearly the words of an earlier one.", "duplicates")
    if (diversity.paraphrases or 0) > _PARAPHRASES:
        text = f"{diversity.paraphrases:.1%} of the questions are within cosine {NEAR_COSINE} of an earlier one."
        yield Finding("look", text, "duplicates")


def _of_documents(tally: Tally) -> Iterator[Finding]:
    empty = sum(not count for count in tally.documents.values())
    if empty:
        yield Finding("look", f"Without any example: {empty:,} of {len(tally.documents):,} documents.", "topics")
    for document, count in tally.documents.most_common(1):
        if len(tally.documents) > 2 and tally.examples >= _FEW and count > _ONE_DOCUMENT * tally.examples:
            text = f"{count / tally.examples:.0%} of the examples come from one document: {document}."
            yield Finding("look", text, "topics")


def _of_flags(tally: Tally) -> Iterator[Finding]:
    for flag, count in tally.flags.most_common():
        yield Finding("look", f"Flagged as {flag}: {count:,}.", "flags")
