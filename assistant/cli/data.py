"""`assistant data`: datasets."""

from __future__ import annotations

from assistant.cli.entries import Entry, LazyGroup

GROUP = LazyGroup(
    "data",
    help="Training datasets, written by a teacher.",
    entries={
        "plan": Entry(
            "pipelines.dataset.generate:PLAN_DATASET",
            "Write a few examples first, and forecast what the whole dataset will take.",
        ),
        "generate": Entry(
            "pipelines.dataset.generate:GENERATE_DATASET",
            "Write examples about documents or a topic with the teacher, until as many as wanted are kept.",
        ),
        "augment": Entry(
            "pipelines.dataset.augment:AUGMENT_DATASET",
            "Make more examples of those that there are: other words, harder questions, other answers.",
        ),
        "import": Entry(
            "pipelines.dataset.importing:IMPORT_DATASET",
            "Take in existing data: JSON, JSONL, CSV, ShareGPT, Alpaca, OpenAI messages or a chat log.",
        ),
        "curate": Entry(
            "pipelines.dataset.curate:CURATE_DATASET",
            "Check examples, drop duplicates, split by source and similarity, and compose conversations.",
        ),
        "review": Entry(
            "assistant.cli.review:REVIEW",
            "Step through the records of a dataset: accept, edit, reject, or decide many by a rule.",
            operation="pipelines.dataset.review:REVIEW_DATASET",
        ),
        "export": Entry(
            "pipelines.dataset.export:EXPORT_DATASET",
            "Write a dataset in the format of a trainer or the hub, with a card and hashes.",
        ),
        "report": Entry(
            "pipelines.dataset.report:REPORT_DATASET", "Write one self-contained HTML page about a dataset, with plots."
        ),
        "show": Entry("pipelines.dataset.show:SHOW_DATASET", "Show some records of a dataset."),
        "explain": Entry(
            "pipelines.dataset.explain:EXPLAIN_EXAMPLE",
            "Tell the whole life of a record: documents, prompts, calls, checks and scores.",
        ),
        "diff": Entry(
            "pipelines.dataset.diff:DIFF_DATASETS",
            "Compare two datasets or exports: what was added, removed, changed or moved.",
        ),
        "list": Entry("pipelines.dataset.show:LIST_DATASETS", "List the datasets of the workspace."),
    },
)
