"""`data review`: what people have decided about records, and rules that decide many at once."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from pydantic import BaseModel, Field, ValidationError

from pipelines.dataset.files import CHUNKS, EXAMPLES
from pipelines.dataset.reviewing.decisions import (
    DECISIONS,
    Action,
    Decision,
    DecisionLog,
    decide,
    edit_problem,
    edited,
    new_batch,
    question_key,
)
from pipelines.errors import ApprovalRequired, DataError, SettingsError
from pipelines.lazy import lazy_import
from pipelines.operation import Context, Operation, Plan, Positional
from pipelines.records import Chunk, Example, Name, Record, read_records
from pipelines.text import fold_space

if TYPE_CHECKING:
    from pipelines.dataset.reviewing import rules
    from pipelines.dataset.reviewing.rules import Rule
else:
    rules = lazy_import("pipelines.dataset.reviewing.rules", extra="data")

_SAMPLES = 3
_SHOWN = 100
_UNFINISHED = "review-unfinished.json"
# The score that says most about whether a record is worth a look; else the lowest it has.
_RANKED_BY = ("judge_score", "cosine")


class ReviewParams(BaseModel):
    """What to do with the records of a dataset, without stepping through them."""

    dataset: Annotated[Name, Positional()] = Field(description="Dataset whose records to review.")
    rule: str = Field(
        "",
        max_length=2_000,
        description='Decide many at once, as in: reject because "vague" where answer shorter than 20 and kind is '
        'instruction. Also: accept where ...; replace "old" "new" in answer where ...',
    )
    undo: bool = Field(False, description="Take back the last decision, or all that the last rule decided.")
    dry_run: bool = Field(False, description="Only count what the rule would touch.")


class ReviewReport(BaseModel):
    """How far the review of a dataset is, and what was done now."""

    dataset: str
    examples: int
    accepted: int
    edited: int
    rejected: int
    undecided: int
    flagged: int
    matched: int
    refused: dict[str, int]
    undone: int
    samples: list[str]


def review_dataset(params: ReviewParams, context: Context) -> ReviewReport:
    """Apply a rule to the records of a dataset, take back a decision, or count what was decided."""
    review = open_review(context.workspace.dataset(params.dataset), known=context.workspace.names("datasets"))
    if review.log.made.damaged:
        context.notice(f"{review.log.made.damaged} decisions were cut short by a crash, and do not count")
    if params.rule and params.undo:
        raise SettingsError("a rule is applied or a decision is undone, not both at once")
    if params.undo:
        undone = review.log.undo()
        return review.report(undone=len(undone), samples=review.samples([each.example for each in undone]))
    if not params.rule:
        return review.report()
    try:
        effect = review.effect_of(params.rule)
    except ValueError as error:
        raise SettingsError(f"the rule is not one: {error}", hint=f"A rule is: {rule_form()}") from error
    if effect.decisions and not params.dry_run:
        if not context.confirm(effect.plan(params.dataset, review)):
            raise ApprovalRequired("the rule was not approved, so nothing was done", hint="Agree, or pass --yes.")
        review.log.record(effect.decisions)
    samples = review.samples([decision.example for decision in effect.decisions])
    return review.report(matched=len(effect.decisions), refused=effect.refused, samples=samples)


REVIEW_DATASET = Operation(params=ReviewParams, report=ReviewReport, run=review_dataset)


@dataclass(frozen=True, kw_only=True)
class Effect:
    """What a rule would decide, and why it leaves some records alone that it fits."""

    rule: Rule
    decisions: Sequence[Decision]
    refused: dict[str, int]

    def plan(self, dataset: str, review: Review) -> Plan:
        """Say what the rule would do, with a few of the records."""
        count = len(self.decisions)
        samples = review.samples([decision.example for decision in self.decisions])
        refused = [f"leave {n} alone: {reason}" for reason, n in self.refused.items()]
        doing = {"accept": "accept", "reject": "reject", "replace": f"change the {self.rule.within} of"}
        return Plan(
            title=f"{self.rule.text} ({dataset})",
            steps=(f"{doing[self.rule.action]} {count} of {len(review.examples)} records", *samples, *refused),
        )


class Unfinished(Record):
    """What somebody was typing about an example, kept in case the program ends."""

    example: str = Field(description="Id of the example.")
    texts: dict[str, str] = Field(description="What was typed so far: of the question, answer or reason.")


class Review:
    """The records of a dataset, with what was decided about them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.examples = {example.id: example for example in read_records(folder / EXAMPLES, Example)}
        self.log = DecisionLog(folder / DECISIONS)
        self._keys = Counter(question_key(example) for example in self.examples.values())

    def decision(self, example: Example) -> Decision | None:
        """Return what was decided about an example."""
        return self.log.made.about(example, present=self.examples.keys())

    def current(self, example: Example) -> Example:
        """Return an example as it was put right."""
        decision = self.decision(example)
        if decision is None:
            return example
        return edited(example, question=decision.question, answer=decision.answer)

    def decide(
        self,
        action: Action,
        example: Example,
        *,
        reason: str = "",
        question: str | None = None,
        answer: str | None = None,
    ) -> None:
        """Decide about one example; when this returns, it is on the disk."""
        self.log.record([self._decision(action, example, reason=reason, question=question, answer=answer)])

    def _decision(
        self,
        action: Action,
        example: Example,
        *,
        reason: str = "",
        question: str | None = None,
        answer: str | None = None,
        batch: str = "",
        rule: str = "",
    ) -> Decision:
        return decide(
            action,
            example,
            before=self.decision(example),
            reason=reason,
            question=question,
            answer=answer,
            batch=batch,
            rule=rule,
            is_alone=self._keys[question_key(example)] == 1,
        )

    def unfinished(self) -> Unfinished | None:
        """Return what was being typed when the program ended; None if nothing was."""
        try:
            return Unfinished.model_validate_json((self.folder / _UNFINISHED).read_bytes())
        except (OSError, ValidationError):
            return None

    def keep_unfinished(self, example: Example, texts: dict[str, str]) -> None:
        """Keep what is being typed about an example; with no texts, forget it."""
        path = self.folder / _UNFINISHED
        if not texts:
            path.unlink(missing_ok=True)
            return
        partial = path.with_name(path.name + ".partial")
        partial.write_text(Unfinished(example=example.id, texts=texts).model_dump_json(), encoding="utf-8")
        partial.replace(path)

    def effect_of(self, text: str) -> Effect:
        """Return what a rule would decide; what a person decided one by one is left alone.

        Raises:
            ValueError: The text is not a rule.
            DataError: A pattern takes too long.
        """
        rule = rules.parse_rule(text)
        batch = new_batch()
        made: list[Decision] = []
        refused: Counter[str] = Counter()
        for example in self.examples.values():
            before, current = self.decision(example), self.current(example)
            if not rule.touches(current):
                continue
            if rule.action != "replace":
                if before is not None and before.action != rule.action and not before.rule:
                    refused["decided otherwise by hand"] += 1
                elif before is None or before.action != rule.action:
                    made.append(self._decision(rule.action, example, reason=rule.reason, batch=batch, rule=rule.text))
                continue
            text = str(getattr(current, rule.within)).replace(rule.old, rule.new)
            changed = {rule.within: text}
            question, answer = changed.get("question"), changed.get("answer")
            problem = edit_problem(example, question=question, answer=answer)
            if before is not None and before.action == "reject":
                problem = "it is rejected"
            if problem:
                refused[problem.partition(": “")[0]] += 1
                continue
            made.append(self._decision("edit", example, question=question, answer=answer, batch=batch, rule=rule.text))
        return Effect(rule=rule, decisions=made, refused=dict(refused))

    def samples(self, ids: Sequence[str]) -> list[str]:
        """Return the first few of some examples, in short."""
        found = [self.current(self.examples[each]) for each in ids[:_SAMPLES] if each in self.examples]
        return [f"{_short(example.question)} → {_short(example.answer)}" for example in found]

    def counts(self) -> Counter[str]:
        """Return how many examples were accepted, edited and rejected."""
        made = (self.decision(example) for example in self.examples.values())
        return Counter(_verdict(decision) for decision in made if decision is not None)

    def in_order(self, *, decided: bool) -> list[Example]:
        """Return the examples to look at: those with flags first, then the lowest score first.

        Args:
            decided: Also those about which something was decided, after the others.
        """
        ranked = sorted(self.examples.values(), key=_rank)
        undecided = [example for example in ranked if self.decision(example) is None]
        return undecided + ([example for example in ranked if self.decision(example) is not None] if decided else [])

    def chunks(self) -> dict[str, Chunk]:
        """Return the passages of the dataset, by id."""
        path = self.folder / CHUNKS
        return {chunk.id: chunk for chunk in read_records(path, Chunk)} if path.is_file() else {}

    def report(
        self,
        *,
        matched: int = 0,
        refused: dict[str, int] | None = None,
        undone: int = 0,
        samples: Sequence[str] = (),
    ) -> ReviewReport:
        """Return how far the review is."""
        counts = self.counts()
        return ReviewReport(
            dataset=self.folder.name,
            examples=len(self.examples),
            accepted=counts["accept"],
            edited=counts["edit"],
            rejected=counts["reject"],
            undecided=len(self.examples) - counts.total(),
            flagged=sum(bool(example.flags) for example in self.examples.values()),
            matched=matched,
            refused=refused or {},
            undone=undone,
            samples=list(samples),
        )


def rule_form() -> str:
    """Return how a rule is written."""
    return rules.FORM


def open_review(folder: Path, *, known: Sequence[str]) -> Review:
    """Return the review of a dataset.

    Raises:
        DataError: There is no such dataset, or it cannot be read.
    """
    if not (folder / EXAMPLES).is_file():
        raise DataError(f"there is no dataset {folder.name!r}; known: {', '.join(known) or 'none'}", path=folder)
    return Review(folder)


def _verdict(decision: Decision) -> str:
    """Return what a decision comes to: what was accepted after it was put right is an edit."""
    is_changed = decision.question is not None or decision.answer is not None
    return "edit" if decision.action == "accept" and is_changed else decision.action


def _rank(example: Example) -> tuple[bool, float, str]:
    scores = example.scores
    named = [scores[name] for name in _RANKED_BY if name in scores]
    return not example.flags, (named or [min(scores.values(), default=math.inf)])[0], example.id


def _short(text: str) -> str:
    folded = fold_space(text)
    return folded if len(folded) <= _SHOWN else f"{folded[:_SHOWN]}…"
