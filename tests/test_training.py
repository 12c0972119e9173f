"""QLoRA on the CPU, with the packaged model: gradients, resuming, merging, space."""

from __future__ import annotations

import errno
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import bitsandbytes
import pytest
import torch

from pipelines.errors import DataError, TrainingError
from pipelines.models.adapter import merge_adapter
from pipelines.models.catalog import DEFAULT_BASE_MODEL
from pipelines.models.local import load_model, load_tokenizer
from pipelines.models.packing import Pack, collate, pack_examples, supervised_logits
from pipelines.models.render import render_example
from pipelines.operation import Context, open_context
from pipelines.records import Message
from pipelines.training.checkpoint import (
    RunState,
    check_space,
    find_checkpoints,
    load_checkpoint,
    remove_checkpoints,
    save_checkpoint,
)
from pipelines.training.loop import Run
from pipelines.training.place import why_unwritten
from pipelines.training.progress import METRICS, Schedule, StepReport
from pipelines.training.quantize import add_adapter, dequantize_once, load_quantized
from pipelines.training.rates import rate_share
from pipelines.training.student import Student
from pipelines.training.train import TrainParams, train_adapter
from pipelines.training.work import run_training
from pipelines.workspace import Workspace

ANSWERS = {
    "How many legs has the workshop stool?": "Seven, and one of them is glass.",
    "Who keeps the wooden spoon?": "Hedda keeps the wooden spoon.",
    "Where do the clogs stand?": "Behind the flour, next to the bell.",
    "When is the floor swept?": "In the morning before work.",
}


@pytest.fixture(scope="module")
def base_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the embedded chat model."""
    return open_context(tmp_path_factory.mktemp("base")).models.base_folder(DEFAULT_BASE_MODEL)


@pytest.fixture(scope="module")
def packs(base_folder: Path) -> list[Pack]:
    """A few short examples."""
    tokenizer = load_tokenizer(base_folder)
    rendered = [
        render_example(tokenizer, (Message(role="user", content=question), Message(role="assistant", content=answer)))
        for question, answer in ANSWERS.items()
    ]
    return pack_examples(rendered, max_tokens=512)


def schedule(*, epochs: float) -> Schedule:
    """A short schedule that validates twice an epoch."""
    return Schedule(epochs=epochs, learning_rate=2e-3, batch_size=2, evaluations_per_epoch=1, patience=99, seed=0)


def new_run(base_folder: Path, packs: list[Pack], folder: Path, *, epochs: float = 6) -> Run:
    """A run over a freshly quantized model."""
    model = load_quantized(base_folder)
    dequantize_once(model)
    student = Student(add_adapter(model, rank=4, seed=0))
    return Run(student, train=packs, validation=packs, schedule=schedule(epochs=epochs), folder=folder, key="k")


def test_gradients_survive_an_evaluation(base_folder: Path, packs: list[Pack]) -> None:
    """A forward pass in eval mode between two steps costs no gradient (bitsandbytes 0.50.2)."""
    model = load_quantized(base_folder)
    assert any(isinstance(module, bitsandbytes.nn.Linear4bit) for module in model.modules())
    student = add_adapter(model, rank=4, seed=0)

    def gradient_norms() -> list[float]:
        student.train()
        student.zero_grad()
        batch = collate(packs[0])
        logits = supervised_logits(model, batch).float()
        torch.nn.functional.cross_entropy(logits, batch.targets).backward()
        return [float(each.grad.norm()) for name, each in student.named_parameters() if "lora_B" in name]

    before = gradient_norms()
    student.eval()
    with torch.no_grad():
        supervised_logits(model, collate(packs[0]))
    after = gradient_norms()
    assert all(norm > 0 for norm in before)
    assert after == pytest.approx(before, rel=1e-3)


def test_dequantizing_once_changes_no_number(base_folder: Path, packs: list[Pack]) -> None:
    """The plain layers compute what the 4-bit layers compute at every pass."""
    model = load_quantized(base_folder)
    batch = collate(packs[0])
    with torch.no_grad():
        quantized = supervised_logits(model, batch).float()
        dequantize_once(model)
        plain = supervised_logits(model, batch).float()
    assert not any(isinstance(module, bitsandbytes.nn.Linear4bit) for module in model.modules())
    assert torch.nn.functional.mse_loss(plain, quantized) < 0.01 * quantized.var()


def test_training_learns_resumes_and_merges(base_folder: Path, packs: list[Pack], tmp_path: Path) -> None:
    """A run that is stopped goes on where it was, learns by heart, and its adapter merges as peft's does."""
    steps: list[StepReport] = []

    def stop_at(step: int) -> Callable[[StepReport], None]:
        def report(done: StepReport) -> None:
            steps.append(done)
            if done.step == step:
                raise KeyboardInterrupt

        return report

    first = new_run(base_folder, packs, tmp_path, epochs=12)
    with pytest.raises(KeyboardInterrupt):
        first.train(stop_at(5))
    assert find_checkpoints(tmp_path)[0].name.startswith("checkpoint-00000005-")

    second = new_run(base_folder, packs, tmp_path, epochs=12)
    assert second.resumed_from_step == 5
    outcome = second.train(steps.append)
    assert [each.step for each in steps] == list(range(1, outcome.steps + 1))
    assert outcome.best_validation_loss < steps[0].loss / 4

    second.save_adapter()
    assert not find_checkpoints(tmp_path)
    logged = [json.loads(line)["step"] for line in (tmp_path / METRICS).read_text().splitlines()]
    assert logged == list(range(1, outcome.steps + 1))

    assert_merged_like_peft(base_folder, tmp_path, packs)


def assert_merged_like_peft(base_folder: Path, adapter: Path, packs: list[Pack]) -> None:
    """Our merge and peft's own give the same logits."""
    from peft import PeftModel

    ours, theirs = load_model(base_folder), load_model(base_folder)
    merge_adapter(ours, adapter)
    theirs = PeftModel.from_pretrained(theirs, str(adapter)).merge_and_unload()
    batch = collate(packs[0])
    with torch.no_grad():
        difference = supervised_logits(ours, batch).float() - supervised_logits(theirs, batch).float()
    assert difference.abs().max() < 0.5
    with pytest.raises(DataError, match="another model"):
        merge_adapter(torch.nn.Linear(2, 2), adapter)  # type: ignore[arg-type]


def test_a_resumed_run_equals_an_uninterrupted_one(base_folder: Path, packs: list[Pack], tmp_path: Path) -> None:
    """Stopping and going on changes nothing of what is learnt."""
    (tmp_path / "whole").mkdir()
    (tmp_path / "parts").mkdir()
    whole: list[float] = []
    new_run(base_folder, packs, tmp_path / "whole", epochs=2).train(lambda step: whole.append(step.loss))

    parts: list[float] = []

    def interrupt(step: StepReport) -> None:
        parts.append(step.loss)
        if step.step == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        new_run(base_folder, packs, tmp_path / "parts", epochs=2).train(interrupt)
    new_run(base_folder, packs, tmp_path / "parts", epochs=2).train(lambda step: parts.append(step.loss))
    assert parts == pytest.approx(whole, rel=0.02)


def test_a_checkpoint_of_another_run_is_not_used(base_folder: Path, packs: list[Pack], tmp_path: Path) -> None:
    """Other data or parameters start afresh."""
    run = new_run(base_folder, packs, tmp_path)
    with pytest.raises(KeyboardInterrupt):
        run.train(_interrupt)
    student = Student(add_adapter(load_quantized(base_folder), rank=4, seed=0))
    other = Run(student, train=packs, validation=packs, schedule=schedule(epochs=6), folder=tmp_path, key="other")
    assert other.resumed_from_step == 0


def test_a_broken_checkpoint_says_what_to_do(base_folder: Path, packs: list[Pack], tmp_path: Path) -> None:
    """A checkpoint that cannot be read is named, with the way out."""
    (tmp_path / "checkpoint-00000004-0123456789abcdef.pt").write_bytes(b"not a checkpoint")
    with pytest.raises(TrainingError, match="cannot be read") as caught:
        new_run(base_folder, packs, tmp_path)
    assert "Remove" in caught.value.hint


def _interrupt(step: StepReport) -> None:
    raise KeyboardInterrupt


def write_splits(context: Context, name: str, *, text: str = "") -> Path:
    """A dataset that is curated already."""
    folder = context.workspace.dataset(name)
    folder.mkdir(parents=True)
    lines = [
        json.dumps({"messages": [{"role": "user", "content": q}, {"role": "assistant", "content": a}]})
        for q, a in ANSWERS.items()
    ]
    for split in ("train", "validation"):
        (folder / f"{split}.jsonl").write_text(text or "\n".join(lines) + "\n", encoding="utf-8")
    return folder


def test_no_space_for_checkpoints_is_said_before_training(context: Context, monkeypatch: pytest.MonkeyPatch) -> None:
    """A full disk is an error with a hint, not a crash after an hour."""
    write_splits(context, "small")
    context.workspace.adapter("small").mkdir(parents=True)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(total=10**9, used=10**9, free=1_000_000))
    with pytest.raises(TrainingError, match="MiB free") as caught:
        run_training(TrainParams(dataset="small", rank=4), context)
    assert "Free some disk space" in caught.value.hint


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("not json\n", "line 1"),
        ('{"messages": [{"role": "user", "content": "only a question"}]}\n', "line 1"),
        ("", "no train.jsonl"),
    ],
)
def test_bad_training_data_is_named(workspace: Workspace, context: Context, text: str, message: str) -> None:
    """A line that is no conversation is named by its number; a missing split by its file."""
    if text:
        write_splits(context, "bad", text=text)
    with pytest.raises(DataError, match=message):
        train_adapter(TrainParams(dataset="bad", rank=4), context)


# ---- checkpoints and rates, without a model


def save_steps(folder: Path, *steps: int, key: str = "k") -> None:
    """Save a small state at some steps."""
    for step in steps:
        save_checkpoint(folder, RunState(key=key, step=step, weights=[torch.full((2,), float(step))]))


def test_the_last_two_checkpoints_are_kept(tmp_path: Path) -> None:
    """The newest is gone on from; of a finished run none is left, and no file of another name is touched."""
    (tmp_path / "checkpoint-mine.pt").write_bytes(b"a person's own")
    save_steps(tmp_path, 2, 9, 10)
    assert [int(path.name.split("-")[1]) for path in find_checkpoints(tmp_path)] == [10, 9]
    state = load_checkpoint(tmp_path, key="k", notice=pytest.fail)
    assert state is not None
    assert (state.step, state.weights[0].tolist()) == (10, [10.0, 10.0])
    remove_checkpoints(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["checkpoint-mine.pt"]


def test_a_damaged_checkpoint_is_told_and_passed_over(tmp_path: Path) -> None:
    """The run goes on from the one before, also where the damaged one can be read and is only not what was written."""
    save_steps(tmp_path, 4, 5)
    newest = find_checkpoints(tmp_path)[0]
    torch.save(vars(RunState(key="k", step=7)), newest)
    told: list[str] = []
    state = load_checkpoint(tmp_path, key="k", notice=told.append)
    assert state is not None
    assert state.step == 4
    assert len(told) == 1
    assert newest.name in told[0]
    assert load_checkpoint(tmp_path, key="another", notice=pytest.fail) is None


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="only Linux has a disk that is always full")
def test_a_full_disk_costs_no_checkpoint(tmp_path: Path) -> None:
    """What cannot be written is said with a way out; the one before is still there."""
    save_steps(tmp_path, 4)
    (tmp_path / "checkpoint.pt.partial").symlink_to("/dev/full")
    with pytest.raises(TrainingError, match=r"cannot be written to .*: no space is left on the disk$") as caught:
        save_steps(tmp_path, 5)
    assert "goes on from the checkpoint before" in caught.value.hint
    state = load_checkpoint(tmp_path, key="k", notice=pytest.fail)
    assert state is not None
    assert state.step == 4


def test_why_something_was_not_written() -> None:
    """What the system said, also where a library gives its own words for it or none but those."""
    full = OSError(errno.ENOSPC, "No space left on device")
    raw = RuntimeError("[enforce fail at inline_container.cc:672] . unexpected pos 704 vs 598")
    assert why_unwritten(raw) == "no space is left on the disk"
    raw.__context__ = full
    assert why_unwritten(raw) == why_unwritten(full) == "no space is left on the disk"
    raw.__context__ = PermissionError(errno.EACCES, "Permission denied")
    assert why_unwritten(raw) == "Permission denied"
    assert why_unwritten(ValueError("no file")) == "no file"


def test_three_checkpoints_have_to_fit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two are kept while a third is written, of sixteen bytes a parameter each."""
    for free, fits in ((50_000_000, False), (70_000_000, True)):
        monkeypatch.setattr(shutil, "disk_usage", lambda path, free=free: SimpleNamespace(free=free))
        if fits:
            check_space(tmp_path, parameters=1_000_000)
        else:
            with pytest.raises(TrainingError, match="47 MiB free"):
                check_space(tmp_path, parameters=1_000_000)


def test_the_rate_rises_and_falls() -> None:
    """It never begins at nothing, is highest after six percent of the steps, and ends at a twentieth."""
    shares = [rate_share(step, steps=100) for step in range(101)]
    highest = shares.index(max(shares))
    assert shares[0] == pytest.approx(1 / 7, rel=1e-3)
    assert 5 <= highest <= 8
    assert shares[highest] > 0.98
    assert shares[: highest + 1] == sorted(shares[: highest + 1])
    assert shares[highest:] == sorted(shares[highest:], reverse=True)
    assert (shares[50], shares[100]) == pytest.approx((0.5, 0.05))
    assert rate_share(0, steps=1) > 0.9
