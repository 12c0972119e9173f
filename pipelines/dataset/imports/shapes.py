"""What a record of existing data says, in whichever of the usual shapes it is written."""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import get_args

from pipelines.dataset.imports.spans import place_spans, read_spans
from pipelines.records import Message, Role, Span
from pipelines.text import clean_text

QUESTION_NAMES = ("question", "prompt", "query", "problem", "instruction", "input", "user", "问题", "提问")
ANSWER_NAMES = (
    *("answer", "answers", "completion", "response", "output", "solution", "assistant", "reply"),
    *("答案", "回答", "回复"),
)
_CONTEXT_NAMES = ("context", "passage", "上下文", "段落")
_TEXT_NAMES = ("text", "sentence", "review", "content", "文本")
_LABEL_NAMES = ("label", "category", "class", "intent", "标签", "类别")
_SYSTEM_NAMES = ("system", "system_prompt")
_TITLE_NAMES = ("title",)
COLUMNS = (*QUESTION_NAMES, *ANSWER_NAMES, *_TEXT_NAMES, *_LABEL_NAMES, "chosen", "rejected")
_ROLES: dict[str, Role] = {
    **dict.fromkeys(("system", "developer"), "system"),
    **dict.fromkeys(("user", "human", "prompter"), "user"),
    **dict.fromkeys(("assistant", "gpt", "bot", "model", "ai", "chatgpt", "bing", "bard", "claude"), "assistant"),
}
_SURROGATE = re.compile("[\ud800-\udfff]")
_CHATML = re.compile(r"<\|im_start\|>(\w+)\n(.*?)<\|im_end\|>", re.DOTALL)

Fields = Mapping[str, object]


@dataclass(frozen=True, kw_only=True)
class Columns:
    """Where the question and the answer are, if the names do not tell."""

    question: str = ""
    answer: str = ""

    @property
    def named(self) -> tuple[str, ...]:
        """Names that were given."""
        return tuple(name.strip().casefold() for name in (self.question, self.answer) if name.strip())

    @property
    def question_names(self) -> tuple[str, ...]:
        """Names under which a question may stand."""
        return (self.question.strip().casefold(),) if self.question else QUESTION_NAMES

    @property
    def answer_names(self) -> tuple[str, ...]:
        """Names under which an answer may stand."""
        return (self.answer.strip().casefold(),) if self.answer else ANSWER_NAMES


@dataclass(frozen=True, kw_only=True)
class Parts:
    """What a record says: its messages in turn, answer last, and what else it brings."""

    messages: tuple[Message, ...]
    context: str = ""
    title: str = ""
    label: str = ""
    rejected: str = ""
    spans: tuple[Span, ...] | None = None  # of a text that is marked; () where there is nothing to mark
    trimmed: int = 0  # turns before the first question, or after the last answer


def read_parts(value: object, *, shape: str, columns: Columns) -> Parts | None:
    """Return what a record says; None if it has none of the shapes.

    Args:
        value: The record, as it was parsed.
        shape: One of SHAPES, or anything else to try each of them.
        columns: Where the question and the answer are.

    Raises:
        ValueError: It is no record, or lacks something.
    """
    if isinstance(value, list):
        value = {"messages": value}
    if not isinstance(value, dict):
        raise ValueError(f"is not a record but {type(value).__name__}")
    fields = {str(name).strip().casefold(): each for name, each in value.items() if each is not None}
    tried = [SHAPES[shape]] if shape in SHAPES else SHAPES.values()
    if columns.question or columns.answer:
        tried = [_pair]
    for read in tried:
        parts = read(fields, columns)
        if parts is not None:
            return parts
    return None


def clean(text: str) -> str:
    """Return a text of the file, fit to be kept.

    Raises:
        ValueError: It holds half a character.
    """
    if _SURROGATE.search(text):
        raise ValueError("holds half a character (an unpaired surrogate)")
    return clean_text(text).strip()


def conversation(turns: Sequence[tuple[Role, str]], **others: str) -> Parts:
    """Return turns as a conversation that begins with a question and ends with an answer.

    Raises:
        ValueError: There is no such conversation in them.
    """
    messages = [Message(role=role, content=clean(content)) for role, content in turns]
    system = messages[:1] if messages and messages[0].role == "system" else []
    spoken = messages[len(system) :]
    while spoken and spoken[0].role == "assistant":
        spoken.pop(0)
    while spoken and spoken[-1].role == "user":
        spoken.pop()
    trimmed = len(messages) - len(system) - len(spoken)
    if not spoken:
        raise ValueError("holds no question that is followed by an answer")
    for number, message in enumerate(spoken):
        if message.role == "system":
            raise ValueError("has a system message that is not the first one")
        if message.role != ("user", "assistant")[number % 2]:
            raise ValueError(f"has two messages of the {message.role} in a row")
        if not message.content:
            raise ValueError(f"has an empty message of the {message.role}")
    kept = [each for each in system if each.content]
    return Parts(messages=(*kept, *spoken), spans=None, trimmed=trimmed, **others)


def _openai(fields: Fields, columns: Columns) -> Parts | None:
    del columns
    if "preferred_output" in fields:
        asked = fields.get("input")
        prompt = asked.get("messages") if isinstance(asked, dict) else None
        return _preferred(prompt, fields["preferred_output"], fields.get("non_preferred_output"), fields)
    if "messages" not in fields:
        return None
    return conversation(_turns(fields["messages"], "user"), **_extras(fields))


def _sharegpt(fields: Fields, columns: Columns) -> Parts | None:
    del columns
    found = next((fields[name] for name in ("conversations", "conversation") if name in fields), None)
    if found is None:
        return None
    turns = _turns(found, "user")
    system = _text(fields, _SYSTEM_NAMES)
    if system and (not turns or turns[0][0] != "system"):
        turns.insert(0, ("system", system))
    if isinstance(fields.get("chosen"), dict):  # a preference, as LLaMA-Factory writes it
        return _preferred(found, [fields["chosen"]], [fields.get("rejected")], fields)
    return conversation(turns, **_extras(fields))


def _preference(fields: Fields, columns: Columns) -> Parts | None:
    if "chosen" not in fields or "rejected" not in fields:
        return None
    prompt = next((fields[name] for name in columns.question_names if name in fields), None)
    return _preferred(prompt, fields["chosen"], fields["rejected"], fields)


def _preferred(prompt: object, chosen: object, rejected: object, fields: Fields) -> Parts:
    better, worse = _turns(chosen, "assistant"), _turns(rejected, "assistant")
    if not better or not worse:
        raise ValueError("lacks the better or the worse answer")
    before = better[:-1] if len(better) > 1 else _turns(prompt, "user")
    if len(worse) > 1 and worse[:-1] != before:
        raise ValueError("its two answers do not answer the same question")
    if not before:
        raise ValueError("has two answers, but no question")
    system = _text(fields, _SYSTEM_NAMES)
    first: list[tuple[Role, str]] = [("system", system)] if system and before[0][0] != "system" else []
    bad = clean(worse[-1][1])
    if not bad or bad == clean(better[-1][1]):
        raise ValueError("its worse answer is empty, or the same as the better one")
    return conversation([*first, *before, better[-1]], rejected=bad, **_extras(fields))


def _alpaca(fields: Fields, columns: Columns) -> Parts | None:
    del columns
    if "instruction" not in fields or "output" not in fields:
        return None
    asked = [each for each in (_text(fields, ("instruction",)), _text(fields, ("input",))) if each.strip()]
    turns: list[tuple[Role, str]] = [("system", system)] if (system := _text(fields, _SYSTEM_NAMES)) else []
    history = fields.get("history")
    for pair in history if isinstance(history, list) else []:
        if not isinstance(pair, list) or len(pair) != 2:
            raise ValueError("has a history that is not a list of pairs")
        turns += [("user", str(pair[0])), ("assistant", str(pair[1]))]
    turns += [("user", "\n\n".join(asked)), ("assistant", _text(fields, ("output",)))]
    return conversation(turns, **_extras(fields))


def _pair(fields: Fields, columns: Columns) -> Parts | None:
    question = next((fields[name] for name in columns.question_names if name in fields), None)
    answer = next((fields[name] for name in columns.answer_names if name in fields), None)
    if question is None or answer is None:
        return None
    if fields.get("label") in (False, "false", "False"):
        raise ValueError("its answer is marked as a bad one (label false)")
    answer = _first_of_several(answer)
    system = _text(fields, _SYSTEM_NAMES)
    turns: list[tuple[Role, str]] = [("system", system)] if system else []
    return conversation([*turns, *_turns(question, "user"), *_turns(answer, "assistant")], **_extras(fields))


def _first_of_several(answer: object) -> object:
    """Return the first of the answers that SQuAD gives, in either of its forms; others as they are."""
    if isinstance(answer, dict) and isinstance(answer.get("text"), list):
        return next(iter(answer["text"]), "")
    if isinstance(answer, list) and answer and isinstance(answer[0], dict) and "answer_start" in answer[0]:
        return answer[0].get("text")
    return answer


def _labelled(fields: Fields, columns: Columns) -> Parts | None:
    del columns
    text, label = _text(fields, _TEXT_NAMES), _text(fields, _LABEL_NAMES)
    if not any(name in fields for name in _TEXT_NAMES) or not any(name in fields for name in _LABEL_NAMES):
        return None
    if not clean(label):
        raise ValueError("its label is empty")
    return conversation([("user", text), ("assistant", label)], label=clean(label))


def _marked(fields: Fields, columns: Columns) -> Parts | None:
    del columns
    if not any(name in fields for name in _TEXT_NAMES) or not isinstance(fields.get("spans"), list):
        return None
    text = _text(fields, _TEXT_NAMES)
    spans = place_spans(read_spans(fields["spans"]), before=text, after=clean(text))
    said = [{"text": clean(text)[span.start : span.end], "label": span.label} for span in spans]
    parts = conversation([("user", text), ("assistant", json.dumps(said, ensure_ascii=False))])
    return dataclasses.replace(parts, spans=tuple(spans))


def _chatml(fields: Fields, columns: Columns) -> Parts | None:
    del columns
    turns = _CHATML.findall(text) if isinstance(text := fields.get("text"), str) else []
    return conversation([(_role(role), content) for role, content in turns]) if turns else None


Shape = Callable[[Fields, Columns], Parts | None]
SHAPES: dict[str, Shape] = {
    "openai": _openai,
    "sharegpt": _sharegpt,
    "preference": _preference,
    "alpaca": _alpaca,
    "pair": _pair,
    "spans": _marked,
    "labelled": _labelled,
    "chatml": _chatml,
}


def _extras(fields: Fields) -> dict[str, str]:
    return {"context": clean(_text(fields, _CONTEXT_NAMES)), "title": clean(_text(fields, _TITLE_NAMES))}


def _text(fields: Fields, names: Sequence[str]) -> str:
    """Return the first field that is there, as text; empty if there is none."""
    found = next((fields[name] for name in names if name in fields), "")
    if isinstance(found, bool | int | float):
        return str(found).lower() if isinstance(found, bool) else str(found)
    if not isinstance(found, str):
        name = next(name for name in names if name in fields)
        raise ValueError(f"its {name!r} is not a text but {type(found).__name__}")
    return found


def _turns(value: object, role: Role) -> list[tuple[Role, str]]:
    """Return messages, or one text that `role` says, as turns."""
    if value is None:
        return []
    if isinstance(value, str | int | float):
        return [(role, _text({"text": value}, ("text",)))]
    if isinstance(value, dict) and "messages" in value:
        value = value["messages"]
    if not isinstance(value, list):
        raise ValueError(f"expected a text or messages, got {type(value).__name__}")
    return [_turn(each, role) for each in value]


def _turn(message: object, role: Role) -> tuple[Role, str]:
    if isinstance(message, str):
        return role, message
    if not isinstance(message, dict):
        raise ValueError(f"has a message that is {type(message).__name__}")
    name = next((message[key] for key in ("role", "from", "speaker") if key in message), None)
    if message.get("tool_calls") or message.get("function_call"):
        raise ValueError("has a message that calls a tool, which cannot be imported")
    content = next((message[key] for key in ("content", "value", "text") if key in message), None)
    if isinstance(content, list):
        content = "".join(_piece(piece) for piece in content)
    if not isinstance(content, str):
        raise ValueError(f"has a message whose content is {type(content).__name__}")
    return _role(name), content


def _piece(piece: object) -> str:
    if isinstance(piece, str):
        return piece
    text = piece.get("text") if isinstance(piece, dict) else None
    if not isinstance(text, str):
        raise ValueError("has a message with something other than text in it")
    return text


def _role(name: object) -> Role:
    role = _ROLES.get(str(name).strip().casefold())
    if role is None:
        raise ValueError(f"has a message by {name!r}; expected {', '.join(get_args(Role))}")
    return role
