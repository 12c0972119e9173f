"""What calls cost: the price that was set, else the provider's list price, else unknown.

List prices come with `genai-prices`, whose data is part of its package: nothing is looked up
over the network.
"""

from __future__ import annotations

from dataclasses import dataclass

import genai_prices

from pipelines.settings import Endpoint, is_local

_MILLION = 1_000_000
# Prices are asked for a call of this size: some models cost more a token in very long calls.
_CALL_TOKENS = 1_000


@dataclass(frozen=True, kw_only=True)
class Price:
    """US dollars per million tokens."""

    tokens_in: float
    tokens_out: float

    def cost_usd(self, *, tokens_in: int, tokens_out: int) -> float:
        """Return what that many tokens cost."""
        return (tokens_in * self.tokens_in + tokens_out * self.tokens_out) / _MILLION


def find_price(endpoint: Endpoint) -> Price | None:
    """Return the price of an endpoint's model; None where it is not known.

    A model on this machine costs nothing, unless a price was set for it.
    """
    if endpoint.input_price is not None and endpoint.output_price is not None:
        return Price(tokens_in=endpoint.input_price, tokens_out=endpoint.output_price)
    if is_local(endpoint):
        return Price(tokens_in=0.0, tokens_out=0.0)
    try:
        one_in, one_out = (
            genai_prices.calc_price(usage, model_ref=endpoint.model, provider_api_url=endpoint.url).total_price
            for usage in (genai_prices.Usage(input_tokens=_CALL_TOKENS), genai_prices.Usage(output_tokens=_CALL_TOKENS))
        )
    except LookupError:
        return None
    calls = _MILLION // _CALL_TOKENS
    return Price(tokens_in=float(one_in * calls), tokens_out=float(one_out * calls))
