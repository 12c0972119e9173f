"""How soon the command line answers: medians of 20, against a Python that does nothing."""

from __future__ import annotations

import subprocess
import sys

from benchmarks.measure import Row, median_seconds

_TIMES = 20


def measure() -> list[Row]:
    """Measure --help, --version, and the interpreter alone."""

    def seconds(*arguments: str) -> float:
        command = [sys.executable, *arguments]
        return median_seconds(lambda: subprocess.run(command, capture_output=True, check=True), times=_TIMES)

    alone = seconds("-c", "pass")
    rows = []
    for arguments in (("--version",), ("--help",), ("bot", "build", "--help")):
        taken = seconds("-m", "assistant", *arguments)
        rows.append(
            Row(
                what=f"assistant {' '.join(arguments)}",
                figure=f"{taken * 1000:.0f} ms",
                against=f"python -c pass: {alone * 1000:.0f} ms",
                ratio=alone / taken,
            )
        )
    return rows
