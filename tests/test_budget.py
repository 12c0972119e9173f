"""Caps on calls, money and time: none is ever passed, and what is left can be used."""

from __future__ import annotations

import threading
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.errors import BudgetError
from pipelines.models import budget as budget_module
from pipelines.models.budget import Budget

STEPS = st.lists(st.tuples(st.sampled_from(["reserve", "settle", "give_back"]), st.floats(0, 1), st.floats(0, 1)))


@given(STEPS, st.integers(0, 8), st.floats(0, 3))
def test_no_cap_is_passed(steps: list[tuple[str, float, float]], max_calls: int, max_cost: float) -> None:
    """Whatever is reserved, settled for less or given back: calls and money stay below their caps."""
    budget = Budget(max_calls=max_calls, max_cost_usd=max_cost)
    open_calls: list[float] = []
    calls, spent = 0, 0.0
    for kind, amount, share in steps:
        if kind == "reserve":
            fits = calls + len(open_calls) < max_calls and spent + sum(open_calls) + amount <= max_cost - 1e-9
            try:
                budget.reserve(amount)
                open_calls.append(amount)
            except BudgetError as error:
                assert not fits
                assert error.hint
        elif open_calls and kind == "settle":
            reserved = open_calls.pop()
            budget.settle(reserved, reserved * share)
            calls, spent = calls + 1, spent + reserved * share
        elif open_calls:
            budget.give_back(open_calls.pop())
        assert budget.calls == calls + len(open_calls) <= max_calls
        assert budget.cost_usd == pytest.approx(spent)
        assert spent + sum(open_calls) <= max_cost + 1e-9


@given(st.floats(0.01, 2), st.floats(0.01, 2), st.lists(st.floats(0.01, 1), max_size=5))
def test_who_has_to_wait_can_pay_later(max_cost: float, wanted: float, under_way: list[float]) -> None:
    """A call has to wait just where it fits beside what was spent, but not beside what is set aside."""
    budget = Budget(max_cost_usd=max_cost)
    reserved = []
    for amount in under_way:
        if sum(reserved) + amount <= max_cost - 1e-9:
            budget.reserve(amount)
            reserved.append(amount)
    if not budget.has_to_wait(wanted):
        if wanted <= max_cost:
            budget.reserve(wanted)
        return
    for amount in reserved:
        budget.settle(amount, 0.0)
    budget.reserve(wanted - 1e-9)


def test_without_caps_nothing_is_refused() -> None:
    """A budget without caps only counts."""
    budget = Budget()
    assert not budget.has_to_wait(1e9)
    for _ in range(3):
        budget.reserve(None)
    budget.settle(None, None)
    budget.give_back(None)
    assert (budget.calls, budget.cost_usd, budget.left_s()) == (2, 0.0, None)


@pytest.mark.parametrize(
    ("budget", "problem"),
    [
        (Budget(max_calls=0), "the cap of 0 calls is reached"),
        (Budget(max_cost_usd=0.0), r"could pass the cap of \$0.00; \$0.0000 are spent"),
        (Budget(max_minutes=0.0), "the cap of 0 minutes is reached"),
    ],
)
def test_a_budget_of_nothing_allows_nothing(budget: Budget, problem: str) -> None:
    """The error names the cap, and its hint says that what was paid for is kept and how to go on."""
    with pytest.raises(BudgetError, match=problem) as caught:
        budget.reserve(0.01)
    assert "higher cap" in caught.value.hint
    assert "kept" in caught.value.hint
    assert caught.value.exit_code == 5


def test_a_model_that_costs_nothing_has_no_cap_on_cost() -> None:
    """A cap of nothing lets a free model work."""
    Budget(max_cost_usd=0.0).reserve(0.0)


def test_a_cap_on_cost_needs_a_price() -> None:
    """What cannot be kept to is refused at once, with what to do instead."""
    with pytest.raises(BudgetError, match="price of this model is not known") as caught:
        Budget(max_cost_usd=9.0).reserve(None)
    assert "--max-calls" in caught.value.hint
    assert "teacher_input_price" in caught.value.hint


def test_time_is_over(monkeypatch: pytest.MonkeyPatch) -> None:
    """After its minutes a budget allows nothing, and never has less than none left."""
    budget = Budget(max_minutes=2, _started=1_000)
    monkeypatch.setattr(budget_module, "time", SimpleNamespace(monotonic=lambda: 1_119))
    assert budget.left_s() == 1
    budget.reserve(1.0)
    monkeypatch.setattr(budget_module, "time", SimpleNamespace(monotonic=lambda: 1_121))
    assert budget.left_s() == 0
    with pytest.raises(BudgetError, match="the cap of 2 minutes"):
        budget.reserve(1.0)


def test_the_time_of_an_approval_does_not_count(monkeypatch: pytest.MonkeyPatch) -> None:
    """A person who takes an hour to agree does not use up the minutes of the run."""
    clock = [1_000.0]
    monkeypatch.setattr(budget_module, "time", SimpleNamespace(monotonic=lambda: clock[0]))
    budget = Budget(max_minutes=2, _started=1_000)
    clock[0] += 30
    with budget.paused():
        clock[0] += 3_600
    assert budget.left_s() == 90


def test_threads_together_pass_no_cap() -> None:
    """Many threads that reserve at once get exactly what there is."""
    budget = Budget(max_calls=100, max_cost_usd=1e9)
    refused = []

    def reserve() -> None:
        for _ in range(50):
            try:
                budget.reserve(1.0)
            except BudgetError:
                refused.append(1)

    threads = [threading.Thread(target=reserve) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert budget.calls == 100
    assert len(refused) == 300
