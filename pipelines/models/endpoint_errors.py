"""What goes wrong at an OpenAI-compatible endpoint, as errors that say what to do."""

from __future__ import annotations

from typing import Literal

import openai

from pipelines.errors import LLMConnectionError, LLMError, LLMOutputError, LLMStatusError, RateLimitError
from pipelines.settings import PREFIX, Endpoint

_RETRIED = (408, 409, 429, 500, 502, 503, 504)


def wrap_endpoint_error(
    error: Exception, endpoint: Endpoint, *, role: Literal["teacher", "agent"], timeout_s: float, retries: int = 0
) -> LLMError:
    """Return the error that a person should see for what the client raised.

    Args:
        error: What the openai client, or the reading of its answer, raised.
        endpoint: Where the request went.
        role: Whose endpoint it is; names the settings in the hints.
        timeout_s: Longest wait for one answer.
        retries: Attempts that were made after the first.
    """
    variable = f"{PREFIX}{role.upper()}"
    where = {"endpoint": endpoint.url, "model": endpoint.model}
    if isinstance(error, openai.APITimeoutError):
        return LLMConnectionError(
            f"{endpoint.url} did not answer within {timeout_s:g} s",
            hint="Choose a faster model"
            + (", or set a longer wait (ASSISTANT_TEACHER_TIMEOUT_S)." if role == "teacher" else "."),
            **where,
        )
    if isinstance(error, openai.APIConnectionError):
        return LLMConnectionError(
            f"cannot reach {endpoint.url}: {error.__cause__ or error}",
            hint=f"Is the server running? Check {variable}_URL.",
            **where,
        )
    if isinstance(error, openai.APIStatusError):
        return _of_status(error, endpoint, variable=variable, retries=retries)
    return LLMOutputError(
        f"{endpoint.url} gave an answer that is not of the OpenAI protocol: {error}",
        raw=str(error),
        hint="Is this the base URL of an OpenAI-compatible API? It usually ends in /v1.",
        **where,
    )


def _without_key(text: str, endpoint: Endpoint) -> str:
    """Return a server's words without the key, which some repeat."""
    key = endpoint.key.get_secret_value()
    return text.replace(key, "***") if key else text


def _of_status(error: openai.APIStatusError, endpoint: Endpoint, *, variable: str, retries: int) -> LLMStatusError:
    hints = {
        401: f"Check the key: export {variable}_KEY next to {variable}_URL.",
        403: "The key is not allowed to use this model.",
        404: f"Check {variable}_URL (it usually ends in /v1) and {variable}_MODEL.",
    }
    kind = RateLimitError if error.status_code == 429 else LLMStatusError
    attempts = f" after {retries + 1} attempts" if retries and error.status_code in _RETRIED else ""
    return kind(
        f"{endpoint.url} answered {error.status_code}{attempts}: {_without_key(error.message, endpoint)[:200]}",
        status_code=error.status_code,
        body=_without_key(str(error.body), endpoint)[:2000],
        hint=hints.get(error.status_code, "Try again later; what was answered so far is kept."),
        endpoint=endpoint.url,
        model=endpoint.model,
    )
