"""How long a person waits for an answer: retrieval, prompt, first word, last word."""

from __future__ import annotations

import json
import statistics
import tempfile
from pathlib import Path

from benchmarks.measure import HANDBOOK, Row, peak_mb
from pipelines.chatbot.ask import opened_answerer
from pipelines.chatbot.bots import Bot
from pipelines.knowledge.add import AddDocumentsParams, add_documents
from pipelines.models.catalog import DEFAULT_BASE_MODEL
from pipelines.operation import open_context

_QUESTIONS = 12


def measure() -> list[Row]:
    """Ask the base model over the handbook; a tuned one has the same size and speed."""
    lines = (HANDBOOK.parent / "handbook_questions.jsonl").read_text(encoding="utf-8").splitlines()
    questions = [line["question"] for line in map(json.loads, lines) if line["language"] == "en" and line["quote"]]
    bot = Bot(name="bench", collection="bench", base=DEFAULT_BASE_MODEL, adapter=None, served="base", passages=3)
    with tempfile.TemporaryDirectory() as folder:
        context = open_context(Path(folder))
        add_documents(AddDocumentsParams(folder=HANDBOOK, collection="bench"), context)
        with opened_answerer(bot, context) as answerer:
            answerer.answer("warm up the caches, please")
            given = [answerer.answer(question) for question in questions[:_QUESTIONS]]
    asked = [answer for answer in given if answer.first_token_seconds]
    return [
        Row(
            what="an answer, first word (median)",
            figure=f"{statistics.median(each.first_token_seconds for each in asked):.2f} s",
            peak_mb=peak_mb(),
        ),
        Row(what="an answer, whole (median)", figure=f"{statistics.median(each.seconds for each in asked):.2f} s"),
    ]
