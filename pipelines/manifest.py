"""What a stage was made from, beside what it made: the same inputs are not worked on twice."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel, ValidationError

from pipelines.workspace import write_json

ReportT = TypeVar("ReportT", bound=BaseModel)


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """The record of one stage, in its folder."""

    path: Path
    inputs: Mapping[str, object]

    def finished(self, report: type[ReportT]) -> ReportT | None:
        """Return the report of a finished run with the same inputs; None if there is none."""
        try:
            stored = json.loads(self.path.read_text(encoding="utf-8"))
            if stored["inputs"] == json.loads(json.dumps(self.inputs)):
                return report.model_validate(stored["report"])
        except (OSError, ValueError, KeyError, TypeError, ValidationError):
            return None
        return None

    def finish(self, report: BaseModel) -> None:
        """Record that the stage is done."""
        write_json(
            self.path,
            {
                "finished": datetime.now(UTC).isoformat(timespec="seconds"),
                "inputs": dict(self.inputs),
                "report": report.model_dump(mode="json"),
            },
        )


def file_hash(path: Path) -> str:
    """Return the SHA-256 of a file; an empty string if it does not exist."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except FileNotFoundError:
        return ""
