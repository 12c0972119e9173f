"""What the evaluation of a head comes to: the fields of report.json, each said once for people too."""

from __future__ import annotations

from pydantic import BaseModel, Field

from pipelines.evaluation.report import Interval, Leaks, Verdict
from pipelines.records import Span
from pipelines.training.heads.figures import LabelFigures
from pipelines.training.heads.labelled import HeadKind


class Said(BaseModel):
    """What a text is labelled with: a label, or pieces."""

    label: str = ""
    spans: tuple[Span, ...] = ()


class JudgedText(BaseModel):
    """One text of the test with what each way said of it, for whoever wants to see for themselves."""

    text: str
    wanted: Said
    head: Said
    confidence: float | None  # probability of the label, or the lowest of a found piece
    right: bool  # label, or all pieces and no other
    baselines: dict[str, Said]
    baselines_right: dict[str, bool]


class Mistake(BaseModel):
    """What was given in place of what, and how often.

    An empty label is none: a piece that was missed, or one that is not there. The same label on
    both sides is a piece that was found with another beginning or end.
    """

    true: str
    given: str
    count: int


class RightTexts(BaseModel):
    """Who is right where the other is wrong, and how likely chance makes such counts (exact McNemar test)."""

    n: int
    head_only: int
    baseline_only: int
    both: int
    neither: int
    p_value: float
    accuracy: float  # of the baseline
    difference: Interval  # of the head's accuracy to it
    smallest_difference: float | None  # that a test of this size would probably have shown


class BaselineScores(BaseModel):
    """What a way without a neural network comes to on the same texts."""

    name: str
    f1: float
    difference: float  # of the head's F1 to it
    interval: Interval  # by paired bootstrap
    accuracy: RightTexts | None  # of classification


class CalibrationBin(BaseModel):
    """The answers whose probability lies between two bounds."""

    low: float
    high: float
    n: int
    confidence: float  # mean probability
    right: float  # share of right ones


class Calibration(BaseModel):
    """Whether probabilities can be taken at their word: of labels, or of the pieces that were found."""

    expected_error: float | None  # None where nothing was found
    n: int
    bins: list[CalibrationBin]  # those that are not empty


class HeadScores(BaseModel):
    """How well a head does on the test texts."""

    f1: float  # macro for classification, micro over entities for tokens
    macro_f1: float
    accuracy: float | None  # of classification
    precision: float | None  # of entities
    recall: float | None
    entities: int | None
    per_label: list[LabelFigures]
    mistakes: list[Mistake]  # the most frequent first
    baselines: list[BaselineScores]  # the strongest first
    calibration: Calibration


class EvaluateHeadReport(HeadScores):
    """Whether a head is better than what is simpler, and how sure that is."""

    adapter: str
    kind: HeadKind
    base: str
    dataset: str
    verdict: Verdict
    summary: str
    n: int  # texts
    difference: Interval  # of the head's F1 to the strongest baseline's
    labels: list[str]
    is_made_split: bool  # the test texts were set aside by their hashes, when the head was trained
    cut: int  # texts of which the end was not read
    leaks: Leaks = Field(default_factory=Leaks)
    test_sha256: str
    report: str
    page: str
    card: str
    seconds: float

    @property
    def strongest(self) -> BaselineScores:
        """The baseline with the highest F1."""
        return self.baselines[0]
