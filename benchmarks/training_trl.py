"""QLoRA on the CPU: our loop against TRL's trainer, with its defaults and with its best settings.

Every variant trains in a process of its own on the same rows, in batches of eight examples, for
the same number of epochs, at the same learning rates. A token per second is a token of a row, not
padding, and counted once for every row that has it, whatever a trainer really computes: so equal
figures mean equal time. The clock runs from a loaded model to the end of training. Validation
loss is computed afterwards by one function for all, in nats per answer token.

The share of the processor's peak takes 4 operations for each weight of the backbone's linear
layers and each token: two forward, two for the gradient of the input; a frozen weight needs no
gradient of its own. The adapter, attention and head are not counted.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM, PreTrainedModel

from benchmarks.measure import Row, peak_mb
from benchmarks.training_rows import separate_rows, shared_rows
from benchmarks.trl_trainers import BATCH, RANK, RATE, Trained, train_answers, train_pairs
from pipelines.models.catalog import DEFAULT_BASE_MODEL
from pipelines.models.hardware import fast_dtype, prepare_torch
from pipelines.models.packing import pack_examples, pack_groups
from pipelines.models.render import Rendered
from pipelines.operation import open_context
from pipelines.training.loop import Run
from pipelines.training.methods import open_student
from pipelines.training.objectives.preference import DirectPreference
from pipelines.training.progress import Schedule
from pipelines.training.scale.contract import SupervisedRow, read_rows, write_rows

_TRAIN, _VALIDATION, _PAIRS = 32, 16, 16
_DTYPES = ("bfloat16", "float32")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Measured:
    """What one variant came to."""

    tokens_per_second: float
    steps: int
    validation_loss: float
    peak_mb: int

    def figure(self) -> str:
        """Return it as a cell of the table."""
        return f"{self.tokens_per_second:.0f} tokens/s, {self.steps} steps, validation loss {self.validation_loss:.3f}"


def measure(*, examples: int = _TRAIN) -> list[Row]:
    """Train on both kinds of rows in every way."""
    table: list[Row] = []
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        base = _base(root)
        best = ""
        for kind, rows in (("that share nothing", separate_rows(base)), ("that share passages", shared_rows(base))):
            folder = root / kind.replace(" ", "-")
            _write(folder, rows, examples=examples)
            best = best or _best_candidate(base, folder)
            table += _compare(base, folder, kind=kind, best=best)
    return table


def dpo_rows(*, pairs: int = _PAIRS) -> list[Row]:
    """Train on preference pairs by DPOTrainer, and by our loop."""
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        base = _base(root)
        _write(root / "pairs", separate_rows(base), examples=pairs)
        default, best = (_measured(f"dpo-{each}", base, root / "pairs") for each in ("default", "best"))
        ours = _measured("dpo-ours", base, root / "pairs")
    what = f"DPO, {pairs} pairs"
    told = f"DPOTrainer: {default.figure()}"
    best_told = f"DPOTrainer, reference precomputed, no checkpointing: {best.figure()}"
    return [
        Row(
            what=what,
            figure=ours.figure(),
            against=against,
            ratio=ours.tokens_per_second / other.tokens_per_second,
            peak_mb=ours.peak_mb,
        )
        for other, against in ((default, told), (best, best_told))
    ]


def _compare(base: Path, folder: Path, *, kind: str, best: str) -> list[Row]:
    """Return our loop against TRL's defaults, its best settings, and the processor's peak."""
    rows = _rows(folder / "train.jsonl")
    ours = _measured("ours", base, folder)
    what = f"QLoRA, {len(rows)} examples of {sum(row.tokens for row in rows) // len(rows)} tokens {kind}"
    table = []
    for variant, told in (("default", "its defaults"), (best, best.replace("-", ", "))):
        theirs = _measured(variant, base, folder)
        table.append(
            Row(
                what=what,
                figure=ours.figure(),
                against=f"SFTTrainer, {told}: {theirs.figure()}, {theirs.peak_mb} MB",
                ratio=ours.tokens_per_second / theirs.tokens_per_second,
                peak_mb=ours.peak_mb,
            )
        )
    peak = _peak_gflops()
    reached = 4 * _backbone_weights(base) * ours.tokens_per_second / 1e9
    figure = f"{reached:.0f} GFLOP/s at 4 operations a weight and token"
    name = str(fast_dtype()).removeprefix("torch.")
    against = f"a {name} matrix product: {peak:.0f} GFLOP/s"
    table.append(Row(what=what, figure=figure, against=against, ratio=reached / peak))
    return table


def _best_candidate(base: Path, folder: Path) -> str:
    """Return the settings of SFTTrainer that are quickest here, tried on one batch."""
    trial = folder.parent / "trial"
    _write(trial, _rows(folder / "train.jsonl"), examples=BATCH)
    grouped = {each: _measured(f"{each}-grouped", base, trial).tokens_per_second for each in _DTYPES}
    dtype = max(grouped, key=lambda each: grouped[each])
    packed = _measured(f"{dtype}-packed", base, trial).tokens_per_second
    return f"{dtype}-{'packed' if packed > grouped[dtype] else 'grouped'}"


def _measured(variant: str, base: Path, folder: Path) -> Measured:
    """Run a variant in a process of its own, silent because `open_context` has silenced this one."""
    command = [sys.executable, "-m", "benchmarks.training_trl", "--variant", variant, str(base), str(folder)]
    finished = subprocess.run(command, capture_output=True, text=True, check=False)
    if finished.returncode:
        raise RuntimeError(f"{variant} failed:\n{finished.stderr}")
    return Measured(**json.loads(finished.stdout.splitlines()[-1]))


def _run_variant(variant: str, base: Path, folder: Path) -> Measured:
    """Be the process of a variant."""
    prepare_torch()
    rows = _rows(folder / "train.jsonl")
    if variant == "ours":
        trained = _ours(base, rows, folder)
    elif variant == "dpo-ours":
        trained = _our_dpo(base, rows, folder)
    elif variant.startswith("dpo-"):
        trained = train_pairs(base, rows, folder, is_best=variant == "dpo-best")
    else:
        trained = train_answers(base, rows, folder, variant=variant)
    peak = peak_mb()  # before validation, which is ours
    return Measured(
        tokens_per_second=trained.tokens / trained.seconds,
        steps=trained.steps,
        validation_loss=_validation_loss(trained.student, _rows(folder / "validation.jsonl")),
        peak_mb=peak,
    )


def _ours(base: Path, rows: list[SupervisedRow], folder: Path) -> Trained:
    student = open_student(base, method="qlora", rank=RANK, steps=1, seed=0)
    started = time.perf_counter()
    packs = pack_examples(
        [Rendered(prompt=tuple(row.prompt), answer=tuple(row.answer)) for row in rows], max_tokens=1536
    )
    schedule = Schedule(epochs=1, learning_rate=RATE, batch_size=BATCH, evaluations_per_epoch=1, patience=9, seed=0)
    run = Run(student, train=packs, validation=packs[:1], schedule=schedule, folder=folder, key="bench")
    outcome = run.train(lambda step: None)
    seconds = time.perf_counter() - started
    tokens = sum(row.tokens for row in rows)
    return Trained(student=student.model, steps=outcome.steps, tokens=tokens, seconds=seconds)


def _our_dpo(base: Path, rows: list[SupervisedRow], folder: Path) -> Trained:
    """Train by our loop on the pairs that DPOTrainer gets."""
    groups = [
        [Rendered(prompt=tuple(row.prompt), answer=tuple(answer)) for answer in (row.answer, other.answer)]
        for row, other in zip(rows, rows[1:] + rows[:1], strict=True)
    ]
    student = open_student(base, method="qlora", rank=RANK, steps=1, seed=0)
    started = time.perf_counter()
    packs = pack_groups(groups, max_tokens=1536)
    schedule = Schedule(epochs=1, learning_rate=RATE, batch_size=BATCH, evaluations_per_epoch=1, patience=9, seed=0)
    run = Run(
        student,
        train=packs,
        validation=packs[:1],
        schedule=schedule,
        folder=folder,
        key="bench",
        objective=DirectPreference(),
    )
    outcome = run.train(lambda step: None)
    seconds = time.perf_counter() - started
    tokens = sum(2 * len(row.prompt) + 2 * len(row.answer) for row in rows)  # each answer is another row's, too
    return Trained(student=student.model, steps=outcome.steps, tokens=tokens, seconds=seconds)


@torch.no_grad()
def _validation_loss(student: torch.nn.Module, rows: list[SupervisedRow]) -> float:
    """Return the mean loss of the answers' tokens, by a plain forward pass a row."""
    base: PreTrainedModel = student.get_base_model()  # type: ignore[operator]
    base.activation_checkpointing_disable()
    nats = tokens = 0.0
    for row in rows:
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=fast_dtype() is torch.bfloat16):
            logits = base(input_ids=torch.tensor([row.prompt + row.answer]), use_cache=False).logits[0]
        predicted = logits[len(row.prompt) - 1 : -1].float()
        nats += float(torch.nn.functional.cross_entropy(predicted, torch.tensor(row.answer), reduction="sum"))
        tokens += len(row.answer)
    return nats / tokens


def _peak_gflops() -> float:
    """Return the best of ten matrix products in the number type that is fast here."""
    prepare_torch()
    size = 2048
    left, right = (torch.ones(size, size, dtype=fast_dtype()) for _ in range(2))
    best = float("inf")
    for _ in range(10):
        started = time.perf_counter()
        torch.mm(left, right)
        best = min(best, time.perf_counter() - started)
    return float(2 * size**3 / best / 1e9)


def _backbone_weights(base: Path) -> int:
    model = AutoModelForCausalLM.from_pretrained(base, local_files_only=True)
    layers = model.get_decoder().modules()
    return sum(layer.weight.numel() for layer in layers if isinstance(layer, torch.nn.Linear))


def _base(folder: Path) -> Path:
    return open_context(folder).models.base_folder(DEFAULT_BASE_MODEL)


def _write(folder: Path, rows: list[SupervisedRow], *, examples: int) -> None:
    """Write rows to train on, and others to validate with."""
    folder.mkdir()
    write_rows(folder / "train.jsonl", rows[:examples])
    write_rows(folder / "validation.jsonl", rows[examples : examples + _VALIDATION] or rows[:1])


def _rows(path: Path) -> list[SupervisedRow]:
    return [row for row in read_rows(path, SupervisedRow) if isinstance(row, SupervisedRow)]


def main(arguments: list[str]) -> int:
    """Print the table; or, told a variant, run that one and print what it came to as JSON."""
    parser = argparse.ArgumentParser(prog="benchmarks.training_trl")
    parser.add_argument("--variant", nargs=3, metavar=("NAME", "BASE", "FOLDER"))
    parser.add_argument("--dpo", action="store_true", help="measure preferences instead of answers")
    parser.add_argument("--examples", type=int, help="rows or pairs to train on")
    options = parser.parse_args(arguments)
    if options.variant:
        name, base, folder = options.variant
        print(json.dumps(dataclasses.asdict(_run_variant(name, Path(base), Path(folder)))))
        return 0
    count = options.examples
    rows = dpo_rows(pairs=count or _PAIRS) if options.dpo else measure(examples=count or _TRAIN)
    print("\n".join(row.line() for row in rows))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
