"""`assistant models`: what is on this machine."""

from __future__ import annotations

from assistant.cli.entries import Entry, LazyGroup

GROUP = LazyGroup(
    "models",
    help="Models on this machine.",
    entries={
        "list": Entry("pipelines.local_models:LIST_MODELS", "List the models on this machine."),
        "prepare": Entry(
            "pipelines.local_models:PREPARE_MODELS", "Convert the packaged models once, so that they load quickly."
        ),
    },
)
