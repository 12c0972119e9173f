"""What an evaluation of retrieval comes to: the fields of report.json."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel

from pipelines.records import Language

Arm = Literal["all", "dense", "keyword", "rrf"]
SIMPLE_ARMS: tuple[Arm, ...] = ("dense", "keyword", "rrf")
ARM_TITLES: dict[Arm, str] = {
    "all": "as the chatbot searches",
    "rrf": "reciprocal rank fusion",
    "keyword": "BM25",
    "dense": "dense",
}
LANGUAGE_TITLES: dict[str, str] = {"en": "English", "zh": "Chinese"}
RANKS = 10  # ranks of the curve, and of nDCG and MRR
Measure = Literal["nDCG@10", "recall@5"]


class Figures(BaseModel):
    """How well questions find what is known; each is the mean over the questions, from 0 to 1."""

    n: int  # questions
    recall_at_1: float
    recall_at_5: float
    recall_at_10: float
    recall_at_top_k: float
    ndcg_at_10: float
    mrr_at_10: float


class ArmFigures(Figures):
    """The figures of one way of searching."""

    arm: Arm
    recall_curve: list[float]  # at 1, 2, ... 10


class NamedFigures(Figures):
    """The figures of the questions of one language, or about one document."""

    name: str


class Difference(BaseModel):
    """By how much the whole search is better than the best simple way, with a 95% interval (paired bootstrap)."""

    measure: Measure
    against: Arm
    mean: float
    low: float
    high: float


class Latency(BaseModel):
    """How long a search takes, without the loading of models."""

    p50_ms: float
    p95_ms: float


class Answerability(BaseModel):
    """How well answerable questions are told from others.

    At the threshold that is in use, and at the one that would have divided these questions best,
    which is a little too good to be true of others.
    """

    n_answerable: int
    n_unanswerable: int
    auroc: float
    threshold: float
    wrongly_refused: float  # share of answerable questions below it
    wrongly_answered: float  # share of unanswerable ones at or above it
    best_threshold: float
    best_wrongly_refused: float
    best_wrongly_answered: float


class AskedQuestion(BaseModel):
    """One question with what came of it; a line of questions.jsonl."""

    question: str
    language: Language
    document: str  # that answers; empty if none does
    rank: int | None  # of the first right passage, or of the document where no more is known
    ranks: dict[Arm, int | None]  # the same, for each way of searching
    found: str  # document of the first passage
    passage: str  # text of the first passage
    answerable: float
    ms: float


class EvaluateDocumentsReport(BaseModel):
    """How well the passages of a collection are found."""

    collection: str
    source: str
    summary: str
    n: int  # questions that the documents answer
    n_unanswerable: int
    left_out: int
    outside: int
    is_tuned: bool  # weights and threshold were fitted to this collection
    top_k: int
    arms: list[ArmFigures]
    differences: list[Difference]
    latency: Latency
    languages: list[NamedFigures]
    documents: list[NamedFigures]  # worst first
    answerability: Answerability | None
    missed: list[AskedQuestion]  # the first of those without a right passage among top_k
    missed_count: int
    questions: str
    report: str
    page: str
    seconds: float

    @property
    def whole(self) -> ArmFigures:
        """The figures of the search as it is."""
        return next(each for each in self.arms if each.arm == "all")
