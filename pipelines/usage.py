"""`usage`: tokens and money by day, dataset and model, from the ledger of calls."""

from __future__ import annotations

from pydantic import BaseModel, Field

from pipelines.operation import Context, Operation


class UsageParams(BaseModel):
    """Which calls to count."""

    dataset: str = Field("", description="Only calls for this dataset.")
    days: int = Field(31, ge=1, le=10_000, description="Only the newest days that had any call.")


class UsageLine(BaseModel):
    """What one day's calls for one dataset to one model took."""

    day: str
    dataset: str
    model: str
    calls: int
    tokens_in: int
    tokens_out: int
    cost_usd: float | None  # null where a price is not known


class UsageReport(BaseModel):
    """What was used, newest day first."""

    usage: list[UsageLine]
    calls: int
    tokens_in: int
    tokens_out: int
    cost_usd: float
    unpriced_calls: int


def show_usage(params: UsageParams, context: Context) -> UsageReport:
    """Show tokens and money by day, dataset and model."""
    stored = context.models.ledger.usage() if context.workspace.calls.is_file() else []
    rows = [row for row in stored if not params.dataset or row.dataset == params.dataset]
    days = list(dict.fromkeys(row.day for row in rows))[: params.days]
    rows = [row for row in rows if row.day in days]
    lines = [
        UsageLine(
            day=row.day,
            dataset=row.dataset,
            model=row.model,
            calls=row.calls,
            tokens_in=row.tokens_in,
            tokens_out=row.tokens_out,
            cost_usd=None if row.unpriced else round(row.cost_usd, 6),
        )
        for row in rows
    ]
    return UsageReport(
        usage=lines,
        calls=sum(row.calls for row in rows),
        tokens_in=sum(row.tokens_in for row in rows),
        tokens_out=sum(row.tokens_out for row in rows),
        cost_usd=round(sum(row.cost_usd for row in rows), 6),
        unpriced_calls=sum(row.unpriced for row in rows),
    )


SHOW_USAGE = Operation(params=UsageParams, report=UsageReport, run=show_usage, is_reading=True)
