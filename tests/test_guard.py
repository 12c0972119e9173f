"""Training data that is not fit to learn, or only in part: what is said, and what is shown."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from pipelines.errors import DataError, SettingsError
from pipelines.models.catalog import DEFAULT_BASE_MODEL
from pipelines.models.local import load_tokenizer
from pipelines.models.render import end_token
from pipelines.operation import Context, open_context
from pipelines.training.data import TrainingRecord, read_data
from pipelines.training.guard import masked_pieces
from pipelines.training.params import TrainParams
from pipelines.training.prepare import Prepared, prepare_data
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
    with pytest.raises(DataError, match="there is no train.jsonl"):
        read_data(TrainParams(dataset="nothing"), context)
    assert TrainParams(dataset="x/y.jsonl").adapter_name == "y"
    with pytest.raises(ValueError, match="needs a name"):
        TrainParams(dataset="x/ö y!.jsonl")
    outside = open_context(context.workspace.root, confine=True)
    with pytest.raises(SettingsError, match="outside the workspace"):
        read_data(TrainParams(dataset=str(write(tmp_path / "a.jsonl", ROWS))), outside)
