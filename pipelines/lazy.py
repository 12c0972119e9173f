"""Modules that import heavy libraries, themselves imported when they are first used.

`--help` must answer at once, so a module that needs torch, chromadb, langchain or openai is
never imported by one that only describes an operation: that one holds a stand-in instead.
Every such step passes through here, which makes this the one place where telemetry is
switched off before a library can read its settings.
"""

from __future__ import annotations

import functools
import importlib
import importlib.util
import logging
import os
import warnings
from types import ModuleType

from pipelines.errors import MissingExtraError

# Reporting home, tracing, hub look-ups and progress bars of the libraries. Tracing
# variables of the user's shell would upload private prompts, so they are overruled.
_SILENT = {
    "ANONYMIZED_TELEMETRY": "False",
    "CHROMA_TELEMETRY_IMPL": "none",
    "DISABLE_TELEMETRY": "1",
    "DO_NOT_TRACK": "1",
    "GRADIO_ANALYTICS_ENABLED": "False",
    "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "HF_HUB_OFFLINE": "1",
    "LANGCHAIN_TRACING_V2": "false",
    "LANGSMITH_TRACING": "false",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_LOGGING_LEVEL": "ERROR",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    "RAY_USAGE_STATS_ENABLED": "0",
    "TOKENIZERS_PARALLELISM": "false",
    "TQDM_DISABLE": "1",
    "TRANSFORMERS_OFFLINE": "1",
    "TRANSFORMERS_VERBOSITY": "error",
}
# The openai client picks these up by itself and would send them to any endpoint.
_FOREIGN_CREDENTIALS = "OPENAI_"
_NOISY_LOGGERS = ("bitsandbytes.backends.cpu.ops", "httpx", "openai", "transformers", "urllib3.connectionpool")


def silence_libraries() -> None:
    """Switch off telemetry, tracing and foreign credentials of the libraries we use."""
    os.environ.update(_SILENT)
    for name in [name for name in os.environ if name.startswith(_FOREIGN_CREDENTIALS)]:
        del os.environ[name]
    # Deprecations are between the libraries and us; the person at the terminal can do nothing.
    warnings.filterwarnings("ignore", category=FutureWarning, module=r"(peft|torch|transformers)\.")
    for name in _NOISY_LOGGERS:
        logging.getLogger(name).setLevel(logging.ERROR)


class LazyModule(ModuleType):
    """Stand-in for a module that is imported when one of its attributes is used."""

    def __init__(self, name: str, *, extra: str) -> None:
        super().__init__(name)
        self._extra = extra

    def __getattr__(self, attribute: str) -> object:
        """Import the module, if that has not happened yet, and look there."""
        return getattr(_import(self.__name__, extra=self._extra), attribute)


def lazy_import(name: str, *, extra: str) -> LazyModule:
    """Return a stand-in for `name` that imports it on first use.

    Args:
        name: Module to import, with dots.
        extra: The extra of this package that installs it, for the error message.

    Raises:
        MissingExtraError: On first use, when the module is not installed.
    """
    return LazyModule(name, extra=extra)


def require_installed(name: str, *, extra: str) -> None:
    """Refuse early what would fail later for want of a library; nothing is imported.

    Raises:
        MissingExtraError: The module is not installed.
    """
    if importlib.util.find_spec(name) is None:
        raise _missing(name, extra=extra)


def _missing(name: str | None, *, extra: str) -> MissingExtraError:
    return MissingExtraError(
        f"this needs the module {name!r}, which is not installed",
        hint=f"Install it with: pip install 'assistant[{extra}]'",
    )


@functools.cache
def _import(name: str, *, extra: str) -> ModuleType:
    silence_libraries()
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        raise _missing(error.name, extra=extra) from error
