"""The card of an exported dataset: what it is, how it was made, what was left out, what to mind.

What users, documents and models wrote appears in it only cleaned, so that it can neither break
a table nor bring HTML or links into a page that others open.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import yaml
from pydantic import BaseModel, JsonValue, ValidationError

from pipelines.dataset.files import CURATED, MANIFEST
from pipelines.dataset.formats.rows import Format, FormatName, conversation_of
from pipelines.dataset.formats.shapes import features_of
from pipelines.errors import DataError
from pipelines.pages.environment import card_template
from pipelines.records import Example, ExampleKind, Split, content_id
from pipelines.text import clean_text, fold_space
from pipelines.workspace import replacing

CARD = "README.md"
_LONGEST = 200
# What Markdown could take for more than text; an underscore within a word is none of it, and
# a bare address would become a link.
_ACTIVE = re.compile(r"[\\`*\[\]()!|#~{}$]|(?<![^\W_])_|_(?![^\W_])|(?<=:)//|(?<=www)\.|@(?=[\w\-]+\.)", re.IGNORECASE)
_SIZES = ((1_000, "n<1K"), (10_000, "1K<n<10K"), (100_000, "10K<n<100K"), (1_000_000, "100K<n<1M"))
_LARGEST = "1M<n<10M"
_TASKS: Mapping[ExampleKind, str] = {
    ExampleKind.GROUNDED: "question-answering",
    ExampleKind.UNANSWERABLE: "question-answering",
    ExampleKind.FALSE_PREMISE: "question-answering",
    ExampleKind.CLASSIFICATION: "text-classification",
    ExampleKind.SPANS: "token-classification",
}
_STAGES = {MANIFEST: "writing", CURATED: "curation"}
_IMPORTED = "import"


class ExportedFile(BaseModel):
    """One file of an export."""

    file: str
    split: Split | None = None
    rows: int = 0
    bytes: int
    sha256: str


class Stage(BaseModel):
    """What a stage recorded of itself beside what it made."""

    name: str
    finished: str
    params: dict[str, JsonValue]
    rejected: dict[str, int]


@dataclass
class Facts:
    """What is counted of a dataset while it is written."""

    kinds: Counter[tuple[ExampleKind, Split]] = field(default_factory=Counter)
    languages: Counter[str] = field(default_factory=Counter)
    teachers: Counter[str] = field(default_factory=Counter)
    prompts: Counter[str] = field(default_factory=Counter)
    flags: Counter[str] = field(default_factory=Counter)
    skipped: Counter[str] = field(default_factory=Counter)
    quoting: int = 0
    asked_chars: int = 0
    answered_chars: int = 0

    @property
    def examples(self) -> int:
        """How many examples were written."""
        return self.kinds.total()

    def add(self, example: Example, split: Split) -> None:
        """Count an example that is written."""
        self.kinds[example.kind, split] += 1
        self.languages[example.language] += 1
        self.teachers[example.teacher] += 1
        self.prompts[example.prompt] += 1
        self.flags.update(example.flags)
        self.quoting += bool(example.quotes or example.chunks)
        self.asked_chars += len(example.question)
        self.answered_chars += len(conversation_of(example)[-1].content)


def read_stages(folder: Path) -> list[Stage]:
    """Return what the stages of a dataset recorded, oldest first.

    Raises:
        DataError: A record is damaged.
    """
    stages = []
    for path in folder.glob("*.json"):
        try:
            stored = json.loads(path.read_text(encoding="utf-8"))
            if not isinstance(stored, dict) or not {"inputs", "report", "finished"} <= stored.keys():
                continue  # not the record of a stage
            stage = Stage(
                name=_STAGES.get(path.name, path.stem),
                finished=stored["finished"],
                params=stored["inputs"].get("params") or stored["inputs"].get("import") or {},
                rejected=_by_check(stored["report"].get("rejected")),
            )
        except (ValueError, AttributeError, ValidationError) as error:
            raise DataError(
                f"{path.name} is not the record of a stage: {error}",
                path=path,
                hint="Run the stage again that writes it.",
            ) from error
        stages.append(stage)
    return sorted(stages, key=lambda stage: (stage.finished, stage.name))


def _by_check(rejected: object) -> dict[str, int]:
    """Return rejections by check; nothing where a stage counts them in another way."""
    if not isinstance(rejected, dict):
        return {}
    return {str(check): count for check, count in rejected.items() if isinstance(count, int)}


@dataclass(frozen=True, kw_only=True)
class Card:
    """What a card is written from."""

    dataset: str
    license: str
    format_name: FormatName
    format: Format
    facts: Facts
    stages: Sequence[Stage]
    files: Sequence[ExportedFile]


def write_card(card: Card, folder: Path) -> None:
    """Write the card of an export into its folder."""
    facts = card.facts
    splits: list[Split] = [file.split for file in card.files if file.split is not None]
    text = card_template("pipelines.dataset", "card.md.j2", cell=cell).render(
        front=yaml.safe_dump(_front(card), allow_unicode=True, sort_keys=False, width=_LONGEST),
        card=card,
        facts=facts,
        splits=splits,
        kinds=sorted({kind for kind, _split in facts.kinds}),
        writers=sorted(name for name in facts.teachers if name != _IMPORTED),
        imported=facts.teachers[_IMPORTED],
        masked=[stage.params["keep_masked"] for stage in card.stages if "keep_masked" in stage.params],
        stages=[(stage, _shown_params(stage.params)) for stage in card.stages],
        rejections=[(stage.name, *each) for stage in card.stages for each in sorted(stage.rejected.items())],
    )
    with replacing(folder / CARD) as file:
        file.write(text)


def cell(value: object) -> str:
    """Return a value as inactive Markdown on one line, cut where it is long."""
    text = fold_space(clean_text(str(value)))
    text = text if len(text) <= _LONGEST else text[: _LONGEST - 1] + "…"
    escaped = text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    # Written as numbers, characters mean nothing to Markdown, within tables neither.
    return _ACTIVE.sub(lambda match: "".join(f"&#{ord(each)};" for each in match[0]), escaped)


def _front(card: Card) -> dict[str, object]:
    """Return the front matter that the hub and the datasets library read."""
    facts = card.facts
    rows = sum(file.rows for file in card.files)
    written = {kind for kind, _split in facts.kinds}
    tasks = ["text-generation", *sorted({_TASKS[kind] for kind in written if kind in _TASKS})]
    config = {
        "config_name": "default",
        # The datasets library keeps what it has loaded by what stands in the card, not by the files.
        "description": f"Data {content_id(*(file.sha256 for file in card.files))}",
        "data_files": [{"split": file.split, "path": file.file} for file in card.files if file.split is not None],
    }
    return {
        "license": card.license,
        "language": sorted(facts.languages),
        "pretty_name": card.dataset,
        "size_categories": [next((name for limit, name in _SIZES if rows < limit), _LARGEST)],
        "task_categories": tasks,
        "tags": [*(["synthetic"] if set(facts.teachers) - {_IMPORTED} else []), card.format_name],
        "configs": [config],
        "dataset_info": {"features": features_of(card.format.columns)},
    }


def _shown_params(params: Mapping[str, JsonValue]) -> list[tuple[str, str]]:
    return [(name, _shown(value)) for name, value in params.items()]


def _shown(value: JsonValue) -> str:
    if isinstance(value, str) and value.startswith(("/", "~")):
        return Path(value).name  # where a model lies on this machine is nobody else's business
    return "none" if value in (None, "", []) else str(value)
