"""The process that plans: `python -m pipelines.training.estimate FOLDER`, started by `plan`.

A process of its own, because memory is measured as the most that it ever held.
"""

from __future__ import annotations

import itertools
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import numpy
import torch
from numpy.typing import NDArray

from pipelines.models import hardware, local
from pipelines.models.packing import Pack
from pipelines.operation import Context
from pipelines.training.catalog import METHODS, OBJECTIVES
from pipelines.training.child import StopRequest, Teller, main
from pipelines.training.guard import masked_pieces
from pipelines.training.job import Job, free_memory_mb
from pipelines.training.loop import JOINED_TOKENS, Run
from pipelines.training.params import TrainParams
from pipelines.training.plan import Choice, GuardLine, MaskedRecord, TrainingPlan
from pipelines.training.prepare import EVALUATIONS_PER_EPOCH, Prepared, prepare_run
from pipelines.training.progress import peak_memory_mb
from pipelines.training.scale.engine import choose_engine
from pipelines.training.work import load_data

_PERCENTILES = (25, 60, 100)  # of the sequences' lengths, for the steps that are timed


def plan_run(job: Job, context: Context, folder: Path) -> TrainingPlan:
    """Take a few real steps of a run, time three of them, and tell what the whole will take."""
    params = job.params
    started = time.perf_counter()
    hardware.prepare_torch(threads=context.settings.threads)
    prepared = load_data(params, context)
    run = prepare_run(params, context, prepared, folder=folder, key="trial")
    loading_s = time.perf_counter() - started
    seconds = loading_s + _training_seconds(run, prepared, params)
    epochs_tokens = sum(len(pack.tokens) for pack in prepared.train)
    machine = hardware.probe_hardware()
    return TrainingPlan(
        adapter=params.adapter_name,
        objective=params.objective,
        method=params.method,
        examples=prepared.examples,
        tokens=epochs_tokens,
        steps=run.steps,
        minutes=round(seconds / 60, 2),
        memory_mb=peak_memory_mb(),
        tokens_per_second=round(epochs_tokens * params.epochs / max(seconds - loading_s, 1e-3), 1),
        hardware=machine,
        choices=_choices(params, machine),
        guard=[GuardLine(**finding.model_dump()) for finding in prepared.findings],
        records=_records(prepared, context, params, count=job.show),
    )


def _training_seconds(run: Run, prepared: Prepared, params: TrainParams) -> float:
    """Return how long all steps and validations of a run take, told from three steps."""
    batches = run.all_batches()
    ordered = sorted(batches, key=_size)
    chosen = [ordered[round((len(ordered) - 1) * each / 100)] for each in _PERCENTILES]
    run.time_step(max(batches, key=run.largest_part))  # takes the memory that later ones reuse
    timed = [run.time_step(batch) for batch in chosen]
    curve = _fit([_size(batch) for batch in chosen], [computed for computed, _update in timed])
    validated = _heaviest(prepared.validation)
    started = time.perf_counter()
    run.validate(validated)
    validation_rate = (time.perf_counter() - started) / _size(validated)
    update_s = float(numpy.median([update for _computed, update in timed]))
    computed_s = float(_predict(curve, [_size(batch) for batch in batches]).sum())
    validation_s = validation_rate * sum(len(pack.tokens) for pack in prepared.validation)
    validations = EVALUATIONS_PER_EPOCH * params.epochs
    return computed_s + run.steps * update_s + validations * validation_s


def _heaviest(packs: Sequence[Pack]) -> list[Pack]:
    """Return what takes the most memory to validate: the longest packs that are computed at once."""
    longest = sorted(packs, key=lambda pack: -len(pack.tokens))
    together = [1, *(count for count in range(2, len(longest) + 1) if _size(longest[:count]) <= JOINED_TOKENS)]
    return longest[: together[-1]]


def _size(batch: Sequence[Pack]) -> int:
    return sum(len(pack.tokens) for pack in batch)


def _fit(sizes: Sequence[int], seconds: Sequence[float]) -> tuple[float, float]:
    """Return a and b of seconds = a * tokens + b * tokens², neither negative: attention is quadratic."""
    tokens: NDArray[numpy.float64] = numpy.asarray(sizes, dtype=float)
    linear = float(numpy.dot(tokens, seconds) / numpy.dot(tokens, tokens))
    if len(set(sizes)) < 2:
        return linear, 0.0
    (a, b), *_ = numpy.linalg.lstsq(numpy.stack([tokens, tokens**2], axis=1), numpy.asarray(seconds), rcond=None)
    return (float(a), float(b)) if a > 0 and b > 0 else (linear, 0.0)


def _predict(curve: tuple[float, float], sizes: Sequence[int]) -> NDArray[numpy.float64]:
    tokens: NDArray[numpy.float64] = numpy.asarray(sizes, dtype=float)
    return curve[0] * tokens + curve[1] * tokens**2


def _choices(params: TrainParams, machine: dict[str, str]) -> list[Choice]:
    method = METHODS[params.method]
    return [
        Choice(what="objective", chosen=params.objective, reason=OBJECTIVES[params.objective].meaning),
        Choice(what="method", chosen=params.method, reason=method.caveat),
        Choice(
            what="engine",
            chosen=choose_engine(params, has_gpu=torch.cuda.is_available(), notice=lambda reason: None),
            reason="as given" if params.engine != "auto" else "TRL on a CUDA GPU, else the own loop",
        ),
        Choice(what="number type", chosen=machine["number type"], reason=f"products measured: {machine['products']}"),
        Choice(
            what="weights",
            chosen="NF4, dequantized once" if method.is_quantized else machine["number type"],
            reason=f"{free_memory_mb()} MB of memory are free" if method.is_quantized else "as the base model is",
        ),
        Choice(
            what="sequences",
            chosen="one example each" if method.is_prompt else "packed by shared beginnings",
            reason="a learnt prompt precedes each" if method.is_prompt else "what examples share is computed once",
        ),
        Choice(what="learning rate", chosen=f"{params.rate:g}", reason="as given" if params.learning_rate else "usual"),
    ]


def _records(prepared: Prepared, context: Context, params: TrainParams, *, count: int) -> list[MaskedRecord]:
    if not count:
        return []
    tokenizer = local.load_tokenizer(context.models.base_folder(params.base))
    shown = itertools.islice((each for group in prepared.groups for each in group), count)
    records = []
    for rendered in shown:
        prompt, answer = masked_pieces(tokenizer, rendered)
        tokens = len(rendered.prompt) + len(rendered.answer)
        records.append(MaskedRecord(shown=prompt.text, learnt=answer.text, tokens=tokens))
    return records


def _plan(job: Job, context: Context, teller: Teller, stop: StopRequest) -> None:
    stop.check()
    report = plan_run(job, context, Path(sys.argv[1]))
    teller.tell("report", report=report.model_dump(mode="json"))


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), _plan))
