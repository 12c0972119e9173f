"""What calls cost: the price that was set, the provider's list price, nothing, or unknown."""

from __future__ import annotations

import pytest

from pipelines.models.prices import Price, find_price
from pipelines.settings import Endpoint

OPENAI = "https://api.openai.com/v1"


def test_a_price_is_for_a_million_tokens() -> None:
    """Tokens sent and received each have their price."""
    assert Price(tokens_in=2.0, tokens_out=8.0).cost_usd(tokens_in=500_000, tokens_out=250_000) == pytest.approx(3.0)


@pytest.mark.parametrize("url", [OPENAI, "http://127.0.0.1:8000/v1", "https://models.example/v1"])
def test_a_price_that_was_set_wins(url: str) -> None:
    """What a person says of the price is believed, whatever the lists say."""
    endpoint = Endpoint(url=url, model="gpt-4o-mini", input_price=1.0, output_price=3.0)
    assert find_price(endpoint) == Price(tokens_in=1.0, tokens_out=3.0)


@pytest.mark.parametrize("url", ["http://127.0.0.1:8000/v1", "http://localhost/v1", "http://[::1]:9/v1"])
def test_a_model_on_this_machine_costs_nothing(url: str) -> None:
    """Its name does not matter."""
    assert find_price(Endpoint(url=url, model="gpt-4o-mini")) == Price(tokens_in=0.0, tokens_out=0.0)


@pytest.mark.parametrize(
    ("url", "model", "price"),
    [
        (OPENAI, "gpt-4o-mini", (0.15, 0.60)),
        ("https://api.anthropic.com/v1", "claude-sonnet-4-5", (3.0, 15.0)),
        ("https://generativelanguage.googleapis.com/v1beta/openai", "gemini-2.5-pro", (1.25, 10.0)),
    ],
)
def test_list_prices_are_those_of_calls_of_usual_length(url: str, model: str, price: tuple[float, float]) -> None:
    """A known model at its provider has its list price, and not the higher one of very long calls."""
    found = find_price(Endpoint(url=url, model=model))
    assert found is not None
    assert (found.tokens_in, found.tokens_out) == pytest.approx(price)


@pytest.mark.parametrize(
    ("url", "model"),
    [(OPENAI, "no-such-model"), ("https://models.example/v1", "gpt-4o-mini"), ("https://models.example/v1", "m")],
)
@pytest.mark.parametrize("half", [{}, {"input_price": 2.0}, {"output_price": 2.0}])
def test_a_price_that_is_not_known_is_not_guessed(url: str, model: str, half: dict[str, float]) -> None:
    """An unknown model or provider has no price, nor has one of which half was set."""
    assert find_price(Endpoint(url=url, model=model, **half)) is None
