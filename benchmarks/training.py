"""How quickly QLoRA trains, against a plain loop over the same examples.

The plain loop is what one writes first: NF4 by bitsandbytes, LoRA in float32, torch's fused
attention, examples padded to the longest of a batch, the head at every position.
"""

from __future__ import annotations

import tempfile
import time
from pathlib import Path

import torch
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM, BitsAndBytesConfig

from benchmarks.measure import HANDBOOK, Row, peak_mb
from pipelines.knowledge.chunk import chunk_document
from pipelines.knowledge.parse import read_document
from pipelines.models.catalog import DEFAULT_BASE_MODEL
from pipelines.models.hardware import fast_dtype, prepare_torch
from pipelines.models.local import load_tokenizer
from pipelines.models.packing import pack_examples
from pipelines.models.render import Rendered, render_example
from pipelines.operation import open_context
from pipelines.prompting import answer_messages
from pipelines.quotes import format_citation
from pipelines.records import Chunk, Message
from pipelines.text import fold_space, sentence_spans
from pipelines.training.loop import Run
from pipelines.training.progress import Schedule
from pipelines.training.quantize import add_adapter, dequantize_once, keep_gradients, load_quantized
from pipelines.training.student import Student

_EXAMPLES, _BATCH, _PASSAGES = 48, 6, 3


def measure() -> list[Row]:
    """Train on the same examples in both ways for one epoch."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        base = open_context(folder).models.base_folder(DEFAULT_BASE_MODEL)
        examples = _examples(base)
        plain = _plain_seconds(base, examples)
        prepare_torch()
        ours, tokens_per_second = _our_seconds(base, examples, folder)
    tokens = sum(len(each.prompt) + len(each.answer) for each in examples)
    return [
        Row(
            what=f"QLoRA, {len(examples)} examples of {tokens // len(examples)} tokens",
            figure=f"{len(examples) / ours:.2f} examples/s ({tokens_per_second:.0f} packed tokens/s)",
            against=f"a plain loop: {len(examples) / plain:.2f} examples/s ({tokens / plain:.0f} tokens/s)",
            ratio=plain / ours,
            peak_mb=peak_mb(),
        )
    ]


def _examples(base: Path) -> list[Rendered]:
    """Questions about shared passages; what they ask is of no matter for the speed."""
    tokenizer = load_tokenizer(base)
    chunks: list[Chunk] = []
    for path in sorted(HANDBOOK.glob("*/*.md")):
        chunks += chunk_document(read_document(path, document_id=path.name, max_megabytes=1))
    rendered: list[Rendered] = []
    for start in range(0, len(chunks) - _PASSAGES, _PASSAGES):
        shown = chunks[start : start + _PASSAGES]
        for number, chunk in enumerate(shown, start=1):
            for begin, end in sentence_spans(chunk.text)[:2]:
                sentence = fold_space(chunk.text[begin:end])
                quote = format_citation(sentence, number)
                asked = answer_messages(f"What about {sentence[:40]}?", shown, closest=quote)
                rendered.append(render_example(tokenizer, (*asked, Message(role="assistant", content=quote))))
    return rendered[:_EXAMPLES]


def _our_seconds(base: Path, examples: list[Rendered], folder: Path) -> tuple[float, float]:
    model = load_quantized(base)
    dequantize_once(model)
    schedule = Schedule(epochs=1, learning_rate=5e-4, batch_size=_BATCH, evaluations_per_epoch=1, patience=9, seed=0)
    packs = pack_examples(examples, max_tokens=1536)
    student = Student(add_adapter(model, rank=16, seed=0))
    run = Run(student, train=packs, validation=packs[:1], schedule=schedule, folder=folder, key="bench")
    started = time.perf_counter()
    outcome = run.train(lambda step: None)
    return time.perf_counter() - started, outcome.tokens_per_second


def _plain_seconds(base: Path, examples: list[Rendered]) -> float:
    quantization = BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=fast_dtype(),
    )
    model = AutoModelForCausalLM.from_pretrained(
        base, dtype=fast_dtype(), quantization_config=quantization, local_files_only=True
    )
    keep_gradients(model)
    student = get_peft_model(model, LoraConfig(r=16, lora_alpha=32, target_modules="all-linear", task_type="CAUSAL_LM"))
    optimizer = torch.optim.AdamW([each for each in student.parameters() if each.requires_grad], lr=5e-4)
    started = time.perf_counter()
    for start in range(0, len(examples), _BATCH):
        batch = examples[start : start + _BATCH]
        longest = max(len(each.prompt) + len(each.answer) for each in batch)
        tokens = torch.zeros(len(batch), longest, dtype=torch.long)
        labels = torch.full((len(batch), longest), -100)
        mask = torch.zeros(len(batch), longest, dtype=torch.long)
        for row, each in enumerate(batch):
            size = len(each.prompt) + len(each.answer)
            tokens[row, :size] = torch.tensor(each.prompt + each.answer)
            labels[row, len(each.prompt) : size] = torch.tensor(each.answer)
            mask[row, :size] = 1
        student(input_ids=tokens, attention_mask=mask, labels=labels).loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    return time.perf_counter() - started
