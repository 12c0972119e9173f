"""Differences of datasets and exports: every example is found again, or said to be gone."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipelines.dataset.diff import DIFF_DATASETS, DiffParams, DiffReport
from pipelines.dataset.export import EXPORT_DATASET, ExportParams
from pipelines.dataset.files import CURATED, EXAMPLES, MANIFEST, split_file
from pipelines.dataset.formats.rows import FORMATS
from pipelines.errors import DataError, SettingsError
from pipelines.operation import Context
from pipelines.records import SPLITS, Example, ExampleKind, Message, Split, content_id, write_records
from pipelines.workspace import write_json

COUNTS = ("same", "added", "removed", "changed", "recomposed", "moved")


def make_example(number: int, answer: str = "In the cellar.", *, shown: str = "", **fields: Any) -> Example:
    """Return an example about one lamp."""
    question = f"Where is lamp {number} kept?"
    return Example(
        id=content_id(question, answer),
        **{
            "kind": ExampleKind.GROUNDED,
            "question": question,
            "answer": answer,
            "messages": (
                Message(role="user", content=f"{shown}{question}"),
                Message(role="assistant", content=answer),
            ),
            "sources": (f"chunk-{number}",),
            "rejected": f"Not {answer}",
            "teacher": "small",
            "prompt": "generate_qa@1",
            **fields,
        },
    )


def write_splits(context: Context, name: str, **splits: Sequence[Example]) -> Path:
    """Write a curated dataset."""
    folder = context.workspace.dataset(name)
    folder.mkdir(parents=True, exist_ok=True)
    for split in SPLITS:
        write_records(folder / split_file(split), splits.get(split, ()))
    return folder


def write_examples(context: Context, name: str, examples: Sequence[Example]) -> Path:
    """Write a dataset that is not curated."""
    folder = context.workspace.dataset(name)
    folder.mkdir(parents=True, exist_ok=True)
    write_records(folder / EXAMPLES, examples)
    return folder


def diff(context: Context, before: str = "one", after: str = "two", **params: int) -> DiffReport:
    """Compare as every surface does."""
    return DIFF_DATASETS.start(DiffParams.model_validate({"before": before, "after": after, **params}), context)


def counts_of(report: DiffReport) -> dict[str, int]:
    """Return the counts that are not zero."""
    return {name: getattr(report, name) for name in COUNTS if getattr(report, name)}


def test_every_change_is_counted_by_its_kind(context: Context) -> None:
    """Added, removed, answered otherwise, shown otherwise, moved, and the rest, which is the same."""
    conversation = {"kind": ExampleKind.CONVERSATION}
    write_splits(
        context,
        "one",
        train=[make_example(1), make_example(2), make_example(3, **conversation), make_example(4)],
        test=[make_example(5), make_example(6)],
    )
    write_splits(
        context,
        "two",
        train=[make_example(1), make_example(2, "In the attic."), make_example(4, shown="[1] A."), make_example(5)],
        validation=[make_example(6, "Nowhere.")],
        test=[make_example(7), make_example(8, **conversation)],
    )
    report = diff(context)
    assert counts_of(report) == {"same": 1, "added": 2, "removed": 1, "changed": 2, "recomposed": 1, "moved": 2}
    assert report.moves == {"test to train": 1, "test to validation": 1}
    lines = {line.kind: line.model_dump(exclude={"kind"}) for line in report.kinds}
    assert lines == {
        "conversation": {"before": 1, "after": 1, "added": 1, "removed": 1, "changed": 0},
        "grounded": {"before": 5, "after": 6, "added": 1, "removed": 0, "changed": 2},
    }
    samples = {(sample.change, sample.question): (sample.before, sample.after) for sample in report.samples}
    assert samples == {
        ("changed", "Where is lamp 2 kept?"): ("In the cellar.", "In the attic."),
        ("changed", "Where is lamp 6 kept?"): ("In the cellar.", "Nowhere."),
        ("moved", "Where is lamp 5 kept?"): ("test", "train"),
        ("moved", "Where is lamp 6 kept?"): ("test", "validation"),
        ("added", "Where is lamp 7 kept?"): ("", "In the cellar."),
        ("added", "Where is lamp 8 kept?"): ("", "In the cellar."),
        ("removed", "Where is lamp 3 kept?"): ("In the cellar.", ""),
    }


@pytest.mark.parametrize(
    ("fields", "changed"),
    [
        ({"rejected": "Elsewhere."}, True),
        ({"label": "place"}, True),
        ({"spans": ({"start": 0, "end": 5, "label": "WORD"},)}, True),
        ({"teacher": "large"}, False),
        ({"scores": {"judge": 4.0}}, False),
    ],
)
def test_what_is_learnt_makes_the_change(fields: dict[str, Any], changed: bool, context: Context) -> None:
    """Labels and the worse answer are part of the answer; who wrote it and what it scored are not."""
    write_splits(context, "one", train=[make_example(1)])
    write_splits(context, "two", train=[make_example(1, **fields)])
    assert counts_of(diff(context)) == ({"changed": 1} if changed else {"same": 1})


@pytest.mark.parametrize("fields", [{"sources": ("other",)}, {"kind": ExampleKind.UNANSWERABLE}])
def test_another_source_or_kind_is_another_example(fields: dict[str, Any], context: Context) -> None:
    """The same question about something else, or to teach something else, is not the same example."""
    write_splits(context, "one", train=[make_example(1)])
    write_splits(context, "two", train=[make_example(1, **fields)])
    assert counts_of(diff(context)) == {"added": 1, "removed": 1}


EXAMPLES_OF = st.lists(
    st.builds(
        lambda number, answer, split: (split, make_example(number, answer)),
        st.integers(0, 5),
        st.sampled_from(["Here.", "There."]),
        st.sampled_from(SPLITS),
    ),
    max_size=12,
)


def divided(examples: Sequence[tuple[Split, Example]]) -> dict[str, list[Example]]:
    """Return examples by their split."""
    return {split: [example for each, example in examples if each == split] for split in SPLITS}


@given(EXAMPLES_OF, EXAMPLES_OF)
@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_counts_add_up_and_turn_around(
    context: Context, one: list[tuple[Split, Example]], two: list[tuple[Split, Example]]
) -> None:
    """Nothing is lost between the sides, questions asked twice included; the way back undoes the way there."""
    write_splits(context, "one", **divided(one))
    write_splits(context, "two", **divided(two))
    there, back = diff(context), diff(context, "two", "one")
    assert len(one) - there.removed == len(two) - there.added
    assert (there.added, there.removed) == (back.removed, back.added)
    assert sum(line.before for line in there.kinds) == len(one)
    assert sum(line.removed for line in there.kinds) == there.removed
    assert counts_of(diff(context, "one", "one")) == ({"same": len(one)} if one else {})


def test_what_is_not_divided_is_compared_whole(context: Context) -> None:
    """Where one dataset has no splits, the examples of both are compared, and none counts as moved."""
    folder = write_splits(context, "one", train=[make_example(1, shown="[1] Lamps.")], test=[])
    write_records(folder / EXAMPLES, [make_example(1), make_example(2)])
    write_examples(context, "two", [make_example(2), make_example(3)])
    report = diff(context)
    assert report.compared == "datasets, before they are divided into splits"
    assert counts_of(report) == {"same": 1, "added": 1, "removed": 1}


def test_splits_of_one_side_only_are_no_moves(context: Context) -> None:
    """Splits whose examples are at hand only divided are compared with undivided ones, without moves."""
    write_splits(context, "one", train=[make_example(1)], test=[make_example(2)])
    write_examples(context, "two", [make_example(1), make_example(2)])
    assert counts_of(diff(context)) == {"same": 2}


def test_samples_are_few(context: Context) -> None:
    """At most so many samples of each change are shown, in the order of the data."""
    write_splits(context, "one", train=[])
    write_splits(context, "two", train=[make_example(number) for number in range(9)])
    assert [sample.question for sample in diff(context, samples=2).samples] == [
        "Where is lamp 0 kept?",
        "Where is lamp 1 kept?",
    ]
    assert diff(context, samples=0).samples == []


def test_how_they_were_made_is_compared(context: Context) -> None:
    """Parameters, prompts and teachers that differ are listed, with both values."""
    one = write_splits(context, "one", train=[make_example(1), make_example(2), make_example(3)])
    two = write_splits(
        context, "two", train=[make_example(1), make_example(2, teacher="large", prompt="generate_qa@2")]
    )
    for folder, passages in ((one, 3), (two, 5)):
        inputs = {"params": {"passages": passages, "share": 0.25}, "prompts": ["same"]}
        write_json(folder / CURATED, {"inputs": inputs, "report": {}, "finished": ""})
    write_json(two / MANIFEST, {"inputs": {"seed": 7}, "report": {}, "finished": ""})
    found = {(line.stage, line.what): (line.before, line.after) for line in diff(context).made_with}
    assert found == {
        ("curated", "params.passages"): ("3", "5"),
        ("manifest", "seed"): ("absent", "7"),
        ("examples", "teacher small"): ("3", "1"),
        ("examples", "teacher large"): ("0", "1"),
        ("examples", "prompt generate_qa@1"): ("3", "1"),
        ("examples", "prompt generate_qa@2"): ("0", "1"),
    }


@pytest.mark.parametrize("name", sorted(FORMATS))
def test_exports_are_compared_by_what_they_ask(name: str, context: Context) -> None:
    """An export of each format tells the same changes as its dataset."""
    write_splits(context, "one", train=[make_example(1), make_example(2), make_example(3)], test=[make_example(4)])
    write_splits(
        context, "two", train=[make_example(1), make_example(2, "Up.")], test=[make_example(3), make_example(5)]
    )
    for dataset in ("one", "two"):
        params = ExportParams.model_validate({"dataset": dataset, "format": name})
        EXPORT_DATASET.start(params, context)
    report = diff(context, f"one/{name}", f"two/{name}")
    rows = 2 if name == "kto" else 1  # a better and a worse answer
    expected = {"same": 1, "added": 1, "removed": 1, "changed": 1, "moved": 1}
    assert counts_of(report) == {key: rows * count for key, count in expected.items()}
    assert report.moves == {"train to test": rows}
    assert report.compared == f"an export as {name}"
    changed = next(sample for sample in report.samples if sample.change == "changed")
    assert "lamp 2" in changed.question
    assert ("cellar" in changed.before, "Up" in changed.after) == (True, True)


def test_only_the_same_sort_is_compared(context: Context) -> None:
    """A dataset and its rows in a chat format have nothing to be matched by; whole records have."""
    write_splits(context, "one", train=[make_example(1)])
    for name in ("openai", "alpaca", "parquet"):
        EXPORT_DATASET.start(ExportParams.model_validate({"dataset": "one", "format": name}), context)
    with pytest.raises(SettingsError, match="only the same sort"):
        diff(context, "one", "one/openai")
    with pytest.raises(SettingsError, match="only the same sort"):
        diff(context, "one/alpaca", "one/openai")
    assert counts_of(diff(context, "one", "one/parquet")) == {"same": 1}


@pytest.mark.parametrize(
    ("place", "message"),
    [
        ("none", "no dataset 'none'; known: one"),
        ("none/openai", "no dataset 'none'"),
        ("one/openai", "no export 'one/openai'; known: alpaca"),
        ("one/nonsense", "no export 'one/nonsense'"),
    ],
)
def test_what_does_not_exist_is_told(place: str, message: str, context: Context) -> None:
    """An unknown dataset or export is answered with those that there are."""
    write_splits(context, "one", train=[make_example(1)])
    EXPORT_DATASET.start(ExportParams(dataset="one", format="alpaca"), context)
    with pytest.raises(DataError, match=message):
        diff(context, place, place)


@pytest.mark.parametrize("place", ["", "../one", "one/../two", "one/openai/x", "/etc", "one/"])
def test_a_place_is_no_path(place: str) -> None:
    """What names a dataset or an export cannot lead elsewhere."""
    with pytest.raises(ValueError, match="before"):
        DiffParams(before=place, after="one")


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{", r"train\.jsonl line 2 is not JSON"),
        ("[]", r"train\.jsonl line 2 is not a JSON object"),
        ("{}", r"train\.jsonl row 2 is not of its format"),
        ('{"messages": []}', r"train\.jsonl row 2 is not of its format"),
        ('{"messages": "text"}', r"train\.jsonl row 2 is not of its format"),
    ],
)
def test_a_damaged_export_is_told(line: str, message: str, context: Context) -> None:
    """A row that was changed by hand into something else is an error with file and line."""
    write_splits(context, "one", train=[make_example(1)])
    path = Path(EXPORT_DATASET.start(ExportParams(dataset="one"), context).folder) / "train.jsonl"
    path.write_text(path.read_text(encoding="utf-8") + line + "\n", encoding="utf-8")
    with pytest.raises(DataError, match=message):
        diff(context, "one/openai", "one/openai")


def test_damaged_parquet_is_told(context: Context) -> None:
    """A Parquet file that cannot be read is an error with its name."""
    write_splits(context, "one", train=[make_example(1)])
    path = Path(EXPORT_DATASET.start(ExportParams(dataset="one", format="parquet"), context).folder) / "train.parquet"
    path.write_bytes(b"PAR1")
    with pytest.raises(DataError, match=r"cannot read .*train\.parquet"):
        diff(context, "one/parquet", "one/parquet")


def test_a_damaged_line_of_a_dataset_is_told(context: Context) -> None:
    """So is a line of a dataset, and a manifest."""
    folder = write_splits(context, "one", train=[make_example(1)])
    (folder / MANIFEST).write_text("{", encoding="utf-8")
    with pytest.raises(DataError, match=r"manifest\.json is damaged"):
        diff(context, "one", "one")
    (folder / split_file("train")).write_text(json.dumps({"id": "x"}) + "\n", encoding="utf-8")
    with pytest.raises(DataError, match=r"train\.jsonl line 1"):
        diff(context, "one", "one")
