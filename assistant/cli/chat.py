"""`assistant bot chat`: a conversation with a chatbot."""

from __future__ import annotations

from collections.abc import Callable

import click

from assistant.cli.session import make_context
from assistant.terminal.chat import Chat, Turn
from assistant.terminal.console import open_terminal
from assistant.terminal.lines import LineReader
from pipelines.chatbot.ask import opened_answerer, report_of
from pipelines.chatbot.bots import load_bot


def _chat(bot: str) -> None:
    with open_terminal(is_json=False) as terminal:
        context = make_context(terminal, yes=False)
        record = load_bot(context, bot)
        with opened_answerer(record, context) as answerer:

            def ask(question: str, previous: str, on_text: Callable[[str], None]) -> Turn:
                given = answerer.answer(question, previous=previous, on_text=on_text)
                return Turn(report=report_of(given, record), passages=given.passages)

            history = context.workspace.bot(bot) / "history"
            reader = LineReader(prompt=f"{terminal.say('You')} › ", history=history)
            Chat(terminal=terminal, reader=reader, ask=ask).run(
                terminal.say(
                    "Talking with {bot}. Ctrl-C stops an answer, Ctrl-D or /quit ends the chat, /help lists commands.",
                    bot=bot,
                )
            )


CHAT = click.Command(
    "chat",
    callback=_chat,
    params=[click.Argument(["bot"], metavar="BOT")],
    help="Talk with a chatbot in the terminal.",
    short_help="Talk with a chatbot in the terminal.",
)
