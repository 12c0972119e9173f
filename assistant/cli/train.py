"""`assistant train`: adapters."""

from __future__ import annotations

from assistant.cli.entries import Entry, LazyGroup

GROUP = LazyGroup(
    "train",
    help="Fine-tuning of a local model.",
    entries={
        "start": Entry(
            "pipelines.training.train:TRAIN_ADAPTER",
            "Fine-tune a base model on a dataset with QLoRA; goes on where it was stopped.",
        ),
        "list": Entry("pipelines.training.adapters:LIST_ADAPTERS", "List the adapters of the workspace."),
    },
)
