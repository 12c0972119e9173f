"""From the answers of the arms to what the report says of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

from pipelines.evaluation.arms import ArmResult
from pipelines.evaluation.report import (
    ArmName,
    ArmScores,
    Interval,
    JudgedQuestion,
    KindScores,
    Power,
    RightWrong,
    Verdict,
)
from pipelines.evaluation.scores import RIGHT_RULE, AnswerScore, metric_of
from pipelines.evaluation.statistics import difference_interval, mcnemar_p, smallest_difference
from pipelines.records import Example, ExampleKind

Results = Mapping[str, ArmResult]


class Comparison:
    """The tuned model against the stronger of base and few-shot, on the answerable questions."""

    def __init__(self, results: Results, test: Sequence[Example], *, seed: int) -> None:
        self.answerable = [number for number, example in enumerate(test) if metric_of(example) != "refusal"]
        metrics = {metric_of(test[number]) for number in self.answerable}
        self.metric: Literal["quote_f1", "score"] = "quote_f1" if metrics <= {"quote_f1"} else "score"
        self._results = results
        rivals: tuple[ArmName, ...] = ("base", "few_shot")
        self.stronger = max(rivals, key=lambda name: sum(self._values(name)))
        tuned, other = self._values("tuned"), self._values(self.stronger)
        low, high = difference_interval(tuned, other, seed=seed)
        self.difference = Interval(low=round(low, 4), high=round(high, 4))
        self.verdict: Verdict = "better" if low > 0 else "worse" if high < 0 else "inconclusive"
        smallest = smallest_difference(tuned, other)
        self.power = Power(
            mean_difference=round(sum(tuned) / len(tuned) - sum(other) / len(other), 4) if tuned else 0.0,
            smallest_difference=None if smallest is None else round(smallest, 4),
        )
        self.mcnemar = self._right_wrong()

    def mean(self, name: str) -> float:
        """Return the mean score of an arm."""
        return mean(self._values(name))

    def _values(self, name: str) -> list[float]:
        scores = self._results[name].scores
        return [score.value for score in (scores[number] for number in self.answerable) if score is not None]

    def _right_wrong(self) -> RightWrong:
        pairs = [
            (tuned.is_right, other.is_right)
            for tuned, other in zip(self._results["tuned"].scores, self._results[self.stronger].scores, strict=True)
            if tuned is not None and other is not None
        ]
        tuned_only, other_only = pairs.count((True, False)), pairs.count((False, True))
        return RightWrong(
            against=self.stronger,
            rule=RIGHT_RULE,
            n=len(pairs),
            tuned_only=tuned_only,
            other_only=other_only,
            both=pairs.count((True, True)),
            neither=pairs.count((False, False)),
            p_value=float(f"{mcnemar_p(tuned_only, other_only):.3g}"),
        )


def summarize(result: ArmResult) -> ArmScores:
    """Return the scores of an arm over all questions that count for it."""
    counted = [score for score in result.scores if score is not None]
    answerable = [score for score in counted if score.metric != "refusal"]
    quoting = [score for score in answerable if score.metric == "quote_f1"]
    free = [score.value for score in answerable if score.metric == "rouge_l"]
    refusals = [float(score.is_refused) for score in counted if score.metric == "refusal"]
    return ArmScores(
        quote_f1=mean([score.quote_f1 for score in quoting]),
        exact_match=mean([score.exact_match for score in answerable]),
        correct_refusals=mean(refusals) if refusals else None,
        wrong_refusals=mean([float(score.is_refused) for score in answerable]),
        proved=mean([float(score.is_proved) for score in quoting]),
        loss=None if result.loss is None else round(result.loss, 4),
        score=mean([score.value for score in answerable]),
        rouge_l=mean(free) if free else None,
        right=mean([float(score.is_right) for score in counted]),
        retrieved=result.retrieved,
        n=len(counted),
    )


def by_kind(results: Results, test: Sequence[Example]) -> list[KindScores]:
    """Return the mean score of every arm on every kind, by each metric that the kind is measured by."""
    groups: dict[tuple[ExampleKind, str], list[int]] = {}
    for number, example in enumerate(test):
        groups.setdefault((example.kind, metric_of(example)), []).append(number)
    return [
        KindScores(
            kind=kind,
            metric=metric_of(test[numbers[0]]),
            n=len(numbers),
            arms={
                name: mean([score.value for score in counted])
                for name, result in results.items()
                if (counted := _counted(result, numbers))
            },
        )
        for (kind, _metric), numbers in sorted(groups.items())
    ]


def judged_questions(results: Results, test: Sequence[Example]) -> list[JudgedQuestion]:
    """Return every question with what each arm answered and what that is worth."""
    return [
        JudgedQuestion(
            question=example.question,
            wanted=example.messages[-1].content if example.messages else example.answer,
            answers={name: result.answers[number] for name, result in results.items()},
            kind=example.kind,
            scores={name: round(score.value, 4) for name, [score] in _of(results, number).items()},
        )
        for number, example in enumerate(test)
    ]


def mean(values: Sequence[float]) -> float:
    """Return the mean, to four places; 0 of nothing."""
    return round(sum(values) / len(values), 4) if values else 0.0


def _of(results: Results, number: int) -> dict[str, list[AnswerScore]]:
    found = {name: _counted(result, [number]) for name, result in results.items()}
    return {name: scores for name, scores in found.items() if scores}


def _counted(result: ArmResult, numbers: Sequence[int]) -> list[AnswerScore]:
    return [score for score in (result.scores[number] for number in numbers) if score is not None]
