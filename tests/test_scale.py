"""The second training engine: equal to the first, to itself on several processes, and silent."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from accelerate.commands.config.config_args import load_config_from_file
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, LlamaConfig, LlamaForCausalLM, PreTrainedModel

from pipelines.errors import DataError, SettingsError, TrainingError
from pipelines.models.adapter import merge_adapter
from pipelines.models.attention import register_attention
from pipelines.models.catalog import DEFAULT_BASE_MODEL
from pipelines.models.local import load_model, load_tokenizer
from pipelines.models.packing import Pack, pack_examples
from pipelines.models.render import Rendered
from pipelines.operation import open_context
from pipelines.training.loop import Run
from pipelines.training.progress import METRICS, Outcome, Schedule
from pipelines.training.quantize import add_adapter, dequantize_once, load_quantized
from pipelines.training.scale.contract import (
    PreferenceRow,
    RunConfig,
    RunResult,
    SupervisedRow,
    load_config,
    read_rows,
    write_rows,
)
from pipelines.training.scale.launch import CONFIGS, check_processes, run
from pipelines.training.scale.students import Machine
from pipelines.training.scale.trl_engine import last_checkpoint, train, training_arguments
from pipelines.training.student import Student

ROOT = Path(__file__).parent.parent
EXAMPLES, BATCH, EPOCHS = 10, 4, 4  # ten do not fill three batches of four: the last one has blanks
_without_one = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
_without_two = pytest.mark.skipif(torch.cuda.device_count() < 2, reason="needs two GPUs")


@pytest.fixture(scope="module")
def smollm(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the embedded chat model."""
    return open_context(tmp_path_factory.mktemp("workspace")).models.base_folder(DEFAULT_BASE_MODEL)


@pytest.fixture(scope="module")
def tiny(smollm: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Llama of two layers with random weights, and the embedded model's tokenizer."""
    folder = tmp_path_factory.mktemp("tiny")
    tokenizer = load_tokenizer(smollm)
    tokenizer.save_pretrained(folder)
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        tie_word_embeddings=True,
        initializer_range=0.2,  # the head is not trained: with less its logits are too near each other
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    LlamaForCausalLM(config).save_pretrained(folder)
    return folder


def supervised_rows() -> list[SupervisedRow]:
    """Examples of unequal lengths with something to be learnt: their answers use few tokens."""
    draw = random.Random(0)
    return [
        SupervisedRow(
            prompt=[draw.randrange(100, 9000) for _ in range(draw.randrange(5, 20))],
            answer=[*(draw.randrange(100, 110) for _ in range(draw.randrange(2, 8))), 2],
        )
        for _ in range(EXAMPLES)
    ]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the examples, and with pairs made of them."""
    folder = tmp_path_factory.mktemp("data")
    rows = supervised_rows()
    write_rows(folder / "train.jsonl", rows)
    write_rows(folder / "validation.jsonl", rows[:5])
    pairs = [
        PreferenceRow(prompt=row.prompt, chosen=row.answer, rejected=[7, 8, 9, *other.answer])
        for row, other in zip(rows, rows[1:] + rows[:1])
    ]
    write_rows(folder / "pairs.jsonl", pairs)
    return folder


def configure(base: Path, data: Path, output: Path, **changed: object) -> RunConfig:
    """A short run on the CPU."""
    told: dict[str, object] = {
        "base": base,
        "train": data / "train.jsonl",
        "validation": data / "validation.jsonl",
        "output": output,
        "method": "lora",
        "rank": 8,
        "learning_rate": 2e-2,
        "epochs": EPOCHS,
        "batch_size": BATCH,
        "micro_batch_size": 2,
        "patience": 99,
        "evaluations_per_epoch": 1,
        "dtype": "float32",
        "device": "cpu",
        "threads": 1,
    }
    return RunConfig.model_validate({**told, **changed})


def logged(folder: Path, key: str) -> list[float]:
    """What metrics.jsonl has under `key`, step by step."""
    lines = (folder / METRICS).read_text(encoding="utf-8").splitlines()
    return [entry[key] for entry in map(json.loads, lines) if key in entry]


@pytest.fixture(scope="module")
def alone(tiny: Path, data: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[RunConfig, RunResult]:
    """A run of TRL's trainer in one process, and what it came to."""
    config = configure(tiny, data, tmp_path_factory.mktemp("alone"))
    return config, train(config)


def train_by_our_loop(student: PreTrainedModel, config: RunConfig, folder: Path) -> Outcome:
    """The same run by `training/loop.py`."""
    folder.mkdir()
    schedule = Schedule(
        epochs=config.epochs,
        learning_rate=config.learning_rate,
        batch_size=config.batch_size,
        evaluations_per_epoch=config.evaluations_per_epoch,
        patience=config.patience,
        seed=config.seed,
    )
    train_packs, validation = (packs_of(path) for path in (config.train, config.validation))
    run = Run(Student(student), train=train_packs, validation=validation, schedule=schedule, folder=folder, key="k")
    return run.train(lambda step: None)


def packs_of(path: Path) -> list[Pack]:
    """Each example in a pack of its own, in the order of the file."""
    rows = [row for row in read_rows(path, SupervisedRow) if isinstance(row, SupervisedRow)]
    rendered = [Rendered(prompt=tuple(row.prompt), answer=tuple(row.answer)) for row in rows]
    packs = pack_examples(rendered, max_tokens=512, max_members=1)
    return sorted(packs, key=lambda pack: pack.branches[0].index)


def test_both_engines_learn_the_same(alone: tuple[RunConfig, RunResult], tmp_path: Path) -> None:
    """In float32 every step of TRL's trainer has the loss of our loop's step."""
    config, result = alone
    base = AutoModelForCausalLM.from_pretrained(
        config.base, dtype=torch.float32, attn_implementation=register_attention()
    )
    ours = train_by_our_loop(add_adapter(base, rank=config.rank, seed=config.seed), config, tmp_path / "ours")
    expected, losses = logged(tmp_path / "ours", "loss"), logged(config.output, "loss")
    assert len(losses) == result.steps == ours.steps == 12
    assert expected[-1] < expected[0] - 1  # something was learnt, so that there is something to compare
    assert losses[0] == pytest.approx(expected[0], rel=0.005)
    assert losses == pytest.approx(expected, rel=0.01)
    assert result.best_validation_loss == pytest.approx(ours.best_validation_loss, rel=0.01)
    assert result.best_step == ours.best_step


def test_both_engines_learn_the_same_by_qlora(smollm: Path, data: Path, tmp_path: Path) -> None:
    """NF4, in the number type that is fast here, with the embedded model: 1% apart at most."""
    changed = {"method": "qlora", "dtype": "auto", "learning_rate": 3e-3, "epochs": 1}
    config = configure(smollm, data, tmp_path / "trl", **changed)
    result = train(config)
    model = load_quantized(smollm)
    dequantize_once(model)
    ours = train_by_our_loop(add_adapter(model, rank=config.rank, seed=config.seed), config, tmp_path / "ours")
    expected, losses = logged(tmp_path / "ours", "loss"), logged(config.output, "loss")
    assert losses[0] == pytest.approx(expected[0], rel=0.005)
    assert result.final_validation_loss == pytest.approx(ours.best_validation_loss, rel=0.01)
    assert ours.best_validation_loss < 0.8 * expected[0]


def test_the_adapter_is_like_the_other_engines(alone: tuple[RunConfig, RunResult]) -> None:
    """It is kept in float32, with nothing beside it but the log and the result, and it merges."""
    config, result = alone
    names = {path.name for path in config.output.iterdir()}
    assert names == {"adapter_model.safetensors", "adapter_config.json", METRICS, "result.json"}
    weights = load_file(config.output / "adapter_model.safetensors")
    assert {weight.dtype for weight in weights.values()} == {torch.float32}
    merge_adapter(load_model(config.base), config.output)
    assert RunResult.model_validate_json((config.output / "result.json").read_text()) == result


def start(module: str, *arguments: str, cwd: Path = ROOT, **environment: str) -> RunResult:
    """Run a module of Python in a process of its own; the last line it prints is the result."""
    finished = subprocess.run(
        [sys.executable, "-m", module, *arguments],
        cwd=cwd,
        env={**os.environ, "OMP_NUM_THREADS": "1", **environment},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert finished.returncode == 0, finished.stderr
    return RunResult.model_validate_json(finished.stdout.splitlines()[-1])


def save(config: RunConfig, folder: Path) -> str:
    """Write a configuration that puts its output into `folder`, with relative paths where it can."""
    folder.mkdir(exist_ok=True)
    changed = config.model_copy(update={"output": Path("out")})
    (folder / "run.json").write_text(changed.model_dump_json(), encoding="utf-8")
    return str(folder / "run.json")


def assert_same(result: RunResult, alone: tuple[RunConfig, RunResult], output: Path) -> None:
    """Two processes came to what one came to."""
    config, expected = alone
    assert result.world_size == 2
    assert (result.steps, result.best_step) == (expected.steps, expected.best_step)
    assert logged(output, "loss") == pytest.approx(logged(config.output, "loss"), rel=1e-4)
    assert result.best_validation_loss == pytest.approx(expected.best_validation_loss, rel=1e-4)
    ours, theirs = (load_file(each / "adapter_model.safetensors") for each in (config.output, output))
    assert ours.keys() == theirs.keys()
    assert all(torch.allclose(ours[name], theirs[name], atol=1e-3) for name in ours)


def test_accelerate_on_two_processes_equals_one(alone: tuple[RunConfig, RunResult], tmp_path: Path) -> None:
    """Started by accelerate, two processes share every batch and come to the same adapter."""
    told = save(alone[0], tmp_path)
    options = ("launch", "--config_file", str(CONFIGS / "cpu2.yaml"), "-m", "pipelines.training.scale.launch")
    result = start("accelerate.commands.accelerate_cli", *options, told)
    assert result.strategy == "MULTI_CPU"
    assert_same(result, alone, tmp_path / "out")


def test_ray_on_two_workers_equals_one(alone: tuple[RunConfig, RunResult], tmp_path: Path) -> None:
    """As a Ray Train job, too."""
    pytest.importorskip("ray")
    told = save(alone[0], tmp_path)
    result = start("pipelines.training.scale.ray_job", told, "--workers", "2", HOME=str(tmp_path))
    assert_same(result, alone, tmp_path / "out")


# Notes every address that is looked up or connected to, and dies in the seventh step.
_WATCHED = """
import os, socket, sys, time
from pathlib import Path
reached = []
def watch(name):
    real = getattr(socket.socket, name)
    def watched(self, address):
        if self.family != socket.AF_UNIX:
            reached.append(address)
        return real(self, address)
    setattr(socket.socket, name, watched)
watch("connect"), watch("connect_ex")
look_up = socket.getaddrinfo
socket.getaddrinfo = lambda host, *rest, **more: (reached.append(host), look_up(host, *rest, **more))[1]
for name in [name for name in os.environ if name.startswith(("HF_", "TRANSFORMERS_", "DISABLE_", "DO_NOT_", "CI"))]:
    del os.environ[name]
from pipelines.training.scale import launch
class Killed(launch.trl_engine.StepLog):
    def on_log(self, args, state, control, logs, **more):
        super().on_log(args, state, control, logs, **more)
        if "loss" in logs and state.global_step == 7:
            time.sleep(1)  # reports are sent by a thread
            print(reached, flush=True)
            os._exit(9)
import pipelines.training.scale.trl_engine as trl_engine
trl_engine.StepLog = Killed
sys.exit(launch.main(sys.argv[1:]))
"""


@pytest.fixture(scope="module")
def killed(alone: tuple[RunConfig, RunResult], tmp_path_factory: pytest.TempPathFactory) -> tuple[RunConfig, str]:
    """A run that died in its seventh step, and what it printed: the addresses it had reached for."""
    told = save(alone[0], tmp_path_factory.mktemp("killed"))
    command = [sys.executable, "-c", _WATCHED, told]
    died = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300, check=False)
    assert died.returncode == 9, died.stderr
    return load_config(Path(told)), died.stdout


def test_nothing_is_reported_home(killed: tuple[RunConfig, str]) -> None:
    """A run opens no connection and looks no name up, whatever the shell allows the libraries."""
    assert killed[1].strip() == "[]"


def test_a_killed_run_goes_on(killed: tuple[RunConfig, str], alone: tuple[RunConfig, RunResult]) -> None:
    """The next run starts from the last whole checkpoint, and comes to the same."""
    config, (undisturbed, expected) = killed[0], alone
    folder = config.output / f"checkpoints-{config.key()}"
    whole = last_checkpoint(folder)
    assert whole is not None and whole.name == "checkpoint-6"
    (folder / "checkpoint-7").mkdir()  # as if cut off while it was written
    assert last_checkpoint(folder) == whole
    (folder / "checkpoint-7").rmdir()
    result = train(config)
    assert result.resumed_from_step == 6
    assert logged(config.output, "loss") == pytest.approx(logged(undisturbed.output, "loss"), rel=1e-4)
    assert result.best_validation_loss == pytest.approx(expected.best_validation_loss, rel=1e-4)


def test_preferences_are_learnt(tiny: Path, data: Path, tmp_path: Path) -> None:
    """DPO starts at log 2, where nothing is preferred yet, and goes below."""
    pairs = data / "pairs.jsonl"
    config = configure(tiny, data, tmp_path / "dpo", objective="dpo", train=pairs, validation=pairs, epochs=2)
    result = train(config)
    assert logged(config.output, "loss")[0] == pytest.approx(0.6931, abs=1e-3)
    assert result.best_validation_loss < 0.6
    assert (config.output / "adapter_model.safetensors").is_file()


def test_a_whole_model_can_be_trained(tiny: Path, data: Path, tmp_path: Path) -> None:
    """What `full` saves is a base model that loads by itself."""
    config = configure(tiny, data, tmp_path / "full", method="full", learning_rate=1e-3, max_steps=2)
    train(config)
    load_tokenizer(config.output)
    before, after = load_model(tiny).state_dict(), load_model(config.output).state_dict()
    assert any(not torch.equal(before[name], after[name]) for name in before)


def test_training_stops_when_validation_gets_worse(tiny: Path, data: Path, tmp_path: Path) -> None:
    """And the best weights are the ones that are saved."""
    rows = supervised_rows()
    other = [row.model_copy(update={"answer": [token + 500 for token in row.answer]}) for row in rows[:5]]
    write_rows(tmp_path / "other.jsonl", other)
    config = configure(tiny, data, tmp_path / "out", validation=tmp_path / "other.jsonl", patience=1, epochs=20)
    result = train(config)
    losses = logged(config.output, "validation_loss")
    assert result.steps < 60
    assert result.best_validation_loss == pytest.approx(min(losses), rel=1e-5)
    assert result.final_validation_loss == pytest.approx(losses[-1], rel=1e-5)
    assert min(losses) < losses[-1]


@pytest.mark.parametrize("name", ["cpu2", "fsdp", "deepspeed_zero2", "deepspeed_zero3"])
def test_accelerate_knows_every_key(name: str) -> None:
    """Accelerate's own loader refuses keys that it does not know; so does this test one level down."""
    config = load_config_from_file(str(CONFIGS / f"{name}.yaml"))
    from accelerate.commands.launch import launch_command_parser

    known = vars(launch_command_parser().parse_args(["script.py"]))
    told = {**config.fsdp_config, **config.deepspeed_config}
    assert told.keys() <= known.keys()
    assert config.num_processes == 2


def test_one_process_with_several_gpus_is_refused() -> None:
    """With DataParallel, that is, which torch would use, and TRL does not support; a launcher is named."""
    with pytest.raises(SettingsError, match="2 GPUs") as caught:
        check_processes(gpus=2, environment={})
    assert "accelerate launch" in caught.value.hint
    check_processes(gpus=2, environment={"WORLD_SIZE": "2"})


def test_a_launcher_that_started_too_few_is_refused() -> None:
    """Without MPI, `accelerate launch --cpu --num_processes 2` starts one process and says nothing."""
    with pytest.raises(SettingsError, match="one process") as caught:
        check_processes(gpus=0, environment={"ACCELERATE_USE_CPU": "True", "MASTER_PORT": "29500"})
    assert "cpu2.yaml" in caught.value.hint


def test_a_batch_that_cannot_be_shared_is_refused(
    tiny: Path, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Three processes cannot share four examples."""
    monkeypatch.setenv("WORLD_SIZE", "3")
    config = configure(tiny, data, tmp_path)
    with pytest.raises(SettingsError, match="3 processes"):
        training_arguments(config, Machine.of(config), examples=10, folder=tmp_path)


def test_a_loss_that_is_no_number_stops_the_run(tiny: Path, data: Path, tmp_path: Path) -> None:
    """It is said at the step where it happens, with what to do."""
    broken = LlamaForCausalLM.from_pretrained(tiny)
    with torch.no_grad():
        broken.model.norm.weight.fill_(float("nan"))
    broken.save_pretrained(tmp_path / "base")
    load_tokenizer(tiny).save_pretrained(tmp_path / "base")
    with pytest.raises(TrainingError, match="step 1") as caught:
        run(configure(tmp_path / "base", data, tmp_path / "out"))
    assert "learning_rate" in caught.value.hint


@pytest.mark.parametrize(
    ("text", "message"),
    [("", "no example"), ("{}\n", "line 1"), ('{"prompt": [1], "answer": []}\n', "line 1")],
)
def test_bad_rows_are_named(tiny: Path, data: Path, tmp_path: Path, text: str, message: str) -> None:
    """A line that is no example is named by its number."""
    (tmp_path / "train.jsonl").write_text(text)
    with pytest.raises(DataError, match=message):
        train(configure(tiny, data, tmp_path / "out", train=tmp_path / "train.jsonl"))


def test_a_bad_configuration_is_named(tmp_path: Path) -> None:
    """An unknown field is an error: a typing mistake must not train something else."""
    (tmp_path / "run.json").write_text('{"base": "b", "train": "t", "validation": "v", "output": "o", "rnak": 8}')
    with pytest.raises(SettingsError, match="rnak"):
        load_config(tmp_path / "run.json")


@pytest.mark.gpu
@_without_one
@pytest.mark.parametrize("method", ["qlora", "lora", "full"])
def test_a_gpu_learns_what_the_cpu_learns(tiny: Path, data: Path, tmp_path: Path, method: str) -> None:
    """On one GPU the losses are those of the CPU, up to the number type."""
    rate = 1e-3 if method == "full" else 2e-2
    changed = {"method": method, "learning_rate": rate, "dtype": "float32" if method == "full" else "bfloat16"}
    on_cpu = train(configure(tiny, data, tmp_path / "cpu", **changed))
    on_gpu = train(configure(tiny, data, tmp_path / "gpu", device="auto", **changed))
    assert on_gpu.final_validation_loss == pytest.approx(on_cpu.final_validation_loss, rel=0.02)


@pytest.mark.gpu
@_without_two
@pytest.mark.parametrize("name", ["fsdp", "deepspeed_zero2", "deepspeed_zero3"])
@pytest.mark.parametrize("method", ["qlora", "lora"])
def test_gpus_share_a_run(tiny: Path, data: Path, tmp_path: Path, name: str, method: str) -> None:
    """Sharded over two GPUs the result is that of the CPU, up to the number type."""
    if name != "fsdp":
        pytest.importorskip("deepspeed")
    config = configure(tiny, data, tmp_path / "cpu", method=method, dtype="bfloat16")
    expected = train(config)
    told = save(config.model_copy(update={"device": "auto"}), tmp_path)
    options = ("launch", "--config_file", str(CONFIGS / f"{name}.yaml"), "-m", "pipelines.training.scale.launch")
    result = start("accelerate.commands.accelerate_cli", *options, told)
    assert result.strategy == ("FSDP" if name == "fsdp" else "DEEPSPEED")
    assert result.final_validation_loss == pytest.approx(expected.final_validation_loss, rel=0.02)
    assert (tmp_path / "out" / "adapter_model.safetensors").is_file()
