"""The model card of a head: what it was made of, what it scores and how sure that is, and its limits."""

from __future__ import annotations

from pathlib import Path

import yaml

from pipelines.evaluation.card import CARD, open_template, read_training
from pipelines.evaluation.heads.report import EvaluateHeadReport
from pipelines.training.heads.labelled import HeadKind
from pipelines.workspace import replacing

_TEMPLATE = "head_card.md.j2"
_TASKS: dict[HeadKind, str] = {"classification": "text-classification", "tokens": "token-classification"}
_LISTS = frozenset({"per_label", "confusions", "baselines"})  # of the training, which the evaluation measures anew


def write_card(report: EvaluateHeadReport, folder: Path) -> None:
    """Write the card of a head into its folder; names and values in it are inactive Markdown."""
    base_name = Path(report.base).name
    training = {
        title: [(name, value) for name, value in lines if name not in _LISTS]
        for title, lines in read_training(folder).items()
    }
    front = {"base_model": base_name, "pipeline_tag": _TASKS[report.kind], "tags": [_TASKS[report.kind], "fine-tuned"]}
    text = open_template(_TEMPLATE).render(
        front=yaml.safe_dump(front, allow_unicode=True, sort_keys=False),
        report=report,
        base_name=base_name,
        training=training,
    )
    with replacing(folder / CARD) as file:
        file.write(text)
