"""Whether an export is the model that was trained: loaded again, and held against it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import peft
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedModel, PreTrainedTokenizerFast

from pipelines.errors import SettingsError
from pipelines.models.attention import register_attention
from pipelines.models.packing import answer_losses, pack_examples
from pipelines.models.render import render_example
from pipelines.records import Message
from pipelines.training.exporting.gguf_file import read_adapter
from pipelines.training.exporting.turns import Turns, render_text

Conversations = Sequence[Sequence[Message]]
_PACK_TOKENS = 2048


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """What an export gives on the conversations that it is compared on."""

    loss: float | None  # nats per answer token; None without conversations
    tokens_equal: bool | None  # whether every conversation becomes the same tokens; None without a tokenizer


def load_precise(folder: Path, **options: object) -> PreTrainedModel:
    """Load a causal language model in float32.

    Raises:
        SettingsError: It cannot be loaded.
    """
    try:
        model = AutoModelForCausalLM.from_pretrained(
            folder,
            local_files_only=True,
            dtype=torch.float32,
            attn_implementation=register_attention(),
            **options,
        )
    except (OSError, ValueError) as error:
        reason = str(error).partition("\n")[0]
        raise SettingsError(f"the model in {folder} cannot be loaded: {reason}") from error
    return model.eval()


@torch.inference_mode()
def mean_loss(model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast, conversations: Conversations) -> float | None:
    """Return the teacher-forced loss of the answers, in nats per token; None without conversations."""
    rendered = [render_example(tokenizer, messages) for messages in conversations]
    total = tokens = 0.0
    for pack in pack_examples(rendered, max_tokens=_PACK_TOKENS):
        for _index, nats, count in answer_losses(model, pack):
            total += nats
            tokens += count
    return total / tokens if tokens else None


def compare_adapter(
    folder: Path, base: Path, tokenizer: PreTrainedTokenizerFast, conversations: Conversations
) -> Comparison:
    """Compare an adapter as peft reads it, beside a fresh base."""
    student = peft.PeftModel.from_pretrained(load_precise(base), str(folder)).eval()
    return Comparison(loss=mean_loss(student.get_base_model(), tokenizer, conversations), tokens_equal=None)


def compare_folder(folder: Path, tokenizer: PreTrainedTokenizerFast, conversations: Conversations) -> Comparison:
    """Compare a Hugging Face folder."""
    loaded = AutoTokenizer.from_pretrained(folder, local_files_only=True)
    loss = mean_loss(load_precise(folder), loaded, conversations)
    return Comparison(loss=loss, tokens_equal=_same_tokens(tokenizer, loaded, conversations))


def compare_gguf(file: Path, tokenizer: PreTrainedTokenizerFast, conversations: Conversations) -> Comparison:
    """Compare a GGUF file of a whole model, dequantized."""
    loaded = AutoTokenizer.from_pretrained(file.parent, gguf_file=file.name)
    model = load_precise(file.parent, gguf_file=file.name)
    loss = mean_loss(model, loaded, conversations)
    return Comparison(loss=loss, tokens_equal=_same_tokens(tokenizer, loaded, conversations))


@torch.no_grad()
def compare_gguf_adapter(
    file: Path, base: Path, tokenizer: PreTrainedTokenizerFast, conversations: Conversations
) -> Comparison:
    """Compare an adapter in GGUF, put back into a fresh base."""
    model = load_precise(base)
    layers = [name for name, module in model.named_modules() if isinstance(module, torch.nn.Linear)]
    for change in read_adapter(file, model.config, layers):
        weight = model.get_submodule(change.layer).weight
        weight.copy_(change.apply(weight))
    return Comparison(loss=mean_loss(model, tokenizer, conversations), tokens_equal=None)


def is_same_prompt(turns: Turns, tokenizer: PreTrainedTokenizerFast, conversations: Conversations) -> bool:
    """Whether turns give the prompts of training, and those, read as one text, its tokens."""
    for messages in conversations:
        text = turns.render(messages[:-1], open_answer=True)
        trained = list(render_example(tokenizer, messages).prompt)
        if text != render_text(tokenizer, messages[:-1], open_answer=True):
            return False
        if tokenizer(text, add_special_tokens=False).input_ids != trained:
            return False
    return True


def _same_tokens(
    tokenizer: PreTrainedTokenizerFast, loaded: PreTrainedTokenizerFast, conversations: Conversations
) -> bool:
    return all(render_example(tokenizer, each) == render_example(loaded, each) for each in conversations)
