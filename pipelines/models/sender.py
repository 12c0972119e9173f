"""Calls that get through: paced, budgeted, tried again, and stored before anything else.

A slow or failing endpoint slows a run and does not end it; one that has never answered, or
has been silent for very long, does.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import random
import time
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from pipelines.errors import LLMError
from pipelines.models.budget import Budget
from pipelines.models.ledger import Call, CallCounts, Ledger
from pipelines.models.pacing import Pacer
from pipelines.models.prices import Price
from pipelines.models.transport import Answer, Failure, Transport

_FATAL = (401, 402, 403, 404)
# The request itself is not liked: another form of it may be.
REFUSED = (400, 422)
# A call that keeps failing while others are answered is given up.
_MOST_ATTEMPTS = 12
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.5, 60.0
_SHARE_IF_TOLD = 0.05
# What is under way when a run ends has been paid for; it is waited for so long.
_GRACE_S = 10.0
_CHARACTERS_PER_TOKEN = 3


@dataclass(frozen=True, kw_only=True)
class _Sent:
    """What was set aside for a call."""

    under_way: int  # with this one
    tokens: int
    reserved: float | None  # US dollars
    at: float = field(default_factory=time.monotonic)


@dataclass(kw_only=True)
class Sender:
    """The calls of one run, in one event loop.

    Attributes:
        retries: Attempts after the first while the endpoint has never answered.
        patience_s: Longest time without any answer after that.
        dataset: What the calls are for; the ledger keeps it.
    """

    transport: Transport
    ledger: Ledger
    pacer: Pacer
    budget: Budget
    counts: CallCounts
    price: Price | None
    model: str
    dataset: str
    retries: int
    patience_s: float
    last_success: float = 0.0
    _failing_since: float = 0.0
    _under_way: set[asyncio.Task[Call | Failure]] = field(default_factory=set)

    async def send(self, body: Mapping[str, Any], key: str, max_tokens: int) -> Call | Failure:
        """Send a call until it is answered, refused for good, or has failed too often.

        Raises:
            LLMError: No call can succeed, or none has for a long time.
        """
        tokens = len(json.dumps(body)) // _CHARACTERS_PER_TOKEN  # with the schema, which is paid for as well
        started = time.monotonic()
        for attempt in itertools.count(1):
            async with self._in_time():
                under_way = await self.pacer.admit(tokens + max_tokens, is_again=attempt > 1)
            reserved = await self._reserve(tokens, max_tokens)
            sent = _Sent(under_way=under_way, tokens=tokens + max_tokens, reserved=reserved)
            task = asyncio.ensure_future(self._post(body, key, sent))
            self._under_way.add(task)
            task.add_done_callback(self._under_way.discard)
            outcome = await asyncio.shield(task)
            if isinstance(outcome, Call):
                return outcome
            if outcome.status in _FATAL or (outcome.status == 200 and not self.last_success):
                raise outcome.error
            if not outcome.is_passing:
                if not self.last_success and outcome.status not in REFUSED:
                    raise outcome.error
                return outcome
            is_its_own = self.last_success > started or outcome.status == 200
            if attempt >= _MOST_ATTEMPTS and is_its_own and not outcome.is_throttled:
                return outcome
            self._check_patience(outcome.error, attempt)
            async with self._in_time():
                await asyncio.sleep(_pause_s(outcome, attempt))
        raise AssertionError

    @contextlib.asynccontextmanager
    async def _in_time(self) -> AsyncIterator[None]:
        """Wait no longer than the budget has minutes."""
        try:
            async with asyncio.timeout(self.budget.left_s()):
                yield
        except TimeoutError:
            raise self.budget.time_error() from None

    async def _reserve(self, tokens: int, max_tokens: int) -> float | None:
        """Set aside what a call may cost; a call that was admitted and cannot be paid gives its place back."""
        reserved = self.price.cost_usd(tokens_in=tokens, tokens_out=max_tokens) if self.price else None
        try:
            while self._under_way and self.budget.has_to_wait(reserved):
                async with self._in_time():
                    await asyncio.wait(self._under_way, return_when=asyncio.FIRST_COMPLETED)
            self.budget.reserve(reserved)
        except BaseException:
            self.pacer.leave()
            raise
        return reserved

    async def _post(self, body: Mapping[str, Any], key: str, sent: _Sent) -> Call | Failure:
        """Send one call; its answer is stored before anything else happens to it."""
        spent = None
        try:
            outcome = await self.transport.post(body)
            if isinstance(outcome, Failure):
                self.budget.give_back(sent.reserved)
                if outcome.is_throttled or outcome.is_late:
                    self.pacer.throttled(sent_at=sent.at, wait_s=_pause_s(outcome, 1))
                return outcome
            if self.price is not None:
                spent = self.price.cost_usd(tokens_in=outcome.tokens_in, tokens_out=outcome.tokens_out)
            call = self._to_call(outcome, body, key, spent, time.monotonic() - sent.at)
            self.ledger.store([call])
            self.budget.settle(sent.reserved, spent)
            self._succeeded(call, sent)
            return call
        finally:  # last: whoever is admitted in this place has to know what came of it
            self.pacer.leave()

    def _succeeded(self, call: Call, sent: _Sent) -> None:
        self.last_success, self._failing_since = time.monotonic(), 0.0
        self.pacer.succeeded(sent_at=sent.at, under_way=sent.under_way)
        self.pacer.correct_tokens(reserved=sent.tokens, used=call.tokens_in + call.tokens_out)
        if self.transport.limits is not None:
            self.pacer.learn_rates(
                requests_per_minute=self.transport.limits.requests_per_minute,
                tokens_per_minute=self.transport.limits.tokens_per_minute,
            )
        self.counts.sent += 1
        self.counts.tokens_in += call.tokens_in
        self.counts.tokens_out += call.tokens_out
        self.counts.cost_usd += call.cost_usd or 0.0
        self.counts.unpriced += call.cost_usd is None

    def _to_call(self, answer: Answer, body: Mapping[str, Any], key: str, spent: float | None, seconds: float) -> Call:
        return Call(
            key=key,
            model=self.model,
            response=answer.text,
            tokens_in=answer.tokens_in,
            tokens_out=answer.tokens_out,
            finish="length" if answer.is_cut else "stop",
            request=json.dumps(body, ensure_ascii=False),
            dataset=self.dataset,
            cost_usd=spent,
            seconds=round(seconds, 3),
        )

    async def finish(self) -> None:
        """Wait a little for what is under way: its answers have been paid for."""
        if self._under_way:
            done, left = await asyncio.wait(self._under_way, timeout=_GRACE_S)
            for task in left:
                task.cancel()
            # Nobody waits for these any more: the run has ended for another reason, which is told.
            await asyncio.gather(*done, *left, return_exceptions=True)

    def _check_patience(self, error: LLMError, attempt: int) -> None:
        """Give up where nothing has ever been answered, or nothing for a long time."""
        now = time.monotonic()
        self._failing_since = self._failing_since or now
        if not self.last_success and attempt > self.retries:
            raise _after(attempt, error)
        if now - self._failing_since > self.patience_s:
            raise _after(attempt, error)


def _pause_s(failure: Failure, attempt: int) -> float:
    """Return how long to wait before the next attempt: twice as long each time, with jitter, or as told."""
    own_s = min(_LONGEST_PAUSE_S, _FIRST_PAUSE_S * 2.0 ** (attempt - 1)) * random.uniform(0.75, 1.25)
    if failure.retry_after_s is None:
        return own_s
    # Some tell to come back at once, whatever happens.
    return max(own_s * _SHARE_IF_TOLD, min(failure.retry_after_s, 10 * _LONGEST_PAUSE_S))


def _after(attempts: int, error: LLMError) -> LLMError:
    """Return the error with the number of attempts in its message, if there were several."""
    if attempts > 1:
        error.args = (f"{error} (after {attempts} attempts)", *error.args[1:])
    return error
