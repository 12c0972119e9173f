"""How good a head is: on validation while it trains, and on the test split against baselines."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy

from pipelines.records import Span
from pipelines.training.heads.baselines import predict_dictionary, predict_majority, predict_tfidf
from pipelines.training.heads.figures import BaselineFigures, HeadFigures
from pipelines.training.heads.fitting import Validation
from pipelines.training.heads.labelled import LabelledData
from pipelines.training.heads.labeller import read_labels, read_spans
from pipelines.training.heads.model import Head, judge
from pipelines.training.heads.preparing import PreparedSplit
from pipelines.training.heads.scores import (
    Counts,
    confusions,
    difference_interval,
    entity_counts,
    f1_score,
    label_counts,
    label_figures,
)


def validate(head: Head, split: PreparedSplit) -> Validation:
    """Return F1 and loss of a head on a split."""
    probabilities = judge(head, split.items)
    nats = [
        -numpy.log(numpy.maximum(each[range(len(item.targets)), item.targets], 1e-12))
        for each, item in zip(probabilities, split.items)
    ]
    if head.config.kind == "classification":
        predicted = [each.label for each in read_labels(probabilities, labels=head.config.labels)]
        counts = label_counts(split.labels, predicted, labels=head.config.labels)
    else:
        found = [each.spans for each in read_spans(split.texts, probabilities, labels=head.config.labels)]
        counts = _span_counts(split, found, labels=head.config.labels)
    return Validation(
        f1=float(f1_score(counts.sum(axis=0), kind=head.config.kind)), loss=float(numpy.concatenate(nats).mean())
    )


def compare(head: Head, split: PreparedSplit, data: LabelledData, *, seed: int) -> HeadFigures:
    """Return the figures of a head on the test split, with the baselines' beside them."""
    if head.config.kind == "classification":
        return _compare_labels(head, split, data, seed=seed)
    return _compare_spans(head, split, data, seed=seed)


def _compare_labels(head: Head, split: PreparedSplit, data: LabelledData, *, seed: int) -> HeadFigures:
    labels = head.config.labels
    predicted = [each.label for each in read_labels(judge(head, split.items), labels=labels)]
    texts = [record.text for record in split.records]
    ours = label_counts(split.labels, predicted, labels=labels)
    others = {
        "most frequent label": predict_majority(data.train, texts),
        "TF-IDF and logistic regression": predict_tfidf(data.train, data.validation, texts),
    }
    counts = {name: label_counts(split.labels, each, labels=labels) for name, each in others.items()}
    f1 = round(float(f1_score(ours.sum(axis=0), kind="classification")), 4)
    return HeadFigures(
        f1=f1,
        macro_f1=f1,
        accuracy=round(float(ours[..., 0].sum() / len(ours)), 4),
        precision=None,
        recall=None,
        per_label=label_figures(ours, labels=labels),
        confusions=confusions(split.labels, predicted, labels=labels),
        baselines=_baselines(head, ours, counts, seed=seed),
    )


def _compare_spans(head: Head, split: PreparedSplit, data: LabelledData, *, seed: int) -> HeadFigures:
    labels = head.config.labels
    predicted = [each.spans for each in read_spans(split.texts, judge(head, split.items), labels=labels)]
    texts = [record.text for record in split.records]
    ours = _span_counts(split, predicted, labels=labels)
    others = {"dictionary of the training spans": predict_dictionary(data.train, texts)}
    counts = {name: _span_counts(split, each, labels=labels) for name, each in others.items()}
    right, found, true = ours.sum(axis=(0, 1)).tolist()
    return HeadFigures(
        f1=round(float(f1_score(ours.sum(axis=0), kind="tokens")), 4),
        macro_f1=round(float(f1_score(ours.sum(axis=0), kind="classification")), 4),
        accuracy=None,
        precision=round(right / max(found, 1), 4),
        recall=round(right / max(true, 1), 4),
        per_label=label_figures(ours, labels=labels),
        confusions=[],
        baselines=_baselines(head, ours, counts, seed=seed),
    )


def _span_counts(split: PreparedSplit, predicted: Sequence[Sequence[Span]], *, labels: Sequence[str]) -> Counts:
    return entity_counts([record.spans for record in split.records], predicted, labels=labels)


def _baselines(head: Head, ours: Counts, others: Mapping[str, Counts], *, seed: int) -> list[BaselineFigures]:
    kind = head.config.kind
    own = float(f1_score(ours.sum(axis=0), kind=kind))
    figures = []
    for name, counts in others.items():
        f1 = float(f1_score(counts.sum(axis=0), kind=kind))
        low, high = difference_interval(ours, counts, kind=kind, seed=seed)
        figures.append(
            BaselineFigures(
                name=name,
                f1=round(f1, 4),
                difference=round(own - f1, 4),
                low=round(low, 4),
                high=round(high, 4),
            )
        )
    return figures
