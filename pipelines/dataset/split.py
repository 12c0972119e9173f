"""Train, validation and test by source, so that nothing of the test is learnt."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence

from pipelines.prompting import HEADING_SEPARATOR
from pipelines.records import Chunk, Example, Split, content_id

# With fewer documents than this, their sections are divided, and then their chunks.
_FEWEST_GROUPS = 6


def split_by_source(
    examples: Sequence[Example],
    chunks: Mapping[str, Chunk],
    *,
    validation_share: float,
    test_share: float,
    seed: int,
) -> dict[str, Split]:
    """Divide the sources of examples among the splits; whole documents where there are enough.

    The order of the sources depends on their names and the seed alone, so that a new
    example does not move others.

    Args:
        examples: What to divide.
        chunks: All chunks, by id; those without examples are divided as well.
        validation_share: Share of the examples for validation.
        test_share: Share of the examples for the test.
        seed: Seed of the order.

    Returns:
        The split of every chunk, by id.
    """
    group_of = _groups(examples, chunks)
    counts: dict[str, int] = defaultdict(int)
    for example in examples:
        counts[group_of[example.source]] += 1
    ordered = sorted(set(group_of.values()), key=lambda group: content_id(str(seed), group))
    split_of: dict[str, Split] = dict.fromkeys(ordered, "train")
    shares: tuple[tuple[Split, float], ...] = (("test", test_share), ("validation", validation_share))
    for split, share in shares:
        wanted = share * len(examples)
        taken = 0
        for group in ordered:
            # A group is taken if that brings the split nearer to its share.
            if split_of[group] == "train" and counts[group] and taken + counts[group] / 2 <= wanted:
                split_of[group] = split
                taken += counts[group]
    return {chunk_id: split_of[group] for chunk_id, group in group_of.items()}


def _groups(examples: Sequence[Example], chunks: Mapping[str, Chunk]) -> dict[str, str]:
    """Return the group of every chunk: its document, else its section, else itself."""
    sections = {chunk_id: _section(chunk) for chunk_id, chunk in chunks.items()}
    candidates = (
        {chunk_id: chunk.document for chunk_id, chunk in chunks.items()},
        sections,
        {chunk_id: chunk_id for chunk_id in chunks},
    )
    for groups in candidates:
        if len({groups[example.source] for example in examples}) >= _FEWEST_GROUPS:
            return groups
    return candidates[-1]


def _section(chunk: Chunk) -> str:
    return f"{chunk.document} {HEADING_SEPARATOR.join(chunk.heading.split(HEADING_SEPARATOR)[:2])}"
