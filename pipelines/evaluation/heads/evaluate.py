"""`evaluate` for heads: on the texts that were set aside before training, against what is simpler."""

from __future__ import annotations

import time
from pathlib import Path

from pipelines.evaluation.card import CARD
from pipelines.evaluation.heads import card, page
from pipelines.evaluation.heads.material import HeadMaterial, read_material
from pipelines.evaluation.heads.report import EvaluateHeadReport, HeadScores, JudgedText
from pipelines.evaluation.heads.scoring import judge_texts, say_baselines, score
from pipelines.evaluation.page import PAGE
from pipelines.evaluation.report import ANSWERS, REPORT, Verdict
from pipelines.manifest import Manifest, file_hash
from pipelines.models import hardware
from pipelines.operation import Context
from pipelines.records import write_records
from pipelines.training.heads.labeller import LabelledText, Labeller, open_labeller
from pipelines.training.heads.model import WEIGHTS_FILE
from pipelines.training.heads.train import find_base
from pipelines.workspace import locked

_TEXTS_AT_ONCE = 512
_VERDICTS: dict[Verdict, str] = {
    "better": "The head labels better than the strongest baseline ({name})",
    "inconclusive": "The head may label better than the strongest baseline ({name}) or not, the test cannot tell",
    "worse": "The head labels worse than the strongest baseline ({name})",
}


def evaluate_head(adapter: str, context: Context, *, dataset: str | None) -> EvaluateHeadReport:
    """Score a head on its held-out texts, or on the test split of another dataset.

    Args:
        adapter: Name of the head.
        context: The workspace it is in.
        dataset: Dataset whose test split to use in place of its own.

    Raises:
        DataError: There is nothing fair to score it on.
    """
    folder = context.workspace.adapter(adapter)
    material = read_material(folder, context, dataset=dataset)
    inputs = {
        "adapter": adapter,
        "dataset": material.dataset,
        "head": file_hash(folder / WEIGHTS_FILE),
        "files": material.files,
        "test": material.test_sha256,
        "seed": context.seed,
    }
    manifest = Manifest(path=folder / REPORT, inputs=inputs)
    with locked(folder):
        finished = manifest.finished(EvaluateHeadReport)
        if finished is not None:
            context.notice(f"the head {adapter} is already evaluated")
            return finished
        report = _evaluate(adapter, folder, material, context)
        manifest.finish(report)
    return report


def _evaluate(adapter: str, folder: Path, material: HeadMaterial, context: Context) -> EvaluateHeadReport:
    started = time.monotonic()
    config = material.config
    if material.leaks.count:
        context.notice(f"{material.leaks.count} test texts stand in other splits too, and are left out")
    hardware.prepare_torch(threads=context.settings.threads)
    opened = open_labeller(folder, base_folder=find_base(config.base, context))
    texts = [record.text for record in material.test]
    found, cut = _label(opened, texts, context)
    baselines = say_baselines(material.data, texts, kind=config.kind)
    judged = judge_texts(material.test, found, baselines, kind=config.kind)
    report = _report(adapter, folder, material, score(judged, found, config, seed=context.seed))
    report.cut = cut
    report.seconds = round(time.monotonic() - started, 1)
    _write(report, judged, folder)
    return report


def _label(opened: Labeller, texts: list[str], context: Context) -> tuple[list[LabelledText], int]:
    found: list[LabelledText] = []
    cut = 0
    for start in range(0, len(texts), _TEXTS_AT_ONCE):
        said, is_cut = opened.label(texts[start : start + _TEXTS_AT_ONCE])
        found += said
        cut += is_cut
        context.progress("labelling", len(found), len(texts))
    return found, cut


def _report(adapter: str, folder: Path, material: HeadMaterial, scores: HeadScores) -> EvaluateHeadReport:
    strongest = scores.baselines[0]
    verdict: Verdict = "inconclusive"
    if strongest.interval.low > 0:
        verdict = "better"
    elif strongest.interval.high < 0:
        verdict = "worse"
    said = _VERDICTS[verdict].format(name=strongest.name)
    return EvaluateHeadReport(
        **scores.model_dump(),
        adapter=adapter,
        kind=material.config.kind,
        base=material.config.base,
        dataset=material.dataset,
        verdict=verdict,
        summary=f"{said}: F1 {scores.f1:.3f} against {strongest.f1:.3f} on {len(material.test)} held-out texts.",
        n=len(material.test),
        difference=strongest.interval,
        labels=list(material.config.labels),
        is_made_split=material.is_made_split,
        cut=0,
        leaks=material.leaks,
        test_sha256=material.test_sha256,
        report=str(folder / ANSWERS),
        page=str(folder / PAGE),
        card=str(folder / CARD),
        seconds=0.0,
    )


def _write(report: EvaluateHeadReport, judged: list[JudgedText], folder: Path) -> None:
    write_records(folder / ANSWERS, judged)
    page.write_page(report, judged, folder)
    card.write_card(report, folder)
