"""`evaluate`: the tuned model against the base, on questions it has never seen."""

from __future__ import annotations

import functools
import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import BaseModel, Field

from pipelines.errors import DataError
from pipelines.lazy import lazy_import
from pipelines.manifest import Manifest, file_hash
from pipelines.models.catalog import ADAPTER_WEIGHTS as WEIGHTS_FILE
from pipelines.models.catalog import DEFAULT_BASE_MODEL
from pipelines.operation import Context, Operation, Positional
from pipelines.records import Chunk, Example, ExampleKind, Name, content_id, read_records, write_records
from pipelines.workspace import locked

if TYPE_CHECKING:
    from pipelines.evaluation import arms, statistics
    from pipelines.models import nearest
else:
    arms = lazy_import("pipelines.evaluation.arms", extra="train")
    nearest = lazy_import("pipelines.models.nearest", extra="train")
    statistics = lazy_import("pipelines.evaluation.statistics", extra="train")

METRIC = "quote_f1"
ANSWERS = "answers.jsonl"
Verdict = Literal["better", "inconclusive", "worse"]
_VERDICTS: dict[Verdict, str] = {
    "better": "The tuned model quotes better than the base with and without examples in its prompt.",
    "inconclusive": "The tuned model may be better or not: the test cannot tell.",
    "worse": "The tuned model quotes worse than the base.",
}


class EvaluateParams(BaseModel):
    """What to compare, and on what."""

    adapter: Annotated[Name, Positional()] = Field(description="Adapter to judge.")
    dataset: Name | None = Field(None, description="Dataset whose test split to use; the adapter's if not given.")
    base: str = Field(DEFAULT_BASE_MODEL, description="Base model that the adapter was trained on.")
    questions: int = Field(120, ge=2, description="Most questions to ask; chosen by their ids.")


class Interval(BaseModel):
    """A 95% interval."""

    low: float
    high: float


class ArmScores(BaseModel):
    """The scores of one arm."""

    quote_f1: float
    exact_match: float
    correct_refusals: float
    wrong_refusals: float
    proved: float
    loss: float | None


class JudgedQuestion(BaseModel):
    """One question of the test with what each arm answered, for whoever wants to see for themselves."""

    question: str
    wanted: str
    answers: dict[str, str]


class EvaluateReport(BaseModel):
    """Whether the tuned model is better, and how sure that is."""

    metric: str = METRIC
    base: float
    few_shot: float
    tuned: float
    difference: Interval
    verdict: Verdict
    summary: str
    n: int
    n_unanswerable: int
    arms: dict[str, ArmScores]
    report: str
    seconds: float


def evaluate_adapter(params: EvaluateParams, context: Context) -> EvaluateReport:
    """Compare the tuned model with its base on the held-out test split."""
    dataset = context.workspace.dataset(params.dataset or params.adapter)
    folder = context.workspace.adapter(params.adapter)
    if not (folder / WEIGHTS_FILE).is_file():
        raise DataError(
            f"there is no adapter {params.adapter!r}",
            path=folder,
            hint=f"Train it: assistant train start {params.adapter}",
        )
    inputs = {
        "params": params.model_dump(mode="json"),
        "test": file_hash(dataset / "test.jsonl"),
        "adapter": file_hash(folder / WEIGHTS_FILE),
    }
    manifest = Manifest(path=folder / "report.json", inputs=inputs)
    with locked(folder):
        finished = manifest.finished(EvaluateReport)
        if finished is not None:
            context.notice(f"the adapter {params.adapter} is already evaluated")
            return finished
        report = _evaluate(params, context)
        manifest.finish(report)
    return report


EVALUATE_ADAPTER = Operation(params=EvaluateParams, report=EvaluateReport, run=evaluate_adapter)


def _evaluate(params: EvaluateParams, context: Context) -> EvaluateReport:
    started = time.monotonic()
    dataset = context.workspace.dataset(params.dataset or params.adapter)
    folder = context.workspace.adapter(params.adapter)
    chunks = {chunk.id: chunk for chunk in read_records(dataset / "chunks.jsonl", Chunk)}
    train = list(read_records(dataset / "train.jsonl", Example))
    test = sorted(read_records(dataset / "test.jsonl", Example), key=lambda example: content_id("test", example.id))
    test = test[: params.questions]
    base = context.models.open_engine(params.base)
    tuned = context.models.open_engine(params.base, adapter=folder)
    plans = (
        ("base", "evaluating base", base, ()),
        ("few_shot", "evaluating few-shot", base, arms.few_shot_messages(train)),
        ("tuned", "evaluating tuned", tuned, ()),
    )
    finder = nearest.NearestFinder(context.models.open_embedder(), (chunk.text for chunk in chunks.values()))
    hints = arms.find_hints(test, chunks, finder)
    results = {"closest": arms.run_closest(test, chunks, hints=hints)}
    for name, stage, engine, shown in plans:
        report = functools.partial(context.progress, stage, total=len(test))
        results[name] = arms.run_arm(name, engine, test, chunks, hints=hints, shown=shown, progress=report)
    answerable = [number for number, example in enumerate(test) if example.kind is ExampleKind.GROUNDED]
    f1 = {name: [result.scores[number].quote_f1 for number in answerable] for name, result in results.items()}
    stronger = max(("base", "few_shot"), key=lambda name: sum(f1[name]))
    low, high = statistics.difference_interval(f1["tuned"], f1[stronger], seed=context.seed)
    verdict: Verdict = "better" if low > 0 else "worse" if high < 0 else "inconclusive"
    write_records(folder / ANSWERS, _judged(test, results))
    return EvaluateReport(
        base=_mean(f1["base"]),
        few_shot=_mean(f1["few_shot"]),
        tuned=_mean(f1["tuned"]),
        difference=Interval(low=round(low, 4), high=round(high, 4)),
        verdict=verdict,
        summary=f"{_VERDICTS[verdict]} Compared with {stronger.replace('_', '-')}, the stronger of the two.",
        n=len(answerable),
        n_unanswerable=len(test) - len(answerable),
        arms={name: _summarize(result, test) for name, result in results.items()},
        report=str(folder / ANSWERS),
        seconds=round(time.monotonic() - started, 1),
    )


def _summarize(result: arms.ArmResult, test: Sequence[Example]) -> ArmScores:
    pairs = list(zip(result.scores, test, strict=True))
    answerable = [score for score, example in pairs if example.kind is ExampleKind.GROUNDED]
    unanswerable = [score for score, example in pairs if example.kind is ExampleKind.UNANSWERABLE]
    return ArmScores(
        quote_f1=_mean([score.quote_f1 for score in answerable]),
        exact_match=_mean([score.exact_match for score in answerable]),
        correct_refusals=_mean([float(score.is_refused) for score in unanswerable]),
        wrong_refusals=_mean([float(score.is_refused) for score in answerable]),
        proved=_mean([float(score.is_proved) for score in answerable]),
        loss=None if result.loss is None else round(result.loss, 4),
    )


def _judged(test: Sequence[Example], results: Mapping[str, arms.ArmResult]) -> list[JudgedQuestion]:
    return [
        JudgedQuestion(
            question=example.question,
            wanted=example.messages[-1].content,
            answers={name: result.answers[number] for name, result in results.items()},
        )
        for number, example in enumerate(test)
    ]


def _mean(values: Sequence[float]) -> float:
    return round(sum(values) / len(values), 4) if values else 0.0
