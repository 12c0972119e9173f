"""bespokelabs-curator at the task.

What is set for speed: no limit of requests or tokens a minute that could ever be reached,
the semaphore at the wanted concurrency, no live display, no telemetry, no viewer, a model
without a price, so that no cost is looked up. The prompts are a dataset before the clock
starts. Its folder of answers is new each time, or it would answer out of it.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable

os.environ.update(TELEMETRY_ENABLED="false", CURATOR_DISABLE_RICH_DISPLAY="1", HF_HUB_OFFLINE="1")
os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"  # else its import asks the network

from bespokelabs import curator
from datasets import Dataset

from benchmarks.peers.task import MODEL, Pair, Task, run_task


class Writer(curator.LLM):
    """Sends each row's prompt as it is, and keeps the answer."""

    def prompt(self, row: dict[str, str]) -> str:
        """Return the prompt."""
        return row["prompt"]


def prepare(task: Task) -> Callable[[], int]:
    """Make the client and the dataset."""
    writer = Writer(
        model_name=MODEL,
        backend="openai",
        response_format=Pair if task.structured else None,
        backend_params={
            "base_url": task.url,
            "api_key": "none",
            "max_requests_per_minute": 10**9,
            "max_tokens_per_minute": 10**12,
            "max_concurrent_requests": task.concurrency,
        },
    )
    prompts = Dataset.from_dict({"prompt": task.prompts()})

    def run() -> int:
        with tempfile.TemporaryDirectory() as folder:
            return len(writer(prompts, working_dir=folder).dataset)

    return run


if __name__ == "__main__":
    run_task(prepare)
