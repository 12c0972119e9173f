"""Datasets written by a remote teacher: what is kept, what is dropped, what is paid for."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pipelines.dataset.generate import GENERATE_DATASET, GenerateParams, generate_dataset, plan_generate
from pipelines.errors import ApprovalRequired, DataError, LLMOutputError, LLMStatusError
from pipelines.knowledge.add import AddDocumentsParams, add_documents
from pipelines.operation import Context, Event, Notice, open_context
from pipelines.records import Chunk, Example, Rejection, read_records
from pipelines.workspace import Workspace
from tests.conftest import Recorder, make_context
from tests.fake_openai import FakeOpenAI, Recorded, Reply, refused

DOCUMENTS = {
    "hives.md": """\
# Hives

## Wood

The hives of the club are built from larch boards that are eighteen millimetres thick. Outer walls get two coats of
linseed oil every spring before the colonies fly.

## Site

Every hive stands on a concrete slab forty centimetres above the wet ground. The entrances point south-east so that
the morning sun wakes the colony early.

## Price

A complete hive with ten frames costs two hundred and forty euros at the workshop. Members pay half of that price for
their first hive.
""",
    "honey.md": """\
# Honey

## Harvest

The honey is harvested in the second week of July when most cells are capped. Frames with more than twenty per cent
of water go back into the hive.

## Jars

The club fills its honey into glass jars of five hundred grams. A deposit of thirty cents is charged on every jar and
paid back at the counter.

## Market

The stall on the river market opens on Saturdays from eight until one o'clock. Volunteers who sell for a whole day
receive one jar of forest honey.
""",
}
CHUNKS = 6
PRICES = (2.0, 8.0)  # dollars per million tokens, in and out


@pytest.fixture(scope="module")
def indexed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workspace with the collection `club`, indexed once for all tests of this file."""
    root = tmp_path_factory.mktemp("indexed")
    documents = root / "documents"
    documents.mkdir()
    for name, text in DOCUMENTS.items():
        (documents / name).write_text(text, encoding="utf-8")
    Workspace(root).make()
    report = add_documents(AddDocumentsParams(folder=documents, collection="club"), open_context(root))
    assert report.chunks == CHUNKS
    return root


@pytest.fixture
def context(
    indexed: Path, tmp_path: Path, recorder: Recorder, fake_openai: FakeOpenAI, monkeypatch: pytest.MonkeyPatch
) -> Context:
    """A context over a copy of the collection, with the fake endpoint as its teacher."""
    root = tmp_path / "workspace"
    shutil.copytree(indexed, root, ignore=shutil.ignore_patterns("chroma"))  # only chunks are needed
    values = {"URL": fake_openai.url, "MODEL": "fake-model", "CONCURRENCY": 1, "RETRIES": 0}
    values |= {"INPUT_PRICE": PRICES[0], "OUTPUT_PRICE": PRICES[1]}
    for name, value in values.items():
        monkeypatch.setenv(f"ASSISTANT_TEACHER_{name}", str(value))
    return make_context(Workspace(root), recorder)


def passage_of(sent: Recorded) -> str:
    """Return the passage that a call asks about."""
    match = re.search(r"<passage>\n(.*)\n</passage>", sent.json["messages"][-1]["content"])
    assert match is not None
    return match[1]


def good_pair(sent: Recorded) -> dict[str, str]:
    """Return a sound pair about the first sentence of the passage."""
    fact = passage_of(sent).partition(". ")[0].rstrip(".")
    return {"question": f"Is it so that {fact}?", "answer": f"Yes, {fact}.", "quote": f"{fact}."}


def in_json(*pairs: dict[str, str]) -> str:
    """Return pairs as the teacher writes them."""
    return json.dumps({"pairs": pairs})


def well(sent: Recorded) -> str:
    """Answer with one sound pair."""
    return in_json(good_pair(sent))


def but(**changes: str) -> Callable[[Recorded], str]:
    """Return a responder whose pair is sound but for the changes."""
    return lambda sent: in_json(good_pair(sent) | changes)


def generate(context: Context, *, dataset: str = "club", **params: Any) -> Any:
    """Generate a dataset about the collection, or about a topic."""
    about = {} if "topic" in params else {"collection": "club"}
    return generate_dataset(GenerateParams(dataset=dataset, **about, **params), context)


def records(context: Context, name: str, record: Any, *, dataset: str = "club") -> list[Any]:
    """Return the records of one file of the dataset."""
    return list(read_records(context.workspace.dataset(dataset) / name, record))


def notices(recorder: Recorder) -> list[str]:
    """Return what was worth a notice."""
    return [event.message for event in recorder.events if isinstance(event, Notice)]


# ---- what is kept


def test_examples_rest_on_quotes(context: Context, fake_openai: FakeOpenAI) -> None:
    """Every example quotes its chunk to the letter, and names its teacher and prompt."""
    fake_openai.respond = well
    generate(context, examples=4)
    chunks = {chunk.id: chunk for chunk in records(context, "chunks.jsonl", Chunk)}
    examples = records(context, "examples.jsonl", Example)
    assert len(examples) == 4
    for example in examples:
        chunk, [quote] = chunks[example.source], example.quotes
        assert chunk.text[quote.start - chunk.start : quote.end - chunk.start] == quote.quote
        assert (example.teacher, example.prompt, example.language) == ("fake-model", "generate_qa@1", "en")


def test_report_counts(context: Context, fake_openai: FakeOpenAI) -> None:
    """The report counts calls, tokens and cost, and nothing is asked for that is not wanted."""
    fake_openai.respond = well
    report = generate(context, examples=4)
    assert (report.requested, report.kept, report.rejected, report.teacher) == (4, 4, {}, "fake-model")
    calls = report.calls
    assert (calls.sent, calls.cached, calls.failed) == (4, 0, 0)
    assert (calls.tokens_in, calls.tokens_out) == (400, 80)
    assert calls.cost_usd == pytest.approx((400 * PRICES[0] + 80 * PRICES[1]) / 1e6)
    assert len(fake_openai.requests) == 4


def test_cost_without_prices(
    context: Context, recorder: Recorder, fake_openai: FakeOpenAI, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where no price is set the cost is unknown, not nothing."""
    monkeypatch.delenv("ASSISTANT_TEACHER_OUTPUT_PRICE")
    context = make_context(context.workspace, recorder)
    fake_openai.respond = well
    assert generate(context, examples=1).calls.cost_usd is None
    assert plan_generate(GenerateParams(dataset="club", collection="club"), context).cost_usd is None


def test_request_shows_the_passage(context: Context, fake_openai: FakeOpenAI) -> None:
    """The teacher is shown one passage with its headings, and how many pairs are wanted in which language."""
    fake_openai.respond = well
    generate(context, examples=CHUNKS)
    asked = [sent.json["messages"][-1]["content"] for sent in fake_openai.requests]
    [about_jars] = [text for text in asked if "glass jars" in text]
    assert "Passage (from: Honey › Jars)" in about_jars
    assert "Write 2 pairs in English" in about_jars
    assert "river market" not in about_jars


def test_every_chunk_before_any_again(context: Context, fake_openai: FakeOpenAI) -> None:
    """A second pair about a passage is asked for only when all passages have had their turn."""
    fake_openai.respond = well
    generate(context, examples=100)
    passages = [passage_of(sent) for sent in fake_openai.requests]
    assert len(set(passages[:CHUNKS])) == CHUNKS
    assert passages[CHUNKS : 2 * CHUNKS] == passages[:CHUNKS]


def test_fewer_than_wanted(context: Context, fake_openai: FakeOpenAI) -> None:
    """A teacher that repeats itself ends with fewer examples, and the repetitions are counted."""
    fake_openai.respond = well
    report = generate(context, examples=100)
    assert report.kept == CHUNKS
    assert report.rejected == {"exact_duplicate": report.calls.sent - CHUNKS}


def test_finished_dataset_is_not_asked_again(context: Context, recorder: Recorder, fake_openai: FakeOpenAI) -> None:
    """The same command a second time sends nothing, and gives the first report."""
    fake_openai.respond = well
    first = generate(context, examples=2)
    assert generate(context, examples=2) == first
    assert len(fake_openai.requests) == 2
    assert any("already written" in message for message in notices(recorder))


def test_counts_are_of_one_run(context: Context, fake_openai: FakeOpenAI) -> None:
    """A second dataset of the same process is charged for its own calls alone."""
    fake_openai.respond = well
    generate(context, examples=2)
    report = generate(context, dataset="other", examples=3)
    assert (report.calls.sent, report.calls.cached) == (1, 2)
    assert report.calls.tokens_in == 100


# ---- what is dropped


@pytest.mark.parametrize(
    ("bad", "check"),
    [
        (but(quote="The hives of the club are built from steel."), "quote"),
        (but(quote="short"), "schema"),
        (but(question="Hm"), "schema"),
        (lambda sent: "I would rather not.", "schema"),
        (lambda sent: '{"pairs": [{"question": ', "schema"),
        (lambda sent: json.dumps({"pairs": [{"q": "Why?"}]}), "schema"),
        (but(question="Is it so that, according to the passage, hives are oiled?"), "points_at_passage"),
        (but(question="What does this text say about hives of the club?"), "points_at_passage"),
        (but(question="Hives why?"), "length"),
        (but(question="Tell me all about the hives of the club."), "form"),
        (but(answer="As an AI I have no hives."), "boilerplate"),
        (but(answer="The documents do not answer this."), "boilerplate"),
        (but(question="协会的蜂箱是用什么木材做的？"), "language"),
    ],
    ids=[
        "invented quote",
        "short quote",
        "short question",
        "no JSON",
        "cut JSON",
        "other fields",
        "according to the passage",
        "this text",
        "few words",
        "no question",
        "speaks of itself",
        "refuses",
        "other language",
    ],
)
def test_unsound_pair_is_dropped(
    context: Context, fake_openai: FakeOpenAI, bad: Callable[[Recorded], str], check: str
) -> None:
    """An unsound pair is dropped, counted by its check, and kept with its reason and source."""
    fake_openai.replies.append(bad)
    fake_openai.respond = well
    report = generate(context, examples=2)
    assert (report.kept, report.rejected) == (2, {check: 1})
    assert report.calls.failed == (check == "schema")
    [rejection] = records(context, "rejected.jsonl", Rejection)
    assert rejection.check == check
    assert rejection.reason
    assert rejection.source in {chunk.id for chunk in records(context, "chunks.jsonl", Chunk)}


@pytest.mark.parametrize(
    ("second", "check"),
    [
        ("What do hives of the club cost when they come with ten frames?", "exact_duplicate"),
        ("what do hives of the club cost, when they come with ten frames?", "exact_duplicate"),
        ("What do hives of the club cost if they come with ten frames?", "near_duplicate"),
    ],
    ids=["same", "same words", "one word else"],
)
def test_repeated_question_is_dropped(context: Context, fake_openai: FakeOpenAI, second: str, check: str) -> None:
    """A question that was asked before, or nearly so, is dropped."""
    first = "What do hives of the club cost when they come with ten frames?"
    fake_openai.replies += [
        lambda sent: in_json(good_pair(sent) | {"question": first}, good_pair(sent) | {"question": second}),
        well,
    ]
    report = generate(context, examples=2)
    assert (report.kept, report.rejected) == (2, {check: 1})


def test_quote_with_other_quotation_marks_and_spaces(context: Context, fake_openai: FakeOpenAI) -> None:
    """A quote counts though its white space and apostrophes differ, and the document's own text is kept."""
    quote = "The stall on the river  market\nopens on Saturdays from eight until one o’clock."
    fake_openai.respond = lambda sent: (
        in_json(good_pair(sent) | {"quote": quote}) if "river market" in passage_of(sent) else in_json()
    )
    generate(context, examples=1)
    [example] = records(context, "examples.jsonl", Example)
    assert example.quotes[0].quote == "The stall on the river market opens on Saturdays from eight until one o'clock."


# ---- teachers that cannot be used


def test_nonsense_ends_soon(context: Context, fake_openai: FakeOpenAI) -> None:
    """A teacher that says only nonsense is given up after ten replies, with what it said."""
    fake_openai.respond = lambda sent: "Bees are nice."
    with pytest.raises(LLMOutputError, match="none of the first 10 replies of fake-model") as caught:
        generate(context, examples=100)
    assert len(fake_openai.requests) == 10
    assert "Bees are nice." in caught.value.hint
    assert not (context.workspace.dataset("club") / "examples.jsonl").exists()


def test_nothing_usable(context: Context, fake_openai: FakeOpenAI) -> None:
    """A teacher without a single sound pair is an error that counts the reasons."""
    fake_openai.respond = but(quote="The hives of the club are built from steel.")
    with pytest.raises(DataError, match="'quote': 24"):
        generate(context, examples=100)


def test_nothing_happens_without_approval(context: Context, recorder: Recorder, fake_openai: FakeOpenAI) -> None:
    """The plan names where passages go and what that costs; refused, nothing is sent."""
    recorder.agrees = False
    with pytest.raises(ApprovalRequired):
        GENERATE_DATASET.start(GenerateParams(dataset="club", collection="club", examples=50), context)
    [plan] = recorder.plans
    assert any(f"sent to fake-model at {fake_openai.url}" in step for step in plan.steps)
    assert plan.calls > 0
    assert plan.cost_usd is not None
    assert plan.cost_usd > 0
    assert not fake_openai.requests


# ---- interrupted runs


def test_failed_run_keeps_what_was_answered(context: Context, recorder: Recorder, fake_openai: FakeOpenAI) -> None:
    """After a failure at the third call, the next run sends only the rest and says that it takes up the first."""
    fake_openai.replies += [well, well, refused(401)]
    with pytest.raises(LLMStatusError):
        generate(context, examples=5)
    assert not (context.workspace.dataset("club") / "examples.jsonl").exists()
    fake_openai.respond = well
    report = generate(make_context(context.workspace, recorder), examples=5)
    assert (report.kept, report.calls.sent, report.calls.cached) == (5, 3, 2)
    assert report.calls.tokens_in == 300
    assert any("earlier run" in message for message in notices(recorder))


def test_interrupted_run_keeps_what_was_answered(context: Context, recorder: Recorder, fake_openai: FakeOpenAI) -> None:
    """After an interruption in the middle, what was answered is not asked again."""

    class Interrupting(Recorder):
        def emit(self, event: Event) -> None:
            super().emit(event)
            if len(self.events) == 3:
                raise KeyboardInterrupt

    fake_openai.respond = well
    with pytest.raises(KeyboardInterrupt):
        generate(make_context(context.workspace, Interrupting()), examples=5)
    assert len(fake_openai.requests) == 3
    report = generate(make_context(context.workspace, recorder), examples=5)
    assert (report.calls.sent, report.calls.cached) == (2, 3)


# ---- topics

NOTES = {
    "Choosing a hive": [
        "A wooden hive breathes better than one of plastic and keeps the colony dry. Larch lasts longer than pine.",
        "The size of the frames should be the one that neighbours use, because frames are often exchanged.",
    ],
    "Feeding in winter": [
        "A strong colony eats about fifteen kilograms of honey between October and March. Weak ones eat less.",
        "Sugar syrup is given before the nights fall below five degrees and never in January.",
    ],
    "Swarming in May": [
        "Queen cells at the edge of a comb announce that the colony will leave within a week. Keepers look weekly.",
        "Half of the bees fly away together with the old queen on a warm day without wind.",
    ],
}
TITLES = tuple(NOTES)


def on_topic(sent: Recorded) -> str:
    """Answer as a teacher that divides a topic, writes notes and asks about them."""
    text = sent.json["messages"][-1]["content"]
    if "subtopics" in text:
        return json.dumps({"subtopics": TITLES})
    for title in NOTES:
        if f'on "{title}"' in text:
            return json.dumps({"paragraphs": NOTES[title]})
    return well(sent)


def notes_in(context: Context, dataset: str = "bees") -> dict[str, str]:
    """Return the notes of a dataset by file name."""
    folder = context.workspace.dataset(dataset) / "documents"
    return {path.name: path.read_text(encoding="utf-8") for path in sorted(folder.glob("*.md"))}


def test_topic_becomes_notes_and_examples(context: Context, fake_openai: FakeOpenAI) -> None:
    """A topic is divided, notes are written as documents, and examples quote the notes."""
    fake_openai.respond = on_topic
    report = generate(context, dataset="bees", topic="Keeping bees", examples=5)
    notes = notes_in(context)
    assert list(notes) == ["01-choosing-a-hive.md", "02-feeding-in-winter.md", "03-swarming-in-may.md"]
    assert report.kept == 5
    assert report.calls.sent == 1 + len(TITLES) + 5
    for example in records(context, "examples.jsonl", Example, dataset="bees"):
        [quote] = example.quotes
        assert notes[quote.document][quote.start : quote.end] == quote.quote


def test_topic_is_data(context: Context, fake_openai: FakeOpenAI) -> None:
    """A topic reaches the teacher as a description between marks, and subtopics never become paths."""
    titles = ("../../outside", "/etc/passwd")
    fake_openai.replies += [
        json.dumps({"subtopics": titles}),
        *(json.dumps({"paragraphs": paragraphs}) for paragraphs in list(NOTES.values())[:2]),
    ]
    fake_openai.respond = well
    generate(context, dataset="bees", topic="Keeping bees", examples=1)
    assert "<topic>\nKeeping bees\n</topic>" in fake_openai.requests[0].json["messages"][-1]["content"]
    assert list(notes_in(context)) == ["01-outside.md", "02-etc-passwd.md"]


def test_topic_that_cannot_be_divided(context: Context, fake_openai: FakeOpenAI) -> None:
    """A teacher that cannot divide the topic is an error with what it said."""
    fake_openai.replies.append("Bees are nice.")
    with pytest.raises(LLMOutputError, match="could not divide the topic") as caught:
        generate(context, dataset="bees", topic="Keeping bees")
    assert "Bees are nice." in caught.value.hint


def test_topic_without_notes(context: Context, fake_openai: FakeOpenAI) -> None:
    """A teacher that writes no usable notes is an error."""
    fake_openai.respond = lambda sent: json.dumps({"subtopics": TITLES, "paragraphs": []})
    fake_openai.replies.append(json.dumps({"subtopics": TITLES}))
    with pytest.raises(LLMOutputError, match="no usable notes"):
        generate(context, dataset="bees", topic="Keeping bees")


def test_lost_notes_are_told(context: Context, recorder: Recorder, fake_openai: FakeOpenAI) -> None:
    """A subtopic whose notes cannot be used is named in a notice."""
    fake_openai.respond = lambda sent: (
        "no" if f'on "{TITLES[1]}"' in sent.json["messages"][-1]["content"] else on_topic(sent)
    )
    generate(context, dataset="bees", topic="Keeping bees", examples=2)
    assert any(TITLES[1] in message for message in notices(recorder))


def test_notes_are_the_same_whoever_answers_first(
    context: Context, recorder: Recorder, fake_openai: FakeOpenAI, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The notes' files do not depend on the order in which the teacher's answers arrive."""
    monkeypatch.setenv("ASSISTANT_TEACHER_CONCURRENCY", "4")
    context = make_context(context.workspace, recorder)

    def respond(sent: Recorded) -> Reply:
        is_first = f'on "{TITLES[0]}"' in sent.json["messages"][-1]["content"]
        return Reply(text=on_topic(sent), delay_s=0.15 if is_first else 0)

    fake_openai.respond = respond
    generate(context, dataset="bees", topic="Keeping bees", examples=1)
    assert list(notes_in(context)) == ["01-choosing-a-hive.md", "02-feeding-in-winter.md", "03-swarming-in-may.md"]
