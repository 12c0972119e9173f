"""Rules that decide about many records at once: typed conditions, and nothing that is run.

    reject because "speaks of the text" where answer contains "the text"
    accept where score judge above 4 and not flag is toxicity
    replace "colour" "color" in answer where language is en

A rule is words, quoted where they hold spaces. It is read into the records below; no
part of it is evaluated, and a pattern is given little time, since one can be written that
would take for ever.
"""

from __future__ import annotations

import shlex
import unicodedata
from collections.abc import Sequence
from typing import Literal, get_args

import regex

from pipelines.errors import DataError
from pipelines.records import Example, Record

Subject = Literal["question", "answer", "kind", "source", "language", "label", "teacher", "prompt", "flag"]
NamedSubject = Literal["score", "attribute"]
Operator = Literal["contains", "is", "matches", "longer", "shorter", "above", "below"]

FORM = (
    'ACTION where CONDITION [and CONDITION ...]; ACTION: accept, reject [because "REASON"], or '
    'replace "OLD" "NEW" [in question|answer]; CONDITION: [not] FIELD contains|is|matches TEXT, '
    "FIELD longer than|shorter than CHARACTERS, score NAME above|below NUMBER; FIELD: "
    + ", ".join(get_args(Subject))
    + ", score NAME, attribute NAME"
)
_TEXTUAL = ("contains", "is", "matches")
_MEASURING = ("longer", "shorter")
_NUMERIC = ("above", "below")
_LONGEST_PATTERN = 500
_PATTERN_SECONDS = 0.2


class Condition(Record):
    """One thing that a record must be."""

    field: Subject | NamedSubject
    name: str = ""  # of the score or attribute
    operator: Operator
    text: str = ""
    number: float = 0.0
    is_negated: bool = False

    def holds(self, example: Example) -> bool:
        """Return whether it is true of an example; a score that is not there is neither above nor below.

        Raises:
            DataError: The pattern takes too long.
        """
        if self.operator in _NUMERIC:
            score = example.scores.get(self.name)
            if score is None:
                return False
            return (score > self.number if self.operator == "above" else score < self.number) != self.is_negated
        return any(self._fits(value) for value in self._values(example)) != self.is_negated

    def _values(self, example: Example) -> Sequence[str]:
        if self.field == "attribute":
            return [example.attributes[self.name]] if self.name in example.attributes else []
        if self.field == "flag":
            return example.flags
        if self.field == "source":
            return (*example.sources, *(quote.document for quote in example.quotes))
        return [str(getattr(example, self.field))]

    def _fits(self, value: str) -> bool:
        if self.operator == "longer":
            return len(value) > self.number
        if self.operator == "shorter":
            return len(value) < self.number
        if self.operator == "matches":
            return _matches(self.text, value)
        said, wanted = value.casefold(), self.text.casefold()
        return said == wanted if self.operator == "is" else wanted in said


class Rule(Record):
    """What to do with the records that fulfil all conditions."""

    text: str
    action: Literal["accept", "reject", "replace"]
    conditions: tuple[Condition, ...]
    reason: str = ""
    old: str = ""
    new: str = ""
    within: Literal["question", "answer"] = "answer"

    def touches(self, example: Example) -> bool:
        """Return whether the rule would do something with an example.

        Raises:
            DataError: A pattern takes too long.
        """
        if self.action == "replace" and self.old not in getattr(example, self.within):
            return False
        return all(condition.holds(example) for condition in self.conditions)


# Quotation marks that an editor or a Chinese keyboard puts instead of the plain ones.
_QUOTES = str.maketrans({"“": '"', "”": '"', "„": '"', "＂": '"'})


def parse_rule(text: str) -> Rule:
    """Read a rule.

    Raises:
        ValueError: It is not one; the message says where it ceases to be.
    """
    words = _Words(text)
    action = words.take("accept, reject or replace").casefold()
    options: dict[str, object] = {}
    if action == "reject":
        options = {"reason": words.take("a reason")} if words.has("because") else {}
    elif action == "replace":
        options = {"old": words.take("the old text"), "new": words.take("the new text")}
        if not options["old"]:
            raise ValueError("there is nothing to replace: the old text is empty")
        if words.has("in"):
            options["within"] = words.one_of(("question", "answer"))
    elif action != "accept":
        raise ValueError(f"a rule begins with accept, reject or replace, not {action!r}")
    if not words.has("where"):
        raise ValueError(f"expected 'where', got {words.next!r}; a rule is: {FORM}")
    conditions = [_condition(words)]
    while words.has("and"):
        conditions.append(_condition(words))
    if words.next:
        raise ValueError(f"conditions are joined by 'and', got {words.next!r}")
    return Rule.model_validate({"text": text.strip(), "action": action, "conditions": conditions, **options})


class _Words:
    """The words of a rule that have not been read yet; what is in quotation marks is one word."""

    def __init__(self, text: str) -> None:
        text = unicodedata.normalize("NFC", text)
        lexer = shlex.shlex(text if '"' in text else text.translate(_QUOTES), posix=True)
        lexer.whitespace_split, lexer.commenters, lexer.escape = True, "", ""  # a pattern keeps its backslashes
        try:
            self._left = list(lexer)
        except ValueError as error:
            raise ValueError("a quotation mark is not closed") from error

    @property
    def next(self) -> str:
        """The next word; empty at the end."""
        return self._left[0] if self._left else ""

    def take(self, what: str) -> str:
        """Take the next word, which is to be `what`."""
        if not self._left:
            raise ValueError(f"expected {what} at the end")
        return self._left.pop(0)

    def has(self, word: str) -> bool:
        """Take the next word if it is that one; return whether it was."""
        is_next = self.next.casefold() == word
        if is_next:
            self._left.pop(0)
        return is_next

    def one_of(self, words: Sequence[str]) -> str:
        """Take the next word, which is to be one of those."""
        word = self.take(", ".join(words)).casefold()
        if word not in words:
            raise ValueError(f"expected {', '.join(words)}, got {word!r}")
        return word


def _condition(words: _Words) -> Condition:
    values: dict[str, object] = {"is_negated": words.has("not")}
    field = values["field"] = words.one_of((*get_args(Subject), *get_args(NamedSubject)))
    if field in get_args(NamedSubject):
        values["name"] = words.take(f"the name of the {field}")
    operator = values["operator"] = words.one_of(_NUMERIC if field == "score" else (*_TEXTUAL, *_MEASURING))
    if operator in _TEXTUAL:
        values["text"] = words.take("a text")
        if operator == "matches":
            _compile(str(values["text"]))
        return Condition.model_validate(values)
    words.has("than")
    values["number"] = _number(words.take("a number"))
    return Condition.model_validate(values)


def _number(value: str) -> float:
    try:
        return float(value)
    except ValueError as error:
        raise ValueError(f"expected a number, got {value!r}") from error


def _compile(pattern: str) -> regex.Pattern[str]:
    if len(pattern) > _LONGEST_PATTERN:
        raise ValueError(f"a pattern has at most {_LONGEST_PATTERN} characters, this one {len(pattern)}")
    try:
        return regex.compile(pattern, regex.IGNORECASE)
    except regex.error as error:
        raise ValueError(f"{pattern!r} is not a pattern: {error}") from error


def _matches(pattern: str, value: str) -> bool:
    try:
        return _compile(pattern).search(value, timeout=_PATTERN_SECONDS) is not None
    except TimeoutError as error:
        raise DataError(
            f"the pattern {pattern!r} takes too long", hint="Avoid repetitions within repetitions, as in (a+)+."
        ) from error
