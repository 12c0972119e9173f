"""Records out of a model's words: what is taken, what is mended, what is refused, and with which words."""

from __future__ import annotations

import contextlib
import json
import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import Field

from pipelines.errors import LLMOutputError
from pipelines.models.structured import Mode, json_schema, parse_reply, request_form
from pipelines.records import Record, Subtopics

GOOD = '{"subtopics": ["Hives", "Honey"]}'
TITLES = Subtopics(subtopics=("Hives", "Honey"))


class Pair(Record):
    """A question, its answer, and perhaps a note."""

    question: str
    answer: str
    note: str = ""


class Pairs(Record):
    """A list that must not be empty, and something that may follow it."""

    pairs: tuple[Pair, ...] = Field(min_length=1)
    remark: str = ""


class Answer(Record):
    """One text alone."""

    answer: str


class Maybe(Record):
    """A list that may be empty."""

    items: tuple[str, ...]


WAX = Pair(question="What is wax?", answer="Made by bees.")
HIVE = Pair(question="What is a hive?", answer="A house of bees.")


def written(*pairs: Pair) -> str:
    """Return pairs as a model writes them."""
    return json.dumps({"pairs": [pair.model_dump(exclude_defaults=True) for pair in pairs]})


# ---- asking


def test_each_form_asks_in_its_own_way() -> None:
    """The schema is sent where the endpoint can take it, and nothing at all in plain form."""
    forms = {mode: request_form(mode, Subtopics) for mode in Mode}
    schema = Subtopics.model_json_schema()
    assert forms[Mode.SCHEMA]["response_format"]["json_schema"] == {"name": "Subtopics", "schema": schema}
    assert forms[Mode.OBJECT] == {"response_format": {"type": "json_object"}}
    assert forms[Mode.TOOL]["tools"][0]["function"] == {"name": "Subtopics", "parameters": schema}
    assert forms[Mode.TOOL]["tool_choice"]["function"]["name"] == "Subtopics"
    assert forms[Mode.PLAIN] == {}


def test_a_schema_is_made_once() -> None:
    """The schema of a record is the same object every time."""
    assert json_schema(Subtopics) is json_schema(Subtopics)


# ---- what is taken


@pytest.mark.parametrize(
    "raw",
    [
        GOOD,
        f" \n{GOOD}\n ",
        f"```json\n{GOOD}\n```",
        f"```\n{GOOD}```",
        f"Sure!\n```JSON\n{GOOD}\n```\nAnything else?",
        f"```json\n{GOOD}",
        f"<think>They want JSON, as in {{this}}.</think>\n{GOOD}",
        f'<think>\nfirst {{"subtopics": ["Wrong"]}}\n</think><think>more</think>{GOOD}',
        f'They want {{"subtopics": ["Wrong"]}}.\n</think>\n{GOOD}',
        f"<thinking>hm</thinking><reasoning>hm</reasoning>{GOOD}",
        f"Here it is:\n\n{GOOD}\n\nAnything else?",
        f"As in {{this}} or [1], it is: {GOOD}",
        f'Not {{"a": 1}} but {GOOD}',
        GOOD + GOOD,
        '["Hives", "Honey"]',
        'Topics: ["Hives", "Honey"]',
        f"[{GOOD}]",
        f'{{"Subtopics": {GOOD}}}',
        f'{{"name": "Subtopics", "arguments": {GOOD}}}',
        "{'subtopics': ['Hives', 'Honey']}",
        '{"subtopics": ["Hives", "Honey",],}',
        '{subtopics: ["Hives", "Honey"]}',
        '{"subtopics": ["Hives" "Honey"]}',
        '{"subtopics": ["Hives", "Honey"] // both\n}',
        '{"subtopics": ["Hives", "Honey"]',
        '{"subtopics": ["Hives", "Honey"',
        '"subtopics": ["Hives", "Honey"]',
    ],
)
def test_what_stands_around_a_record(raw: str) -> None:
    """Thoughts, fences, words and small faults of the JSON are passed over."""
    assert parse_reply(raw, Subtopics) == TITLES


@pytest.mark.parametrize(
    "title",
    [
        "Write <think>x</think>",
        "Use ```py\nx = {1}\n``` here",
        "[a] {b}",
        'He said "no"',
        "Bee's",
        "蜂蜜",
        "a\nb",
        "\\n",
    ],
)
@pytest.mark.parametrize("form", ["{}", "Sure: {}", "```json\n{}\n```", "<think>no</think>{}"])
def test_what_stands_in_a_record_is_kept_to_the_letter(title: str, form: str) -> None:
    """Signs that mean something around a record mean nothing in its texts."""
    raw = form.format(json.dumps({"subtopics": [title]}, ensure_ascii=False))
    assert parse_reply(raw, Subtopics) == Subtopics(subtopics=(title,))


@given(st.lists(st.text(st.characters(exclude_categories=["Cs"])), min_size=1, max_size=40), st.booleans())
def test_a_record_comes_back_as_it_was_written(titles: list[str], is_ascii: bool) -> None:
    """Whatever is valid JSON is read as JSON and not mended."""
    raw = json.dumps({"subtopics": titles}, ensure_ascii=is_ascii)
    assert parse_reply(raw, Subtopics) == Subtopics(subtopics=tuple(titles))


# ---- what is cut, or wrong in part


def test_whole_items_of_a_cut_list_are_kept() -> None:
    """What stands before the cut is paid for and good; the item that was cut is not what was meant."""
    raw = written(WAX, HIVE)
    kept = {at: parse_reply(raw[:at], Pairs) for at in range(raw.index("}") + 1, len(raw))}
    last = raw.rindex("}]")
    assert all(kept[at] == Pairs(pairs=(WAX,)) for at in kept if at <= last)
    assert all(kept[at] == Pairs(pairs=(WAX, HIVE)) for at in kept if at > last)


@given(
    st.lists(st.builds(Pair, question=st.text('a[]{}",\\ ', max_size=9), answer=st.text(max_size=9)), min_size=1),
    st.floats(0, 1),
)
def test_a_cut_never_changes_an_item(pairs: list[Pair], share: float) -> None:
    """Wherever an answer is cut, each item that is kept is one of those that were written, in order."""
    raw = json.dumps({"pairs": [pair.model_dump() for pair in pairs]})
    with contextlib.suppress(LLMOutputError):
        record = parse_reply(raw[: int(share * len(raw))], Pairs)
        assert isinstance(record, Pairs)
        assert list(record.pairs) == pairs[: len(record.pairs)]


@pytest.mark.parametrize(
    ("raw", "schema"),
    [
        ('{"answer": "The hive is eigh', Answer),
        ('{"pairs": [{"question": "What", "answer": "The hive is eigh', Pairs),
        ('{"pairs": [{"question": "What", "answer": "Wax."}], "remark": "The hive is eigh', Pairs),
        ('{"items": ["Hiv', Maybe),
        ('{"items": [', Maybe),
        ('{"items"', Maybe),
        ('["Hiv', Maybe),
    ],
)
def test_a_text_that_was_cut_is_no_answer(raw: str, schema: type[Record]) -> None:
    """Half a sentence is never taught, and nothing is not taken for an empty list."""
    with pytest.raises(LLMOutputError):
        parse_reply(raw, schema)


def test_an_optional_part_that_was_cut_is_not_left_out() -> None:
    """An item that is valid without what was cut is still not the one that was meant."""
    raw = '{"pairs": [{"question": "a", "answer": "b"}, {"question": "c", "answer": "d", "note": "but on'
    assert parse_reply(raw, Pairs) == Pairs(pairs=(Pair(question="a", answer="b"),))


@pytest.mark.parametrize("bad", [{"question": 3, "answer": "x"}, {"question": "What?"}, "words", None, {"extra": 1}])
def test_bad_items_are_left_out(bad: object) -> None:
    """One malformed item does not cost the others."""
    raw = json.dumps({"pairs": [WAX.model_dump(), bad, HIVE.model_dump()]})
    assert parse_reply(raw, Pairs) == Pairs(pairs=(WAX, HIVE))


@pytest.mark.parametrize("surrogate", ['"\\ud800"', '"\ud800"'])
@pytest.mark.parametrize("form", ['{{"subtopics": [{}]}}', "{{'subtopics': [{}]}}", 'Words {{"subtopics": [{}]}}'])
def test_half_a_character_is_never_kept(surrogate: str, form: str) -> None:
    """What comes out can be written to a file."""
    try:
        record = parse_reply(form.format(surrogate), Subtopics)
    except LLMOutputError:
        return
    assert record.model_dump_json().encode()


# ---- what is refused


@pytest.mark.parametrize(
    ("raw", "problem"),
    [
        ("", "the reply: Invalid JSON"),
        ("no idea", "the reply: Invalid JSON"),
        ("null", "the reply: "),
        ("3", "the reply: "),
        ("[]", "subtopics: "),
        ('{"subtopics": ["Hiv', "the reply: Invalid JSON: EOF"),
        ("{}", "subtopics: Field required"),
        ('{"subtopics": []}', "subtopics: "),
        ('{"subtopics": "Hives"}', "subtopics: Input should be a valid"),
        ('{"subtopics": null}', "subtopics: Input should be a valid"),
        ('{"subtopics": [1, 2]}', "subtopics.0: Input should be a valid string; subtopics.1: "),
        ('{"subtopics": ["a"], "more": 1}', "more: Extra inputs"),
        (f"<think>{GOOD}</think> I cannot.", "the reply: "),
        (f"<think>{GOOD}", "the reply: "),
    ],
)
def test_no_record(raw: str, problem: str) -> None:
    """A reply without the record names what is wrong, and keeps what was said."""
    with pytest.raises(LLMOutputError) as caught:
        parse_reply(raw, Subtopics)
    assert str(caught.value).startswith(f"expected Subtopics: {problem}")
    assert caught.value.raw == raw


def test_only_the_first_problems_are_told() -> None:
    """A long list of errors is cut, and says how many more there are."""
    with pytest.raises(LLMOutputError, match=r"; and 3 more$"):
        parse_reply(json.dumps({"subtopics": list(range(7))}), Subtopics)


@given(st.text("{}[]\"',:\\ \nab1`<think>/", max_size=80), st.booleans())
def test_any_text_is_a_record_or_an_output_error(raw: str, is_fenced: bool) -> None:
    """No reply, however odd, raises anything else."""
    for schema in (Subtopics, Pairs, Answer):
        try:
            parse_reply(f"```json\n{raw}\n```" if is_fenced else raw, schema)
        except LLMOutputError as error:
            assert str(error).startswith(f"expected {schema.__name__}: ")


@pytest.mark.parametrize(
    "unit", ["[", "{", '{"a":', '["', '{"a": [', "{'a': ", "```", "<think>", "</think>", '"x" ', "\\", '{"a":1}']
)
@pytest.mark.parametrize("start", ["", '{"subtopics": ["a", '])
def test_a_model_that_repeats_itself_costs_no_time(unit: str, start: str) -> None:
    """A reply of one thing over and over, as small models give, is refused and holds nobody up."""
    started = time.process_time()
    for count in (990, 8_000):
        try:
            record: Any = parse_reply(start + unit * count, Subtopics)
        except LLMOutputError:
            continue
        assert record.subtopics
    assert time.process_time() - started < 1.5
