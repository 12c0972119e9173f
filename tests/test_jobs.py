"""Training in a child process: killed, stopped, short of memory, left alone; and what it says then."""

from __future__ import annotations

import dataclasses
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest
import torch

from pipelines.errors import DataError, SettingsError, TrainingError
from pipelines.models.adapter import merge_adapter
from pipelines.models.catalog import DEFAULT_BASE_MODEL
from pipelines.models.local import load_model
from pipelines.operation import Context, Notice, open_context
from pipelines.training import child, job
from pipelines.training.checkpoint import find_checkpoints
from pipelines.training.inputs import run_inputs, run_key
from pipelines.training.job import EVENTS, JOB, Followed, Job, free_memory_mb, running_job, supervise
from pipelines.training.launch import JobParams, StopParams, launch_training, stop_training, watch_training
from pipelines.training.params import TrainParams
from pipelines.training.plan import PlanParams, plan_training, read_plan
from pipelines.training.progress import METRICS
from pipelines.training.scale.engine import WORK, choose_engine
from pipelines.training.train import finished_run, plan_train, train_adapter
from pipelines.workspace import write_json
from tests.conftest import Recorder
from tests.tiny_model import make_tiny_model

COLOURS = ("brass", "silver", "iron", "copper", "tin", "gold", "zinc", "lead")


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a tiny model."""
    like = open_context(tmp_path_factory.mktemp("base")).models.base_folder(DEFAULT_BASE_MODEL)
    return make_tiny_model(tmp_path_factory.mktemp("tiny"), like=like)


@pytest.fixture(autouse=True)
def _one_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    """Processes that share two cores with others are slow at waiting for each other's threads."""
    monkeypatch.setenv("ASSISTANT_THREADS", "1")


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A few records."""
    rows = [
        {
            "messages": [
                {"role": "user", "content": f"What does the {colour} bell number {number} mean?"},
                {"role": "assistant", "content": f"Bell {number} of {colour} means that it is {number} o'clock."},
            ]
        }
        for colour in COLOURS
        for number in range(4)
    ]
    path = tmp_path / "bells.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def params_of(file: Path, base: Path, **more: object) -> TrainParams:
    """A run of some forty steps."""
    values = {"epochs": 3, "rank": 4, "learning_rate": 5e-3, "method": "lora", "patience": 99, "batch_size": 2}
    return TrainParams.model_validate({"dataset": str(file), "base": str(base), **values, **more})


def losses_in(folder: Path) -> list[float]:
    """The losses that a run logged."""
    return [json.loads(line)["loss"] for line in (folder / METRICS).read_text(encoding="utf-8").splitlines()]


def wait_until(condition: Callable[[], object], *, seconds: float = 120) -> None:
    """Return when a condition holds; fail where it never does."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it never came to that"
        time.sleep(0.05)


def start(context: Context, params: TrainParams) -> subprocess.Popen[bytes]:
    """Train in the command line's own process, as a person does."""
    root = str(context.workspace.root)
    arguments = ["-m", "assistant", "-w", root, "train", "start", params.dataset, "--base", params.base]
    arguments += ["--method", params.method, "--rank", "4", "--learning-rate", "5e-3"]
    arguments += ["--patience", "99", "--batch-size", "2", "--epochs", f"{params.epochs:g}", "--yes", "--json"]
    return subprocess.Popen(
        [sys.executable, *arguments],
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parent.parent)},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


def test_a_run_is_made_once(file: Path, base: Path, context: Context) -> None:
    """It is reported, logged, and not made again."""
    params = params_of(file, base, epochs=1)
    report = train_adapter(params, context)
    folder = context.workspace.adapter("bells")
    assert (report.steps, report.examples) == (len(losses_in(folder)), 29)
    assert not find_checkpoints(folder)
    assert running_job(folder) is None
    assert train_adapter(params, context) == report
    assert finished_run(params_of(file, base, epochs=2), context) is None


def test_a_killed_child_goes_on(file: Path, base: Path, context: Context) -> None:
    """Killed in the middle it is started anew, and ends as if nothing had happened."""
    whole = train_adapter(params_of(file, base, adapter="whole"), context)
    folder = context.workspace.adapter("killed")

    class Killer:
        done = False

        def emit(self, event: object) -> None:
            found = running_job(folder)
            if not self.done and found and (folder / METRICS).is_file() and len(losses_in(folder)) > 5:
                self.done = True
                found[1].send_signal(signal.SIGKILL)

    killer = Killer()
    watched = dataclasses.replace(context, emit=killer.emit)
    report = supervise(params_of(file, base, adapter="killed"), watched)
    assert killer.done
    again = Job.model_validate_json((folder / JOB).read_bytes())
    assert 64 <= (again.micro_tokens or 0) < 512  # memory may have been short: it goes on in pieces
    assert report.best_validation_loss == pytest.approx(whole.best_validation_loss, rel=1e-3)
    assert losses_in(folder) == pytest.approx(losses_in(context.workspace.adapter("whole")), rel=1e-3)


def test_the_second_engine_goes_on(file: Path, base: Path, context: Context, recorder: Recorder) -> None:
    """Stopped in the middle of an epoch, then killed, a run by TRL comes to what an undisturbed one comes to."""
    few = file.with_name("few.jsonl")
    few.write_text("".join(file.read_text(encoding="utf-8").splitlines(keepends=True)[:10]), encoding="utf-8")
    values = {"engine": "trl", "epochs": 8, "batch_size": 2}
    whole = train_adapter(params_of(few, base, adapter="whole", **values), context)
    assert (whole.engine, whole.steps, whole.resumed_from_step) == ("trl", 40, 0)
    params, folder = params_of(few, base, adapter="parts", **values), context.workspace.adapter("parts")
    at = {3: signal.SIGINT, 25: signal.SIGKILL}

    def disturb(event: object) -> None:
        found = running_job(folder)
        if found and (folder / METRICS).is_file() and at and len(losses_in(folder)) >= min(at):
            found[1].send_signal(at.pop(min(at)))

    with pytest.raises(KeyboardInterrupt):
        supervise(params, dataclasses.replace(context, emit=disturb))
    stopped = len(losses_in(folder))
    assert 3 <= stopped < 40
    report = supervise(params, dataclasses.replace(context, emit=disturb))
    assert not at
    assert report.resumed_from_step >= stopped
    assert losses_in(folder) == pytest.approx(losses_in(context.workspace.adapter("whole")), rel=1e-3)
    assert report.best_validation_loss == pytest.approx(whole.best_validation_loss, rel=1e-3)
    assert (folder / "training.html").is_file()
    assert not (folder / WORK).exists()
    merge_adapter(load_model(base), folder)


def test_the_second_engine_says_what_it_knows(file: Path, base: Path, context: Context) -> None:
    """What it cannot do is refused before anything starts; left to itself, the GPU is left unused with a word."""
    params = params_of(file, base, engine="trl", objective="kto")
    for refuse in (plan_train, train_adapter):
        with pytest.raises(SettingsError, match="sft and dpo by qlora, lora, full"):
            refuse(params, context)
    said: list[str] = []
    auto = params_of(file, base)
    assert choose_engine(auto, has_gpu=False, notice=said.append) == "own"
    assert choose_engine(auto, has_gpu=True, notice=said.append) == "trl"
    assert not said
    assert choose_engine(params_of(file, base, objective="kto"), has_gpu=True, notice=said.append) == "own"
    assert "not kto" in said[0]


def test_the_one_who_started_is_killed(file: Path, base: Path, context: Context) -> None:
    """The child saves and ends; the same command goes on from there."""
    params = params_of(file, base, epochs=12)
    folder = context.workspace.adapter("bells")
    with start(context, params) as process:
        wait_until(lambda: (folder / METRICS).is_file() and len(losses_in(folder)) > 2)
        found = running_job(folder)
        assert found is not None
        process.send_signal(signal.SIGKILL)
    wait_until(lambda: running_job(folder) is None)
    assert find_checkpoints(folder)
    with start(context, params) as process:
        out, _err = process.communicate(timeout=300)
    report = json.loads(out)
    assert report["resumed_from_step"] > 2
    assert report["steps"] == len(losses_in(folder))


def test_memory_that_is_short_is_halved(file: Path, base: Path, context: Context, recorder: Recorder) -> None:
    """The child is ended before the machine is; each time it is given half, and at last it says so."""
    with pytest.raises(TrainingError, match="too little memory") as caught:
        supervise(params_of(file, base), context, least_free_mb=free_memory_mb() + 1_000_000)
    assert "--max-length" in caught.value.hint
    pieces = [event.message for event in recorder.events if isinstance(event, Notice) and "pieces of" in event.message]
    assert len(pieces) == 5
    assert running_job(context.workspace.adapter("bells")) is None


def test_a_child_computes_in_the_pieces_that_it_is_told(file: Path, base: Path, context: Context) -> None:
    """No sequence is longer, but for a single example; and all is done and told as otherwise."""
    task = Job(workspace=str(context.workspace.root), seed=0, params=params_of(file, base, epochs=1), micro_tokens=70)
    lengths: list[int] = []

    def look(module: torch.nn.Module, given: tuple[torch.Tensor, ...]) -> None:
        if isinstance(module, torch.nn.Embedding):
            lengths.append(given[0].shape[-1])

    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    found = {}
    for name, micro_tokens in (("pieces", 70), ("whole", None)):
        folder = context.workspace.adapter("bells")
        folder.mkdir(parents=True)
        write_json(folder / JOB, task.model_copy(update={"micro_tokens": micro_tokens}).model_dump(mode="json"))
        lengths.clear()
        hook = torch.nn.modules.module.register_module_forward_pre_hook(look)
        try:
            assert child.main(folder, child._train) == 0
        finally:
            hook.remove()
            for number, handler in handlers.items():
                signal.signal(number, handler)
        followed = Followed(path=folder / EVENTS)
        assert followed.read(context)
        assert followed.report is not None
        found[name] = (max(lengths), losses_in(folder))
        folder.rename(folder.with_name(name))
    assert found["pieces"][0] <= 128 < found["whole"][0]  # lengths are filled to 128
    assert found["pieces"][1] == pytest.approx(found["whole"][1], rel=0.02)


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (MemoryError(), 137),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes"), 137),
        (RuntimeError("shapes cannot be multiplied"), 1),
    ],
)
def test_a_child_that_is_out_of_memory_says_so_by_its_code(
    error: Exception, code: int, file: Path, base: Path, context: Context
) -> None:
    """As the system would, so that it is started again with less; any other mistake is none of memory."""
    folder = context.workspace.adapter("bells")
    folder.mkdir(parents=True)
    task = Job(workspace=str(context.workspace.root), seed=0, params=params_of(file, base))
    write_json(folder / JOB, task.model_dump(mode="json"))

    def fail(*given: object) -> None:
        raise error

    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        assert child.main(folder, fail) == code
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
    assert (code in job.OUT_OF_MEMORY) == (code == 137)


def test_a_number_of_a_process_is_not_enough(tmp_path: Path) -> None:
    """After a restart of the machine it may be somebody else's; so it counts with the time of its start."""
    task = job.Task(workspace=str(tmp_path), seed=0, pid=os.getpid(), started=psutil.Process().create_time())
    write_json(tmp_path / JOB, task.model_dump())
    assert running_job(tmp_path) is not None
    for changes in ({"started": task.started - 60}, {"pid": 0}):
        write_json(tmp_path / JOB, task.model_copy(update=changes).model_dump())
        assert running_job(tmp_path) is None
    (tmp_path / JOB).write_text("{", encoding="utf-8")
    assert running_job(tmp_path) is None


def test_a_run_is_known_by_all_that_it_depends_on(file: Path, base: Path, context: Context) -> None:
    """Parameters, seed and the records themselves; a checkpoint of any other is not gone on from."""
    params = params_of(file, base)

    def key(params: TrainParams, *, seed: int = 0) -> str:
        return run_key(run_inputs(params, dataclasses.replace(context, seed=seed)))

    keys = [key(params), key(params, seed=1), key(params.model_copy(update={"rank": 8}))]
    file.write_text(file.read_text(encoding="utf-8").replace("brass", "glass"), encoding="utf-8")
    keys.append(key(params))
    assert len(set(keys)) == 4
    file.write_text(file.read_text(encoding="utf-8").replace("glass", "brass"), encoding="utf-8")
    assert key(params) == keys[0]


def test_what_the_child_meets_is_said(base: Path, context: Context, tmp_path: Path) -> None:
    """An error in the child has the class, the words and the hint that it had there."""
    bad = tmp_path / "bad.jsonl"
    bad.write_text('{"messages": []}\n', encoding="utf-8")
    with pytest.raises(DataError, match="line 1") as caught:
        supervise(params_of(bad, base), context)
    assert "assistant data import" in caught.value.hint
    with pytest.raises(DataError, match="there is no file"):
        train_adapter(params_of(tmp_path / "none.jsonl", base), context)


def test_what_was_refused_leaves_nothing(file: Path, base: Path, context: Context) -> None:
    """No folder that the list of adapters would show; but what was there before stays."""
    params = params_of(file, base, objective="dpo")
    folder = context.workspace.adapter("bells")
    with pytest.raises(DataError, match="no pair"):
        supervise(params, context)
    assert not folder.exists()
    with pytest.raises(DataError, match="no pair"):
        plan_training(PlanParams(**params.model_dump()), context)
    assert not folder.exists()
    (folder / METRICS).mkdir(parents=True)  # so that nothing can be logged
    with pytest.raises(TrainingError, match="Is a directory"):
        supervise(params_of(file, base), context)
    assert (folder / METRICS).is_dir()


_SLOW_TO_SAVE = """
import pathlib, signal, sys, time

def save(number, frame):
    time.sleep(1.5)
    (folder / "saved").touch()
    sys.exit()

folder = pathlib.Path(sys.argv[1])
signal.signal(signal.SIGINT, save)
(folder / "events.jsonl").write_text('{"kind": "notice", "message": "ready"}\\n')
time.sleep(60)
"""


@pytest.mark.parametrize("is_patient", [True, False])
def test_a_signal_that_comes_twice_does_not_stop_the_saving(
    is_patient: bool, context: Context, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As timeout sends it; only who asks again later does not wait for what is saved."""
    (tmp_path / "slow_to_save.py").write_text(_SLOW_TO_SAVE, encoding="utf-8")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setattr(job, "_AGAIN_S", 600.0 if is_patient else 0.0)

    def interrupt(event: object) -> None:
        threading.Timer(0.4, os.kill, (os.getpid(), signal.SIGINT)).start()
        raise KeyboardInterrupt

    folder = context.workspace.adapter("slow")
    task = job.Task(workspace=str(context.workspace.root), seed=0)
    with pytest.raises(KeyboardInterrupt):
        job.run_watched(task, dataclasses.replace(context, emit=interrupt), folder=folder, module="slow_to_save")
    assert running_job(folder) is None
    assert (folder / "saved").exists() is is_patient


def test_a_run_outlives_its_terminal(file: Path, base: Path, context: Context) -> None:
    """Launched, watched, stopped, and taken up again."""
    params = params_of(file, base, epochs=80)
    folder = context.workspace.adapter("bells")
    launched = launch_training(params, context)
    assert launched.state == "running"
    wait_until(lambda: (folder / METRICS).is_file() and len(losses_in(folder)) > 3)
    with pytest.raises(TrainingError, match="being trained already"):
        train_adapter(params, context)
    stopped = stop_training(StopParams(adapter="bells"), context)
    assert "goes on from there" in stopped.message
    os.waitpid(launched.pid, 0)
    assert find_checkpoints(folder)
    assert watch_training(JobParams(adapter="bells"), context).state == "stopped"
    stop_training(StopParams(adapter="bells", discard=True), context)
    assert not find_checkpoints(folder)
    with pytest.raises(DataError, match="was ever started"):
        watch_training(JobParams(adapter="nobody"), context)


def test_a_plan_tells_what_comes(file: Path, base: Path, context: Context) -> None:
    """Steps are exact, hardware and choices are told, records shown; and train start asks with these numbers."""
    params = params_of(file, base)
    plan = plan_training(PlanParams(**params.model_dump(), show=2), context)
    assert not list(context.workspace.adapter("bells").glob("trial"))
    assert plan.examples == 29
    assert plan.memory_mb > 100
    assert plan.minutes > 0
    assert "GFLOP/s" in plan.hardware["products"]
    assert [record.learnt.startswith("Bell ") for record in plan.records] == [True, True]
    assert all(record.learnt.endswith("<|im_end|>") for record in plan.records)
    assert {choice.what for choice in plan.choices} >= {"method", "number type", "sequences"}
    assert any("measured" in step for step in plan_train(params, context).steps)
    report = train_adapter(params, context)
    assert report.steps == plan.steps
    assert read_plan(context.workspace.adapter("bells"), {"other": 1}) is None


def test_events_that_were_cut_are_passed_over(tmp_path: Path, context: Context) -> None:
    """A line that a kill cut in two is no end and no error."""
    path = tmp_path / "events.jsonl"
    path.write_text('{"kind": "notice", "message": "one"}\n{"kind": "rep', encoding="utf-8")
    followed = Followed(path=path)
    assert not followed.read(context)
    with path.open("a", encoding="utf-8") as file:
        file.write('ort", "report": {"a": 1}}\n')
    assert followed.read(context)
    assert followed.report == {"a": 1}
