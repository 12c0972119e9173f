"""How well a head labels, against baselines that saw the same training texts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

import numpy

from pipelines.evaluation.heads.report import (
    BaselineScores,
    Calibration,
    CalibrationBin,
    HeadScores,
    JudgedText,
    Mistake,
    RightTexts,
    Said,
)
from pipelines.evaluation.report import Interval
from pipelines.evaluation.statistics import difference_interval, mcnemar_p, smallest_difference
from pipelines.records import Span
from pipelines.training.heads.baselines import predict_dictionary, predict_majority, predict_tfidf
from pipelines.training.heads.labelled import HeadKind, Labelled, LabelledData
from pipelines.training.heads.labeller import LabelledText
from pipelines.training.heads.model import HeadConfig
from pipelines.training.heads.scores import Counts, entity_counts, f1_score, label_counts, label_figures
from pipelines.training.heads.scores import difference_interval as f1_interval

_BINS = 15


def say_baselines(data: LabelledData, texts: Sequence[str], *, kind: HeadKind) -> dict[str, list[Said]]:
    """Return what each baseline says of the texts, after what it saw in the training split."""
    if kind == "tokens":
        found = predict_dictionary(data.train, texts)
        return {"dictionary of the training spans": [Said(spans=tuple(spans)) for spans in found]}
    labels = {
        "most frequent label": predict_majority(data.train, texts),
        "TF-IDF and logistic regression": predict_tfidf(data.train, data.validation, texts),
    }
    return {name: [Said(label=label) for label in each] for name, each in labels.items()}


def judge_texts(
    test: Sequence[Labelled], found: Sequence[LabelledText], baselines: Mapping[str, Sequence[Said]], *, kind: HeadKind
) -> list[JudgedText]:
    """Return every test text with what each way said of it, and whether that is right."""
    judged = []
    for number, (record, each) in enumerate(zip(test, found, strict=True)):
        wanted, head = Said(label=record.label, spans=record.spans), Said(label=each.label, spans=each.spans)
        others = {name: said[number] for name, said in baselines.items()}
        confidence = each.score if kind == "classification" else min(each.span_scores, default=None)
        judged.append(
            JudgedText(
                text=record.text,
                wanted=wanted,
                head=head,
                confidence=None if confidence is None else round(confidence, 4),
                right=_is_same(head, wanted),
                baselines=others,
                baselines_right={name: _is_same(said, wanted) for name, said in others.items()},
            )
        )
    return judged


def score(judged: Sequence[JudgedText], found: Sequence[LabelledText], config: HeadConfig, *, seed: int) -> HeadScores:
    """Return the figures of a head, and how sure it is that they are better than the baselines'."""
    kind = config.kind
    counts = _count(judged, [text.head for text in judged], config)
    right, predicted, true = counts.sum(axis=(0, 1)).tolist()
    is_tokens = kind == "tokens"
    return HeadScores(
        f1=round(_f1(counts, kind=kind), 4),
        macro_f1=round(_f1(counts, kind="classification"), 4),
        accuracy=None if is_tokens else round(right / len(judged), 4),
        precision=round(right / max(predicted, 1), 4) if is_tokens else None,
        recall=round(right / max(true, 1), 4) if is_tokens else None,
        entities=true if is_tokens else None,
        per_label=label_figures(counts, labels=config.labels),
        mistakes=find_mistakes(judged),
        baselines=_compare(judged, counts, config, seed=seed),
        calibration=_calibration(judged, found, kind=kind),
    )


def find_mistakes(judged: Sequence[JudgedText]) -> list[Mistake]:
    """Return what was given in place of what, the most frequent first.

    A piece that was not found exactly is told apart as Chinchor and Sundheim do (1993, MUC-5
    Evaluation Metrics): something that overlaps it was given in its place, or it was missed; what
    is left over is spurious.
    """
    counts: Counter[tuple[str, str]] = Counter()
    for text in judged:
        if text.wanted.label != text.head.label:
            counts[text.wanted.label, text.head.label] += 1
        spurious = [span for span in text.head.spans if span not in text.wanted.spans]
        for span in [span for span in text.wanted.spans if span not in text.head.spans]:
            given = next((each for each in spurious if _overlap(each, span)), None)
            counts[span.label, given.label if given is not None else ""] += 1
            spurious = [each for each in spurious if each is not given]
        counts.update(("", span.label) for span in spurious)
    ordered = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    return [Mistake(true=true, given=given, count=count) for (true, given), count in ordered]


def calibrate(confidences: Sequence[float], rights: Sequence[bool]) -> Calibration:
    """Return how far probabilities are from the share of right answers, in bins of equal width.

    Args:
        confidences: Probability of each answer that was given.
        rights: Whether it is right, in the same order.

    Source:
        Guo et al. 2017, On Calibration of Modern Neural Networks, section 2, arXiv:1706.04599
        (expected calibration error; 15 bins, as in their section 5).
    """
    if not confidences:
        return Calibration(expected_error=None, n=0, bins=[])
    given, right = numpy.asarray(confidences, dtype=float), numpy.asarray(rights, dtype=float)
    numbers = numpy.clip(numpy.ceil(given * _BINS).astype(int) - 1, 0, _BINS - 1)  # (low, high]
    bins, error = [], 0.0
    for number in range(_BINS):
        inside = numbers == number
        if not inside.any():
            continue
        confidence, share = float(given[inside].mean()), float(right[inside].mean())
        error += inside.mean() * abs(confidence - share)
        bins.append(
            CalibrationBin(
                low=round(number / _BINS, 4),
                high=round((number + 1) / _BINS, 4),
                n=int(inside.sum()),
                confidence=round(confidence, 4),
                right=round(share, 4),
            )
        )
    return Calibration(expected_error=round(float(error), 4), n=len(given), bins=bins)


def _calibration(judged: Sequence[JudgedText], found: Sequence[LabelledText], *, kind: HeadKind) -> Calibration:
    if kind == "classification":
        return calibrate([each.score for each in found], [text.right for text in judged])
    pairs = [
        (score, span in text.wanted.spans)
        for text, each in zip(judged, found, strict=True)
        for span, score in zip(each.spans, each.span_scores, strict=True)
    ]
    return calibrate([score for score, _right in pairs], [right for _score, right in pairs])


def _compare(judged: Sequence[JudgedText], ours: Counts, config: HeadConfig, *, seed: int) -> list[BaselineScores]:
    """Return the baselines with what the head has over each, the strongest first."""
    compared = []
    for name in judged[0].baselines:
        theirs = _count(judged, [text.baselines[name] for text in judged], config)
        f1 = _f1(theirs, kind=config.kind)
        low, high = f1_interval(ours, theirs, kind=config.kind, seed=seed)
        compared.append(
            BaselineScores(
                name=name,
                f1=round(f1, 4),
                difference=round(_f1(ours, kind=config.kind) - f1, 4),
                interval=Interval(low=round(low, 4), high=round(high, 4)),
                accuracy=_right_texts(judged, name, seed=seed) if config.kind == "classification" else None,
            )
        )
    return sorted(compared, key=lambda each: -each.f1)


def _right_texts(judged: Sequence[JudgedText], name: str, *, seed: int) -> RightTexts:
    pairs = [(text.right, text.baselines_right[name]) for text in judged]
    first, second = [float(one) for one, _other in pairs], [float(other) for _one, other in pairs]
    head_only, baseline_only = pairs.count((True, False)), pairs.count((False, True))
    low, high = difference_interval(first, second, seed=seed)
    smallest = smallest_difference(first, second)
    return RightTexts(
        n=len(pairs),
        head_only=head_only,
        baseline_only=baseline_only,
        both=pairs.count((True, True)),
        neither=pairs.count((False, False)),
        p_value=float(f"{mcnemar_p(head_only, baseline_only):.3g}"),
        accuracy=round(sum(second) / len(second), 4),
        difference=Interval(low=round(low, 4), high=round(high, 4)),
        smallest_difference=None if smallest is None else round(smallest, 4),
    )


def _count(judged: Sequence[JudgedText], said: Sequence[Said], config: HeadConfig) -> Counts:
    if config.kind == "classification":
        true = [text.wanted.label for text in judged]
        return label_counts(true, [each.label for each in said], labels=config.labels)
    return entity_counts([text.wanted.spans for text in judged], [each.spans for each in said], labels=config.labels)


def _f1(counts: Counts, *, kind: HeadKind) -> float:
    return float(f1_score(counts.sum(axis=0), kind=kind))


def _is_same(said: Said, wanted: Said) -> bool:
    return said.label == wanted.label and set(said.spans) == set(wanted.spans)


def _overlap(one: Span, other: Span) -> bool:
    return one.start < other.end and other.start < one.end
