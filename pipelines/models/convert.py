"""A GGUF file as a Hugging Face folder, with its weights dequantized."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from pipelines.errors import SettingsError


def convert_gguf(file: Path, folder: Path) -> None:
    """Convert `file` into `folder`, which appears only when it is complete.

    Raises:
        SettingsError: The file cannot be read, or the folder cannot be written.
    """
    partial = folder.with_name(f"{folder.name}.{os.getpid()}.partial")
    try:
        partial.mkdir(parents=True, exist_ok=True)
        tokenizer = AutoTokenizer.from_pretrained(file.parent, gguf_file=file.name)
        model = AutoModelForCausalLM.from_pretrained(file.parent, gguf_file=file.name, dtype=torch.float32)
        # Marked as quantized, the model refuses to be saved; it no longer is (transformers 5.23).
        del model.config.quantization_config
        model.hf_quantizer = None
        model.is_quantized = False
        model.to(torch.bfloat16).save_pretrained(partial)
        tokenizer.save_pretrained(partial)
        if not folder.exists():  # another process may have been faster
            partial.rename(folder)
    except (OSError, ValueError) as error:
        raise SettingsError(f"cannot convert {file.name} into {folder}: {error}") from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)
