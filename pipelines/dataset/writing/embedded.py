"""The embedded teacher: small sub-tasks for a small model, and a strict filter.

A model of 135 million parameters cannot follow an instruction to write examples. Shown a
few facts with their questions it continues with a question about the next fact; several
first words are tried, and a question counts only if it leads back: among all sentences of
the collection, its own must be the nearest one (round trip). That model writes English only;
questions about Chinese sentences are made by rule, and lead back by the multilingual embedder.

Source:
    Alberti et al. 2019, Synthetic QA Corpora Generation with Roundtrip Consistency,
    arXiv:1906.05416.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import get_args

import numpy

from pipelines.dataset.writing.collect import Collector
from pipelines.dataset.writing.facts import Fact, find_facts, spread, topic_of
from pipelines.dataset.writing.interrogatives import RULES, questions_about
from pipelines.models.embedder import Embedder
from pipelines.models.engine import Engine, Sampling
from pipelines.models.ledger import CallCounts
from pipelines.prompting import HEADING_SEPARATOR
from pipelines.quotes import locate
from pipelines.records import Chunk, Example, ExampleKind, Language, Message, Quote, Rejection, content_id, rejected
from pipelines.text import fold_space, language_of, words
from prompts import load_prompt

_PROMPT = load_prompt("write_question")
_BRANCHES = 5
# Facts asked about at once: few at first, for a reader who wants few; then what decodes best.
_FIRST_WAVE, _LARGEST_WAVE = 12, 48
_MIN_COSINE: dict[Language, float] = {"en": 0.55, "zh": 0.88}
_MIN_WORDS, _MAX_WORDS = 4, 24


class EmbeddedWriter:
    """Writes questions with the embedded model, or by rule; the answer is the fact itself."""

    def __init__(self, engine: Engine, embedder_of: Callable[[Language], Embedder | None], *, seed: int) -> None:
        """Take what is needed.

        Args:
            engine: Writes English questions.
            embedder_of: Gives the model that knows a language; None if there is none.
            seed: Of the order of facts.
        """
        self.name = engine.name
        self.calls = CallCounts()
        self._engine = engine
        self._embedder_of = embedder_of
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
        facts: dict[Language, list[Fact]] = {language: [] for language in get_args(Language)}
        for chunk in chunks:
            for fact in find_facts(chunk):
                facts[language_of(fact.text)].append(fact)
        trips: dict[Language, _RoundTrip] = {}
        for language, own in facts.items():
            embedder = self._embedder_of(language) if own else None
            if embedder is not None:
                trips[language] = _RoundTrip(embedder, own, least=_MIN_COSINE[language])
                continue
            for fact in own:
                yield _rejection(fact, "language", "no model is installed that knows the language of the sentence")
        queue = spread([fact for language in trips for fact in facts[language]], seed=self._seed)
        size, start = _FIRST_WAVE, 0
        while wave := queue[start : start + size]:
            start, size = start + size, min(2 * size, _LARGEST_WAVE)
            for language, trip in trips.items():
                asked = [fact for fact in wave if language_of(fact.text) == language]
                if asked and language == "zh":
                    yield from self._by_rule(asked, trip)
                elif asked:
                    yield from self._by_model(asked, trip)

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

    def _by_model(self, facts: Sequence[Fact], trip: _RoundTrip) -> Iterator[Example | Rejection]:
        """Keep, for each fact, the question nearest to it among those that lead back to it.

        The nearest, because a question in other words, as good as it may be, teaches the
        student to answer whatever it is asked: measured in BENCHMARKS.md.
        """
        for fact, asked, found in trip.leading_back(facts, self._ask(facts)):
            formed = [(cosine, question) for cosine, question in found if _well_formed(question)]
            yield self._kept(fact, max(formed, default=None), asked, prompt=_PROMPT.id)

    def _by_rule(self, facts: Sequence[Fact], trip: _RoundTrip) -> Iterator[Example | Rejection]:
        """Keep, for each fact, the first question that leads back to it: the rules' order is by what tells most."""
        for fact, asked, found in trip.leading_back(facts, [questions_about(fact.text) for fact in facts]):
            if asked:
                yield self._kept(fact, next(iter(found), None), asked, prompt=RULES)
            else:
                yield _rejection(fact, "no_question", "no rule makes a question of the sentence")

    def _kept(
        self, fact: Fact, best: tuple[float, str] | None, asked: Sequence[str], *, prompt: str
    ) -> Example | Rejection:
        quote = locate(fact.text, fact.chunk)
        if best is None or quote is None:
            return _rejection(fact, "round_trip", "no question leads back to the sentence", next(iter(asked), ""))
        cosine, question = best
        return self._example(fact, question, quote, cosine, prompt=prompt)

    def _example(self, fact: Fact, question: str, quote: Quote, cosine: float, *, prompt: str) -> Example:
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
            teacher=RULES if prompt == RULES else self.name,
            prompt=prompt,
            scores={"cosine": round(cosine, 4)},
        )


class _RoundTrip:
    """Which questions lead back to the sentence that they were made of, among all of one language."""

    def __init__(self, embedder: Embedder, facts: Sequence[Fact], *, least: float) -> None:
        self._embedder = embedder
        self._vectors = embedder.embed([fact.text for fact in facts])
        self._positions = {(fact.chunk.id, fact.start): number for number, fact in enumerate(facts)}
        self._least = least

    def leading_back(
        self, facts: Sequence[Fact], questions: Sequence[Sequence[str]]
    ) -> Iterator[tuple[Fact, Sequence[str], list[tuple[float, str]]]]:
        """Yield each fact, its questions, and of those with their cosine the ones that lead back, in their order."""
        flat = [question for asked in questions for question in asked]
        cosines = self._embedder.embed(flat, kind="query") @ self._vectors.T  # (questions, facts of the language)
        rows = iter(cosines)
        for fact, asked in zip(facts, questions, strict=True):
            position = self._positions[fact.chunk.id, fact.start]
            scored = [(question, next(rows)) for question in asked]
            yield (
                fact,
                asked,
                [
                    (float(row[position]), question)
                    for question, row in scored
                    if int(numpy.argmax(row)) == position and row[position] >= self._least
                ],
            )


def _well_formed(question: str) -> bool:
    """Whether the text is one question of useful length."""
    return question.endswith("?") and _MIN_WORDS <= len(words(question)) <= _MAX_WORDS


def _rejection(fact: Fact, check: str, reason: str, text: str = "") -> Rejection:
    return Rejection(check=check, reason=reason, text=text or fact.text, source=fact.chunk.id)
