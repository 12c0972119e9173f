"""The life of a record, and what all calls together took."""

from __future__ import annotations

import datetime
import re
from pathlib import Path
from typing import Any

import pytest

from pipelines.dataset.augment import AUGMENT_DATASET, AugmentParams
from pipelines.dataset.explain import EXPLAIN_EXAMPLE, ExplainParams, ExplainReport
from pipelines.dataset.files import CHUNKS, EXAMPLES, REJECTED, REJECTED_BY_CURATION
from pipelines.errors import DataError
from pipelines.models.ledger import Call, Ledger
from pipelines.records import Example, ExampleKind, Message, Rejection, read_records, rejected, write_records
from pipelines.usage import SHOW_USAGE, UsageParams, UsageReport
from tests.conftest import Recorder
from tests.fake_openai import FakeOpenAI
from tests.rule_teacher import DATASET, Factory, RuleTeacher, facts_in, make_factory, use_teacher

WRONG = "The house was sold last year to a painter."


@pytest.fixture
def factory(tmp_path: Path, recorder: Recorder, fake_openai: FakeOpenAI, monkeypatch: pytest.MonkeyPatch) -> Factory:
    """A workspace with twelve passages, and a teacher that answers by rule and for money."""
    made = make_factory(tmp_path, recorder, fake_openai, monkeypatch)
    use_teacher(monkeypatch, fake_openai.url, input_price=10, output_price=100)
    return made


def explain(factory: Factory, record: str, *, dataset: str = DATASET) -> ExplainReport:
    """Explain as every surface does."""
    return EXPLAIN_EXAMPLE.start(ExplainParams(dataset=dataset, record=record), factory.open())


# ---- records that were written


def test_the_whole_life_of_an_example(factory: Factory) -> None:
    """Its passage, both of its calls with what was asked and answered and what they cost, and what became of it."""
    factory.generate(examples=16, kinds="grounded")
    factory.curate(unanswerable_share=0)
    example = factory.examples()[0]
    report = explain(factory, example.id)
    [curated] = [each for each in factory.curated() if each.id == example.id]
    assert (report.id, report.splits, report.example) == (example.id, [curated.split], curated)
    assert report.state == f"in the {curated.split} split; kept by generation"
    [passage] = report.passages
    assert passage.chunk == example.source
    assert example.quotes[0].quote in passage.text
    asking, answering = report.calls
    assert [call.key for call in report.calls] == list(example.calls)
    assert passage.text in asking.asked
    assert example.question in asking.answered
    assert f"{example.question}\n" in answering.asked
    assert asking.asked.startswith("[system]\n")
    assert example.quotes[0].quote in answering.answered
    for call in report.calls:
        assert (call.model, call.tokens_in, call.tokens_out) == ("fake-model", 100, 20)
        assert call.cost_usd == pytest.approx(100 * 10 / 1e6 + 20 * 100 / 1e6)
        assert call.seconds >= 0
    assert (report.made_from, report.made_into) == ([], [])


def test_an_example_is_found_by_its_question_and_by_the_beginning_of_its_id(factory: Factory) -> None:
    """Both name the same record, also where curation has made a copy of the question that is refused."""
    factory.generate(examples=16, kinds="grounded")
    factory.curate(unanswerable_share=0.5)
    copies = [each for each in factory.curated() if each.kind is ExampleKind.UNANSWERABLE]
    copied = next(each for each in factory.examples() if each.question == copies[0].question)
    assert explain(factory, copied.question) == explain(factory, copied.id)
    assert explain(factory, copied.id[:8]).id == copied.id
    assert explain(factory, copies[0].id).example == copies[0]


def test_what_was_made_of_what(factory: Factory) -> None:
    """A child names its parents, and a parent its children."""
    factory.generate(examples=6, kinds="grounded")
    AUGMENT_DATASET.start(AugmentParams(dataset=DATASET, into="more", examples=3, ways="paraphrase"), factory.open())
    child = factory.examples("more")[-1]
    [parent] = child.parents
    assert explain(factory, child.id, dataset="more").made_from == [parent]
    assert child.id in explain(factory, parent, dataset="more").made_into
    assert explain(factory, child.id, dataset="more").calls


# ---- records that were dropped


def test_a_rejected_question_is_explained(factory: Factory) -> None:
    """What generation dropped is found by its words: the check, the reason, the passage and the calls."""
    rule = RuleTeacher()

    def wrong_for_the_first(sent: Any) -> object:
        answers = rule._proved_answers(sent)
        assert isinstance(answers, dict)
        return {
            "answers": [{**each, "quotes": [WRONG]} if each["number"] == 1 else each for each in answers["answers"]]
        }

    factory.teacher.instead["ProvedAnswers"] = wrong_for_the_first
    factory.generate(examples=6, kinds="grounded")
    dropped = factory.rejections()[0]
    report = explain(factory, dropped.text)
    assert report.state.startswith("rejected by generation: quote: ")
    assert (report.id, report.example, report.splits) == ("", None, [])
    assert [passage.chunk for passage in report.passages] == [dropped.source]
    assert [call.key for call in report.calls] == list(dropped.calls)
    assert WRONG in report.calls[-1].answered


def test_an_example_that_curation_dropped_is_explained(factory: Factory) -> None:
    """It was kept by one stage and rejected by the next, and both are told."""
    factory.generate(examples=16, kinds="grounded")
    examples = factory.examples()
    spoilt = examples[0].model_copy(update={"answer": "As an AI, I cannot tell."})
    write_records(factory.folder() / EXAMPLES, [spoilt, *examples[1:]])
    factory.curate()
    report = explain(factory, spoilt.id)
    assert report.state.startswith("kept by generation; rejected by curation: boilerplate: ")
    assert report.splits == []


def test_a_question_that_was_asked_again_is_explained_as_the_one_that_was_kept(factory: Factory) -> None:
    """Its duplicates have no id; they do not make its question ambiguous."""
    factory.teacher.instead["Questions"] = lambda sent: {
        "questions": ["Who keeps the keys of the old house at night?", f"Is it so that {facts_in(sent)[0][:-1]}?"]
    }
    factory.generate(examples=6, kinds="grounded")
    example = factory.examples()[0]
    dropped = Rejection(check="exact_duplicate", reason="asked before", text=example.question)
    write_records(factory.folder() / REJECTED, [dropped, *factory.rejections()])
    assert explain(factory, example.question).id == example.id


def test_a_rejected_example_is_meant_before_its_duplicates(factory: Factory) -> None:
    """What had become a record is explained, not what was asked again after it."""
    factory.folder().mkdir(parents=True)
    whole = rejected(simple("abcd1111"), check="tone", reason="rude")
    again = Rejection(check="exact_duplicate", reason="asked before", text="Why?")
    write_records(factory.folder() / REJECTED, [whole, again])
    report = explain(factory, "Why?")
    assert (report.id, report.state) == ("abcd1111", "rejected by generation: tone: rude")
    assert report.example == whole.example


# ---- records that are not there


def simple(identity: str, question: str = "Why?") -> Example:
    """Return an example without passages or calls."""
    messages = (Message(role="user", content=question), Message(role="assistant", content="So."))
    return Example(
        id=identity,
        kind=ExampleKind.INSTRUCTION,
        question=question,
        answer="So.",
        messages=messages,
        teacher="import",
        prompt="import",
    )


def test_an_ambiguous_id_is_refused(factory: Factory) -> None:
    """All records that it may mean are named; one of them by its whole id is explained."""
    factory.folder().mkdir(parents=True)
    write_records(factory.folder() / EXAMPLES, [simple("abcd1111", "Why?"), simple("abcd2222", "When?")])
    with pytest.raises(DataError, match="'abcd' means 2 records: abcd1111, abcd2222") as caught:
        explain(factory, "abcd")
    assert "whole id" in caught.value.hint
    report = explain(factory, "abcd2222")
    assert (report.id, report.state, report.passages, report.calls) == ("abcd2222", "kept by generation", [], [])


@pytest.mark.parametrize("record", ["ffffffff", "abc", "Whence?", "abcd11112"])
def test_an_unknown_record_is_told(factory: Factory, record: str) -> None:
    """The hint says where ids are; three characters are too few to be the beginning of one."""
    factory.folder().mkdir(parents=True)
    write_records(factory.folder() / EXAMPLES, [simple("abcd1111")])
    with pytest.raises(DataError, match=re.escape(f"no record of {DATASET} is called '{record}'")) as caught:
        explain(factory, record)
    assert "the whole question" in caught.value.hint


def test_an_unknown_dataset_is_told(factory: Factory) -> None:
    """With those that there are."""
    (factory.root / "datasets" / "other").mkdir(parents=True)
    with pytest.raises(DataError, match="no dataset 'club'; known: other"):
        explain(factory, "abcd1111")


def test_a_call_that_the_ledger_has_lost_is_left_out(factory: Factory) -> None:
    """A dataset outlives its ledger: what is known without it is told."""
    factory.generate(examples=3, kinds="grounded")
    for path in factory.root.glob("calls.sqlite*"):
        path.unlink()
    report = explain(factory, factory.examples()[0].id)
    assert (len(report.passages), report.calls) == (1, [])


def test_explaining_changes_nothing(factory: Factory) -> None:
    """It only reads, also where passages and rejections are missing."""
    factory.generate(examples=3, kinds="grounded")
    (factory.folder() / CHUNKS).unlink()
    (factory.folder() / REJECTED).unlink()
    before = sorted(path.name for path in factory.folder().iterdir())
    assert explain(factory, factory.examples()[0].id).passages == []
    assert sorted(path.name for path in factory.folder().iterdir()) == before
    assert not (factory.folder() / REJECTED_BY_CURATION).exists()


# ---- what was used


def usage(factory: Factory, **params: Any) -> UsageReport:
    """Show usage as every surface does."""
    return SHOW_USAGE.start(UsageParams.model_validate(params), factory.open())


def stored(factory: Factory, calls: list[Call], *, day: str) -> None:
    """Store calls as if they had been made on a day."""
    ledger = Ledger(factory.root / "calls.sqlite")
    ledger.store(calls)
    keys = ",".join(f"'{call.key}'" for call in calls)
    ledger._connection.execute(f"UPDATE calls SET created = '{day} 12:00:00' WHERE key IN ({keys})")
    ledger._connection.commit()
    ledger.close()


def call(key: str, *, dataset: str = DATASET, model: str = "m", cost: float | None = 0.5) -> Call:
    """Return a call of ten tokens in and one out."""
    return Call(key=key, model=model, response="", tokens_in=10, tokens_out=1, dataset=dataset, cost_usd=cost)


def test_usage_is_what_the_calls_took(factory: Factory) -> None:
    """Calls, tokens and money of a run are those of its report, on today's line of its dataset."""
    report = factory.generate(examples=6, kinds="grounded")
    shown = usage(factory)
    [line] = shown.usage
    assert line.day == datetime.datetime.now(datetime.UTC).date().isoformat()
    assert (line.dataset, line.model, line.calls) == (DATASET, "fake-model", report.calls.sent)
    assert (shown.tokens_in, shown.tokens_out) == (report.calls.tokens_in, report.calls.tokens_out)
    assert shown.cost_usd == pytest.approx(report.calls.cost_usd)
    assert shown.unpriced_calls == 0


def test_usage_is_summed_by_day_dataset_and_model(factory: Factory) -> None:
    """Each has its line, the newest day first, and the totals are the sums of the lines."""
    stored(factory, [call("a"), call("b"), call("c", dataset="other")], day="2025-01-01")
    stored(factory, [call("d", model="n"), call("e", cost=None)], day="2025-01-03")
    shown = usage(factory)
    assert [(line.day, line.dataset, line.model, line.calls, line.cost_usd) for line in shown.usage] == [
        ("2025-01-03", "club", "m", 1, None),
        ("2025-01-03", "club", "n", 1, 0.5),
        ("2025-01-01", "club", "m", 2, 1.0),
        ("2025-01-01", "other", "m", 1, 0.5),
    ]
    assert (shown.calls, shown.tokens_in, shown.tokens_out) == (5, 50, 5)
    assert (shown.cost_usd, shown.unpriced_calls) == (2.0, 1)


@pytest.mark.parametrize(
    ("params", "calls"), [({"dataset": "other"}, 1), ({"dataset": "gone"}, 0), ({"days": 1}, 2), ({"days": 2}, 5)]
)
def test_usage_of_a_part(factory: Factory, params: dict[str, object], calls: int) -> None:
    """Of one dataset alone, or of the newest days that had any call."""
    stored(factory, [call("a"), call("b"), call("c", dataset="other")], day="2025-01-01")
    stored(factory, [call("d", model="n"), call("e")], day="2025-01-03")
    shown = usage(factory, **params)
    assert shown.calls == sum(line.calls for line in shown.usage) == calls


def test_usage_without_calls(factory: Factory) -> None:
    """Nothing was used, and looking makes no ledger."""
    assert usage(factory) == UsageReport(usage=[], calls=0, tokens_in=0, tokens_out=0, cost_usd=0.0, unpriced_calls=0)
    assert not (factory.root / "calls.sqlite").exists()


def test_records_are_read_as_they_were_written(factory: Factory) -> None:
    """Examples with their calls and attributes come back from the file to the letter."""
    factory.generate(examples=3)
    again = factory.folder() / "again.jsonl"
    write_records(again, factory.examples())
    assert list(read_records(again, Example)) == factory.examples()
