"""The report on a dataset: one page that holds everything, runs nothing, and breaks on nothing."""

from __future__ import annotations

import dataclasses
import importlib
import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from html.parser import HTMLParser
from pathlib import Path
from types import ModuleType
from typing import Any
from xml.etree import ElementTree

import numpy
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.dataset.files import (
    CHUNKS,
    CURATED,
    EXAMPLES,
    MANIFEST,
    REJECTED,
    REJECTED_BY_CURATION,
    split_file,
)
from pipelines.dataset.report import REPORT_DATASET, ReportDatasetParams, ReportDatasetReport
from pipelines.dataset.reporting.tally import tally_dataset
from pipelines.dataset.reporting.view import Step, bars, funnel, pieces
from pipelines.errors import DataError, SettingsError
from pipelines.models.catalog import DEFAULT_EMBEDDER
from pipelines.models.embedder import Embedder
from pipelines.models.provider import Models
from pipelines.operation import Context, Notice
from pipelines.records import (
    SPLITS,
    Chunk,
    Example,
    ExampleKind,
    Message,
    Quote,
    Rejection,
    Span,
    content_id,
    rejected,
    write_records,
)
from pipelines.settings import Settings, data_home
from pipelines.workspace import locked, write_json
from tests.conftest import Recorder
from tests.test_docs import packaged_embedder, with_embedder

NAME = "house"
SECTIONS = (
    *("origin", "funnel", "kinds", "lengths", "topics", "rejections", "duplicates", "scores"),
    *("map", "diversity", "splits", "flags", "samples"),
)
QUESTIONS = (
    "Where is the brass lantern kept?",
    "Who may borrow the ladder on weekdays?",
    "How much does a lost key cost?",
    "When do the guests have to leave?",
    "Which door leads to the cellar?",
    "What is served for breakfast in winter?",
    "Why is the chapel closed on Mondays?",
    "Can the harbour be seen from the attic?",
    "押金什么时候退还？",
    "周末可以借自行车吗？",
)
HOSTILE = "</style></title><script>alert(1)</script><img src=x onerror=alert(2)>\"'&{{ 7*7 }}$x$\x00\u202e"
SHOWN = "</style></title><script>alert(1)</script><img src=x onerror=alert(2)>\"'&{{ 7*7 }}$x$"
VOID = {"meta", "img", "br", "hr", "link", "input"}


@pytest.fixture(scope="module", autouse=True)
def plots() -> ModuleType:
    """The plots; the list of fonts that matplotlib makes does not go into the person's home folder."""
    os.environ.setdefault("MPLCONFIGDIR", str(data_home() / "matplotlib"))
    return importlib.import_module("pipelines.dataset.reporting.plots")


@pytest.fixture
def context(context: Context, tmp_path: Path) -> Context:
    """The context of all tests, with the embedder that is loaded already."""
    return with_embedder(context, packaged_embedder(), tmp_path)


class Page(HTMLParser):
    """What a browser would find in a page: elements, attributes and text."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str]] = []
        self.open: list[str] = []
        self.text = ""
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Keep an element."""
        self.tags.append(f"{self.open[-1]} {tag}" if tag == "title" else tag)  # those of points are others
        self.attributes += [(name, value or "") for name, value in attrs]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Keep an element that closes itself."""
        self.handle_starttag(tag, attrs)
        self.open.pop()

    def handle_endtag(self, tag: str) -> None:
        """Check that what is closed was open."""
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        """Keep text."""
        self.text += data

    def values(self, attribute: str) -> list[str]:
        """Values of one attribute, of whichever element."""
        return [value for name, value in self.attributes if name == attribute]


def make_example(question: str = QUESTIONS[0], **fields: Any) -> Example:
    """Return an example, with whatever else is given."""
    usual = {"kind": ExampleKind.GROUNDED, "answer": "It is in the cellar.", "teacher": "test", "prompt": "test@1"}
    return Example(id=content_id(question, str(fields)), question=question, **(usual | fields))


def make_examples() -> list[Example]:
    """Return examples in two languages, of several kinds, with all that examples can carry."""
    chunk, found = make_chunks()[0], []
    quote = Quote(document=chunk.document, quote=chunk.text, start=chunk.start, end=chunk.end)
    for number, question in enumerate(QUESTIONS):
        found.append(
            make_example(
                question,
                language="zh" if number >= 8 else "en",
                sources=(chunk.id,),
                quotes=(quote,),
                attributes={"subtopic": f"room {number % 3}", "difficulty": "easy", "tone_of_voice": "dry"},
                scores={"cosine": 0.5 + number / 20, "judge": float(number % 3)},
                flags=("toxicity",) if number == 3 else (),
            )
        )
    turns = [("user", "Is the attic open?"), ("assistant", "Yes."), ("user", "Until when?"), ("assistant", "Six.")]
    messages = tuple(Message.model_validate({"role": role, "content": content}) for role, content in turns)
    return [
        *found,
        make_example("Is the attic open?", kind=ExampleKind.CONVERSATION, messages=messages, answer="Six."),
        make_example("Thanks for the lamp", kind=ExampleKind.CLASSIFICATION, label="praise", answer="praise"),
        make_example("Ann left at six", kind=ExampleKind.SPANS, spans=(Span(start=0, end=3, label="PERSON"),)),
        make_example("Any towels?", kind=ExampleKind.PREFERENCE, rejected="Perhaps.", degradation="vague answer"),
    ]


def make_chunks() -> list[Chunk]:
    """Return the chunks of two documents, the second of which nobody asks about."""
    texts = {"house.md": "The lantern is in the cellar.", "手册.md": "押金七天内退还。"}
    return [
        Chunk(id=content_id(document), document=document, start=0, end=len(text), text=text)
        for document, text in texts.items()
    ]


def make_rejections() -> list[Rejection]:
    """Return what generation rejected: by three checks, one of which finds duplicates."""
    return [
        *(Rejection(check="round_trip", reason="no way back", text=f"Which question is {n}?") for n in range(5)),
        *(Rejection(check="near_duplicate", reason="asked before", text=QUESTIONS[n]) for n in range(3)),
        Rejection(check="schema", reason="expected QAPairs: 2 problems", text='{"pairs": ['),
    ]


def write_dataset(
    context: Context,
    *,
    examples: Sequence[Example] | None = None,
    rejections: Sequence[Rejection] | None = None,
    is_curated: bool = False,
    name: str = NAME,
) -> Path:
    """Write a dataset as the stages leave it; return its folder."""
    folder = context.workspace.dataset(name)
    folder.mkdir(parents=True)
    if examples is not None:
        write_records(folder / EXAMPLES, examples)
        write_records(folder / CHUNKS, make_chunks())
    if rejections is not None:
        write_records(folder / REJECTED, rejections)
    if is_curated and examples:
        dropped = rejected(examples[0], check="personal_data", reason="an e-mail address")
        write_records(folder / REJECTED_BY_CURATION, [dropped])
        added = make_example("Where is the sea?", kind=ExampleKind.UNANSWERABLE, answer="Not said.")
        for split, part in zip(SPLITS, ([*examples[1:-4], added], examples[-4:-2], examples[-2:])):
            write_records(folder / split_file(split), part)
        write_json(
            folder / CURATED,
            manifest({"leaks": 0, "largest_similarity": {"cosine": 0.7123, "first": "Why so?", "second": "Is it so?"}}),
        )
    return folder


def manifest(report: Mapping[str, object], **inputs: object) -> dict[str, object]:
    """Return a stage's manifest."""
    return {"finished": "2026-11-22T06:06:15+00:00", "inputs": inputs, "report": report}


def write_whole(context: Context) -> Path:
    """Write a dataset that has everything; return its folder."""
    folder = write_dataset(context, examples=make_examples(), rejections=make_rejections(), is_curated=True)
    calls = {
        "sent": 30,
        "cached": 4,
        "failed": 1,
        "corrected": 2,
        "tokens_in": 9000,
        "tokens_out": 1000,
        "cost_usd": 0.028,
    }
    report = {"requested": 14, "calls": calls, "seconds": 12.5, "of_a_later_version": True}
    write_json(folder / MANIFEST, manifest(report, params={"topic": "old houses", "hash": "ab" * 32}, seed=7))
    return folder


def start(context: Context, **params: Any) -> tuple[ReportDatasetReport, str]:
    """Write the report as every surface does; return it, and the page."""
    report = REPORT_DATASET.start(ReportDatasetParams.model_validate({"dataset": NAME} | params), context)
    return report, Path(report.path).read_text(encoding="utf-8")


def check_page(html: str) -> Page:
    """Check what holds of every page, and return it."""
    page = Page(html)
    assert not page.open
    assert {"script", "img", "link", "iframe", "object", "form"}.isdisjoint(page.tags)
    assert page.tags.count("style") == page.tags.count("head title") == 1
    assert not [name for name, _value in page.attributes if name.startswith("on") or name == "src"]
    ids = page.values("id")
    assert len(ids) == len(set(ids))
    assert set(SECTIONS) <= set(ids)
    links = page.values("href") + page.values("xlink:href")
    assert all(link.startswith("#") and link[1:] in ids for link in links)
    assert "@import" not in html
    assert html.count("url(") == html.count("url(#")
    assert "#a1b2" not in html  # the colours that stand for those of the page
    return page


def test_page_holds_everything(context: Context) -> None:
    """The page of a whole dataset is one file without scripts, with the numbers of its manifests and files."""
    folder = write_whole(context)
    report, html = start(context)
    page = check_page(html)
    assert Path(report.path) == folder / "report.html"
    assert (report.examples, report.bytes) == (14, len(html.encode()))
    assert report.diversity is not None
    assert (report.diversity.texts, report.diversity.embedded) == (14, 12)
    for said in (
        *(
            "old houses",
            "abababababab",
            "30 sent, 4 answered from the ledger, 1 failed, 2 corrected",
            "9,000 in, 1,000 out",
        ),
        *("$0.0280, $2.00 for a thousand kept", "2026-11-22 06:06:15 UTC", "Without any example: 1 of 2 documents."),
        *(
            "round trip",
            "no way back",
            "asked before",
            "tone of voice: dry",
            "cosine 0.712",
            "Is it so?",
            "Flagged as toxicity: 1.",
        ),
        *("PERSON", "Until when?", "Perhaps.", "vague answer", "house.md, characters 0 to 29"),
    ):
        assert said in page.text
    assert "abab" * 4 not in page.text  # a hash is shown by its beginning
    assert '<span lang="zh" dir="auto">押金什么时候退还？</span>' in html


@pytest.mark.parametrize(
    "fields",
    [
        {"question": HOSTILE},
        {"answer": HOSTILE},
        {"attributes": {HOSTILE: "value"}},
        {"attributes": {"subtopic": HOSTILE}},
        {"teacher": HOSTILE},
        {"prompt": HOSTILE},
        {"flags": (HOSTILE,)},
        {"label": HOSTILE},
        {"rejected": HOSTILE},
        {"rejected": "no", "degradation": HOSTILE},
        {"scores": {HOSTILE: 0.5}},
        {"question": f"x{HOSTILE}", "spans": (Span(start=0, end=1, label=HOSTILE),)},
        {"quotes": (Quote(document=HOSTILE, quote="q", start=0, end=1),)},
        {"quotes": (Quote(document="d", quote=HOSTILE, start=0, end=1),)},
        {"kind": "conversation", "messages": ({"role": "user", "content": HOSTILE},) * 2},
    ],
    ids=lambda fields: "-".join(fields),
)
def test_hostile_examples_are_text(context: Context, fields: dict[str, Any]) -> None:
    """Markup in any field of an example is shown to the letter, without its control characters."""
    others = [make_example(question, attributes={"subtopic": "one"}) for question in QUESTIONS[:4]]
    write_dataset(context, examples=[make_example(**fields), *others], rejections=[])
    _report, html = start(context)
    assert SHOWN in check_page(html).text


def test_hostile_rejections_and_manifests_are_text(context: Context) -> None:
    """Markup in reasons, checks, replies and parameters is shown to the letter."""
    rejections = [
        Rejection(check=HOSTILE, reason="r", text="t"),
        Rejection(check="duplicate", reason=HOSTILE, text=HOSTILE),
        Rejection(check="schema", reason=HOSTILE, text=HOSTILE),
    ]
    folder = write_dataset(context, examples=make_examples()[:3], rejections=rejections)
    write_json(folder / MANIFEST, manifest({}, params={HOSTILE: HOSTILE}))
    chunk = make_chunks()[0].model_copy(update={"document": HOSTILE})
    write_records(folder / CHUNKS, [chunk])
    _report, html = start(context)
    assert check_page(html).text.count(SHOWN) >= 7


def test_page_is_the_same_again(context: Context) -> None:
    """The same dataset gives the same bytes."""
    write_whole(context)
    first, second = start(context)[1], start(context, into=context.workspace.root / "again" / "copy.html")[1]
    assert first == second


@pytest.mark.parametrize(
    "question", [QUESTIONS[0], "？", "押金？", "a" * 10_000, HOSTILE], ids=["en", "mark", "zh", "long", "markup"]
)
def test_one_example_is_enough(context: Context, question: str) -> None:
    """A dataset of one example has a page; nothing is divided by nothing."""
    write_dataset(context, examples=[make_example(question, scores={"judge": 3.0})])
    report, html = start(context)
    page = check_page(html)
    assert report.examples == 1
    assert "There are too few questions for a map." in page.text or "There is no map" in page.text
    assert "The dataset is not curated." in page.text
    assert "No rejections were recorded." in page.text
    assert "No manifest of the stage that wrote it was found" in page.text


def test_rejections_alone_have_a_page(context: Context) -> None:
    """Where nothing was kept, the page says so first, and why."""
    write_dataset(context, examples=[], rejections=make_rejections())
    report, html = start(context)
    page = check_page(html)
    assert (report.examples, report.diversity, report.comparison) == (0, None, None)
    assert "No example was kept; the rejections say why." in page.text
    assert "no way back" in page.text


@pytest.mark.parametrize("content", ["", "no JSON", "[]", '{"report": {"requested": "many"}}', '{"report": null}'])
def test_broken_manifest_is_as_none(context: Context, content: str) -> None:
    """A manifest that cannot be read keeps nobody from seeing the data."""
    folder = write_dataset(context, examples=make_examples())
    (folder / MANIFEST).write_text(content, encoding="utf-8")
    assert "No manifest of the stage that wrote it was found" in check_page(start(context)[1]).text


@pytest.mark.parametrize(
    "scores",
    [
        [0.5, 0.5],
        [1e308, -1e308, 0.5],
        [float("nan"), float("inf")],
        [0.1 + number / 7 for number in range(50)],
        [3, 4],
    ],
    ids=["equal", "huge", "endless", "many", "whole"],
)
def test_any_score_can_be_plotted(context: Context, scores: list[float]) -> None:
    """Scores that are equal, huge or no numbers break no plot."""
    folder = write_dataset(context, examples=[])
    lines = [
        make_example(f"Question {n}?").model_dump(mode="json") | {"scores": {"s": s}} for n, s in enumerate(scores)
    ]
    (folder / EXAMPLES).write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    check_page(start(context)[1])


def test_unknown_dataset_names_the_known(context: Context) -> None:
    """A wrong name is answered with the right ones."""
    write_dataset(context, examples=make_examples(), name="castle")
    with pytest.raises(DataError, match="there is no dataset 'house'; known: castle"):
        start(context)


def test_empty_folder_says_how_to_go_on(context: Context) -> None:
    """A dataset without examples and rejections says which command writes some."""
    write_dataset(context)
    with pytest.raises(DataError, match="has no examples yet") as caught:
        start(context)
    assert "assistant data generate house" in caught.value.hint


def test_report_waits_for_nobody(context: Context) -> None:
    """While another command works in the dataset, the report says so and writes nothing."""
    folder = write_dataset(context, examples=make_examples())
    with locked(folder), pytest.raises(DataError, match="another command is working"):
        start(context)
    assert not (folder / "report.html").exists()


def test_funnel_adds_up(context: Context) -> None:
    """Every total of the funnel is the one before it, less what was dropped and more what was added."""
    folder = write_whole(context)
    steps = funnel(tally_dataset(folder))
    assert [(step.label, step.count, step.kind) for step in steps] == [
        ("asked for", 14, "total"),
        ("drafted", 23, "total"),
        ("round_trip", 5, "loss"),
        ("near_duplicate", 3, "loss"),
        ("schema", 1, "loss"),
        ("written", 14, "total"),
        ("personal_data", 1, "loss"),
        ("added by curation", 1, "gain"),
        ("in the splits", 14, "total"),
    ]
    check_steps(steps)


def test_curation_may_leave_examples_out(context: Context) -> None:
    """Examples that are in no split without having been rejected are accounted for, too."""
    folder = write_whole(context)
    write_records(folder / split_file("train"), make_examples()[:2])
    steps = funnel(tally_dataset(folder))
    assert [(step.label, step.count) for step in steps[-2:]] == [("left out by curation", 7), ("in the splits", 6)]
    check_steps(steps)


def check_steps(steps: Sequence[Step]) -> None:
    """Check that the bars of a waterfall lie within it, each where the one before ends."""
    left = None
    for step in steps:
        assert 0 <= step.start <= step.start + step.length <= 1 + 1e-9
        if step.kind == "total":
            assert step.start == 0
            assert left is None or step.label == "drafted" or step.length == pytest.approx(left)
            left = step.length
        elif left is not None:
            left += step.length if step.kind == "gain" else -step.length


@pytest.mark.parametrize(
    ("file", "content"),
    [
        ("naive.jsonl", '{"question": "What is it?"}\n{"question": "What is it?"}\n'),
        (
            "naive.jsonl",
            '{"messages": [{"role": "system", "content": "s"}, {"role": "user", "content": "What is it?"}]}',
        ),
        ("naive.txt", "What is it?\n\nWhat is it?\n"),
    ],
)
def test_baseline_is_a_file(context: Context, tmp_path: Path, file: str, content: str) -> None:
    """Questions of a file, in whichever of the three forms, are compared at equal number and length."""
    write_whole(context)
    (tmp_path / file).write_text(content, encoding="utf-8")
    report, html = start(context, baseline=str(tmp_path / file))
    assert report.comparison is not None
    assert report.comparison.ours.words == report.comparison.baseline.words > 0
    text = check_page(html).text
    assert f"Against {file}, with " in text
    assert str(tmp_path) not in html


def test_baseline_is_a_dataset(context: Context) -> None:
    """A dataset of one question again and again is less varied by every measure."""
    write_whole(context)
    write_dataset(context, examples=[make_example(QUESTIONS[0])] * 14, name="naive")
    report, html = start(context, baseline="naive")
    assert report.comparison is not None
    assert report.comparison.baseline.near_duplicates == pytest.approx(13 / 14)
    assert report.comparison.ours.vendi_score > 5 > 1.1 > report.comparison.baseline.vendi_score  # type: ignore[operator]
    assert "More varied here by 9 of 9 measures, less by 0." in check_page(html).text


@pytest.mark.parametrize(
    ("file", "content", "problem"),
    [
        ("none.jsonl", None, "neither a dataset with examples nor a file"),
        ("empty.jsonl", "", "holds no question"),
        ("empty.txt", "\n \n", "holds no question"),
        ("bare.jsonl", '{"question": "Why?"}\n{"answer": "So."}\n', "record 2 has no question"),
        ("cut.jsonl", '{"question": "Why', "line 1 is not a valid"),
        ("latin.txt", b"caf\xe9?", "cannot read latin.txt as text"),
    ],
)
def test_bad_baseline_is_named(
    context: Context, tmp_path: Path, file: str, content: str | bytes | None, problem: str
) -> None:
    """A baseline that is none says what is wrong with it, before anything is measured."""
    folder = write_whole(context)
    if content is not None:
        (tmp_path / file).write_bytes(content.encode() if isinstance(content, str) else content)
    with pytest.raises(DataError, match=problem):
        start(context, baseline=str(tmp_path / file))
    assert not (folder / "report.html").exists()


@pytest.mark.parametrize("name", ["examples.jsonl", "page", "folder.html"])
def test_only_pages_are_written(context: Context, name: str) -> None:
    """The page replaces no file that is none, and no folder."""
    folder = write_whole(context)
    (folder / "folder.html").mkdir()
    before = (folder / EXAMPLES).read_bytes()
    with pytest.raises(SettingsError, match="not the name of one"):
        start(context, into=folder / name)
    assert (folder / EXAMPLES).read_bytes() == before


def test_confined_report_stays_inside(context: Context, tmp_path: Path) -> None:
    """Where a model chose the paths, it can neither write nor read outside the workspace."""
    write_whole(context)
    (tmp_path / "secret.txt").write_text("What is it?", encoding="utf-8")
    confined = dataclasses.replace(context, confine=True)
    with pytest.raises(SettingsError, match="outside the workspace"):
        start(confined, into=tmp_path / "page.html")
    with pytest.raises(SettingsError, match="outside the workspace"):
        start(confined, baseline=str(tmp_path / "secret.txt"))


class NoModels(Models):
    """Models of a machine that has no embedding model."""

    def open_embedder(self, name: str = DEFAULT_EMBEDDER) -> Embedder:
        """Refuse, as a machine does that lacks the package."""
        raise SettingsError(f"the model {name} is not installed")


def test_report_goes_without_vectors(context: Context, recorder: Recorder, tmp_path: Path) -> None:
    """Without an embedding model the page lacks the map, says so, and is written all the same."""
    write_whole(context)
    report, html = start(dataclasses.replace(context, models=NoModels(Settings(), calls=tmp_path / "calls.sqlite")))
    assert report.diversity is not None
    assert (report.diversity.vendi_score, report.diversity.self_bleu > 0) == (None, True)
    assert f"There is no map: the model {DEFAULT_EMBEDDER} is not installed." in check_page(html).text
    assert any(isinstance(event, Notice) and "not installed" in event.message for event in recorder.events)


def test_unknown_language_is_left_off_the_map(context: Context) -> None:
    """To an embedding model, all texts of a language that it does not know are alike; so it is not asked."""
    write_dataset(context, examples=[make_example(f"{word}怎么退？", language="zh") for word in "甲乙丙丁戊"])
    report, html = start(context)
    assert report.diversity is not None
    assert (report.diversity.texts, report.diversity.embedded, report.diversity.paraphrases) == (5, 0, None)
    assert "the embedding model does not know the language of the questions" in check_page(html).text


def test_samples_come_from_all_kinds(context: Context) -> None:
    """Of few kinds and languages, each is among the ten records shown, however rare."""
    common = [make_example(f"Question number {number}?") for number in range(200)]
    rare = [make_example("Who?", kind=ExampleKind.FALSE_PREMISE), make_example("谁？", language="zh")]
    folder = write_dataset(context, examples=[*common, *rare])
    samples = tally_dataset(folder).samples
    shown = {example.id for example in samples}
    assert {example.id for example in rare} <= shown
    assert len(shown) == 10


@given(st.dictionaries(st.text(max_size=3), st.integers(0, 50), max_size=30), st.integers(1, 12))
def test_bars_lose_nothing(counts: dict[str, int], most: int) -> None:
    """What is shown and the rest are all that was counted; no bar is longer than the whole width."""
    made = bars("title", counts, most=most)
    assert sum(bar.count for bar in made.bars) + made.other_count == sum(counts.values())
    assert len(made.bars) + made.other_values == len(counts)
    assert all(0 <= bar.length <= 1 and 0 <= bar.share <= 1 for bar in made.bars)
    assert made.other_values != 1
    assert 0 < made.effective <= max(1, len(counts)) + 1e-9


@given(st.text(min_size=1, max_size=20), st.lists(st.tuples(st.integers(0, 25), st.integers(1, 25)), max_size=4))
def test_marked_text_is_the_text(question: str, spans: list[tuple[int, int]]) -> None:
    """Whatever the spans say, marking a text changes no letter of it."""
    marked = tuple(Span(start=start, end=end, label="X") for start, end in spans)
    parts = pieces(make_example(question, spans=marked))
    assert "".join(text for text, _label in parts) == question


@settings(max_examples=12)
@given(st.lists(st.lists(st.floats(-1e9, 1e9), min_size=1, max_size=20), min_size=1, max_size=3), st.booleans())
def test_histogram_is_a_drawing(plots: ModuleType, groups: list[list[float]], whole: bool) -> None:
    """Any numbers give a well-formed drawing with a label and without colours of its own."""
    rounded = [[float(round(value)) for value in group] for group in groups] if whole else groups
    drawing = plots.histogram(rounded, name="n", label='a "label" <b>', whole=whole)
    root = ElementTree.fromstring(drawing)
    assert root.get("aria-label") == 'a "label" <b>'
    assert "var(--c1)" in drawing
    assert "#" not in drawing.replace("url(#n-", "").replace('href="#n-', "")


def test_points_keep_their_titles(plots: ModuleType) -> None:
    """Each point of a map has its own title, in the colour of its group."""
    places = plots.flatten(packaged_embedder().embed(QUESTIONS[:6]))
    titles = [f"{HOSTILE[:-2]} {number}" for number in range(6)]
    drawing = plots.scatter(places, [0, 1, 0, 7, 1, 0], titles, name="m", label="map")
    points = [each for each in ElementTree.fromstring(drawing).iter() if each.tag.endswith("}use")]
    found = {point[0].text: str(point.get("style")) for point in points}
    assert set(found) == set(titles)
    colours = [next(f"c{n}" for n in range(1, 9) if f"--c{n})" in found[title]) for title in titles]
    assert colours == ["c1", "c2", "c1", "c8", "c2", "c1"]


def test_map_is_of_the_widest_spread(plots: ModuleType) -> None:
    """The first axis of the map is the direction in which vectors differ most; few vectors have fewer axes."""
    vectors = numpy.asarray([[0, 0, 9], [0, 1, -9], [0, 0, 3], [0, 1, -3]], dtype=numpy.float32)
    places = plots.flatten(vectors)
    assert numpy.allclose(numpy.abs(places[:, 0]), [9, 9, 3, 3], atol=0.2)
    assert plots.flatten(vectors[:1]).tolist() == [[0, 0]]


def test_describing_the_operation_loads_nothing() -> None:
    """Help for the command needs neither matplotlib nor numpy."""
    code = "import sys, pipelines.dataset.report as r; r.REPORT_DATASET.params.model_fields; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert {"numpy", "matplotlib", "torch", "pipelines.dataset.reporting.plots"}.isdisjoint(loaded)
