"""The prompt of the chatbot, built in one place for training, evaluation and use."""

from __future__ import annotations

import re
from collections.abc import Sequence

from pipelines.records import Chunk, Language, Message
from pipelines.text import fold_space, language_of
from prompts import Prompt, load_prompt

HEADING_SEPARATOR = " › "
_ANSWER_PROMPTS: dict[Language, str] = {"en": "answer", "zh": "answer_zh"}


def to_messages(prompt: Prompt, **inputs: object) -> tuple[Message, ...]:
    """Render a prompt as a conversation."""
    return tuple(
        Message.model_validate({"role": role, "content": content}) for role, content in prompt.render(**inputs)
    )


def inside(text: str, tag: str) -> str:
    """Return a text that can stand inside of `<tag>`: it neither closes the tag nor opens another one."""
    return re.sub(rf"<(?=\s*/?\s*{tag}\b)", "‹", text, flags=re.IGNORECASE)


def answer_prompt(language: Language) -> Prompt:
    """Return the chatbot's prompt for questions in `language`."""
    return load_prompt(_ANSWER_PROMPTS[language])


def answer_prompt_hashes() -> list[str]:
    """Return what identifies the text of the chatbot's prompts."""
    return [answer_prompt(language).sha256 for language in _ANSWER_PROMPTS]


def answer_messages(question: str, chunks: Sequence[Chunk], *, closest: str) -> tuple[Message, ...]:
    """Return what the chatbot's model is shown for a question, in the question's language.

    Args:
        question: What the person asks.
        chunks: The passages, best first.
        closest: Citation of the sentence nearest to the question.
    """
    passages = [
        {"heading": chunk.heading.rpartition(HEADING_SEPARATOR)[2], "text": fold_space(chunk.text)} for chunk in chunks
    ]
    prompt = answer_prompt(language_of(question))
    return to_messages(prompt, passages=passages, question=fold_space(question), closest=closest)


def refusal(language: Language) -> str:
    """Return what the chatbot says where the documents do not answer."""
    return str(answer_prompt(language).constants["refusal"])


def is_refusal(answer: str) -> bool:
    """Whether an answer says that the documents do not answer, in any language."""
    said = fold_space(answer).casefold().rstrip(".。 ")
    return any(said.startswith(refusal(language).casefold().rstrip(".。 ")) for language in _ANSWER_PROMPTS)
