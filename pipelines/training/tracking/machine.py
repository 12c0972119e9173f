"""What a run ran on, without what would tell whose machine it is."""

from __future__ import annotations

import os
import platform
import re
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

_MODEL_NAME = re.compile(r"^model name\s*:\s*(.+)$", re.MULTILINE)
_LIBRARIES = ("torch", "transformers", "peft", "bitsandbytes")


def describe_machine() -> dict[str, str]:
    """Return processor, cores, memory, system and versions; no names of host or person."""
    found = {
        "processor": _processor(),
        "cores": str(len(os.sched_getaffinity(0))),
        "memory": f"{os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES') / 2**30:.1f} GiB",
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
    }
    for library in _LIBRARIES:
        try:
            found[library] = version(library)
        except PackageNotFoundError:
            continue
    return found


def _processor() -> str:
    try:
        match = _MODEL_NAME.search(Path("/proc/cpuinfo").read_text(encoding="utf-8"))
    except OSError:
        match = None
    return match.group(1).strip() if match else platform.processor() or platform.machine()
