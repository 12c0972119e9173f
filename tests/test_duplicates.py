"""Duplicates among questions, and overlap with evaluation sets."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.dataset.checks.duplicates import DuplicateFinder
from pipelines.dataset.checks.overlap import OverlapCheck, read_evaluation_texts
from pipelines.dataset.checks.similar import compare, read_question
from pipelines.errors import DataError
from pipelines.records import Example, ExampleKind, Message, Rejection
from tests.test_docs import packaged_embedder

LANTERN = "Where is the brass lantern of the guest house kept?"


def verdict(first: str, second: str, *, finder: DuplicateFinder | None = None) -> str | None:
    """Return as what the second question is found, after the first."""
    [_first, problem] = (finder or DuplicateFinder()).check_all([first, second])
    return problem.check if problem else None


@pytest.mark.parametrize(
    "copy",
    [
        "WHERE IS THE BRASS LANTERN OF THE GUEST HOUSE KEPT?",
        "where is  the brass lantern\tof the guest house kept",
        "Ｗhere is the brass lantern of the guest house kept？！",
    ],
)
def test_a_copy_is_an_exact_duplicate(copy: str) -> None:
    """Case, punctuation, spaces and compatibility forms make no other question."""
    assert verdict(LANTERN, copy) == "exact_duplicate"


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (LANTERN, "Could you please tell me where the brass lantern of the guest house is kept?"),
        (LANTERN, "Where is the brass lanttern of the guest house kept?"),
        ("Who won the rowing race in Lucerne in 2015?", "In 2015, who won the rowing race in Lucerne?"),
        ("What is the main purpose of the audit?", "What is the primary purpose of the audit?"),
        ("How do cats and dogs differ?", "How do dogs and cats differ?"),
        ("访客的车可以停在哪里？", "访客的车能够停在什么地方？"),
    ],
)
def test_a_near_copy_is_a_near_duplicate(first: str, second: str) -> None:
    """Politeness, a slip of the hand, another order or a synonym make no other question."""
    assert verdict(first, second) == "near_duplicate"


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("What was the revenue of the firm in 2022?", "What was the revenue of the firm in 2023?"),
        ("Who won Super Bowl XLVII in the end?", "Who won Super Bowl XLVIII in the end?"),
        ("When does the shop by the river open?", "When does the shop by the river close?"),
        ("What is done before the yearly audit?", "What is done after the yearly audit?"),
        ("Which files must be kept?", "Which files must not be kept?"),
        ("How did Athens defeat Sparta?", "How did Sparta defeat Athens?"),
        ("How long does it take from Bern to Rome?", "How long does it take from Rome to Bern?"),
        ("When was the treaty of Ghent signed?", "Where was the treaty of Ghent signed?"),
        ("What is the climate of Iceland like?", "What is the climate of Ireland like?"),
        ("What is the usual contract of an actor?", "What is the usual contrast of an actor?"),
        ("Who beat the red team?", "Who did the red team beat?"),
        ("最大的行星是哪一颗？", "最小的行星是哪一颗？"),
        ("从北京到上海要多久？", "从上海到北京要多久？"),
        ("2022年的收入是多少？", "2023年的收入是多少？"),
    ],
)
@pytest.mark.parametrize("embeds", [False, True])
def test_a_contrast_is_no_duplicate(first: str, second: str, embeds: bool) -> None:
    """A number, an opposite, a negation, a role or another name make another question."""
    assert verdict(first, second, finder=DuplicateFinder(packaged_embedder() if embeds else None)) is None


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("Who discovered penicillin?", "Which scientist found penicillin?"),
        ("What is the population of Tokyo?", "How many people live in Tokyo?"),
        ("Why does bread rise?", "What makes dough grow before and during baking?"),
    ],
)
def test_a_paraphrase_needs_an_embedder(first: str, second: str) -> None:
    """Other words for the same are found by vectors only."""
    assert verdict(first, second) is None
    problem = verdict(first, second, finder=DuplicateFinder(packaged_embedder()))
    assert problem == "paraphrase"


def test_questions_about_one_thing_are_no_paraphrases() -> None:
    """What is asked of one thing in a row stays."""
    questions = [
        "Who built the old mill by the lake?",
        "When was the old mill by the lake built?",
        "How many floors does the old mill by the lake have?",
        "Is the old mill by the lake open to visitors?",
        "Why was the wheel of the old mill by the lake removed?",
    ]
    assert DuplicateFinder(packaged_embedder()).check_all(questions) == [None] * len(questions)


def test_the_earlier_question_is_named() -> None:
    """A problem says of what the question is a duplicate, also when that is a duplicate itself."""
    finder = DuplicateFinder()
    assert finder.check(LANTERN) is None
    near = finder.check(f"Please tell me: {LANTERN}")
    again = finder.check(f"please tell me {LANTERN.lower()}")
    assert near is not None and again is not None
    assert (near.of, again.of, again.check) == (LANTERN, LANTERN, "exact_duplicate")
    assert LANTERN in near.reason
    slips = [finder.check(LANTERN.replace("lantern", slip)) for slip in ("lanttern", "lantternn")]
    assert [(problem.check, problem.of) for problem in slips if problem] == [("near_duplicate", LANTERN)] * 2


WORDS = st.sampled_from(["who", "opens", "closes", "the", "old", "door", "mill", "red", "in", "spring", "2023", "not"])
QUESTIONS = st.lists(st.lists(WORDS, min_size=1, max_size=6).map(" ".join), max_size=12)


@settings(max_examples=40)
@given(QUESTIONS)
def test_one_by_one_is_as_all_at_once(questions: list[str]) -> None:
    """Copies and near copies do not depend on how the questions come."""
    finder = DuplicateFinder()
    assert [finder.check(question) for question in questions] == DuplicateFinder().check_all(questions)


@given(QUESTIONS)
def test_what_is_kept_has_no_duplicates(questions: list[str]) -> None:
    """Checked again, what was kept is kept whole, in its order."""
    kept = [q for q, problem in zip(questions, DuplicateFinder().check_all(questions), strict=True) if problem is None]
    assert DuplicateFinder().check_all(kept) == [None] * len(kept)


@settings(max_examples=40)
@given(QUESTIONS, QUESTIONS)
def test_looking_up_changes_nothing(known: list[str], asked: list[str]) -> None:
    """A question that was only looked up is not remembered."""
    finder = DuplicateFinder()
    finder.check_all(known)
    found = finder.look_up(asked)
    assert finder.look_up(asked) == found
    expected = DuplicateFinder()
    expected.check_all(known)
    assert finder.check_all(asked) == expected.check_all(asked)


def test_looking_up_with_vectors_changes_nothing() -> None:
    """Vectors of what was looked up are forgotten, neighbours included."""
    finder, expected = DuplicateFinder(packaged_embedder()), DuplicateFinder(packaged_embedder())
    for each in (finder, expected):
        each.check_all(["Who discovered penicillin?", LANTERN])
    [problem] = finder.look_up(["Which scientist found penicillin?"])
    assert problem is not None and problem.of == "Who discovered penicillin?"
    asked = ["How many people live in Tokyo?", "What is the population of Tokyo?"]
    assert finder.look_up(asked) == [None, None]
    assert finder.check_all(asked) == expected.check_all(asked)


def test_a_crowd_that_was_looked_up_is_forgotten() -> None:
    """How close questions lie is told by those that are remembered."""
    finder = DuplicateFinder(packaged_embedder())
    finder.check("What is the population of Tokyo?")
    finder.look_up(
        [f"What is the {what} population of Tokyo?" for what in ("rural", "urban", "young", "old", "idle")] * 3
    )
    problem = finder.check("How many people live in Tokyo?")
    assert problem is not None and problem.check == "paraphrase"


@given(st.lists(WORDS, min_size=1, max_size=6).map(" ".join), st.lists(WORDS, min_size=1, max_size=6).map(" ".join))
def test_comparing_has_no_direction(first: str, second: str) -> None:
    """Which of two questions came first does not matter for what their words say."""
    one, other = read_question(first), read_question(second)
    assert compare(one, other) == compare(other, one)


SENTENCE = "The brass lantern hangs above the oak door that leads from the old kitchen down to the cellar"


def example(question: str, answer: str = "In the cellar.", **fields: object) -> Example:
    """Return an example that is nothing special but for what is given."""
    made = {"id": question, "kind": ExampleKind.INSTRUCTION, "question": question, "answer": answer}
    return Example.model_validate({**made, "teacher": "t", "prompt": "p@1", **fields})


@pytest.mark.parametrize(
    ("leaking", "told"),
    [
        (example(f"please tell me {LANTERN.lower()}"), LANTERN),
        (example("Which door?", f"It is told thus: {SENTENCE.upper()}."), "brass lantern hangs above"),
        (example("Which door?", rejected=SENTENCE), "brass lantern"),
        (
            example(
                "Which door?",
                messages=(Message(role="user", content=SENTENCE), Message(role="assistant", content="Yes.")),
            ),
            "brass lantern",
        ),
    ],
    ids=["question", "answer", "rejected", "messages"],
)
def test_what_is_in_an_evaluation_set_is_rejected(leaking: Example, told: str) -> None:
    """An example goes if it asks what is asked there, or has a long run of its words."""
    checked = OverlapCheck([LANTERN, SENTENCE])(leaking)
    assert isinstance(checked, Rejection)
    assert (checked.check, checked.example) == ("overlap", leaking)
    assert told in checked.reason


def test_twelve_words_are_no_overlap() -> None:
    """A run one word shorter than thirteen is let pass, and thirteen are not."""
    said = SENTENCE.split()
    check = OverlapCheck([SENTENCE])
    assert not isinstance(check(example("Which?", " ".join(said[:12]))), Rejection)
    assert isinstance(check(example("Which?", " ".join(said[:13]))), Rejection)


def test_twenty_chinese_characters_are_overlap() -> None:
    """Chinese is counted by characters."""
    told = "黄铜灯笼挂在从旧厨房通往地窖的橡木门上方已经有一百年了"
    check = OverlapCheck([told])
    assert not isinstance(check(example("为什么？", told[:19])), Rejection)
    assert isinstance(check(example("为什么？", told[:20])), Rejection)


def test_system_prompts_are_no_overlap() -> None:
    """What every conversation begins with is not what is judged."""
    messages = (Message(role="system", content=SENTENCE), Message(role="user", content="Which?"))
    assert OverlapCheck([SENTENCE])(example("Which?", messages=messages)) == example("Which?", messages=messages)


def test_examples_are_held_against_the_evaluation_set_alone() -> None:
    """An example that resembles another one is not this check's business."""
    check = OverlapCheck([SENTENCE])
    assert check.check_all([example(LANTERN), example(LANTERN)]) == [example(LANTERN)] * 2


def test_a_paraphrased_evaluation_question_is_rejected() -> None:
    """With an embedder, other words do not hide it."""
    check = OverlapCheck(["Who discovered penicillin?"], embedder=packaged_embedder())
    assert isinstance(check(example("Which scientist found penicillin?")), Rejection)


@pytest.mark.parametrize(
    ("record", "texts"),
    [
        ({"question": "Why?", "answer": "So."}, ["Why?"]),
        ({"prompt": "Why?"}, ["Why?"]),
        ({"text": "A text."}, ["A text."]),
        (
            {"messages": [{"role": "system", "content": "S"}, {"role": "user", "content": "Why?"}, {"content": "So."}]},
            ["Why?", "So."],
        ),
    ],
)
def test_evaluation_texts_are_read(tmp_path: Path, record: dict[str, object], texts: list[str]) -> None:
    """JSONL with any of the usual fields is understood."""
    path = tmp_path / "evaluation.jsonl"
    path.write_text(f"{json.dumps(record)}\n\n", encoding="utf-8")
    assert read_evaluation_texts(path) == texts


def test_plain_text_is_read_by_lines(tmp_path: Path) -> None:
    """Each line that is not empty is a text."""
    path = tmp_path / "evaluation.txt"
    path.write_text("Why?\n\n  How? \n", encoding="utf-8")
    assert read_evaluation_texts(path) == ["Why?", "How?"]


@pytest.mark.parametrize(
    ("name", "content", "told"),
    [
        ("e.jsonl", b'{"question": "Why?"}\n{"question": \n', "line 2 is not JSON"),
        ("e.jsonl", b'{"answer": "So."}\n', "has none of the fields"),
        ("e.jsonl", b"[1]\n", "has none of the fields"),
        ("e.jsonl", b'{"question": 7}\n', "a question that is not text"),
        ("e.jsonl", b'{"messages": "Why?"}\n', "messages that are not a list"),
        ("e.jsonl", b'{"messages": [{"role": "user"}]}\n', "a message without content"),
        ("e.jsonl", b"\n", "no text"),
        ("e.txt", b"\xff\xfe\x00", "UTF-8"),
        ("e.parquet", b"PAR1", "neither JSONL nor plain text"),
    ],
)
def test_bad_evaluation_files_are_told(tmp_path: Path, name: str, content: bytes, told: str) -> None:
    """The message says what is wrong, and where."""
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=told):
        read_evaluation_texts(tmp_path / name)


def test_a_missing_evaluation_file_is_told(tmp_path: Path) -> None:
    """A file that is not there is an expected failure."""
    with pytest.raises(DataError, match="cannot read"):
        read_evaluation_texts(tmp_path / "none.jsonl")
