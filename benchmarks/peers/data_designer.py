"""data-designer at the task.

What is set for speed: its limit of parallel requests at the wanted concurrency, all records
in one row group, its native template renderer, no metrics endpoint, no live display, no
telemetry, and no health check before the clock. Rate-limit admission starts at its cap.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from pathlib import Path

os.environ.update(NEMO_TELEMETRY_ENABLED="false", HF_HUB_OFFLINE="1")

import data_designer.config as dd
import pandas as pd
from data_designer.interface import DataDesigner

from benchmarks.peers.task import MODEL, Pair, Task, run_task


def prepare(task: Task) -> Callable[[], int]:
    """Make the client, and a configuration of one column over the prompts."""
    provider = dd.ModelProvider(name="mock", endpoint=task.url, provider_type="openai", api_key="none")
    model = dd.ModelConfig(
        alias="writer",
        model=MODEL,
        provider="mock",
        inference_parameters=dd.ChatCompletionInferenceParams(max_parallel_requests=task.concurrency),
        skip_health_check=True,
    )
    builder = dd.DataDesignerConfigBuilder(model_configs=[model])
    builder.with_seed_dataset(dd.DataFrameSeedSource(df=pd.DataFrame({"asked": task.prompts()})))
    if task.structured:
        column = dd.LLMStructuredColumnConfig(
            name="pair", prompt="{{ asked }}", model_alias="writer", output_format=Pair
        )
    else:
        column = dd.LLMTextColumnConfig(name="pair", prompt="{{ asked }}", model_alias="writer")
    builder.add_column(column)

    def run() -> int:
        with tempfile.TemporaryDirectory() as folder:
            designer = DataDesigner(artifact_path=Path(folder), model_providers=[provider])
            designer.set_run_config(
                dd.RunConfig(
                    buffer_size=task.count,
                    max_in_flight_tasks=max(1024, 2 * task.concurrency),
                    otel_metrics_port=None,
                    jinja_rendering_engine=dd.JinjaRenderingEngine.NATIVE,
                )
            )
            return len(designer.create(builder, num_records=task.count).load_dataset())

    return run


if __name__ == "__main__":
    run_task(prepare)
