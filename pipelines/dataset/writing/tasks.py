"""What the teacher is asked, in which order: every passage in turn, in varied manners.

The kind and the manner of each task depend on its document, the round and the seed alone, so a run
that is taken up again asks the same things, and a document more does not change the tasks of others.
"""

from __future__ import annotations

import itertools
import re
from collections import deque
from collections.abc import Iterator, Mapping, Sequence

from pipelines.dataset.recipes.recipe import Task
from pipelines.dataset.writing.facts import find_facts
from pipelines.errors import SettingsError
from pipelines.records import Chunk, ExampleKind, content_id
from pipelines.text import language_of
from prompts import load_prompt

TWO_PASSAGES = "two_passages"
DEFAULT_KINDS = "grounded:4, unanswerable:1"
_KINDS = (*ExampleKind, TWO_PASSAGES)
_LABELLED = (ExampleKind.CLASSIFICATION, ExampleKind.SPANS)
_MOST_ROUNDS = 8
# Openings asked for in one call. The same for every dataset, so that a larger one asks nothing again.
_AT_ONCE = 4
# Its multiples fall evenly into any shares, wherever they begin (the golden ratio's fractional part).
_EVEN_STEP = 0.6180339887498949


def parse_kinds(text: str) -> dict[str, float]:
    """Read kinds with their shares, such as `grounded:4, unanswerable:1`.

    Raises:
        SettingsError: A kind is unknown, or a share is no positive number.
    """
    shares: dict[str, float] = {}
    for piece in filter(None, (piece.strip() for piece in text.split(","))):
        match = re.fullmatch(r"([a-z_]+)(?::(\d+(?:\.\d+)?))?", piece)
        if match is None or match[1] not in _KINDS or float(match[2] or 1) <= 0:
            raise SettingsError(
                f"{piece!r} is no kind of example", hint=f"Known: {', '.join(_KINDS)}; with a share: grounded:4"
            )
        shares[match[1]] = float(match[2] or 1)
    if not shares:
        raise SettingsError("no kind of example is asked for", hint=f"For example: --kinds {DEFAULT_KINDS!r}")
    total = sum(shares.values())
    return {kind: share / total for kind, share in shares.items()}


def parse_labels(text: str, kinds: Mapping[str, float]) -> tuple[str, ...]:
    """Read the labels of a classification, separated by commas.

    Raises:
        SettingsError: A kind needs labels and there are fewer than it needs.
    """
    labels = tuple(dict.fromkeys(label.strip() for label in text.split(",") if label.strip()))
    if ExampleKind.CLASSIFICATION in kinds and len(labels) < 2:
        raise SettingsError(
            "a classification needs two labels or more", hint="For example: --labels 'praise,complaint'"
        )
    if ExampleKind.SPANS in kinds and not labels:
        raise SettingsError("spans need labels", hint="For example: --labels 'person,place,date'")
    return labels


def plan_tasks(
    chunks: Sequence[Chunk], *, kinds: Mapping[str, float], labels: tuple[str, ...], seed: int
) -> Iterator[Task]:
    """Yield tasks, round after round over the passages, each round in another manner.

    Args:
        chunks: What there is to ask about.
        kinds: Shares of the kinds.
        labels: Labels of classification and spans.
        seed: Seed of the order and the manners.
    """
    rich = [chunk for chunk in chunks if find_facts(chunk)]
    order = sorted(rich, key=lambda chunk: content_id(str(seed), chunk.id))
    documents = _documents(rich)
    following = {first.id: second for own in documents.values() for first, second in itertools.pairwise(own)}
    numbers = {chunk.id: number for own in documents.values() for number, chunk in enumerate(own)}
    begins = {document: int(content_id("begin", str(seed), document), 16) for document in documents}
    for turn in range(_MOST_ROUNDS):
        kind_of = [
            _choose(kinds, (begins[chunk.document] / 2**64 + (numbers[chunk.id] + turn) * _EVEN_STEP) % 1)
            for chunk in order
        ]
        for chunk, chosen in _mixed(order, kind_of, kinds):
            passages: tuple[Chunk, ...] = (chunk,)
            if chosen == TWO_PASSAGES:
                passages = (chunk, following[chunk.id]) if chunk.id in following else (chunk,)
            kind = ExampleKind.GROUNDED if chosen == TWO_PASSAGES else ExampleKind(chosen)
            yield Task(
                kind=kind,
                chunks=passages,
                # One more than there are sentences to quote: a sentence often holds two facts.
                count=min(_AT_ONCE, len(find_facts(chunk)) + 1),
                language=language_of(chunk.text),
                attributes=_manner(begins[chunk.document] + numbers[chunk.id] + turn),
                labels=labels if kind in _LABELLED else (),
                round=turn,
            )


def _mixed(chunks: Sequence[Chunk], kind_of: Sequence[str], shares: Mapping[str, float]) -> Iterator[tuple[Chunk, str]]:
    """Yield passages with their kinds, each kind's in order, in such a mixture that any beginning has the shares."""
    queues: dict[str, deque[Chunk]] = {kind: deque() for kind in shares}
    for chunk, kind in zip(chunks, kind_of, strict=True):
        queues[kind].append(chunk)
    for number in itertools.count(1):
        left = {kind: shares[kind] for kind, queue in queues.items() if queue}
        if not left:
            return
        kind = _choose(left, number * _EVEN_STEP % 1 * sum(left.values()))
        yield queues[kind].popleft(), kind


def _choose(shares: Mapping[str, float], at: float) -> str:
    passed = 0.0
    for kind, share in shares.items():
        passed += share
        if at < passed:
            return kind
    return next(reversed(list(shares)))


def _manner(at: int) -> dict[str, str]:
    """Return who asks, what sort of question and how hard: another combination each round, well mixed."""
    constants = load_prompt("ask_questions").constants
    personas, forms, difficulties = (constants[name] for name in ("personas", "forms", "difficulties"))
    return {
        "persona": personas[at % len(personas)],
        "form": forms[(at + at // len(personas)) % len(forms)],
        "difficulty": difficulties[(at + at // (len(personas) * len(forms))) % len(difficulties)],
    }


def _documents(chunks: Sequence[Chunk]) -> dict[str, list[Chunk]]:
    """Return the passages of each document, in their order."""
    by_document: dict[str, list[Chunk]] = {}
    for chunk in sorted(chunks, key=lambda chunk: chunk.start):
        by_document.setdefault(chunk.document, []).append(chunk)
    return by_document
