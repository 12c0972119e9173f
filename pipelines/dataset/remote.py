"""The remote teacher: one call per chunk, answered as records under a JSON schema."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from pipelines.dataset.facts import find_facts
from pipelines.dataset.writers import Draft
from pipelines.errors import LLMOutputError
from pipelines.models.teacher import Reply, Request, Teacher
from pipelines.prompting import to_messages
from pipelines.quotes import locate_sentence
from pipelines.records import Chunk, QAPair, QAPairs, Rejection, content_id
from pipelines.text import fold_space, language_of
from prompts import load_prompt

_PROMPT = load_prompt("generate_qa")
_LANGUAGES = {"en": "English", "zh": "Chinese (简体中文)"}
# A teacher that has said nothing usable by then will not.
_PATIENCE = 10
_MOST_ROUNDS = 4


class RemoteWriter:
    """Asks the teacher for pairs about each chunk, as many as there are facts to ask about."""

    def __init__(self, teacher: Teacher, *, seed: int, pairs_per_chunk: int = 2) -> None:
        self.name = teacher.name
        self.prompt = _PROMPT.id
        self.calls = teacher.calls
        self._teacher = teacher
        self._seed = seed
        self._pairs = pairs_per_chunk

    def write(self, chunks: Sequence[Chunk]) -> Iterator[Draft | Rejection]:
        """Yield drafts and rejections as replies arrive; several rounds over the chunks.

        Raises:
            LLMError: The endpoint cannot be used, or nothing it says can.
        """
        by_id = {chunk.id: chunk for chunk in chunks}
        rich = [chunk for chunk in chunks if find_facts(chunk)]
        order = sorted(rich, key=lambda chunk: content_id(str(self._seed), chunk.id))
        requests = (self._request(chunk, sample) for sample in range(_MOST_ROUNDS) for chunk in order)
        usable = 0
        for replies, reply in enumerate(self._teacher.ask(requests), start=1):
            usable += reply.record is not None
            if replies >= _PATIENCE and not usable:
                raise LLMOutputError(
                    f"none of the first {replies} replies of {self.name} could be used; the last: {reply.problem}",
                    raw=reply.raw,
                    model=self.name,
                    hint=f"It said: {fold_space(reply.raw)[:160]!r}. Choose a model that can write JSON.",
                )
            yield from self._read(reply, by_id[reply.request.tag])

    def _request(self, chunk: Chunk, sample: int) -> Request:
        messages = to_messages(
            _PROMPT,
            heading=chunk.heading,
            passage=fold_space(chunk.text),
            count=min(self._pairs, len(find_facts(chunk))),
            language=_LANGUAGES[language_of(chunk.text)],
        )
        return Request(
            tag=chunk.id,
            messages=messages,
            schema=QAPairs,
            temperature=_PROMPT.defaults["temperature"],
            max_tokens=_PROMPT.defaults["max_tokens"],
            sample=sample,
        )

    def _read(self, reply: Reply, chunk: Chunk) -> Iterator[Draft | Rejection]:
        if not isinstance(reply.record, QAPairs):
            yield Rejection(check="schema", reason=reply.problem, text=reply.raw[:2000], source=chunk.id)
            return
        for pair in reply.record.pairs:
            yield _draft(pair, chunk)


def _draft(pair: QAPair, chunk: Chunk) -> Draft | Rejection:
    quote = locate_sentence(pair.quote, chunk)
    if quote is None:
        return Rejection(
            check="quote", reason="the quote is not one sentence of the passage", text=pair.question, source=chunk.id
        )
    return Draft(chunk=chunk, question=fold_space(pair.question), answer=fold_space(pair.answer), quote=quote)
