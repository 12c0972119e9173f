"""`data report`: one page about a dataset that opens in any browser, with nothing beside it."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from pydantic import BaseModel, ConfigDict, Field

from pipelines.dataset.files import EXAMPLES
from pipelines.dataset.reporting.diversity import Comparison, Diversity, compare, draw, measure_diversity
from pipelines.dataset.reporting.tally import Tally, tally_dataset
from pipelines.dataset.reporting.view import Measured
from pipelines.errors import DataError, SettingsError
from pipelines.lazy import lazy_import
from pipelines.models.catalog import CATALOG, DEFAULT_EMBEDDER
from pipelines.operation import Context, Operation, Positional
from pipelines.records import Message, Name, read_records
from pipelines.settings import data_home
from pipelines.text import language_of
from pipelines.workspace import locked, replacing

if TYPE_CHECKING:
    import numpy

    from pipelines.dataset.reporting import page as report_page
    from pipelines.models.embedder import Vectors

    Embed = Callable[[Sequence[str]], Vectors]
else:
    numpy = lazy_import("numpy", extra="data")
    report_page = lazy_import("pipelines.dataset.reporting.page", extra="data")

REPORT = "report.html"
_PAGES = (".html", ".htm")
_BATCH = 100  # texts embedded between two signs of progress


class ReportDatasetParams(BaseModel):
    """Which dataset to report on, and what to compare it with."""

    dataset: Annotated[Name, Positional()] = Field(description="Name of the dataset.")
    baseline: str = Field(
        "", description="Dataset, or file of questions (JSONL, or text with one a line), to compare the diversity with."
    )
    into: Path | None = Field(None, description="HTML file to write; report.html in the dataset's folder if not given.")


class ReportDatasetReport(BaseModel):
    """Where the page is, and how varied the questions are."""

    dataset: str
    path: str
    examples: int
    bytes: int
    seconds: float
    diversity: Diversity | None
    comparison: Comparison | None


class BaselineRecord(BaseModel):
    """What is read of a baseline's record: an example's question, or a conversation's first."""

    model_config = ConfigDict(extra="ignore")

    question: str = ""
    messages: tuple[Message, ...] = ()

    @property
    def asked(self) -> str:
        """The question; empty if there is none."""
        return self.question or next((each.content for each in self.messages if each.role == "user"), "")


def report_dataset(params: ReportDatasetParams, context: Context) -> ReportDatasetReport:
    """Write one self-contained HTML page about a dataset, with plots."""
    started = time.monotonic()
    folder = context.workspace.dataset(params.dataset)
    known = context.workspace.names("datasets")
    if params.dataset not in known:
        raise DataError(f"there is no dataset {params.dataset!r}; known: {', '.join(known) or 'none'}", path=folder)
    path = _target(params, folder, context)
    with locked(folder):
        context.progress("counting", 0)
        tally = tally_dataset(folder, seed=context.seed)
        baseline = list(_baseline(params.baseline, context)) if params.baseline else []
        measured = _measure(tally, baseline, context)
        # The list of fonts that matplotlib makes belongs to all workspaces, not into the home folder.
        os.environ.setdefault("MPLCONFIGDIR", str(data_home() / "matplotlib"))
        page = report_page.render_page(
            params.dataset, tally, measured, baseline_name=Path(params.baseline).name if params.baseline else ""
        )
        with replacing(path) as file:
            file.write(page)
    return ReportDatasetReport(
        dataset=params.dataset,
        path=str(path),
        examples=tally.examples,
        bytes=path.stat().st_size,
        seconds=round(time.monotonic() - started, 2),
        diversity=measured.diversity,
        comparison=measured.comparison,
    )


REPORT_DATASET = Operation(params=ReportDatasetParams, report=ReportDatasetReport, run=report_dataset)


def _target(params: ReportDatasetParams, folder: Path, context: Context) -> Path:
    """Return the file to write.

    Raises:
        SettingsError: It is no HTML file, so that the page could replace something else.
    """
    if params.into is None:
        return folder / REPORT
    path = context.resolve(params.into)
    if path.suffix.lower() not in _PAGES or path.is_dir():
        raise SettingsError(
            f"the report is a page, but {str(params.into)!r} is not the name of one",
            hint="Give a file name that ends in .html, or leave --into away.",
        )
    path.parent.mkdir(parents=True, exist_ok=True)
    return path


def _baseline(name: str, context: Context) -> Iterator[str]:
    """Yield the questions of a dataset or a file.

    Raises:
        DataError: It is neither, a record of it has no question, or it has no records.
    """
    known = context.workspace.names("datasets")
    path = context.workspace.dataset(name) / EXAMPLES if name in known else context.resolve(Path(name))
    if not path.is_file():
        raise DataError(
            f"the baseline {name!r} is neither a dataset with examples nor a file",
            path=path,
            hint=f"Known datasets: {', '.join(known) or 'none'}.",
        )
    number = 0
    for number, question in enumerate(_questions_of(path), start=1):
        if not question.strip():
            raise DataError(f"{path.name}: record {number} has no question", path=path, hint="Repair or remove it.")
        yield question
    if not number:
        raise DataError(f"the baseline {name!r} holds no question", path=path)


def _questions_of(path: Path) -> Iterator[str]:
    if path.suffix.lower() == ".jsonl":
        yield from (record.asked for record in read_records(path, BaselineRecord))
        return
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"cannot read {path.name} as text: {error}", path=path, hint="Save it as UTF-8.") from error
    yield from filter(str.strip, text.splitlines())


def _measure(tally: Tally, baseline: Sequence[str], context: Context) -> Measured:
    """Measure the questions, and compare them with the baseline's."""
    drawn = [tally.points[number] for number in draw(tally.examples, seed=context.seed)]
    if not drawn:
        return Measured()
    embed, problem = _embedding(context)
    diversity = measure_diversity([each.question for each in drawn], seed=context.seed)
    mapped = [each for each in drawn if _is_known(each.question)] if embed else []
    vectors = None
    if embed and mapped:
        known = [each.question for each in mapped]
        vectors = embed(known)
        diversity = diversity.with_vectors_of(measure_diversity(known, vectors, seed=context.seed))
    elif embed:
        problem = "the embedding model does not know the language of the questions"
    return Measured(
        drawn=len(drawn),
        mapped=mapped,
        vectors=vectors,
        no_vectors_because=problem,
        diversity=diversity,
        comparison=_compare([each.question for each in tally.points], baseline, embed, seed=context.seed),
    )


def _compare(ours: Sequence[str], baseline: Sequence[str], embed: Embed | None, *, seed: int) -> Comparison | None:
    """Compare by words what there is, and by vectors what the embedding model knows."""
    if not baseline:
        return None
    whole = compare(ours, baseline, seed=seed)
    known = [[text for text in texts if _is_known(text)] for texts in (ours, baseline)]
    if embed is None or not all(known):
        return whole
    part = compare(known[0], known[1], embed=embed, seed=seed)
    return whole.model_copy(
        update={
            "ours": whole.ours.with_vectors_of(part.ours),
            "baseline": whole.baseline.with_vectors_of(part.baseline),
        }
    )


def _is_known(text: str) -> bool:
    """Whether the embedding model knows the language: to it, all texts of another are alike."""
    return any(model.name == DEFAULT_EMBEDDER and language_of(text) in model.languages for model in CATALOG)


def _embedding(context: Context) -> tuple[Embed | None, str]:
    """Return what makes vectors of texts; where nothing does, None and the reason."""
    try:
        embedder = context.models.open_embedder()
    except SettingsError as error:
        context.notice(f"the report goes without what vectors tell: {error}")
        return None, str(error)

    def embed(texts: Sequence[str]) -> Vectors:
        batches = []
        for start in range(0, len(texts), _BATCH):
            context.progress("measuring", start, len(texts))
            batches.append(embedder.embed(texts[start : start + _BATCH]))
        return numpy.concatenate(batches)

    return embed, ""
