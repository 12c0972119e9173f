"""Every kind of example, from the teacher through the checks and the splits to the exported files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from pipelines.dataset.curate import CurateReport
from pipelines.dataset.export import EXPORT_DATASET, ExportParams, ExportReport
from pipelines.errors import SettingsError
from pipelines.prompting import is_refusal
from pipelines.quotes import check_answer
from pipelines.records import Chunk, Example, ExampleKind, read_records
from tests.conftest import Recorder
from tests.fake_openai import FakeOpenAI, Recorded
from tests.rule_teacher import (
    DATASET,
    Factory,
    RuleTeacher,
    facts_in,
    house,
    make_factory,
    questions_in,
    write_collection,
)

EXAMPLES = 20


@pytest.fixture
def factory(tmp_path: Path, recorder: Recorder, fake_openai: FakeOpenAI, monkeypatch: pytest.MonkeyPatch) -> Factory:
    """A workspace with eighteen passages in six documents, and a teacher that answers by rule."""
    return make_factory(tmp_path, recorder, fake_openai, monkeypatch, passages=18)


def made(
    factory: Factory, kinds: str, *, examples: int = EXAMPLES, **params: Any
) -> tuple[CurateReport, list[Example]]:
    """Generate and curate; return what curation says, and what it kept."""
    report = factory.generate(examples=examples, kinds=kinds, **params)
    assert report.kept == examples
    curated = factory.curate()
    assert curated.leaks == 0
    return curated, factory.curated()


def export(factory: Factory, form: str) -> tuple[ExportReport, list[dict[str, Any]]]:
    """Export the dataset; return the report, and the rows of all JSONL files."""
    report = EXPORT_DATASET.start(ExportParams.model_validate({"dataset": DATASET, "format": form}), factory.open())
    lines = [
        line
        for path in sorted(Path(report.folder).rglob("*.jsonl"))
        for line in path.read_text(encoding="utf-8").splitlines()
    ]
    return report, [json.loads(line) for line in lines]


def chunks_of(factory: Factory) -> dict[str, Chunk]:
    """Return the passages of the dataset by id."""
    return {chunk.id: chunk for chunk in read_records(factory.folder() / "chunks.jsonl", Chunk)}


def test_the_default_kinds(factory: Factory) -> None:
    """Answers with quotes, and questions that the passage does not answer, in about the shares asked for."""
    factory.generate(examples=40)
    kinds = [example.kind for example in factory.examples()]
    assert set(kinds) == {ExampleKind.GROUNDED, ExampleKind.UNANSWERABLE}
    assert 2 <= kinds.count(ExampleKind.UNANSWERABLE) <= 16
    report = factory.curate(unanswerable_share=0.25)
    assert report.kinds["unanswerable"] == report.unanswerable >= kinds.count(ExampleKind.UNANSWERABLE)
    exported, rows = export(factory, "openai")
    assert sum(exported.rows.values()) == len(rows) == report.kept


def test_an_unanswerable_question_is_refused_with_its_own_passage(factory: Factory) -> None:
    """Its passage seems to answer, is shown, and the answer to be learnt is the refusal."""
    _report, examples = made(factory, "unanswerable")
    for example in examples:
        assert example.kind is ExampleKind.UNANSWERABLE
        assert set(example.sources) <= set(example.chunks)
        assert is_refusal(example.messages[-1].content)
        assert example.quotes == ()


def test_what_the_passage_does_answer_is_not_unanswerable(factory: Factory) -> None:
    """A question for which the passage holds a proof is never taught to be refused."""
    factory.teacher.instead["Questions"] = lambda sent: {
        "questions": [f"Is it so that {facts_in(sent)[0].rstrip('.')}?", *_unanswerable(sent)[:1]]
    }
    factory.generate(examples=8, kinds="unanswerable")
    refused = [example.question for example in factory.examples() if example.kind is ExampleKind.UNANSWERABLE]
    assert refused
    assert not [question for question in refused if question.startswith("Is it so")]
    for example in factory.examples():
        assert is_refusal(example.answer) is (example.quotes == ()) is (example.kind is ExampleKind.UNANSWERABLE)


def _unanswerable(sent: Recorded) -> list[str]:
    questions = RuleTeacher()._questions(sent)
    assert isinstance(questions, dict)
    return list(questions["questions"])


def test_a_false_premise_is_put_right_with_a_quote(factory: Factory) -> None:
    """The teacher is asked to correct, and what is learnt is the sentence that shows what is right."""
    _report, examples = made(factory, "false_premise")
    asked = factory.teacher.calls("ProvedAnswers")
    assert asked
    assert all("put right what questions wrongly suppose" in said for said in asked)
    own = [example for example in examples if example.kind is ExampleKind.FALSE_PREMISE]
    assert len(own) >= EXAMPLES - 4
    for example in own:
        assert example.question.startswith("Why is it wrong")
        assert example.quotes[0].quote in example.messages[-1].content


def test_a_premise_that_nothing_speaks_against_is_dropped(factory: Factory) -> None:
    """Where the passage does not show that the question is wrong, there is nothing to learn."""
    factory.teacher.instead["ProvedAnswers"] = lambda sent: {
        "answers": [
            {"number": number, "quotes": facts_in(sent)[:1] if number > 1 else [], "answer": "Indeed, it is not so."}
            for number in questions_in(sent)
        ]
    }
    report = factory.generate(examples=6, kinds="false_premise")
    assert report.rejected["unanswered"] >= 2


def test_two_passages_are_cited_in_one_conversation(factory: Factory) -> None:
    """A question that needs two passages is answered with a quote of each, each under its own number."""
    _report, examples = made(factory, "two_passages, grounded", examples=30)
    grounded = [example for example in examples if example.kind is ExampleKind.GROUNDED]
    both = [example for example in grounded if len(example.sources) == 2]
    assert len(both) >= 4
    chunks = chunks_of(factory)
    for example in both:
        shown = [chunks[each] for each in example.chunks]
        checked = check_answer(example.messages[-1].content, shown)
        assert (checked.quotes, checked.prose, checked.unproved) == (example.quotes, "", ())
        cited = [example.chunks[int(part[0]) - 1] for part in example.messages[-1].content.split(" [")[1:]]
        assert tuple(cited) == example.sources
        assert all("both passages together" in said for said in _askings(factory, both))


def _askings(factory: Factory, both: list[Example]) -> list[str]:
    ledger = factory.open().models.ledger
    first = [example.calls[0] for example in both]
    return [call.request for call in ledger.find(first).values()]


def test_instructions(factory: Factory) -> None:
    """A task is handed over with its passage, and exported in the form that knows inputs."""
    _report, examples = made(factory, "instruction")
    for example in examples:
        assert example.messages[-1].content == example.answer
        assert chunks_of(factory)[example.source].text in example.messages[-2].content
    _exported, rows = export(factory, "alpaca")
    assert len(rows) == len(examples)
    assert {row["output"] for row in rows} == {example.answer for example in examples}


def test_conversations(factory: Factory) -> None:
    """Several turns in order, which the formats of chats keep."""
    _report, examples = made(factory, "conversation")
    for example in examples:
        roles = [message.role for message in example.messages]
        assert len(roles) >= 4
        assert roles == ["user", "assistant"] * (len(roles) // 2)
    _exported, rows = export(factory, "sharegpt")
    assert sorted(len(row["conversations"]) for row in rows) == sorted(len(example.messages) for example in examples)


def test_classification(factory: Factory) -> None:
    """Texts keep the label that they were written for and were given again unseen."""
    _report, examples = made(factory, "classification", labels="praise, complaint")
    assert {example.label for example in examples} == {"praise", "complaint"}
    for example in examples:
        assert example.messages[-1].content == example.label == example.answer
    _exported, rows = export(factory, "openai")
    assert {row["messages"][-1]["content"] for row in rows} == {"praise", "complaint"}


def test_spans(factory: Factory) -> None:
    """Each labelled piece stands in its text where it is said to stand."""
    _report, examples = made(factory, "spans", labels="word")
    for example in examples:
        [span] = example.spans
        [told] = json.loads(example.answer)
        assert (example.question[span.start : span.end], span.label) == (told["text"], told["label"])


def test_preferences(factory: Factory) -> None:
    """A better and a worse answer, which the formats for preferences take."""
    _report, examples = made(factory, "preference", examples=10)
    for example in examples:
        assert example.kind is ExampleKind.PREFERENCE
        assert example.rejected not in ("", example.answer)
    _exported, rows = export(factory, "dpo")
    assert len(rows) == len(examples)


def test_all_kinds_in_one_dataset(factory: Factory) -> None:
    """Kinds do not get into each other's way: one dataset holds them all, in splits without leaks."""
    write_collection(factory.root, house(30))
    kinds = "grounded:2, two_passages, unanswerable, false_premise, instruction, conversation, classification, spans"
    report, _examples = made(factory, kinds, examples=60, labels="praise, complaint")
    assert report.kinds.keys() >= {"grounded", "unanswerable", "instruction", "conversation"}
    assert report.largest_similarity is not None
    assert report.largest_similarity.first != report.largest_similarity.second


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"kinds": "poem"}, "'poem' is no kind of example"),
        ({"kinds": "grounded:0"}, "no kind of example"),
        ({"kinds": " , "}, "no kind of example is asked for"),
        ({"kinds": "classification"}, "two labels or more"),
        ({"kinds": "classification", "labels": "praise, praise"}, "two labels or more"),
        ({"kinds": "grounded, spans"}, "spans need labels"),
    ],
)
def test_kinds_that_cannot_be_written_are_refused(factory: Factory, params: dict[str, str], message: str) -> None:
    """Before anything is sent or made, and with what would be right."""
    with pytest.raises(SettingsError, match=message) as caught:
        factory.generate(**params)
    assert caught.value.hint
    assert not factory.fake.requests
    assert not factory.folder().exists()
