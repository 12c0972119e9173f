"""A topic without documents: the teacher divides it and writes reference notes first.

Everything after that is as with documents of one's own: questions are asked about the
notes, answers quote them, and a chatbot can be given them to search.
"""

from __future__ import annotations

import functools
import math
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from pipelines.dataset.checks.duplicates import DuplicateFinder
from pipelines.dataset.recipes.recipe import make_request
from pipelines.dataset.writing.collect import PATIENCE_CALLS
from pipelines.errors import LLMOutputError, SettingsError
from pipelines.models.budget import Budget
from pipelines.models.engine import Engine, Sampling
from pipelines.models.teacher import Reply, Request
from pipelines.operation import Context
from pipelines.prompting import HEADING_SEPARATOR, inside
from pipelines.records import Chunk, Notes, Subtopics, content_id
from pipelines.text import clean_text, fold_space, language_of, sentence_spans, words
from pipelines.workspace import write_json
from prompts import load_prompt

# Chapters of a topic, and examples for which one section gives enough to ask about.
_CHAPTERS = 12
_EXAMPLES_PER_SECTION = 12
_MOST_SECTIONS = 240
_PARAGRAPHS = 3
_SHORTEST = 20
TREE = "tree.json"


@dataclass(frozen=True, kw_only=True)
class _Section:
    chapter: str  # empty where a chapter is not divided
    title: str

    @property
    def heading(self) -> str:
        return f"{self.chapter}{HEADING_SEPARATOR}{self.title}" if self.chapter else self.title


def write_notes(
    topic: str, folder: Path, context: Context, *, base: str, examples: int, dataset: str, budget: Budget
) -> list[Chunk]:
    """Write notes about a topic as Markdown files, one a section; return their paragraphs as chunks.

    The topic is divided into a tree, with as many sections as the number of examples needs; each
    section gets as many paragraphs, so that each is asked about as often.

    Raises:
        LLMOutputError: The teacher wrote nothing usable.
        BudgetError: A cap is reached.
    """
    description = inside(fold_space(clean_text(topic)), "topic")
    if not words(description):
        raise SettingsError(f"the topic {topic[:40]!r} says nothing", hint="Describe in a sentence what it is about.")
    teacher = context.models.open_teacher()
    wanted = min(_MOST_SECTIONS, max(_CHAPTERS // 2, math.ceil(examples / _EXAMPLES_PER_SECTION)))
    if teacher is not None:
        ask = functools.partial(teacher.ask, dataset=dataset, budget=budget)
        notes = _ask_teacher(ask, description, context, teacher=teacher.name, wanted=wanted)
    else:
        notes = _continue(context.models.open_engine(base), description)
    folder.mkdir(parents=True, exist_ok=True)
    written: dict[str, str] = {}
    chunks: list[Chunk] = []
    for number, (section, paragraphs) in enumerate(notes, start=1):
        name = f"{number:03d}-{_slug(section.title)}.md"
        text = f"# {section.title}\n\n" + "\n\n".join(paragraphs) + "\n"
        (folder / name).write_text(text, encoding="utf-8")
        written[name] = section.heading
        chunks += _paragraph_chunks(name, section.heading, text.rstrip("\n"), paragraphs)
        context.progress("writing notes", number, wanted)
    if not chunks:
        raise LLMOutputError(
            "the teacher wrote no usable notes about the topic",
            raw="",
            hint="Describe the topic in a whole sentence, or set a stronger teacher (ASSISTANT_TEACHER_URL).",
        )
    write_json(folder / TREE, {"topic": description, "sections": written})
    for path in folder.glob("*.md"):  # of another topic under the same name
        if path.name not in written:
            path.unlink()
    return chunks


def _ask_teacher(
    ask: Callable[[list[Request]], Iterator[Reply]], topic: str, context: Context, *, teacher: str, wanted: int
) -> Iterator[tuple[_Section, list[str]]]:
    sections = _divide(ask, topic, teacher=teacher, wanted=wanted)
    prompt = load_prompt("write_notes")
    requests = [
        make_request(prompt, Notes, topic=topic, subtopic=section.heading, count=_PARAGRAPHS) for section in sections
    ]
    is_of_use, calls = False, 0
    for section, answered in zip(sections, ask(requests), strict=True):
        paragraphs = _usable(answered.record.paragraphs) if isinstance(answered.record, Notes) else []
        if paragraphs:
            is_of_use = True
            yield section, paragraphs
            continue
        calls += len(answered.calls)
        problem = answered.problem or "no paragraph says anything"
        context.notice(f"the notes on {section.title!r} cannot be used: {problem}")
        if not is_of_use and (calls >= PATIENCE_CALLS or section == sections[-1]):
            raise LLMOutputError(
                f"{teacher} wrote no usable notes in {calls} answers; the last: {problem}",
                raw=answered.raw,
                model=teacher,
                hint=f"It said: {fold_space(answered.raw)[:160]!r}. Choose a stronger model, or another topic.",
            )


def _divide(
    ask: Callable[[list[Request]], Iterator[Reply]], topic: str, *, teacher: str, wanted: int
) -> list[_Section]:
    """Return the sections of a topic: its chapters, each divided where more sections are wanted."""
    count = min(wanted, _CHAPTERS)
    [reply] = ask([make_request(load_prompt("list_subtopics"), Subtopics, topic=topic, count=count)])
    if not isinstance(reply.record, Subtopics):
        raise LLMOutputError(
            f"{teacher} could not divide the topic: {reply.problem}",
            raw=reply.raw,
            model=teacher,
            hint=f"It said: {fold_space(reply.raw)[:160]!r}",
        )
    seen = DuplicateFinder()
    chapters = _fresh(reply.record.subtopics, seen)[:count]
    if wanted <= len(chapters):
        return [_Section(chapter="", title=title) for title in chapters]
    each = math.ceil(wanted / len(chapters))
    prompt = load_prompt("divide_subtopic")
    requests = [
        make_request(
            prompt,
            Subtopics,
            topic=topic,
            subtopic=chapter,
            siblings=[other for other in chapters if other != chapter],
            count=each,
        )
        for chapter in chapters
    ]
    sections: list[_Section] = []
    for chapter, answered in zip(chapters, ask(requests), strict=True):
        titles = _fresh(answered.record.subtopics, seen) if isinstance(answered.record, Subtopics) else []
        sections += [_Section(chapter=chapter, title=title) for title in titles[:each]]
        if not titles:  # a chapter that cannot be divided is a section itself
            sections.append(_Section(chapter="", title=chapter))
    return sections[:wanted]


def _fresh(titles: Sequence[str], seen: DuplicateFinder) -> list[str]:
    cleaned = [title for title in (fold_space(clean_text(title)) for title in titles) if title]
    return [title for title, problem in zip(cleaned, seen.check_all(cleaned), strict=True) if problem is None]


def _continue(engine: Engine, topic: str) -> Iterator[tuple[_Section, list[str]]]:
    prompt = load_prompt("continue_subtopics")
    [(_role, text)] = prompt.render(topic=topic)
    sampling = Sampling(max_tokens=prompt.defaults["max_tokens"], stop=("\n",))
    [(_index, (completion,))] = list(engine.generate([text], sampling))
    titles = [fold_space(title) for title in completion.text.split(";")]
    # The last title may have been cut off.
    titles = list(dict.fromkeys(title for title in titles[:_CHAPTERS] if 3 <= len(title) <= 80)) or [topic[:80]]
    notes = load_prompt("continue_notes")
    texts = [notes.render(topic=topic, subtopic=title)[0][1] for title in titles]
    sampling = Sampling(max_tokens=notes.defaults["max_tokens"], stop=("\n",))
    for index, (completion,) in engine.generate(texts, sampling):
        whole, _dot, _cut = completion.text.rpartition(".")
        yield _Section(chapter="", title=titles[index]), _usable([whole + "."])


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
