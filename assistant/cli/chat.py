"""`assistant bot chat`: a conversation with a chatbot."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import click

from assistant.cli.session import make_context
from assistant.terminal.chat import Chat, Turn
from assistant.terminal.console import open_terminal
from assistant.terminal.lines import LineReader
from pipelines.chatbot.ask import opened_answerer, report_of
from pipelines.chatbot.bots import load_bot
from pipelines.records import Message


def _chat(bot: str, *, rewrite: bool | None) -> None:
    with open_terminal(is_json=False) as terminal:
        context = make_context(terminal, yes=False)
        record = load_bot(context, bot)
        with opened_answerer(record, context, rewrites=rewrite) as answerer:

            def ask(question: str, history: Sequence[Message], on_text: Callable[[str], None]) -> Turn:
                given = answerer.answer(question, history=history, on_text=on_text)
                return Turn(answer=given.text, report=report_of(given, record), passages=given.passages)

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
    params=[
        click.Argument(["bot"], metavar="BOT"),
        click.Option(
            ["--rewrite/--no-rewrite"],
            default=None,
            help="Let the agent's model complete questions that lean on the conversation, which it is sent for that. "
            "[default: if it is on this machine]",
        ),
    ],
    help="Talk with a chatbot in the terminal.",
    short_help="Talk with a chatbot in the terminal.",
)
