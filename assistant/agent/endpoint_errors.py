"""What the agent's client raises, as errors that say what to do."""

from __future__ import annotations

import openai

from pipelines.errors import LLMConnectionError, LLMError, LLMOutputError
from pipelines.models.endpoint_errors import of_status
from pipelines.settings import PREFIX, Endpoint


def wrap_endpoint_error(error: Exception, endpoint: Endpoint, *, timeout_s: float, retries: int) -> LLMError:
    """Return the error that a person should see for what the client raised.

    Args:
        error: What the openai client, or the reading of its answer, raised.
        endpoint: Where the request went.
        timeout_s: Longest wait for one answer.
        retries: Attempts that were made after the first.
    """
    where = {"endpoint": endpoint.url, "model": endpoint.model}
    if isinstance(error, openai.APITimeoutError):
        return LLMConnectionError(
            f"{endpoint.url} did not answer within {timeout_s:g} s", hint="Choose a faster model.", **where
        )
    if isinstance(error, openai.APIConnectionError):
        return LLMConnectionError(
            f"cannot reach {endpoint.url}: {error.__cause__ or error}",
            hint=f"Is the server running? Check {PREFIX}AGENT_URL.",
            **where,
        )
    if isinstance(error, openai.APIStatusError):
        return of_status(
            error.status_code, error.message, endpoint, role="agent", body=str(error.body), attempts=retries + 1
        )
    return LLMOutputError(
        f"{endpoint.url} gave an answer that is not of the OpenAI protocol: {error}",
        raw=str(error),
        hint="Is this the base URL of an OpenAI-compatible API? It usually ends in /v1.",
        **where,
    )
