"""How well heads on the embedded encoder sort and find, against what needs no neural network.

Both sets are of PolyAI's task-specific-datasets (CC BY 4.0), which is not part of this
repository: `HEADS_DATA` names the folder that holds its `banking_data` and `span_extraction`.
Banking77 (Casanueva et al. 2020, arXiv:2003.04807) gives 20 intents with 20 texts each to learn
and validate on, Restaurant-8k (Coope et al. 2020, arXiv:2005.08866) about 400 texts with the
time, date, party and names in them. Utterances of fewer than four words, which only the question
before them explains, and those with pieces in one another are left out.
"""

from __future__ import annotations

import csv
import itertools
import json
import os
import random
import tempfile
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from benchmarks.measure import Row
from pipelines.operation import open_context
from pipelines.training.heads.train import HeadParams, HeadReport, train_head

_VARIABLE = "HEADS_DATA"
_INTENTS, _TEXTS_PER_INTENT, _VALIDATION_PER_INTENT = 20, 20, 4
_TEST_TEXTS = 800
_FEWEST_WORDS = 4

Lines = list[dict[str, Any]]


def measure() -> list[Row]:
    """Train and judge one head of each kind."""
    folder = Path(os.environ.get(_VARIABLE, ""))
    if not (folder / "banking_data").is_dir():
        return [Row(what="task heads", figure=f"not measured: set {_VARIABLE}")]
    with tempfile.TemporaryDirectory() as name:
        context = open_context(Path(name))
        context.workspace.make()
        rows = []
        for kind, splits in (("classification", _intents(folder)), ("tokens", _slots(folder))):
            for split, lines in splits.items():
                _write(context.workspace.dataset(kind) / f"{split}.jsonl", lines)
            report = train_head(HeadParams.model_validate({"dataset": kind, "kind": kind}), context)
            rows.append(_row(report))
    return rows


def _row(report: HeadReport) -> Row:
    best = max(report.baselines, key=lambda each: each.f1)
    task = f"{report.examples} texts of {len(report.per_label)} labels, {report.splits['test']} to judge by"
    return Row(
        what=f"head ({report.kind}), {task}",
        figure=f"F1 {report.f1:.3f} in {report.seconds:.0f} s",
        against=f"{best.name}: {best.f1:.3f} (difference {best.low:+.3f} to {best.high:+.3f})",
        ratio=report.f1 / best.f1,
        peak_mb=report.peak_memory_mb,
    )


def _intents(folder: Path) -> dict[str, Lines]:
    train, test = (_read_intents(folder / "banking_data" / f"{split}.csv") for split in ("train", "test"))
    splits: dict[str, Lines] = {"train": [], "validation": [], "test": []}
    for intent in sorted(train)[:_INTENTS]:
        texts = list(train[intent])
        random.Random(intent).shuffle(texts)
        learnt = [{"text": text, "label": intent} for text in texts[:_TEXTS_PER_INTENT]]
        splits["validation"] += learnt[:_VALIDATION_PER_INTENT]
        splits["train"] += learnt[_VALIDATION_PER_INTENT:]
        splits["test"] += [{"text": text, "label": intent} for text in test[intent]]
    return splits


def _read_intents(path: Path) -> dict[str, list[str]]:
    texts: dict[str, list[str]] = defaultdict(list)
    with path.open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            texts[row["category"]].append(row["text"].strip())
    return texts


def _slots(folder: Path) -> dict[str, Lines]:
    parts = folder / "span_extraction" / "restaurant8k"
    learnt, test = _read_slots(parts / "train_4.json"), _read_slots(parts / "test.json")
    seen = {line["text"].casefold() for line in learnt}
    unseen = [line for line in test if line["text"].casefold() not in seen]
    validation = len(learnt) // 6
    return {"train": learnt[validation:], "validation": learnt[:validation], "test": unseen[:_TEST_TEXTS]}


def _read_slots(path: Path) -> Lines:
    """Return utterances with their pieces, each once, in an order of chance."""
    lines: dict[str, dict[str, Any]] = {}
    for each in json.loads(path.read_text(encoding="utf-8")):
        text = each["userInput"]["text"]
        places = [(label["valueSpan"], label["slot"]) for label in each.get("labels", ())]
        spans = [{"start": at.get("startIndex", 0), "end": at["endIndex"], "label": slot} for at, slot in places]
        spans.sort(key=lambda span: span["start"])
        if len(text.split()) >= _FEWEST_WORDS and _are_apart(spans):
            lines.setdefault(text.casefold(), {"text": text, "spans": spans})
    shuffled = list(lines.values())
    random.Random(path.name).shuffle(shuffled)
    return shuffled


def _are_apart(spans: Lines) -> bool:
    return all(first["end"] <= second["start"] for first, second in itertools.pairwise(spans))


def _write(path: Path, lines: Iterable[dict[str, Any]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
