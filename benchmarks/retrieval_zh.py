"""How well Chinese questions find their answers: those of Debian's FAQ in Chinese.

`DEBIAN_FAQ_ZH` names the folder with the HTML of the package debian-faq-zh-cn (its
usr/share/doc/debian/FAQ/zh-cn). A heading that ends in a question mark is a question, and the text
under it its answer. Since a heading is kept with its passages, the documents as they are answer too
easily; so the bar is for answers alone, each a document without its question.
"""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy

from benchmarks.measure import Row
from benchmarks.squad import add_texts
from pipelines.knowledge.add import AddDocumentsParams, add_documents
from pipelines.knowledge.collection import opened_ledger, opened_retriever
from pipelines.knowledge.measuring.asking import ask_all
from pipelines.knowledge.measuring.measures import ndcg, recall
from pipelines.knowledge.measuring.questions import KnownQuestion, Place
from pipelines.knowledge.measuring.report import ARM_TITLES
from pipelines.operation import Context, open_context
from pipelines.records import Document
from pipelines.text import fold_space, language_of

_VARIABLE = "DEBIAN_FAQ_ZH"
_NUMBER = re.compile(r"^[\d.]+\s*")
_SHORTEST = 10  # characters of an answer


def measure() -> list[Row]:
    """Return a row for each way of searching the answers alone, and one for the documents as they are."""
    folder = Path(os.environ.get(_VARIABLE, ""))
    if not os.environ.get(_VARIABLE) or not any(folder.glob("*.html")):
        return [Row(what="retrieval in Chinese", figure=f"not measured: set {_VARIABLE}")]
    with tempfile.TemporaryDirectory() as name:
        context = open_context(Path(name))
        add_documents(AddDocumentsParams(folder=folder, collection="whole"), context)
        with opened_ledger(context, "whole") as ledger:
            sections = [each for document in ledger.documents() for each in _answers(document)]
        texts = {f"{number:04}.txt": text for number, (_question, text, _place) in enumerate(sections)}
        add_texts(texts, Path(name) / "answers", context, collection="answers")
        alone = [_known(question, Place(each)) for each, (question, *_rest) in zip(texts, sections, strict=True)]
        whole = [_known(question, place) for question, _text, place in sections]
        return [
            *_rows(alone, context, "answers", "answers without their questions"),
            _rows(whole, context, "whole", "the documents as they are")[0],
        ]


def _rows(questions: Sequence[KnownQuestion], context: Context, collection: str, name: str) -> list[Row]:
    with opened_retriever(context, collection) as retriever:
        asked = ask_all(questions, retriever, context)
        embedder = retriever.embedder
    rows = []
    for arm, title in ARM_TITLES.items():
        found = float(numpy.mean([recall(each.ranks[arm], at=5) for each in asked]))
        gain = float(numpy.mean([ndcg(each.ranks[arm]) for each in asked]))
        what = f"{len(asked)} Chinese questions, {name}, {embedder}: {title}"
        rows.append(Row(what=what, figure=f"recall@5 {found:.3f}, nDCG@10 {gain:.3f}"))
    return rows


def _known(question: str, place: Place) -> KnownQuestion:
    return KnownQuestion(question=question, language="zh", targets=((place,),))


def _answers(document: Document) -> list[tuple[str, str, Place]]:
    """Return the Chinese questions among the headings, each with the text under it and where that stands."""
    found = []
    ends = [*(offset for offset, _level, _title in document.headings[1:]), len(document.text)]
    for (offset, _level, title), end in zip(document.headings, ends, strict=False):
        question = _NUMBER.sub("", fold_space(title))
        line_end = document.text.find("\n", offset)
        start = end if line_end < 0 else line_end + 1
        text = document.text[start:end].strip()
        if question.endswith(("？", "?")) and language_of(question) == "zh" and len(text) >= _SHORTEST:
            found.append((question, text, Place(document.id, start, end)))
    return found
