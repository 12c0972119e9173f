"""Keeps what a model is going to be judged by out of what it learns.

An example goes if it shares a long run of words with an evaluation text, or asks what an
evaluation question asks. Thirteen words are what Brown et al. took; Chinese has no spaces,
and about one and a half characters to a word, so there it is a run of twenty characters.

Source:
    Brown et al. 2020, Language Models are Few-Shot Learners, appendix C, arXiv:2005.14165.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from pipelines.dataset.checks.duplicates import DuplicateFinder
from pipelines.errors import DataError
from pipelines.records import Example, Language, Rejection, rejected
from pipelines.text import language_of, words

if TYPE_CHECKING:
    from pipelines.models.embedder import Embedder

_RUN: dict[Language, int] = {"en": 13, "zh": 20}
# What is longer is no question, but a text that contains one.
_LONGEST_QUESTION = 60
_FIELDS = ("question", "prompt", "text", "messages")


class OverlapCheck:
    """A check that drops examples of which something is in an evaluation set."""

    def __init__(self, evaluation: Sequence[str], *, embedder: Embedder | None = None) -> None:
        """Remember the texts of an evaluation set; paraphrases are found with an embedder only."""
        self._runs = {run for text in evaluation for run in _runs(text)}
        self._finder = DuplicateFinder(embedder)
        self._finder.check_all([text for text in evaluation if len(words(text)) <= _LONGEST_QUESTION])

    def __call__(self, example: Example) -> Example | Rejection:
        """Return the example, or why it must not be learnt."""
        [checked] = self.check_all([example])
        return checked

    def check_all(self, examples: Sequence[Example]) -> list[Example | Rejection]:
        """Check many examples, which is quicker than each alone."""
        problems = self._finder.look_up([example.question for example in examples])
        return [
            self._check(example, problem.of if problem else None)
            for example, problem in zip(examples, problems, strict=True)
        ]

    def _check(self, example: Example, asked: str | None) -> Example | Rejection:
        if asked is not None:
            return rejected(example, check="overlap", reason=f"an evaluation set asks this: {asked}")
        said = (message.content for message in example.messages if message.role != "system")
        for text in (example.question, example.answer, example.rejected, *said):
            shared = next((run for run in _runs(text) if run in self._runs), None)
            if shared is not None:
                return rejected(example, check="overlap", reason=f"an evaluation set has the words: {shared}")
        return example


def read_evaluation_texts(path: Path) -> list[str]:
    """Read the texts of an evaluation set.

    Args:
        path: JSONL, with a `question`, `prompt`, `text` or `messages` in each line; or plain
            text (.txt, .md), of which each line counts as one text.

    Raises:
        DataError: The file cannot be read, has another form, or has no text in it.
    """
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror}", path=path) from error
    except UnicodeDecodeError as error:
        raise DataError(f"{path.name} is not text in UTF-8", path=path, hint="Save it as UTF-8.") from error
    if path.suffix.casefold() == ".jsonl":
        found = [text for number, line in enumerate(lines, 1) if line.strip() for text in _texts(line, number, path)]
    elif path.suffix.casefold() in (".txt", ".md"):
        found = [line.strip() for line in lines]
    else:
        raise DataError(
            f"{path.name} is neither JSONL nor plain text",
            path=path,
            hint="Give a file that ends in .jsonl, .txt or .md.",
        )
    texts = [text for text in found if text.strip()]
    if not texts:
        raise DataError(f"there is no text in {path.name}", path=path)
    return texts


def _texts(line: str, number: int, path: Path) -> Iterator[str]:
    """Yield the texts of one line of JSONL."""
    try:
        record = json.loads(line)
    except ValueError as error:
        raise _malformed(path, number, "is not JSON") from error
    if not isinstance(record, dict) or not any(field in record for field in _FIELDS):
        raise _malformed(path, number, f"has none of the fields {', '.join(_FIELDS)}")
    for field in _FIELDS[:-1]:
        if field in record:
            if not isinstance(record[field], str):
                raise _malformed(path, number, f"has a {field} that is not text")
            yield record[field]
    messages = record.get("messages", [])
    if not isinstance(messages, list):
        raise _malformed(path, number, "has messages that are not a list")
    for message in messages:
        if not isinstance(message, dict) or not isinstance(message.get("content"), str):
            raise _malformed(path, number, "has a message without content")
        if message.get("role") != "system":
            yield message["content"]


def _malformed(path: Path, number: int, what: str) -> DataError:
    return DataError(f"{path.name} line {number} {what}", path=path, hint="Repair or remove that line.")


def _runs(text: str) -> Iterator[str]:
    """Yield every run of as many words, or Chinese characters, as count as copied."""
    said = words(text)
    size = _RUN[language_of(text)]
    for start in range(len(said) - size + 1):
        yield " ".join(said[start : start + size])
