"""A model of two layers with random weights, for tests that train and do not care what is learnt."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import torch
from transformers import LlamaConfig, LlamaForCausalLM

from pipelines.models.catalog import DEFAULT_BASE_MODEL
from pipelines.models.local import load_tokenizer
from pipelines.operation import open_context


def make_tiny_llama(folder: Path) -> Path:
    """Write the model, with the tokenizer of the packaged one, and return its folder."""
    packaged = open_context(folder).models.base_folder(DEFAULT_BASE_MODEL)
    tokenizer = load_tokenizer(packaged)
    tokenizer.save_pretrained(folder)
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=2,
        num_attention_heads=2,
        max_position_embeddings=512,
        tie_word_embeddings=True,
    )
    LlamaForCausalLM(config).save_pretrained(folder)
    for name in ("generation_config.json", "chat_template.jinja"):
        if (packaged / name).is_file():
            shutil.copy(packaged / name, folder / name)
    return folder


def write_splits(folder: Path) -> None:
    """Write six examples to learn, four to validate on, and a test split that nobody may read."""
    folder.mkdir(parents=True)
    for split, numbers in (("train", range(6)), ("validation", range(6, 10))):
        lines = [
            json.dumps(
                {
                    "messages": [
                        {"role": "user", "content": f"Where does tool {number} hang?"},
                        {"role": "assistant", "content": f"On hook {number}, beside the door."},
                    ]
                }
            )
            for number in numbers
        ]
        (folder / f"{split}.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
    (folder / "test.jsonl").write_text("secret\n", encoding="utf-8")
