"""A topic without documents: the teacher divides it and writes reference notes first.

Everything after that is as with documents of one's own: questions are asked about the
notes, answers quote them, and a chatbot can be given them to search.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from pipelines.errors import LLMOutputError
from pipelines.models.engine import Engine, Sampling
from pipelines.models.teacher import Reply, Request, Teacher
from pipelines.operation import Context
from pipelines.prompting import to_messages
from pipelines.records import Chunk, Notes, Subtopics, content_id
from pipelines.text import clean_text, fold_space, language_of, sentence_spans
from prompts import load_prompt

_SUBTOPICS = 12
_PARAGRAPHS = 3
_SHORTEST = 20


def write_notes(topic: str, folder: Path, context: Context, *, base: str) -> list[Chunk]:
    """Write notes about a topic as Markdown files; return their paragraphs as chunks.

    Raises:
        LLMOutputError: The teacher wrote nothing usable.
    """
    description = fold_space(clean_text(topic))
    teacher = context.models.open_teacher()
    notes = (
        _ask_teacher(teacher, description, context)
        if teacher is not None
        else _continue(context.models.open_engine(base), description)
    )
    folder.mkdir(parents=True, exist_ok=True)
    written = set()
    chunks: list[Chunk] = []
    for number, (title, paragraphs) in enumerate(notes, start=1):
        name = f"{number:02d}-{_slug(title)}.md"
        text = f"# {title}\n\n" + "\n\n".join(paragraphs) + "\n"
        (folder / name).write_text(text, encoding="utf-8")
        written.add(name)
        chunks += _paragraph_chunks(name, title, text.rstrip("\n"), paragraphs)
        context.progress("writing notes", number, _SUBTOPICS)
    if not chunks:
        raise LLMOutputError("the teacher wrote no usable notes about the topic", raw="")
    for path in folder.glob("*.md"):  # of another topic under the same name
        if path.name not in written:
            path.unlink()
    return chunks


def _ask_teacher(teacher: Teacher, topic: str, context: Context) -> Iterator[tuple[str, list[str]]]:
    prompt = load_prompt("list_subtopics")
    request = Request(
        tag="subtopics",
        messages=to_messages(prompt, topic=topic, count=_SUBTOPICS),
        schema=Subtopics,
        temperature=prompt.defaults["temperature"],
        max_tokens=prompt.defaults["max_tokens"],
    )
    [reply] = teacher.ask([request])
    if not isinstance(reply.record, Subtopics):
        raise _unusable(reply, teacher)
    notes = load_prompt("write_notes")
    requests = [
        Request(
            tag=subtopic,
            messages=to_messages(notes, topic=topic, subtopic=subtopic, count=_PARAGRAPHS),
            schema=Notes,
            temperature=notes.defaults["temperature"],
            max_tokens=notes.defaults["max_tokens"],
        )
        for subtopic in dict.fromkeys(reply.record.subtopics)
    ]
    written = {answered.request.tag: answered for answered in teacher.ask(requests)}
    for request in requests:  # in their order, whichever was answered first
        answered = written[request.tag]
        if isinstance(answered.record, Notes):
            yield request.tag, _usable(answered.record.paragraphs)
        else:
            context.notice(f"the notes on {request.tag!r} cannot be used: {answered.problem}")


def _continue(engine: Engine, topic: str) -> Iterator[tuple[str, list[str]]]:
    prompt = load_prompt("continue_subtopics")
    [(_role, text)] = prompt.render(topic=topic)
    sampling = Sampling(max_tokens=prompt.defaults["max_tokens"], stop=("\n",))
    [(_index, (completion,))] = list(engine.generate([text], sampling))
    titles = [fold_space(title) for title in completion.text.split(";")]
    # The last title may have been cut off.
    titles = list(dict.fromkeys(title for title in titles[:_SUBTOPICS] if 3 <= len(title) <= 80)) or [topic[:80]]
    notes = load_prompt("continue_notes")
    texts = [notes.render(topic=topic, subtopic=title)[0][1] for title in titles]
    sampling = Sampling(max_tokens=notes.defaults["max_tokens"], stop=("\n",))
    for index, (completion,) in engine.generate(texts, sampling):
        whole, _dot, _cut = completion.text.rpartition(".")
        yield titles[index], _usable([whole + "."])


def _usable(paragraphs: Sequence[str]) -> list[str]:
    """Return the paragraphs that say something, each sentence once: small models repeat themselves."""
    said: set[str] = set()
    usable = []
    for paragraph in paragraphs:
        cleaned = fold_space(clean_text(paragraph))
        sentences = [cleaned[start:end] for start, end in sentence_spans(cleaned)]
        fresh = [sentence for sentence in dict.fromkeys(sentences) if sentence not in said]
        said.update(fresh)
        joined = ("" if language_of(cleaned) == "zh" else " ").join(fresh)
        if len(joined) >= _SHORTEST:
            usable.append(joined)
    return usable


def _paragraph_chunks(name: str, title: str, text: str, paragraphs: Sequence[str]) -> Iterator[Chunk]:
    position = 0
    for paragraph in paragraphs:
        start = text.index(paragraph, position)
        position = start + len(paragraph)
        yield Chunk(
            id=content_id(name, str(start), str(position), paragraph),
            document=name,
            start=start,
            end=position,
            text=paragraph,
            heading=title,
        )


def _slug(title: str) -> str:
    return re.sub(r"[^\w]+", "-", title.casefold()).strip("-")[:48] or "notes"


def _unusable(reply: Reply, teacher: Teacher) -> LLMOutputError:
    return LLMOutputError(
        f"{teacher.name} could not divide the topic: {reply.problem}",
        raw=reply.raw,
        model=teacher.name,
        hint=f"It said: {fold_space(reply.raw)[:160]!r}",
    )
