"""Review: what people decide counts, outlives the records and every crash, and can be undone."""

from __future__ import annotations

import io
import json
import os
import pty
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import click
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from prompt_toolkit.application import create_app_session
from prompt_toolkit.input import create_pipe_input
from prompt_toolkit.output import DummyOutput

from assistant.cli.review import REVIEW
from assistant.terminal.console import Terminal
from assistant.terminal.keys import Keyboard, Keystrokes, Lines
from assistant.terminal.review import Reviewer
from pipelines.dataset.files import CHUNKS, EXAMPLES
from pipelines.dataset.review import REVIEW_DATASET, Review, ReviewParams, ReviewReport
from pipelines.dataset.reviewing.decisions import (
    DECISIONS,
    REVIEWED,
    Action,
    Decision,
    DecisionLog,
    Decisions,
    apply_decisions,
    decide,
    edit_problem,
    edited,
    question_key,
    read_decisions,
)
from pipelines.dataset.reviewing.rules import parse_rule
from pipelines.errors import ApprovalRequired, DataError, SettingsError
from pipelines.operation import Context
from pipelines.quotes import locate
from pipelines.records import Chunk, Example, ExampleKind, Message, Span, content_id, write_records
from pipelines.workspace import Workspace
from tests.conftest import Recorder

ROOT = Path(__file__).parent.parent
PASSAGE = "The lamp is blue. Its battery lasts ten hours. Charging takes two."
CHUNK = Chunk(id="lamp", document="lamp.md", start=100, end=100 + len(PASSAGE), text=PASSAGE, page=2)
SENTENCE = "Its battery lasts ten hours."


def make_example(question: str, answer: str, *, quote: str = "", sources: tuple[str, ...] = (), **more: Any) -> Example:
    """Return an example with its messages."""
    found = locate(quote, CHUNK) if quote else None
    values: dict[str, Any] = {
        "id": content_id(question, answer, *sources),
        "kind": ExampleKind.GROUNDED if quote else ExampleKind.INSTRUCTION,
        "question": question,
        "answer": answer,
        "messages": (Message(role="user", content=question), Message(role="assistant", content=answer)),
        "sources": ("lamp",) if quote else sources,
        "quotes": (found,) if found else (),
        "teacher": "test",
        "prompt": "test@1",
    }
    return Example(**{**values, **more})


BATTERY = make_example("How long does it last?", f'Ten hours: "{SENTENCE}" [1]', quote=SENTENCE, scores={"judge": 4.0})
RUDE = make_example("Which colour?", "Blue, you fool.", flags=("toxicity",), scores={"judge": 5.0})
VAGUE = make_example("What is it?", "A thing.", scores={"judge": 1.0}, attributes={"difficulty": "easy"})
PLAIN = make_example("Who made it?", "A workshop made it.", language="en")
EXAMPLES_OF_SHOP = (BATTERY, RUDE, VAGUE, PLAIN)
IN_ORDER = [RUDE, VAGUE, BATTERY, PLAIN]  # flags first, then the lowest score, then those without


@pytest.fixture
def folder(workspace: Workspace) -> Path:
    """The folder of a dataset of four records."""
    made = workspace.dataset("shop")
    made.mkdir(parents=True)
    write_records(made / EXAMPLES, EXAMPLES_OF_SHOP)
    write_records(made / CHUNKS, [CHUNK])
    return made


def logged(folder: Path) -> Decisions:
    """Return what a dataset's log says."""
    return read_decisions(folder / DECISIONS)


def applied(folder: Path, examples: Sequence[Example] = EXAMPLES_OF_SHOP) -> tuple[dict[str, Example], dict[str, str]]:
    """Return what is kept, and why the rest is not, by the question as it was."""
    by_id = {example.id: example.question for example in examples}
    kept, rejections = apply_decisions(examples, logged(folder))
    reasons = {rejection.text: rejection.reason for rejection in rejections}
    return {by_id[example.id]: example for example in kept}, reasons


# ---- decisions


def test_what_is_decided_is_done(folder: Path) -> None:
    """Rejected records go with their reason, edited ones are changed throughout, others stay as they are."""
    review = Review(folder)
    review.decide("reject", VAGUE, reason="too vague")
    review.decide("accept", PLAIN)
    review.decide("edit", RUDE, question="What colour is it?", answer="It is blue.")
    kept, reasons = applied(folder)
    assert reasons == {VAGUE.question: "too vague"}
    assert kept[BATTERY.question] == BATTERY
    assert kept[PLAIN.question] == PLAIN.model_copy(update={"scores": {REVIEWED: 1.0}})
    right = kept[RUDE.question]
    assert (right.id, right.question, right.answer) == (RUDE.id, "What colour is it?", "It is blue.")
    assert [message.content for message in right.messages] == ["What colour is it?", "It is blue."]
    assert right.scores == {"judge": 5.0, REVIEWED: 1.0}


def test_rejections_keep_the_record(folder: Path) -> None:
    """What people drop is counted as `review`, and kept whole."""
    Review(folder).decide("reject", VAGUE)
    [rejection] = apply_decisions(EXAMPLES_OF_SHOP, logged(folder))[1]
    assert (rejection.check, rejection.reason, rejection.example) == ("review", "rejected in review", VAGUE)


def test_the_last_decision_counts(folder: Path) -> None:
    """A later decision replaces an earlier one, but what was put right stays right."""
    review = Review(folder)
    review.decide("reject", VAGUE)
    review.decide("edit", VAGUE, answer="It is a lamp.")
    review.decide("edit", VAGUE, question="What is this?")
    review.decide("accept", VAGUE)
    kept, reasons = applied(folder)
    assert reasons == {}
    assert (kept[VAGUE.question].question, kept[VAGUE.question].answer) == ("What is this?", "It is a lamp.")
    review.decide("edit", VAGUE, question=VAGUE.question)
    assert applied(folder)[0][VAGUE.question].question == VAGUE.question


ANSWERS = st.sampled_from(["Yes.", "No.", "Perhaps."])
QUESTIONS = st.sampled_from(["Is it?", "Was it?", "Will it?"])
RECORD = st.builds(lambda q, a, s: make_example(q, a, sources=s), QUESTIONS, ANSWERS, st.sampled_from([(), ("one",)]))
RECORDS = st.lists(RECORD, unique_by=lambda example: example.id, max_size=6)
STEPS = st.lists(
    st.tuples(st.sampled_from(["accept", "reject", "edit", "undo"]), st.integers(0, 7), QUESTIONS, ANSWERS), max_size=8
)


@settings(max_examples=40)
@given(records=RECORDS, steps=STEPS, again=st.lists(RECORD, unique_by=question_key, max_size=6))
def test_deciding_twice_is_deciding_once(
    records: list[Example], steps: list[tuple[Action, int, str, str]], again: list[Example], tmp_path_factory: Any
) -> None:
    """Decisions applied to what they left change nothing more; also to records written anew."""
    made = tmp_path_factory.mktemp("shop")
    write_records(made / EXAMPLES, records)
    review = Review(made)
    for action, place, question, answer in steps:
        if action == "undo":
            review.log.undo()
        elif records:
            texts = {"question": question, "answer": answer} if action == "edit" else {}
            review.decide(action, records[place % len(records)], **texts)
    decisions = logged(made)
    for examples in (records, again):
        kept, rejections = apply_decisions(examples, decisions)
        assert len(kept) + len(rejections) == len(examples)
        assert apply_decisions(kept, decisions) == (kept, [])


@settings(max_examples=30)
@given(steps=st.lists(st.sampled_from(["accept", "reject", "undo"]), max_size=20))
def test_undo_takes_back_the_last_step(steps: list[Any], tmp_path_factory: Any) -> None:
    """After any steps, what counts is what a stack of them holds; also once the log is read anew."""
    log = DecisionLog(tmp_path_factory.mktemp("shop") / DECISIONS)
    stack: list[str] = []
    for step in steps:
        if step == "undo":
            assert bool(log.undo()) == bool(stack)
            del stack[-1:]
        else:
            log.record([decide(step, PLAIN)])
            stack.append(step)
    for made in (log.made, read_decisions(log.path)):
        decision = made.about(PLAIN, present={PLAIN.id})
        assert (decision.action if decision else None) == (stack[-1] if stack else None)


@settings(max_examples=40)
@given(cut=st.integers(1, 1000))
def test_a_torn_line_costs_itself_only(cut: int, tmp_path_factory: Any) -> None:
    """A log that was cut anywhere gives back every whole line, and takes new ones."""
    path = tmp_path_factory.mktemp("shop") / DECISIONS
    log = DecisionLog(path)
    for example in (VAGUE, RUDE, PLAIN):
        log.record([decide("reject", example)])
    whole = path.read_bytes()
    left = whole[: max(0, len(whole) - cut)]
    path.write_bytes(left)
    torn = left.rpartition(b"\n")[2]
    complete = left.count(b"\n") + (torn.startswith(b"{") and torn.endswith(b"}"))
    again = DecisionLog(path)
    assert len(list(again.made.everything())) == complete
    assert again.made.damaged == (1 if torn and not torn.endswith(b"}") else 0)
    again.record([decide("accept", BATTERY)])
    assert len(list(read_decisions(path).everything())) == complete + 1


@pytest.mark.parametrize(
    ("action", "answer", "still"),
    [
        ("reject", "A thing.", True),
        ("reject", "Another thing.", True),
        ("edit", "Another thing.", True),
        ("accept", "A thing.", True),
        ("accept", "Another thing.", False),
    ],
)
def test_decisions_outlive_their_records(action: Action, answer: str, still: bool, folder: Path) -> None:
    """A record written anew is known by its question; an answer that nobody read is not accepted with it."""
    Review(folder).decide(action, VAGUE, answer="It is a lamp." if action == "edit" else None)
    anew = make_example(" what  IS it?", answer, id="new", prompt="other@2")
    kept, rejections = apply_decisions([anew], logged(folder))
    assert bool(rejections) == (action == "reject")
    if kept:
        assert (REVIEWED in kept[0].scores) == still
        assert kept[0].answer == ("It is a lamp." if action == "edit" else answer)


def test_a_decision_is_about_one_record_only() -> None:
    """Of two records with the same question each has its own decisions, even when the other is gone."""
    one, other = make_example("Is it?", "Yes."), make_example("Is it?", "No.")
    decisions = Decisions()
    decisions.add(decide("reject", one, is_alone=False))
    assert apply_decisions([one, other], decisions)[0] == [other]
    assert apply_decisions([other], decisions) == ([other], [])
    decisions.add(decide("reject", one))
    assert apply_decisions([one, other], decisions)[0] == [other]
    elsewhere = make_example("Is it?", "Yes.", sources=("another",))
    assert apply_decisions([elsewhere], decisions)[0] == [elsewhere]


def test_what_was_put_right_is_not_taken_for_another() -> None:
    """A record written anew that was given the question of a rejected one is not rejected with it."""
    decisions = Decisions()
    decisions.add(decide("reject", make_example("Is it?", "Yes.")))
    decisions.add(decide("edit", make_example("Was it?", "Yes."), question="Is it?"))
    kept, _ = apply_decisions([make_example("Was it?", "No.")], decisions)
    assert [example.question for example in kept] == ["Is it?"]
    assert apply_decisions(kept, decisions) == (kept, [])


# ---- edits


@pytest.mark.parametrize(
    ("example", "texts", "problem"),
    [
        (BATTERY, {"answer": f'Ten, says the book: "{SENTENCE}" [1]'}, ""),
        (BATTERY, {"answer": 'It says: "Its battery  lasts ten hours." [1]'}, ""),
        (BATTERY, {"question": "How long does the battery last?"}, ""),
        (BATTERY, {"answer": "Ten hours."}, "no longer holds its quote"),
        (BATTERY, {"answer": f'"{SENTENCE}" [1] "It is made of the finest steel." [2]'}, "cites what is not among"),
        (VAGUE, {"answer": "  "}, "cannot be empty"),
        (VAGUE, {"question": ""}, "cannot be empty"),
        (make_example("Better?", "Yes.", rejected="No."), {"answer": "No."}, "the same as the worse one"),
        (
            make_example("Ada sang.", "Ada", spans=(Span(start=0, end=3, label="PERSON"),)),
            {"question": "Then Ada sang."},
            "labelled pieces",
        ),
        (make_example("Lost?", "Yes.", messages=PLAIN.messages), {"question": "Gone?"}, "does not stand in"),
    ],
)
def test_edits_are_checked(example: Example, texts: dict[str, str], problem: str) -> None:
    """An edit must leave the quotes word for word, and the record whole; else the record is reported."""
    found = edit_problem(example, question=texts.get("question"), answer=texts.get("answer"))
    assert problem in found
    assert bool(problem) == bool(found)
    decisions = Decisions()
    decisions.add(decide("edit", example, **texts))
    kept, rejections = apply_decisions([example], decisions)
    assert len(kept) == (0 if problem else 1)
    assert [rejection.reason for rejection in rejections] == ([found] if problem else [])


def test_an_edit_reaches_the_messages() -> None:
    """The question is put right within what surrounds it, the answer as a whole, a class as a label."""
    asked = "Use this:\n\nA lamp.\n\nWhat is it?"
    messages = (Message(role="user", content=asked), Message(role="assistant", content="thing"))
    example = make_example("What is it?", "thing", messages=messages, kind=ExampleKind.CLASSIFICATION, label="thing")
    right = edited(example, question="What is this?", answer="lamp")
    assert [message.content for message in right.messages] == ["Use this:\n\nA lamp.\n\nWhat is this?", "lamp"]
    assert right.label == "lamp"


# ---- rules


@pytest.mark.parametrize(
    ("condition", "touched"),
    [
        ('answer contains "THING"', [VAGUE]),
        ("answer contains “thing”", [VAGUE]),
        ("answer contains thing or", []),
        ("not answer contains thing", [BATTERY, RUDE, PLAIN]),
        ("question is 'what is it?'", [VAGUE]),
        (r'answer matches "^\w+\.$|fool\."', [RUDE]),
        ("answer shorter than 9", [VAGUE]),
        ("answer longer 20", [BATTERY]),
        ("kind is grounded", [BATTERY]),
        ("source contains lamp.md", [BATTERY]),
        ("score judge below 4.5", [BATTERY, VAGUE]),
        ("not score judge below 4.5", [RUDE]),
        ("score judge above 3 and flag is toxicity", [RUDE]),
        ("attribute difficulty is easy", [VAGUE]),
        ("not flag contains tox and score judge above 0", [BATTERY, VAGUE]),
        ("language is en AND label is ''", list(EXAMPLES_OF_SHOP)),
    ],
)
def test_conditions(condition: str, touched: list[Example]) -> None:
    """A rule touches the records of which all its conditions are true."""
    if condition.endswith(" or"):
        with pytest.raises(ValueError, match="joined by 'and'"):
            parse_rule(f"reject where {condition}")
        return
    rule = parse_rule(f"reject where {condition}")
    assert [example for example in EXAMPLES_OF_SHOP if rule.touches(example)] == touched


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "expected accept, reject or replace"),
        ("delete where kind is grounded", "not 'delete'"),
        ("reject", "expected 'where'"),
        ("reject where", "expected question, "),
        ("reject where author is me", "got 'author'"),
        ("reject where answer contains", "expected a text at the end"),
        ('reject where answer contains "open', "quotation mark is not closed"),
        ("reject where answer above 3", "got 'above'"),
        ("reject where score judge contains 3", "got 'contains'"),
        ("reject where score judge below three", "expected a number, got 'three'"),
        ("reject where answer matches (", "is not a pattern"),
        (f"reject where answer matches {'a' * 501}", "at most 500 characters"),
        ("replace '' b where kind is grounded", "nothing to replace"),
        ("replace a b in label where kind is grounded", "got 'label'"),
        ("reject where kind is grounded and", "expected question, "),
    ],
)
def test_what_is_not_a_rule(text: str, message: str, folder: Path, context: Context) -> None:
    """A rule that cannot be read is refused with the place where it ceases to be one."""
    with pytest.raises(ValueError, match=message.replace("(", r"\(")):
        parse_rule(text)
    if text:
        with pytest.raises(SettingsError) as caught:
            REVIEW_DATASET.start(ReviewParams(dataset="shop", rule=text), context)
        assert "where CONDITION" in caught.value.hint


def test_a_pattern_has_little_time() -> None:
    """A pattern that would take for ever is stopped."""
    rule = parse_rule("reject where answer matches (?:a|aa)+$")
    with pytest.raises(DataError, match="takes too long"):
        rule.touches(make_example("Long?", "a" * 60 + "b"))


def by_rule(context: Context, rule: str, **options: Any) -> ReviewReport:
    """Apply a rule to the dataset."""
    return REVIEW_DATASET.start(ReviewParams(dataset="shop", rule=rule, **options), context)


def test_a_rule_shows_what_it_would_do_and_asks(folder: Path, context: Context, recorder: Recorder) -> None:
    """Before a rule decides, its records are counted and shown; without consent nothing is decided."""
    rule = 'reject because "not nice" where score judge below 4.5'
    recorder.agrees = False
    with pytest.raises(ApprovalRequired):
        by_rule(context, rule)
    assert not (folder / DECISIONS).exists()
    [plan] = recorder.plans
    assert plan.steps[0] == "reject 2 of 4 records"
    assert plan.steps[1].startswith("How long does it last? → Ten hours:")
    recorder.agrees = True
    report = by_rule(context, rule)
    assert (report.matched, report.rejected, report.undecided, len(report.samples)) == (2, 2, 2, 2)
    assert applied(folder)[1] == dict.fromkeys((BATTERY.question, VAGUE.question), "not nice")
    assert by_rule(context, rule).matched == 0


def test_a_dry_run_decides_nothing(folder: Path, context: Context, recorder: Recorder) -> None:
    """With --dry-run, a rule is only counted."""
    assert by_rule(context, "accept where kind is instruction", dry_run=True).matched == 3
    assert not recorder.plans
    assert not (folder / DECISIONS).exists()


def test_a_rule_is_undone_as_a_whole(folder: Path, context: Context) -> None:
    """--undo takes back all that the last rule decided, and then what was decided before it."""
    Review(folder).decide("reject", RUDE)
    by_rule(context, "accept where kind is instruction")
    undo = ReviewParams(dataset="shop", undo=True)
    report = REVIEW_DATASET.start(undo, context)
    assert (report.undone, report.rejected, report.accepted) == (2, 1, 0)
    assert REVIEW_DATASET.start(undo, context).undone == 1
    assert REVIEW_DATASET.start(undo, context).undone == 0


def test_a_rule_leaves_alone_what_a_person_decided(folder: Path, context: Context) -> None:
    """What was decided one by one is not decided otherwise by a rule, and that is said."""
    Review(folder).decide("accept", RUDE)
    report = by_rule(context, "reject where kind is instruction")
    assert (report.accepted, report.rejected, report.refused) == (1, 2, {"decided otherwise by hand": 1})


def test_a_rule_can_replace(folder: Path, context: Context) -> None:
    """Text is replaced in what was put right before; where that would cost a quote, the record is left alone."""
    Review(folder).decide("edit", RUDE, answer="Blue, my friend. It lasts.")
    report = by_rule(context, 'replace "lasts" "endures" where answer contains lasts')
    assert (report.matched, report.edited) == (1, 1)
    assert report.refused == {"the answer no longer holds its quote, word for word": 1}
    kept, _ = applied(folder)
    assert kept[RUDE.question].answer == "Blue, my friend. It endures."
    by_rule(context, 'replace "it" "this lamp" in question where kind is instruction')
    assert applied(folder)[0][VAGUE.question].question == "What is this lamp?"


def test_rule_and_undo_exclude_each_other(folder: Path, context: Context) -> None:
    """A rule is applied, or a decision undone."""
    with pytest.raises(SettingsError, match="not both"):
        by_rule(context, "accept where kind is grounded", undo=True)


def test_an_unknown_dataset_is_refused(folder: Path, context: Context) -> None:
    """A dataset that is not there is refused with those that are."""
    with pytest.raises(DataError, match="known: shop"):
        REVIEW_DATASET.start(ReviewParams(dataset="shops"), context)


# ---- in the terminal


def sit(folder: Path, keyboard: Keyboard, *, shows_decided: bool = False, language: str = "en") -> None:
    """Review the dataset with what is typed."""
    terminal = Terminal(is_json=False)
    terminal.use_language(language)
    Reviewer(terminal=terminal, keyboard=keyboard, review=Review(folder), shows_decided=shows_decided).run()


@pytest.fixture
def lines(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """Types lines into a pipe."""

    def type_lines(*typed: str) -> Lines:
        monkeypatch.setattr("sys.stdin", io.StringIO("".join(f"{line}\n" for line in typed)))
        return Lines()

    yield type_lines


def actions(folder: Path) -> dict[str, str]:
    """Return what was decided about each question."""
    questions = {example.id: example.question for example in EXAMPLES_OF_SHOP}
    return {questions[decision.example]: decision.action for decision in logged(folder).everything()}


def test_stepping_through_by_lines(folder: Path, lines: Any, capsys: pytest.CaptureFixture[str]) -> None:
    """Where nothing can be redrawn, each answer is a line, and the end of input ends the review."""
    sit(folder, lines("x", "r too rude", "e", "", "It is a lamp.", "a"))
    assert actions(folder) == {RUDE.question: "reject", VAGUE.question: "edit", BATTERY.question: "accept"}
    kept, reasons = applied(folder)
    assert (reasons, kept[VAGUE.question].answer) == ({RUDE.question: "too rude"}, "It is a lamp.")
    out = capsys.readouterr().out
    places = [out.index(example.question) for example in IN_ORDER]
    assert places == sorted(places)
    assert "2/4  0 accepted  1 rejected" in out
    assert f"The lamp is blue. «{SENTENCE}» Charging takes two." in " ".join(out.split())
    assert "lamp.md, page 2" in out
    assert "1 accepted, 1 edited, 1 rejected, 1 undecided." in out


def test_going_on_where_it_stopped(folder: Path, lines: Any, capsys: pytest.CaptureFixture[str]) -> None:
    """What is decided is not shown again, unless all is asked for; then it is shown last, as it was decided."""
    sit(folder, lines("r too rude", "s"))
    capsys.readouterr()
    sit(folder, lines("q"))
    assert VAGUE.question in capsys.readouterr().out
    sit(folder, lines("s", "s", "s", "q"), shows_decided=True)
    out = capsys.readouterr().out
    assert out.index(PLAIN.question) < out.index(RUDE.question)
    assert "rejected: too rude" in out


def test_undo_by_lines(folder: Path, lines: Any, capsys: pytest.CaptureFixture[str]) -> None:
    """The key u takes back the last decision and shows the record again; at the beginning there is nothing."""
    sit(folder, lines("u", "a", "u", "r", "", "u", "s"))
    assert actions(folder) == {}
    assert "There is nothing to undo." in capsys.readouterr().out


def test_a_decision_of_an_earlier_sitting_can_be_undone(folder: Path, lines: Any) -> None:
    """The key u also takes back what was decided before the program was started, and shows it."""
    sit(folder, lines("a"))
    sit(folder, lines("u", "r", "no"))
    assert actions(folder) == {RUDE.question: "reject"}


def test_rules_by_lines(folder: Path, lines: Any, capsys: pytest.CaptureFixture[str]) -> None:
    """/ takes a rule, shows what it touches and asks; what it decided is not shown, and is undone at once."""
    rule = "/reject where score judge above 0"
    sit(folder, lines("/nonsense", rule, "n", rule, "y"))
    assert actions(folder) == dict.fromkeys((BATTERY.question, RUDE.question, VAGUE.question), "reject")
    out = capsys.readouterr().out
    assert "3 of 4 records" in out
    assert "not 'nonsense'" in out
    sit(folder, lines("u"))
    assert actions(folder) == {}


def test_a_bad_edit_is_not_kept(folder: Path, lines: Any, capsys: pytest.CaptureFixture[str]) -> None:
    """An edit that loses the quote is refused with the reason, and can be put right."""
    sit(folder, lines("s", "s", "e", "", "Ten.", "e", "", f'It is ten: "{SENTENCE}" [1]'))
    assert "no longer holds its quote" in capsys.readouterr().out
    assert applied(folder)[0][BATTERY.question].answer == f'It is ten: "{SENTENCE}" [1]'


def test_the_whole_passage(folder: Path, lines: Any, capsys: pytest.CaptureFixture[str]) -> None:
    """Of a long passage what is around the quote is shown, cut between words, and all of it with p."""
    before, after = ("Many words stand here. " * 30, " And many more stand there." * 30)
    text = f"{before}{SENTENCE}{after}"
    chunk = CHUNK.model_copy(update={"text": text, "end": CHUNK.start + len(text)})
    quote = locate(SENTENCE, chunk)
    write_records(folder / CHUNKS, [chunk])
    write_records(folder / EXAMPLES, [BATTERY.model_copy(update={"quotes": (quote,)})])
    sit(folder, lines("p", "p"))
    out = " ".join(capsys.readouterr().out.split())
    short, whole, _short = out.split("lamp.md, page 2 ")[1:]
    assert f"here. «{SENTENCE}» And many" in short
    assert short.startswith(("…Many ", "…words ", "…stand ", "…here. "))
    assert "…" in short[10:]
    assert whole.startswith(f"{before}«{SENTENCE}»{after}")


def test_a_conversation_is_shown_from_its_beginning(
    folder: Path, lines: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    """What was said before the question is shown, and pieces with their labels."""
    before = (Message(role="system", content="Be brief."), Message(role="user", content="Is it blue?"))
    messages = (*before, Message(role="assistant", content="Yes."), *PLAIN.messages)
    spans = (Span(start=0, end=3, label="WHO"), Span(start=2, end=8, label="DID"))
    write_records(folder / EXAMPLES, [PLAIN.model_copy(update={"messages": messages, "spans": spans})])
    sit(folder, lines())
    out = " ".join(capsys.readouterr().out.split())
    assert "System Be brief. User Is it blue? Assistant Yes. Question «Who» [WHO]« made» [DID] it?" in out


def test_an_edit_that_changes_nothing(folder: Path, lines: Any, capsys: pytest.CaptureFixture[str]) -> None:
    """An edit that leaves everything as it is decides nothing; nor does a rule that is empty."""
    sit(folder, lines("e", "", "", "/", "", "q"))
    assert actions(folder) == {}
    assert "Nothing was changed." in capsys.readouterr().out


def test_nothing_of_a_model_steers_the_terminal(folder: Path, lines: Any, capsys: pytest.CaptureFixture[str]) -> None:
    """Control sequences, markup and directions in records are shown as text, or not at all."""
    evil = "\x1b]0;owned\x07\x1b[2J[bold]x[/bold] \u202egnp\x9b1m"
    record = make_example(f"q{evil}", f"a{evil}", rejected=f"r{evil}", flags=(evil,), label=evil, id="evil")
    write_records(folder / EXAMPLES, [record])
    sit(folder, lines("?", "p", f"/reject where answer contains {evil}", "r", evil))
    out = capsys.readouterr().out
    assert not set("\x1b\x07\x9b\u202e") & set(out)
    assert "[bold]x[/bold]" in out
    assert "\x1b" not in next(iter(logged(folder).everything())).reason


@pytest.mark.parametrize("language", ["en", "zh"])
def test_lines_fit_a_narrow_terminal(
    language: str, folder: Path, lines: Any, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """At width 80 no line of a record is longer."""
    monkeypatch.setenv("COLUMNS", "80")
    sit(folder, lines("p", "s", "s", "q"), language=language)
    assert max(map(len, capsys.readouterr().out.splitlines())) <= 80


@pytest.fixture
def keys() -> Iterator[Any]:
    """Presses keys at a terminal."""
    with create_pipe_input() as pipe, create_app_session(input=pipe, output=DummyOutput()):

        def press(*typed: str) -> Keystrokes:
            pipe.send_text("".join(typed))
            return Keystrokes()

        yield press


ENTER, CTRL_C, CTRL_U, ALT_ENTER = "\r", "\x03", "\x15", "\x1b\r"


def test_stepping_through_by_keys(folder: Path, keys: Any) -> None:
    """At a terminal a key counts when it is pressed; texts are there to be edited, also over several lines."""
    edit = ("e", "!", ENTER, CTRL_U, "It is", ALT_ENTER, "a lamp.", ENTER)
    sit(folder, keys("x", ENTER, "r", "rude", ENTER, *edit, "A", "s", "q"))
    assert actions(folder) == {RUDE.question: "reject", VAGUE.question: "edit", BATTERY.question: "accept"}
    kept, reasons = applied(folder)
    assert reasons == {RUDE.question: "rude"}
    assert (kept[VAGUE.question].question, kept[VAGUE.question].answer) == ("What is it?!", "It is\na lamp.")


def test_keys_of_a_chinese_keyboard(folder: Path, keys: Any) -> None:
    """Wide letters and the Chinese slash are what they look like."""
    sit(
        folder,
        keys("ａ", "、", "reject where score judge is", ENTER, "、", "reject where kind is grounded", ENTER, "ｙ", "q"),
    )
    assert actions(folder) == {RUDE.question: "accept", BATTERY.question: "reject"}


def test_ctrl_c_leaves_a_text_as_it_was(folder: Path, keys: Any) -> None:
    """Ctrl-C ends what is being typed and not the review; at a record it ends the review."""
    sit(folder, keys("e", "abc", CTRL_C, "r", "abc", CTRL_C, "/", "abc", CTRL_C, "a", CTRL_C))
    assert actions(folder) == {RUDE.question: "accept"}
    assert Review(folder).unfinished() is None


def test_the_last_decision_can_be_undone(folder: Path, keys: Any) -> None:
    """After the last record there is still a way back."""
    sit(folder, keys("a", "a", "a", "a", "u", "r", ENTER, "q"))
    assert actions(folder)[PLAIN.question] == "reject"


def test_what_was_being_typed_is_kept(folder: Path, keys: Any) -> None:
    """A text that was being typed when the program ended is there again, at the record it belongs to."""
    Review(folder).keep_unfinished(BATTERY, {"question": "How long does the battery last?", "answer": "Te"})
    sit(folder, keys("e", ENTER, CTRL_U, f'"{SENTENCE}" [1]', ENTER, "q"))
    assert applied(folder)[0][BATTERY.question].question == "How long does the battery last?"
    assert Review(folder).unfinished() is None


SCRIPT = "from assistant.cli.review import REVIEW; REVIEW.main(['shop'])"


def test_kill_9_loses_nothing(folder: Path, workspace: Workspace) -> None:
    """Killed in the middle of an edit, the review has every decision, and the text that was being typed."""
    mine, theirs = pty.openpty()
    environment = {**os.environ, "TERM": "xterm", "PYTHONPATH": str(ROOT), "PROMPT_TOOLKIT_NO_CPR": "1"}
    process = subprocess.Popen(
        [sys.executable, "-c", SCRIPT], stdin=theirs, stdout=theirs, stderr=theirs, cwd=workspace.root, env=environment
    )
    shown = b""

    def wait_for(text: str) -> None:
        nonlocal shown
        while text.encode() not in shown:
            shown += os.read(mine, 4096)
        shown = shown.partition(text.encode())[2]

    try:
        wait_for("? help")
        os.write(mine, b"a")
        wait_for("? help")
        os.write(mine, b"e")
        wait_for("Question")
        wait_for(VAGUE.question[-4:])
        os.write(mine, b" Half a")
        wait_for("Half a")
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
        os.close(mine)
        os.close(theirs)
    assert actions(folder) == {RUDE.question: "accept"}
    unfinished = Review(folder).unfinished()
    assert unfinished is not None
    assert (unfinished.example, unfinished.texts) == (VAGUE.id, {"question": f"{VAGUE.question} Half a"})


# ---- the command


def command(*arguments: str) -> int:
    """Run the command in the current folder."""
    result = REVIEW.main(list(arguments), standalone_mode=False)
    return int(result or 0)


@pytest.fixture
def here(folder: Path, workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    """The current folder is the workspace, and nobody types anything."""
    monkeypatch.chdir(workspace.root)
    monkeypatch.setattr("sys.stdin", io.StringIO())


@pytest.mark.usefixtures("here")
def test_the_command_for_programs(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """With --json nothing is asked: a rule is applied if --yes agrees, and the counts are one object."""
    command("shop", "--json")
    before = json.loads(capsys.readouterr().out)
    assert (before["examples"], before["undecided"], before["flagged"]) == (4, 4, 1)
    with pytest.raises(ApprovalRequired):
        command("shop", "--json", "--rule", "reject where flag is toxicity")
    command("shop", "--json", "--yes", "--rule", "reject where flag is toxicity")
    assert json.loads(capsys.readouterr().out)["rejected"] == 1
    command("shop", "--undo", "--json")
    assert json.loads(capsys.readouterr().out)["undone"] == 1
    assert actions(folder) == {}


@pytest.mark.usefixtures("here")
def test_the_command_without_input(capsys: pytest.CaptureFixture[str]) -> None:
    """With nobody to answer, the first record is shown, and that is the end."""
    assert command("shop") == 0
    assert "0 accepted, 0 edited, 0 rejected, 4 undecided." in capsys.readouterr().out
    with pytest.raises(DataError, match="known: shop"):
        command("nope")


@pytest.mark.usefixtures("here")
def test_a_torn_log_is_mentioned(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Lines that a crash cut short are counted aloud."""
    Review(folder).decide("accept", PLAIN)
    with (folder / DECISIONS).open("a", encoding="utf-8") as file:
        file.write('{"action": "rej')
    command("shop")
    captured = capsys.readouterr()
    assert "1 decisions were cut short" in " ".join(captured.err.split())
    assert "1 accepted" in captured.out


def test_the_command_offers_what_the_operation_takes() -> None:
    """Each parameter of the operation is an option of the command."""
    names = {parameter.name for parameter in REVIEW.params}
    assert names == set(ReviewParams.model_fields) | {"show_all", "json_output", "yes"}
    assert isinstance(REVIEW, click.Command)


def test_decisions_are_read_as_they_were_written(folder: Path) -> None:
    """A line of the log is a decision, whole."""
    Review(folder).decide("edit", VAGUE, answer="It is\na lamp.\u2028", reason="x")
    [line] = (folder / DECISIONS).read_text(encoding="utf-8").split("\n")[:-1]
    assert Decision.model_validate_json(line).answer == "It is\na lamp.\u2028"
