"""Datasets: what is rejected, how they are split, and what their conversations teach."""

from __future__ import annotations

import dataclasses
import itertools
import json
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from pipelines.dataset.curate import CURATE_DATASET, CurateParams, CurateReport, count_leaks
from pipelines.dataset.curation.compose import Material, compose
from pipelines.dataset.curation.split import split_by_source
from pipelines.dataset.files import CHUNKS, DECISIONS, EXAMPLES, REJECTED, REJECTED_BY_CURATION, split_file
from pipelines.dataset.reviewing.decisions import DecisionLog, decide
from pipelines.dataset.show import LIST_DATASETS, SHOW_DATASET, ListDatasetsParams, ShowDatasetParams
from pipelines.dataset.writing.facts import find_facts, spread, stands_alone
from pipelines.errors import DataError
from pipelines.models.nearest import NearestFinder
from pipelines.operation import Context, open_context
from pipelines.prompting import is_refusal
from pipelines.quotes import check_answer, locate
from pipelines.records import (
    SPLITS,
    Chunk,
    Example,
    ExampleKind,
    Message,
    Rejection,
    Split,
    content_id,
    read_records,
    write_records,
)
from tests.test_docs import Killed, MortalEmbedder, packaged_embedder, with_embedder

THINGS = (
    *("lantern", "kettle", "ladder", "trumpet", "carpet", "anchor", "mirror", "blanket", "compass", "hammer"),
    *("saddle", "teapot", "violin", "curtain", "barrel", "pillow", "candle", "basket", "helmet", "wallet"),
    *("guitar", "bottle", "camera", "engine", "button", "shovel", "needle", "jacket", "cushion", "tripod"),
    *("funnel", "whistle", "drawer", "razor", "magnet", "mattress", "napkin", "umbrella", "scissors", "toaster"),
)
PLACES = ("cellar", "attic", "garage", "kitchen", "stable", "library", "chapel", "harbour")
COLOURS = ("brass", "silver", "wooden", "velvet", "purple")
PER_DOCUMENT = 4


def make_chunk(text: str, *, document: str = "house.md", start: int = 0, heading: str = "House") -> Chunk:
    """Return a chunk."""
    end = start + len(text)
    chunk_id = content_id(document, str(start), str(end), text)
    return Chunk(id=chunk_id, document=document, start=start, end=end, text=text, heading=heading)


def make_example(question: str, sentence: str, chunk: Chunk) -> Example:
    """Return an example as generation writes it, whose answer is the sentence itself."""
    quote = locate(sentence, chunk)
    assert quote is not None
    return Example(
        id=content_id(question, chunk.id, quote.quote),
        kind=ExampleKind.GROUNDED,
        question=question,
        answer=sentence,
        sources=(chunk.id,),
        quotes=(quote,),
        teacher="test",
        prompt="test@1",
    )


def sentence_about(number: int) -> str:
    """Return one fact of the house."""
    colour, place = COLOURS[number % len(COLOURS)], PLACES[number % len(PLACES)]
    return f"The {colour} {THINGS[number]} of the old house is kept in the {place} behind door {number}."


def question_about(number: int) -> str:
    """Return the question that the fact answers."""
    return f"Where is the {THINGS[number]} kept?"


def make_house(count: int = len(THINGS)) -> tuple[list[Chunk], list[Example]]:
    """Return chunks of several documents, and one example about each."""
    chunks, examples = [], []
    for number in range(count):
        document, start = f"floor-{number // PER_DOCUMENT}.md", 200 * (number % PER_DOCUMENT)
        filler = f"Guests may borrow {THINGS[number]}s on weekdays only."
        chunk = make_chunk(f"{sentence_about(number)} {filler}", document=document, start=start)
        chunks.append(chunk)
        examples.append(make_example(question_about(number), sentence_about(number), chunk))
    return chunks, examples


def make_material(chunks: Sequence[Chunk], examples: Sequence[Example]) -> Material:
    """Return what a split is composed of, with its real vectors."""
    embedder = packaged_embedder()
    return Material(
        examples=examples,
        chunks=chunks,
        chunk_vectors=embedder.embed([chunk.text for chunk in chunks]),
        question_vectors=embedder.embed([example.question for example in examples]),
        nearest=NearestFinder(lambda language: embedder, (chunk.text for chunk in chunks)),
    )


def write_dataset(context: Context, chunks: Sequence[Chunk], examples: Sequence[Example]) -> Path:
    """Write what generation leaves for curation; return the dataset's folder."""
    folder = context.workspace.dataset("house")
    folder.mkdir(parents=True)
    write_records(folder / CHUNKS, chunks)
    write_records(folder / EXAMPLES, examples)
    return folder


def curate(context: Context, **params: object) -> CurateReport:
    """Curate as every surface does."""
    return CURATE_DATASET.start(CurateParams.model_validate({"dataset": "house", **params}), context)


def read_splits(folder: Path) -> dict[Split, list[Example]]:
    """Return the examples of each split."""
    return {split: list(read_records(folder / split_file(split), Example)) for split in SPLITS}


def open_house(folder: Path, *, seed: int = 0) -> Context:
    """Return a context of its own in a folder, with the real embedder."""
    context = with_embedder(open_context(folder / "workspace"), packaged_embedder(), folder)
    return dataclasses.replace(context, seed=seed)


@dataclasses.dataclass
class House:
    """A dataset that was curated, and what it was made of."""

    context: Context
    folder: Path
    report: CurateReport
    chunks: dict[str, Chunk]
    splits: dict[Split, list[Example]]

    @property
    def everything(self) -> list[Example]:
        """All examples of all splits."""
        return [example for examples in self.splits.values() for example in examples]

    def shown(self, example: Example) -> list[Chunk]:
        """Return the passages that an example shows."""
        return [self.chunks[chunk_id] for chunk_id in example.chunks]


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> House:
    """A curated dataset, for tests that change nothing."""
    context = open_house(tmp_path_factory.mktemp("house"))
    chunks, examples = make_house()
    folder = write_dataset(context, chunks, examples)
    report = curate(context)
    return House(context, folder, report, {chunk.id: chunk for chunk in chunks}, read_splits(folder))


@pytest.mark.parametrize(
    ("sentence", "expected"),
    [
        ("The brass lantern is kept in the cellar of the house.", True),
        ("- The brass lantern is kept in the cellar of the house.", True),
        ("铜灯放在老房子的地下室里，客人可以借用。", True),
        ("The lantern is here.", False),
        ("It is kept in the cellar of the old house by the river.", False),
        ("However, the lantern is kept in the cellar of the house.", False),
        ("此外，铜灯放在老房子的地下室里，可以借用。", False),
        ("The brass lantern is kept in the cellar of the house", False),
        ("Where in the house is the brass lantern kept by the owner?", False),
        ("Run lantern --start | tee the_log_of_the_cellar.txt and wait.", False),
        ("See https://example.org/lantern for the cellar of the old house.", False),
        ("The lantern " + "is kept in the cellar and " * 20 + "nowhere else.", False),
    ],
)
def test_a_fact_can_be_quoted_alone(sentence: str, expected: bool) -> None:
    """A fact is a whole sentence of useful length that points at no other one."""
    assert stands_alone(sentence) is expected


def test_facts_are_found_at_their_offsets() -> None:
    """Each fact is a sentence of its chunk."""
    text = (
        "The brass lantern is kept in the cellar of the house. It is old. The wooden ladder is kept in the old garage."
    )
    facts = find_facts(make_chunk(text, start=70))
    assert [fact.text for fact in facts] == [
        "The brass lantern is kept in the cellar of the house.",
        "The wooden ladder is kept in the old garage.",
    ]
    for fact in facts:
        assert text[fact.start : fact.end].split() == fact.text.split()


@given(st.lists(st.integers(1, 4), min_size=1, max_size=6), st.integers(0, 9))
def test_every_chunk_has_its_turn_first(counts: list[int], seed: int) -> None:
    """Facts keep their number; no chunk is asked about again before all others were."""
    texts = [" ".join(sentence_about(number + index) for index in range(count)) for number, count in enumerate(counts)]
    chunks = [make_chunk(text, document=f"{number}.md") for number, text in enumerate(texts)]
    facts = [fact for chunk in chunks for fact in find_facts(chunk)]
    ordered = spread(facts, seed=seed)
    assert len(facts) == sum(counts)
    assert Counter((fact.chunk.id, fact.start) for fact in ordered) == Counter(
        (fact.chunk.id, fact.start) for fact in facts
    )
    turns: list[int] = []
    for number, fact in enumerate(ordered):
        turns.append([other.chunk.id for other in ordered[:number]].count(fact.chunk.id))
    assert turns == sorted(turns)
    assert ordered == spread(facts[::-1], seed=seed)


@pytest.mark.parametrize(
    ("documents", "rooms", "group_of"),
    [
        (10, 1, lambda chunk: chunk.document),
        (1, 8, lambda chunk: chunk.heading),
        (2, 2, lambda chunk: chunk.id),
    ],
)
def test_sources_are_split_whole(documents: int, rooms: int, group_of: Callable[[Chunk], str]) -> None:
    """Documents stay whole where there are enough of them, else their sections, else their chunks."""
    chunks, examples = [], []
    for number in range(40):
        document, heading = f"{number % documents}.md", f"House › Room {number % rooms}"
        chunks.append(make_chunk(sentence_about(number), document=document, start=200 * number, heading=heading))
        examples.append(make_example(question_about(number), sentence_about(number), chunks[-1]))
    by_id = {chunk.id: chunk for chunk in chunks}
    split_of = split_by_source(examples, by_id, validation_share=0.12, test_share=0.25, seed=0)
    assert split_of.keys() == by_id.keys()
    splits_of_group: dict[str, set[Split]] = {}
    for chunk in chunks:
        splits_of_group.setdefault(group_of(chunk), set()).add(split_of[chunk.id])
    assert [len(splits) for splits in splits_of_group.values()] == [1] * len(splits_of_group)
    assert set(split_of.values()) == set(SPLITS)


@pytest.mark.parametrize("seed", range(4))
def test_splits_have_about_their_shares(seed: int) -> None:
    """Test and validation are as large as was asked, as near as whole sources allow."""
    chunks, examples = make_house()
    split_of = split_by_source(
        examples, {chunk.id: chunk for chunk in chunks}, validation_share=0.2, test_share=0.3, seed=seed
    )
    counts = Counter(split_of[example.source] for example in examples)
    assert abs(counts["test"] - 0.3 * len(examples)) <= PER_DOCUMENT
    assert abs(counts["validation"] - 0.2 * len(examples)) <= PER_DOCUMENT


def test_the_seed_decides_who_is_tested() -> None:
    """The same seed divides the same way; another one another way."""
    chunks, examples = make_house()
    by_id = {chunk.id: chunk for chunk in chunks}

    def divide(seed: int) -> dict[str, Split]:
        return split_by_source(examples, by_id, validation_share=0.12, test_share=0.25, seed=seed)

    assert divide(0) == divide(0)
    assert len({tuple(sorted(divide(seed).items())) for seed in range(4)}) > 1


def test_nothing_of_one_split_is_in_another(house: House) -> None:
    """No passage, text, source, document or question of the test was trained on."""
    assert house.report.leaks == 0
    assert count_leaks(house.splits) == 0
    for things in (
        lambda example: set(example.chunks),
        lambda example: {chunk.text for chunk in house.shown(example)},
        lambda example: {chunk.document for chunk in house.shown(example)},
        lambda example: {example.source},
        lambda example: {example.question.casefold()},
    ):
        seen = [set().union(*(things(example) for example in examples)) for examples in house.splits.values()]
        assert all(seen)
        assert sum(map(len, seen)) == len(set().union(*seen))


def test_leaks_are_counted(house: House) -> None:
    """An example that stands in two splits is found, by its passages and its question."""
    [leaking, *others] = house.splits["test"]
    splits: dict[Split, list[Example]] = {"train": [leaking], "validation": others[:0], "test": [leaking]}
    assert count_leaks(splits) == len(leaking.chunks) + 1


def test_a_copy_of_a_document_does_not_leak(tmp_path: Path) -> None:
    """Where the same text lies under two names, it is not trained on under one and tested under the other."""
    chunks, examples = make_house(24)
    copies = [make_chunk(chunk.text, document=f"copy of {chunk.document}", start=chunk.start) for chunk in chunks]
    asked = [
        make_example(f"On which days may {THINGS[number]}s be borrowed?", copy.text.partition(". ")[2], copy)
        for number, copy in enumerate(copies)
    ]
    context = open_house(tmp_path)
    folder = write_dataset(context, [*chunks, *copies], [*examples, *asked])
    report = curate(context)
    text_of = {chunk.id: chunk.text for chunk in [*chunks, *copies]}
    splits = read_splits(folder)
    trained = {text_of[chunk_id] for example in splits["train"] for chunk_id in example.chunks}
    tested = {text_of[chunk_id] for example in splits["test"] for chunk_id in example.chunks}
    assert (len(trained & tested), report.leaks) == (0, 0)


def test_every_answer_is_proved_by_the_passages_shown(house: House) -> None:
    """What is taught as a citation is a citation: the passage is shown, under the number it is cited by."""
    grounded = [example for example in house.everything if example.kind is ExampleKind.GROUNDED]
    assert {example.source for example in grounded} == set(house.chunks)
    for example in grounded:
        checked = check_answer(example.messages[-1].content, house.shown(example))
        assert checked.quotes == example.quotes
        assert (checked.prose, checked.unproved) == ("", ())
        cited = int(example.messages[-1].content.rpartition("[")[2].rstrip("]"))
        assert example.chunks[cited - 1] == example.source


def test_the_prompt_shows_the_passages_in_order(house: House) -> None:
    """A conversation is system, user, assistant; the user's message holds each passage once, numbered."""
    for example in house.everything:
        assert [message.role for message in example.messages] == ["system", "user", "assistant"]
        asked = example.messages[1].content
        assert len(set(example.chunks)) == len(example.chunks) == 3
        positions = [
            asked.index(f"[{number}] House\n{chunk.text}") for number, chunk in enumerate(house.shown(example), 1)
        ]
        assert positions == sorted(positions)
        assert f"Question: {example.question}\n" in asked


def test_the_quote_alone_is_learnt(tmp_path: Path) -> None:
    """Where the teacher wrote an answer besides the quote, only the quote is learnt: it can be proved."""
    chunks, examples = make_house(16)
    worded = [example.model_copy(update={"answer": f"Behind door {n}."}) for n, example in enumerate(examples)]
    context = open_house(tmp_path)
    folder = write_dataset(context, chunks, worded)
    curate(context, unanswerable_share=0)
    by_id = {chunk.id: chunk for chunk in chunks}
    for example in (example for examples in read_splits(folder).values() for example in examples):
        checked = check_answer(example.messages[-1].content, [by_id[each] for each in example.chunks])
        assert (checked.quotes, checked.prose) == (example.quotes, "")


def test_an_unanswerable_question_is_refused_without_its_passage(house: House) -> None:
    """The chunk that answers is never shown, and the answer is the refusal, without quotes."""
    unanswerable = [example for example in house.everything if example.kind is ExampleKind.UNANSWERABLE]
    assert unanswerable
    for example in unanswerable:
        assert example.source not in example.chunks
        assert is_refusal(example.answer)
        assert (example.messages[-1].content, example.quotes) == (example.answer, ())


def test_every_conversation_has_an_id_of_its_own(house: House) -> None:
    """Also where a question is refused with two sets of passages."""
    identities = [example.id for example in house.everything]
    assert len(identities) == len(set(identities))


def test_a_sentence_that_stands_in_two_chunks_is_not_unanswerable() -> None:
    """A question is refused only where no passage shown holds the sentence that answers it."""
    shared = "The owner of the old house answers every letter within seven days."
    chunks = [make_chunk(f"{sentence_about(n)} {shared}", document=f"{n}.md") for n in range(6)]
    examples = [make_example(question_about(n), sentence_about(n), chunk) for n, chunk in enumerate(chunks)]
    examples.append(make_example("How quickly does the owner answer letters?", shared, chunks[0]))
    by_id = {chunk.id: chunk for chunk in chunks}
    material = make_material(chunks, examples)
    quote_of = {example.question: example.quotes[0].quote for example in examples}
    for seed in range(4):
        for example in compose(material, split="train", passages=2, unanswerable_share=0.6, seed=seed):
            if example.kind is ExampleKind.UNANSWERABLE:
                shown = [by_id[chunk_id] for chunk_id in example.chunks]
                assert not [chunk for chunk in shown if locate(quote_of[example.question], chunk)]


@pytest.mark.parametrize("share", [0.0, 0.25, 0.5])
def test_the_share_of_unanswerable_questions_is_as_asked(tmp_path: Path, share: float) -> None:
    """In the whole, and as nearly in each split as its size allows."""
    context = open_house(tmp_path)
    folder = write_dataset(context, *make_house())
    report = curate(context, unanswerable_share=share)
    assert report.unanswerable / report.kept == pytest.approx(share, abs=0.06)
    for examples in read_splits(folder).values():
        refused = sum(example.kind is ExampleKind.UNANSWERABLE for example in examples)
        assert abs(refused - share * len(examples)) <= 2


def test_the_report_counts_what_was_written(house: House) -> None:
    """Splits, refusals and the total are those of the files."""
    assert house.report.splits == {split: len(examples) for split, examples in house.splits.items()}
    assert house.report.kept == len(house.everything)
    assert house.report.unanswerable == sum(example.kind is ExampleKind.UNANSWERABLE for example in house.everything)
    assert house.report.rejected == {}
    assert all(example.split == split for split, examples in house.splits.items() for example in examples)


def test_the_same_seed_makes_the_same_dataset(house: House, tmp_path: Path) -> None:
    """Files are the same to the byte for the same seed, and others for another."""
    files = [split_file(split) for split in SPLITS]
    for seed, is_same in ((0, True), (1, False)):
        context = open_house(tmp_path / str(seed), seed=seed)
        folder = write_dataset(context, *make_house())
        curate(context)
        same = [(folder / name).read_bytes() == (house.folder / name).read_bytes() for name in files]
        assert all(same) is is_same


@pytest.mark.parametrize("passages", [1, 4])
def test_the_seed_decides_what_is_shown_together(passages: int) -> None:
    """Sets and orders come from the seed alone; each question is asked once with its passage."""
    material = make_material(*make_house(16))

    def composed(seed: int) -> list[Example]:
        return compose(material, split="train", passages=passages, unanswerable_share=0.25, seed=seed)

    assert composed(0) == composed(0)
    assert composed(0) != composed(1)
    grounded = [example for example in composed(0) if example.kind is ExampleKind.GROUNDED]
    assert sorted(example.question for example in grounded) == sorted(each.question for each in material.examples)
    assert {len(example.chunks) for example in grounded} == {passages}


def test_a_curated_dataset_is_not_curated_again(tmp_path: Path) -> None:
    """Without a change there is nothing to embed; with a split lost, or other parameters, there is."""
    context = open_house(tmp_path)
    folder = write_dataset(context, *make_house())
    first = curate(context)
    dead = with_embedder(context, MortalEmbedder(packaged_embedder(), calls=0), tmp_path)
    assert curate(dead) == first
    with pytest.raises(Killed):
        curate(dead, passages=2)
    (folder / split_file("test")).unlink()
    with pytest.raises(Killed):
        curate(dead)
    assert curate(context) == first


def test_too_few_examples_are_refused(tmp_path: Path) -> None:
    """Seven examples cannot be divided in three; the hint says how to get more."""
    context = open_house(tmp_path)
    folder = write_dataset(context, *make_house(7))
    with pytest.raises(DataError, match="7 examples are too few") as caught:
        curate(context)
    assert "--examples" in caught.value.hint
    assert not (folder / split_file("train")).exists()


def test_examples_of_one_chunk_cannot_be_split(tmp_path: Path) -> None:
    """Where one source holds everything, no split can be kept apart from the others."""
    context = open_house(tmp_path)
    chunk = make_chunk(" ".join(sentence_about(number) for number in range(9)))
    write_dataset(context, [chunk], [make_example(question_about(n), sentence_about(n), chunk) for n in range(9)])
    with pytest.raises(DataError, match="no example is left for the"):
        curate(context)


def test_a_dataset_that_is_not_there_is_refused(tmp_path: Path) -> None:
    """The hint says how to make it."""
    with pytest.raises(DataError, match="there is no dataset 'house'") as caught:
        curate(open_house(tmp_path))
    assert "data generate" in caught.value.hint


def tamper(example: Example, **changes: object) -> Example:
    """Return the example with its quote changed."""
    return example.model_copy(update={"quotes": (example.quotes[0].model_copy(update=changes),)})


def test_what_does_not_hold_is_dropped_with_its_reason(tmp_path: Path) -> None:
    """An example whose quote was changed, moved or taken away is rejected; so is one asked before."""
    chunks, examples = make_house()
    quote = examples[0].quotes[0]
    bad = [
        tamper(examples[0], quote=quote.quote.replace("cellar", "attic")),
        tamper(examples[1], start=quote.start + 1, end=quote.end + 1),
        tamper(examples[2], document="other.md"),
        examples[3].model_copy(update={"quotes": ()}),
        examples[4].model_copy(update={"sources": ("no such chunk",)}),
        examples[6].model_copy(update={"question": examples[5].question}),
        examples[7].model_copy(update={"question": f"Could you please tell me: {examples[5].question}"}),
    ]
    context = open_house(tmp_path)
    folder = write_dataset(context, chunks, [*bad[:5], examples[5], *bad[5:], *examples[8:]])
    report = curate(context)
    assert report.rejected == {"quote": 4, "source": 1, "exact_duplicate": 1, "near_duplicate": 1}
    rejections = list(read_records(folder / REJECTED_BY_CURATION, Rejection))
    assert [rejection.text for rejection in rejections] == [example.question for example in bad]
    used = {example.source for examples in read_splits(folder).values() for example in examples}
    assert not used & {chunk.id for chunk in [*chunks[:5], *chunks[6:8]]}


# ---- people, evaluation sets, personal data, pairs


def test_what_people_decided_is_done(tmp_path: Path) -> None:
    """Rejected examples go, edited ones are trained on as they were put right, and new decisions curate anew."""
    context = open_house(tmp_path)
    chunks, examples = make_house()
    folder = write_dataset(context, chunks, examples)
    log = DecisionLog(folder / DECISIONS)
    log.record([decide("reject", examples[0], reason="nobody asks that")])
    log.record([decide("edit", examples[1], question="In which room is the kettle?")])
    report = curate(context, unanswerable_share=0)
    assert report.rejected == {"review": 1}
    questions = {example.question: example for examples in read_splits(folder).values() for example in examples}
    assert question_about(0) not in questions
    assert question_about(1) not in questions
    right = questions["In which room is the kettle?"]
    assert right.id == examples[1].id
    assert "Question: In which room is the kettle?\n" in right.messages[1].content
    [rejection] = read_records(folder / REJECTED_BY_CURATION, Rejection)
    assert (rejection.reason, rejection.example) == ("nobody asks that", examples[0])
    log.record([decide("reject", examples[2])])
    assert curate(context, unanswerable_share=0).rejected == {"review": 2}


def test_an_evaluation_set_is_kept_out_of_all_splits(tmp_path: Path) -> None:
    """With --against, what it asks or quotes is rejected; another set curates anew."""
    context = open_house(tmp_path)
    folder = write_dataset(context, *make_house())
    assert curate(context).rejected == {}
    exam = tmp_path / "exam.jsonl"
    lines = [{"question": question_about(3)}, {"text": f"Known: {sentence_about(7)} That is all."}]
    exam.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    assert curate(context, against=exam).rejected == {"overlap": 2}
    kept = {example.question for examples in read_splits(folder).values() for example in examples}
    assert not kept & {question_about(3), question_about(7)}
    exam.write_text(json.dumps(lines[0]), encoding="utf-8")
    assert curate(context, against=exam).rejected == {"overlap": 1}


def test_an_evaluation_set_that_is_not_there_is_refused(tmp_path: Path) -> None:
    """Nothing is curated against a file that cannot be read."""
    context = open_house(tmp_path)
    write_dataset(context, *make_house(9))
    with pytest.raises(DataError, match=r"cannot read .*exam\.jsonl"):
        curate(context, against=tmp_path / "exam.jsonl")


@pytest.mark.parametrize("private", ["keep", "mask", "reject"])
def test_personal_data_is_kept_masked_or_rejected(tmp_path: Path, private: str) -> None:
    """A question and a passage may be masked, a quote may not: it would prove nothing any more."""
    chunks, examples = make_house()
    secret = "maria.lopez@beekeepers.org"
    sentence = f"Letters about the old house go to {secret} or to the cellar door."
    chunks[5] = make_chunk(f"{sentence_about(5)} Ask {secret} for more.", document="floor-1.md", start=200)
    examples[5] = make_example(question_about(5), sentence_about(5), chunks[5])
    chunk = make_chunk(sentence, document="floor-0.md", start=1000)
    asked = make_example("Where do letters about the old house go to?", sentence, chunk)
    named = examples[0].model_copy(update={"question": f"Does {secret} know where the lantern is kept?"})
    context = open_house(tmp_path)
    folder = write_dataset(context, [*chunks, chunk], [asked, named, *examples[1:]])
    report = curate(context, private=private, unanswerable_share=0)
    text = "".join((folder / split_file(split)).read_text(encoding="utf-8") for split in SPLITS)
    questions = {example.question for examples in read_splits(folder).values() for example in examples}
    assert (secret in text) is (private == "keep")
    assert (asked.question in questions) is (named.question in questions) is (private == "keep")
    assert any("[EMAIL-" in question for question in questions) is (private == "mask")
    assert (question_about(5) in questions) is (private != "reject")
    dropped = [each.text for each in read_records(folder / REJECTED_BY_CURATION, Rejection)]
    assert len(dropped) == report.rejected.get("private", 0)
    assert (asked.question in dropped) is (private != "keep")
    assert (named.question in dropped) is (private == "reject")


def test_degraded_pairs_are_added(tmp_path: Path) -> None:
    """With --degraded-pairs, answers stand against a worsened one, in the split of their example, with its passages."""
    context = open_house(tmp_path)
    folder = write_dataset(context, *make_house())
    plain = curate(context)
    report = curate(context, degraded_pairs=True)
    splits = read_splits(folder)
    for examples in splits.values():
        answers = {example.messages[:-1]: example for example in examples if example.kind is not ExampleKind.PREFERENCE}
        pairs = [example for example in examples if example.kind is ExampleKind.PREFERENCE]
        assert pairs
        for pair in pairs:
            assert pair.degradation
            assert pair.rejected not in ("", pair.messages[-1].content)
            assert answers[pair.messages[:-1]].messages[-1].content == pair.messages[-1].content
    assert report.kept > plain.kept
    assert report.kinds["preference"] == report.kept - plain.kept
    assert report.leaks == 0
    identities = [example.id for examples in splits.values() for example in examples]
    assert len(identities) == len(set(identities))


def test_the_likest_questions_of_two_splits_are_told(house: House) -> None:
    """The proof names two questions of different splits, and no two are liker."""
    proof = house.report.largest_similarity
    assert proof is not None
    split_of = {example.question: split for split, examples in house.splits.items() for example in examples}
    assert split_of[proof.first] != split_of[proof.second]
    embedder = packaged_embedder()
    vectors = {split: embedder.embed([e.question for e in examples]) for split, examples in house.splits.items()}
    largest = max(
        float((vectors[one] @ vectors[other].T).max()) for one, other in itertools.combinations(house.splits, 2)
    )
    assert proof.cosine == pytest.approx(largest, abs=1e-3)
    assert 0 <= proof.jaccard <= 1


def test_a_record_that_stands_twice_is_kept_once(tmp_path: Path) -> None:
    """The same line twice is a duplicate of itself, and its first is kept."""
    chunks, examples = make_house()
    context = open_house(tmp_path)
    folder = write_dataset(context, chunks, [*examples, examples[0], examples[1]])
    assert curate(context, unanswerable_share=0).rejected == {"exact_duplicate": 2}
    kept = [example.id for examples in read_splits(folder).values() for example in examples]
    assert sorted(kept) == sorted(example.id for example in examples)


def test_children_may_be_like_their_parents_but_not_the_same(tmp_path: Path) -> None:
    """An augmented example is a duplicate only if it says the same in the same words as another one."""
    chunks, examples = make_house()
    parent = examples[0]
    alike = parent.model_copy(
        update={"id": "alike", "question": "Where is the lantern kept now?", "parents": (parent.id,)}
    )
    same = parent.model_copy(update={"id": "same", "parents": (parent.id,)})
    twin = alike.model_copy(update={"id": "twin"})
    context = open_house(tmp_path)
    folder = write_dataset(context, chunks, [*examples, alike, same, twin])
    report = curate(context, unanswerable_share=0)
    assert report.rejected == {"exact_duplicate": 2}
    split_of = {example.id: split for split, examples in read_splits(folder).items() for example in examples}
    assert split_of["alike"] == split_of[parent.id]
    assert split_of.keys().isdisjoint({"same", "twin"})


def test_examples_without_passages_are_split_and_kept_as_they_are(tmp_path: Path) -> None:
    """What was imported has no source: its messages are trained on to the letter."""
    chunks, examples = make_house(16)
    imported = [
        Example(
            id=f"imported-{number}",
            kind=ExampleKind.INSTRUCTION,
            question=f"Write a slogan for the {thing} shop.",
            answer=f"Nobody shines like our {thing}.",
            messages=(
                Message(role="user", content=f"Write a slogan for the {thing} shop."),
                Message(role="assistant", content=f"Nobody shines like our {thing}."),
            ),
            teacher="import",
            prompt="import",
        )
        for number, thing in enumerate(THINGS[:12])
    ]
    context = open_house(tmp_path)
    folder = write_dataset(context, chunks, [*examples, *imported])
    report = curate(context)
    assert (report.kinds["instruction"], report.leaks) == (12, 0)
    found = {example.id: example for examples in read_splits(folder).values() for example in examples}
    for example in imported:
        assert found[example.id].messages == example.messages


# ---- parameters and parts


@pytest.mark.parametrize(
    "params",
    [{"unanswerable_share": 0.7}, {"passages": 0}, {"test_share": 0.0}, {"validation_share": 0.5}, {"dataset": "../x"}],
)
def test_parameters_out_of_range_are_refused(params: dict[str, object]) -> None:
    """Shares and sizes that cannot be met are refused before anything is read."""
    with pytest.raises(ValidationError):
        CurateParams.model_validate({"dataset": "house", **params})


def test_a_split_is_read_as_it_was_written(house: House, tmp_path: Path) -> None:
    """JSONL keeps every example, to the letter."""
    for examples in house.splits.values():
        write_records(tmp_path / "copy.jsonl", examples)
        assert list(read_records(tmp_path / "copy.jsonl", Example)) == examples


def test_datasets_are_listed_with_their_sizes(house: House) -> None:
    """Examples and splits are counted."""
    [line] = LIST_DATASETS.start(ListDatasetsParams(), house.context).datasets
    assert (line.dataset, line.examples) == ("house", len(THINGS))
    assert {"train": line.train, "validation": line.validation, "test": line.test} == house.report.splits


@pytest.mark.parametrize(("part", "count"), [("examples", 3), ("train", 1), ("validation", 2), ("test", 1000)])
def test_records_are_shown(house: House, part: str, count: int) -> None:
    """The first records of a part are shown with the answer that is learnt, and no more than asked."""
    params = ShowDatasetParams.model_validate({"dataset": "house", "part": part, "count": count})
    shown = SHOW_DATASET.start(params, house.context).records
    stored = list(read_records(house.folder / f"{part}.jsonl", Example))[:count]
    assert [record.question for record in shown] == [example.question for example in stored]
    if part != "examples":
        assert [record.answer for record in shown] == [example.messages[-1].content for example in stored]


def test_rejections_are_shown_with_their_reasons(tmp_path: Path) -> None:
    """What generation dropped can be looked at."""
    context = open_house(tmp_path)
    folder = write_dataset(context, *make_house(1))
    write_records(folder / REJECTED, [Rejection(check="form", reason="no mark", text="Where", source="c1")])
    params = ShowDatasetParams(dataset="house", part="rejected")
    [record] = SHOW_DATASET.start(params, context).records
    assert (record.question, record.answer, record.source) == ("Where", "form: no mark", "c1")


@pytest.mark.parametrize(
    ("dataset", "problem"), [("gone", "no dataset 'gone'; known: house"), ("house", "cannot read")]
)
def test_what_is_not_there_is_not_shown(tmp_path: Path, dataset: str, problem: str) -> None:
    """An unknown dataset is told with those that exist; so is a part that was not made yet."""
    context = open_house(tmp_path)
    write_dataset(context, *make_house(1))
    with pytest.raises(DataError, match=problem):
        SHOW_DATASET.start(ShowDatasetParams(dataset=dataset, part="train"), context)
