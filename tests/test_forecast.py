"""The pilot and its forecast: what it costs, what is approved, and what is used of it again."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.dataset.generate import GENERATE_DATASET, PILOT, PLAN_DATASET
from pipelines.dataset.writing.collect import Collector
from pipelines.dataset.writing.forecast import Forecast, Range, forecast_of, plan_of, read_forecast, write_forecast
from pipelines.errors import ApprovalRequired, DataError
from pipelines.models.ledger import Call, CallCounts, Ledger
from pipelines.operation import Plan
from pipelines.records import Example, ExampleKind, Rejection
from pipelines.settings import Endpoint
from tests.conftest import Recorder
from tests.fake_openai import FakeOpenAI
from tests.rule_teacher import (
    Factory,
    RuleTeacher,
    generate_params,
    house,
    make_factory,
    use_teacher,
    write_collection,
)

WANTED = 40
FORECAST = Forecast(
    examples=100,
    pilot_kept=12,
    pilot_calls=20,
    share_kept=Range(low=0.5, high=0.75),
    calls=Range(low=150, high=200),
    tokens=Range(low=10_000, high=20_000),
    cost_usd=Range(low=1, high=2),
    minutes=Range(low=3, high=4),
)


@pytest.fixture
def factory(tmp_path: Path, recorder: Recorder, fake_openai: FakeOpenAI, monkeypatch: pytest.MonkeyPatch) -> Factory:
    """A workspace with fifteen passages, and a teacher that answers by rule and for money."""
    made = make_factory(tmp_path, recorder, fake_openai, monkeypatch, passages=15)
    use_teacher(monkeypatch, fake_openai.url, input_price=10, output_price=100)
    return made


def is_forecast(plan: Plan) -> bool:
    """Whether a plan rests on a pilot."""
    return any("the pilot kept" in step for step in plan.steps)


# ---- a plan that was made first


def test_a_plan_is_made_of_a_pilot(factory: Factory) -> None:
    """A dozen examples are written and shown, and nothing of the dataset is made yet."""
    report = factory.plan(examples=WANTED, kinds="grounded")
    assert (report.requested, report.forecast.pilot_kept, report.forecast.examples) == (WANTED, PILOT, WANTED)
    assert report.forecast.pilot_calls == len(factory.fake.requests) + 1
    assert len(report.samples) == 3
    assert not (factory.folder() / "examples.jsonl").exists()


def test_what_is_approved_is_the_forecast(factory: Factory) -> None:
    """After a plan, generation asks for approval once, with what the pilot showed, and sends no pilot again."""
    planned = factory.plan(examples=WANTED).forecast
    asked = len(factory.recorder.plans)
    report = factory.generate(examples=WANTED)
    [plan] = factory.recorder.plans[asked:]
    assert plan.minutes == (planned.minutes.low, planned.minutes.high)
    assert plan.calls == round((planned.calls.low + planned.calls.high) / 2)
    assert planned.cost_usd is not None
    assert plan.cost_usd == pytest.approx((planned.cost_usd.low + planned.cost_usd.high) / 2)
    assert any(f"the pilot kept {PILOT} examples" in step for step in plan.steps)
    sent = Counter(json.dumps(each.json, sort_keys=True) for each in factory.fake.requests)
    assert (report.kept, set(sent.values())) == (WANTED, {1})


def test_the_forecast_comes_true(factory: Factory) -> None:
    """The whole dataset takes about as many calls, tokens and dollars as was said, for a steady teacher."""
    forecast = factory.plan(examples=WANTED, kinds="grounded").forecast
    factory.generate(examples=WANTED, kinds="grounded")
    examples = factory.examples()
    needed = len({key for example in examples for key in example.calls})
    assert forecast.calls.low * 0.8 <= needed <= forecast.calls.high * 1.2
    assert forecast.cost_usd is not None
    each = (100 * 10 + 20 * 100) / 1e6
    assert forecast.cost_usd.low * 0.8 <= needed * each <= forecast.cost_usd.high * 1.2


def test_a_forecast_is_told_for_the_number_of_examples(factory: Factory) -> None:
    """A plan for forty is not approved for four hundred: it is told for as many as are asked for."""
    forecast = factory.plan(examples=WANTED).forecast
    assert GENERATE_DATASET.plan is not None
    plan = GENERATE_DATASET.plan(generate_params(examples=10 * WANTED), factory.open())
    assert plan.title == f"Write {10 * WANTED} examples about the collection house"
    assert plan.calls == pytest.approx(5 * (forecast.calls.low + forecast.calls.high), rel=0.01)


def test_a_forecast_of_other_documents_does_not_count(factory: Factory) -> None:
    """Where documents, kinds or the seed have changed, there is a new pilot."""
    factory.plan(examples=WANTED)
    assert GENERATE_DATASET.plan is not None
    context = factory.open()
    assert is_forecast(GENERATE_DATASET.plan(generate_params(examples=WANTED), context))
    for plan in (
        GENERATE_DATASET.plan(generate_params(examples=WANTED, kinds="grounded"), context),
        GENERATE_DATASET.plan(generate_params(examples=WANTED), factory.open(seed=1)),
    ):
        assert not is_forecast(plan)
    path = context.workspace.chunks("house")
    path.write_text(path.read_text(encoding="utf-8").replace("brass", "bronze"), encoding="utf-8")
    assert not is_forecast(GENERATE_DATASET.plan(generate_params(examples=WANTED), context))


# ---- generation without a plan


def test_a_large_dataset_is_approved_twice(factory: Factory) -> None:
    """First the pilot, whose plan says that it is a guess; then what the pilot showed."""
    report = factory.generate(examples=WANTED)
    first, second = factory.recorder.plans
    assert any("a pilot of a few examples comes first" in step for step in first.steps)
    assert first.cost_usd == pytest.approx(first.calls * (900 * 10 + 250 * 100) / 1e6)
    assert not is_forecast(first)
    assert is_forecast(second)
    assert report.kept == WANTED


def test_a_small_dataset_is_approved_once(factory: Factory) -> None:
    """Where the pilot would be half of it, there is none."""
    factory.generate(examples=2 * PILOT)
    assert len(factory.recorder.plans) == 1


def test_a_refused_forecast_keeps_what_was_paid(factory: Factory) -> None:
    """Approval is needed, nothing of the dataset is made, and agreeing later asks nothing again."""

    class Hesitant(Recorder):
        def confirm(self, plan: Plan) -> bool:
            super().confirm(plan)
            return len(self.plans) == 1

    agreeing, factory.recorder = factory.recorder, Hesitant()
    with pytest.raises(ApprovalRequired, match="the rest of the dataset was not approved") as caught:
        factory.generate(examples=WANTED)
    assert caught.value.exit_code == 6
    assert "does not ask them again" in caught.value.hint
    assert not (factory.folder() / "examples.jsonl").exists()
    paid = {json.dumps(sent.json, sort_keys=True) for sent in factory.fake.requests}
    count = len(factory.fake.requests)
    factory.recorder = agreeing
    report = factory.generate(examples=WANTED)
    assert len(agreeing.plans) == 1
    assert report.kept == WANTED
    later = {json.dumps(sent.json, sort_keys=True) for sent in factory.fake.requests[count:]}
    assert not paid & later


def test_a_refused_plan_sends_nothing(factory: Factory) -> None:
    """The pilot itself is only sent when somebody agrees to it."""
    factory.recorder.agrees = False
    with pytest.raises(ApprovalRequired):
        factory.plan(examples=WANTED)
    [plan] = factory.recorder.plans
    assert plan.title.startswith(f"Write {PILOT} examples")
    assert not factory.fake.requests


def test_a_plan_about_nothing_makes_nothing(factory: Factory) -> None:
    """A collection that is not there leaves no folder behind."""
    with pytest.raises(DataError, match="no collection 'gone'"):
        PLAN_DATASET.start(generate_params(collection="gone"), factory.open())
    assert not factory.folder().exists()


def test_a_pilot_with_a_low_yield_says_so(factory: Factory) -> None:
    """Where half is rejected, the share that is kept is told, and the calls are that many more."""
    good = factory.plan(examples=WANTED, kinds="grounded").forecast
    rule = RuleTeacher()

    def half(sent: object) -> object:
        answers = rule._proved_answers(sent)  # type: ignore[arg-type]
        assert isinstance(answers, dict)
        wrong = ["The house was sold last year."]
        return {"answers": [{**a, "quotes": a["quotes"] if a["number"] == 1 else wrong} for a in answers["answers"]]}

    factory.teacher.instead["ProvedAnswers"] = half
    bad = Factory(**{**vars(factory), "root": factory.root / "two"})
    write_collection(bad.root, house(15))
    forecast = bad.plan(examples=WANTED, kinds="grounded").forecast
    assert good.share_kept.low == 1
    assert 0.2 < forecast.share_kept.low <= forecast.share_kept.high < 0.7
    assert forecast.calls.low > 1.5 * good.calls.high


# ---- the forecast itself


def collected(tasks: list[tuple[int, int]], ledger: Ledger, *, seconds: float = 0.0) -> Collector:
    """Return what a pilot collected: for each task, how many were kept and how many rejected."""
    a_call: dict[str, Any] = {
        "model": "m",
        "response": "",
        "tokens_in": 90,
        "tokens_out": 10,
        "cost_usd": 0.01,
        "seconds": seconds,
    }
    counts = CallCounts(sent=2 * len(tasks))
    collector = Collector(10_000, questions=_NoFilter(), checks=(), counts=counts, show=lambda *told: None)
    for number, (kept, rejected) in enumerate(tasks):
        calls = (f"{number}-asking", f"{number}-answering")
        ledger.store(Call(**a_call, key=key) for key in calls)
        for each in range(kept):
            collector.offer(_example(f"{number}-{each}", calls))
        for _ in range(rejected):
            collector.offer(Rejection(check="quote", reason="no", text="?", calls=calls))
    return collector


class _NoFilter:
    def check_all(self, questions: object) -> list[None]:
        raise AssertionError(questions)


def _example(name: str, calls: tuple[str, ...]) -> Example:
    return Example(
        id=name, kind=ExampleKind.GROUNDED, question="Why?", answer="So.", calls=calls, teacher="m", prompt="p@1"
    )


@given(
    tasks=st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)).filter(any), min_size=1, max_size=12),
    wanted=st.integers(1, 100_000),
)
def test_ranges_are_ranges(tasks: list[tuple[int, int]], wanted: int, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Low is never above high, shares are shares, and a pilot without any example does not promise infinity."""
    ledger = Ledger(tmp_path_factory.mktemp("forecast") / "calls.sqlite")
    forecast = forecast_of(collected(tasks, ledger), ledger, wanted=wanted, seconds=6.0, seed=0)
    ledger.close()
    assert forecast.cost_usd is not None
    for each in (forecast.share_kept, forecast.calls, forecast.tokens, forecast.cost_usd, forecast.minutes):
        assert 0 <= each.low <= each.high < 1e9
    assert forecast.share_kept.high <= 1


def test_a_steady_pilot_leaves_no_doubt(tmp_path: Path) -> None:
    """Where every task kept two of three with two calls, the forecast is a simple sum."""
    ledger = Ledger(tmp_path / "calls.sqlite")
    forecast = forecast_of(collected([(2, 1)] * 6, ledger), ledger, wanted=120, seconds=60.0, seed=0)
    ledger.close()
    assert forecast.share_kept == Range(low=0.6667, high=0.6667)
    assert forecast.calls == Range(low=120, high=120)
    assert forecast.tokens == Range(low=12_000, high=12_000)
    assert forecast.cost_usd == Range(low=1.2, high=1.2)
    assert forecast.minutes == Range(low=10, high=10)


def test_a_pilot_from_the_ledger_takes_no_less_time(tmp_path: Path) -> None:
    """Answers that were there already say nothing of the pace; how long they took then does."""
    ledger = Ledger(tmp_path / "calls.sqlite")
    pilot = collected([(1, 0)] * 32, ledger, seconds=3.0)
    forecast = forecast_of(pilot, ledger, wanted=320, seconds=0.5, seed=0)
    ledger.close()
    assert forecast.minutes == Range(low=1, high=1)  # 640 calls of 3 s, 32 side by side


def test_a_pilot_of_nothing_is_no_pilot(tmp_path: Path) -> None:
    """Without anything written there is nothing to tell, and the error says what to do."""
    ledger = Ledger(tmp_path / "calls.sqlite")
    with pytest.raises(DataError, match="the pilot wrote nothing") as caught:
        forecast_of(collected([], ledger), ledger, wanted=9, seconds=1.0, seed=0)
    ledger.close()
    assert caught.value.hint


def test_a_forecast_is_stored_with_what_it_is_for(tmp_path: Path) -> None:
    """It is read back for the same inputs, scaled to the examples wanted, and for no others."""
    write_forecast(tmp_path, {"seed": 0, "params": {"kinds": "grounded"}}, FORECAST)
    inputs = {"seed": 0, "params": {"kinds": "grounded"}}
    assert read_forecast(tmp_path, inputs, wanted=100) == FORECAST
    scaled = read_forecast(tmp_path, inputs, wanted=50)
    assert scaled is not None
    assert (scaled.examples, scaled.calls, scaled.minutes) == (50, Range(low=75, high=100), Range(low=1.5, high=2))
    assert (scaled.share_kept, scaled.pilot_kept) == (FORECAST.share_kept, 12)
    assert read_forecast(tmp_path, {**inputs, "seed": 1}, wanted=100) is None


@pytest.mark.parametrize("text", ["", "{", "[]", '{"inputs": {}}', '{"inputs": {}, "forecast": {"calls": 3}}'])
def test_a_broken_forecast_is_none(tmp_path: Path, text: str) -> None:
    """A file that was cut or comes from another version costs a pilot, and nothing else."""
    (tmp_path / "plan.json").write_text(text, encoding="utf-8")
    assert read_forecast(tmp_path, {}, wanted=9) is None


def test_the_plan_says_what_it_rests_on() -> None:
    """Embedded, guessed or forecast: steps, minutes, calls and money are those of each."""
    endpoint = Endpoint(url="http://teacher.test/v1", model="big")
    embedded = plan_of(None, about="bees", base="small", wanted=60, forecast=None)
    guessed = plan_of(endpoint, about="bees", base="small", wanted=60, forecast=None)
    known = plan_of(endpoint, about="bees", base="small", wanted=100, forecast=FORECAST)
    assert (embedded.calls, embedded.cost_usd) == (0, 0.0)
    assert "small" in embedded.steps[0]
    assert (guessed.calls, guessed.cost_usd) == (78, None)
    assert (known.calls, known.cost_usd, known.minutes) == (175, 1.5, (3, 4))
    assert "150 to 200 calls and $1.00 to $2.00" in known.steps[1]
    listed = Endpoint(url="https://api.openai.com/v1", model="gpt-4o-mini")
    guessed_cost = plan_of(listed, about="bees", base="small", wanted=60, forecast=None).cost_usd
    assert guessed_cost is not None
    assert 0.001 < guessed_cost < 1
    unpriced = FORECAST.model_copy(update={"cost_usd": None})
    assert "$" not in plan_of(endpoint, about="bees", base="small", wanted=100, forecast=unpriced).steps[1]
