"""Asks a chatbot questions whose answers are known, and tallies right, wrong and refused.

Run: python -m benchmarks.questions WORKSPACE BOT QUESTIONS.jsonl
A line is {"question", "quote"}: the sentence that answers, or null where the documents do not.
"""

from __future__ import annotations

import json
import sys
from collections import Counter
from pathlib import Path

from pipelines.chatbot.answer import Answer
from pipelines.chatbot.ask import opened_answerer
from pipelines.chatbot.bots import load_bot
from pipelines.evaluation.scores import token_f1
from pipelines.knowledge.documents import ShowDocumentParams, show_document
from pipelines.operation import Context, open_context
from pipelines.text import fold_space

# A citation is right if it is the wanted sentence, give or take a few words.
_RIGHT = 0.6


def main(workspace: str, bot_name: str, questions: str) -> int:
    """Print each question with what became of it, then the tally."""
    context = open_context(Path(workspace))
    bot = load_bot(context, bot_name)
    tally: Counter[str] = Counter()
    citations = true_citations = 0
    with opened_answerer(bot, context) as answerer:
        for line in Path(questions).read_text(encoding="utf-8").splitlines():
            asked = json.loads(line)
            given = answerer.answer(asked["question"])
            became = _judge(given, asked["quote"])
            kind = "answerable" if asked["quote"] else "unanswerable"
            tally[f"{kind}: {became}"] += 1
            citations += len(given.citations)
            true_citations += _count_true(given, context, bot.collection)
            print(f"{became:8} {asked['question']}\n         {given.text}")
    print(f"\nanswered by {bot.served}; citations that stand in their document: {true_citations} of {citations}")
    for name, count in sorted(tally.items()):
        print(f"{name:24} {count}")
    return 0


def _judge(given: Answer, wanted: str | None) -> str:
    if given.refused:
        return "refused"
    said = fold_space(" ".join(quote.quote for quote in given.citations))
    if wanted is None:
        return "wrong"
    is_right = token_f1(said, wanted) >= _RIGHT or fold_space(wanted) in said
    return "right" if is_right else "wrong"


def _count_true(given: Answer, context: Context, collection: str) -> int:
    """Return how many citations are the document's text at their offsets."""
    count = 0
    for quote in given.citations:
        text = show_document(ShowDocumentParams(document=quote.document, collection=collection), context).text
        count += text[quote.start : quote.end] == quote.quote
    return count


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
