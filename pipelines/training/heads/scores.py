"""How good predicted labels are: F1 by class or by entity, and how sure a difference is.

An entity counts as found only if its first and last character and its label are right
(Tjong Kim Sang and De Meulder 2003, CoNLL-2003 shared task, section 3, arXiv:cs/0306050).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy
from numpy.typing import NDArray
from sklearn import metrics

from pipelines.records import Span
from pipelines.training.heads.figures import Confusion, LabelFigures
from pipelines.training.heads.labelled import HeadKind

# For each text and label: right, predicted, and true; int, (texts, labels, 3).
Counts = NDArray[numpy.int64]
_RESAMPLES = 5_000
_RESAMPLES_AT_ONCE = 250


def label_counts(true: Sequence[str], predicted: Sequence[str], *, labels: Sequence[str]) -> Counts:
    """Return the counts of texts with one label each."""
    known = numpy.array(labels)
    is_true = numpy.array(true)[:, None] == known
    is_predicted = numpy.array(predicted)[:, None] == known
    return numpy.stack([is_true & is_predicted, is_predicted, is_true], axis=-1).astype(numpy.int64)


def entity_counts(
    true: Sequence[Sequence[Span]], predicted: Sequence[Sequence[Span]], *, labels: Sequence[str]
) -> Counts:
    """Return the counts of entities; of each text once for the same place and label."""
    counts = numpy.zeros((len(true), len(labels), 3), dtype=numpy.int64)
    for row, (wanted, found) in enumerate(zip(true, predicted, strict=True)):
        for column, spans in enumerate(({*wanted} & {*found}, {*found}, {*wanted})):
            for label, count in Counter(span.label for span in spans).items():
                counts[row, labels.index(label), column] = count
    return counts


def f1_score(totals: NDArray[numpy.int64], *, kind: HeadKind) -> NDArray[numpy.float64]:
    """Return the F1 by which heads of a kind are compared: macro for texts, micro for entities.

    Args:
        totals: Right, predicted and true of each label; int, (..., labels, 3). A label that is
            neither predicted nor true does not count.
        kind: What was predicted.
    """
    right, predicted, true = numpy.moveaxis(totals if kind == "classification" else totals.sum(axis=-2), -1, 0)
    f1: NDArray[numpy.float64] = numpy.asarray(2 * right / numpy.maximum(predicted + true, 1))
    if kind == "tokens":
        return f1
    return numpy.asarray(f1.sum(axis=-1) / numpy.maximum((predicted + true > 0).sum(axis=-1), 1))


def label_figures(counts: Counts, *, labels: Sequence[str]) -> list[LabelFigures]:
    """Return precision, recall and F1 of each label."""
    return [
        LabelFigures(
            label=label,
            precision=round(right / max(predicted, 1), 4),
            recall=round(right / max(true, 1), 4),
            f1=round(2 * right / max(predicted + true, 1), 4),
            support=true,
        )
        for label, (right, predicted, true) in zip(labels, counts.sum(axis=0).tolist())
    ]


def confusions(true: Sequence[str], predicted: Sequence[str], *, labels: Sequence[str]) -> list[Confusion]:
    """Return how often which label was given in place of which, the most frequent first."""
    matrix = metrics.confusion_matrix(true, predicted, labels=list(labels))
    found = [
        Confusion(true=labels[row], given=labels[column], texts=int(matrix[row, column]))
        for row, column in zip(*matrix.nonzero())
        if row != column
    ]
    return sorted(found, key=lambda each: -each.texts)


def difference_interval(first: Counts, second: Counts, *, kind: HeadKind, seed: int) -> tuple[float, float]:
    """Return the 95% interval of the difference of two F1 on the same texts, by paired bootstrap.

    Source:
        Koehn 2004, Statistical Significance Tests for Machine Translation Evaluation, section 3
        (texts are drawn again, and the measure of the whole set is computed each time).
    """
    texts = len(first)
    rng = numpy.random.default_rng(seed)
    both = numpy.concatenate([each.reshape(texts, -1) for each in (first, second)], axis=1).astype(numpy.float64)
    differences = []
    for _ in range(0, _RESAMPLES, _RESAMPLES_AT_ONCE):
        drawn = rng.multinomial(texts, numpy.full(texts, 1 / texts), size=_RESAMPLES_AT_ONCE)
        totals = (drawn.astype(numpy.float64) @ both).reshape(_RESAMPLES_AT_ONCE, 2, *first.shape[1:])
        f1 = f1_score(totals.round().astype(numpy.int64), kind=kind)
        differences.append(f1[:, 0] - f1[:, 1])
    low, high = numpy.quantile(numpy.concatenate(differences), [0.025, 0.975])
    return float(low), float(high)
