"""What a training run is asked to do, and what it reports."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, Field, model_validator

from pipelines.models.catalog import DEFAULT_BASE_MODEL
from pipelines.operation import Positional
from pipelines.records import Name
from pipelines.training.catalog import METHODS, MethodName, ObjectiveName, RewardName, default_rate

EngineName = Literal["auto", "own", "trl"]


class TrainParams(BaseModel):
    """What to train on, and how."""

    dataset: Annotated[str, Positional()] = Field(
        min_length=1, description="Curated dataset to learn, or a JSONL file of messages."
    )
    adapter: Name | None = Field(None, description="Name of the adapter; the dataset's if not given.")
    base: str = Field(DEFAULT_BASE_MODEL, description="Base model: a name of models list, or a Hugging Face folder.")
    objective: ObjectiveName = Field("sft", description="What to minimise; pairs of answers for most but sft.")
    method: MethodName = Field("qlora", description="What is trained, and in which precision the base is held.")
    epochs: float = Field(4.0, gt=0, le=100, description="Passes over the training split, at most.")
    learning_rate: float | None = Field(
        None, gt=0, le=1, description="Highest learning rate; what suits method and objective if not given."
    )
    rank: int = Field(16, ge=1, le=512, description="Rank of the adapter.")
    batch_size: int = Field(4, ge=1, le=1024, description="Examples per step, at least.")
    max_length: int = Field(2048, ge=64, le=131_072, description="Longest example in tokens; longer ones are left out.")
    patience: int = Field(3, ge=1, description="Evaluations without improvement before stopping.")
    reward: RewardName = Field("match", description="Rule that rewards an answer, for grpo.")
    engine: EngineName = Field("auto", description="The own loop, or TRL; auto: TRL on a CUDA GPU, else the own loop.")

    @model_validator(mode="after")
    def _has_a_name(self) -> TrainParams:
        if self.adapter is None and not re.fullmatch(r"\w[\w.\-]{0,63}", self.adapter_name):
            raise ValueError("the adapter needs a name: pass --adapter NAME")
        return self

    @model_validator(mode="after")
    def _can_learn(self) -> TrainParams:
        if METHODS[self.method].is_prompt and self.objective != "sft":
            raise ValueError(f"a learnt prompt learns by sft only: pass another --method than {self.method}")
        return self

    @property
    def is_file(self) -> bool:
        """Whether the dataset is a file, and not one of the workspace."""
        return self.dataset.endswith((".jsonl", ".json")) or "/" in self.dataset

    @property
    def adapter_name(self) -> str:
        """Name of the adapter."""
        return self.adapter or (Path(self.dataset).stem if self.is_file else self.dataset)

    @property
    def rate(self) -> float:
        """Highest learning rate."""
        return self.learning_rate or default_rate(self.method, self.objective)


class TrainReport(BaseModel):
    """What training came to."""

    adapter: str
    path: str
    base: str
    steps: int
    examples: int
    left_out: int
    tokens_per_second: float
    peak_memory_mb: int
    best_validation_loss: float
    best_step: int
    resumed_from_step: int
    seconds: float
    objective: ObjectiveName = "sft"
    method: MethodName = "qlora"
    engine: Literal["own", "trl"] = "own"
    validation: dict[str, float] = Field(default_factory=dict, description="What else the best validation measured.")
    warnings: list[str] = Field(default_factory=list, description="What the data guard found.")
