"""Citations: their form, and the proof that each is the document's own text."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.knowledge.chunk import chunk_document
from pipelines.prompting import is_refusal, refusal
from pipelines.quotes import check_answer, find_sentences, format_citation, locate
from pipelines.records import Chunk, Document, Language
from pipelines.text import fold_space

SHOP = (
    "We open at nine in the morning. A deposit of 40 euros is due.\n"
    "The “blue” line   is for e-bikes – and for them alone."
)
SHOP_ZH = "周日上午十点开门。押金为四十欧元，归还时退还。\n头盔可以免费借用。"

WORD = st.sampled_from(
    ["bike", "lock", "nine", "“spare”", 'the "old" one', "don’t", "9–5", "车店", "押金。", "Open", "3.5"]
)
SENTENCE = st.lists(WORD, min_size=1, max_size=8).map(lambda found: " ".join(found) + ".")


def make_chunk(text: str, *, start: int = 100, document: str = "shop.md", page: int | None = None) -> Chunk:
    """Return a chunk that stands somewhere within a document."""
    return Chunk(id=f"{document}:{start}", document=document, start=start, end=start + len(text), text=text, page=page)


def make_document(text: str) -> Document:
    """Return a document without headings."""
    return Document(id="shop.md", source="/shop.md", title="Shop", sha256="", text=text)


def unified(text: str) -> str:
    """Return what remains of a text where white space and kinds of marks do not count."""
    for variants, plain in (("‘’", "'"), ("“”", '"'), ("–—", "-")):
        for variant in variants:
            text = text.replace(variant, plain)
    return fold_space(text)


@st.composite
def answered(draw: st.DrawFn) -> tuple[Document, list[Chunk], str]:
    """Draw a document, its chunks, and an answer that quotes it rightly, wrongly or not at all."""
    document = make_document("\n".join(draw(st.lists(SENTENCE, min_size=1, max_size=6))))
    chunks = chunk_document(document, size_chars=60)
    text = document.text
    start = draw(st.integers(0, len(text) - 1))
    piece = text[start : draw(st.integers(start + 1, len(text)))]
    quotes = st.one_of(st.just(piece), SENTENCE, SENTENCE.map(lambda said: piece + said), st.text(max_size=12))
    citations = st.builds(format_citation, quotes, st.integers(0, 12))
    parts = draw(st.lists(st.one_of(citations, SENTENCE, st.text(max_size=12), st.just(piece)), max_size=4))
    return document, chunks, " ".join(parts)


@given(answered())
def test_a_citation_is_the_text_of_the_document_at_its_offsets(drawn: tuple[Document, list[Chunk], str]) -> None:
    """Whatever a model says, what is cited stands in the document, to the letter."""
    document, chunks, answer = drawn
    for quote in check_answer(answer, chunks).quotes:
        assert quote.document == document.id
        assert document.text[quote.start : quote.end] == quote.quote


@given(answered())
def test_an_unproved_quote_stands_in_no_chunk(drawn: tuple[Document, list[Chunk], str]) -> None:
    """No quote that could be proved is thrown away, but for those too short to prove anything."""
    _document, chunks, answer = drawn
    for said in check_answer(answer, chunks).unproved:
        assert len(said.strip()) < 8 or not [chunk for chunk in chunks if unified(said) in unified(chunk.text)]


@given(st.lists(SENTENCE, min_size=1, max_size=5), st.data())
def test_a_citation_that_was_formatted_is_read_back(sentences: list[str], data: st.DataObject) -> None:
    """What `format_citation` writes of a chunk, `check_answer` proves in that chunk."""
    texts = [f"{sentence} And so on." for sentence in sentences]
    chunks = [make_chunk(text, start=1000 * number) for number, text in enumerate(texts)]
    number = data.draw(st.integers(1, len(chunks)))
    quoted = f"{sentences[number - 1]} And so on"
    checked = check_answer(format_citation(quoted, number), chunks)
    assert checked.quotes == (locate(quoted, chunks[number - 1]),)
    assert (checked.prose, checked.unproved) == ("", ())
    assert checked.quotes[0].start == 1000 * (number - 1)


@given(SENTENCE, SENTENCE, st.data())
def test_locate_is_exact_up_to_white_space_and_marks(before: str, text: str, data: st.DataObject) -> None:
    """A part of the text is found however it is spaced and quoted, and what is found is that part."""
    chunk = make_chunk(f"{before}\n{text}")
    start = data.draw(st.integers(0, len(text) - 1))
    wanted = text[start : data.draw(st.integers(start + 1, len(text)))]
    reworded = unified(wanted).replace(" ", data.draw(st.sampled_from([" ", "  ", "\n", "\u00a0"])))
    found = locate(reworded, chunk)
    if not wanted.strip():
        assert found is None
        return
    assert found is not None
    assert chunk.text[found.start - chunk.start : found.end - chunk.start] == found.quote
    assert unified(found.quote) == unified(wanted)


@given(SENTENCE, SENTENCE)
def test_locate_finds_nothing_that_does_not_stand_there(text: str, wanted: str) -> None:
    """A quote is found exactly where it stands in the text, marks and spaces aside."""
    assert (locate(wanted, make_chunk(text)) is not None) == (unified(wanted) in unified(text))


@pytest.mark.parametrize(
    ("quote", "expected"),
    [
        ("We open at nine in the morning.", "We open at nine in the morning."),
        ("A deposit\nof 40  euros", "A deposit of 40 euros"),
        ('The "blue" line is for e-bikes', "The “blue” line   is for e-bikes"),
        ("e-bikes - and for them", "e-bikes – and for them"),
        ("due. The “blue”", "due.\nThe “blue”"),
        ("we open at nine", None),
        ("A deposit of 50 euros", None),
        ("We open at nine, in the morning.", None),
        ("We open a.", None),
        ("", None),
        (" \n", None),
    ],
)
def test_a_quote_is_located_to_the_letter_or_not_at_all(quote: str, expected: str | None) -> None:
    """What is found is the document's own text; another letter, case or number is not found."""
    found = locate(quote, make_chunk(SHOP, start=100))
    assert (found and found.quote) == expected
    if found is not None:
        assert SHOP[found.start - 100 : found.end - 100] == expected


@pytest.mark.parametrize(
    ("answer", "quotes", "prose"),
    [
        ('"We open at nine in the morning." [1]', ["We open at nine in the morning."], ""),
        ("“We open at nine in the morning.”[1]", ["We open at nine in the morning."], ""),
        ('At nine: "We open at nine in the morning." [1]', ["We open at nine in the morning."], "At nine:"),
        ('"We open at nine in the morning." [1] So come early.', ["We open at nine in the morning."], "So come early."),
        ('"A deposit" [1]', ["A deposit"], ""),
        ('"A deposit of 40 euros is due." [2]', ["A deposit of 40 euros is due."], ""),
        ('"A deposit of 40 euros is due." [9]', ["A deposit of 40 euros is due."], ""),
        ('"A deposit of 40 euros is due." [0]', ["A deposit of 40 euros is due."], ""),
        ('"The brakes are checked." [1]', ["The brakes are checked."], ""),
        ("We open at nine in the morning.", ["We open at nine in the morning."], ""),
        ("We open at nine in the morning. [1]", ["We open at nine in the morning."], ""),
        ('"We open at 9 in the morning." [1]', ["We open at nine in the morning."], ""),
        (
            '"We open at nine in the morning." [1] "The brakes are checked." [2]',
            ["We open at nine in the morning.", "The brakes are checked."],
            "",
        ),
        ('"The brakes are checked." [2] "The brakes are checked." [2]', ["The brakes are checked."], ""),
    ],
)
def test_a_true_citation_is_proved(answer: str, quotes: list[str], prose: str) -> None:
    """A quote is proved in the passage it names, in another, or as the sentence it must mean."""
    chunks = [make_chunk(SHOP), make_chunk("The brakes are checked.", start=900, document="brakes.md")]
    checked = check_answer(answer, chunks)
    assert [quote.quote for quote in checked.quotes] == quotes
    assert checked.prose == prose
    assert checked.unproved == ()


@pytest.mark.parametrize(
    ("answer", "unproved"),
    [
        ('"Bikes may be returned at any hour of the day." [1]', ["Bikes may be returned at any hour of the day."]),
        ('"The brakes are blue and old." [1]', ["The brakes are blue and old."]),
        ('"nine" [1]', ["nine"]),
        ('" " [1]', [" "]),
        ("You may keep the bike for ever.", []),
        ("", []),
        ("[1]", []),
    ],
)
def test_an_invented_quote_is_not_proved(answer: str, unproved: list[str]) -> None:
    """What no passage holds is not cited; a few letters prove nothing."""
    checked = check_answer(answer, [make_chunk(SHOP)])
    assert checked.quotes == ()
    assert list(checked.unproved) == unproved


def test_without_passages_nothing_is_proved() -> None:
    """An answer given to no passages at all cites nothing."""
    checked = check_answer('"We open at nine in the morning." [1]', [])
    assert (checked.quotes, checked.unproved) == ((), ("We open at nine in the morning.",))


def test_the_named_passage_comes_first() -> None:
    """Where two passages hold the same words, the one that the answer names is cited."""
    chunks = [make_chunk(SHOP, document=f"{number}.md") for number in range(3)]
    [quote] = check_answer('"A deposit of 40 euros is due." [3]', chunks).quotes
    assert quote.document == "2.md"


def test_a_citation_knows_its_page() -> None:
    """The page of the chunk is the page of the citation."""
    [quote] = check_answer('"A deposit of 40 euros is due." [1]', [make_chunk(SHOP, page=7)]).quotes
    assert quote.page == 7


@pytest.mark.parametrize("prose", ['The "blue" line is for e-bikes. ', 'Yes, "nine" it is: '])
def test_quotation_marks_in_the_prose_do_not_hide_a_citation(prose: str) -> None:
    """A word in quotation marks before a citation is not taken for its beginning."""
    checked = check_answer(prose + '"A deposit of 40 euros is due." [1]', [make_chunk(SHOP)])
    assert [quote.quote for quote in checked.quotes] == ["A deposit of 40 euros is due."]


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ('"押金为四十欧元，归还时退还。" [1]', "押金为四十欧元，归还时退还。"),
        ("“头盔可以免费借用。”[1]", "头盔可以免费借用。"),
        ("押金为四十欧元，归还时退还。", "押金为四十欧元，归还时退还。"),
        ('"押金为四十欧元，归还时会退还。" [1]', "押金为四十欧元，归还时退还。"),
    ],
)
def test_chinese_is_cited_at_its_offsets(answer: str, expected: str) -> None:
    """Chinese quotes are proved as English ones are, and counted in characters."""
    [quote] = check_answer(answer, [make_chunk(SHOP_ZH, start=0)]).quotes
    assert quote.quote == expected
    assert SHOP_ZH[quote.start : quote.end] == expected


@pytest.mark.parametrize("sentence", ["每天九点开门。", "头盔免费。"])
def test_a_whole_chinese_sentence_is_long_enough_to_be_cited(sentence: str) -> None:
    """A Chinese sentence says in a few characters what English says in many."""
    checked = check_answer(format_citation(sentence, 1), [make_chunk(f"周日休息。{sentence}押金四十。")])
    assert [quote.quote for quote in checked.quotes] == [sentence]


def test_an_invented_chinese_quote_is_not_proved() -> None:
    """A Chinese sentence that stands nowhere is not cited."""
    checked = check_answer('"押金为一百美元，恕不退还任何费用。" [1]', [make_chunk(SHOP_ZH)])
    assert (checked.quotes, checked.unproved) == ((), ("押金为一百美元，恕不退还任何费用。",))


@pytest.mark.parametrize("language", ["en", "zh"])
def test_a_refusal_is_known_and_cites_nothing(language: Language) -> None:
    """What the chatbot says where nothing answers is told from an answer, however it is spaced."""
    said = refusal(language)
    assert is_refusal(said)
    assert is_refusal(f"  {said.upper()}\n")
    assert is_refusal(said.rstrip(".。"))
    assert check_answer(said, [make_chunk(SHOP), make_chunk(SHOP_ZH)]).quotes == ()


@pytest.mark.parametrize("answer", ["", "We open at nine.", "我们九点开门。", "The documents are in the office."])
def test_an_answer_is_no_refusal(answer: str) -> None:
    """An answer is not taken for a refusal."""
    assert not is_refusal(answer)


@pytest.mark.parametrize(
    ("quote", "number", "expected"),
    [("We open\n at nine.", 2, '"We open at nine." [2]'), ("押金。", 12, '"押金。" [12]')],
)
def test_a_citation_is_written_on_one_line(quote: str, number: int, expected: str) -> None:
    """The form that is taught is a quote in straight marks, and the passage's number."""
    assert format_citation(quote, number) == expected


@pytest.mark.parametrize(
    ("quote", "sentences"),
    [
        ("The shop opens at nine.", ["The shop opens at nine."]),
        ("shop opens at nine", ["The shop opens at nine."]),
        ("The shop opens at nine. The bell rings at noon.", ["The shop opens at nine.", "The bell rings at noon."]),
        ("nine. The bell rings at noon. The dog", []),
        ("The big shop opens at nine.", ["The shop opens at nine."]),
        ("The shop sells bicycles.", []),
        ("at", []),
        ("", []),
    ],
)
def test_a_quote_stands_for_whole_sentences(quote: str, sentences: list[str]) -> None:
    """A clause or a changed word stands for its sentence, to the letter; more than two, or an invention, for none."""
    text = "The shop opens at nine. The bell rings at noon. The dog sleeps."
    chunk = Chunk(id="c", document="a.md", start=7, end=7 + len(text), text=text)
    found = find_sentences(quote, [chunk])
    assert [each.quote for each in found] == sentences
    assert all(text[each.start - 7 : each.end - 7] == each.quote for each in found)
