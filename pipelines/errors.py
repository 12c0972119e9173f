"""Every error that a user can meet, as one tree.

AssistantError            1  .hint: what to do next; .exit_code
├─ SettingsError          3  also MissingExtraError
├─ LLMError               4  .endpoint .model
│  ├─ LLMConnectionError     nothing answered at the address, or not in time
│  ├─ LLMStatusError         .status_code .body
│  │  └─ RateLimitError
│  └─ LLMOutputError         .raw: it answered, but not in the expected form
├─ BudgetError            5  the cap would be passed
├─ ApprovalRequired       6  .plan: a person has to agree first
├─ DataError              7  .path: a document, dataset or record is not usable
└─ TrainingError          8  a training run or its checkpoint is not usable

A foreign exception is wrapped once, in the file that imports the library.
"""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar


class AssistantError(Exception):
    """An expected failure: it says what happened and, in `hint`, what to do next."""

    exit_code: ClassVar[int] = 1

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.hint = hint

    @property
    def whole(self) -> str:
        """What happened and what to do next, where both stand on one line."""
        return f"{self}. {self.hint}" if self.hint else str(self)


class SettingsError(AssistantError):
    """The settings, keys or installation do not allow what was asked."""

    exit_code = 3


class MissingExtraError(SettingsError, ImportError):
    """A library that this operation needs is not installed."""


class LLMError(AssistantError):
    """A model endpoint, or the model behind it, failed."""

    exit_code = 4

    def __init__(self, message: str, *, endpoint: str = "", model: str = "", hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.endpoint = endpoint
        self.model = model


class LLMConnectionError(LLMError):
    """Nothing answered at the endpoint, or not in time."""


class LLMStatusError(LLMError):
    """The endpoint answered with an HTTP error status."""

    def __init__(
        self,
        message: str,
        *,
        status_code: int,
        body: str = "",
        endpoint: str = "",
        model: str = "",
        hint: str = "",
    ) -> None:
        super().__init__(message, endpoint=endpoint, model=model, hint=hint)
        self.status_code = status_code
        self.body = body


class RateLimitError(LLMStatusError):
    """The endpoint kept refusing because of its rate limit (429)."""


class LLMOutputError(LLMError):
    """The model answered, but not in the form that was asked for."""

    def __init__(self, message: str, *, raw: str, endpoint: str = "", model: str = "", hint: str = "") -> None:
        super().__init__(message, endpoint=endpoint, model=model, hint=hint)
        self.raw = raw


class BudgetError(AssistantError):
    """Going on would pass the cap that was set."""

    exit_code = 5


class ApprovalRequired(AssistantError):  # noqa: N818 - a state the caller resolves, not a fault
    """The operation spends or destroys something, and nobody has agreed to it."""

    exit_code = 6


class DataError(AssistantError):
    """A document, dataset, index or record cannot be used."""

    exit_code = 7

    def __init__(self, message: str, *, path: Path | str = "", hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.path = str(path)


class TrainingError(AssistantError):
    """A training run cannot start, go on, or be resumed."""

    exit_code = 8
