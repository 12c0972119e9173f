"""Plain text: sentences, words, language, and what is cleaned away."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.text import clean_text, fold_space, language_of, search_terms, sentence_spans, words

# Characters on which the rules turn, so that short texts meet them often.
TRICKY = st.text(alphabet=st.sampled_from("aZ9 .!?…。！；“”\"'-*•\n\u3000车店("), max_size=80)
ANY = st.one_of(TRICKY, st.text(max_size=80))


def sentences(text: str) -> list[str]:
    """Return the sentences themselves."""
    return [text[start:end] for start, end in sentence_spans(text)]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", []),
        (" \n\n ", []),
        ("One.", ["One."]),
        ("We open at nine. We close at six.", ["We open at nine.", "We close at six."]),
        ("Is it open? Yes! Come in.", ["Is it open?", "Yes!", "Come in."]),
        ("It costs 3.50 a day. 20 bikes are left.", ["It costs 3.50 a day.", "20 bikes are left."]),
        ("He said “come in.” Then he left.", ["He said “come in.”", "Then he left."]),
        ("Ask Dr. Hale about brakes. She knows.", ["Ask Dr. Hale about brakes.", "She knows."]),
        ("Bring a lock, e.g. Abus, with you.", ["Bring a lock, e.g. Abus, with you."]),
        ("version 2.0 is out", ["version 2.0 is out"]),
        ("# Prices\n\nA day costs nine.", ["# Prices", "A day costs nine."]),
        ("- one lock\n- two lamps", ["one lock", "two lamps"]),
        ("* one\n• two", ["one", "two"]),
        ("A first line\nand a second", ["A first line", "and a second"]),
        ("我们九点开门。周日休息！", ["我们九点开门。", "周日休息！"]),
        ("他说：“九点开门。”我们等着。", ["他说：“九点开门。”", "我们等着。"]),
        ("We sell 头盔。Come in.", ["We sell 头盔。", "Come in."]),
        ("1. Open the box. 2. Take it out.", ["Open the box.", "Take it out."]),
    ],
)
def test_sentences_end_where_a_reader_would_end_them(text: str, expected: list[str]) -> None:
    """Sentences are told apart in English, in Chinese, and line by line."""
    assert sentences(text) == expected


@pytest.mark.parametrize("last", ["us", "it", "up", "in", "to"])
def test_a_word_of_two_letters_ends_a_sentence(last: str) -> None:
    """A short word is not taken for an abbreviation."""
    assert sentences(f"Somebody will call {last}. We open at nine.") == [
        f"Somebody will call {last}.",
        "We open at nine.",
    ]


@given(ANY)
def test_sentences_come_in_order_without_overlap_or_space_around_them(text: str) -> None:
    """Spans are not empty, do not overlap, and begin and end with something to read."""
    end_before = 0
    for start, end in sentence_spans(text):
        assert end_before <= start < end
        assert text[start:end].strip() == text[start:end]
        end_before = end


@given(ANY)
def test_sentences_leave_out_white_space_and_list_marks_alone(text: str) -> None:
    """Whatever is in no sentence is white space, or the mark of a list's item."""
    left = list(text)
    for start, end in sentence_spans(text):
        left[start:end] = " " * (end - start)
    assert set("".join(left).split()) <= {"-", "*", "•"}


@given(ANY)
def test_folding_keeps_the_words_and_only_single_spaces(text: str) -> None:
    """A folded text has the same pieces on one line."""
    folded = fold_space(text)
    assert folded.split(" ") == (text.split() or [""])
    assert fold_space(folded) == folded


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("one\r\ntwo\rthree", "one\ntwo\nthree"),
        ("a\tb\u00a0c", "a b c"),
        ("be\u00adtween", "between"),
        ("\ufeffno\u200b width", "no width"),
        ("safe\u202etxt.exe\u202c", "safetxt.exe"),
        ("bell\x07 and escape\x1b[31m", "bell and escape[31m"),
        ("cafe\u0301", "caf\u00e9"),
        ("头盔\u3000免费", "头盔\u3000免费"),
    ],
)
def test_what_cannot_be_seen_is_cleaned_away(text: str, expected: str) -> None:
    """Control, invisible and direction characters go; what is read stays."""
    assert clean_text(text) == expected


@pytest.mark.parametrize("separator", ["\f", "\v", "\x85"])
def test_separators_part_words(separator: str) -> None:
    """A form feed and its like are white space, so the words around them stay two."""
    assert clean_text(f"page{separator}next").split() == ["page", "next"]


@given(ANY)
def test_clean_text_is_composed_and_holds_no_controls(text: str) -> None:
    """Cleaning ends at once: nothing is left to clean, whatever came in."""
    cleaned = clean_text(text)
    assert clean_text(cleaned) == cleaned
    assert unicodedata.is_normalized("NFC", cleaned)
    assert not [each for each in cleaned if unicodedata.category(each) == "Cc" and each != "\n"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("When do you open?", "en"),
        ("你们几点开门？", "zh"),
        ("Shimano 刹车多少钱？", "zh"),
        ("What does 头盔 mean on the price list of the shop?", "en"),
        ("", "en"),
        ("12:30", "en"),
    ],
)
def test_the_script_tells_the_language(text: str, expected: str) -> None:
    """A text is Chinese where its Chinese characters carry more than its Latin letters."""
    assert language_of(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("What's NEW?", ["what's", "new"]),
        ("e-bike, 3.5 kg", ["e-bike", "3.5", "kg"]),
        ("租车 GPS", ["租", "车", "gps"]),
        ("snake_case", ["snake", "case"]),
        ("Straße", ["strasse"]),
        ("…?!", []),
    ],
)
def test_words_are_lower_case_and_chinese_characters_are_words(text: str, expected: list[str]) -> None:
    """Words are what two texts are compared by."""
    assert words(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Rent a BIKE", ["rent", "a", "bike"]),
        ("租车押金", ["租车", "车押", "押金"]),
        ("车", ["车"]),
        ("头盔 helmet 免费", ["头盔", "helmet", "免费"]),
        ("", []),
    ],
)
def test_search_terms_are_words_and_pairs_of_chinese_characters(text: str, expected: list[str]) -> None:
    """Chinese has no spaces between words, so each two neighbours are a term."""
    assert search_terms(text) == expected
