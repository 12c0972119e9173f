"""`assistant data`: datasets."""

from __future__ import annotations

from assistant.cli.entries import Entry, LazyGroup

GROUP = LazyGroup(
    "data",
    help="Training datasets, written by a teacher.",
    entries={
        "generate": Entry(
            "pipelines.dataset.generate:GENERATE_DATASET",
            "Write question-answer pairs about documents or a topic with the teacher.",
        ),
        "curate": Entry(
            "pipelines.dataset.curate:CURATE_DATASET",
            "Validate examples, drop duplicates, split by source, and compose conversations.",
        ),
        "show": Entry("pipelines.dataset.show:SHOW_DATASET", "Show some records of a dataset."),
        "list": Entry("pipelines.dataset.show:LIST_DATASETS", "List the datasets of the workspace."),
    },
)
