"""Puts a run together: records to tokens, tokens to packs, the student, the objective."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from transformers import PreTrainedTokenizerFast

from pipelines.errors import DataError
from pipelines.models import local
from pipelines.models.packing import Pack, pack_groups
from pipelines.models.render import Rendered
from pipelines.operation import Context
from pipelines.training import checkpoint
from pipelines.training.catalog import METHODS, OBJECTIVES
from pipelines.training.data import TrainingData, TrainingRecord, read_data
from pipelines.training.guard import GuardFinding, check_data, refuse_errors, render_record
from pipelines.training.job import free_memory_mb
from pipelines.training.loop import Run
from pipelines.training.methods import open_student
from pipelines.training.objectives.objective import Objective, SupervisedObjective
from pipelines.training.objectives.policy import GroupRelativePolicy
from pipelines.training.objectives.preference import DirectPreference, OddsRatioPreference, ProspectPreference
from pipelines.training.objectives.reward import RewardObjective
from pipelines.training.objectives.rewards import find_reward
from pipelines.training.params import TrainParams
from pipelines.training.progress import Schedule
from pipelines.training.student import Student

# Longest sequence of examples that share passages; a longer single example is its own.
PACK_TOKENS = 1_536
EVALUATIONS_PER_EPOCH = 2
_SAMPLES, _SAMPLED_TOKENS = 4, 128
# Weights, activations and room to spare, as a multiple of the weights' file.
_MEMORY_TIMES = 4


@dataclass(frozen=True, kw_only=True)
class Prepared:
    """The data of a run as the loop takes it."""

    data: TrainingData
    groups: tuple[list[Rendered], ...]  # of both splits, training first: an answer, or a pair
    train: list[Pack]
    validation: list[Pack]
    examples: int
    left_out: int
    findings: list[GuardFinding]


def prepare_data(
    params: TrainParams,
    context: Context,
    tokenizer: PreTrainedTokenizerFast,
    *,
    longest: int | None,
    with_test: bool = True,
) -> Prepared:
    """Read, render and check the data, and pack it.

    Args:
        params: What to train on, and how.
        context: Where datasets are.
        tokenizer: Of the base model.
        longest: Most tokens that the base model takes; None if it does not say.
        with_test: Whether to look for leaks from the test split, which has to be read for that.

    Raises:
        DataError: It is not fit to learn.
    """
    data = read_data(params, context, with_test=with_test)
    pairs = OBJECTIVES[params.objective].needs_pairs
    max_length = min(params.max_length, longest or params.max_length)
    train = _render(tokenizer, data.train, split="train", pairs=pairs)
    validation = _render(tokenizer, data.validation, split="validation", pairs=pairs)
    findings = check_data(data, [group[0] for group in train], max_length=max_length, pairs=pairs)
    refuse_errors(findings, dataset=params.dataset)
    short = [
        _short(groups, max_length, split=split, pairs=pairs)
        for split, groups in (("training", train), ("validation", validation))
    ]
    # A sequence is never split over two steps; what a learnt prompt precedes cannot share one.
    members = 1 if METHODS[params.method].is_prompt else 2 * params.batch_size
    size = 2 if pairs else 1
    return Prepared(
        data=data,
        groups=tuple(short[0] + short[1]),
        train=pack_groups(short[0], max_tokens=PACK_TOKENS, max_members=members),
        validation=pack_groups(short[1], max_tokens=PACK_TOKENS, max_members=members, start=len(short[0]) * size),
        examples=len(short[0]),
        left_out=len(train) + len(validation) - len(short[0]) - len(short[1]),
        findings=findings,
    )


def prepare_run(
    params: TrainParams,
    context: Context,
    prepared: Prepared,
    *,
    folder: Path,
    key: str,
    micro_tokens: int | None = None,
) -> Run:
    """Load the student and put the run together, if its checkpoints fit on the disk.

    Raises:
        TrainingError: They do not fit, or none of those that are there can be read.
    """
    base = context.models.base_folder(params.base)
    steps = round(params.epochs * -(-prepared.examples // params.batch_size))
    student = open_student(
        base, method=params.method, rank=params.rank, steps=steps, seed=context.seed, has_memory=has_memory(base)
    )
    checkpoint.check_space(folder, parameters=sum(each.numel() for each in student.parameters()))
    return Run(
        student,
        train=prepared.train,
        validation=prepared.validation,
        schedule=Schedule(
            epochs=params.epochs,
            learning_rate=params.rate,
            batch_size=params.batch_size,
            evaluations_per_epoch=EVALUATIONS_PER_EPOCH,
            patience=params.patience,
            seed=context.seed,
            micro_tokens=micro_tokens,
        ),
        folder=folder,
        key=key,
        objective=_objective(params, context, prepared, student, base),
        notice=context.notice,
    )


def has_memory(base: Path) -> bool:
    """Whether dequantized weights fit beside everything else."""
    size_mb = sum(path.stat().st_size for path in base.glob("*.safetensors")) >> 20
    return free_memory_mb() > _MEMORY_TIMES * size_mb


def _objective(params: TrainParams, context: Context, prepared: Prepared, student: Student, base: Path) -> Objective:
    if params.objective == "dpo":
        return DirectPreference()
    if params.objective == "orpo":
        return OddsRatioPreference()
    if params.objective == "kto":
        return ProspectPreference([each for group in prepared.groups for each in group])
    if params.objective == "reward":
        return RewardObjective(student.base.config.hidden_size, seed=context.seed)
    if params.objective == "grpo":
        records = (*prepared.data.train, *prepared.data.validation)
        return GroupRelativePolicy(
            local.LocalEngine(student.base, local.load_tokenizer(base), name=params.base),
            [record.messages for record in records],
            reward=find_reward(params.reward),
            samples=_SAMPLES,
            max_tokens=_SAMPLED_TOKENS,
            seed=context.seed,
        )
    return SupervisedObjective()


def _render(
    tokenizer: PreTrainedTokenizerFast, records: Sequence[TrainingRecord], *, split: str, pairs: bool
) -> list[list[Rendered]]:
    """Return each record as one answer, or as a better and a worse one."""
    groups = []
    for number, record in enumerate(records, start=1):
        group = [render_record(tokenizer, record.messages, split=split, number=number)]
        if pairs and record.rejected and record.rejected != record.messages[-1].content:
            group.append(render_record(tokenizer, record.with_worse, split=split, number=number))
        groups.append(group)
    return groups


def _short(groups: Sequence[list[Rendered]], max_length: int, *, split: str, pairs: bool) -> list[list[Rendered]]:
    """Return what is whole and not too long.

    Raises:
        DataError: Nothing is.
    """
    short = [group for group in groups if _fits(group, max_length, pairs=pairs)]
    if not short:
        raise DataError(
            f"the {split} split holds no {'pair' if pairs else 'example'} of at most {max_length} tokens",
            hint="Make the dataset larger, or raise --max-length.",
        )
    return short


def _fits(group: Sequence[Rendered], max_length: int, *, pairs: bool) -> bool:
    is_whole = len(group) == (2 if pairs else 1)
    return is_whole and all(len(each.prompt) + len(each.answer) <= max_length for each in group)
