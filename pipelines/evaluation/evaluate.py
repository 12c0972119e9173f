"""`evaluate`: the tuned model against the base, on questions it has never seen."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from pydantic import BaseModel, Field

from pipelines.errors import DataError, SettingsError
from pipelines.evaluation.heads.report import EvaluateHeadReport
from pipelines.evaluation.report import (
    ANSWERS,
    ARM_NAMES,
    ARTEFACT,
    DEFAULT_ARMS,
    REPORT,
    ArmName,
    EvaluateReport,
    Verdict,
)
from pipelines.lazy import lazy_import
from pipelines.manifest import Manifest, file_hash
from pipelines.models.catalog import ADAPTER_WEIGHTS as WEIGHTS_FILE
from pipelines.models.catalog import DEFAULT_BASE_MODEL
from pipelines.operation import Context, Operation, Positional
from pipelines.records import SPLITS, Name, write_records
from pipelines.training.place import is_head
from pipelines.workspace import locked

if TYPE_CHECKING:
    from pipelines.evaluation import arms, artefact, card, compare, judge, page, trial
    from pipelines.evaluation.heads import evaluate as heads
else:
    artefact = lazy_import("pipelines.evaluation.artefact", extra="train")
    card = lazy_import("pipelines.evaluation.card", extra="train")
    compare = lazy_import("pipelines.evaluation.compare", extra="train")
    heads = lazy_import("pipelines.evaluation.heads.evaluate", extra="train")
    judge = lazy_import("pipelines.evaluation.judge", extra="teacher")
    page = lazy_import("pipelines.evaluation.page", extra="train")
    trial = lazy_import("pipelines.evaluation.trial", extra="train")

_ALWAYS: tuple[ArmName, ...] = ("base", "few_shot", "tuned")
_VERDICTS: dict[Verdict, str] = {
    "better": "The tuned model {does} better than the base with and without examples in its prompt.",
    "inconclusive": "The tuned model may be better or not: the test cannot tell.",
    "worse": "The tuned model {does} worse than the base.",
}


class EvaluateParams(BaseModel):
    """What to compare, and on what."""

    adapter: Annotated[Name, Positional()] = Field(description="Adapter to judge.")
    dataset: Name | None = Field(None, description="Dataset whose test split to use; the adapter's if not given.")
    base: str = Field(DEFAULT_BASE_MODEL, description="Base model that the adapter was trained on.")
    questions: int = Field(120, ge=2, description="Most questions to ask; chosen by their ids.")
    arms: str = Field(
        DEFAULT_ARMS,
        description=f"What to compare, separated by commas: {', '.join(ARM_NAMES)}. "
        "The first three are compared in any case.",
    )
    artefact: Path | None = Field(None, description="Exported model to score too: a merged folder or a GGUF file.")
    judge: int = Field(
        0, ge=0, le=1_000, description="Answers that the teacher compares in pairs; each pair takes two calls."
    )


def evaluate_adapter(params: EvaluateParams, context: Context) -> EvaluateReport | EvaluateHeadReport:
    """Compare the tuned model with its base on the held-out test split."""
    folder = context.workspace.adapter(params.adapter)
    if not (folder / WEIGHTS_FILE).is_file() and is_head(folder):
        _check_head_params(params)
        return heads.evaluate_head(params.adapter, context, dataset=params.dataset)
    return _evaluate_adapter(params, context)


def _check_head_params(params: EvaluateParams) -> None:
    """Refuse what only concerns chat models; nothing that was asked for is passed over."""
    given = params.model_dump(exclude_defaults=True).keys() - {"adapter", "dataset"}
    if given:
        options = ", ".join(f"--{name}" for name in sorted(given))
        raise SettingsError(
            f"{params.adapter} is a head, which is evaluated without {options}",
            hint=f"Run: assistant evaluate {params.adapter}",
        )


def _evaluate_adapter(params: EvaluateParams, context: Context) -> EvaluateReport:
    dataset = context.workspace.dataset(params.dataset or params.adapter)
    folder = context.workspace.adapter(params.adapter)
    context.check_model(params.base)
    read_arms(params.arms)
    if not (folder / WEIGHTS_FILE).is_file():
        raise DataError(
            f"there is no adapter {params.adapter!r}",
            path=folder,
            hint=f"Train it: assistant train start {params.adapter}",
        )
    exported = None if params.artefact is None else context.resolve(params.artefact)
    inputs: dict[str, object] = {
        "params": params.model_dump(mode="json"),
        "adapter": file_hash(folder / WEIGHTS_FILE),
        "artefact": artefact.artefact_hash(exported) if exported is not None else "",
        "seed": context.seed,
    }
    inputs |= {split: file_hash(dataset / f"{split}.jsonl") for split in SPLITS}
    manifest = Manifest(path=folder / REPORT, inputs=inputs)
    with locked(folder):
        finished = manifest.finished(EvaluateReport)
        if finished is not None:
            context.notice(f"the adapter {params.adapter} is already evaluated")
            return finished
        report = _evaluate(params, context, exported)
        manifest.finish(report)
    return report


EVALUATE_ADAPTER: Operation[EvaluateParams, EvaluateReport | EvaluateHeadReport] = Operation(
    params=EvaluateParams, report=EvaluateReport, run=evaluate_adapter
)


def read_arms(text: str) -> tuple[ArmName, ...]:
    """Read the arms of an evaluation, separated by commas; those that are always run come first.

    Raises:
        SettingsError: One of them is unknown.
    """
    named = [name.strip() for name in text.split(",") if name.strip()]
    unknown = [name for name in named if name not in ARM_NAMES]
    if unknown:
        raise SettingsError(f"{unknown[0]!r} is no arm of an evaluation", hint=f"Known: {', '.join(ARM_NAMES)}")
    return (*_ALWAYS, *(name for name in ARM_NAMES if name in named and name not in _ALWAYS))


def _evaluate(params: EvaluateParams, context: Context, exported: Path | None) -> EvaluateReport:
    started = time.monotonic()
    dataset = context.workspace.dataset(params.dataset or params.adapter)
    folder = context.workspace.adapter(params.adapter)
    material = trial.read_material(dataset, questions=params.questions)
    if material.leaks.count:
        context.notice(f"{material.leaks.count} test questions stand in other splits too, and are left out")
    run = trial.Trial(material, context, base=params.base, adapter=folder)
    results: dict[str, arms.ArmResult] = {name: run.run(name) for name in read_arms(params.arms)}
    memorised = run.memorisation(results)
    if exported is not None:
        results[ARTEFACT] = run.run_artefact(exported)
    compared = compare.Comparison(results, material.test, seed=context.seed)
    questions = compare.judged_questions(results, material.test)
    judged = None
    if params.judge:
        judged = judge.judge_arms(material.test, questions, compared.stronger, context, most=params.judge)
    measured = {
        "memorisation": memorised,
        "judged": judged,
        "forgetting": trial.run_forgetting(context, base=params.base, adapter=folder),
        "test_sha256": file_hash(dataset / "test.jsonl"),
    }
    report = _report(compared, results, material, folder).model_copy(update=measured)
    report.seconds = round(time.monotonic() - started, 1)
    about = card.About(adapter=params.adapter, base=params.base, dataset=dataset.name)
    write_records(folder / ANSWERS, questions)
    page.write_page(report, questions, about, folder)
    card.write_card(report, about, folder)
    return report


def _report(
    compared: compare.Comparison, results: compare.Results, material: trial.Material, folder: Path
) -> EvaluateReport:
    return EvaluateReport(
        metric=compared.metric,
        base=compared.mean("base"),
        few_shot=compared.mean("few_shot"),
        tuned=compared.mean("tuned"),
        difference=compared.difference,
        verdict=compared.verdict,
        summary=_summary(compared, material.leaks.count),
        n=len(compared.answerable),
        n_unanswerable=len(material.test) - len(compared.answerable),
        arms={name: compare.summarize(result) for name, result in results.items()},
        report=str(folder / ANSWERS),
        seconds=0.0,
        kinds=compare.by_kind(results, material.test),
        mcnemar=compared.mcnemar,
        power=compared.power,
        leaks=material.leaks,
        page=str(folder / page.PAGE),
        card=str(folder / card.CARD),
        lm_eval=card.LM_EVAL,
    )


def _summary(compared: compare.Comparison, leaks: int) -> str:
    does = "quotes" if compared.metric == "quote_f1" else "answers"
    stronger = compared.stronger.replace("_", "-")
    said = f"{_VERDICTS[compared.verdict].format(does=does)} Compared with {stronger}, the stronger of the two."
    return f"{said} Questions left out because they stand in other splits too: {leaks}." if leaks else said
