"""`assistant train`: adapters."""

from __future__ import annotations

from assistant.cli.entries import Entry, LazyGroup

GROUP = LazyGroup(
    "train",
    help="Fine-tuning of a local model.",
    entries={
        "start": Entry(
            "pipelines.training.train:TRAIN_ADAPTER",
            "Fine-tune a base model on a dataset; goes on where it was stopped.",
        ),
        "plan": Entry(
            "pipelines.training.plan:PLAN_TRAINING",
            "Look at the hardware and the data, time three real steps, and say what training will take.",
        ),
        "launch": Entry(
            "pipelines.training.launch:LAUNCH_TRAINING",
            "Start a training run that goes on when the terminal is closed.",
        ),
        "watch": Entry(
            "pipelines.training.launch:WATCH_TRAINING", "Show a training run as it goes; leaving does not stop it."
        ),
        "stop": Entry(
            "pipelines.training.launch:STOP_TRAINING",
            "Stop a training run after its step; it is saved, and train start goes on from there.",
        ),
        "export": Entry(
            "pipelines.training.exporting.export:EXPORT_ADAPTER",
            "Write an adapter for other programs: merged, GGUF, Ollama; each is compared with the original.",
        ),
        "search": Entry(
            "pipelines.training.search:SEARCH_ADAPTERS",
            "Search learning rate, rank and epochs on the validation split; goes on where it was stopped.",
        ),
        "head": Entry(
            "pipelines.training.heads.train:TRAIN_HEAD",
            "Fine-tune a small model to label texts or pieces of them; goes on where it was stopped.",
        ),
        "predict": Entry(
            "pipelines.training.heads.predict:PREDICT",
            "Label one text, or each text of a JSONL file, by a trained head.",
        ),
        "show": Entry(
            "pipelines.training.adapters:SHOW_ADAPTER",
            "Show how the run of an adapter went, and the files that it left.",
        ),
        "list": Entry("pipelines.training.adapters:LIST_ADAPTERS", "List the adapters of the workspace."),
    },
)
