"""Checks of form: lengths, roles, boilerplate, leaked prompts, cut and repeated text.

What an answer quotes of a document is not judged for its style: lists, code and headings are
what documents are made of. Only the words that the teacher added are judged.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence

from pipelines.dataset.checks.damage import repetition, truncation
from pipelines.dataset.checks.phrases import (
    CLOSERS,
    LEAKS,
    OPENERS,
    PLACEHOLDER,
    POINTS_AT_PASSAGE,
    REFUSALS,
    SPEAKS_OF_ITSELF,
)
from pipelines.dataset.recipes.degrade import MOST_LENGTH_RATIO, is_comparable
from pipelines.prompting import is_refusal
from pipelines.quotes import check_answer
from pipelines.records import Example, ExampleKind, Message, Quote, Rejection, rejected
from pipelines.text import fold_space, words

_Problem = tuple[str, str]  # the check's name, and what is wrong

_IMPORTED = "import"  # teacher of what was not written here

_ASKED = frozenset({ExampleKind.GROUNDED, ExampleKind.UNANSWERABLE, ExampleKind.FALSE_PREMISE})
_LABELLED = frozenset({ExampleKind.CLASSIFICATION, ExampleKind.SPANS})
_MAY_REFUSE = frozenset({ExampleKind.UNANSWERABLE, ExampleKind.PREFERENCE, ExampleKind.CONVERSATION})
# Fewest and most words; each Chinese character is one, and two or so make a word.
_ASKED_WORDS = {"en": (3, 60), "zh": (4, 100)}
_TASK_WORDS = (1, 4000)
_TEXT_WORDS = (1, 4000)
_MOST_LABEL_CHARS = 80
# A refusal stands at the beginning; later on, "I cannot" is part of what is said.
_REFUSAL_CHARS = 80
_FEWEST_REPEATED_WORDS = 4

_ASKS = re.compile(r"[?？][\"'”’)）」』]*$")
_CODE = re.compile(r"```.*?(?:```|$)|`[^`\n]+`", re.DOTALL)
# Parts of a text that say something: letters, digits, symbols such as operators and emoji.
_CONTENT = ("L", "N", "S")


def check_form(example: Example) -> Example | Rejection:
    """Return the example if question, answer and labels have the form of their kind."""
    problem = (
        _length_problem(example)
        or _kind_problem(example)
        or _question_problem(example)
        or _answer_problem(example)
        or _turns_problem(example)
    )
    if problem is None:
        return example
    check, reason = problem
    return rejected(example, check=check, reason=reason)


def own_words(example: Example) -> str:
    """Return what of the answer the teacher said itself, besides the documents' own text."""
    return _own_words(example.answer, example.quotes)


def _own_words(text: str, quotes: Sequence[Quote]) -> str:
    if not quotes:
        return text.strip()
    said = fold_space(text)
    documents = [fold_space(quote.quote) for quote in quotes]
    for document in documents:
        said = said.replace(document, " ")
    # What is left of a citation are its marks, or a quote with a slip in it.
    said = check_answer(said, ()).prose
    return "" if any(said.strip(" .。") in document for document in documents) else said


def _length_problem(example: Example) -> _Problem | None:
    if example.kind in _ASKED:
        fewest, most = _ASKED_WORDS[example.language]
    else:
        fewest, most = _TEXT_WORDS if example.kind in _LABELLED else _TASK_WORDS
    if example.kind is not ExampleKind.CONVERSATION:
        count = len(words(example.question))
        if not fewest <= count <= most:
            return "length", f"the question has {count} words, expected {fewest} to {most}"
    count = len(words(example.answer))
    if count > _TASK_WORDS[1]:
        return "length", f"the answer has {count} words, expected {_TASK_WORDS[1]} at most"
    better, worse = example.answer, example.rejected
    if worse and not is_comparable(better, worse, degradation=example.degradation):
        return "length", (
            f"the answers of the pair have {len(better)} and {len(worse)} characters, "
            f"more than {MOST_LENGTH_RATIO} times apart"
        )
    return None


def _kind_problem(example: Example) -> _Problem | None:
    """Return what the kind of the example demands and does not find."""
    problem = ""
    if example.kind is ExampleKind.UNANSWERABLE:
        problem = "" if is_refusal(example.answer) else f"an unanswerable question is answered: {example.answer[:80]!r}"
    elif example.kind is ExampleKind.CLASSIFICATION:
        if not 0 < len(example.label.strip()) <= _MOST_LABEL_CHARS:
            problem = f"expected a label of 1 to {_MOST_LABEL_CHARS} characters, got {example.label[:100]!r}"
    elif example.kind is ExampleKind.SPANS:
        problem = _spans_problem(example)
    elif example.kind is ExampleKind.PREFERENCE:
        if not _has_content(example.rejected):
            problem = f"the worse answer says nothing: {example.rejected[:80]!r}"
        elif _folded(example.rejected) == _folded(example.answer):
            problem = "the better and the worse answer are the same"
    elif example.kind is ExampleKind.CONVERSATION:
        problem = _roles_problem(example.messages)
    return ("form", problem) if problem else None


def _spans_problem(example: Example) -> str:
    position = 0
    for span in example.spans:
        piece = example.question[span.start : span.end]
        if not 0 <= span.start < span.end <= len(example.question):
            return f"the piece {span.label!r} at {span.start} to {span.end} lies outside the text"
        if piece != piece.strip():
            return f"the piece {piece!r} begins or ends with white space"
        if span.start < position:
            return f"the piece {piece!r} overlaps the one before, or is out of order"
        position = span.end
    return ""


def _roles_problem(messages: Sequence[Message]) -> str:
    roles = [message.role for message in messages]
    turns = roles[1:] if roles[:1] == ["system"] else roles
    users = len(turns[::2])
    if turns != ["user", "assistant"] * users:
        return f"expected turns of user and assistant, the last by the assistant, got {', '.join(roles) or 'none'}"
    if users < 2:
        return "a conversation has two questions at least, got one"
    return ""


def _question_problem(example: Example) -> _Problem | None:
    question = example.question.strip()
    if not _has_content(question):
        return "form", f"the question says nothing: {question[:80]!r}"
    if example.kind in _ASKED and not _ASKS.search(question):
        return "form", f"the question does not end with a question mark: {question[-40:]!r}"
    if example.kind in _ASKED and (found := POINTS_AT_PASSAGE.search(question)):
        return "points_at_passage", f"the question speaks of the passage itself: {found.group()!r}"
    if example.kind in _LABELLED:
        return None  # the text is a document's or a person's, whatever it says
    return _speech_problem(question, example, "the question")


def _answer_problem(example: Example) -> _Problem | None:
    # A text that somebody went through and marked nothing in teaches what not to mark; a teacher
    # that marks nothing has not done what it was asked for.
    is_unmarked = example.kind is ExampleKind.SPANS and example.teacher == _IMPORTED and not example.spans
    if not _has_content(example.answer) and not is_unmarked:
        return "form", f"the answer says nothing: {example.answer[:80]!r}"
    if example.kind in _LABELLED:
        return None
    if _folded(example.answer) == _folded(example.question):
        return "form", "the answer equals the question"
    if is_refusal(example.answer):
        return None if example.kind in _MAY_REFUSE else ("boilerplate", f"the teacher refuses: {example.answer[:80]!r}")
    if example.kind in _ASKED and (found := POINTS_AT_PASSAGE.search(own_words(example))):
        return "points_at_passage", f"the answer speaks of the passage, which nobody sees: {found.group()!r}"
    return _reply_problem(example.answer, example, "the answer")


def _turns_problem(example: Example) -> _Problem | None:
    """Judge each turn of a conversation as its first question and its answer are judged."""
    if example.kind is not ExampleKind.CONVERSATION:
        return None
    said: set[str] = set()
    for number, message in enumerate(example.messages):
        where = f"turn {number + 1}"
        if message.role == "system":
            continue
        if not _has_content(message.content):
            return "form", f"{where} says nothing: {message.content[:80]!r}"
        # Once passages are shown with them, the user's turns are not the user's alone.
        if message.role == "assistant":
            problem = _reply_problem(message.content, example, where)
        else:
            problem = None if example.chunks else _speech_problem(message.content, example, where)
        if problem is None and message.content in said and len(words(message.content)) >= _FEWEST_REPEATED_WORDS:
            problem = "repetition", f"{where} says what was said before: {message.content[:80]!r}"
        if problem is not None:
            return problem
        said.add(message.content)
    return None


def _reply_problem(text: str, example: Example, where: str) -> _Problem | None:
    """Return what is wrong with what the assistant says in a reply besides its quotes."""
    said = _own_words(text, example.quotes)
    spoken = _CODE.sub(" ", said).replace("’", "'").strip()
    found = OPENERS.match(spoken) or CLOSERS.search(spoken) or REFUSALS.search(spoken, 0, _REFUSAL_CHARS)
    if found:
        return "boilerplate", f"{where} has a phrase of chat models: {found.group()!r}"
    # A reply may end with a document's words, and these as they like.
    ends_in_own_words = bool(said) and (not example.quotes or fold_space(text).endswith(said[-20:]))
    if ends_in_own_words and (cut := truncation(said)):
        return "truncated", f"{where} {cut}: …{said[-60:]!r}"
    return _speech_problem(said, example, where)


def _speech_problem(text: str, example: Example, where: str) -> _Problem | None:
    """Return what neither a person's question nor the assistant's reply contains."""
    spoken = _CODE.sub(" ", text).replace("’", "'")
    if found := SPEAKS_OF_ITSELF.search(spoken):
        return "boilerplate", f"{where} speaks as a model of itself: {found.group()!r}"
    if PLACEHOLDER.fullmatch(text.strip()):
        return "leak", f"{where} is a placeholder: {text[:80]!r}"
    if looped := repetition(text):
        return "repetition", f"{where} {looped}"
    if "json" in example.question.casefold():
        return None  # it asks for such keys
    for leak in LEAKS.finditer(spoken):
        if not any(leak.group() in quote.quote for quote in example.quotes):
            return "leak", f"{where} contains a piece of a prompt: {leak.group()!r}"
    return None


def _has_content(text: str) -> bool:
    return any(unicodedata.category(character)[0] in _CONTENT for character in text)


def _folded(text: str) -> str:
    return fold_space(text).casefold().rstrip(".。!！?？ ")
