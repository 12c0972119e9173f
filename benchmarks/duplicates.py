"""How many planted duplicates are found among 10,000 questions, how many others are taken for some.

Planted are copies (case, spaces, punctuation), near copies (politeness, slips of the hand,
another order) and paraphrases written by hand; so are pairs that look alike and ask something
else. Half of the pairs were set aside before anything was tuned.

Run: python -m benchmarks.duplicates [QUESTIONS.jsonl[.gz]]
A line of the file has a `question`, or `questions` with one each. Without a file, questions
are made of templates.
"""

from __future__ import annotations

import gzip
import json
import os
import random
import re
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from benchmarks.measure import Row, median_seconds, peak_mb
from pipelines.dataset.checks.duplicates import DuplicateFinder, Problem
from pipelines.models.embedder import Embedder
from pipelines.operation import open_context
from pipelines.records import content_id

_DATA = Path(__file__).parent / "data"
_BASE, _PLANTED = 10_000, 150
_POLITE = ("Could you tell me, {}", "Please tell me: {}", "I would like to know: {}", "{} Thanks!", "Hello, {}")
_FRONTED = re.compile(r"^(?P<rest>.+) (?P<moved>(?:in|at|during|on|for|from) [^?]+)\?$")
Kind = Literal["exact", "near", "paraphrase"]
KINDS: tuple[Kind, ...] = ("exact", "near", "paraphrase")
_KIND_OF: dict[str, Kind] = {"exact_duplicate": "exact", "near_duplicate": "near", "paraphrase": "paraphrase"}


@dataclass(frozen=True, kw_only=True)
class Pair:
    """Two questions that were written as a pair."""

    half: str
    language: str
    first: str
    second: str


@dataclass(frozen=True, kw_only=True)
class Planted:
    """A question that was put in, and of which it is a duplicate; of none if that is empty."""

    question: str
    original: str = ""
    kind: Kind | None = None


@dataclass
class Tally:
    """What was found, by kind."""

    planted: Counter[str] = field(default_factory=Counter)
    found: Counter[str] = field(default_factory=Counter)  # planted ones of a kind that were found, as whatever
    right: Counter[str] = field(default_factory=Counter)  # verdicts of a kind that are right
    wrong: Counter[str] = field(default_factory=Counter)
    natural: int = 0  # duplicates that stood in the questions already; people say so

    def scores(self, kind: str = "") -> tuple[float, float, float]:
        """Return precision, recall and F1 of a kind; of all together without one."""
        kinds = [kind] if kind else list(KINDS)
        right, wrong = sum(self.right[each] for each in kinds), sum(self.wrong[each] for each in kinds)
        precision = right / max(1, right + wrong)
        recall = sum(self.found[each] for each in kinds) / max(1, sum(self.planted[each] for each in kinds))
        return precision, recall, 2 * precision * recall / max(1e-9, precision + recall)


def measure() -> list[Row]:
    """Measure both halves; with the questions that QUESTIONS_FILE names, if it is set."""
    source = os.environ.get("QUESTIONS_FILE")
    base = read_questions(Path(source)) if source else template_questions()
    with tempfile.TemporaryDirectory() as folder:
        embedder = open_context(Path(folder)).models.open_embedder()
    embedder.embed(["warm"])
    rows = [_exact_and_near(base)]
    for half in ("tuned", "held_out"):
        rows += _half(base, half, embedder, name="questions of people" if source else "questions of templates")
    return rows


def read_questions(path: Path) -> list[str]:
    """Return the first questions of a file, each once."""
    content = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    records = [json.loads(line) for line in content.decode().splitlines()]
    asked = [each["question"].strip() for record in records for each in record.get("questions", [record])]
    return list(dict.fromkeys(asked))[:_BASE]


def template_questions() -> list[str]:
    """Return questions that differ from each other in what they are about, or in what they ask."""
    groups = json.loads((_DATA / "duplicates_templates.json").read_text(encoding="utf-8"))
    asked = [
        template.format(thing.replace("-", " "))
        for group in groups.values()
        for thing in group["things"].split()
        for template in group["questions"]
    ]
    random.Random(0).shuffle(asked)
    return asked[:_BASE]


def read_pairs(name: str, half: str) -> list[Pair]:
    """Return the pairs of a half."""
    lines = (_DATA / f"duplicates_{name}.jsonl").read_text(encoding="utf-8").splitlines()
    return [pair for pair in (Pair(**json.loads(line)) for line in lines) if pair.half == half]


def plant(base: Sequence[str], half: str, *, languages: Sequence[str]) -> list[Planted]:
    """Return the questions with duplicates and pairs planted, originals before their duplicates."""
    chosen = random.Random(half)
    originals = [question for question in base if len(question.split()) >= 6]
    sampled = chosen.sample(originals, 2 * min(_PLANTED, len(originals) // 2))
    half_way = len(sampled) // 2
    duplicates = [Planted(question=_copy(each, chosen), original=each, kind="exact") for each in sampled[:half_way]]
    duplicates += [Planted(question=_vary(each, chosen), original=each, kind="near") for each in sampled[half_way:]]
    firsts = []
    for name, kind in (("paraphrases", "paraphrase"), ("hard_negatives", None)):
        for pair in read_pairs(name, half):
            if pair.language in languages:
                firsts.append(Planted(question=pair.first))
                original = pair.first if kind else ""
                duplicates.append(Planted(question=pair.second, original=original, kind="paraphrase" if kind else None))
    chosen.shuffle(duplicates)
    return [*(Planted(question=question) for question in base), *firsts, *duplicates]


def judge(stream: Sequence[Planted], problems: Sequence[Problem | None]) -> Tally:
    """Count what was found; duplicates that stood in the questions already count neither way."""
    natural = _natural()
    same_as: dict[str, str] = {}
    tally = Tally()
    for planted, problem in zip(stream, problems, strict=True):
        if planted.kind:
            tally.planted[planted.kind] += 1
        if problem is None:
            continue
        # What was planted for a question that was itself a duplicate has to lead to the same.
        same_as.setdefault(planted.question, problem.of)
        wanted = same_as.get(planted.original, planted.original)
        if planted.kind and problem.of in (planted.original, wanted):
            tally.found[planted.kind] += 1
            tally.right[_KIND_OF[problem.check]] += 1
        elif not planted.kind and (
            _bare(problem.of) == _bare(planted.question) or natural.get(_pair(problem, planted))
        ):
            tally.natural += 1
        else:
            tally.wrong[_KIND_OF[problem.check]] += 1
    return tally


def main(arguments: list[str]) -> int:
    """Print the table."""
    if arguments:
        os.environ["QUESTIONS_FILE"] = arguments[0]
    for row in measure():
        print(row.line())
    return 0


def _exact_and_near(base: Sequence[str]) -> Row:
    taken = median_seconds(lambda: DuplicateFinder().check_all(base), times=3)
    return Row(
        what=f"exact and MinHash duplicates, {len(base)} questions",
        figure=f"{taken:.2f} s",
        against="at most 3 s",
        ratio=3 / taken,
    )


def _half(base: Sequence[str], half: str, embedder: Embedder, *, name: str) -> Iterator[Row]:
    for language in ("en", "zh"):
        stream = plant(base if language == "en" else (), half, languages=(language,))
        started = time.perf_counter()
        problems = DuplicateFinder(embedder).check_all([each.question for each in stream])
        taken = time.perf_counter() - started
        tally = judge(stream, problems)
        shown = ("", *KINDS) if language == "en" else ("paraphrase",)
        for kind in shown:
            precision, recall, f1 = tally.scores(kind)
            yield Row(
                what=f"duplicates among {name}, {half}, {language}, {kind or 'all'}",
                figure=f"F1 {f1:.3f} (precision {precision:.3f}, recall {recall:.3f})",
                against="0.95" if not kind else "",
                ratio=f1 / 0.95 if not kind else None,
            )
        if language == "en":
            yield Row(
                what=f"with paraphrases, {len(stream)} questions",
                figure=f"{taken:.1f} s; {sum(tally.wrong.values())} wrong, {tally.natural} natural",
                peak_mb=peak_mb(),
            )


def _copy(question: str, chosen: random.Random) -> str:
    """Return a question that is the same but for case, spaces and punctuation."""
    bare = question.rstrip("?. ")
    ways = (question.upper(), question.lower(), f"  {bare} ?", f"{bare}??", bare, question.replace(" ", "  "))
    return chosen.choice(ways)


def _vary(question: str, chosen: random.Random) -> str:
    """Return a question with politeness, a slip of the hand, or its end moved to the front."""
    way = chosen.randrange(3)
    fronted = _FRONTED.match(question)
    if way == 0 and fronted:
        rest, moved = fronted["rest"], fronted["moved"]
        return f"{moved[0].upper()}{moved[1:]}, {rest[0].lower()}{rest[1:]}?"
    long_words = [word for word in question.rstrip("?").split() if len(word) >= 6 and word.isalpha()]
    if way == 1 and long_words:
        word = chosen.choice(long_words)
        at = chosen.randrange(1, len(word) - 2)
        slips = (
            word[:at] + word[at + 1 :],
            word[:at] + word[at + 1] + word[at] + word[at + 2 :],
            word[:at] + word[at : at + 1] + word[at:],
        )
        return question.replace(word, chosen.choice(slips), 1)
    return chosen.choice(_POLITE).format(question)


def _bare(question: str) -> str:
    return "".join(filter(str.isalnum, question.casefold()))


def _pair(problem: Problem, planted: Planted) -> str:
    """Return what a pair is labelled by; the questions themselves are not ours to ship."""
    return content_id(problem.of, planted.question)


def _natural() -> dict[str, bool]:
    path = _DATA / "duplicates_natural.jsonl"
    if not path.is_file():
        return {}
    lines = map(json.loads, path.read_text(encoding="utf-8").splitlines())
    return {line["pair"]: line["same"] for line in lines}


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
