"""Train, validation and test by source and likeness, so that nothing of the test is learnt."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence

from pipelines.prompting import HEADING_SEPARATOR
from pipelines.records import Chunk, Example, Split, content_id

# With fewer groups than this, the sections of documents are divided, and then their chunks.
_FEWEST_GROUPS = 6


def split_by_source(
    examples: Sequence[Example],
    chunks: Mapping[str, Chunk],
    *,
    validation_share: float,
    test_share: float,
    seed: int,
) -> dict[str, Split]:
    """Divide the sources of examples among the splits; see `split_by_group`."""
    split_of_chunk, _split_of_example = split_by_group(
        examples, chunks, similar=(), validation_share=validation_share, test_share=test_share, seed=seed
    )
    return split_of_chunk


def split_by_group(
    examples: Sequence[Example],
    chunks: Mapping[str, Chunk],
    *,
    similar: Sequence[tuple[int, int]],
    validation_share: float,
    test_share: float,
    seed: int,
) -> tuple[dict[str, Split], dict[str, Split]]:
    """Divide examples and their sources among the splits; what belongs together stays together.

    Together belong examples that share a source, whole documents where there are enough of
    them, that were made from one another, or that ask alike. The order of the groups depends
    on names and the seed alone, so that a new example does not move others.

    Args:
        examples: What to divide.
        chunks: All chunks, by id; those without examples are divided as well.
        similar: Pairs of positions in `examples` that ask alike (`separation.similar_pairs`).
        validation_share: Share of the examples for validation.
        test_share: Share of the examples for the test.
        seed: Seed of the order.

    Returns:
        The split of every chunk and of every example, by id.
    """
    ties = [(_example_node(examples[a]), _example_node(examples[b])) for a, b in similar]
    ties += [(_example_node(example), _example_node_of(parent)) for example in examples for parent in example.parents]
    largest = len(examples) * (1 - validation_share - test_share)
    source_of, group_of = _groups(examples, chunks, ties, largest=largest)
    counts: dict[str, int] = defaultdict(int)
    for example in examples:
        counts[group_of[_example_node(example)]] += 1
    keys = _keys(group_of, seed)
    shares: dict[Split, float] = {"test": test_share, "validation": validation_share}
    split_of = _divide(sorted(keys, key=lambda group: keys[group]), counts, shares)
    return (
        {chunk_id: split_of[group_of[source_of[chunk_id]]] for chunk_id in chunks},
        {example.id: split_of[group_of[_example_node(example)]] for example in examples},
    )


def _divide(groups: Sequence[str], counts: Mapping[str, int], shares: Mapping[Split, float]) -> dict[str, Split]:
    """Return the split of each group; what is in no share is for training."""
    split_of: dict[str, Split] = dict.fromkeys(groups, "train")
    for split, share in shares.items():
        wanted = share * sum(counts.values())
        taken = 0
        for group in groups:
            count = counts.get(group, 0)
            # A group is taken if that brings the split nearer to its share.
            if split_of[group] == "train" and count and taken + count / 2 <= wanted:
                split_of[group] = split
                taken += count
    return split_of


class Groups:
    """Names that belong together, by union and find."""

    def __init__(self) -> None:
        self._above: dict[str, str] = {}

    def find(self, name: str) -> str:
        """Return the name that stands for all that belong together with `name`."""
        root = name
        while (above := self._above.setdefault(root, root)) != root:
            root = above
        while self._above[name] != root:
            self._above[name], name = root, self._above[name]
        return root

    def join(self, first: str, second: str) -> None:
        """Put two names, and all that belongs to either, together."""
        roots = sorted((self.find(first), self.find(second)))
        self._above[roots[1]] = roots[0]

    def all(self) -> dict[str, str]:
        """Return every name with the one that stands for it."""
        return {name: self.find(name) for name in sorted(self._above)}


def _groups(
    examples: Sequence[Example], chunks: Mapping[str, Chunk], ties: Iterable[tuple[str, str]], *, largest: float
) -> tuple[dict[str, str], dict[str, str]]:
    """Return the source of every chunk (its document, else its section, else itself), and all groups.

    Likenesses may join nearly all documents: a group of more than `largest` examples would leave
    none for a split.
    """
    ties = list(ties)
    candidates = (
        {chunk_id: f"source {chunk.document}" for chunk_id, chunk in chunks.items()},
        {chunk_id: f"source {_section(chunk)}" for chunk_id, chunk in chunks.items()},
        {chunk_id: f"source {chunk_id}" for chunk_id in chunks},
    )
    for source_of in candidates:
        groups = Groups()
        for source in source_of.values():
            groups.find(source)
        for example in examples:
            groups.find(_example_node(example))
            for chunk_id in example.sources:
                groups.join(_example_node(example), source_of.get(chunk_id, f"source {chunk_id}"))
        for first, second in ties:
            groups.join(first, second)
        group_of = groups.all()
        sizes = Counter(group_of[_example_node(example)] for example in examples)
        if len(sizes) >= _FEWEST_GROUPS and max(sizes.values()) <= largest:
            break
    return source_of, group_of


def _keys(group_of: Mapping[str, str], seed: int) -> dict[str, str]:
    """Return what each group is ordered by: the least hash of its sources, else of its examples."""
    hashes: dict[str, list[tuple[bool, str]]] = defaultdict(list)
    for name, group in group_of.items():
        kind, _space, bare = name.partition(" ")
        hashes[group].append((kind == "example", content_id(str(seed), bare)))
    return {group: min(found)[1] for group, found in hashes.items()}


def _example_node(example: Example) -> str:
    return _example_node_of(example.id)


def _example_node_of(example_id: str) -> str:
    return f"example {example_id}"


def _section(chunk: Chunk) -> str:
    return f"{chunk.document} {HEADING_SEPARATOR.join(chunk.heading.split(HEADING_SEPARATOR)[:2])}"
