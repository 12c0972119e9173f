"""Groups of token sequences that begin alike, so that the beginning is computed once.

Questions about the same passages share nine tenths of their prompt. Training, evaluation
and the embedded teacher all compute that part once per group.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

# Sharing pays when at least this part of each sequence is common.
_WORTHWHILE = 0.5


@dataclass(frozen=True, kw_only=True)
class PrefixGroup:
    """Sequences, by their index, that have their first `length` tokens in common."""

    members: tuple[int, ...]
    length: int


def group_by_prefix(
    sequences: Sequence[Sequence[int]],
    *,
    shareable: Sequence[int],
    max_members: int,
    max_tokens: int,
) -> list[PrefixGroup]:
    """Group sequences so that what they share is worth computing once.

    Every sequence is in exactly one group. A group of one shares nothing.

    Args:
        sequences: Token sequences.
        shareable: How many tokens of each sequence may be shared at most.
        max_members: Most sequences of a group.
        max_tokens: Most tokens of a group, the shared part counted once; a single
            sequence may be longer.

    Returns:
        The groups, in lexicographic order of their members.
    """
    groups: list[PrefixGroup] = []
    for index in sorted(range(len(sequences)), key=lambda index: tuple(sequences[index])):
        joined = _join(groups[-1], index, sequences, shareable) if groups else None
        if joined and len(joined.members) <= max_members and _size(joined, sequences) <= max_tokens:
            groups[-1] = joined
        else:
            groups.append(PrefixGroup(members=(index,), length=0))
    return groups


def _join(
    group: PrefixGroup, index: int, sequences: Sequence[Sequence[int]], shareable: Sequence[int]
) -> PrefixGroup | None:
    """Return the group with one more member; None where too little is common."""
    first = group.members[0]
    limit = min(shareable[index], group.length or shareable[first])
    pairs = itertools.islice(zip(sequences[first], sequences[index], strict=False), limit)
    common = sum(1 for _ in itertools.takewhile(lambda pair: pair[0] == pair[1], pairs))
    members = (*group.members, index)
    longest = max(len(sequences[member]) for member in members)
    return PrefixGroup(members=members, length=common) if common >= _WORTHWHILE * longest else None


def _size(group: PrefixGroup, sequences: Sequence[Sequence[int]]) -> int:
    return group.length + sum(len(sequences[member]) - group.length for member in group.members)
