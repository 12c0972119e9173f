"""The page of an evaluation of retrieval, as one HTML file without scripts that needs nothing else."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from markupsafe import Markup

from pipelines.knowledge.measuring import plots
from pipelines.knowledge.measuring.asking import Asked
from pipelines.knowledge.measuring.findings import find
from pipelines.knowledge.measuring.report import ARM_TITLES, LANGUAGE_TITLES, EvaluateDocumentsReport
from pipelines.pages.environment import page_template
from pipelines.workspace import replacing


def write_page(report: EvaluateDocumentsReport, asked: Sequence[Asked], path: Path) -> None:
    """Write the page of an evaluation."""
    with replacing(path) as file:
        file.write(render_page(report, asked))


def render_page(report: EvaluateDocumentsReport, asked: Sequence[Asked]) -> str:
    """Return the page; the same input gives the same bytes."""
    return page_template("pipelines.knowledge", "retrieval.html.j2", score=_score).render(
        report=report,
        titles=ARM_TITLES,
        languages=LANGUAGE_TITLES,
        figures=_at_the_top(report),
        findings=find(report),
        recall=Markup(plots.recall_plot(report.arms)),
        latency=Markup(plots.latency_plot([each.seconds for each in asked], p95_ms=report.latency.p95_ms)),
        answerable=_answerability(report, asked),
    )


def _answerability(report: EvaluateDocumentsReport, asked: Sequence[Asked]) -> Markup:
    if report.answerability is None:
        return Markup("")
    scores = {
        kind: [each.answerable for each in asked if each.question.is_answerable is kind] for kind in (True, False)
    }
    return Markup(plots.answerability_plot(scores, threshold=report.answerability.threshold))


def _at_the_top(report: EvaluateDocumentsReport) -> list[tuple[str, str]]:
    whole = report.whole
    found = [
        ("nDCG@10", _score(whole.ndcg_at_10)),
        ("recall@1", _score(whole.recall_at_1)),
        ("recall@5", _score(whole.recall_at_5)),
        ("MRR@10", _score(whole.mrr_at_10)),
        ("milliseconds, median", f"{report.latency.p50_ms:,.0f}"),
        ("milliseconds, 95th percentile", f"{report.latency.p95_ms:,.0f}"),
    ]
    if report.answerability is not None:
        found.append(("AUROC, answerable or not", _score(report.answerability.auroc)))
    return found


def _score(value: float) -> str:
    return f"{value:.3f}"
