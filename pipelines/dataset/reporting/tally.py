"""What a dataset holds, counted in one pass over its files, for whoever describes it.

Every file but the examples may be missing: what was never curated has no splits. What stages
left as their report is read tolerantly, because datasets outlive the version that made them.
"""

from __future__ import annotations

import itertools
import math
import random
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel, ConfigDict, JsonValue, ValidationError

from pipelines.dataset.files import (
    CHUNKS,
    CURATED,
    EXAMPLES,
    MANIFEST,
    REJECTED,
    REJECTED_BY_CURATION,
    split_file,
)
from pipelines.errors import DataError
from pipelines.records import SPLITS, Chunk, Example, Language, Rejection, read_records
from pipelines.text import words

SAMPLES = 10
_EXAMPLES_OF_CHECK = 3
_EXAMPLES_OF_DUPLICATES = 5
_EXAMPLES_OF_FLAG = 3
_HUGE = 1e9  # beyond, a score is a mistake and no axis shows it
_AnyRecord = TypeVar("_AnyRecord", bound=BaseModel)


class Calls(BaseModel):
    """What the calls to the teacher took, as far as a stage recorded it."""

    model_config = ConfigDict(extra="ignore")

    sent: int | None = None
    cached: int | None = None
    failed: int | None = None
    corrected: int | None = None
    tokens_in: int | None = None
    tokens_out: int | None = None
    cost_usd: float | None = None


class SimilarPair(BaseModel):
    """The two likest questions of different splits."""

    model_config = ConfigDict(extra="ignore")

    cosine: float
    first: str = ""
    second: str = ""


class StageReport(BaseModel):
    """What is read of a stage's report, whichever stage and version wrote it."""

    model_config = ConfigDict(extra="ignore")

    requested: int | None = None
    calls: Calls = Calls()
    seconds: float | None = None
    leaks: int | None = None
    largest_similarity: SimilarPair | None = None


class Stage(BaseModel):
    """The manifest of one stage."""

    model_config = ConfigDict(extra="ignore")

    finished: str = ""
    inputs: dict[str, JsonValue] = {}
    report: StageReport = StageReport()


@dataclass(frozen=True, slots=True)
class Point:
    """One question, as a point of the map: with what it is sorted by."""

    question: str
    kind: str
    language: Language
    document: str


@dataclass
class CheckTally:
    """What one check rejected."""

    check: str
    stage: str
    count: int = 0
    examples: list[Rejection] = field(default_factory=list)

    @property
    def is_about_duplicates(self) -> bool:
        """Whether it looks for what was there before."""
        return "duplicate" in self.check

    def add(self, rejection: Rejection) -> None:
        """Count a rejection, and keep the first few that differ."""
        self.count += 1
        wanted = _EXAMPLES_OF_DUPLICATES if self.is_about_duplicates else _EXAMPLES_OF_CHECK
        if len(self.examples) < wanted and all(rejection.text != each.text for each in self.examples):
            self.examples.append(rejection)


@dataclass
class SplitTally:
    """What one split holds."""

    count: int = 0
    kinds: Counter[str] = field(default_factory=Counter)
    languages: Counter[str] = field(default_factory=Counter)


@dataclass
class Tally:
    """What a dataset holds."""

    points: list[Point] = field(default_factory=list)
    kinds: Counter[str] = field(default_factory=Counter)
    languages: Counter[str] = field(default_factory=Counter)
    teachers: Counter[str] = field(default_factory=Counter)
    prompts: Counter[str] = field(default_factory=Counter)
    documents: Counter[str] = field(default_factory=Counter)
    sources: set[str] = field(default_factory=set)
    attributes: dict[str, Counter[str]] = field(default_factory=lambda: defaultdict(Counter))
    question_words: dict[Language, list[int]] = field(default_factory=lambda: defaultdict(list))
    answer_words: dict[Language, list[int]] = field(default_factory=lambda: defaultdict(list))
    scores: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    labels: Counter[str] = field(default_factory=Counter)
    augmented: int = 0
    flags: Counter[str] = field(default_factory=Counter)
    flagged: dict[str, list[Example]] = field(default_factory=lambda: defaultdict(list))
    samples: list[Example] = field(default_factory=list)
    checks: list[CheckTally] = field(default_factory=list)
    splits: dict[str, SplitTally] = field(default_factory=dict)
    chunks: dict[str, str] = field(default_factory=dict)  # chunk to document
    generated: Stage | None = None
    curated: Stage | None = None

    @property
    def examples(self) -> int:
        """How many examples were written."""
        return len(self.points)

    def rejected(self, stage: str) -> int:
        """How many records one stage rejected."""
        return sum(each.count for each in self.checks if each.stage == stage)


def tally_dataset(folder: Path, *, seed: int = 0) -> Tally:
    """Count what the dataset in `folder` holds.

    Raises:
        DataError: It has neither examples nor rejections, or a file of it is malformed.
    """
    if not (folder / EXAMPLES).is_file() and not (folder / REJECTED).is_file():
        raise DataError(
            f"the dataset {folder.name!r} has no examples yet",
            path=folder,
            hint=f"Write them with: assistant data generate {folder.name}",
        )
    tally = Tally(generated=_read_stage(folder / MANIFEST), curated=_read_stage(folder / CURATED))
    tally.chunks = {chunk.id: chunk.document for chunk in _read(folder / CHUNKS, Chunk)}
    # A document without examples is worth seeing, so all of them are counted from zero.
    tally.documents.update(dict.fromkeys(tally.chunks.values(), 0))
    sampler = _Sampler(seed)
    for example in _read(folder / EXAMPLES, Example):
        _add_example(tally, example)
        sampler.add(example)
    tally.samples = sampler.samples()
    for stage, file in (("generation", REJECTED), ("curation", REJECTED_BY_CURATION)):
        tally.checks += _tally_checks(_read(folder / file, Rejection), stage)
    for split in SPLITS:
        if (folder / split_file(split)).is_file():
            tally.splits[split] = _tally_split(_read(folder / split_file(split), Example))
    return tally


def _read(path: Path, record: type[_AnyRecord]) -> Iterator[_AnyRecord]:
    return read_records(path, record) if path.is_file() else iter(())


def _read_stage(path: Path) -> Stage | None:
    """Return a stage's manifest; None where there is none that can be read."""
    try:
        return Stage.model_validate_json(path.read_bytes())
    except (OSError, ValidationError):
        return None


def _add_example(tally: Tally, example: Example) -> None:
    document = tally.chunks.get(example.source) or (example.quotes[0].document if example.quotes else "")
    tally.points.append(Point(example.question, example.kind.value, example.language, document))
    tally.kinds[example.kind.value] += 1
    tally.languages[example.language] += 1
    tally.teachers[example.teacher] += 1
    tally.prompts[example.prompt] += 1
    tally.sources.update(example.sources)
    tally.augmented += bool(example.parents)
    tally.labels.update([example.label] if example.label else [span.label for span in example.spans])
    if document:
        tally.documents[document] += 1
    for name, value in example.attributes.items():
        tally.attributes[name][value] += 1
    tally.question_words[example.language].append(len(words(example.question)))
    tally.answer_words[example.language].append(len(words(example.answer)))
    for name, score in example.scores.items():
        if math.isfinite(score) and abs(score) < _HUGE:
            tally.scores[name].append(score)
    for flag in example.flags:
        tally.flags[flag] += 1
        if len(tally.flagged[flag]) < _EXAMPLES_OF_FLAG:
            tally.flagged[flag].append(example)


def _tally_checks(rejections: Iterable[Rejection], stage: str) -> list[CheckTally]:
    """Return what each check rejected, in the order in which they first did."""
    checks: dict[str, CheckTally] = {}
    for rejection in rejections:
        checks.setdefault(rejection.check, CheckTally(rejection.check, stage)).add(rejection)
    return list(checks.values())


def _tally_split(examples: Iterable[Example]) -> SplitTally:
    split = SplitTally()
    for example in examples:
        split.count += 1
        split.kinds[example.kind.value] += 1
        split.languages[example.language] += 1
    return split


class _Sampler:
    """Draws examples of every kind and language alike, without keeping all of them."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)
        self._seen: Counter[tuple[str, str]] = Counter()
        self._kept: dict[tuple[str, str], list[Example]] = defaultdict(list)

    def add(self, example: Example) -> None:
        """Keep the example, perhaps in place of another (Vitter 1985, algorithm R)."""
        key = (example.kind.value, example.language)
        self._seen[key] += 1
        if len(self._kept[key]) < SAMPLES:
            self._kept[key].append(example)
        elif (place := self._random.randrange(self._seen[key])) < SAMPLES:
            self._kept[key][place] = example

    def samples(self) -> list[Example]:
        """Return the first of each, then the second, and so on."""
        order = sorted(self._kept, key=lambda key: (-self._seen[key], key))
        rounds = itertools.zip_longest(*(self._kept[key] for key in order))
        return [example for each in rounds for example in each if example is not None][:SAMPLES]
