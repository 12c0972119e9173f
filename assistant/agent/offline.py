"""Plain requests, in English or Chinese, as the commands that do them; no model needed."""

from __future__ import annotations

import re
from dataclasses import dataclass

# What may stand in place of {name}, {path} and so on in the patterns below. A name or a
# path may stand in quotes; without them it ends at white space or punctuation.
_PARTS = {
    "{name}": r"[\"'“「《]?(?P<name>\w[\w.\-]*)[\"'”」》]?",
    "{folder}": r"[\"'“「]?(?P<folder>[~./\w][^\"'”」\s，。]*)[\"'”」]?",
    "{path}": r"[\"'“「]?(?P<folder>(?:[~.]{0,2}/|[\w.\-]+/)[^\"'”」\s，。]*|(?:documents|docs)(?=[\s.]*$))[\"'”」]?",
    "{bot}": r"(?:chat ?bot|bot|assistant)",
    "{机器人}": r"(?:聊天)?机器人",
    "{list}": r"\b(?:list|show|which|what)\b.*\b",
    "{列出}": r"(?:有哪些|列出|查看|显示).*",
}
_TRIMMED = " .。?？!！,，:：\"'“”「」"
_QUOTES = " \"'“”「」"
_UNTRIMMED = {"folder", "question"}  # their dots and question marks belong to them
_NAME_WORDS, _NAME_CHARS = 3, 40


@dataclass(frozen=True, kw_only=True)
class Command:
    """A command line that does what was asked, without the program's own name."""

    arguments: tuple[str, ...]
    is_reading: bool = False  # changes nothing and costs nothing


@dataclass(frozen=True, kw_only=True)
class _Rule:
    command: str  # what is in braces is filled in from the request
    patterns: tuple[str, ...]
    is_reading: bool = False


# The first rule that matches is taken, so the more specific come first.
_RULES = (
    _Rule(
        command="bot build {name} --documents {folder}",
        patterns=(
            r"\b(?:build|make|create|train)\b.*\b{bot}\b(?:\s+(?:called|named)\s+{name})?.*?\b(?:from|of|with|on)\s+.*?{path}",
            r"(?:用|从|根据|基于|把)\s*{path}.*?(?:做|建|创建|构建|生成|训练).*?{机器人}(?:.*?(?:叫|名为)\s*{name})?",
        ),
    ),
    _Rule(
        command="bot build {name} --topic {topic}",
        patterns=(
            r"\b(?:build|make|create|train)\b.*\b{bot}\b(?:\s+(?:called|named)\s+{name})?.*?\b(?:about|on)\s+(?P<topic>.+)",
            r"(?:做|建|创建|构建|生成|训练).*?关于(?P<topic>.+?)的?{机器人}",
        ),
    ),
    _Rule(
        command="data generate {name} --topic {topic} --examples {count}",
        patterns=(
            r"\b(?:generate|write|make|create)\b\s+(?:(?P<count>\d+)\s+)?(?:training\s+)?"
            r"(?:examples?|data(?:set)?|questions?)\b.*?\b(?:about|on)\s+(?P<topic>.+)",
            r"(?:生成|编写|写)\s*(?:(?P<count>\d+)\s*(?:个|条))?.*?关于(?P<topic>.+?)的?(?:样本|数据集|数据|问答|例子)",
        ),
    ),
    _Rule(
        command="docs add {folder}",
        patterns=(
            r"\b(?:add|index|read)\b\s+(?:the\s+|my\s+)?(?:documents?|files?|folder)\s*(?:in|from|of)?\s*(?:the folder\s+)?{folder}",
            r"(?:添加|加入|索引|读取)\s*{folder}",
        ),
    ),
    _Rule(
        command="bot chat {name}",
        patterns=(
            r"\b(?:chat|talk|speak)\s+(?:with|to)\s+(?:the\s+)?(?:{bot}\s+)?{name}",
            r"(?:和|跟|与)\s*{name}\s*(?:聊|谈|对话)",
        ),
        is_reading=True,
    ),
    _Rule(
        command="bot ask -- {name} {question}",
        patterns=(
            r"\bask\s+(?:the\s+)?(?:{bot}\s+)?{name}\s*[:,]?\s+(?P<question>.+)",
            r"问(?:一下|问)?\s*(?P<name>[\w.\-]+?)\s*[:：,，]\s*(?P<question>.+)",
        ),
        is_reading=True,
    ),
    _Rule(
        command="docs search --collection {name} -- {query}",
        patterns=(
            r"\b(?:search|look)\s+(?:in\s+)?{name}\s+for\s+(?P<query>.+)",
            r"在\s*{name}\s*(?:里|中)\s*(?:搜索|查找|检索)[:：]?\s*(?P<query>.+)",
        ),
        is_reading=True,
    ),
    _Rule(command="evaluate {name}", patterns=(r"\b(?:evaluate|judge)\b\s+(?:the\s+)?(?:adapter\s+)?{name}", r"(?:评测|评估)\s*{name}")),
    _Rule(
        command="train start {name}",
        patterns=(r"\b(?:train|fine-?tune)\b\s+(?:(?:a|the)\s+)?(?:\w+\s+)?(?:on\s+)?(?:the\s+)?(?:dataset\s+)?{name}[\s.]*$", r"(?:训练|微调)\s*{name}"),
    ),
    _Rule(command="bot list", patterns=(r"{list}(?:chat ?)?bots?\b", r"{列出}机器人"), is_reading=True),
    _Rule(command="data list", patterns=(r"{list}data ?sets?\b", r"{列出}数据集"), is_reading=True),
    _Rule(command="train list", patterns=(r"{list}adapters?\b", r"{列出}适配器"), is_reading=True),
    _Rule(command="models list", patterns=(r"{list}models?\b", r"{列出}模型"), is_reading=True),
    _Rule(command="doctor", patterns=(r"\b(?:doctor|check)\b", r"检查|诊断"), is_reading=True),
    _Rule(
        command="--help",
        patterns=(r"^\s*(?:help|what can you do)\b", r"^\s*(?:帮助|你能做什么)"),
        is_reading=True,
    ),
)  # fmt: skip
_DEFAULTS = {"count": "200"}

EXAMPLES = (
    "build a chatbot called shop from ./documents",
    "用 ./documents 做一个机器人",
    "make a bot about keeping bees",
    "ask shop: when do you open on Sundays?",
    "generate 100 examples about sourdough bread",
    "list my bots",
)


def find_command(request: str) -> Command | None:
    """Return the command that does what is asked; None where no rule knows it."""
    for rule in _RULES:
        for pattern in rule.patterns:
            match = re.search(_filled(pattern), request, re.IGNORECASE)
            if match is not None:
                values = {name: text.strip(_TRIMMED) for name, text in match.groupdict().items() if text}
                values |= {name: match[name].strip(_QUOTES) for name in _UNTRIMMED & values.keys()}
                if "folder" in values:  # the dot that ends the sentence, not the one that means "here"
                    values["folder"] = re.sub(r"(?<=[^./])\.+$", "", values["folder"])
                values = {"name": _name_of(values), **_DEFAULTS, **values}
                arguments = tuple(piece.format(**values) for piece in rule.command.split())
                return Command(arguments=arguments, is_reading=rule.is_reading)
    return None


def _filled(pattern: str) -> str:
    for place, part in _PARTS.items():
        pattern = pattern.replace(place, part)
    return pattern


def _name_of(values: dict[str, str]) -> str:
    """Return a name for what was asked for without one."""
    if "topic" in values:
        words = re.findall(r"\w+", values["topic"].casefold())[:_NAME_WORDS]
    else:
        words = re.findall(r"\w+", values.get("folder", "").rstrip("/").rpartition("/")[2])
    return "-".join(words)[:_NAME_CHARS] or "bot"
