"""The files of a dataset's folder."""

from __future__ import annotations

from pipelines.records import Split

EXAMPLES = "examples.jsonl"
REJECTED = "rejected.jsonl"
CHUNKS = "chunks.jsonl"
MANIFEST = "manifest.json"
CURATED = "curated.json"
DECISIONS = "decisions.jsonl"
REJECTED_BY_CURATION = "rejected-by-curation.jsonl"


def split_file(split: Split) -> str:
    """Return the name of the file that holds one split."""
    return f"{split}.jsonl"
