"""Runs every measure in a process of its own and prints one table."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from importlib import import_module

from benchmarks.measure import Row

MEASURES = (
    "startup",
    "indexing",
    "retrieval",
    "retrieval_zh",
    "retrieval_scale",
    "indexing_kills",
    "embedding",
    "decoding",
    "training",
    "training_trl",
    "training_methods",
    "training_plan",
    "training_kills",
    "learning_curve",
    "answering",
    "generation",
    "crash",
    "duplicates",
    "privacy",
    "exporting",
    "exports",
    "heads",
)


def main(arguments: list[str]) -> int:
    """Run the named measures, or all; a process that is told --json runs one and prints its rows."""
    if arguments[:1] == ["--json"]:
        rows = import_module(f"benchmarks.{arguments[1]}").measure()
        print(json.dumps([vars(row) for row in rows]))
        return 0
    unknown = set(arguments) - set(MEASURES)
    if unknown:
        print(f"expected some of {', '.join(MEASURES)}, got {', '.join(sorted(unknown))}", file=sys.stderr)
        return 2
    print(f"{time.strftime('%Y-%m-%d')}, make bench\n")
    print("| what | figure | against | ratio | peak memory |")
    print("|---|---:|---|---:|---:|")
    for name in arguments or MEASURES:
        command = [sys.executable, "-m", "benchmarks", "--json", name]
        finished = subprocess.run(command, capture_output=True, text=True, check=False)
        if finished.returncode:
            print(f"| {name} | failed | | | |\n{finished.stderr}", file=sys.stderr)
            return 1
        for row in json.loads(finished.stdout.splitlines()[-1]):
            print(Row(**row).line(), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
