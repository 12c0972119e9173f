"""The embedded teacher: small sub-tasks for a small model, and a strict filter.

A model of 135 million parameters cannot follow an instruction to write examples. Shown a
few facts with their questions it continues with a question about the next fact; several
first words are tried, and a question counts only if it leads back: among all sentences of
the collection, its own must be the nearest one (round trip).

Source:
    Alberti et al. 2019, Synthetic QA Corpora Generation with Roundtrip Consistency,
    arXiv:1906.05416.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy

from pipelines.dataset.writing.collect import Collector
from pipelines.dataset.writing.facts import Fact, find_facts, spread, topic_of
from pipelines.models.embedder import Embedder, Vectors
from pipelines.models.engine import Engine, Sampling
from pipelines.models.ledger import CallCounts
from pipelines.prompting import HEADING_SEPARATOR
from pipelines.quotes import locate
from pipelines.records import Chunk, Example, ExampleKind, Message, Quote, Rejection, content_id, rejected
from pipelines.text import fold_space, language_of, words
from prompts import load_prompt

_PROMPT = load_prompt("write_question")
_BRANCHES = 5
# Facts asked about at once: few at first, for a reader who wants few; then what decodes best.
_FIRST_WAVE, _LARGEST_WAVE = 12, 48
_MIN_COSINE = 0.55
_MIN_WORDS, _MAX_WORDS = 4, 24


class EmbeddedWriter:
    """Writes questions with the embedded model; the answer is the fact itself."""

    def __init__(self, engine: Engine, embedder: Embedder, *, seed: int) -> None:
        self.name = engine.name
        self.calls = CallCounts()
        self._engine = engine
        self._embedder = embedder
        self._seed = seed

    def write(self, chunks: Sequence[Chunk], collector: Collector) -> Iterator[None]:
        """Offer an example, or a rejection, for one fact after the other."""
        for item in self._written(chunks):
            if isinstance(item, Example):
                [problem] = collector.find_duplicates([item.question])
                if problem is not None:
                    item = rejected(item, check=problem.check, reason=problem.reason)
            collector.offer(item)
            yield None
            if collector.is_full:
                return

    def _written(self, chunks: Sequence[Chunk]) -> Iterator[Example | Rejection]:
        facts = [fact for chunk in chunks for fact in find_facts(chunk)]
        readable = [fact for fact in facts if language_of(fact.text) == "en"]
        for fact in facts:
            if language_of(fact.text) != "en":
                yield _rejection(fact, "language", "the embedded teacher writes English only")
        if not readable:
            return
        vectors = self._embedder.embed([fact.text for fact in readable])
        positions = {(fact.chunk.id, fact.start): number for number, fact in enumerate(readable)}
        queue = spread(readable, seed=self._seed)
        size, start = _FIRST_WAVE, 0
        while wave := queue[start : start + size]:
            start, size = start + size, min(2 * size, _LARGEST_WAVE)
            questions = self._ask(wave)
            own = [positions[fact.chunk.id, fact.start] for fact in wave]
            yield from self._choose(wave, questions, vectors, own)

    def _ask(self, facts: Sequence[Fact]) -> list[list[str]]:
        """Return the questions that the model continues with, for each fact."""
        prompts = []
        for fact in facts:
            title = fact.chunk.heading.rpartition(HEADING_SEPARATOR)[2]
            [(_role, text)] = _PROMPT.render(title=title, fact=fact.text)
            prompts.append(text)
        sampling = Sampling(
            max_tokens=_PROMPT.defaults["max_tokens"],
            stop=("\n",),
            starts=tuple(_PROMPT.constants["starts"]),
            branches=_BRANCHES,
        )
        questions: list[list[str]] = [[] for _ in facts]
        for index, completions in self._engine.generate(prompts, sampling):
            questions[index] = [fold_space(completion.text) for completion in completions]
            if completions[0].cached:
                self.calls.cached += 1
                continue
            self.calls.sent += 1
            self.calls.tokens_in += completions[0].tokens_in
            self.calls.tokens_out += sum(completion.tokens_out for completion in completions)
        return questions

    def _choose(
        self, facts: Sequence[Fact], questions: Sequence[Sequence[str]], vectors: Vectors, own: Sequence[int]
    ) -> Iterator[Example | Rejection]:
        """Keep, for each fact, the question nearest to it among those that lead back to it.

        The nearest, because a question in other words, as good as it may be, teaches the
        student to answer whatever it is asked: measured in BENCHMARKS.md.
        """
        flat = [question for asked in questions for question in asked]
        cosines = self._embedder.embed(flat, kind="query") @ vectors.T  # (questions, facts of the collection)
        row = 0
        for fact, asked, position in zip(facts, questions, own, strict=True):
            best: tuple[float, str] | None = None
            for question in asked:
                scores = cosines[row]
                row += 1
                leads_back = int(numpy.argmax(scores)) == position
                if leads_back and scores[position] >= _MIN_COSINE and _well_formed(question):
                    best = max(best or (-1.0, ""), (float(scores[position]), question))
            quote = locate(fact.text, fact.chunk)
            if best is None or quote is None:
                shown = asked[0] if asked else fact.text
                yield _rejection(fact, "round_trip", "no question leads back to the sentence", shown)
                continue
            cosine, question = best
            yield self._example(fact, question, quote, cosine)

    def _example(self, fact: Fact, question: str, quote: Quote, cosine: float) -> Example:
        return Example(
            id=content_id(question, fact.chunk.id, quote.quote),
            kind=ExampleKind.GROUNDED,
            question=question,
            answer=fact.text,
            language=language_of(question),
            messages=(Message(role="user", content=question), Message(role="assistant", content=fact.text)),
            sources=(fact.chunk.id,),
            quotes=(quote,),
            attributes=topic_of((fact.chunk,)),
            teacher=self.name,
            prompt=_PROMPT.id,
            scores={"cosine": round(cosine, 4)},
        )


def _well_formed(question: str) -> bool:
    """Whether the text is one question of useful length."""
    return question.endswith("?") and _MIN_WORDS <= len(words(question)) <= _MAX_WORDS


def _rejection(fact: Fact, check: str, reason: str, text: str = "") -> Rejection:
    return Rejection(check=check, reason=reason, text=text or fact.text, source=fact.chunk.id)
