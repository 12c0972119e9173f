"""Training data that is not fit to learn, or only in part: what is said, and what is shown."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from pipelines.errors import DataError, SettingsError
from pipelines.models.catalog import DEFAULT_BASE_MODEL
from pipelines.models.local import load_tokenizer
from pipelines.models.render import Rendered, end_token
from pipelines.operation import Context, open_context
from pipelines.training.catalog import METHODS
from pipelines.training.data import TrainingData, TrainingRecord, read_data
from pipelines.training.guard import GuardFinding, check_data, masked_pieces
from pipelines.training.params import TrainParams
from pipelines.training.prepare import Prepared, prepare_data
from pipelines.training.train import TRAIN_ADAPTER, plan_train
from tests.conftest import Recorder
from tests.tiny_model import make_tiny_model

NUMBERS = ("one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a tiny model."""
    like = open_context(tmp_path_factory.mktemp("base")).models.base_folder(DEFAULT_BASE_MODEL)
    return make_tiny_model(tmp_path_factory.mktemp("tiny"), like=like)


def row(asked: str, said: str, **more: object) -> dict[str, object]:
    """A record as a line of a file."""
    return {"messages": [{"role": "user", "content": asked}, {"role": "assistant", "content": said}], **more}


ROWS = [row(f"What is number {each}?", f"It is {each}.") for each in NUMBERS]


def write(path: Path, rows: list[dict[str, object]]) -> Path:
    """Write rows as JSONL."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(each, ensure_ascii=False) + "\n" for each in rows), encoding="utf-8")
    return path


def prepared(file: Path, base: Path, context: Context, *, longest: int | None = None, **more: object) -> Prepared:
    """Read and check a file as a run does."""
    params = TrainParams.model_validate({"dataset": str(file), "base": str(base), **more})
    return prepare_data(params, context, load_tokenizer(base), longest=longest)


def checks(found: Prepared) -> dict[str, int]:
    """What the guard said, and how often."""
    return {each.check: each.count for each in found.findings}


def test_a_file_is_split_by_its_records(base: Path, context: Context, tmp_path: Path) -> None:
    """A tenth validates, whatever the order of the lines, and nothing is in both."""
    one = read_data(TrainParams(dataset=str(write(tmp_path / "a.jsonl", ROWS))), context)
    other = read_data(TrainParams(dataset=str(write(tmp_path / "b.jsonl", ROWS[::-1]))), context)
    assert one.validation == other.validation
    assert (len(one.train), len(one.validation)) == (9, 1)
    assert one.validation[0] not in one.train


def test_clean_data_is_only_few(base: Path, context: Context, tmp_path: Path) -> None:
    """Ten records are trained on; that they are few is said."""
    found = prepared(write(tmp_path / "a.jsonl", ROWS), base, context)
    assert checks(found) == {"few": 9}
    assert (found.examples, found.left_out) == (9, 0)
    end = end_token(load_tokenizer(base))
    assert all(group[0].answer[-1] == end for group in found.groups)


@pytest.mark.parametrize(
    ("rows", "check", "count"),
    [
        ([*ROWS, row("And this?", "word " * 400)], "too_long", 1),
        ([*ROWS, *ROWS], "duplicate", 9),
        ([*ROWS, row("Who is she?", "Her mail is hedda.dahl@fastmail.com.")], "private", 1),
    ],
)
def test_what_a_person_should_know_is_said(
    rows: list[dict[str, object]], check: str, count: int, base: Path, context: Context, tmp_path: Path
) -> None:
    """Training goes on; the warning has the number of records."""
    found = prepared(write(tmp_path / "a.jsonl", rows), base, context, max_length=200)
    assert checks(found)[check] >= count
    assert all(each.severity == "warning" for each in found.findings)


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([], "at least 2"),
        (ROWS[:1], "at least 2"),
        ([row("a?", "")] * 3, "nothing to learn|Message"),
        ([row("x " * 900, "y"), row("z " * 900, "y")], "no example of at most"),
        ([{"text": "no messages"}], "line 1"),
        ([row("only asked", "said") | {"messages": [{"role": "user", "content": "asked"}] * 2}] * 2, "assistant"),
    ],
)
def test_what_cannot_be_learnt_is_refused(
    rows: list[dict[str, object]], message: str, base: Path, context: Context, tmp_path: Path
) -> None:
    """Nothing, one record, nothing to learn, nothing short enough, nothing in the right form."""
    with pytest.raises(DataError, match=message):
        prepared(write(tmp_path / "a.jsonl", rows), base, context, max_length=500)


@pytest.mark.parametrize(("rows", "message"), [([], "0 records"), (ROWS[:1], "1 record,"), ([{"text": "x"}], "line 1")])
def test_nobody_is_asked_about_what_cannot_be_learnt(
    rows: list[dict[str, object]], message: str, context: Context, recorder: Recorder, tmp_path: Path
) -> None:
    """It is refused before the approval, and leaves no folder."""
    params = TrainParams(dataset=str(write(tmp_path / "a.jsonl", rows)))
    with pytest.raises(DataError, match=message):
        TRAIN_ADAPTER.start(params, context)
    assert not recorder.plans
    assert not context.workspace.adapter("a").exists()


def test_one_is_one(context: Context, tmp_path: Path) -> None:
    """A plan counts what is learnt, and says it in the singular where there is one."""
    plan = plan_train(TrainParams(dataset=str(write(tmp_path / "a.jsonl", ROWS[:2])), epochs=1), context)
    assert "1 example of" in plan.title
    assert "at most 1 epoch," in plan.steps[1]


def test_the_right_form_is_shown(base: Path, context: Context, tmp_path: Path) -> None:
    """Of records with other fields, of a pair whose fields hold something else, and where there is no pair."""
    form = '{"messages": [{"role": "user", "content": ...}, {"role": "assistant", "content": ...}]}'
    for rows in ([{"instruction": "a?", "output": "b"}], [{"prompt": 1, "chosen": [{}], "rejected": "c"}]):
        with pytest.raises(DataError, match="line 1") as caught:
            read_data(TrainParams(dataset=str(write(tmp_path / "a.jsonl", rows))), context)
        assert form in caught.value.hint
        assert "assistant data import" in caught.value.hint
    with pytest.raises(DataError, match="no worse answer") as caught:
        prepared(write(tmp_path / "b.jsonl", ROWS), base, context, objective="dpo")
    assert all(f'"{name}"' in caught.value.hint for name in ("messages", "rejected", "prompt", "chosen"))


def test_a_question_of_the_test_split_is_a_leak(base: Path, context: Context) -> None:
    """Also in other case and punctuation; and the way to look at it is named."""
    folder = context.workspace.dataset("leaky")
    write(folder / "train.jsonl", ROWS)
    write(folder / "validation.jsonl", [row("Something else?", "Yes.")])
    write(folder / "test.jsonl", [row("what is NUMBER three", "It is three.")])
    params = TrainParams(dataset="leaky", base=str(base))
    with pytest.raises(DataError, match="1 questions of the test split") as caught:
        prepare_data(params, context, load_tokenizer(base), longest=None)
    assert "--show" in caught.value.hint


def test_the_context_of_the_model_is_a_limit(base: Path, context: Context, tmp_path: Path) -> None:
    """What the base model cannot take is left out, and counted, whatever --max-length says."""
    rows = [*ROWS, row("And this?", "word " * 100)]
    found = prepared(write(tmp_path / "a.jsonl", rows), base, context, longest=80, max_length=1000)
    assert found.left_out == 1


def test_a_model_without_a_template_is_refused(base: Path, context: Context, tmp_path: Path) -> None:
    """A base model that was not made for conversations has no words for them."""
    params = TrainParams(dataset=str(write(tmp_path / "a.jsonl", ROWS)), base=str(base))
    tokenizer = load_tokenizer(base)
    tokenizer.chat_template = None
    with pytest.raises(DataError, match="no chat template"):
        prepare_data(params, context, tokenizer, longest=None)


def test_a_foreign_template_is_refused(base: Path, context: Context, tmp_path: Path) -> None:
    """One that renders a prompt otherwise once an answer follows would be trained on what is never asked."""
    params = TrainParams(dataset=str(write(tmp_path / "a.jsonl", ROWS)), base=str(base))
    tokenizer = load_tokenizer(base)
    tokenizer.chat_template = "{% for m in messages %}{{ loop.length }}{{ m.content }}{% endfor %}"
    with pytest.raises(DataError, match="train record 1: the chat template"):
        prepare_data(params, context, tokenizer, longest=None)


def test_a_record_is_shown_with_what_is_learnt(base: Path, context: Context, tmp_path: Path) -> None:
    """The pieces are the whole record, in order, and only the answer is learnt."""
    found = prepared(write(tmp_path / "a.jsonl", ROWS), base, context)
    shown, learnt = masked_pieces(load_tokenizer(base), found.groups[0][0])
    assert (shown.is_supervised, learnt.is_supervised) == (False, True)
    assert "What is number" in shown.text
    assert learnt.text.startswith("It is ")
    assert learnt.text.endswith("<|im_end|>")


def test_rows_of_preferences_are_understood() -> None:
    """`prompt`, `chosen` and `rejected`, as texts or as turns."""
    texts = TrainingRecord.model_validate({"prompt": "a?", "chosen": "b", "rejected": "c"})
    turns = TrainingRecord.model_validate(
        {
            "prompt": [{"role": "system", "content": "s"}, {"role": "user", "content": "a?"}],
            "chosen": [{"role": "assistant", "content": "b"}],
            "rejected": [{"role": "assistant", "content": "c"}],
        }
    )
    assert [message.content for message in texts.messages] == ["a?", "b"]
    assert [message.content for message in turns.messages] == ["s", "a?", "b"]
    assert [texts.rejected, turns.rejected] == ["c", "c"]
    assert turns.with_worse[-1].content == "c"


def test_a_dataset_of_the_workspace_is_no_path(context: Context, tmp_path: Path) -> None:
    """Names are names; a file is one that says so. An agent names no file outside."""
    with pytest.raises(DataError, match=r"there is no train\.jsonl"):
        read_data(TrainParams(dataset="nothing"), context)
    assert TrainParams(dataset="x/y.jsonl").adapter_name == "y"
    with pytest.raises(ValueError, match="needs a name"):
        TrainParams(dataset="x/ö y!.jsonl")
    outside = open_context(context.workspace.root, confine=True)
    with pytest.raises(SettingsError, match="outside the workspace"):
        read_data(TrainParams(dataset=str(write(tmp_path / "a.jsonl", ROWS))), outside)


# ---- what the guard counts


def records(rows: list[dict[str, object]]) -> list[TrainingRecord]:
    """Rows as records."""
    return [TrainingRecord.model_validate(each) for each in rows]


def found_in(
    train: list[dict[str, object]],
    *,
    validation: list[dict[str, object]] | None = None,
    test: list[dict[str, object]] | None = None,
    answer: int = 5,
    pairs: bool = False,
) -> dict[str, GuardFinding]:
    """What is said about splits whose records are all of ten tokens of prompt and `answer` more."""
    data = TrainingData(train=records(train), validation=records(validation or []), test=records(test or []))
    rendered = [Rendered(prompt=(1,) * 10, answer=(2,) * answer) for _ in train]
    return {each.check: each for each in check_data(data, rendered, max_length=15, pairs=pairs)}


def test_what_is_in_order_is_not_mentioned() -> None:
    """Fifty records of just the longest length, and none of them twice, leave nothing to say."""
    many = [row(f"{one} and {other}?", "Yes.") for one in NUMBERS for other in NUMBERS[:5]]
    assert not found_in(many)
    assert found_in(many[1:])["few"].count == 49
    assert found_in(many, answer=6)["too_long"].count == 50
    assert found_in(many, answer=1)["empty_answer"].severity == "error"


def test_a_leak_into_the_validation_split_is_one() -> None:
    """Weights are chosen by it; and a question without words is nobody else's question."""
    leak = found_in(ROWS, validation=[row("The same?", "Yes.")], test=[row("the same", "Yes."), row("?", "What?")])
    assert (leak["leak"].severity, leak["leak"].count) == ("error", 1)
    assert "leak" not in found_in([*ROWS, row("!", "Pardon?")], test=[row("?", "What?")])


def test_what_is_trained_on_validates_nothing() -> None:
    """Records of both splits are counted once each, whole records only."""
    both = found_in(ROWS, validation=[ROWS[0], ROWS[3], row("What is number one?", "Another answer.")])
    assert (both["overlap"].severity, both["overlap"].count) == ("warning", 2)


def test_only_what_is_learnt_is_private() -> None:
    """An address that is asked about is not learnt by heart; of one that is, the kind is named."""
    mail = "hedda.dahl@fastmail.com"
    assert "private" not in found_in([row(f"Whose is {mail}?", "Hers.")])
    assert "EMAIL 1" in found_in([row("Which is hers?", f"It is {mail}.")])["private"].detail


def test_some_pairs_are_enough() -> None:
    """Records without a worse answer, or with the same one, are left out; nothing is left of none."""
    some = [row("a?", "b", rejected="c"), row("d?", "e", rejected="e"), row("f?", "g")]
    assert (found_in(some, pairs=True)["no_pair"].severity, found_in(some, pairs=True)["no_pair"].count) == (
        "warning",
        2,
    )
    assert found_in(some[1:], pairs=True)["no_pair"].severity == "error"
    assert "no_pair" not in found_in(some)


# ---- what is read, and what is packed


def test_a_conversation_is_known_by_its_last_question() -> None:
    """Leaks are looked for there; a preference may repeat its prompt before its answers."""
    turns = [
        {"role": "user", "content": "a?"},
        {"role": "assistant", "content": "b"},
        {"role": "user", "content": "c?"},
    ]
    one = TrainingRecord.model_validate({"messages": [*turns, {"role": "assistant", "content": "d"}]})
    assert one.asked == "c?"
    said = [[*turns, {"role": "assistant", "content": each}] for each in "de"]
    two = TrainingRecord.model_validate({"prompt": turns, "chosen": said[0], "rejected": said[1]})
    assert (two.messages, two.rejected) == (one.messages, "e")


def test_the_test_split_is_read_for_leaks_only(base: Path, context: Context) -> None:
    """Where parameters are chosen it is not even opened; and an empty split is named."""
    folder = context.workspace.dataset("whole")
    write(folder / "train.jsonl", ROWS)
    write(folder / "validation.jsonl", [row("Something else?", "Yes.")])
    (folder / "test.jsonl").write_text("not json\n", encoding="utf-8")
    params = TrainParams(dataset="whole", base=str(base))
    found = prepare_data(params, context, load_tokenizer(base), longest=None, with_test=False)
    assert not found.data.test
    with pytest.raises(DataError, match=r"test\.jsonl, line 1|line 1"):
        read_data(params, context)
    (folder / "validation.jsonl").write_text("", encoding="utf-8")
    with pytest.raises(DataError, match=r"validation\.jsonl holds no example"):
        read_data(params, context, with_test=False)


def test_every_answer_keeps_its_number(base: Path, context: Context, tmp_path: Path) -> None:
    """What is measured of an answer before training is found again by it; what is no pair is left out."""
    rows = [row(f"What is number {each}?", f"It is {each}.", rejected=f"Not {each}, I think.") for each in NUMBERS]
    rows += [row("And this?", "Nothing."), row("And that?", "No.", rejected="No.")]
    folder = context.workspace.dataset("pairs")
    write(folder / "train.jsonl", rows[2:])
    write(folder / "validation.jsonl", [*rows[:2], rows[-1]])
    params = TrainParams(dataset="pairs", base=str(base), objective="dpo", batch_size=1)
    found = prepare_data(params, context, load_tokenizer(base), longest=None)
    assert (found.examples, found.left_out) == (8, 3)
    answers = [each.answer for group in found.groups for each in group]
    packs = [*found.train, *found.validation]
    learnt = {each.index: pack.tokens[each.answer : each.end] for pack in packs for each in pack.branches}
    assert [learnt[number] for number in range(len(learnt))] == answers
    assert max(len(pack.branches) for pack in found.train) == 4  # two pairs, twice the batch


def test_a_learnt_prompt_precedes_one_answer_only(base: Path, context: Context, tmp_path: Path) -> None:
    """A method whose adapter stands before the tokens gets each example by itself."""
    file = write(tmp_path / "a.jsonl", ROWS)
    [method, *_others] = [name for name, kind in METHODS.items() if kind.is_prompt]
    assert {len(pack.branches) for pack in prepared(file, base, context, method=method).train} == {1}
    assert max(len(pack.branches) for pack in prepared(file, base, context).train) > 1


def test_the_longest_that_fits_is_learnt(base: Path, context: Context, tmp_path: Path) -> None:
    """The limit itself is allowed."""
    file = write(tmp_path / "a.jsonl", [*ROWS, row("And this?", "word " * 100)])
    longest = max(len(one.prompt) + len(one.answer) for [one] in prepared(file, base, context).groups)
    assert prepared(file, base, context, longest=longest).left_out == 0
    assert prepared(file, base, context, longest=longest - 1).left_out == 1
