"""What goes wrong at an OpenAI-compatible endpoint, as errors that say what to do."""

from __future__ import annotations

from typing import Literal

from pipelines.errors import LLMStatusError, RateLimitError
from pipelines.settings import PREFIX, Endpoint

Role = Literal["teacher", "agent", "embedder"]
_RETRIED = (408, 409, 429, 500, 502, 503, 504)


def without_key(text: str, endpoint: Endpoint) -> str:
    """Return a server's words without the key, which some repeat."""
    key = endpoint.key.get_secret_value()
    return text.replace(key, "***") if key else text


def of_status(
    status: int, message: str, endpoint: Endpoint, *, role: Role, body: str, attempts: int = 1
) -> LLMStatusError:
    """Return the error that a person should see for an HTTP status.

    Args:
        status: What the endpoint answered with.
        message: What it said.
        endpoint: Where the request went.
        role: Whose endpoint it is; names the settings in the hints.
        body: The whole answer.
        attempts: How often it was tried.
    """
    variable = f"{PREFIX}{role.upper()}"
    hints = {
        401: f"Check the key: export {variable}_KEY next to {variable}_URL.",
        402: "The account at this endpoint has nothing left to spend.",
        403: "The key is not allowed to use this model.",
        404: f"Check {variable}_URL (it usually ends in /v1) and {variable}_MODEL.",
    }
    later = "Try again later; what was answered so far is kept."
    if 300 <= status < 400:
        later = f"The key is not taken to another address: set {variable}_URL to the one that is meant."
    kind = RateLimitError if status == 429 else LLMStatusError
    tried = f" after {attempts} attempts" if attempts > 1 and status in _RETRIED else ""
    return kind(
        f"{endpoint.url} answered {status}{tried}: {without_key(message, endpoint)[:200]}",
        status_code=status,
        body=without_key(body, endpoint)[:2000],
        hint=hints.get(status, later),
        endpoint=endpoint.url,
        model=endpoint.model,
    )
