"""What an operation may spend on a teacher, and whether it may use a remote one at all."""

from __future__ import annotations

from pydantic import BaseModel, Field

from pipelines.errors import SettingsError
from pipelines.models.budget import Budget
from pipelines.models.ledger import CallCounts
from pipelines.operation import Context
from pipelines.settings import is_local


class SpendingParams(BaseModel):
    """The caps of an operation that asks a teacher."""

    max_cost: float | None = Field(None, ge=0, description="Most US dollars to spend; no cap if not given.")
    max_calls: int | None = Field(None, ge=0, description="Most calls to send; no cap if not given.")
    max_minutes: float | None = Field(None, ge=0, description="Most minutes to take; no cap if not given.")
    local_only: bool = Field(False, description="Refuse a teacher that is not on this machine.")

    def budget(self) -> Budget:
        """Return a budget with these caps, from now on."""
        return Budget(max_cost_usd=self.max_cost, max_calls=self.max_calls, max_minutes=self.max_minutes)


class Calls(BaseModel):
    """What the calls to the teacher took."""

    sent: int = 0
    cached: int = 0
    failed: int = 0
    corrected: int = 0
    tokens_in: int = 0
    tokens_out: int = 0
    cost_usd: float | None = 0.0


def check_local(params: SpendingParams, context: Context) -> None:
    """Refuse a remote teacher where only a local one may be used.

    Raises:
        SettingsError: The teacher is on another machine.
    """
    endpoint = context.settings.teacher()
    if params.local_only and endpoint is not None and not is_local(endpoint):
        raise SettingsError(
            f"the teacher at {endpoint.url} is not on this machine, and --local-only was given",
            hint="Unset ASSISTANT_TEACHER_URL to use the embedded teacher, or serve a model on this machine.",
        )


def count_calls(counts: CallCounts, before: CallCounts) -> Calls:
    """Return what was used since `before`; the cost is None where a price is missing."""
    names = ("sent", "cached", "failed", "corrected", "tokens_in", "tokens_out")
    used = {name: getattr(counts, name) - getattr(before, name) for name in names}
    is_priced = counts.unpriced == before.unpriced
    return Calls(**used, cost_usd=round(counts.cost_usd - before.cost_usd, 6) if is_priced else None)
