"""How quickly the local engine decodes, against transformers' own generate, same weights and type."""

from __future__ import annotations

import tempfile
import time
from pathlib import Path

import torch

from benchmarks.measure import HANDBOOK, Row, peak_mb
from pipelines.models.catalog import DEFAULT_BASE_MODEL
from pipelines.models.engine import Sampling
from pipelines.models.hardware import prepare_torch
from pipelines.models.local import LocalEngine, open_engine
from pipelines.operation import open_context

_PROMPTS, _TOKENS = 32, 48


def measure() -> list[Row]:
    """Decode a batch of prompts of about 200 tokens, and one alone, in both ways."""
    with tempfile.TemporaryDirectory() as folder:
        base = open_context(Path(folder)).models.base_folder(DEFAULT_BASE_MODEL)
    # transformers goes first, before the allocator is told to keep what is freed.
    from transformers import AutoModelForCausalLM

    from pipelines.models.hardware import fast_dtype

    text = (HANDBOOK / "membership.md").read_text(encoding="utf-8")
    prompts = [text[start : start + 800] for start in range(0, _PROMPTS * 50, 50)]
    theirs = AutoModelForCausalLM.from_pretrained(base, dtype=fast_dtype(), local_files_only=True)
    engine = open_engine(base, name=DEFAULT_BASE_MODEL)
    torch.set_num_threads(torch.get_num_threads())
    their_batch = _transformers_rate(theirs, engine, prompts)
    their_single = _transformers_rate(theirs, engine, prompts[:1])
    del theirs
    prepare_torch()
    our_batch, our_single = _engine_rate(engine, prompts), _engine_rate(engine, prompts[:1])
    return [
        Row(
            what=f"decoding {_PROMPTS} prompts of 200 tokens together",
            figure=f"{our_batch:.0f} tokens/s",
            against=f"transformers generate: {their_batch:.0f} tokens/s",
            ratio=our_batch / their_batch,
            peak_mb=peak_mb(),
        ),
        Row(
            what="decoding one prompt",
            figure=f"{our_single:.0f} tokens/s",
            against=f"transformers generate: {their_single:.0f} tokens/s",
            ratio=our_single / their_single,
        ),
    ]


def _engine_rate(engine: LocalEngine, prompts: list[str]) -> float:
    """Return new tokens a second, prompts included in the time; the better of two runs."""
    best = 0.0
    for _ in range(2):
        started = time.perf_counter()
        tokens = sum(each.tokens_out for _, (each,) in engine.generate(prompts, Sampling(max_tokens=_TOKENS)))
        best = max(best, tokens / (time.perf_counter() - started))
    return best


def _transformers_rate(model: torch.nn.Module, engine: LocalEngine, prompts: list[str]) -> float:
    tokenizer = engine.tokenizer
    tokenizer.padding_side = "left"
    batch = tokenizer(prompts, return_tensors="pt", padding=True)
    best = 0.0
    for _ in range(2):
        started = time.perf_counter()
        with torch.inference_mode():
            output = model.generate(  # type: ignore[operator]
                **batch, max_new_tokens=_TOKENS, do_sample=False, pad_token_id=tokenizer.eos_token_id
            )
        tokens = (output.shape[1] - batch["input_ids"].shape[1]) * len(prompts)
        best = max(best, tokens / (time.perf_counter() - started))
    return best
