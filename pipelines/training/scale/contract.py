"""What a training run is told and what it answers, as JSON files that any process can read.

The examples are token ids already: however many processes train, and wherever, no chat
template is rendered a second time, so every engine supervises the very same tokens.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from pipelines.errors import DataError, SettingsError

RESULT = "result.json"


class SupervisedRow(BaseModel):
    """A conversation and the answer to be learnt, as token ids."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    prompt: list[int] = Field(min_length=1)
    answer: list[int] = Field(min_length=1)

    @property
    def tokens(self) -> int:
        """Length of the whole sequence."""
        return len(self.prompt) + len(self.answer)


class PreferenceRow(BaseModel):
    """A conversation with a better and a worse answer, as token ids."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    prompt: list[int] = Field(min_length=1)
    chosen: list[int] = Field(min_length=1)
    rejected: list[int] = Field(min_length=1)

    @property
    def tokens(self) -> int:
        """Length of the longer of the two sequences."""
        return len(self.prompt) + max(len(self.chosen), len(self.rejected))


class RunConfig(BaseModel):
    """One training run, whatever it runs on."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    base: Path = Field(description="Hugging Face folder of the base model.")
    train: Path = Field(description="JSON lines of SupervisedRow or PreferenceRow.")
    validation: Path = Field(description="The same, for early stopping.")
    output: Path = Field(description="Folder that gets the adapter, metrics.jsonl and result.json.")
    objective: Literal["sft", "dpo"] = Field("sft", description="Learn answers, or preferences between two.")
    method: Literal["qlora", "lora", "full"] = Field("qlora", description="Which weights are trained, and how kept.")
    rank: int = Field(16, ge=1, le=512)
    alpha: int | None = Field(None, ge=1, description="Scale of the adapter; twice the rank if not given.")
    beta: float = Field(0.1, gt=0, description="DPO only: how closely to stay with the base model.")
    learning_rate: float = Field(7e-4, gt=0, le=1, description="Highest learning rate.")
    epochs: float = Field(4.0, gt=0, le=100)
    max_steps: int | None = Field(None, ge=1, description="Steps of the optimizer, in place of epochs.")
    batch_size: int = Field(8, ge=1, description="Examples of a step, over all processes.")
    micro_batch_size: int = Field(4, ge=1, description="Most examples that a process computes at once.")
    max_length: int = Field(1024, ge=8, description="Longest example in tokens; longer ones are left out.")
    evaluations_per_epoch: int = Field(2, ge=1)
    patience: int = Field(3, ge=1, description="Evaluations without improvement before stopping.")
    seed: int = 0
    dtype: Literal["auto", "bfloat16", "float16", "float32"] = Field("auto", description="Number type to compute in.")
    device: Literal["auto", "cpu"] = Field("auto", description="A GPU where there is one, or the CPU in any case.")
    threads: int = Field(0, ge=0, description="On a CPU, of all processes here together; 0 takes all cores.")

    @property
    def scale(self) -> int:
        """LoRA's alpha."""
        return self.alpha or 2 * self.rank

    def key(self) -> str:
        """Return a hash of what decides the result; a checkpoint fits if it has the same."""
        told = self.model_dump_json(exclude={"output", "micro_batch_size", "device", "threads"})
        digest = hashlib.sha256(told.encode())
        for path in (self.train, self.validation):
            digest.update(hashlib.sha256(_read(path)).digest())
        return digest.hexdigest()[:16]


class RunResult(BaseModel):
    """What a run came to."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    steps: int
    examples: int
    left_out: int
    world_size: int
    strategy: str  # how accelerate shared the work: NO, MULTI_GPU, MULTI_CPU, FSDP, DEEPSPEED
    best_validation_loss: float  # nats per answer token (sft), or the mean loss of a pair (dpo)
    best_step: int
    final_validation_loss: float
    resumed_from_step: int
    tokens_per_second: float  # of the examples, padding not counted, evaluations included in the time
    peak_memory_mb: int  # of the first process; on a GPU, of the GPU
    seconds: float


def load_config(path: Path) -> RunConfig:
    """Read a run's configuration; its relative paths are taken from the file's folder.

    Raises:
        SettingsError: It is not there, or not valid.
    """
    try:
        config = RunConfig.model_validate_json(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise SettingsError(f"the configuration {path} cannot be read: {error}") from error
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"])) or "the file"
        raise SettingsError(
            f"{path}: {place}: {first['msg']}", hint="Correct the field, or remove it to have its default."
        ) from error
    root = path.resolve().parent
    return config.model_copy(
        update={name: root / getattr(config, name) for name in ("base", "train", "validation", "output")}
    )


def write_rows(path: Path, rows: Iterable[SupervisedRow | PreferenceRow]) -> None:
    """Write examples as JSON lines."""
    path.write_text("".join(row.model_dump_json() + "\n" for row in rows), encoding="utf-8")


def read_rows(path: Path, kind: type[SupervisedRow] | type[PreferenceRow]) -> list[SupervisedRow | PreferenceRow]:
    """Read examples from JSON lines.

    Raises:
        DataError: The file is not there, or a line is no such example.
    """
    rows: list[SupervisedRow | PreferenceRow] = []
    for number, line in enumerate(_read(path).splitlines(), start=1):
        try:
            rows.append(kind.model_validate_json(line))
        except ValidationError as error:
            reason = error.errors()[0]["msg"]
            raise DataError(f"{path} line {number} is no {kind.__name__}: {reason}", path=path) from error
    return rows


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error}", path=path) from error
