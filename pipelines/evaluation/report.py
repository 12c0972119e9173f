"""What an evaluation comes to: the fields of report.json, each said once for people too."""

from __future__ import annotations

from typing import Literal, get_args

from pydantic import BaseModel, Field

from pipelines.records import ExampleKind, Language

ANSWERS = "answers.jsonl"
REPORT = "report.json"
ArmName = Literal[
    "base", "few_shot", "tuned", "closest", "base_retrieval", "tuned_retrieval", "base_closed_book", "tuned_closed_book"
]
ARM_NAMES: tuple[ArmName, ...] = get_args(ArmName)
DEFAULT_ARMS = "base,few_shot,tuned,closest"
ARTEFACT = "artefact"
Verdict = Literal["better", "inconclusive", "worse"]
Metric = Literal["quote_f1", "rouge_l", "exact_match", "refusal"]

ARM_TITLES: dict[str, str] = {
    "base": "base",
    "few_shot": "base with examples",
    "tuned": "tuned",
    "closest": "the closest sentence, no model",
    "base_retrieval": "base, passages found by search",
    "tuned_retrieval": "tuned, passages found by search",
    "base_closed_book": "base, no passages",
    "tuned_closed_book": "tuned, no passages",
    ARTEFACT: "the exported model",
}


class Interval(BaseModel):
    """A 95% interval."""

    low: float
    high: float


class ArmScores(BaseModel):
    """The scores of one arm; None where the test has nothing to measure it on."""

    quote_f1: float
    exact_match: float
    correct_refusals: float | None
    wrong_refusals: float
    proved: float
    loss: float | None
    score: float = 0.0  # mean over the answerable questions, each by the metric of its kind
    rouge_l: float | None = None
    right: float = 0.0  # share of right answers, refusals included
    retrieved: float | None = None  # share of answerable questions whose own passage the search found
    n: int = 0  # questions that count; of those for which the search finds an answer after all, none does


class JudgedQuestion(BaseModel):
    """One question of the test with what each arm answered, for whoever wants to see for themselves."""

    question: str
    wanted: str
    answers: dict[str, str]
    kind: ExampleKind = ExampleKind.GROUNDED
    scores: dict[str, float] = Field(default_factory=dict)


class KindScores(BaseModel):
    """The mean score of each arm on one kind of example, by the metric of that kind."""

    kind: ExampleKind
    metric: Metric
    n: int
    arms: dict[str, float]


class RightWrong(BaseModel):
    """Who is right where the other is wrong, and how likely chance makes such counts (exact McNemar test)."""

    against: ArmName = "base"  # the stronger of base and few_shot
    rule: str = ""
    n: int = 0
    tuned_only: int = 0
    other_only: int = 0
    both: int = 0
    neither: int = 0
    p_value: float = 1.0


class Power(BaseModel):
    """What a test of this size can tell; None where the differences do not vary."""

    mean_difference: float = 0.0
    smallest_difference: float | None = None
    level: float = 0.05
    power: float = 0.8


class Leaks(BaseModel):
    """Test questions that stand in the training or validation split too; they are left out of every score."""

    count: int = 0
    examples: list[str] = Field(default_factory=list)  # three at most


class GeneralLoss(BaseModel):
    """Loss on general texts of one kind and language, in nats per token, and how far the predictions moved."""

    kind: Literal["text", "instruction"]
    language: Language
    base: float
    tuned: float
    kl: float  # KL(base || tuned), mean over the tokens, in nats
    tokens: int


class Forgetting(BaseModel):
    """What tuning did to what the model could do before, on texts that have nothing to do with the dataset."""

    base: float
    tuned: float
    kl: float
    tokens: int
    parts: list[GeneralLoss]


class Memorisation(BaseModel):
    """Whether training records were learnt by heart."""

    train_records: int
    train_loss: dict[str, float]  # of base and tuned
    test_loss: dict[str, float]
    gap: dict[str, float]  # test - train; the base's is what the splits differ by without any training
    echoes: int  # test answers that hold a run of words of a training answer which nothing shown or wanted holds
    echoed_runs: float  # such runs, as a share of all runs of the tuned answers
    run_words: dict[Language, int]


class JudgedPairs(BaseModel):
    """What a judge says of pairs of answers, each shown in both orders."""

    judge: str
    against: ArmName
    pairs: int
    tuned_wins: int
    other_wins: int
    ties: int
    flips: int  # the verdict turned with the order; counted as ties
    unread: int
    bias: str


class EvaluateReport(BaseModel):
    """Whether the tuned model is better, and how sure that is."""

    metric: Literal["quote_f1", "score"] = "quote_f1"
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
    kinds: list[KindScores] = Field(default_factory=list)
    mcnemar: RightWrong = Field(default_factory=RightWrong)
    power: Power = Field(default_factory=Power)
    leaks: Leaks = Field(default_factory=Leaks)
    forgetting: Forgetting | None = None
    memorisation: Memorisation | None = None
    judged: JudgedPairs | None = None
    test_sha256: str = ""
    page: str = ""
    card: str = ""
    lm_eval: str = ""  # how the same adapter is put to standard benchmarks, by a tool of its own
