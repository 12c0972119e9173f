"""What in an evaluation of retrieval a person should know first, in words."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from pipelines.knowledge.measuring.report import ARM_TITLES, EvaluateDocumentsReport

_FEW = 100  # questions
_GAP = 0.1  # of recall, between a language and all questions
_FEW_OF_A_LANGUAGE = 20
_POOR_AUROC, _GOOD_AUROC = 0.8, 0.9


@dataclass(frozen=True)
class Finding:
    """One thing worth knowing."""

    level: Literal["bad", "look", "good"]
    text: str


def find(report: EvaluateDocumentsReport) -> list[Finding]:
    """Return what is worth knowing, the worst first."""
    found = [*_of_arms(report), *_of_questions(report), *_of_languages(report), *_of_answerability(report)]
    return sorted(found, key=lambda finding: ("bad", "look", "good").index(finding.level))


def _of_arms(report: EvaluateDocumentsReport) -> Iterator[Finding]:
    gain = report.differences[0]
    said = f"nDCG@10 is {gain.mean:+.3f} ({gain.low:+.3f} to {gain.high:+.3f}) against {ARM_TITLES[gain.against]}"
    if gain.low > 0:
        yield Finding("good", f"{said}: better than any simple way of searching.")
    elif gain.high < 0:
        yield Finding("bad", f"{said}: a simpler way of searching does better on these questions.")
    else:
        yield Finding("look", f"{said}: these questions cannot tell them apart.")


def _of_questions(report: EvaluateDocumentsReport) -> Iterator[Finding]:
    if report.n < _FEW:
        yield Finding(
            "look", f"With {report.n} questions the figures are rough; {_FEW} or more tell smaller differences."
        )
    if report.outside:
        yield Finding(
            "look", f"{report.outside} questions have a place in no passage, such as a heading, and count as missed."
        )
    if report.left_out:
        yield Finding(
            "look", f"{report.left_out} questions were left out: their documents are not here, or have changed."
        )
    if report.is_tuned:
        text = "The search was fitted to this collection: if it was with these questions, the figures are too good."
        yield Finding("look", text)


def _of_languages(report: EvaluateDocumentsReport) -> Iterator[Finding]:
    for each in report.languages:
        if each.n >= _FEW_OF_A_LANGUAGE and each.recall_at_top_k < report.whole.recall_at_top_k - _GAP:
            share = f"{each.recall_at_top_k:.0%} against {report.whole.recall_at_top_k:.0%}"
            yield Finding("look", f"Questions in {each.name} find less than others: {share} within {report.top_k}.")


def _of_answerability(report: EvaluateDocumentsReport) -> Iterator[Finding]:
    told = report.answerability
    if told is None:
        return
    said = f"Answerable and unanswerable questions are told apart with an AUROC of {told.auroc:.3f}"
    if told.auroc >= _GOOD_AUROC:
        yield Finding("good", f"{said}.")
    else:
        level: Literal["bad", "look"] = "bad" if told.auroc < _POOR_AUROC else "look"
        yield Finding(level, f"{said}: the chatbot's refusals will often be wrong.")
