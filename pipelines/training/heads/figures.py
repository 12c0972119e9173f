"""What a head is judged by, as its report shows it."""

from __future__ import annotations

from pydantic import BaseModel


class LabelFigures(BaseModel):
    """How well one label is found in the test split."""

    label: str
    precision: float
    recall: float
    f1: float
    support: int  # texts with the label, or entities


class Confusion(BaseModel):
    """A label that was given in place of another."""

    true: str
    given: str
    texts: int


class BaselineFigures(BaseModel):
    """What a way without a neural network comes to on the same texts."""

    name: str
    f1: float
    difference: float  # of the head's F1 to it, with its 95% interval by paired bootstrap
    low: float
    high: float


class HeadFigures(BaseModel):
    """How well a head does on the test split, and against what is simpler."""

    f1: float  # macro for classification, micro over entities for tokens
    macro_f1: float
    accuracy: float | None  # of classification
    precision: float | None  # of entities
    recall: float | None
    per_label: list[LabelFigures]
    confusions: list[Confusion]  # of classification; with the supports, the whole confusion matrix
    baselines: list[BaselineFigures]
