"""What a run depends on, as one hash: the same inputs are not trained on twice."""

from __future__ import annotations

import hashlib
import json

from pipelines.manifest import file_hash
from pipelines.operation import Context
from pipelines.training.data import data_files
from pipelines.training.params import TrainParams

MANIFEST = "manifest.json"  # of a finished run


def run_inputs(params: TrainParams, context: Context) -> dict[str, object]:
    """Return all that a run depends on: its parameters, its data, its seed."""
    files = data_files(params, context)
    return {
        "params": params.model_dump(mode="json"),
        **{name: file_hash(path) for name, path in files.items() if name != "test"},
        "seed": context.seed,
    }


def run_key(inputs: dict[str, object]) -> str:
    """Return a hash of all that a run depends on."""
    return hashlib.sha256(json.dumps(inputs, sort_keys=True).encode()).hexdigest()
