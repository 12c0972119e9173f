"""The task that all generators get, and how a runner is started and tells what it did.

Imported in the environments of the peers: nothing but pydantic is needed.
"""

from __future__ import annotations

import argparse
import json
import resource
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass

from pydantic import BaseModel, Field

MODEL = "mock"


class Pair(BaseModel):
    """What is asked for where structured output is wanted."""

    question: str = Field(min_length=5)
    answer: str = Field(min_length=1)


@dataclass(frozen=True, kw_only=True)
class Task:
    """So many different prompts, and so many calls under way at once."""

    url: str
    count: int
    concurrency: int
    structured: bool

    def prompts(self) -> list[str]:
        """Return the prompts, no two alike."""
        return [f"Write a question and its answer about item {each} of the catalogue." for each in range(self.count)]


def run_task(prepare: Callable[[Task], Callable[[], int]]) -> None:
    """Read the task from the command line, run it, and print what it took as JSON.

    Args:
        prepare: Makes everything ready and returns what is timed: it does the task,
            and returns how many records were kept.
    """
    parser = argparse.ArgumentParser()
    parser.add_argument("url")
    parser.add_argument("count", type=int)
    parser.add_argument("concurrency", type=int)
    parser.add_argument("--structured", action="store_true")
    task = Task(**vars(parser.parse_args()))
    run = prepare(task)
    started, cpu_started = time.perf_counter(), time.process_time()
    kept = run()
    told = {
        "seconds": time.perf_counter() - started,
        "cpu_s": time.process_time() - cpu_started,
        "calls": task.count,
        "kept": kept,
        "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 // 1_000_000,
    }
    sys.stdout.write("\n" + json.dumps(told) + "\n")
