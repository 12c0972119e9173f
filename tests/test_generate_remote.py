"""Datasets written by a remote teacher: what is kept, what is dropped, what is paid for."""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pipelines.dataset.generate import GENERATE_DATASET, PILOT
from pipelines.dataset.writing.collect import PATIENCE_CALLS
from pipelines.errors import ApprovalRequired, DataError, LLMOutputError, LLMStatusError
from pipelines.records import Chunk, read_records
from tests.conftest import Recorder
from tests.fake_openai import FakeOpenAI, Recorded, refused
from tests.rule_teacher import (
    FACTS_PER_PASSAGE,
    Factory,
    RuleTeacher,
    facts_in,
    generate_params,
    is_so,
    make_factory,
    passages_in,
    questions_in,
    use_teacher,
    write_collection,
)

PASSAGES = 12
PRICES = {"input_price": 2.0, "output_price": 8.0}  # dollars per million tokens
SENT = (100, 20)  # tokens of a call, in and out


@pytest.fixture
def factory(tmp_path: Path, recorder: Recorder, fake_openai: FakeOpenAI, monkeypatch: pytest.MonkeyPatch) -> Factory:
    """A workspace with twelve passages, and a teacher that answers by rule."""
    return make_factory(tmp_path, recorder, fake_openai, monkeypatch, passages=PASSAGES)


def question_instead(question: str) -> Callable[[Recorded], object]:
    """Return a teacher that asks the same question about everything."""
    return lambda sent: {"questions": [question]}


def answers_instead(**changes: Any) -> Callable[[Recorded], object]:
    """Return a teacher whose answers are sound but for the changes."""

    def answer(sent: Recorded) -> object:
        sound = RuleTeacher()._proved_answers(sent)
        assert isinstance(sound, dict)
        return {"answers": [{**each, **changes} for each in sound["answers"]]}

    return answer


def only_first(answer: Callable[[Recorded], object], after: Callable[[Recorded], object]) -> Callable[..., object]:
    """Return a teacher that answers its first call in one way, and the others in another."""
    count = itertools.count()
    return lambda sent: (answer if next(count) == 0 else after)(sent)


# ---- what is kept


def test_examples_rest_on_quotes(factory: Factory) -> None:
    """Every example quotes its passage to the letter, and names its teacher, its prompt and its calls."""
    factory.generate(examples=8, kinds="grounded")
    chunks = {chunk.id: chunk for chunk in read_records(factory.folder() / "chunks.jsonl", Chunk)}
    examples = factory.examples()
    assert len(examples) == 8
    for example in examples:
        chunk, [quote] = chunks[example.source], example.quotes
        assert chunk.text[quote.start - chunk.start : quote.end - chunk.start] == quote.quote
        assert (example.teacher, example.prompt, example.language) == ("fake-model", "answer_questions@1", "en")
        assert len(example.calls) == 2
        assert example.attributes.keys() == {"subtopic", "persona", "form", "difficulty"}


@pytest.mark.parametrize("examples", [1, 2, 7, 20, 25])
def test_exactly_as_many_are_kept_as_are_wanted(factory: Factory, examples: int) -> None:
    """Not one more, whatever a call brings, and all with an id of their own."""
    report = factory.generate(examples=examples)
    assert report.kept == len(factory.examples()) == examples
    assert len({example.id for example in factory.examples()}) == examples


def test_what_is_rejected_is_made_up_for(factory: Factory) -> None:
    """Where every second answer is refused, twice as much is asked, and as many are kept as were wanted."""
    count = itertools.count()
    sound, wrong = RuleTeacher()._proved_answers, answers_instead(quotes=["The house was sold last year."])
    factory.teacher.instead["ProvedAnswers"] = lambda sent: (sound if next(count) % 2 else wrong)(sent)
    report = factory.generate(examples=12, kinds="grounded")
    assert report.kept == 12
    assert report.rejected.keys() == {"quote"}
    assert report.rejected["quote"] >= FACTS_PER_PASSAGE
    assert sum(report.rejected.values()) == len(factory.rejections())


def test_the_report_counts_calls_tokens_and_money(factory: Factory, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the endpoint was sent, and the probe before it, with their cost."""
    use_teacher(monkeypatch, factory.fake.url, **PRICES)
    report = factory.generate(examples=3, kinds="grounded")
    sent = len(factory.fake.requests)
    assert (report.requested, report.kept, report.rejected, report.teacher) == (3, 3, {}, "fake-model")
    assert (report.calls.sent, report.calls.cached, report.calls.failed) == (sent + 1, 0, 0)
    assert (report.calls.tokens_in, report.calls.tokens_out) == (sent * SENT[0], sent * SENT[1])
    assert report.calls.cost_usd == pytest.approx(sent * (SENT[0] * 2.0 + SENT[1] * 8.0) / 1e6)


def test_an_unknown_price_is_no_price_of_nothing(factory: Factory, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where no price is known the cost is unknown, not nothing."""
    use_teacher(monkeypatch, "http://teacher.test/v1", model="a-model-nobody-sells")
    plan = GENERATE_DATASET.plan
    assert plan is not None
    assert plan(generate_params(), factory.open()).cost_usd is None


def test_the_request_shows_one_passage(factory: Factory) -> None:
    """The teacher is shown the passage with its headings, and how many questions are wanted in which language."""
    factory.generate(examples=PASSAGES, kinds="grounded")
    [about_kettle] = [said for said in factory.teacher.calls("Questions") if "House › The kettle" in said]
    assert '<passage from="House › The kettle">\nThe silver kettle of the old house' in about_kettle
    assert re.search(r"Write \d questions in English", about_kettle)
    assert "lantern" not in about_kettle


def test_every_passage_before_any_again(factory: Factory) -> None:
    """A passage is asked about a second time only when all have had their turn."""
    factory.generate(examples=100, kinds="grounded")
    asked = [passages_in(sent)[0] for sent in factory.fake.requests if not questions_in(sent)]
    # The pilot begins a few more than it needs, and what it asked is not asked again.
    assert len(set(asked[: PASSAGES - 2])) == PASSAGES - 2
    assert len(set(asked)) == PASSAGES


def test_a_question_asked_before_is_not_answered(factory: Factory) -> None:
    """A duplicate is dropped before its answer is paid for, and counted."""
    factory.teacher.instead["Questions"] = lambda sent: {
        "questions": ["Who keeps the keys of the house at night?", is_so(facts_in(sent)[0])]
    }
    report = factory.generate(examples=6, kinds="grounded")
    answered = [question for sent in factory.fake.requests for question in questions_in(sent).values()]
    assert answered.count("Who keeps the keys of the house at night?") == 1
    assert len(answered) == len(set(answered))
    assert report.rejected["exact_duplicate"] >= 5


@pytest.mark.parametrize(
    ("second", "check"),
    [
        ("Is it so that the lantern of the house hangs behind the big green door?", "exact_duplicate"),
        ("is it so, that the LANTERN of the house hangs behind the big green door", "exact_duplicate"),
        ("Is it really so that the lantern of the house hangs behind the big green door?", "near_duplicate"),
    ],
    ids=["same", "same words", "one word more"],
)
def test_a_repeated_question_is_dropped(factory: Factory, second: str, check: str) -> None:
    """A question that was asked before, or nearly so, is dropped by the check of its kind."""
    first = "Is it so that the lantern of the house hangs behind the big green door?"
    factory.teacher.instead["Questions"] = only_first(
        lambda sent: {"questions": [first, second]}, RuleTeacher()._questions
    )
    factory.generate(examples=12, kinds="grounded")
    [rejection] = [each for each in factory.rejections() if "duplicate" in each.check]
    assert (rejection.check, rejection.text) == (check, second)


def test_a_teacher_that_repeats_itself_ends_with_fewer(factory: Factory) -> None:
    """Where nothing new comes any more, the run ends, and says what to do."""
    factory.teacher.instead["Questions"] = lambda sent: {"questions": [is_so(facts_in(sent)[0])]}
    report = factory.generate(examples=100, kinds="grounded")
    assert report.kept == PASSAGES
    assert report.rejected.keys() == {"exact_duplicate"}
    [told] = [notice for notice in factory.notices() if "no more to say" in notice]
    assert f"{PASSAGES} of 100 examples" in told
    assert "add documents" in told


def test_a_teacher_that_has_said_everything_is_not_paid_for_ever(
    factory: Factory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A long row of calls of which nothing is new ends the run before all rounds are through."""
    monkeypatch.setattr("pipelines.dataset.writing.collect._DRY_CALLS", 25)
    use_teacher(monkeypatch, factory.fake.url, concurrency=2)
    write_collection(factory.root, _many_passages(12))
    factory.teacher.instead["Questions"] = question_instead("Who keeps the keys of the old house at night?")
    factory.teacher.instead["ProvedAnswers"] = answers_instead(
        quotes=["The keys of the old house are kept by the miller at night."], answer="The miller keeps them."
    )
    report = factory.generate(examples=20, kinds="grounded")
    assert report.kept == 1
    assert report.calls.sent < 12 * 8 / 2


def _many_passages(count: int) -> list[Chunk]:
    text = "The keys of the old house are kept by the miller at night."
    return [
        Chunk(id=f"c{n}", document=f"{n}.md", start=0, end=len(text) + 40, text=f"{text} This is page {n} of the book.")
        for n in range(count)
    ]


def test_a_finished_dataset_is_not_asked_again(factory: Factory) -> None:
    """The same command a second time sends nothing, and gives the first report."""
    first = factory.generate(examples=4)
    sent = len(factory.fake.requests)
    assert factory.generate(examples=4) == first
    assert len(factory.fake.requests) == sent
    assert any("already written: 4 examples" in notice for notice in factory.notices())


# ---- what is dropped


@pytest.mark.parametrize(
    ("schema", "bad", "check"),
    [
        ("ProvedAnswers", answers_instead(quotes=["The hives of the club are built from steel."]), "quote"),
        ("ProvedAnswers", answers_instead(quotes=[], answer=""), "unanswered"),
        ("ProvedAnswers", answers_instead(quotes=[" "]), "unanswered"),
        ("ProvedAnswers", answers_instead(number=7), "unanswered"),
        ("ProvedAnswers", answers_instead(answer="It costs 99123 euros in the end."), "number"),
        ("ProvedAnswers", answers_instead(answer="As an AI I have no hives."), "boilerplate"),
        ("ProvedAnswers", answers_instead(answer="The documents do not answer this."), "boilerplate"),
        ("ProvedAnswers", answers_instead(answer="La réponse se trouve au deuxième étage."), "language"),
        ("ProvedAnswers", lambda sent: "I would rather not.", "schema"),
        ("Questions", lambda sent: '{"questions": ', "schema"),
        ("Questions", lambda sent: {"asked": ["Why?"]}, "schema"),
        ("Questions", question_instead("Hm?"), "schema"),
    ],
    ids=[
        "invented quote",
        "no quote",
        "empty quote",
        "another number",
        "invented number",
        "speaks of itself",
        "refuses",
        "other language",
        "no JSON",
        "cut JSON",
        "other fields",
        "short question",
    ],
)
def test_what_is_unsound_is_dropped(
    factory: Factory, schema: str, bad: Callable[[Recorded], object], check: str
) -> None:
    """What is unsound is dropped, counted by its check, and kept with its reason, its passage and its calls."""
    passage = None

    def respond(sent: Recorded) -> object:
        nonlocal passage
        passage = passage or passages_in(sent)
        rule = RuleTeacher()._proved_answers if schema == "ProvedAnswers" else RuleTeacher()._questions
        return (bad if passages_in(sent) == passage else rule)(sent)

    factory.teacher.instead[schema] = respond
    report = factory.generate(examples=6, kinds="grounded")
    assert report.kept == 6
    assert report.rejected.keys() == {check}
    chunks = {chunk.id for chunk in read_records(factory.folder() / "chunks.jsonl", Chunk)}
    for rejection in factory.rejections():
        assert rejection.check == check
        assert rejection.reason
        assert rejection.source in chunks
        assert rejection.calls


@pytest.mark.parametrize(
    ("question", "check"),
    [
        ("Tell me all about the furniture of the old house.", "form"),
        ("What does this passage say about the old house?", "points_at_passage"),
        ("According to the text, what is kept in the house?", "points_at_passage"),
        ("House why?", "length"),
        ("这座老房子里有什么家具？", "language"),
    ],
)
def test_an_unsound_question_is_dropped(factory: Factory, question: str, check: str) -> None:
    """A question that nobody would ask is dropped, also where it is answered with a true quote."""
    factory.teacher.instead["Questions"] = only_first(question_instead(question), RuleTeacher()._questions)
    factory.teacher.instead["ProvedAnswers"] = lambda sent: {
        "answers": [
            {"number": number, "quotes": [facts_in(sent)[0]], "answer": "That is the rule of the house."}
            for number in questions_in(sent)
        ]
    }
    factory.generate(examples=12, kinds="grounded")
    assert (check, question) in {(each.check, each.text) for each in factory.rejections()}


def test_a_quote_may_differ_in_marks_and_spaces(factory: Factory) -> None:
    """A quote counts though its white space differs, and the document's own text is kept."""

    def spaced(sent: Recorded) -> object:
        sound = RuleTeacher()._proved_answers(sent)
        assert isinstance(sound, dict)
        return {
            "answers": [
                {**each, "quotes": [quote.replace(" ", "\n ") for quote in each["quotes"]]} for each in sound["answers"]
            ]
        }

    factory.teacher.instead["ProvedAnswers"] = spaced
    report = factory.generate(examples=3, kinds="grounded")
    assert report.rejected == {}
    assert not [quote for example in factory.examples() for quote in example.quotes if "\n" in quote.quote]


def test_an_evaluation_set_is_kept_out(factory: Factory, tmp_path: Path) -> None:
    """With --against, nothing that it asks is written, and others are written in its place."""
    asked = [example.question for example in _generated(factory, examples=4).examples()]
    against = tmp_path / "exam.txt"
    against.write_text("\n".join(asked[:2]), encoding="utf-8")
    report = factory.generate(examples=4, kinds="grounded", against=against)
    assert report.kept == 4
    assert report.rejected["overlap"] >= 2
    assert not set(asked[:2]) & {example.question for example in factory.examples()}


def _generated(factory: Factory, **params: Any) -> Factory:
    factory.generate(kinds="grounded", **params)
    return factory


def test_a_judge_drops_what_it_finds_wrong(factory: Factory) -> None:
    """With --judge every example is judged against its passage, and its scores are kept."""
    verdict = {"supported": True, "answers": True, "stands_alone": True, "clear": True, "score": 4}
    factory.teacher.instead["Judgements"] = lambda sent: {
        "judgements": [{"number": 1, **verdict}, {"number": 2, **verdict, "supported": False}]
    }
    report = factory.generate(examples=4, kinds="grounded", judge=True)
    assert report.kept == 4
    assert report.rejected.keys() == {"judge"}
    assert {example.scores.get("judge_score", 4.0) for example in factory.examples()} == {4.0}
    assert factory.teacher.calls("Judgements")


# ---- teachers that cannot be used


@pytest.mark.parametrize(
    ("schema", "bad", "check", "examples"),
    [
        ("Questions", lambda sent: "Bees are nice.", "schema", 1000),
        ("Questions", lambda sent: "I'm sorry, but I cannot help with that.", "schema", 10),
        ("ProvedAnswers", answers_instead(answer="La réponse se trouve au deuxième étage."), "language", 1000),
        ("ProvedAnswers", answers_instead(quotes=["The house was sold last year."]), "quote", 10),
    ],
    ids=["nonsense", "refuses", "French", "invents"],
)
def test_a_teacher_of_no_use_is_stopped_soon(
    factory: Factory, schema: str, bad: Callable[[Recorded], object], check: str, examples: int
) -> None:
    """After twenty calls that yield nothing the run ends with the reasons and what the teacher said."""
    factory.teacher.instead[schema] = bad
    with pytest.raises(LLMOutputError, match=rf"nothing of the first \d+ answers of fake-model.*'{check}'") as caught:
        factory.generate(examples=examples, kinds="grounded")
    assert PATIENCE_CALLS <= len(factory.fake.requests) < 5 * PATIENCE_CALLS
    assert "It said: " in caught.value.hint
    assert "Choose a stronger model" in caught.value.hint
    assert {rejection.check for rejection in factory.rejections()} == {check}
    assert factory.examples() == []


def test_nothing_usable(factory: Factory) -> None:
    """A teacher without a single sound example about the few passages there are is an error that counts the reasons."""
    write_collection(factory.root, _many_passages(2))
    factory.teacher.instead["ProvedAnswers"] = answers_instead(quotes=["The house was sold last year."])
    with pytest.raises(DataError, match="nothing usable about 2 passages") as caught:
        factory.generate(examples=3, kinds="grounded")
    assert caught.value.hint


@pytest.mark.parametrize("examples", [10, PILOT * 4])
def test_nothing_happens_without_approval(factory: Factory, examples: int) -> None:
    """The plan names where passages go; refused, nothing is sent."""
    factory.recorder.agrees = False
    with pytest.raises(ApprovalRequired):
        factory.generate(examples=examples)
    [plan] = factory.recorder.plans
    assert any(f"sent to fake-model at {factory.fake.url}" in step for step in plan.steps)
    assert plan.calls > 0
    assert not factory.fake.requests


def test_a_wrong_key_ends_the_run_and_keeps_what_was_answered(factory: Factory) -> None:
    """After a refusal at the fifth call, the next run sends only the rest and says that it takes up the first."""
    rule = factory.teacher
    count = itertools.count()
    factory.fake.respond = lambda sent: rule(sent) if next(count) < 4 else refused(401)
    with pytest.raises(LLMStatusError, match=r"of 9 examples are kept"):
        factory.generate(examples=9, kinds="grounded")
    factory.fake.respond = rule
    answered = len(rule.asked)
    report = factory.generate(examples=9, kinds="grounded")
    assert report.kept == 9
    assert report.calls.cached >= answered
    assert any("earlier run" in notice for notice in factory.notices())
