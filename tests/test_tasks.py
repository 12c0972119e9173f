"""What the teacher is asked, in which order: kinds with their shares, manners, rounds."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.dataset.recipes.recipe import Task
from pipelines.dataset.writing.tasks import DEFAULT_KINDS, TWO_PASSAGES, parse_kinds, parse_labels, plan_tasks
from pipelines.errors import SettingsError
from pipelines.records import Chunk, ExampleKind
from prompts import load_prompt
from tests.rule_teacher import house, passage

EVERY = (*ExampleKind, TWO_PASSAGES)
MANNERS = ("persona", "form", "difficulty")


def tasks_of(
    chunks: Sequence[Chunk], kinds: str = DEFAULT_KINDS, *, labels: tuple[str, ...] = (), seed: int = 0
) -> list[Task]:
    """Return all tasks about some passages."""
    return list(plan_tasks(chunks, kinds=parse_kinds(kinds), labels=labels, seed=seed))


@pytest.mark.parametrize(
    ("text", "shares"),
    [
        ("grounded", {"grounded": 1}),
        (" grounded:3 , unanswerable:1 ", {"grounded": 0.75, "unanswerable": 0.25}),
        ("spans:0.5, two_passages:1.5", {"spans": 0.25, "two_passages": 0.75}),
        ("grounded, grounded:1, ,", {"grounded": 1}),
    ],
)
def test_kinds_are_read_with_their_shares(text: str, shares: dict[str, float]) -> None:
    """A share is 1 where none is given; together they are the whole."""
    assert parse_kinds(text) == shares


@pytest.mark.parametrize(
    "text", ["", ",", "poem", "grounded:x", "grounded:-1", "grounded:0", "grounded:1:2", "Grounded"]
)
def test_what_is_no_kind_is_refused(text: str) -> None:
    """The hint names the kinds that there are, or an example."""
    with pytest.raises(SettingsError) as caught:
        parse_kinds(text)
    assert "grounded" in caught.value.hint


@given(st.lists(st.tuples(st.sampled_from(EVERY), st.integers(1, 999)), min_size=1, max_size=9))
def test_shares_make_a_whole(pairs: list[tuple[str, int]]) -> None:
    """Whatever is asked for, the shares sum up to one, and none is nothing."""
    shares = parse_kinds(", ".join(f"{kind}:{share}" for kind, share in pairs))
    assert sum(shares.values()) == pytest.approx(1)
    assert min(shares.values()) > 0


def test_labels_are_read_once_each() -> None:
    """In the order given, without spaces, each once."""
    assert parse_labels(" praise ,complaint,, praise", {"classification": 1}) == ("praise", "complaint")
    assert parse_labels("", {"grounded": 1}) == ()


@pytest.mark.parametrize(("text", "kind"), [("", "classification"), ("one", "classification"), (" , ", "spans")])
def test_missing_labels_are_refused(text: str, kind: str) -> None:
    """A classification needs two labels, spans one; the hint gives an example."""
    with pytest.raises(SettingsError) as caught:
        parse_labels(text, {kind: 1})
    assert "--labels" in caught.value.hint


def test_every_passage_has_its_turn_before_any_has_its_next() -> None:
    """Round after round, over all passages in the same order."""
    chunks = house(10)
    tasks = tasks_of(chunks, "grounded")
    assert len(tasks) % len(chunks) == 0
    rounds = [tasks[start : start + len(chunks)] for start in range(0, len(tasks), len(chunks))]
    assert [{task.round for task in each} for each in rounds] == [{number} for number in range(len(rounds))]
    for each in rounds:
        assert [task.chunks for task in each] == [task.chunks for task in rounds[0]]
    assert {task.chunks[0].id for task in rounds[0]} == {chunk.id for chunk in chunks}


def test_a_passage_without_a_fact_is_not_asked_about() -> None:
    """Headings, lists of words and code say nothing that can be quoted alone."""
    bare = passage(0).model_copy(update={"text": "Contents. See below.", "id": "bare"})
    assert {task.chunks[0].id for task in tasks_of([bare, passage(1)])} == {passage(1).id}
    assert tasks_of([bare]) == []


@pytest.mark.parametrize(
    "kinds", ["grounded:4, unanswerable:1", "grounded, false_premise, instruction", "preference:1, conversation:9"]
)
def test_the_shares_are_met_in_the_long_run(kinds: str) -> None:
    """Over many passages, each kind has about its share of the tasks of every round."""
    tasks = tasks_of([passage(number, document=f"{number}.md") for number in range(400)], kinds)
    shares = parse_kinds(kinds)
    for turn in (0, 1, 7):
        found = Counter(str(task.kind) for task in tasks if task.round == turn)
        for kind, share in shares.items():
            assert found[kind] / 400 == pytest.approx(share, abs=0.07)


@pytest.mark.parametrize("first", [5, 20, 60])
def test_the_shares_are_met_from_the_beginning(first: int) -> None:
    """Whoever wants few examples has the kinds in their shares, too."""
    tasks = tasks_of([passage(number, document=f"{number}.md") for number in range(300)], "grounded:4, unanswerable:1")
    found = Counter(str(task.kind) for task in tasks[:first])
    assert abs(found["unanswerable"] - first / 5) <= 1


@pytest.mark.parametrize("count", [1, 2, 6])
def test_the_shares_are_met_with_few_passages(count: int) -> None:
    """Over the rounds, each passage is asked about in every kind that has a fair share."""
    tasks = tasks_of(house(count), "grounded:3, unanswerable:1")
    found = Counter(str(task.kind) for task in tasks)
    assert found["unanswerable"] / len(tasks) == pytest.approx(0.25, abs=0.13)


def test_manners_are_mixed() -> None:
    """Who asks, what sort of question and how hard vary from task to task, and from round to round."""
    tasks = tasks_of(house(12), "grounded")
    constants = load_prompt("ask_questions").constants
    for name, values in zip(MANNERS, ("personas", "forms", "difficulties"), strict=True):
        used = Counter(task.attributes[name] for task in tasks)
        assert set(used) == set(constants[values])
        assert max(used.values()) <= 2.5 * len(tasks) / len(used)
    first = [tuple(task.attributes.values()) for task in tasks if task.chunks[0] == tasks[0].chunks[0]]
    assert len(set(first)) == len(first)


@given(st.integers(0, 20), st.integers(0, 3))
def test_a_document_more_does_not_change_the_tasks_of_others(number: int, seed: int) -> None:
    """Kind, manner and round of what was asked before stay as they were, and so does the order within a kind."""
    kinds = "grounded:4, unanswerable:1, false_premise"
    added = [passage(number, document="new.md"), passage(number + 1, document="new.md")]
    before = tasks_of(house(9), kinds, seed=seed)
    after = tasks_of([*house(9), *added], kinds, seed=seed)
    for turn, kind in {(task.round, task.kind) for task in before}:
        old = [task for task in before if (task.round, task.kind) == (turn, kind)]
        assert [t for t in after if (t.round, t.kind) == (turn, kind) and t.chunks[0] not in added] == old


def test_the_seed_decides_the_order_and_the_manners() -> None:
    """The same seed asks the same, another seed something else."""
    assert tasks_of(house(9)) == tasks_of(house(9)[::-1])
    assert tasks_of(house(9)) != tasks_of(house(9), seed=1)


def test_two_passages_are_neighbours_of_one_document() -> None:
    """A passage is joined with the next one of its document; the last one of it is asked about alone."""
    tasks = tasks_of(house(9), TWO_PASSAGES)
    assert {task.kind for task in tasks} == {ExampleKind.GROUNDED}
    pairs = [task.chunks for task in tasks if len(task.chunks) == 2]
    assert len(pairs) == len(tasks) * 2 / 3
    for first, second in pairs:
        assert first.document == second.document
        assert second.start - first.start == 400


def test_labels_go_to_the_kinds_that_take_them() -> None:
    """A question is not asked with the labels of a classification."""
    tasks = tasks_of(house(9), "grounded, classification, spans", labels=("a", "b"))
    for task in tasks:
        assert task.labels == (("a", "b") if task.kind in ("classification", "spans") else ())


def test_the_language_is_that_of_the_passage() -> None:
    """Documents in Chinese are asked about in Chinese."""
    text = "铜灯放在老房子的地下室里，客人可以在工作日借用。"
    chinese = passage(0).model_copy(update={"text": text, "end": len(text), "id": "zh"})
    assert {task.language for task in tasks_of([chinese])} == {"zh"}
