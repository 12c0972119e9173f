"""The model card of an adapter: what it was made of, what it scores and how sure that is, and its limits."""

from __future__ import annotations

import functools
import json
from dataclasses import dataclass
from pathlib import Path

import jinja2
import yaml

from pipelines.dataset.exporting.card import cell
from pipelines.evaluation.report import ARM_TITLES, EvaluateReport
from pipelines.pages.environment import card_template
from pipelines.workspace import replacing

CARD = "MODEL_CARD.md"
LM_EVAL = "lm_eval --model hf --model_args pretrained=BASE,peft=ADAPTER --tasks arc_easy,hellaswag --device cpu"
_TEMPLATE = "model_card.md.j2"
_TRAINING = "manifest.json"


@dataclass(frozen=True, kw_only=True)
class About:
    """What was evaluated."""

    adapter: str
    base: str
    dataset: str

    @property
    def base_name(self) -> str:
        """Name of the base model; where its folder lies is nobody else's business."""
        return Path(self.base).name


def write_card(report: EvaluateReport, about: About, folder: Path) -> None:
    """Write the card of an adapter into its folder; names and values in it are inactive Markdown."""
    training = read_training(folder)
    front = {
        "base_model": about.base_name,
        "library_name": "peft",
        "pipeline_tag": "text-generation",
        "tags": ["lora", "fine-tuned"],
    }
    text = open_template(_TEMPLATE).render(
        front=yaml.safe_dump(front, allow_unicode=True, sort_keys=False),
        report=report,
        about=about,
        training=training,
        titles=ARM_TITLES,
    )
    with replacing(folder / CARD) as file:
        file.write(text)


def read_training(folder: Path) -> dict[str, list[tuple[str, str]]]:
    """Return what the training recorded of itself, as parameters and results; empty if nothing."""
    try:
        stored = json.loads((folder / _TRAINING).read_text(encoding="utf-8"))
        inputs = stored["inputs"]
        parts = {"parameters": inputs["head" if "head" in inputs else "params"], "results": stored["report"]}
        return {
            title: [(name, _shown(value)) for name, value in part.items() if name != "path"]
            for title, part in parts.items()
        }
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return {}


def _shown(value: object) -> str:
    if isinstance(value, str) and value.startswith(("/", "~")):
        return Path(value).name
    return "none" if value in (None, "", []) else str(value)


@functools.cache
def open_template(name: str) -> jinja2.Template:
    """Return a template of a card."""
    return card_template(
        "pipelines.evaluation",
        name,
        cell=cell,
        score=lambda value: "–" if value is None else f"{value:.3f}",
    )
