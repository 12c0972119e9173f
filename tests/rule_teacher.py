"""A teacher without a mind, at the wire: sound questions and true quotes, told from the passages by rule.

The same call always gets the same answer, whenever it is asked, so that whole runs can be
compared: in another order, after a crash, or with one document more.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import random
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from pipelines.dataset.curate import CURATE_DATASET, CurateParams, CurateReport
from pipelines.dataset.files import EXAMPLES, REJECTED, split_file
from pipelines.dataset.generate import (
    GENERATE_DATASET,
    PLAN_DATASET,
    GenerateParams,
    GenerateReport,
    PlanReport,
)
from pipelines.models.catalog import DEFAULT_EMBEDDER
from pipelines.models.embedder import Embedder
from pipelines.models.provider import Models
from pipelines.operation import Context, Notice, open_context
from pipelines.records import (
    SPLITS,
    Chunk,
    Example,
    Rejection,
    Split,
    content_id,
    read_records,
    write_records,
)
from pipelines.text import sentence_spans
from pipelines.workspace import Workspace
from tests.conftest import Recorder
from tests.fake_openai import FakeOpenAI, Recorded, Reply
from tests.test_docs import packaged_embedder

COLLECTION, DATASET = "house", "club"
FACTS_PER_PASSAGE = 3
PASSAGES_PER_DOCUMENT = 3
_THINGS = (
    *("lantern", "kettle", "ladder", "trumpet", "carpet", "anchor", "mirror", "blanket", "compass", "hammer"),
    *("saddle", "teapot", "violin", "curtain", "barrel", "pillow", "candle", "basket", "helmet", "wallet"),
    *("guitar", "bottle", "camera", "engine", "button", "shovel", "needle", "jacket", "cushion", "tripod"),
)
_PLACES = ("cellar", "attic", "garage", "kitchen", "stable", "library", "chapel", "harbour")
_COLOURS = ("brass", "silver", "wooden", "velvet", "purple")
_DAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
_UNANSWERED = (
    "Who painted the {} before the war?",
    "How many owners has the {} had in all its years?",
    "Which museum has offered money for the {} last spring?",
)
_PASSAGE = re.compile(r'<passage from="[^\n]*">\n(.*?)\n</passage>', re.DOTALL)
_SYNONYMS = {
    "Is it so that": "Can anybody confirm this:",
    "Yes, ": "Indeed, ",
    "of the old house is kept in": "of that ancient home stands within",
    "behind door": "past entrance",
    "Guests may borrow": "Visitors get to take away",
    "on every": "each",
    "A repair of": "Mending",
    "costs": "takes",
    "at the workshop of": "with the craftsmen at",
}
_CAPITAL = re.compile(r"(?<!^)(?=[A-Z])")
_NUMBERED = re.compile(r"^(\d+)\. (.+)$", re.MULTILINE)

Answer = Callable[[Recorded], object]


def passage(number: int, *, document: str = "", more: str = "") -> Chunk:
    """Return a passage of the house, with three facts about one thing."""
    thing, place = _THINGS[number % len(_THINGS)], _PLACES[number % len(_PLACES)]
    colour, day = _COLOURS[number % len(_COLOURS)], _DAYS[number % len(_DAYS)]
    text = (
        f"The {colour} {thing} of the old house is kept in the {place} behind door {number + 1}. "
        f"Guests may borrow that {thing} on every {day} for {number + 2} hours. "
        f"A repair of the {thing} costs {10 + number} euros at the workshop of {place.title()}ville.{more}"
    )
    document = document or f"floor-{number // PASSAGES_PER_DOCUMENT}.md"
    start = 400 * (number % PASSAGES_PER_DOCUMENT)
    return Chunk(
        id=content_id(document, str(start), text),
        document=document,
        start=start,
        end=start + len(text),
        text=text,
        heading=f"House › The {thing}",
    )


def house(count: int) -> list[Chunk]:
    """Return so many passages, three to a document."""
    return [passage(number) for number in range(count)]


class PackagedModels(Models):
    """The models of a workspace, with the embedder that is loaded already."""

    def open_embedder(self, name: str = DEFAULT_EMBEDDER) -> Embedder:
        """Return the packaged embedder."""
        del name
        return packaged_embedder()


def write_collection(root: Path, chunks: Sequence[Chunk], *, name: str = COLLECTION) -> None:
    """Write what indexing leaves for the making of datasets."""
    workspace = Workspace(root)
    workspace.make()
    path = workspace.chunks(name)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_records(path, chunks)


def said_in(sent: Recorded) -> str:
    """Return all that a call says."""
    return "\n".join(message["content"] for message in sent.json["messages"])


def asked_in(sent: Recorded) -> str:
    """Return what the user of a call says."""
    return str(sent.json["messages"][1]["content"])


def schema_of(sent: Recorded) -> str:
    """Return the name of the record that a call asks for."""
    return str(sent.json["response_format"]["json_schema"]["name"])


def passages_in(sent: Recorded) -> list[str]:
    """Return the passages that a call shows."""
    return _PASSAGE.findall(asked_in(sent))


def facts_in(sent: Recorded) -> list[str]:
    """Return the sentences of the passages that a call shows."""
    return [text[start:end] for text in passages_in(sent) for start, end in sentence_spans(text)]


def questions_in(sent: Recorded) -> dict[int, str]:
    """Return the questions that a call wants answered, by number."""
    return {int(number): text for number, text in _NUMBERED.findall(asked_in(sent).rpartition("</passage>")[2])}


def is_so(*facts: str) -> str:
    """Return the question whether something is so."""
    return f"Is it so that {', and that '.join(fact.rstrip('.') for fact in facts)}?"


class RuleTeacher:
    """Answers every prompt of the factory; as `FakeOpenAI.respond`.

    Attributes:
        asked: Name of the record and text of each call, in the order of arrival.
        instead: By name of a record, what answers in place of the rule: text, or a record.
        delay_s: Longest time that an answer takes; each call's own is drawn from it.
    """

    def __init__(self, *, delay_s: float = 0.0) -> None:
        self.asked: list[tuple[str, str]] = []
        self.instead: dict[str, Answer] = {}
        self.delay_s = delay_s

    def __call__(self, sent: Recorded) -> Reply:
        """Answer a call."""
        schema = schema_of(sent)
        self.asked.append((schema, said_in(sent)))
        rule: Answer = self.instead.get(schema) or getattr(self, f"_{_CAPITAL.sub('_', schema).lower()}")
        said = rule(sent)
        text = said if isinstance(said, str) else json.dumps(said, ensure_ascii=False)
        return Reply(text=text, delay_s=random.random() * self.delay_s)

    def calls(self, schema: str) -> list[str]:
        """Return what was said in the calls that asked for a record."""
        return [said for name, said in self.asked if name == schema]

    def _questions(self, sent: Recorded) -> object:
        """Ask about each fact; about something else where the passage is not to answer."""
        asked, facts = asked_in(sent), facts_in(sent)
        if "does NOT answer" in asked:
            [heading, *_others] = re.findall(r'<passage from="([^"\n]*)">', asked)
            thing = heading.rpartition(" › ")[2].removeprefix("The ")
            return {"questions": [question.format(thing) for question in _UNANSWERED]}
        if "suppose something" in asked:
            return {"questions": [f"Why is it wrong that {fact.rstrip('.')}?" for fact in facts]}
        if len(passages_in(sent)) > 1:
            return {"questions": [is_so(facts[0], facts[-1])]}
        return {"questions": [is_so(fact) for fact in _turned(facts, sent)]}

    def _proved_answers(self, sent: Recorded) -> object:
        """Answer with the facts that a question tells."""
        facts = facts_in(sent)
        answers = []
        for number, question in questions_in(sent).items():
            quotes = [fact for fact in facts if fact.rstrip(".") in question][:2]
            said = f"Yes, {quotes[0].rstrip('.')}, as every guest of the house is told." if quotes else ""
            answers.append({"number": number, "quotes": quotes, "answer": said})
        return {"answers": answers}

    def _passage_tasks(self, sent: Recorded) -> object:
        told = [fact.rstrip(".") for fact in facts_in(sent)]
        return {
            "tasks": [{"task": f"Write a short notice that says that {fact}.", "needs_text": True} for fact in told]
        }

    def _done_tasks(self, sent: Recorded) -> object:
        tasks = re.findall(r'<task number="(\d+)">\n(.*?)\n</task>', asked_in(sent), re.DOTALL)
        return {
            "answers": [
                {"number": int(n), "answer": f"Notice: {task.partition(' says that ')[2]}"} for n, task in tasks
            ]
        }

    def _dialogue(self, sent: Recorded) -> object:
        facts = facts_in(sent)
        turns = [{"question": f"And what else, point {n}?", "answer": fact} for n, fact in enumerate(facts[1:], 1)]
        return {"answer": facts[0], "follow_ups": turns}

    def _texts(self, sent: Recorded) -> object:
        [label] = re.findall(r"of the class: (\w+)", asked_in(sent))
        mood = {"praise": "I love how", "complaint": "It is a shame that"}[label]
        return {"texts": [f"{mood} {fact[0].lower()}{fact[1:]}" for fact in facts_in(sent)]}

    def _numbered_labels(self, sent: Recorded) -> object:
        texts = re.findall(r'<text number="(\d+)">\n(.*?)\n</text>', asked_in(sent), re.DOTALL)
        return {"labels": [{"number": int(n), "label": "praise" if "love" in t else "complaint"} for n, t in texts]}

    def _marked_texts(self, sent: Recorded) -> object:
        texts = []
        for fact in facts_in(sent):
            piece = next(word for word in fact.split() if word[0].islower())
            texts.append({"text": fact, "spans": [{"text": piece, "label": "word"}]})
        return {"texts": texts}

    def _plain_answer(self, sent: Recorded) -> object:
        """Say something else to each of the samples, which look the same."""
        count = sum(said == said_in(sent) for _schema, said in self.asked)
        fact = facts_in(sent)[0]
        return {"answer": [fact, f"Nobody knows it for certain, {fact}", f"It is said that {fact}"][(count - 1) % 3]}

    def _comparison(self, sent: Recorded) -> object:
        """Prefer the answer that says the fact and nothing else."""
        answers = dict(re.findall(r"<answer_([AB])>\n(.*?)\n</answer_", asked_in(sent), re.DOTALL))
        rank = {name: text.startswith("It is said") + 2 * text.startswith("Nobody") for name, text in answers.items()}
        return {"better": "A" if rank["A"] < rank["B"] else "B"}

    def _judgements(self, sent: Recorded) -> object:
        count = len(re.findall(r"<example number=", asked_in(sent)))
        verdict = {"supported": True, "answers": True, "stands_alone": True, "clear": True, "score": 4}
        return {"judgements": [{"number": number, **verdict} for number in range(1, count + 1)]}

    def _rephrasings(self, sent: Recorded) -> object:
        """Say a question, or an answer, in other words."""
        [said] = re.findall(r"<(?:text|answer)>\n(.*?)\n</(?:text|answer)>", asked_in(sent), re.DOTALL)
        return {"texts": [_reworded(said)]}

    def _translation(self, sent: Recorded) -> object:
        """Put a mark before a text, or take it away and say the text in other words."""
        [said] = re.findall(r"<text>\n(.*?)\n</text>", asked_in(sent), re.DOTALL)
        into_chinese = "into Chinese" in asked_in(sent)
        return {"translation": f"译文：{said}" if into_chinese else _reworded(said.removeprefix("译文："))}

    def _evolved_question(self, sent: Recorded) -> object:
        facts = facts_in(sent)
        return {"question": f"In which case is it true that {_turned(facts, sent)[0].rstrip('.')}?"}

    def _subtopics(self, sent: Recorded) -> object:
        """Divide a topic into things of the house, and a thing into its parts."""
        asked = asked_in(sent)
        [count] = re.findall(r"(?:List|into) (\d+) (?:subtopics|sections)", asked)
        [chapter] = re.findall(r'Divide its chapter "(.+?)"', asked) or [""]
        if chapter:
            return {"subtopics": [f"{chapter} in the {place}" for place in _PLACES[: int(count)]]}
        return {"subtopics": [f"The {thing}" for thing in _THINGS[: int(count)]]}

    def _notes(self, sent: Recorded) -> object:
        """Write paragraphs about the subtopic."""
        [title] = re.findall(r' on "([^"]+)", in the language', asked_in(sent))
        number = int(hashlib.sha256(title.encode()).hexdigest(), 16) % 900
        thing = title.rpartition(" › ")[2].lower()
        return {
            "paragraphs": [
                f"For {thing} the old house keeps a book of {number + each} pages on the shelf behind door {each}. "
                f"Whoever reads about {thing} finds {number + 7 * each} drawings of the year {1700 + each}."
                for each in range(1, 4)
            ]
        }


def _reworded(text: str) -> str:
    """Return a text with other words in the place of some."""
    for word, other in _SYNONYMS.items():
        text = text.replace(word, other)
    return text


def _turned(facts: Sequence[str], sent: Recorded) -> list[str]:
    """Return the facts in an order that depends on the call alone."""
    dice = random.Random(hashlib.blake2b(said_in(sent).encode(), digest_size=8).digest())
    turned = list(facts)
    dice.shuffle(turned)
    return turned


def use_teacher(monkeypatch: pytest.MonkeyPatch, url: str, **settings: object) -> None:
    """Set the endpoint of the teacher, as a person does, and what else is set for it."""
    values = {"url": url, "model": "fake-model", "concurrency": 8, "retries": 0, **settings}
    for name, value in values.items():
        monkeypatch.setenv(f"ASSISTANT_TEACHER_{name.upper()}", str(value))


@dataclass(kw_only=True)
class Factory:
    """A workspace with a collection and a teacher, worked in as by one process after the other."""

    root: Path
    recorder: Recorder
    fake: FakeOpenAI
    teacher: RuleTeacher

    def open(self, *, seed: int = 0) -> Context:
        """Return a context with the settings as they are now, as a new process has it."""
        opened = open_context(self.root, emit=self.recorder.emit, confirm=self.recorder.confirm)
        models = PackagedModels(opened.settings, calls=opened.workspace.calls)
        return dataclasses.replace(opened, models=models, seed=seed)

    def generate(self, *, seed: int = 0, **params: Any) -> GenerateReport:
        """Generate a dataset as every surface does; about the collection, unless a topic is given."""
        return GENERATE_DATASET.start(generate_params(**params), self.open(seed=seed))

    def plan(self, **params: Any) -> PlanReport:
        """Plan a dataset as every surface does."""
        return PLAN_DATASET.start(generate_params(**params), self.open())

    def curate(self, **params: Any) -> CurateReport:
        """Curate a dataset as every surface does."""
        return CURATE_DATASET.start(CurateParams.model_validate({"dataset": DATASET, **params}), self.open())

    def folder(self, dataset: str = "") -> Path:
        """Return the folder of a dataset."""
        return self.root / "datasets" / (dataset or DATASET)

    def examples(self, dataset: str = "") -> list[Example]:
        """Return the examples that were kept."""
        return list(read_records(self.folder(dataset) / EXAMPLES, Example))

    def rejections(self, dataset: str = "") -> list[Rejection]:
        """Return what was dropped."""
        return list(read_records(self.folder(dataset) / REJECTED, Rejection))

    def splits(self) -> dict[Split, list[Example]]:
        """Return the examples of each split."""
        return {split: list(read_records(self.folder() / split_file(split), Example)) for split in SPLITS}

    def curated(self) -> list[Example]:
        """Return the examples of all splits."""
        return [example for examples in self.splits().values() for example in examples]

    def notices(self) -> list[str]:
        """Return what was worth a notice."""
        return [event.message for event in self.recorder.events if isinstance(event, Notice)]


def make_factory(
    root: Path, recorder: Recorder, fake: FakeOpenAI, monkeypatch: pytest.MonkeyPatch, *, passages: int = 12
) -> Factory:
    """Return a factory whose collection has so many passages."""
    teacher = RuleTeacher()
    fake.respond = teacher
    use_teacher(monkeypatch, fake.url)
    write_collection(root, house(passages))
    return Factory(root=root, recorder=recorder, fake=fake, teacher=teacher)


def generate_params(**params: Any) -> GenerateParams:
    """Return parameters; about the collection, unless a topic is given."""
    about = {} if "topic" in params else {"collection": COLLECTION}
    return GenerateParams.model_validate({"dataset": DATASET, **about, **params})
