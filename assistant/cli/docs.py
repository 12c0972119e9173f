"""`assistant docs`: the knowledge index."""

from __future__ import annotations

from assistant.cli.entries import Entry, LazyGroup

GROUP = LazyGroup(
    "docs",
    help="Documents that chatbots answer from.",
    entries={
        "add": Entry(
            "pipelines.knowledge.add:ADD_DOCUMENTS",
            "Read the documents of a folder into a collection, to be searched and cited.",
        ),
        "watch": Entry(
            "pipelines.knowledge.watch:WATCH_DOCUMENTS",
            "Watch a folder and keep a collection at what it holds, until Ctrl-C.",
        ),
        "list": Entry("pipelines.knowledge.documents:LIST_DOCUMENTS", "List the documents of a collection."),
        "show": Entry(
            "pipelines.knowledge.documents:SHOW_DOCUMENT", "Show the text that was understood of a document."
        ),
        "search": Entry(
            "pipelines.knowledge.search:SEARCH_DOCUMENTS",
            "Search a collection for the passages nearest to a query.",
        ),
        "evaluate": Entry(
            "pipelines.knowledge.evaluate:EVALUATE_DOCUMENTS",
            "Measure how well a collection's passages are found, by questions with known places.",
        ),
        "tune": Entry(
            "pipelines.knowledge.tune:TUNE_DOCUMENTS",
            "Fit how a collection is searched to questions about its own documents; used only if surely better.",
        ),
        "reindex": Entry(
            "pipelines.knowledge.reindex:REINDEX_DOCUMENTS",
            "Embed a collection again, by the same or another model; the old vectors serve until it is done.",
        ),
        "remove": Entry(
            "pipelines.knowledge.documents:REMOVE_DOCUMENT",
            "Remove a document from a collection; its file stays where it is.",
        ),
    },
)
