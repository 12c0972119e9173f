"""Carries out an augmentation: every example in turn, every way in turn."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from pipelines.dataset.augment import augment_ways
from pipelines.dataset.checks.duplicates import DuplicateFinder
from pipelines.dataset.curation.waterfall import checks_of
from pipelines.dataset.recipes.augment import (
    AnswerRecipe,
    AugmentRecipe,
    AugmentTask,
    BackTranslationRecipe,
    EvolRecipe,
    ParaphraseRecipe,
)
from pipelines.dataset.writing.collect import Collector
from pipelines.dataset.writing.remote import RemoteWriter, Work
from pipelines.models.teacher import Teacher
from pipelines.operation import Context
from pipelines.records import Chunk, Example, content_id

if TYPE_CHECKING:
    from pipelines.dataset.augment import AugmentParams

_MOST_ROUNDS = 8


class Augmentation:
    """One run over the examples of a dataset."""

    def __init__(
        self,
        params: AugmentParams,
        context: Context,
        parents: Sequence[Example],
        chunks: Sequence[Chunk],
        *,
        teacher: Teacher,
    ) -> None:
        by_id = {chunk.id: chunk for chunk in chunks}
        # Without an embedder: what is said in other words is wanted here.
        questions = DuplicateFinder()
        questions.check_all([parent.question for parent in parents])
        self.collector = Collector(
            params.examples,
            questions=questions,
            checks=checks_of(by_id, models=context.models),
            counts=teacher.calls,
            show=lambda done, total, details: context.progress("augmenting", done, total, **details),
        )
        self._writer = RemoteWriter(teacher, dataset=params.into, budget=params.budget())
        self._recipes = [_recipe(way, teacher.name) for way in augment_ways(params.ways)]
        self._parents = sorted(parents, key=lambda parent: content_id(str(context.seed), parent.id))
        self._chunks = by_id

    def write(self) -> None:
        """Have the teacher write until there are enough examples, or no more ways.

        Raises:
            LLMError: The endpoint cannot be used.
            BudgetError: A cap is reached.
        """
        for _ in self._writer.write(self._work(), self.collector):
            pass

    def _work(self) -> Iterator[Work]:
        """Yield tasks: each round takes every parent once, each in the next way that suits it."""
        for turn in range(_MOST_ROUNDS * len(self._recipes)):
            for number, parent in enumerate(self._parents):
                recipe = self._recipes[(number + turn) % len(self._recipes)]
                chunks = tuple(self._chunks[source] for source in parent.sources if source in self._chunks)
                if parent.kind not in recipe.kinds or (isinstance(recipe, EvolRecipe) and not chunks):
                    continue
                task = AugmentTask(parent=parent, chunks=chunks, round=turn // len(self._recipes))
                yield Work(task=task, recipe=recipe)


def _recipe(way: str, teacher: str) -> AugmentRecipe:
    match way:
        case "paraphrase":
            return ParaphraseRecipe(teacher=teacher)
        case "back_translation":
            return BackTranslationRecipe(teacher=teacher)
        case "answer":
            return AnswerRecipe(teacher=teacher)
        case "deepen" | "constrain" | "concretise" | "broaden":
            return EvolRecipe(way, teacher=teacher)
    raise ValueError(f"expected a way of augmentation, got {way!r}")
