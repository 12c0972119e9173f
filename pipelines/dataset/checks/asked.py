"""What kind of answer a question wants: a person, a time, a place, a reason."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from pipelines.records import Language

Kind = Literal["reason", "quantity", "time", "place", "person", "manner", "decision", "thing"]

_MEASURES = (
    "price|cost|fee|fine|penalty|deposit|salary|wages?|amount|rate|share|percentage|distance|height|weight|length|width"
    "|depth|size|speed|temperature|age|number|count|population|period|duration|lifespan|shelf life|limit|score|average"
    "|area|maximum|minimum|intake|bonus|working hours|quantity|capacity|pressure"
)
_TIMES = "year|date|day|month|century|time|decade|season|era|moment|deadline|opening hours"
_PLACES = (
    "city|country|place|town|state|location|continent|region|building|room|county|province|district|venue|birthplace"
    "|capital"
)
_PERSONS = (
    "person|people|persons|author|artist|scientist|king|queen|president|player|actor|actress|man|woman|inventor"
    "|physician|doctor|party|team|company|organization|writer|composer|general|leader"
)
_IS = r"\bwhat (?:is|are|was|were) (?:the |a )?(?:[\w'’]+ ){0,2}"
# What stands first in the question tells; of several there, the first of these.
_ENGLISH: tuple[tuple[Kind, str], ...] = (
    (
        "reason",
        r"\bwhy\b|\bhow come\b|for what (?:reason|purpose)\b|\bwhat (?:causes|caused|makes|led)\b"
        + rf"|{_IS}(?:reason|cause)s?\b",
    ),
    (
        "quantity",
        r"\bhow (?:long|many|much|often|frequently|old|far|tall|high|fast|quickly|deep|wide|big|large|heavy|thick)\b"
        rf"|\b(?:what|which) (?:percent\w*|(?:{_MEASURES})\b)|{_IS}(?:{_MEASURES})\b|at what intervals\b",
    ),
    ("time", rf"\bwhen\b|\b(?:what|which) (?:{_TIMES})\b|{_IS}(?:{_TIMES})\b"),
    ("place", rf"\bwhere\b|\b(?:what|which) (?:\w+ )?(?:{_PLACES})\b|{_IS}(?:{_PLACES})\b"),
    ("person", rf"\bwho\b|\bwhom\b|\bwhose\b|\b(?:what|which) (?:\w+ )?(?:{_PERSONS})\b"),
    (
        "manner",
        r"\bhow (?:do|does|did|can|could|should|is|are|was|were|to|would|must|may|might)\b"
        rf"|\b(?:what|which) (?:way|manner)\b|{_IS}(?:ways?|procedure|process|method|steps|technique)\b"
        r"|by (?:what|which) (?:means|method|mechanism)\b",
    ),
    (
        "decision",
        r"^(?:\W*(?:so|and|but|please|well)\W+)?(?:is|are|was|were|do|does|did|can|could|may|must|should|will|would|has|have"
        r"|had|am)\b",
    ),
    ("thing", r"\b(?:what|which)\b"),
)
_CHINESE: tuple[tuple[Kind, str], ...] = (
    ("reason", "为什么|为何|为啥|原因"),
    ("quantity", "多少|多久|多长|多高|多远|多快|多大|多重|多宽|几(?!点|号|月|时)"),
    ("time", "什么时候|何时|什么时间|几点|几号|几月|几时|哪天|哪一天|哪年|哪一年|日期"),
    ("place", "哪里|哪儿|什么地方|何处|什么位置|哪座城市|哪个城市|哪个国家"),
    ("person", "谁|哪位|哪个人|什么人|哪位作家"),
    ("manner", "怎么|怎样|如何|步骤|流程|方法|办法"),
    ("decision", "吗|是否|能不能|可不可以|要不要|有没有|是不是"),
)
_PATTERNS: dict[Language, list[tuple[Kind, re.Pattern[str]]]] = {
    "en": [(kind, re.compile(pattern)) for kind, pattern in _ENGLISH],
    "zh": [(kind, re.compile(pattern)) for kind, pattern in _CHINESE],
}
# Kinds that are asked for in each other's words: "what caused it" and "why", "is there a way" and "how".
_MIXED = frozenset(
    frozenset(pair)
    for pair in (
        ("thing", "reason"),
        ("thing", "manner"),
        ("thing", "quantity"),
        ("manner", "reason"),
        ("manner", "decision"),
        ("manner", "place"),
        ("quantity", "time"),
        ("quantity", "decision"),
        ("person", "decision"),
    )
)


@dataclass(frozen=True, slots=True)
class Asked:
    """The kind of answer that is wanted."""

    kind: Kind

    def agrees(self, other: Asked) -> bool:
        """Whether both can want the same answer."""
        return self.kind == other.kind or frozenset((self.kind, other.kind)) in _MIXED


def asked_by(question: str, language: Language) -> Asked:
    """Return the kind of answer that `question` wants."""
    found = [
        (match.start(), kind) for kind, pattern in _PATTERNS[language] if (match := pattern.search(question.casefold()))
    ]
    return Asked(min(found, key=lambda each: each[0])[1] if found else "thing")
