"""What may be spent: caps that hold, a teacher that stays on this machine, and a disk that fills."""

from __future__ import annotations

import errno
import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from assistant.cli.app import run
from pipelines.build import BUILD_BOT, BuildParams
from pipelines.dataset.augment import AUGMENT_DATASET, AugmentParams
from pipelines.dataset.generate import PILOT
from pipelines.errors import BudgetError, DataError, SettingsError
from tests.conftest import Recorder
from tests.fake_openai import FakeOpenAI
from tests.rule_teacher import COLLECTION, DATASET, Factory, make_factory, use_teacher

PRICES = {"input_price": 1000.0, "output_price": 1000.0}  # dollars per million tokens: a call is 12 cents
CAPS: list[tuple[dict[str, float], str]] = [
    ({"max_calls": 0}, "the cap of 0 calls is reached"),
    ({"max_cost": 0}, r"could pass the cap of \$0.00"),
    ({"max_minutes": 0}, "the cap of 0 minutes is reached"),
]


@pytest.fixture
def factory(tmp_path: Path, recorder: Recorder, fake_openai: FakeOpenAI, monkeypatch: pytest.MonkeyPatch) -> Factory:
    """A workspace with twelve passages, and a teacher that answers by rule and for money."""
    made = make_factory(tmp_path / "place", recorder, fake_openai, monkeypatch)
    use_teacher(monkeypatch, fake_openai.url, **PRICES)
    return made


def sent_to(factory: Factory) -> Counter[str]:
    """Return how often each call was sent."""
    return Counter(json.dumps(sent.json, sort_keys=True) for sent in factory.fake.requests)


# ---- a budget of nothing


@pytest.mark.parametrize(("caps", "message"), CAPS, ids=["calls", "cost", "minutes"])
@pytest.mark.parametrize("examples", [5, PILOT * 3])
def test_a_budget_of_nothing_sends_nothing(
    factory: Factory, caps: dict[str, float], message: str, examples: int
) -> None:
    """The run ends with the cap that was reached, how many are kept, and how to go on."""
    with pytest.raises(BudgetError, match=rf"{message}.*\(0 of \d+ examples are kept\)") as caught:
        factory.generate(examples=examples, **caps)
    assert "higher cap" in caught.value.hint
    assert caught.value.exit_code == 5
    assert not factory.fake.requests
    assert factory.examples() == []


def test_a_budget_of_nothing_on_the_command_line(
    factory: Factory, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Exit code 5, and one object for programs."""
    monkeypatch.chdir(factory.root)
    command = ["data", "generate", DATASET, "--collection", COLLECTION, "--max-calls", "0", "--yes", "--json"]
    assert run(command) == 5
    error = json.loads(capsys.readouterr().out)["error"]
    assert error["type"] == "BudgetError"
    assert "the cap of 0 calls" in error["message"]
    assert "higher cap" in error["hint"]


def test_a_cap_on_cost_needs_a_price(factory: Factory, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the price of the model is not known, nothing is sent, and the hint says what to set."""
    for name in ("INPUT", "OUTPUT"):
        monkeypatch.delenv(f"ASSISTANT_TEACHER_{name}_PRICE")
    use_teacher(monkeypatch, "http://teacher.test/v1", model="a-model-nobody-sells")
    with pytest.raises(BudgetError, match="the price of this model is not known") as caught:
        factory.generate(examples=5, max_cost=1)
    assert "teacher_input_price" in caught.value.hint


@pytest.mark.parametrize(("caps", "message"), CAPS[:1] + CAPS[2:], ids=["calls", "minutes"])
def test_augmentation_with_a_budget_of_nothing(factory: Factory, caps: dict[str, float], message: str) -> None:
    """What there was is in the new dataset, and nothing besides."""
    factory.generate(examples=3)
    sent = len(factory.fake.requests)
    params = AugmentParams.model_validate({"dataset": DATASET, "into": "more", "examples": 5, **caps})
    with pytest.raises(BudgetError, match=rf"{message}.*\(0 of 5 new examples are kept\)"):
        AUGMENT_DATASET.start(params, factory.open())
    assert len(factory.fake.requests) == sent
    assert factory.examples("more") == factory.examples()


# ---- caps that are reached on the way


@pytest.mark.parametrize("cap", [3, 9, 12, 20, 33])
@pytest.mark.parametrize("examples", [20, 30])
def test_a_cap_on_calls_is_never_passed(factory: Factory, cap: int, examples: int) -> None:
    """Not by the pilot and the rest together either, and the calls are spent on whole examples."""
    try:
        kept = factory.generate(examples=examples, kinds="grounded", max_calls=cap).kept
    except BudgetError:
        kept = len(factory.examples())
    assert len(factory.fake.requests) + 1 <= cap  # and the probe
    # Each two calls after the probe make three examples, but for one task that may be left half done.
    assert kept >= min(PILOT if examples > 2 * PILOT else examples, 3 * ((cap - 1) // 2 - 1))


def test_a_cap_on_cost_is_never_passed(factory: Factory) -> None:
    """What was set aside for calls under way is waited for; what they cost is what counts."""
    with pytest.raises(BudgetError, match=r"could pass the cap of \$3\.00"):
        factory.generate(examples=100, kinds="grounded", max_cost=3)
    spent = sum(line.cost_usd for line in factory.open().models.ledger.usage())
    assert 1 < spent <= 3
    assert factory.examples()


def test_going_on_with_a_higher_cap(factory: Factory) -> None:
    """What was kept is on the disk; more money continues from there, and nothing is paid for twice."""
    with pytest.raises(BudgetError, match=r"\(\d+ of \d+ examples are kept\)"):
        factory.generate(examples=30, max_calls=9)
    kept = factory.examples()
    assert kept
    report = factory.generate(examples=30)
    assert factory.examples()[: len(kept)] == kept
    assert (report.kept, set(sent_to(factory).values())) == (30, {1})


def test_a_stopped_run_leaves_a_larger_dataset_alone(factory: Factory) -> None:
    """Where fewer are kept than there are on the disk, what is on the disk stays."""
    factory.generate(examples=9, kinds="grounded")
    before = factory.examples()
    with pytest.raises(BudgetError):
        factory.generate(examples=9, kinds="false_premise", max_calls=4)
    assert factory.examples() == before
    assert any("already written" in notice for notice in _again(factory, examples=9, kinds="grounded"))


def _again(factory: Factory, **params: Any) -> list[str]:
    factory.generate(**params)
    return factory.notices()


def test_a_chatbot_is_built_within_one_cap(factory: Factory) -> None:
    """The notes on a topic and the examples about them are paid for from the same budget."""
    params = BuildParams(name="bees", topic="The things of an old house", examples=30, max_calls=12)
    with pytest.raises(BudgetError, match="the cap of 12 calls is reached"):
        BUILD_BOT.start(params, factory.open())
    assert factory.teacher.calls("Notes")
    assert factory.teacher.calls("Questions")
    assert len(factory.fake.requests) + 1 <= 12


# ---- on this machine only


@pytest.mark.parametrize(
    "url", ["http://teacher.test/v1", "https://192.168.1.7:8000/v1", "http://127.0.0.1.teacher.test/v1"]
)
def test_a_remote_teacher_is_refused_where_only_a_local_one_may_be_used(
    factory: Factory, monkeypatch: pytest.MonkeyPatch, url: str
) -> None:
    """With --local-only nothing leaves this machine: the address is refused before anything is sent or made."""
    use_teacher(monkeypatch, url)
    params = AugmentParams(dataset=DATASET, into="more", local_only=True)
    build = BuildParams(name="bees", topic="bees", local_only=True)
    for work in (
        lambda: factory.generate(local_only=True),
        lambda: factory.plan(local_only=True),
        lambda: AUGMENT_DATASET.start(params, factory.open()),
        lambda: BUILD_BOT.start(build, factory.open()),
    ):
        with pytest.raises(SettingsError, match="not on this machine") as caught:
            work()
        assert url in str(caught.value)
        assert "ASSISTANT_TEACHER_URL" in caught.value.hint
    assert not factory.folder().exists()


def test_a_local_teacher_may_be_used(factory: Factory) -> None:
    """An address of this machine is local."""
    assert factory.generate(examples=2, local_only=True).kept == 2


# ---- a disk that fills


def test_a_full_disk_under_the_ledger_loses_nothing(factory: Factory) -> None:
    """Where an answer cannot be stored the run ends and says what to do; what was stored is not asked again."""
    context = factory.open()
    [pages] = context.models.ledger._connection.execute("PRAGMA page_count").fetchone()
    context.models.ledger._connection.execute(f"PRAGMA max_page_count = {pages + 6}")
    full = Factory(**{**vars(factory)})
    full.open = lambda seed=0: context  # type: ignore[method-assign]
    with pytest.raises(DataError, match=r"answers cannot be stored.*: database or disk is full") as caught:
        full.generate(examples=12)
    assert "Free some disk space" in caught.value.hint
    stored = [call.key for call in _stored(factory)]
    assert stored
    report = factory.generate(examples=12)
    assert report.kept == 12
    assert report.calls.cached >= len(stored) - 1  # and the probe


def _stored(factory: Factory) -> list[Any]:
    ledger = factory.open().models.ledger
    keys = [row[0] for row in ledger._connection.execute("SELECT key FROM calls")]
    return list(ledger.find(keys).values())


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full")
def test_a_full_disk_under_the_dataset_loses_nothing(
    factory: Factory, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Where the examples cannot be written, a second run writes them and sends nothing."""
    factory.folder().mkdir(parents=True)
    (factory.folder() / "examples.jsonl.partial").symlink_to("/dev/full")
    monkeypatch.chdir(factory.root)
    command = ["data", "generate", DATASET, "--collection", COLLECTION, "--examples", "4", "--yes", "--json"]
    assert run(command) == 1
    error = json.loads(capsys.readouterr().out)["error"]
    assert error["message"].startswith("No space left on device")
    assert "Free some disk space" in error["hint"]
    assert not (factory.folder() / "examples.jsonl").exists()
    sent = len(factory.fake.requests)
    assert factory.generate(examples=4).kept == 4
    assert len(factory.fake.requests) == sent


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full")
def test_a_full_disk_under_the_splits_keeps_the_old_ones(factory: Factory) -> None:
    """Where curation cannot write, the examples are untouched, and it can be done again."""
    factory.generate(examples=24)
    before = (factory.folder() / "examples.jsonl").read_bytes()
    (factory.folder() / "test.jsonl.partial").symlink_to("/dev/full")
    with pytest.raises(OSError, match="No space left") as caught:
        factory.curate()
    assert caught.value.errno == errno.ENOSPC
    assert (factory.folder() / "examples.jsonl").read_bytes() == before
    assert factory.curate().leaks == 0
