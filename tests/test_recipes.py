"""How a remote teacher writes each kind of example: what is asked, what is kept, what is dropped."""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr

from pipelines.dataset.checks.form import check_form
from pipelines.dataset.recipes.augment import (
    AnswerRecipe,
    AugmentTask,
    BackTranslationRecipe,
    EvolRecipe,
    ParaphraseRecipe,
)
from pipelines.dataset.recipes.classification import ClassificationRecipe
from pipelines.dataset.recipes.conversation import ConversationRecipe
from pipelines.dataset.recipes.instruction import InstructionRecipe
from pipelines.dataset.recipes.judge import judge
from pipelines.dataset.recipes.preference import PreferenceRecipe
from pipelines.dataset.recipes.recipe import Opening, Recipe, Task
from pipelines.dataset.recipes.replies import MarkedSpan
from pipelines.dataset.recipes.spans import SpansRecipe, locate_spans
from pipelines.models.ledger import Ledger
from pipelines.models.teacher import Ask, Teacher
from pipelines.records import Chunk, Example, ExampleKind, Message, Rejection
from pipelines.settings import Endpoint
from tests.fake_openai import FakeOpenAI, Recorded

NAME = "fake-model"
READY = '{"ready": true, "colour": "blue"}'
HONEY = "The club fills its honey into jars of 500 grams. A deposit of thirty cents is paid back at the counter."
FENG_MI = "每个玻璃罐收取三十美分的押金。押金在柜台退还。"
LABELS = ("complaint", "question", "praise")
Answering = Callable[[Recorded], object]


def chunk(text: str = HONEY, *, name: str = "honey") -> Chunk:
    """Return a passage."""
    return Chunk(id=name, document=f"{name}.md", start=0, end=len(text), text=text, heading="Honey › Jars")


def task(kind: ExampleKind, **changes: Any) -> Task:
    """Return a piece of work about a passage in English."""
    values = {"chunks": (chunk(),), "count": 2, "language": "en", "attributes": {"persona": "a buyer"}}
    return Task(kind=kind, **(values | changes))


def shown_in(sent: Recorded) -> str:
    """Return all that a call says."""
    return "\n".join(message["content"] for message in sent.json["messages"])


class Script:
    """Answers each call by the record that it asks for, and counts what was asked."""

    def __init__(self) -> None:
        self.answers: dict[str, Answering] = {}
        self.asked: list[tuple[str, str]] = []

    def __call__(self, sent: Recorded) -> str:
        """Answer a call."""
        schema = sent.json["response_format"]["json_schema"]["name"]
        if schema == "_Ready":
            return READY
        self.asked.append((schema, shown_in(sent)))
        said = self.answers[schema](sent)
        return said if isinstance(said, str) else json.dumps(said, ensure_ascii=False)

    def prompts(self, schema: str) -> list[str]:
        """Return what was said in the calls that asked for a record."""
        return [said for name, said in self.asked if name == schema]


@pytest.fixture
def script(fake_openai: FakeOpenAI) -> Script:
    """What the fake endpoint answers."""
    made = Script()
    fake_openai.respond = made
    return made


@pytest.fixture
def teacher(fake_openai: FakeOpenAI, tmp_path: Path) -> Iterator[Teacher]:
    """A real client of the fake endpoint."""
    ledger = Ledger(tmp_path / "calls.sqlite")
    yield Teacher(Endpoint(url=fake_openai.url, model=NAME, key=SecretStr("sk-tests-only")), ledger, concurrency=4)
    ledger.close()


def run(teacher: Teacher, work: Callable[[Ask], Awaitable[Sequence[Any]]]) -> list[Any]:
    """Let the teacher be asked, and return what comes of it."""

    async def each(ask: Ask) -> AsyncIterator[Any]:
        for result in await work(ask):
            yield result

    return list(teacher.run(each))


def write(teacher: Teacher, recipe: Recipe, about: Task) -> list[Any]:
    """Take a task through both steps; rejections of the first come first."""
    opened = run(teacher, lambda ask: recipe.open(about, ask))
    openings = [each for each in opened if isinstance(each, Opening)]
    made = run(teacher, lambda ask: recipe.finish(about, openings, ask))
    assert len(made) == len(openings)
    return [each for each in opened if isinstance(each, Rejection)] + made


def always(record: object) -> Answering:
    """Return an answer that does not look at the call."""
    return lambda sent: record


def numbered(*answers: str) -> dict[str, object]:
    """Return the results of tasks, in order."""
    return {"answers": [{"number": number, "answer": text} for number, text in enumerate(answers, start=1)]}


def checks(made: Sequence[Any]) -> list[str]:
    """Return by which check each record was dropped; an empty text for one that was kept."""
    return [each.check if isinstance(each, Rejection) else "" for each in made]


# ---- all recipes

EVERY: list[tuple[type[Any], ExampleKind]] = [
    (InstructionRecipe, ExampleKind.INSTRUCTION),
    (ConversationRecipe, ExampleKind.CONVERSATION),
    (ClassificationRecipe, ExampleKind.CLASSIFICATION),
    (SpansRecipe, ExampleKind.SPANS),
    (PreferenceRecipe, ExampleKind.PREFERENCE),
]
SECOND = {
    "DoneTasks": ExampleKind.INSTRUCTION,
    "Dialogue": ExampleKind.CONVERSATION,
    "NumberedLabels": ExampleKind.CLASSIFICATION,
    "PlainAnswer": ExampleKind.PREFERENCE,
}


@pytest.mark.parametrize(("recipe", "kind"), EVERY)
def test_useless_opening_reply_is_one_rejection(
    teacher: Teacher, script: Script, recipe: type[Any], kind: ExampleKind
) -> None:
    """A first reply that is no record ends the task, with what was said and paid."""
    script.answers = dict.fromkeys(
        ("PassageTasks", "Questions", "Texts", "MarkedTexts"), always("I would rather talk about bees.")
    )
    [made] = write(teacher, recipe(teacher=NAME), task(kind, labels=LABELS, count=1))
    assert (made.check, made.text, made.source) == ("schema", "I would rather talk about bees.", "honey")
    assert made.calls


@pytest.mark.parametrize(("schema", "kind"), SECOND.items())
def test_useless_second_reply_rejects_each_opening(
    teacher: Teacher, script: Script, schema: str, kind: ExampleKind
) -> None:
    """A second reply that is no record drops the openings that it was about, by their own text."""
    recipe = next(each for each, written in EVERY if written is kind)(teacher=NAME)
    script.answers[schema] = always("no")
    openings = [Opening(text=text, calls=("first",), detail={"label": "praise"}) for text in ("One?", "Two?")]
    made = run(teacher, lambda ask: recipe.finish(task(kind, labels=LABELS), openings, ask))
    assert [(each.check, each.text, each.calls[0]) for each in made] == [
        ("schema", "One?", "first"),
        ("schema", "Two?", "first"),
    ]


@pytest.mark.parametrize(("recipe", "kind"), EVERY)
def test_no_openings_ask_nothing(teacher: Teacher, script: Script, recipe: type[Any], kind: ExampleKind) -> None:
    """Where every opening was a duplicate, the second step costs nothing."""
    assert run(teacher, lambda ask: recipe(teacher=NAME).finish(task(kind, labels=LABELS), [], ask)) == []
    assert script.asked == []


@pytest.mark.parametrize(("recipe", "kind"), EVERY)
def test_material_and_manner_enter_the_first_prompt(
    teacher: Teacher, script: Script, recipe: type[Any], kind: ExampleKind
) -> None:
    """The passage stands in its tags; persona, language and what to avoid are said."""
    script.answers = dict.fromkeys(("PassageTasks", "Questions", "Texts", "MarkedTexts"), always("no"))
    about = task(kind, labels=LABELS, language="zh", chunks=(chunk(FENG_MI),), avoid=("押金多少？",))
    write(teacher, recipe(teacher=NAME), about)
    said = script.asked[0][1]
    assert f'<passage from="Honey › Jars">\n{FENG_MI}\n</passage>' in said
    assert "Chinese (简体中文)" in said
    assert "a buyer" in said
    assert "押金多少？" in said


def test_another_round_is_another_call(teacher: Teacher, script: Script) -> None:
    """The same passage asked about again gives other openings, and the same round the same ones."""
    script.answers["PassageTasks"] = lambda sent: {
        "tasks": [{"task": f"Sum up the honey rules, variant {len(script.asked)}.", "needs_text": False}]
    }
    recipe = InstructionRecipe(teacher=NAME)
    texts = [
        run(teacher, lambda ask, at=at: recipe.open(task(ExampleKind.INSTRUCTION, round=at), ask))[0].text
        for at in (0, 1, 0)
    ]
    assert texts[0] == texts[2] != texts[1]


# ---- instruction

TWO_TASKS = {
    "tasks": [
        {"task": "Summarise the text in one line.", "needs_text": True},
        {"task": "Explain to a beginner how the club's honey deposit works.", "needs_text": False},
    ]
}


def test_tasks_are_done_in_one_call(teacher: Teacher, script: Script) -> None:
    """The passage stands below a task that needs it, and not below one that does not."""
    script.answers = {"PassageTasks": always(TWO_TASKS), "DoneTasks": always(numbered("Jars of 500 g.", "You pay."))}
    first, second = write(teacher, InstructionRecipe(teacher=NAME), task(ExampleKind.INSTRUCTION))
    assert first.messages[0].content == f"Summarise the text in one line.\n\n{HONEY}"
    assert (first.chunks, first.sources, first.answer) == (("honey",), ("honey",), "Jars of 500 g.")
    assert second.messages[0].content == second.question == TWO_TASKS["tasks"][1]["task"]
    assert (second.chunks, second.sources, second.messages[1].content) == ((), ("honey",), "You pay.")
    [asked] = script.prompts("DoneTasks")
    assert asked.count(HONEY) == 1
    assert [type(check_form(each)) for each in (first, second)] == [Example, Example]


def test_a_task_that_points_at_its_text_gets_it(teacher: Teacher, script: Script) -> None:
    """What a task calls 'this text' is handed over, also where the teacher thinks it unnecessary."""
    tasks = {"tasks": [{"task": "Translate this text into German.", "needs_text": False}]}
    script.answers = {"PassageTasks": always(tasks), "DoneTasks": always(numbered("Der Verein füllt ..."))}
    [made] = write(teacher, InstructionRecipe(teacher=NAME), task(ExampleKind.INSTRUCTION))
    assert made.messages[0].content.endswith(HONEY)


def test_a_task_left_undone_is_dropped(teacher: Teacher, script: Script) -> None:
    """Results are matched by number; a task without one is dropped, and a number too many is passed over."""
    done = {"answers": [{"number": 2, "answer": "You pay."}, {"number": 9, "answer": "What?"}]}
    script.answers = {"PassageTasks": always(TWO_TASKS), "DoneTasks": always(done)}
    made = write(teacher, InstructionRecipe(teacher=NAME), task(ExampleKind.INSTRUCTION))
    assert checks(made) == ["unanswered", ""]
    assert made[1].answer == "You pay."


def test_a_topic_brings_its_own_material(teacher: Teacher, script: Script) -> None:
    """Without passages the tasks are about the subtopic, and carry the text to be worked on."""
    tasks = {"tasks": [{"task": "Make this e-mail polite.", "material": "Pay now!"}, {"task": "Name three hives."}]}
    script.answers = {"TopicTasks": always(tasks), "DoneTasks": always(numbered("Please pay.", "A, B, C."))}
    about = task(ExampleKind.INSTRUCTION, chunks=(), attributes={"topic": "Bees", "subtopic": "Money"})
    polite, hives = write(teacher, InstructionRecipe(teacher=NAME), about)
    assert "<topic>\nBees › Money\n</topic>" in script.prompts("TopicTasks")[0]
    assert polite.messages[0].content == "Make this e-mail polite.\n\nPay now!"
    assert "Pay now!" in script.prompts("DoneTasks")[0]
    assert (polite.sources, polite.chunks, hives.messages[0].content) == ((), (), "Name three hives.")


def test_an_instruction_is_about_something(teacher: Teacher, script: Script) -> None:
    """A task with neither passages nor a topic is the caller's mistake."""
    with pytest.raises(ValueError, match="subtopic"):
        write(teacher, InstructionRecipe(teacher=NAME), task(ExampleKind.INSTRUCTION, chunks=()))
    assert script.asked == []


# ---- conversation


def test_conversation_alternates_and_ends_with_the_assistant(teacher: Teacher, script: Script) -> None:
    """The first question is the opening's; the last answer is what is learnt."""
    script.answers = {
        "Questions": always({"questions": ["押金怎么退？"]}),
        "Dialogue": always(
            {"answer": "在柜台退。", "follow_ups": [{"question": "那是多少？", "answer": "三十美分。"}]}
        ),
    }
    about = task(ExampleKind.CONVERSATION, count=1, language="zh", chunks=(chunk(FENG_MI),))
    [made] = write(teacher, ConversationRecipe(teacher=NAME), about)
    assert [message.role for message in made.messages] == ["user", "assistant"] * 2
    assert (made.question, made.answer, made.language) == ("押金怎么退？", "三十美分。", "zh")
    assert made.messages[0].content == made.question
    assert isinstance(check_form(made), Example)
    assert "<question>\n押金怎么退？\n</question>" in script.prompts("Dialogue")[0]


def test_conversation_that_begins_anew(teacher: Teacher, script: Script) -> None:
    """Follow-ups that repeat a question are passed over; where none is left, there is no conversation."""
    again = {"question": " how big is a honey  jar?", "answer": "500 grams, as I said."}
    new = {"question": "And the deposit?", "answer": "Thirty cents."}
    replies = iter([{"answer": "500 grams.", "follow_ups": [again]}, {"answer": "500 g.", "follow_ups": [again, new]}])
    script.answers = {
        "Questions": always({"questions": ["How big is a honey jar?"]}),
        "Dialogue": lambda sent: next(replies),
    }
    recipe = ConversationRecipe(teacher=NAME)
    [dropped] = write(teacher, recipe, task(ExampleKind.CONVERSATION))
    [kept] = write(teacher, recipe, task(ExampleKind.CONVERSATION, round=1))
    assert dropped.check == "turns"
    assert [message.content for message in kept.messages[::2]] == ["How big is a honey jar?", "And the deposit?"]


def test_conversations_differ_in_length(teacher: Teacher, script: Script) -> None:
    """How many questions follow is drawn by the first question, from one to four."""
    questions = [f"What does jar number {number} cost?" for number in range(8)]
    script.answers["Dialogue"] = always({"answer": "A.", "follow_ups": [{"question": "Why?", "answer": "B."}]})
    openings = [Opening(text=question, calls=()) for question in questions]
    recipe = ConversationRecipe(teacher=NAME)
    run(teacher, lambda ask: recipe.finish(task(ExampleKind.CONVERSATION), openings, ask))
    counts = {re.search(r"follow_ups: (\d)", said)[1] for said in script.prompts("Dialogue")}  # type: ignore[index]
    assert counts <= {"1", "2", "3", "4"}
    assert len(counts) > 1


# ---- classification

SAID = {"complaint": "The jar leaked all over my bag.", "question": "When do you open?", "praise": "Best honey ever."}


def texts_of_label(sent: Recorded) -> dict[str, object]:
    """Return texts of the label that is asked for."""
    label = re.search(r"of the class: (\w+)", shown_in(sent))
    assert label is not None
    return {"texts": [SAID[label[1]], SAID[label[1]].replace(".", "!").replace("?", ", please?")]}


def labels_of_texts(sent: Recorded, *, but: str = "") -> dict[str, object]:
    """Label texts rightly, but for one."""
    found = re.findall(r'<text number="(\d)">\n(.*)\n</text>', shown_in(sent))
    key = {text[:8]: label for label, text in SAID.items()}
    return {
        "labels": [
            {"number": int(number), "label": "praise" if text == but else key[text[:8]].upper()}
            for number, text in found
        ]
    }


def test_texts_are_balanced_and_labelled_blind(teacher: Teacher, script: Script) -> None:
    """Each label gets its share, and a label that is not found again drops its text."""
    wrong = SAID["complaint"]
    script.answers = {"Texts": texts_of_label, "NumberedLabels": lambda sent: labels_of_texts(sent, but=wrong)}
    made = write(teacher, ClassificationRecipe(teacher=NAME), task(ExampleKind.CLASSIFICATION, labels=LABELS, count=6))
    assert [each.text if isinstance(each, Rejection) else each.label for each in made] == [
        wrong,
        *("complaint", "question", "question", "praise", "praise"),
    ]
    assert made[0].check == "label"
    assert "written as 'complaint', but labelled as 'praise'" in made[0].reason
    [asked] = script.prompts("NumberedLabels")
    order = re.findall(r"<text number=\"\d\">\n(.{8})", asked)
    assert order != [text[:8] for text in SAID.values() for _ in range(2)]


def test_classified_example_holds_what_the_student_sees(teacher: Teacher, script: Script) -> None:
    """The student is shown text and labels in its language, and answers with the label alone."""
    script.answers = {
        "Texts": always({"texts": ["罐子漏了，弄脏了我的包。"]}),
        "NumberedLabels": always({"labels": [{"number": 1, "label": " 投诉。"}]}),
    }
    about = task(
        ExampleKind.CLASSIFICATION,
        labels=("投诉", "表扬"),
        count=1,
        language="zh",
        chunks=(chunk(FENG_MI),),
        attributes={"label": "投诉"},
    )
    [made] = write(teacher, ClassificationRecipe(teacher=NAME), about)
    assert (made.question, made.answer, made.label) == ("罐子漏了，弄脏了我的包。", "投诉", "投诉")
    system, user, assistant = made.messages
    assert "只回答类别" in system.content
    assert "投诉 | 表扬" in user.content
    assert made.question in user.content
    assert assistant.content == "投诉"
    assert isinstance(check_form(made), Example)


def test_shares_of_labels(teacher: Teacher, script: Script) -> None:
    """A count that cannot be divided gives each label its turn over the rounds; none is asked for in vain."""
    script.answers["Texts"] = texts_of_label
    recipe = ClassificationRecipe(teacher=NAME)
    found = [
        [
            opening.detail["label"]
            for opening in run(
                teacher,
                lambda ask, at=at: recipe.open(task(ExampleKind.CLASSIFICATION, labels=LABELS, count=1, round=at), ask),
            )
        ]
        for at in range(3)
    ]
    assert found == [["complaint"], ["question"], ["praise"]]
    assert len(script.asked) == 3


@pytest.mark.parametrize(
    ("recipe", "changes", "problem"),
    [
        (ClassificationRecipe, {}, "it has none"),
        (SpansRecipe, {}, "it has none"),
        (ClassificationRecipe, {"labels": LABELS, "attributes": {"label": "spam"}}, "'spam'"),
    ],
)
def test_labels_are_needed(
    teacher: Teacher, script: Script, recipe: type[Any], changes: dict[str, Any], problem: str
) -> None:
    """Texts cannot be written for labels that are not there."""
    with pytest.raises(ValueError, match=problem):
        write(teacher, recipe(teacher=NAME), task(ExampleKind.CLASSIFICATION, **changes))
    assert script.asked == []


def test_many_texts_are_labelled_in_several_calls(teacher: Teacher, script: Script) -> None:
    """More texts than a reply can hold are divided, and come back in their own order."""
    labels = [LABELS[number % 3] for number in range(20)]
    openings = [
        Opening(text=f"{SAID[label]} {number}", calls=(), detail={"label": label})
        for number, label in enumerate(labels)
    ]
    script.answers["NumberedLabels"] = labels_two_digits
    recipe = ClassificationRecipe(teacher=NAME)
    made = run(teacher, lambda ask: recipe.finish(task(ExampleKind.CLASSIFICATION, labels=LABELS), openings, ask))
    assert [each.label for each in made] == labels
    assert len(script.asked) == 2


def labels_two_digits(sent: Recorded) -> dict[str, object]:
    """Label up to ninety-nine texts rightly."""
    found = re.findall(r'<text number="(\d+)">\n(.*)\n</text>', shown_in(sent))
    key = {text[:8]: label for label, text in SAID.items()}
    return {"labels": [{"number": int(number), "label": key[text[:8]]} for number, text in found]}


# ---- spans

PEOPLE = ("PERSON", "PLACE")


def marks(*pairs: tuple[str, str]) -> list[MarkedSpan]:
    """Return pieces as a teacher marks them."""
    return [MarkedSpan(text=text, label=label) for text, label in pairs]


def test_spans_are_found_in_the_text(teacher: Teacher, script: Script) -> None:
    """Each mark becomes the offsets of its piece, in the order of the text; nothing is asked for it."""
    text = "Ada met Ben in\nBonn."
    spans = [{"text": "Bonn", "label": "place"}, {"text": "Ada", "label": "PERSON"}, {"text": "Ben", "label": "PERSON"}]
    script.answers["MarkedTexts"] = always({"texts": [{"text": text, "spans": spans}]})
    [made] = write(teacher, SpansRecipe(teacher=NAME), task(ExampleKind.SPANS, labels=PEOPLE))
    pieces = [(made.question[span.start : span.end], span.label) for span in made.spans]
    assert pieces == [("Ada", "PERSON"), ("Ben", "PERSON"), ("Bonn", "PLACE")]
    assert json.loads(made.answer) == [{"text": text, "label": label} for text, label in pieces]
    assert made.messages[-1].content == made.answer
    assert "PERSON | PLACE" in made.messages[-2].content
    assert len(script.asked) == 1
    assert isinstance(check_form(made), Example)


def test_spans_in_chinese(teacher: Teacher, script: Script) -> None:
    """Chinese has no spaces between words: a piece is found within its sentence."""
    spans = [{"text": "王芳", "label": "人名"}, {"text": "上海", "label": "地点"}]
    script.answers["MarkedTexts"] = always({"texts": [{"text": "王芳在上海卖蜂蜜。", "spans": spans}]})
    about = task(ExampleKind.SPANS, labels=("人名", "地点"), language="zh", chunks=(chunk(FENG_MI),))
    [made] = write(teacher, SpansRecipe(teacher=NAME), about)
    assert [(span.start, span.end, span.label) for span in made.spans] == [(0, 2, "人名"), (3, 5, "地点")]
    assert "标签" in made.messages[1].content
    assert "王芳" in made.answer


@pytest.mark.parametrize(
    ("pairs", "problem"),
    [
        ([("Carl", "PERSON")], "'Carl' does not stand"),
        ([("Ada", "ANIMAL")], "'ANIMAL' is none of"),
        ([("Ada met", "PERSON"), ("met Ben", "PERSON")], "'met Ben' overlaps"),
        ([("Ada", "PERSON"), ("Ada", "PLACE")], "'Ada' overlaps"),
        ([("Be", "PERSON")], "'Be' does not stand"),
        ([(" ", "PERSON")], "'' does not stand"),
    ],
)
def test_marks_that_are_wrong(teacher: Teacher, script: Script, pairs: list[tuple[str, str]], problem: str) -> None:
    """A piece that is absent, within a word, overlapping or of another label drops the text."""
    spans = [{"text": text, "label": label} for text, label in pairs]
    script.answers["MarkedTexts"] = always({"texts": [{"text": "Ada met Ben in Bonn.", "spans": spans}]})
    [made] = write(teacher, SpansRecipe(teacher=NAME), task(ExampleKind.SPANS, labels=PEOPLE))
    assert made.check == "spans"
    assert problem in made.reason


def test_a_piece_that_occurs_twice() -> None:
    """Two marks of one piece take its two places in order, and a third is passed over."""
    text = "May met May in Mayen."
    once = locate_spans(text, marks(("May", "PERSON")), labels=PEOPLE)
    thrice = locate_spans(text, marks(*[("May", "PERSON")] * 3), labels=PEOPLE)
    assert [span.start for span in once] == [0]
    assert [span.start for span in thrice] == [0, 8]


@given(st.lists(st.sampled_from(["Ada", "Bo", "蜂蜜", "x-1", "C.D."]), min_size=1, max_size=6), st.data())
def test_located_pieces_are_those_that_were_marked(pieces: list[str], data: st.DataObject) -> None:
    """Whatever the order of the marks, the spans hold the marked pieces, apart from each other."""
    text = ", ".join(pieces)
    order = data.draw(st.permutations(pieces))
    spans = locate_spans(text, marks(*((piece, "PERSON") for piece in order)), labels=PEOPLE)
    assert [text[span.start : span.end] for span in spans] == pieces
    assert all(one.end <= other.start for one, other in itertools.pairwise(spans))


# ---- preference

ANSWERS = ["Thirty cents, at the counter.", "You get the deposit there.", "Honey is sweet, I think so."]


def preferring(order: Sequence[str]) -> Answering:
    """Return a judge that prefers what stands earlier in `order`, whichever is shown first."""

    def compare(sent: Recorded) -> dict[str, object]:
        first, second = re.findall(r"<answer_[AB]>\n(.*)\n</answer_[AB]>", shown_in(sent))
        return {"reason": "it is right", "better": "A" if order.index(first) < order.index(second) else "B"}

    return compare


def prefer(teacher: Teacher, script: Script, answers: Sequence[str], compare: Answering) -> Any:
    """Have a pair made of answers to one question."""
    left = iter(answers)
    script.answers = {"PlainAnswer": lambda sent: {"answer": next(left)}, "Comparison": compare}
    recipe = PreferenceRecipe(teacher=NAME)
    opening = Opening(text="How much is the deposit?", calls=("first",))
    [made] = run(teacher, lambda ask: recipe.finish(task(ExampleKind.PREFERENCE), [opening], ask))
    return made


def test_best_and_worst_of_three(teacher: Teacher, script: Script) -> None:
    """The judge sees the passage and every pair in both orders; best and worst are kept."""
    made = prefer(teacher, script, ANSWERS, preferring(ANSWERS))
    assert (made.answer, made.rejected, made.scores) == (ANSWERS[0], ANSWERS[2], {"margin": 1.0})
    assert [message.content for message in made.messages] == ["How much is the deposit?", ANSWERS[0]]
    assert len(script.prompts("PlainAnswer")) == 3
    assert len(script.prompts("Comparison")) == 6
    assert all(HONEY in said for said in script.prompts("Comparison"))
    assert len(made.calls) == 1 + 3 + 6
    assert isinstance(check_form(made), Example)


@pytest.mark.parametrize(
    "compare",
    [
        always({"better": "A", "reason": "the first"}),
        always({"better": "tie"}),
        always("I cannot decide."),
    ],
    ids=["place", "tie", "unreadable"],
)
def test_no_clear_difference(teacher: Teacher, script: Script, compare: Answering) -> None:
    """A judge that prefers a place, that is undecided, or that cannot be read makes no pair."""
    assert prefer(teacher, script, ANSWERS, compare).check == "margin"


def test_a_verdict_counts_in_both_orders_only(teacher: Teacher, script: Script) -> None:
    """What is better only when it is shown first is not clearly better."""

    def compare(sent: Recorded) -> dict[str, object]:
        first, second = re.findall(r"<answer_[AB]>\n(.*)\n</answer_[AB]>", shown_in(sent))
        return {"better": "A" if ANSWERS.index(first) < ANSWERS.index(second) else "tie"}

    assert prefer(teacher, script, ANSWERS, compare).check == "margin"


def test_a_circle_has_no_best(teacher: Teacher, script: Script) -> None:
    """Where each answer beats the next, none is the best."""

    def compare(sent: Recorded) -> dict[str, object]:
        first, second = re.findall(r"<answer_[AB]>\n(.*)\n</answer_[AB]>", shown_in(sent))
        return {"better": "A" if (ANSWERS.index(second) - ANSWERS.index(first)) % 3 == 1 else "B"}

    assert prefer(teacher, script, ANSWERS, compare).check == "margin"


def test_equal_answers_are_not_compared(teacher: Teacher, script: Script) -> None:
    """Three times the same answer, but for its full stop, costs no judge."""
    made = prefer(teacher, script, ["Thirty cents.", "thirty cents", "Thirty  cents!"], always("unused"))
    assert (made.check, made.reason) == ("margin", "all answers are the same")
    assert script.prompts("Comparison") == []


def test_length_does_not_decide(teacher: Teacher, script: Script) -> None:
    """A pair of unlike lengths would teach the length, and is dropped."""
    answers = ["Thirty cents, which are paid back at the counter of the club's shop.", "Some cents, or more, maybe."]
    made = prefer(teacher, script, [*answers, answers[0]], preferring(answers))
    assert made.check == "length_bias"


def test_two_answers_at_least() -> None:
    """There is nothing to choose from one answer."""
    with pytest.raises(ValueError, match="at least 2"):
        PreferenceRecipe(teacher=NAME, answers=1)


# ---- the judge


def example(number: int = 1, **changes: Any) -> Example:
    """Return an example about the passage."""
    question, answer = f"How much is deposit {number}?", "It is thirty cents."
    values: dict[str, Any] = {
        "id": f"e{number}",
        "kind": ExampleKind.GROUNDED,
        "question": question,
        "answer": answer,
        "messages": (Message(role="user", content=question), Message(role="assistant", content=answer)),
        "sources": ("honey",),
        "calls": ("first",),
        "teacher": NAME,
        "prompt": "p@1",
        "scores": {"nearness": 0.5},
    }
    return Example(**(values | changes))


def verdict(number: int, **changes: Any) -> dict[str, object]:
    """Return a good verdict, but for the changes."""
    good = {"number": number, "supported": True, "answers": True, "stands_alone": True, "clear": True, "score": 4}
    return good | changes


def judged(teacher: Teacher, examples: Sequence[Any]) -> list[Any]:
    """Have examples judged with the passage in sight."""
    return run(teacher, lambda ask: judge(examples, {"honey": chunk()}, ask))


def test_four_examples_are_judged_in_one_call(teacher: Teacher, script: Script) -> None:
    """Scores are kept beside what was measured before; what fails names its criteria."""
    script.answers["Judgements"] = always(
        {"judgements": [verdict(1), verdict(2, supported=False, clear=False), verdict(3, score=2), verdict(4)]}
    )
    made = judged(teacher, [example(number) for number in range(1, 5)])
    assert checks(made) == ["", "judge", "judge", ""]
    assert made[0].scores == {
        **{"nearness": 0.5, "judge_score": 4.0},
        **dict.fromkeys(["judge_supported", "judge_answers", "judge_stands_alone", "judge_clear"], 1.0),
    }
    assert made[1].reason == "the passage does not support it; it is not clear"
    assert made[1].example.scores["judge_supported"] == 0.0
    assert "2 of 5" in made[2].reason
    [asked] = script.prompts("Judgements")
    assert asked.count(HONEY) == 1
    assert len(made[0].calls) == 2


def test_other_passages_are_another_call(teacher: Teacher, script: Script) -> None:
    """Examples of other passages, or more than four, are judged apart, and come back in their order."""
    script.answers["Judgements"] = always({"judgements": [verdict(number) for number in range(1, 5)]})
    examples = [example(number, sources=("honey" if number % 2 else "other",)) for number in range(11)]
    made = judged(teacher, examples)
    assert [each.id for each in made] == [each.id for each in examples]
    asked = script.prompts("Judgements")
    assert sorted(said.count("<example number") for said in asked) == [1, 2, 4, 4]
    assert sum(HONEY in said for said in asked) == 2


@pytest.mark.parametrize(
    "reply",
    [{"judgements": [verdict(2), verdict(3, supported=False)]}, "no comment"],
    ids=["left out", "unreadable"],
)
def test_the_judges_own_fault_rejects_nothing(teacher: Teacher, script: Script, reply: object) -> None:
    """An example without a verdict is kept without scores, and a verdict without an example is passed over."""
    script.answers["Judgements"] = always(reply)
    made = judged(teacher, [example(1), example(2)])
    assert checks(made) == ["", ""]
    assert made[0].scores == {"nearness": 0.5}
    assert len(made[0].calls) > 1


def test_what_was_rejected_is_passed_on(teacher: Teacher, script: Script) -> None:
    """The judge is not shown what other checks have dropped."""
    script.answers["Judgements"] = always({"judgements": [verdict(1)]})
    gone = Rejection(check="quote", reason="no quote", text="What?")
    made = judged(teacher, [gone, example(1), gone])
    assert checks(made) == ["quote", "", "quote"]
    assert script.prompts("Judgements")[0].count("<example number") == 1
    assert judged(teacher, []) == []


def test_the_judge_reads_the_whole_conversation(teacher: Teacher, script: Script) -> None:
    """All turns of a conversation are shown, and of a task its material."""
    script.answers["Judgements"] = always({"judgements": [verdict(1), verdict(2)]})
    turns = [("user", "How big is a jar?"), ("assistant", "500 grams."), ("user", "And empty?"), ("assistant", "200.")]
    talk = example(
        1,
        kind=ExampleKind.CONVERSATION,
        question="How big is a jar?",
        messages=tuple(Message(role=role, content=said) for role, said in turns),  # type: ignore[arg-type]
    )
    asked = "Make it polite.\n\nPay now!"
    messages = (Message(role="user", content=asked), Message(role="assistant", content="Please pay."))
    polite = example(2, kind=ExampleKind.INSTRUCTION, question="Make it polite.", messages=messages)
    judged(teacher, [talk, polite])
    [said] = script.prompts("Judgements")
    assert "Question: How big is a jar?\nAnswer: assistant: 500 grams.\nuser: And empty?\nassistant: 200." in said
    assert "Pay now!" in said


# ---- augmentation


def of(parent: Example, **changes: Any) -> AugmentTask:
    """Return the work of making others of an example."""
    values = {"parent": parent, "chunks": (chunk(),), "count": 2}
    return AugmentTask(**(values | changes))


def augment(teacher: Teacher, recipe: Any, about: AugmentTask) -> list[Any]:
    """Take an example through both steps of its augmentation."""
    return write(teacher, recipe, about)  # type: ignore[arg-type]


PARENT = example(7, split="train", question="How much is jar 7?", messages=())


def test_paraphrases_keep_all_but_the_question(teacher: Teacher, script: Script) -> None:
    """Answer and sources stay the parent's; the parent, the calls and the prompt are named."""
    script.answers["Rephrasings"] = always({"texts": ["What does jar 7 cost?", "Price of jar 7?", "One too many, 7?"]})
    made = augment(teacher, ParaphraseRecipe(teacher=NAME), of(PARENT))
    assert [each.question for each in made] == ["What does jar 7 cost?", "Price of jar 7?"]
    for each in made:
        assert (each.answer, each.sources, each.kind) == (PARENT.answer, PARENT.sources, PARENT.kind)
        assert (each.parents, each.prompt, each.split, each.scores) == ((PARENT.id,), "rephrase_question@1", None, {})
        assert "first" not in each.calls
    assert len({each.id for each in [*made, PARENT]}) == 3


def test_a_paraphrase_has_the_numbers_of_its_parent(teacher: Teacher, script: Script) -> None:
    """Another number asks something else, and the parent's own words are nothing new."""
    script.answers["Rephrasings"] = always({"texts": ["What does jar 8 cost?", " how much is  JAR 7?"]})
    made = augment(teacher, ParaphraseRecipe(teacher=NAME), of(PARENT))
    assert checks(made) == ["meaning", "exact_duplicate"]


@pytest.mark.parametrize(
    ("kind", "said", "expected"),
    [
        (ExampleKind.INSTRUCTION, "Pay 7 jars\n\nPay 7 jars now!", "Please pay 7\n\nPay 7 jars now!"),
        (ExampleKind.CLASSIFICATION, "Classes: Pay 7 jars | no\n<text>\nPay 7 jars\n</text>", None),
        (ExampleKind.CONVERSATION, "Pay 7 jars", "Please pay 7"),
    ],
)
def test_the_new_question_stands_in_the_messages(
    teacher: Teacher, script: Script, kind: ExampleKind, said: str, expected: str | None
) -> None:
    """A question is replaced where the messages hold it, and its material or labels are not."""
    script.answers["Rephrasings"] = always({"texts": ["Please pay 7"]})
    messages = (Message(role="user", content=said), Message(role="assistant", content="Pay 7 jars"))
    parent = example(question="Pay 7 jars", kind=kind, messages=messages)
    [made] = augment(teacher, ParaphraseRecipe(teacher=NAME), of(parent))
    wanted = expected or "Classes: Pay 7 jars | no\n<text>\nPlease pay 7\n</text>"
    assert [message.content for message in made.messages] == [wanted, "Pay 7 jars"]


@pytest.mark.parametrize(
    ("question", "language", "there", "back"),
    [
        ("How much is jar 7?", "en", "7号罐多少钱？", "What does jar 7 cost?"),
        ("7号罐多少钱？", "zh", "What does jar 7 cost?", "第7号罐的价格是多少？"),
    ],
)
def test_back_translation(
    teacher: Teacher, script: Script, question: str, language: str, there: str, back: str
) -> None:
    """Two calls, there and back; what returns is asked in the parent's language."""
    script.answers["Translation"] = lambda sent: {
        "translation": there if f"<text>\n{question}\n</text>" in shown_in(sent) else back
    }
    parent = example(question=question, language=language, messages=())
    [made] = augment(teacher, BackTranslationRecipe(teacher=NAME), of(parent))
    assert (made.question, made.language, made.parents) == (back, language, (parent.id,))
    first, second = script.prompts("Translation")
    assert ("Chinese" in first, "English" in first) == (language == "en", language == "zh")
    assert there in second
    assert len(made.calls) == 2


def test_back_translation_that_fails_half_way(teacher: Teacher, script: Script) -> None:
    """What was paid on the way there is named by the rejection."""
    replies = iter(['{"translation": "7号罐多少钱？"}'])
    script.answers["Translation"] = lambda sent: next(replies, "no")
    [made] = augment(teacher, BackTranslationRecipe(teacher=NAME), of(PARENT))
    assert made.check == "schema"
    assert len(made.calls) > 2


@pytest.mark.parametrize("operation", ["deepen", "constrain", "concretise", "broaden"])
def test_an_evolved_question_is_answered_with_a_quote(teacher: Teacher, script: Script, operation: Any) -> None:
    """The new question is answered as every grounded one is, and names its parent."""
    quote = "A deposit of thirty cents is paid back at the counter."
    script.answers = {
        "EvolvedQuestion": always({"question": "Where does a buyer of honey get the deposit back?"}),
        "ProvedAnswers": always({"answers": [{"number": 1, "quotes": [quote], "answer": "At the counter."}]}),
    }
    [made] = augment(teacher, EvolRecipe(operation, teacher=NAME), of(PARENT))
    assert (made.kind, made.parents, made.quotes[0].quote) == (ExampleKind.GROUNDED, (PARENT.id,), quote)
    assert made.attributes["evolution"] == operation
    assert f"({operation})" in script.prompts("EvolvedQuestion")[0]
    assert len({said for _schema, said in script.asked}) == 2


def test_evolving_needs_the_passages(teacher: Teacher, script: Script) -> None:
    """Without the parent's passages, nothing could answer the new question."""
    with pytest.raises(ValueError, match="passages of example e7"):
        augment(teacher, EvolRecipe("deepen", teacher=NAME), of(PARENT, chunks=()))
    assert script.asked == []


def test_another_answer_to_the_same_question(teacher: Teacher, script: Script) -> None:
    """Question and sources stay; the last message holds the new answer; numbers are kept."""
    script.answers["Rephrasings"] = always({"texts": ["You pay 30 cents.", "You pay 31 cents."]})
    parent = example(answer="It is 30 cents.", messages=example().messages)
    made = augment(teacher, AnswerRecipe(teacher=NAME), of(parent))
    assert checks(made) == ["meaning", ""]
    assert (made[1].question, made[1].answer) == (parent.question, "You pay 30 cents.")
    assert [message.content for message in made[1].messages] == [parent.messages[0].content, "You pay 30 cents."]


@pytest.mark.parametrize(
    ("recipe", "kind"),
    [
        (ParaphraseRecipe(teacher=NAME), ExampleKind.SPANS),
        (BackTranslationRecipe(teacher=NAME), ExampleKind.SPANS),
        (AnswerRecipe(teacher=NAME), ExampleKind.CLASSIFICATION),
        (AnswerRecipe(teacher=NAME), ExampleKind.UNANSWERABLE),
        (AnswerRecipe(teacher=NAME), ExampleKind.PREFERENCE),
        (EvolRecipe("deepen", teacher=NAME), ExampleKind.INSTRUCTION),
    ],
)
def test_parents_that_cannot_be_augmented(teacher: Teacher, script: Script, recipe: Any, kind: ExampleKind) -> None:
    """A recipe says which kinds it takes, and refuses the others."""
    assert kind not in recipe.kinds
    with pytest.raises(ValueError, match=f"got {kind}"):
        augment(teacher, recipe, of(example(kind=kind)))
    assert script.asked == []


@pytest.mark.parametrize(
    ("recipe", "schema"),
    [
        (ParaphraseRecipe(teacher=NAME), "Rephrasings"),
        (AnswerRecipe(teacher=NAME), "Rephrasings"),
        (EvolRecipe("broaden", teacher=NAME), "EvolvedQuestion"),
    ],
)
def test_useless_reply_to_augmentation(teacher: Teacher, script: Script, recipe: Any, schema: str) -> None:
    """A reply that is no record is one rejection, with the parent's passage."""
    script.answers[schema] = always("no")
    [made] = augment(teacher, recipe, of(PARENT))
    assert (made.check, made.source, made.text) == ("schema", "honey", "no")
