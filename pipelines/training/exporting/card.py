"""The card of an export: what it is, how to run it, how it was made, and how good it is."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import yaml
from pydantic import BaseModel, JsonValue, ValidationError

from pipelines.models.catalog import CATALOG
from pipelines.pages.environment import card_template
from pipelines.training.exporting.formats import ExportFormat
from pipelines.training.exporting.place import CARD, ExportedFormat

_LONGEST = 100
_ACTIVE = re.compile(r"[^\w .,:+\-]")

_WHAT: Mapping[ExportFormat, str] = {
    ExportFormat.ADAPTER: "A LoRA adapter in safetensors, as peft reads it. It needs its base model.",
    ExportFormat.MERGED: "The base model with the adapter merged into it, in float32, as a Hugging Face folder.",
    ExportFormat.GGUF_Q8_0: "The merged model for llama.cpp, with 8 bits a weight.",
    ExportFormat.GGUF_Q4_0: "The merged model for llama.cpp, with 4 bits a weight, and 8 in the embedding.",
    ExportFormat.GGUF_F16: "The merged model for llama.cpp, in float16.",
    ExportFormat.GGUF_ADAPTER: "The adapter for llama.cpp, to be applied to a GGUF file of its base model.",
    ExportFormat.OLLAMA: "A Modelfile for Ollama, with the chat template of the training. It needs the GGUF beside it.",
}
_PYTHON = """```python
from transformers import AutoModelForCausalLM, AutoTokenizer
{imports}
{load}
turns = [{{"role": "user", "content": "Your question"}}]
prompt = tokenizer.apply_chat_template(turns, add_generation_prompt=True, return_tensors="pt", return_dict=True)
print(tokenizer.decode(model.generate(**prompt, max_new_tokens=100)[0]))
```"""
_ADAPTER_IMPORTS = "from peft import PeftModel\n"
_ADAPTER_LOAD = """tokenizer = AutoTokenizer.from_pretrained("path/of/the/base")
model = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained("path/of/the/base"), "path/of/this/folder")"""
_MERGED_LOAD = """tokenizer = AutoTokenizer.from_pretrained("path/of/this/folder")
model = AutoModelForCausalLM.from_pretrained("path/of/this/folder")"""
_GGUF = "```\nllama-server --jinja -m {file}\n```\n\nThe file holds the tokenizer and the chat template."
_GGUF_ADAPTER = "```\nllama-server --jinja -m BASE.gguf --lora {file}\n```"
_OLLAMA = "```\nollama create {name} -f Modelfile\nollama run {name}\n```\n\nKeep this folder beside `{beside}`."


class Scores(BaseModel):
    """What an evaluation reported."""

    class Difference(BaseModel):
        """A 95% interval."""

        low: float
        high: float

    metric: str
    n: int
    base: float
    few_shot: float
    tuned: float
    difference: Difference
    verdict: str


@dataclass(frozen=True, kw_only=True)
class Facts:
    """What a card tells of an adapter, whatever its format."""

    name: str
    base: str
    training: Mapping[str, JsonValue]  # parameters
    scores: Scores | None
    compared: str  # what the exports were compared on


def read_training(adapter: Path) -> dict[str, JsonValue]:
    """Return the parameters that an adapter was trained with; none if that is not recorded."""
    params = _read(adapter / "manifest.json").get("inputs", {}).get("params")
    return params if isinstance(params, dict) else {}


def read_scores(adapter: Path) -> Scores | None:
    """Return what an evaluation reported of an adapter; None if it was not evaluated."""
    try:
        return Scores.model_validate(_read(adapter / "report.json").get("report"))
    except ValidationError:
        return None


def write_card(folder: Path, facts: Facts, result: ExportedFormat, *, file: str, beside: str = "") -> None:
    """Write the card of one format.

    Args:
        folder: Where the format is written.
        facts: What is known of the adapter.
        result: How the format compares with the original.
        file: The format's own file, where it has one.
        beside: The folder that it needs beside itself.
    """
    kind = ExportFormat(result.format)
    license_of_base = next((model.licence for model in CATALOG if model.name == facts.base), "")
    front: dict[str, object] = {"base_model": plain(facts.base), "tags": ["assistant", "lora", result.format]}
    if license_of_base:
        front["license"] = license_of_base.lower()
    text = card_template("pipelines.training", "model_card.md.j2", plain=plain).render(
        front=yaml.safe_dump(front, allow_unicode=True, sort_keys=False),
        name=facts.name,
        format=result.format,
        what=_WHAT[kind],
        run=_how_to_run(kind, name=facts.name, file=file, beside=beside),
        base=facts.base,
        license=license_of_base,
        training=facts.training,
        scores=facts.scores,
        compared=facts.compared,
        result=result,
    )
    (folder / CARD).write_text(text, encoding="utf-8")


def plain(value: object) -> str:
    """Return a value as inactive text on one line; of a path, its last part."""
    text = str(value)
    if text.startswith(("/", "~", ".")):
        text = Path(text).name  # where something lies on this machine is nobody else's business
    return " ".join(_ACTIVE.sub(" ", text).split())[:_LONGEST]


def _how_to_run(kind: ExportFormat, *, name: str, file: str, beside: str) -> str:
    match kind:
        case ExportFormat.ADAPTER:
            return _PYTHON.format(imports=_ADAPTER_IMPORTS, load=_ADAPTER_LOAD)
        case ExportFormat.MERGED:
            return _PYTHON.format(imports="", load=_MERGED_LOAD)
        case ExportFormat.OLLAMA:
            return _OLLAMA.format(name=name.lower(), beside=beside)
        case ExportFormat.GGUF_ADAPTER:
            return _GGUF_ADAPTER.format(file=file)
    return _GGUF.format(file=file)


def _read(path: Path) -> dict[str, dict[str, JsonValue]]:
    """Return a record of a stage; an empty one if there is none that can be read."""
    try:
        stored = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return stored if isinstance(stored, dict) else {}
