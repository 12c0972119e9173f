"""What is shown of the passages found: once, joined, within a budget, and always the document's own text."""

from __future__ import annotations

import itertools
import random
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.knowledge.chunk import chunk_document
from pipelines.knowledge.marking import mark_words
from pipelines.knowledge.passages import (
    Budget,
    drop_duplicates,
    merge_neighbours,
    select_passages,
    text_budget,
)
from pipelines.quotes import locate
from pipelines.records import Chunk, Document, Passage

TEXT = (
    "Deposits\nA deposit of forty euros is due. It is paid back later.\n- Cash is taken.\n- Cards are not.\n\n"
    "Hours\nThe shop opens at nine. It closes at six.\n\n押金\n押金为四十欧元。归还车辆时退还。周日照常营业。\n"
)
HEADINGS = ((0, 1, "Deposits"), (TEXT.index("Hours"), 1, "Hours"), (TEXT.index("押金"), 1, "押金"))


def document_of(text: str = TEXT, *, pages: tuple[int, ...] = ()) -> Document:
    """Return a document of a text."""
    headings = HEADINGS if text == TEXT else ()
    return Document(id="d.md", source="/d.md", title="D", sha256="0", text=text, headings=headings, pages=pages)


DOCUMENT = document_of()
CHUNKS = chunk_document(DOCUMENT, size_chars=30)


def passages_of(chunks: Sequence[Chunk]) -> list[Passage]:
    """Return chunks as if they were found in that order."""
    return [Passage(chunk=chunk, score=1 - n / 100, cosine=0.5) for n, chunk in enumerate(chunks)]


def passage(text: str, *, document: str = "a.md", score: float = 0.5) -> Passage:
    """Return a passage that is the whole of a document."""
    chunk = Chunk(id=f"{document}{text}", document=document, start=0, end=len(text), text=text)
    return Passage(chunk=chunk, score=score, cosine=score)


def words_of(text: str) -> list[int]:
    """Return a token for each word."""
    return [len(word) for word in text.split()]


def test_the_same_text_is_shown_once() -> None:
    """White space, width and case make no other text; the better one stays."""
    found = [
        passage("We open at nine. Always.", score=0.9),
        passage("we open  at\nNINE. always.", document="b.md"),
        passage("ｗe open at nine. Always.", document="c.md"),
        passage("We open at ten. Always.", document="d.md"),
    ]
    assert [each.chunk.document for each in drop_duplicates(found)] == ["a.md", "d.md"]


@pytest.mark.parametrize(
    ("short", "long"),
    [
        ("Cash is taken.", "A deposit is due. Cash is taken. Cards are not."),
        ("押金为四十欧元。", "租车须知。押金为四十欧元。归还车辆时退还。"),
        ("Cash is taken.\nCards are not.", "A deposit is due. Cash is taken. Cards are not."),
    ],
)
@pytest.mark.parametrize("is_first", [True, False])
def test_what_another_one_holds_is_not_shown(short: str, long: str, is_first: bool) -> None:
    """The longer one has the better place and score of both."""
    best, worst = (0.9, 0.8) if is_first else (0.8, 0.9)
    pair = [passage(short, document="s.md", score=best), passage(long, document="l.md", score=worst)]
    found = [*pair, passage("Nothing of that.", document="o.md", score=0.85)]
    kept = drop_duplicates(sorted(found, key=lambda each: -each.score))
    assert [(each.chunk.document, each.score) for each in kept] == [("l.md", 0.9), ("o.md", 0.85)]


@pytest.mark.parametrize(
    ("short", "long"),
    [
        ("It costs 1.", "It costs 1.50 euros. That is all."),
        ("5 degrees is too cold.", "It was -5 degrees is too cold. Really."),
        ("We close.", "At six we close. Always."),
        ("价格为10元。", "会员价格为10元。欢迎光临。"),
    ],
)
def test_half_a_sentence_is_not_held(short: str, long: str) -> None:
    """A text that happens to stand inside of another sentence says something else."""
    assert len(drop_duplicates([passage(long), passage(short, document="b.md")])) == 2


def test_neighbours_become_one_passage() -> None:
    """Whatever order they were found in, they are shown in the document's, at the best one's place."""
    section = [chunk for chunk in CHUNKS if chunk.heading.endswith("Deposits")]
    hours = [chunk for chunk in CHUNKS if chunk.heading.endswith("Hours")]
    assert len(section) >= 3
    found = passages_of([section[1], hours[0], section[2], section[0]])
    merged = merge_neighbours(found, find_document=lambda _id: DOCUMENT)
    assert [(each.chunk.start, each.chunk.end) for each in merged] == [
        (section[0].start, section[2].end),
        (hours[0].start, hours[0].end),
    ]
    assert merged[0].score == found[0].score
    assert merged[1] == found[1]
    assert merged[0].chunk.text == TEXT[section[0].start : section[2].end]


def test_a_quote_of_a_merged_passage_maps_back() -> None:
    """A citation found in it has the offsets of the document, across the former border too."""
    found = merge_neighbours(passages_of(CHUNKS[:3]), find_document=lambda _id: DOCUMENT)
    quote = locate("due. It is paid back later.", found[0].chunk)
    assert quote is not None
    assert TEXT[quote.start : quote.end] == quote.quote == "due. It is paid back later."


@pytest.mark.parametrize(
    "gap", ["another section", "a chunk between", "another page", "another document", "an older version"]
)
def test_what_does_not_meet_stays_apart(gap: str) -> None:
    """Words, a heading or a page between two chunks keep them apart."""
    first, second, third = CHUNKS[:3]
    document = DOCUMENT
    pair = [first, second]
    if gap == "another section":
        borders = [n for n, (a, b) in enumerate(itertools.pairwise(CHUNKS)) if a.heading != b.heading]
        pair = CHUNKS[borders[0] : borders[0] + 2]
    elif gap == "a chunk between":
        pair = [first, third]
    elif gap == "another page":
        pair = [first.model_copy(update={"page": 1}), second.model_copy(update={"page": 2})]
    elif gap == "another document":
        pair = [first, second.model_copy(update={"document": "other.md"})]
    else:
        document = document_of(TEXT.replace("forty", "sixty"))
    merged = merge_neighbours(passages_of(pair), find_document=lambda _id: document)
    assert [each.chunk for each in merged] == pair


@given(st.lists(st.integers(0, len(CHUNKS) - 1), unique=True), st.integers(0, 60))
def test_what_is_shown_is_the_documents_own_text(numbers: list[int], max_tokens: int) -> None:
    """Whatever is found and however much fits: true offsets, no overlap, within the budget, nothing lost unsaid."""
    found = passages_of([CHUNKS[number] for number in numbers])
    budget = text_budget(max_tokens, words_of)
    selected = select_passages(found, budget=budget, find_document=lambda _id: DOCUMENT)
    chunks = [each.chunk for each in selected.passages]
    assert [chunk.text for chunk in chunks] == [TEXT[chunk.start : chunk.end] for chunk in chunks]
    spans = sorted((chunk.start, chunk.end) for chunk in chunks)
    assert all(first[1] <= second[0] for first, second in itertools.pairwise(spans))
    assert budget.count(chunks) <= max_tokens
    shown = [each for each in found if any(s <= each.chunk.start and each.chunk.end <= e for s, e in spans)]
    assert len(found) - len(shown) == selected.left_out.over_budget + selected.left_out.duplicates


def test_the_budget_keeps_the_best_and_names_the_rest() -> None:
    """What does not fit is passed over for a worse one that does, and is told."""
    found = [
        passage("one two three.", score=0.9),
        passage("four five six seven eight nine.", document="long.md", score=0.8),
        passage("ten eleven.", document="c.md", score=0.7),
        passage("twelve.", document="d.md", score=0.6),
    ]
    selected = select_passages(found, budget=text_budget(5, words_of))
    assert [each.chunk.document for each in selected.passages] == ["a.md", "c.md"]
    assert (selected.left_out.over_budget, selected.left_out.documents) == (2, ["long.md", "d.md"])
    assert select_passages(found, budget=text_budget(12, words_of)).left_out.over_budget == 0


def test_the_budget_counts_what_is_made_of_the_passages() -> None:
    """What a prompt adds to the texts counts as well, and so do merged passages as they are shown."""
    seen: list[list[str]] = []

    def count(chunks: Sequence[Chunk]) -> int:
        seen.append([chunk.text for chunk in chunks])
        return sum(10 + len(words_of(chunk.text)) for chunk in chunks)

    found = passages_of(CHUNKS[:2])
    text = TEXT[CHUNKS[0].start : CHUNKS[1].end]
    selected = select_passages(
        found, budget=Budget(max_tokens=10 + len(words_of(text)), count=count), find_document=lambda _id: DOCUMENT
    )
    assert seen == [[text]]
    assert [each.chunk.text for each in selected.passages] == [text]


def test_without_a_lookup_neighbours_stay_apart() -> None:
    """A model that was trained on single chunks is shown single chunks."""
    found = passages_of(CHUNKS[:3])
    assert list(select_passages(found).passages) == found


@pytest.mark.parametrize(
    ("text", "query", "marked"),
    [
        ("The deposits: a deposit of 40 euros.", "How high is the deposit?", ["deposits", "deposit"]),
        ("Renting was easy; he rented two.", "rent a bike", ["Renting", "rented"]),
        ("门店周日上午十点开门，晚上六点关门。", "周日几点开门？", ["周日", "点开门"]),
        ("用 Linux 内核 6.1。", "Linux 内核", ["Linux", "内核"]),
        ("The one and the other.", "the and of", []),
        ("Café au lait", "cafe", ["Café"]),
        ('He said "NEAR" OR nothing.', 'near" OR *', ["NEAR"]),
    ],
)
def test_the_words_of_the_query_are_marked(text: str, query: str, marked: list[str]) -> None:
    """In whatever form the search matched them, and not what says nothing."""
    assert [text[start:end] for start, end in mark_words(text, query)] == marked


def test_marks_are_in_order_and_apart() -> None:
    """Any text and query: the marks can be put into the text one after the other."""
    draw = random.Random(0)
    for _ in range(50):
        text = "".join(draw.choices("ab 租车押金 the deposit .\n", k=60))
        spans = mark_words(text, "".join(draw.choices("ab 租车押金 deposit", k=12)))
        assert all(0 <= start < end <= len(text) for start, end in spans)
        assert all(first[1] < second[0] for first, second in itertools.pairwise(spans))
