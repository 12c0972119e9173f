"""A language model of two layers with the packaged tokenizer: real in every respect but what it knows."""

from __future__ import annotations

from pathlib import Path

import torch
from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM


def make_tiny_model(folder: Path, *, like: Path, dtype: torch.dtype = torch.float32) -> Path:
    """Write a Hugging Face folder with a model of random weights, and return it.

    Args:
        folder: Where to write.
        like: Folder of the model whose tokenizer to take.
        dtype: Number type of its weights.
    """
    tokenizer = AutoTokenizer.from_pretrained(like, local_files_only=True)
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=1024,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        tie_word_embeddings=True,
    )
    LlamaForCausalLM(config).to(dtype).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder
