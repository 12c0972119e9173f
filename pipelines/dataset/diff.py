"""`data diff`: what became of the examples between two datasets, or two exports."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Annotated, Literal

from pydantic import BaseModel, Field, StringConstraints

from pipelines.dataset.compared import Entry, Side, open_sides, record_differences
from pipelines.operation import Context, Operation, Positional

Change = Literal["added", "removed", "changed", "moved"]
# `NAME`, or `NAME/FORMAT` for an export of it.
Place = Annotated[str, StringConstraints(pattern=r"^\w[\w.\-]{0,63}(/[a-z]+)?$")]

_FOUND = b""  # stands for an entry of the first side once the second has it too


class DiffParams(BaseModel):
    """What to compare."""

    before: Annotated[Place, Positional()] = Field(description="Dataset, or an export of it as NAME/FORMAT.")
    after: Annotated[Place, Positional()] = Field(description="What to hold against it: a dataset, or an export.")
    samples: int = Field(3, ge=0, le=50, description="How many examples of each change to show.")


class KindDifference(BaseModel):
    """What became of the examples of one kind."""

    kind: str
    before: int = 0
    after: int = 0
    added: int = 0
    removed: int = 0
    changed: int = 0


class RecordDifference(BaseModel):
    """Something that the two sides were made differently with."""

    stage: str
    what: str
    before: str
    after: str


class ChangedExample(BaseModel):
    """One example that is not the same on both sides."""

    change: Change
    question: str
    before: str
    after: str


class DiffReport(BaseModel):
    """What differs between two datasets or exports."""

    before: str
    after: str
    compared: str
    same: int
    added: int
    removed: int
    changed: int
    recomposed: int
    moved: int
    moves: dict[str, int]
    kinds: list[KindDifference]
    made_with: list[RecordDifference]
    samples: list[ChangedExample]


@dataclass
class _Findings:
    """What is counted on the way."""

    limit: int
    counts: Counter[str] = field(default_factory=Counter)
    moves: Counter[str] = field(default_factory=Counter)
    kinds: dict[str, KindDifference] = field(default_factory=dict)
    samples: dict[Change, list[ChangedExample]] = field(default_factory=dict)
    wanted: dict[bytes, ChangedExample] = field(
        default_factory=dict
    )  # changed ones whose earlier answer is to be found

    def kind(self, name: str) -> KindDifference:
        """Return the line of a kind."""
        return self.kinds.setdefault(name, KindDifference(kind=name))

    def show(self, change: Change, entry: Entry, *, before: str = "", after: str = "") -> ChangedExample | None:
        """Keep a sample, while there are few of its sort."""
        shown = self.samples.setdefault(change, [])
        if len(shown) >= self.limit:
            return None
        shown.append(ChangedExample(change=change, question=entry.question, before=before, after=after))
        return shown[-1]


def diff_datasets(params: DiffParams, context: Context) -> DiffReport:
    """Compare two datasets or exports: what was added, removed, changed or moved."""
    before, after = open_sides(params.before, params.after, context)
    findings = _Findings(limit=params.samples)
    table = _tabulate(before, findings)
    for entry in after.entries():
        _compare(entry, table, findings)
    _find_removed(before, table, findings)
    return DiffReport(
        before=params.before,
        after=params.after,
        compared=before.compared,
        **{name: findings.counts[name] for name in ("same", "added", "removed", "changed", "recomposed", "moved")},
        moves=dict(findings.moves),
        kinds=[findings.kinds[name] for name in sorted(findings.kinds)],
        made_with=[
            RecordDifference(stage=stage, what=what, before=old, after=new)
            for stage, what, old, new in record_differences(before, after)
        ],
        samples=[sample for samples in findings.samples.values() for sample in samples],
    )


DIFF_DATASETS = Operation(params=DiffParams, report=DiffReport, run=diff_datasets, is_reading=True)


def _tabulate(side: Side, findings: _Findings) -> dict[bytes, bytes]:
    """Return digests of all entries of a side, by what is asked; about 200 bytes an entry."""
    table: dict[bytes, bytes] = {}
    for entry in side.entries():
        key = entry.key
        while key in table:
            key = entry.next_key(key)
        table[key] = entry.packed
        findings.kind(entry.kind).before += 1
    return table


def _compare(entry: Entry, table: dict[bytes, bytes], findings: _Findings) -> None:
    line = findings.kind(entry.kind)
    line.after += 1
    key = entry.key
    while table.get(key) == _FOUND:
        key = entry.next_key(key)
    if key not in table:
        findings.counts["added"] += 1
        line.added += 1
        findings.show("added", entry, after=entry.answer)
        return
    earlier = entry.unpack(table[key])
    table[key] = _FOUND
    if earlier.split != entry.split:
        move = f"{earlier.split} to {entry.split}"
        findings.counts["moved"] += 1
        findings.moves[move] += 1
        findings.show("moved", entry, before=earlier.split, after=entry.split)
    if earlier.answered != entry.answered:
        findings.counts["changed"] += 1
        line.changed += 1
        sample = findings.show("changed", entry, after=entry.answer)
        if sample is not None:
            findings.wanted[key] = sample
    elif earlier.shown != entry.shown:
        findings.counts["recomposed"] += 1
    elif earlier.split == entry.split:
        findings.counts["same"] += 1


def _find_removed(side: Side, table: Mapping[bytes, bytes], findings: _Findings) -> None:
    """Count what is left of the first side, and look up what the samples need of it."""
    left = {key for key, packed in table.items() if packed != _FOUND}
    findings.counts["removed"] = len(left)
    if not left and not findings.wanted:
        return
    for key, entry in _numbered(side):
        if key in left:
            findings.kind(entry.kind).removed += 1
            findings.show("removed", entry, before=entry.answer)
        sample = findings.wanted.get(key)
        if sample is not None:
            sample.before = entry.answer


def _numbered(side: Side) -> Iterator[tuple[bytes, Entry]]:
    """Yield the entries of a side under the keys that `_tabulate` gave them."""
    seen: set[bytes] = set()
    for entry in side.entries():
        key = entry.key
        while key in seen:
            key = entry.next_key(key)
        seen.add(key)
        yield key, entry
