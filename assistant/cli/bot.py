"""`assistant bot`: chatbots."""

from __future__ import annotations

from assistant.cli.entries import Entry, LazyGroup

GROUP = LazyGroup(
    "bot",
    help="Chatbots that answer from documents.",
    entries={
        "build": Entry(
            "pipelines.build:BUILD_BOT",
            "Make a chatbot of a folder of documents, or of a topic: the whole way.",
        ),
        "ask": Entry(
            "pipelines.chatbot.ask:ANSWER_QUESTION",
            "Ask a chatbot one question; it answers from its documents, with citations.",
        ),
        "chat": Entry("assistant.cli.chat:CHAT", "Talk with a chatbot in the terminal."),
        "list": Entry("pipelines.chatbot.bots:LIST_BOTS", "List the chatbots of the workspace."),
    },
)
