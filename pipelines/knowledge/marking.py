"""Where the words of a query stand in a text, in whatever form they are found there.

English words are compared by the keyword index's own stemmer, so that what is marked is
what was matched; Chinese is compared by the pairs of characters that the index holds.
"""

from __future__ import annotations

import re
import sqlite3
from contextlib import closing

from pipelines.knowledge.ledger import TOKENIZER, match_any
from pipelines.text import search_terms

# Private-use characters, which no cleaned text holds a meaning for.
_OPEN, _CLOSE = "\ue000", "\ue001"
_MARKED = re.compile(f"{_OPEN}([^{_OPEN}{_CLOSE}]*){_CLOSE}")


def mark_words(text: str, query: str) -> list[tuple[int, int]]:
    """Return start and end of each piece of `text` that the query asks for, in order, none overlapping."""
    spans = [*_stemmed(text, query), *_pairs(text, query)]
    merged: list[tuple[int, int]] = []
    for start, end in sorted(spans):
        if merged and start <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(end, merged[-1][1]))
        else:
            merged.append((start, end))
    return merged


def _stemmed(text: str, query: str) -> list[tuple[int, int]]:
    wanted = match_any(query)
    if not wanted or _OPEN in text or _CLOSE in text:
        return []
    with closing(sqlite3.connect(":memory:")) as connection:
        connection.execute(f"CREATE VIRTUAL TABLE shown USING fts5 (text, tokenize = '{TOKENIZER}')")
        connection.execute("INSERT INTO shown VALUES (?)", (text,))
        row = connection.execute(
            "SELECT highlight(shown, 0, ?, ?) FROM shown WHERE shown MATCH ?", (_OPEN, _CLOSE, wanted)
        ).fetchone()
    # Each mark before a piece has put it two characters further on.
    found = [] if row is None else list(_MARKED.finditer(row[0]))
    return [(each.start() - 2 * n, each.end() - 2 * n - 2) for n, each in enumerate(found)]


def _pairs(text: str, query: str) -> list[tuple[int, int]]:
    terms = [term for term in dict.fromkeys(search_terms(query)) if not term.isascii() and len(term) <= 2]
    return [match.span() for term in terms for match in re.finditer(re.escape(term), text)]
