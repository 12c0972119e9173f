"""What in an evaluation of retrieval a person should know first, in words."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Literal

from pipelines.knowledge.measuring.report import ARM_TITLES, LANGUAGE_TITLES, EvaluateDocumentsReport

_FEW = 100  # questions
_FEW_OF_A_KIND = 20  # of a language, or unanswerable ones
_GAP = 0.1  # of recall, between a language and all questions
_POOR_AUROC, _GOOD_AUROC = 0.8, 0.9
_GAIN = "nDCG@10 is {gain} ({low} to {high}) against {arm}: {verdict}."
_AUROC = "Answerable and unanswerable questions are told apart with an AUROC of {auroc}: {verdict}."


@dataclass(frozen=True)
class Finding:
    """One thing worth knowing: words and values apart, so that both can be said in another language."""

    level: Literal["bad", "look", "good"]
    words: str
    values: Mapping[str, str | int] = field(default_factory=dict)

    @property
    def text(self) -> str:
        """The finding in English."""
        return self.words.format(**self.values)


def find(report: EvaluateDocumentsReport) -> list[Finding]:
    """Return what is worth knowing, the worst first."""
    found = [*_of_arms(report), *_of_questions(report), *_of_languages(report), *_of_answerability(report)]
    return sorted(found, key=lambda finding: ("bad", "look", "good").index(finding.level))


def _of_arms(report: EvaluateDocumentsReport) -> Iterator[Finding]:
    gain = report.differences[0]
    level: Literal["bad", "look", "good"] = "good" if gain.low > 0 else "bad" if gain.high < 0 else "look"
    verdict = {
        "good": "better than any simple way of searching",
        "look": "these questions cannot tell them apart",
        "bad": "a simpler way of searching does better on these questions",
    }[level]
    interval = {"gain": f"{gain.mean:+.3f}", "low": f"{gain.low:+.3f}", "high": f"{gain.high:+.3f}"}
    yield Finding(level, _GAIN, {**interval, "arm": ARM_TITLES[gain.against], "verdict": verdict})


def _of_questions(report: EvaluateDocumentsReport) -> Iterator[Finding]:
    if report.n < _FEW:
        text = "With {n} questions the figures are rough; {enough} or more tell smaller differences."
        yield Finding("look", text, {"n": report.n, "enough": _FEW})
    if report.outside:
        text = "{n} questions have a place in no passage, such as a heading, and count as missed."
        yield Finding("look", text, {"n": report.outside})
    if report.left_out:
        text = "{n} questions were left out: their documents are not here, or have changed."
        yield Finding("look", text, {"n": report.left_out})
    if report.is_tuned:
        text = "The search was fitted to this collection: if it was with these questions, the figures are too good."
        yield Finding("look", text)


def _of_languages(report: EvaluateDocumentsReport) -> Iterator[Finding]:
    text = "Questions in {name} find less than others: {share} against {whole} within {top_k}."
    for each in report.languages:
        if each.n >= _FEW_OF_A_KIND and each.recall_at_top_k < report.whole.recall_at_top_k - _GAP:
            shares = {"share": f"{each.recall_at_top_k:.0%}", "whole": f"{report.whole.recall_at_top_k:.0%}"}
            name = LANGUAGE_TITLES.get(each.name, each.name)
            yield Finding("look", text, {"name": name, **shares, "top_k": report.top_k})


def _of_answerability(report: EvaluateDocumentsReport) -> Iterator[Finding]:
    told = report.answerability
    if told is None:
        return
    level: Literal["bad", "look", "good"] = "look"
    if told.n_unanswerable < _FEW_OF_A_KIND:
        verdict = "there are too few unanswerable ones to be sure"
    elif told.auroc >= _GOOD_AUROC:
        level, verdict = "good", "well"
    else:
        level, verdict = "bad" if told.auroc < _POOR_AUROC else "look", "refusals will often be wrong"
    yield Finding(level, _AUROC, {"auroc": f"{told.auroc:.3f}", "verdict": verdict})
