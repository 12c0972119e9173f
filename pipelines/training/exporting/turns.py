"""A chat template understood as turns, so that it can be written in another language.

Most templates put fixed text before and after each message, some of them a standing system
message where a conversation has none. Those texts are found by rendering probes, and what
was found is held against the template itself; a template that does more is refused.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import jinja2
from transformers import PreTrainedTokenizerFast

from pipelines.errors import DataError
from pipelines.records import Message, Role

# Private-use characters: no template gives them a meaning.
_SYSTEM, _USER, _ASSISTANT, _NEXT = "\ue000", "\ue001", "\ue002", "\ue003"
_PROBES: tuple[tuple[Role, ...], ...] = (
    ("user",),
    ("system", "user"),
    ("user", "assistant"),
    ("system", "user", "assistant"),
    ("user", "assistant", "user"),
    ("system", "user", "assistant", "user", "assistant", "user", "assistant"),
)


@dataclass(frozen=True, kw_only=True)
class Turns:
    """What a chat template puts around messages."""

    around: Mapping[Role, tuple[str, str]]  # before and after a message of each role
    without_system: str  # stands first where the first message is not the system's
    opening: str  # where the next answer begins

    def render(self, messages: Sequence[Message], *, open_answer: bool) -> str:
        """Return a conversation as text."""
        text = "" if messages[0].role == "system" else self.without_system
        for message in messages:
            before, after = self.around[message.role]
            text += before + message.content + after
        return text + (self.opening if open_answer else "")


def read_turns(tokenizer: PreTrainedTokenizerFast) -> Turns:
    """Return what the tokenizer's chat template puts around messages.

    Raises:
        DataError: The template does more than that.
    """
    try:
        turns = _find_turns(tokenizer)
        is_same = all(_agrees(turns, tokenizer, roles) for roles in _PROBES)
    except (ValueError, jinja2.TemplateError):  # there is none, or it knows no system message
        is_same = False
    if not is_same:
        raise DataError(
            "the chat template is more than fixed text around messages, and has no equal in a Modelfile",
            hint="Leave ollama out of --formats: the GGUF file carries the template itself.",
        )
    return turns


def render_text(tokenizer: PreTrainedTokenizerFast, messages: Sequence[Message], *, open_answer: bool) -> str:
    """Return a conversation as text, by the tokenizer's own template."""
    turns = [{"role": message.role, "content": message.content} for message in messages]
    return str(tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=open_answer))


def _find_turns(tokenizer: PreTrainedTokenizerFast) -> Turns:
    """Render probes, and cut them at the messages.

    Raises:
        ValueError: A message is missing, or not where it is expected.
    """
    system, user = Message(role="system", content=_SYSTEM), Message(role="user", content=_USER)
    answer, following = Message(role="assistant", content=_ASSISTANT), Message(role="user", content=_NEXT)
    answered = render_text(tokenizer, (system, user, answer), open_answer=False)
    before_system, rest = answered.split(_SYSTEM)
    to_user, rest = rest.split(_USER)
    to_answer, after_answer = rest.split(_ASSISTANT)
    asked = render_text(tokenizer, (system, user), open_answer=False)
    after_user = asked.split(_USER)[1]
    opened = render_text(tokenizer, (system, user), open_answer=True)
    longer = render_text(tokenizer, (system, user, answer, following), open_answer=False)
    before_user = longer.split(_ASSISTANT)[1].split(_NEXT)[0].removeprefix(after_answer)
    plain = render_text(tokenizer, (user,), open_answer=False)
    return Turns(
        around={
            "system": (before_system, to_user.removesuffix(before_user)),
            "user": (before_user, after_user),
            "assistant": (to_answer.removeprefix(after_user), after_answer),
        },
        without_system=plain.split(_USER)[0].removesuffix(before_user),
        opening=opened.removeprefix(asked),
    )


def _agrees(turns: Turns, tokenizer: PreTrainedTokenizerFast, roles: Sequence[Role]) -> bool:
    """Whether turns and template give the same text for a conversation of these roles."""
    messages = [
        Message(role=role, content=f'“{role}” {number}: "a"\n{{{{b}}}} 好') for number, role in enumerate(roles)
    ]
    return all(
        turns.render(messages, open_answer=is_open) == render_text(tokenizer, messages, open_answer=is_open)
        for is_open in (True, False)
    )
