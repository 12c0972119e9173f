"""Controlled degradations: each makes a good answer worse, in the way that it says."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.dataset.checks.form import check_form
from pipelines.dataset.recipes.alter import name_changes, number_changes
from pipelines.dataset.recipes.degrade import MOST_LENGTH_RATIO, Degradation, degrade, is_comparable
from pipelines.prompting import is_refusal, refusal
from pipelines.quotes import check_answer, format_citation, locate
from pipelines.records import Chunk, Example, ExampleKind, Language, Message, Quote
from pipelines.text import sentence_spans

TEXTS: dict[Language, tuple[str, ...]] = {
    "en": (
        "The shop in Harbour Street opens at 9 in the morning. Bikes are rented out by Anna Berg until Friday.",
        "A deposit of 40 euros is due for every e-bike that is rented. Helmets are free of charge.",
        "Repairs are done in the workshop of Peter Holm and take three days. Spare parts come from Malmö.",
    ),
    "zh": (
        "车店每天上午九点开门，下午五点关门，周日休息。店主使用 Debian 系统管理订单。",
        "租用电动自行车需要支付四十欧元的押金，归还时全额退还。头盔可以免费借用。",
        "修理工作一般需要三天时间才能完成。所有零件都记录在 LibreOffice 表格里。",
    ),
}
PROSE: dict[Language, str] = {"en": "In short, this is how it is: ", "zh": "简单地说，情况是这样的："}
ABOUT_LENGTH = {Degradation.REFUSES_ANSWERABLE, Degradation.ANSWERS_UNANSWERABLE, Degradation.TRUNCATED}


def make_chunks(language: Language) -> list[Chunk]:
    """Return the chunks that are shown."""
    return [
        Chunk(id=f"c{number}", document="shop.md", start=1000 * number, end=1000 * number + len(text), text=text)
        for number, text in enumerate(TEXTS[language])
    ]


def make_example(language: Language, answer: str, quotes: tuple[Quote, ...] = ()) -> Example:
    """Return an example as composition leaves it: its messages end with the answer taught."""
    question = {"en": "What about the shop and its bikes?", "zh": "车店的情况是怎样的？"}[language]
    return Example(
        id=f"example-{answer}",
        kind=ExampleKind.UNANSWERABLE if is_refusal(answer) else ExampleKind.GROUNDED,
        question=question,
        answer="In the teacher's own words.",
        language=language,
        messages=(Message(role="user", content=question), Message(role="assistant", content=answer)),
        chunks=("c0", "c1", "c2"),
        sources=("c0",),
        quotes=quotes,
        teacher="t",
        prompt="p@1",
        split="train",
    )


def cite(language: Language, number: int, *, sentence: int = 0, prose: bool = False) -> Example:
    """Return an example that cites a sentence of the chunk with that number."""
    chunk = make_chunks(language)[number - 1]
    start, end = sentence_spans(chunk.text)[sentence]
    quote = Quote(
        document=chunk.document, quote=chunk.text[start:end], start=chunk.start + start, end=chunk.start + end
    )
    answer = (PROSE[language] if prose else "") + format_citation(quote.quote, number)
    return make_example(language, answer, (quote,))


def good_examples(language: Language) -> list[Example]:
    """Return every good answer there is to the chunks: each sentence, with and without prose, and a refusal."""
    cited = [
        cite(language, number, sentence=sentence, prose=prose)
        for number in (1, 2, 3)
        for sentence in (0, 1)
        for prose in (False, True)
    ]
    return [*cited, make_example(language, refusal(language))]


def degraded(language: Language, kind: Degradation) -> list[Example]:
    """Return all pairs that a degradation makes of the good answers."""
    chunks = make_chunks(language)
    made = [
        degrade(example, chunks=chunks, seed=seed, only=kind)
        for example in good_examples(language)
        for seed in range(3)
    ]
    pairs = [pair for pair in made if pair is not None]
    assert pairs, f"{kind} never applies in {language}"
    return pairs


LANGUAGES = pytest.mark.parametrize("language", ["en", "zh"])


@LANGUAGES
@pytest.mark.parametrize("kind", list(Degradation))
def test_each_degradation_makes_a_usable_pair(language: Language, kind: Degradation) -> None:
    """A pair tells what was done to which example, keeps the taught answer, and passes the check of form."""
    ids = {example.id for example in good_examples(language)}
    for pair in degraded(language, kind):
        assert pair.kind is ExampleKind.PREFERENCE
        assert pair.degradation == kind
        assert pair.parents[0] in ids
        assert pair.id not in ids
        assert pair.answer == pair.messages[-1].content != pair.rejected
        assert kind in ABOUT_LENGTH or len(pair.rejected) <= MOST_LENGTH_RATIO * len(pair.answer)
        assert check_form(pair) == pair


@LANGUAGES
@pytest.mark.parametrize("kind", [Degradation.WRONG_NUMBER, Degradation.SWAPPED_ENTITY])
def test_a_misquote_stands_in_no_passage(language: Language, kind: Degradation) -> None:
    """Another number or name leaves a quote that no document holds, under the same passage's number."""
    chunks = make_chunks(language)
    for pair in degraded(language, kind):
        assert pair.rejected[-3:] == pair.answer[-3:]
        said = pair.rejected.removeprefix(PROSE[language])[1:-5]
        assert all(locate(said, chunk) is None for chunk in chunks)


@LANGUAGES
def test_a_wrong_source_does_not_hold_the_quote(language: Language) -> None:
    """The number that is cited is that of a passage shown, in which the quote does not stand."""
    chunks = make_chunks(language)
    for pair in degraded(language, Degradation.WRONG_SOURCE):
        number = int(pair.rejected[-2])
        [quote] = check_answer(pair.answer, chunks).quotes
        assert pair.rejected[:-3] == pair.answer[:-3]
        assert locate(quote.quote, chunks[number - 1]) is None


@LANGUAGES
def test_a_dropped_citation_proves_nothing(language: Language) -> None:
    """Without its marks, a quote among other words is no citation any more."""
    for pair in degraded(language, Degradation.DROP_CITATION):
        checked = check_answer(pair.rejected, make_chunks(language))
        assert checked.quotes == ()
        assert checked.prose == pair.rejected


def test_a_quote_alone_is_not_degraded_by_dropping_its_marks() -> None:
    """What is still recognised as a citation would be no worse."""
    assert degrade(cite("en", 1), chunks=make_chunks("en"), seed=0, only=Degradation.DROP_CITATION) is None


@LANGUAGES
def test_an_unsupported_claim_is_a_sentence_of_another_passage(language: Language) -> None:
    """The claim is added to the answer, uncited; some passage says it, but not the one that is cited."""
    chunks = make_chunks(language)
    for pair in degraded(language, Degradation.UNSUPPORTED_CLAIM):
        claim = pair.rejected.removeprefix(pair.answer).strip()
        cited = chunks[int(pair.answer[-2]) - 1]
        assert claim in check_answer(pair.rejected, chunks).prose
        assert locate(claim, cited) is None
        assert any(locate(claim, chunk) for chunk in chunks)


@LANGUAGES
def test_answering_and_refusing_change_places(language: Language) -> None:
    """Where the passages answer, the worse answer refuses; where they do not, it quotes one of them."""
    chunks = make_chunks(language)
    for pair in degraded(language, Degradation.REFUSES_ANSWERABLE):
        assert pair.rejected == refusal(language)
        assert not is_refusal(pair.answer)
    for pair in degraded(language, Degradation.ANSWERS_UNANSWERABLE):
        assert is_refusal(pair.answer)
        assert check_answer(pair.rejected, chunks).quotes
        assert not check_answer(pair.rejected, chunks).prose


@LANGUAGES
def test_a_truncated_answer_loses_its_citation(language: Language) -> None:
    """It begins like the better answer, and ends within the quote."""
    chunks = make_chunks(language)
    for pair in degraded(language, Degradation.TRUNCATED):
        assert pair.answer.startswith(pair.rejected)
        [whole] = check_answer(pair.answer, chunks).quotes
        assert whole not in check_answer(pair.rejected, chunks).quotes
        assert "[" not in pair.rejected


@given(st.integers(0, 10**6), st.sampled_from(["en", "zh"]), st.integers(0, 12))
def test_degradation_is_decided_by_the_seed(seed: int, language: Language, index: int) -> None:
    """The same example and seed give the same pair, with the same id, and some degradation applies to each."""
    example = good_examples(language)[index]
    pair = degrade(example, chunks=make_chunks(language), seed=seed)
    assert pair is not None
    assert pair == degrade(example, chunks=make_chunks(language), seed=seed)
    assert is_comparable(pair.answer, pair.rejected, degradation=pair.degradation)


def test_seeds_differ_in_what_they_choose() -> None:
    """Over seeds, all degradations that apply to an example come up."""
    example = cite("en", 2, prose=True)
    pairs = [degrade(example, chunks=make_chunks("en"), seed=seed) for seed in range(60)]
    kinds = {pair.degradation for pair in pairs if pair is not None}
    assert kinds >= {"drop_citation", "wrong_number", "wrong_source", "unsupported_claim", "refuses_answerable"}


@pytest.mark.parametrize(
    "answer",
    [
        "The shop opens at nine.",
        '"The shop never opens, as everybody in town knows." [1]',
        format_citation("Helmets are free of charge.", 3),
        "“Helmets are free of charge.” [2]",
    ],
)
def test_an_answer_that_is_not_good_is_left_alone(answer: str) -> None:
    """An answer without true citations in due form is no better one of a pair."""
    assert degrade(make_example("en", answer), chunks=make_chunks("en"), seed=0) is None


def test_an_answer_that_cites_twice_is_degraded_as_a_whole() -> None:
    """Of two citations, the other stays as it is where one is given a wrong source."""
    first, second = cite("en", 2), cite("en", 3)
    both = make_example("en", f"{first.messages[-1].content} {second.messages[-1].content}")
    chunks = make_chunks("en")
    pair = degrade(both, chunks=chunks, seed=1, only=Degradation.WRONG_SOURCE)
    assert pair is not None
    assert (first.messages[-1].content in pair.rejected) != (second.messages[-1].content in pair.rejected)


def shown(*texts: str) -> list[Chunk]:
    """Return chunks of these texts."""
    return [
        Chunk(id=f"s{number}", document="s.md", start=1000 * number, end=1000 * number + len(text), text=text)
        for number, text in enumerate(texts)
    ]


def test_what_another_passage_says_is_no_misquote() -> None:
    """Where every other number or name makes a sentence that another passage holds, none is put in."""
    chunks = shown("The fee is 2 euros there.", " ".join(f"The fee is {fee} euros there." for fee in "13456789"))
    example = make_example("en", format_citation(chunks[0].text, 1))
    assert degrade(example, chunks=chunks, seed=0, only=Degradation.WRONG_NUMBER) is None
    chunks = shown("The fee goes to Anna.", "The fee goes to Peter.")
    example = make_example("en", format_citation(chunks[0].text, 1))
    assert degrade(example, chunks=chunks, seed=0, only=Degradation.SWAPPED_ENTITY) is None


@pytest.mark.parametrize("kind", [Degradation.WRONG_SOURCE, Degradation.UNSUPPORTED_CLAIM])
def test_passages_with_the_same_text_are_no_wrong_source(kind: Degradation) -> None:
    """A passage that says the same supports the answer as well."""
    text = "Repairs take three days as a rule. Parts are free."
    example = make_example("en", format_citation("Repairs take three days as a rule.", 1))
    assert degrade(example, chunks=shown(text, text), seed=0, only=kind) is None


def test_a_claim_does_not_make_the_answer_much_longer() -> None:
    """Where every other sentence is long, none is added."""
    chunks = shown("The shop opens at nine in the morning, and no earlier.", f"Parts are {'very ' * 20}cheap.")
    example = make_example("en", format_citation(chunks[0].text, 1))
    assert degrade(example, chunks=chunks, seed=0, only=Degradation.UNSUPPORTED_CLAIM) is None
    chunks = [*chunks, *shown("", "", "Parts are cheap.")[2:]]
    for seed in range(8):
        assert degrade(example, chunks=chunks, seed=seed, only=Degradation.UNSUPPORTED_CLAIM) is not None


def test_a_name_of_quite_another_length_is_not_put_in() -> None:
    """A pair tells its answers apart by what they say, not by their lengths."""
    chunks = shown("It is by Bo and by Al.", f"This is by Const{'antin' * 8}.")
    example = make_example("en", format_citation(chunks[0].text, 1))
    assert degrade(example, chunks=chunks, seed=0, only=Degradation.SWAPPED_ENTITY) is None


def test_without_chunks_nothing_can_be_proved() -> None:
    """An example whose passages are not known gives no pair."""
    assert degrade(cite("en", 1), chunks=[], seed=0) is None


def test_an_example_without_messages_keeps_none() -> None:
    """The answer is taken as the better one, and no conversation is made up."""
    example = cite("en", 1)
    bare = example.model_copy(update={"answer": example.messages[-1].content, "messages": ()})
    pair = degrade(bare, chunks=make_chunks("en"), seed=0, only=Degradation.WRONG_NUMBER)
    assert pair is not None
    assert pair.messages == ()
    assert pair.answer == bare.answer


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("It took 40 euros.", {"40"}),
        ("In 1987, 1,200 people came at 9:30 for 24-hour races.", {"1987", "1,200", "9", "30", "24"}),
        ("Use x86_64, /etc/rc2.d and foo-1.2b.", set()),
        ("Open three days from Monday to July.", {"three", "Monday", "July"}),
        ("第二天押金四十欧元，周日上午十点，一个人。", {"四十", "日", "十"}),
        ("这是一个统一的系统。", set()),
    ],
)
def test_numbers_are_changed_to_others_of_their_like(text: str, expected: set[str]) -> None:
    """Numbers, dates and weekdays are found, names and idioms with digits in them are not."""
    for seed in range(5):
        changes = number_changes(text, random.Random(seed))
        found = {change.old for change in changes}
        assert len(found) == len(expected)
        assert all(any(each in old for old in found) for each in expected)
        assert all(change.apply(text) != text for change in changes)


def test_names_are_not_the_first_words_of_sentences() -> None:
    """A word with a capital at the beginning of a sentence is no name, nor is a weekday."""
    changes = name_changes("Bikes are rented by Anna Berg on Friday.", ["Repairs are done by Peter Holm in Malmö."])
    assert [(change.old, change.new) for change in changes] == [("Anna Berg", "Peter Holm")]
