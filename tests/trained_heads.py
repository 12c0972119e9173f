"""Texts to label, and a head that has learnt some of them: for what trains heads, and what judges them."""

from __future__ import annotations

import itertools
import json
from pathlib import Path

import pytest

from pipelines.operation import Context
from pipelines.training.heads.train import HeadParams, HeadReport, train_head
from pipelines.workspace import Workspace
from tests.conftest import Recorder, make_context

ROOMS = ("kitchen", "hall", "cellar", "attic", "study", "garage")
TEXTS = {
    "light": ("turn on the lamp in the {}", "make the {} brighter", "the {} is too dark, please light it"),
    "music": ("play a song in the {}", "I want to hear the radio in the {}", "louder music for the {}"),
    "weather": ("will it rain on the {} today", "how cold is it outside the {}", "is there snow before the {}"),
}
LEARNT_BY_HEART = HeadParams(dataset="wishes", trained="full", epochs=8, patience=2, learning_rate=1e-3)
NAMES = ("Hedda", "Anna Berg", "Tomas", "Ilse Kroll", "Marek", "Ruth", "Jonas Lind", "Petra")
TOWNS = ("Tallinn", "Porto", "New Haven", "Graz", "Lyon", "Bergen")
SENTENCES = ("{} moved to {} in spring.", "In autumn {} was seen near {}.", "A letter from {} came out of {}, unread.")


def sorted_texts() -> list[dict[str, object]]:
    """Texts with one of three labels each."""
    return [
        {"text": text.format(room), "label": label}
        for label, texts in TEXTS.items()
        for text in texts
        for room in ROOMS
    ]


def marked_texts() -> list[dict[str, object]]:
    """Texts with persons and towns marked, and some without any."""
    marked: list[dict[str, object]] = [{"text": f"Nothing was said about chair {n}.", "spans": []} for n in range(6)]
    for sentence, name, town in itertools.product(SENTENCES, NAMES, TOWNS):
        text = sentence.format(name, town)
        spans = [
            {"start": text.index(each), "end": text.index(each) + len(each), "label": label}
            for each, label in ((name, "person"), (town, "town"))
        ]
        marked.append({"text": text, "spans": spans})
    return marked[::2]


def write_lines(path: Path, records: list[dict[str, object]]) -> Path:
    """A JSONL file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(each) + "\n" for each in records), encoding="utf-8")
    return path


def write_curated(folder: Path, records: list[dict[str, object]]) -> None:
    """A curated dataset: examples of the kind `classification`, and one that teaches something else."""
    base = {"id": "x", "answer": "a", "teacher": "t", "prompt": "p"}
    other = {**base, "kind": "instruction", "question": "Say something."}
    examples = [
        {**base, "kind": "classification", "question": each["text"], "label": each["label"]} for each in records
    ]
    write_lines(folder / "train.jsonl", [other, *examples[0::3], *examples[1::6]])
    write_lines(folder / "validation.jsonl", examples[4::6])
    write_lines(folder / "test.jsonl", examples[2::3])


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> tuple[Context, Recorder]:
    """A workspace in which heads are trained once for all tests of a file."""
    recorder = Recorder()
    workspace = Workspace(tmp_path_factory.mktemp("heads"))
    workspace.make()
    return make_context(workspace, recorder), recorder


@pytest.fixture(scope="module")
def sorter(shared: tuple[Context, Recorder]) -> HeadReport:
    """A head that sorts texts."""
    context, _recorder = shared
    write_curated(context.workspace.dataset("wishes"), sorted_texts())
    return train_head(LEARNT_BY_HEART, context)
