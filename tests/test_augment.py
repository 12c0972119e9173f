"""Datasets made larger: other words, other questions, other answers, in a dataset of their own."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from pipelines.dataset.augment import AUGMENT_DATASET, WAYS, AugmentParams, augment_ways
from pipelines.dataset.curate import CURATE_DATASET, CurateParams
from pipelines.dataset.files import split_file
from pipelines.dataset.generate import GenerateReport
from pipelines.errors import ApprovalRequired, DataError, LLMOutputError, SettingsError
from pipelines.records import SPLITS, Example, Rejection, read_records
from tests.conftest import Recorder
from tests.fake_openai import FakeOpenAI
from tests.rule_teacher import DATASET, Factory, make_factory, use_teacher

INTO = "more"


@pytest.fixture
def factory(tmp_path: Path, recorder: Recorder, fake_openai: FakeOpenAI, monkeypatch: pytest.MonkeyPatch) -> Factory:
    """A workspace with a dataset of eighteen examples, and a teacher that answers by rule."""
    made = make_factory(tmp_path, recorder, fake_openai, monkeypatch, passages=18)
    made.generate(examples=18, kinds="grounded")
    recorder.plans.clear()
    return made


def augment(factory: Factory, **params: Any) -> GenerateReport:
    """Augment as every surface does."""
    values = {"dataset": DATASET, "into": INTO, **params}
    return AUGMENT_DATASET.start(AugmentParams.model_validate(values), factory.open())


def children(factory: Factory) -> list[Example]:
    """Return the examples that were made of others."""
    return [example for example in factory.examples(INTO) if example.parents]


@pytest.mark.parametrize("way", WAYS)
def test_each_way_makes_children_of_their_parents(factory: Factory, way: str) -> None:
    """A child names its parent, rests on the same passages, and its quotes are proved by them."""
    before = factory.examples()
    report = augment(factory, examples=6, ways=way)
    assert (report.dataset, report.kept, len(children(factory))) == (INTO, 6, 6)
    parents = {example.id: example for example in before}
    for child in children(factory):
        [parent] = child.parents
        assert set(child.sources) == set(parents[parent].sources)
        assert child.quotes
        assert child.id not in parents
        assert (child.question, child.answer) != (parents[parent].question, parents[parent].answer)
        assert child.calls
    if way == "answer":
        assert {child.question for child in children(factory)} <= {parent.question for parent in before}
    else:
        assert not {child.question for child in children(factory)} & {parent.question for parent in before}


def test_the_old_dataset_is_left_alone(factory: Factory) -> None:
    """The new dataset holds the old examples and the new ones; the old one is as it was."""
    files = {path.name: path.read_bytes() for path in factory.folder().glob("*.json*")}
    augment(factory, examples=5)
    assert {path.name: path.read_bytes() for path in factory.folder().glob("*.json*")} == files
    assert factory.examples(INTO)[:18] == factory.examples()
    assert len(factory.examples(INTO)) == 23


def test_augmenting_again_sends_nothing(factory: Factory) -> None:
    """The same command gives the same report; with more examples, only what is new is sent."""
    first = augment(factory, examples=5)
    sent = len(factory.fake.requests)
    assert augment(factory, examples=5) == first
    assert len(factory.fake.requests) == sent
    report = augment(factory, examples=12)
    bodies = Counter(json.dumps(each.json, sort_keys=True) for each in factory.fake.requests)
    assert (report.kept, set(bodies.values())) == (12, {1})
    assert len(factory.examples(INTO)) == 30


def test_what_is_no_new_wording_is_rejected(factory: Factory) -> None:
    """The parent's own words, another number, and a wording that another child has are dropped with their reasons."""
    said = iter(range(1_000))

    def wording(sent: object) -> object:
        number = next(said)
        if number % 2:
            return {"texts": ["Is it so that door 777777 of the old house is open at night?"]}
        return {"texts": ["Where are all those things of the old house kept in the end?"]}

    factory.teacher.instead["Rephrasings"] = wording
    with pytest.raises((LLMOutputError, DataError)):
        augment(factory, examples=3, ways="paraphrase")
    reasons = Counter(each.check for each in read_records(factory.folder(INTO) / "rejected.jsonl", Rejection))
    assert reasons["meaning"] > 1


def test_splits_keep_children_with_their_parents(factory: Factory) -> None:
    """Curated, no child is in another split than its parent, no passage leaks, and none counts as a duplicate."""
    augment(factory, examples=18, ways="paraphrase, answer, deepen")
    report = CURATE_DATASET.start(CurateParams(dataset=INTO, unanswerable_share=0), factory.open())
    splits = {split: list(read_records(factory.folder(INTO) / split_file(split), Example)) for split in SPLITS}
    split_of = {example.id: split for split, examples in splits.items() for example in examples}
    grown = [example for examples in splits.values() for example in examples if example.parents]
    assert len(grown) == 18
    for child in grown:
        assert {split_of[parent] for parent in child.parents} == {split_of[child.id]}
    assert report.leaks == 0


def test_approval_is_asked_for(factory: Factory) -> None:
    """The plan says what is sent where; refused, nothing is."""
    factory.recorder.agrees = False
    sent = len(factory.fake.requests)
    with pytest.raises(ApprovalRequired):
        augment(factory, examples=10)
    [plan] = factory.recorder.plans
    assert plan.title == f"Make 10 more examples of {DATASET}"
    assert any("personal data masked, are sent to fake-model" in step for step in plan.steps)
    assert plan.calls == 15
    assert len(factory.fake.requests) == sent
    assert not factory.folder(INTO).exists()


def test_a_teacher_of_no_use_is_stopped_soon(factory: Factory) -> None:
    """After twenty calls that yield nothing the run ends with what the teacher said."""
    sent = len(factory.fake.requests)
    factory.teacher.instead["Rephrasings"] = lambda call: "I cannot do that."
    with pytest.raises(LLMOutputError, match="nothing of the first") as caught:
        augment(factory, examples=50, ways="paraphrase")
    assert len(factory.fake.requests) - sent < 150
    assert "I cannot do that." in caught.value.hint
    assert "(0 of 50 new examples are kept)" in str(caught.value)


@pytest.mark.parametrize(
    ("params", "error", "message"),
    [
        ({"dataset": "gone"}, DataError, "no dataset 'gone'; known: club"),
        ({"into": DATASET}, SettingsError, "needs a name of its own"),
        ({"ways": "rhyme"}, SettingsError, "'rhyme' is no way"),
        ({"ways": " , "}, SettingsError, "is no way"),
    ],
)
def test_what_cannot_be_augmented_is_refused(
    factory: Factory, params: dict[str, str], error: type[Exception], message: str
) -> None:
    """Before anything is sent or made."""
    sent = len(factory.fake.requests)
    with pytest.raises(error, match=message):
        augment(factory, **params)
    assert len(factory.fake.requests) == sent
    assert not factory.folder(INTO).exists()


def test_the_embedded_teacher_does_not_augment(factory: Factory, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a remote teacher the error says what to set."""
    for name in ("URL", "MODEL"):
        monkeypatch.delenv(f"ASSISTANT_TEACHER_{name}")
    with pytest.raises(SettingsError, match="needs a remote teacher") as caught:
        augment(factory)
    assert "ASSISTANT_TEACHER_URL" in caught.value.hint


def test_another_teacher_augments_anew(factory: Factory, monkeypatch: pytest.MonkeyPatch) -> None:
    """A dataset that one model augmented is not passed off as another's."""
    augment(factory, examples=2)
    use_teacher(monkeypatch, factory.fake.url, model="another-model")
    augment(factory, examples=2)
    assert {child.teacher for child in children(factory)} == {"another-model"}


def test_ways_are_read_in_order_once_each() -> None:
    """As they are given, without spaces."""
    assert augment_ways(" deepen, paraphrase ,deepen") == ("deepen", "paraphrase")
    assert augment_ways(", ".join(WAYS)) == WAYS
