"""One evaluation: what it works on, and its stages in their order."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pipelines.errors import DataError
from pipelines.evaluation import arms, forgetting, memorisation
from pipelines.evaluation.artefact import opened_artefact
from pipelines.evaluation.compare import mean
from pipelines.evaluation.leaks import without_leaks
from pipelines.evaluation.report import ARTEFACT, ArmName, Forgetting, Leaks, Memorisation
from pipelines.evaluation.retrieval import find_passages
from pipelines.evaluation.scores import metric_of
from pipelines.models.engine import Engine
from pipelines.models.nearest import NearestFinder
from pipelines.operation import Context
from pipelines.records import Chunk, Example, content_id, read_records

_STAGES = {"base": "evaluating base", "few_shot": "evaluating few-shot", "tuned": "evaluating tuned"}
_MOST_FOUND = 12


@dataclass(frozen=True, kw_only=True)
class Material:
    """The splits of a dataset, the test without what was trained on."""

    chunks: dict[str, Chunk]
    train: list[Example]
    test: list[Example]
    leaks: Leaks


def read_material(folder: Path, *, questions: int) -> Material:
    """Read what an evaluation needs of a dataset.

    Raises:
        DataError: There is no test split, or all of it was trained on.
    """
    if not (folder / "test.jsonl").is_file():
        raise DataError(
            f"there is no test.jsonl in {folder}",
            path=folder,
            hint=f"Make it with: assistant data curate {folder.name}",
        )
    train, validation, test = (_read(folder / f"{split}.jsonl") for split in ("train", "validation", "test"))
    kept, leaks = without_leaks(test, [*train, *validation])
    if not kept:
        raise DataError(
            f"all {len(test)} test questions of {folder.name} stand in its other splits too",
            path=folder / "test.jsonl",
            hint=f"Divide it anew with: assistant data curate {folder.name}",
        )
    kept.sort(key=lambda example: content_id("test", example.id))
    chunks = folder / "chunks.jsonl"
    known = {chunk.id: chunk for chunk in read_records(chunks, Chunk)} if chunks.is_file() else {}
    return Material(chunks=known, train=train, test=kept[:questions], leaks=leaks)


class Trial:
    """The arms of one evaluation, all put to the same test."""

    def __init__(self, material: Material, context: Context, *, base: str, adapter: Path) -> None:
        self._material = material
        self._context = context
        self._base = base
        self._adapter = adapter
        self._test = material.test
        self._caps = arms.answer_caps(material.train)
        self._nearest = NearestFinder(context.models.embedder_of, (chunk.text for chunk in material.chunks.values()))
        self._hints = arms.find_hints(self._test, material.chunks, self._nearest)
        self._given = arms.put_as_given(self._test, material.chunks, self._hints)

    def run(self, name: ArmName) -> arms.ArmResult:
        """Run one arm."""
        if name == "closest":
            return arms.run_closest(self._test, self._given, hints=self._hints)
        if name in ("base_retrieval", "tuned_retrieval"):
            found = self._found
            puts = arms.put_with_found(self._given, self._test, found, self._nearest)
            result = self._answer(name, self._engine(name), puts, with_loss=False)
            return arms.ArmResult(
                name=name, answers=result.answers, scores=result.scores, loss=None, retrieved=self._share_found(found)
            )
        if name in ("base_closed_book", "tuned_closed_book"):
            puts = arms.put_closed_book(self._given, self._test)
            return self._answer(name, self._engine(name), puts, with_loss=False)
        if name == "few_shot":
            puts = arms.put_with_examples(self._given, self._test, self._material.train)
            return self._answer(name, self._engine(name), puts)
        return self._answer(name, self._engine(name), self._given)

    def run_artefact(self, path: Path) -> arms.ArmResult:
        """Put the test to an exported model."""
        with opened_artefact(path, self._context.models.ledger) as engine:
            return self._answer(ARTEFACT, engine, self._given)

    def memorisation(self, results: dict[str, arms.ArmResult]) -> Memorisation:
        """Compare the losses on training and on test records, and look for training answers in the answers."""
        drawn = memorisation.draw_records(self._material.train)
        names: tuple[ArmName, ...] = ("base", "tuned")
        train = {name: round(arms.mean_loss(self._engine(name), drawn), 4) for name in names}
        test = {name: round(results[name].loss or 0.0, 4) for name in names}
        echoes, share = memorisation.count_echoes(results["tuned"].answers, self._test, self._material.train)
        return Memorisation(
            train_records=len(drawn),
            train_loss=train,
            test_loss=test,
            gap={name: round(test[name] - train[name], 4) for name in names},
            echoes=echoes,
            echoed_runs=round(share, 4),
            run_words=memorisation.RUN_WORDS,
        )

    def _answer(self, name: str, engine: Engine, puts: Sequence[arms.Put], *, with_loss: bool = True) -> arms.ArmResult:
        stage = _STAGES.get(name, f"evaluating {name.replace('_', ' ')}")
        report = functools.partial(self._context.progress, stage, total=len(self._test))
        return arms.run_arm(name, engine, self._test, puts, caps=self._caps, with_loss=with_loss, progress=report)

    def _engine(self, name: ArmName) -> Engine:
        tuned = name.startswith("tuned")
        return self._context.models.open_engine(self._base, adapter=self._adapter if tuned else None)

    @functools.cached_property
    def _found(self) -> list[list[Chunk]]:
        """The passages that a search finds, as many as the questions were given."""
        questions = [example.question for example in self._test]
        top_k = min(_MOST_FOUND, max((len(example.chunks) for example in self._test), default=0)) or 1
        embedder = self._context.models.open_embedder()
        return find_passages(questions, self._material.chunks, embedder, self._context, top_k=top_k)

    def _share_found(self, found: Sequence[Sequence[Chunk]]) -> float | None:
        hits = [
            float(set(example.sources) <= {chunk.id for chunk in passages})
            for example, passages in zip(self._test, found, strict=True)
            if example.chunks and example.sources and metric_of(example) != "refusal"
        ]
        return mean(hits) if hits else None


def run_forgetting(context: Context, *, base: str, adapter: Path) -> Forgetting:
    """Compare base and tuned model on general texts; engines that are open are closed before."""
    context.models.forget_engines()
    folder = context.models.base_folder(base)
    texts = forgetting.read_general_texts()
    before, after = forgetting.open_pair(folder, adapter, name=base)
    report = functools.partial(context.progress, "evaluating general texts")
    return forgetting.measure_forgetting(before, after, texts, progress=report)


def _read(path: Path) -> list[Example]:
    return list(read_records(path, Example)) if path.is_file() else []
