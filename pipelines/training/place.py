"""What the folder of a training holds, told by its files, and why it may take nothing more.

Heads and adapters of chat models stand beside each other under one folder, so a name is either's.
"""

from __future__ import annotations

import errno
from collections.abc import Iterator
from pathlib import Path

from pipelines.errors import SettingsError
from pipelines.models.catalog import ADAPTER_WEIGHTS

HEAD_WEIGHTS = "head.safetensors"
_ADAPTER_CONFIG = "adapter_config.json"  # as peft names it
_FULL_DISK = (errno.ENOSPC, errno.EDQUOT)


def is_head(folder: Path) -> bool:
    """Whether a folder holds a trained head."""
    return (folder / HEAD_WEIGHTS).is_file()


def is_adapter(folder: Path) -> bool:
    """Whether a folder holds the adapter of a chat model."""
    return (folder / ADAPTER_WEIGHTS).is_file() or (folder / _ADAPTER_CONFIG).is_file()


def refuse_head(folder: Path) -> None:
    """Refuse to train an adapter where a head is, which somebody may be using.

    Raises:
        SettingsError: There is one.
    """
    if is_head(folder):
        raise SettingsError(
            f"{folder.name} is the name of a head already, in {folder}", hint="Choose another name with --adapter."
        )


def refuse_adapter(folder: Path) -> None:
    """Refuse to train a head where an adapter is, which a bot may be using.

    Raises:
        SettingsError: There is one.
    """
    if is_adapter(folder):
        raise SettingsError(
            f"{folder.name} is the name of an adapter of a chat model already, in {folder}",
            hint="Choose another name with --adapter.",
        )


def why_unwritten(error: BaseException) -> str:
    """Return why something could not be written, in the system's words where a library hides them behind its own."""
    known = next((each for each in _behind(error) if isinstance(each, OSError) and each.strerror), None)
    if known is None:  # a library that writes by itself says where in its source it failed
        is_full = "No space left" in str(error) or "enforce fail" in str(error)
        return "no space is left on the disk" if is_full else str(error)
    return "no space is left on the disk" if known.errno in _FULL_DISK else str(known.strerror)


def _behind(error: BaseException) -> Iterator[BaseException]:
    """Yield an error, and those that it came of."""
    found: BaseException | None = error
    while found is not None:
        yield found
        found = found.__cause__ or found.__context__
