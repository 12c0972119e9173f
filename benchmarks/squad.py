"""SQuAD's paragraphs as documents, with the questions that each answers.

`SQUAD_DATA` names a folder with `squad_dev.jsonl.gz`: the development set of SQuAD 1.1 (Rajpurkar et
al. 2016, arXiv:1606.05250; CC BY-SA 4.0), which is not part of this repository, one paragraph a line.
"""

from __future__ import annotations

import gzip
import json
import os
import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pipelines.knowledge.add import AddDocumentsParams, AddDocumentsReport, add_documents
from pipelines.knowledge.measuring.questions import KnownQuestion, Place
from pipelines.operation import Context

VARIABLE = "SQUAD_DATA"
_DEVELOPMENT = 1_500


@dataclass(frozen=True, kw_only=True)
class Paragraph:
    """A paragraph, by the name of its file, and its questions."""

    name: str
    article: str
    text: str
    questions: tuple[str, ...]


def read_paragraphs() -> list[Paragraph]:
    """Return all paragraphs; none where the data is not there."""
    path = Path(os.environ.get(VARIABLE, "")) / "squad_dev.jsonl.gz"
    if not path.is_file():
        return []
    with gzip.open(path, "rt", encoding="utf-8") as file:
        lines = [json.loads(line) for line in file]
    return [
        Paragraph(
            name=f"{number:04}.txt",  # says nothing: with the article's title, a paragraph is found more easily
            article=line["title"],
            text=line["text"],
            questions=tuple(asked["question"] for asked in line["questions"]),
        )
        for number, line in enumerate(lines)
    ]


def split_questions(paragraphs: Sequence[Paragraph]) -> tuple[list[KnownQuestion], list[KnownQuestion]]:
    """Return the 1,500 questions that may be developed on, and the others; by a fixed seed."""
    questions = [
        KnownQuestion(question=question, language="en", targets=((Place(paragraph.name),),))
        for paragraph in paragraphs
        for question in paragraph.questions
    ]
    random.Random(0).shuffle(questions)
    return questions[:_DEVELOPMENT], questions[_DEVELOPMENT:]


def add_texts(texts: dict[str, str], folder: Path, context: Context, *, collection: str) -> AddDocumentsReport:
    """Write texts as files of a folder, and add them as a person would."""
    folder.mkdir(parents=True)
    for name, text in texts.items():
        (folder / name).write_text(text, encoding="utf-8")
    return add_documents(AddDocumentsParams(folder=folder, collection=collection), context)
