"""Heads on their held-out texts: figures, baselines, calibration, and what cannot be judged fairly."""

from __future__ import annotations

import io
import json
import shutil
from collections.abc import Callable
from html import unescape
from pathlib import Path

import pytest
from rich.console import Console
from sklearn import metrics

from assistant.terminal.reports import render
from pipelines.errors import DataError, SettingsError
from pipelines.evaluation.evaluate import EvaluateParams, evaluate_adapter
from pipelines.evaluation.heads.page import render_page
from pipelines.evaluation.heads.report import EvaluateHeadReport, JudgedText, Said
from pipelines.evaluation.heads.scoring import calibrate, find_mistakes
from pipelines.operation import Context, Notice
from pipelines.records import Span, read_records
from pipelines.training.adapters import ListAdaptersParams, list_adapters
from pipelines.training.heads.train import HeadParams, HeadReport, train_head
from tests.conftest import Recorder
from tests.trained_heads import marked_texts, write_lines

HOSTILE = '<script>alert("x")</script> | [a](javascript:b)'


@pytest.fixture(scope="module")
def finder(shared: tuple[Context, Recorder]) -> HeadReport:
    """A head that finds persons and towns, not learnt to the end."""
    context, _recorder = shared
    path = write_lines(context.workspace.root / "towns.jsonl", marked_texts())
    params = HeadParams(dataset=str(path), kind="tokens", trained="full", epochs=2, learning_rate=1e-3)
    return train_head(params, context)


def evaluate(context: Context, name: str, *, dataset: str | None = None) -> EvaluateHeadReport:
    """The evaluation of a head."""
    report = evaluate_adapter(EvaluateParams(adapter=name, dataset=dataset), context)
    assert isinstance(report, EvaluateHeadReport)
    return report


@pytest.fixture(scope="module")
def judged_sorter(sorter: HeadReport, shared: tuple[Context, Recorder]) -> EvaluateHeadReport:
    """The evaluation of the head that sorts."""
    return evaluate(shared[0], sorter.adapter)


def answers(report: EvaluateHeadReport) -> list[JudgedText]:
    """Every text of the test with what was said of it."""
    return list(read_records(Path(report.report), JudgedText))


# ---- figures


def test_the_saved_head_scores_what_its_training_said(
    sorter: HeadReport, judged_sorter: EvaluateHeadReport, shared: tuple[Context, Recorder]
) -> None:
    """Opened again it is as good on the same test texts, label by label, and against the same baselines."""
    report = judged_sorter
    assert (report.kind, report.n, report.leaks.count) == ("classification", sorter.splits["test"], 0)
    assert (report.f1, report.macro_f1, report.accuracy) == (sorter.f1, sorter.macro_f1, sorter.accuracy)
    assert report.per_label == sorter.per_label
    ours = {each.name: (each.f1, each.difference, each.interval.low) for each in report.baselines}
    assert ours == {each.name: (each.f1, each.difference, each.low) for each in sorter.baselines}
    assert [each.f1 for each in report.baselines] == sorted((each.f1 for each in report.baselines), reverse=True)
    [line] = [each for each in list_adapters(ListAdaptersParams(), shared[0]).adapters if each.adapter == "wishes"]
    assert line.verdict == report.verdict
    assert line.difference == (report.difference.low, report.difference.high)


def test_the_figures_are_those_of_the_answers(judged_sorter: EvaluateHeadReport) -> None:
    """Accuracy, F1, and who is right where the other is wrong, follow from the file of answers."""
    texts = answers(judged_sorter)
    wanted, given = [text.wanted.label for text in texts], [text.head.label for text in texts]
    assert judged_sorter.accuracy == pytest.approx(metrics.accuracy_score(wanted, given), abs=1e-4)
    assert judged_sorter.f1 == pytest.approx(metrics.f1_score(wanted, given, average="macro"), abs=1e-4)
    majority = next(each for each in judged_sorter.baselines if each.name == "most frequent label")
    others = [text.baselines["most frequent label"].label for text in texts]
    assert majority.accuracy is not None
    assert majority.accuracy.head_only == sum(a == w != b for w, a, b in zip(wanted, given, others))
    assert majority.accuracy.baseline_only == sum(b == w != a for w, a, b in zip(wanted, given, others))
    assert majority.accuracy.p_value < 0.01
    assert majority.interval.low > 0.3
    assert judged_sorter.calibration.n == len(texts)
    assert judged_sorter.calibration.expected_error is not None


def test_entities_are_judged_with_their_places(finder: HeadReport, shared: tuple[Context, Recorder]) -> None:
    """A split made by hashes is made again; precision and recall are of whole entities."""
    report = evaluate(shared[0], finder.adapter)
    assert report.is_made_split
    assert (report.f1, report.precision, report.recall) == (finder.f1, finder.precision, finder.recall)
    assert report.accuracy is None
    texts = answers(report)
    right = sum(len({*text.wanted.spans} & {*text.head.spans}) for text in texts)
    assert report.entities == sum(len(text.wanted.spans) for text in texts)
    assert report.recall == pytest.approx(right / report.entities, abs=1e-4)
    assert report.calibration.n == sum(len(text.head.spans) for text in texts)
    [dictionary] = report.baselines
    assert dictionary.accuracy is None
    missed = sum(each.count for each in report.mistakes if each.true)
    assert missed == report.entities - right
    assert "token-classification" in Path(report.card).read_text(encoding="utf-8")
    assert "An entity counts" in Path(report.page).read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("confidences", "rights", "error"),
    [
        ([1.0] * 4, [True] * 4, 0.0),
        ([1.0] * 4, [True, True, True, False], 0.25),
        ([0.5, 0.5, 0.9, 0.9], [True, False, False, False], 0.45),
        ([0.61, 0.99], [True, False], 0.39 / 2 + 0.99 / 2),
    ],
)
def test_the_calibration_error(confidences: list[float], rights: list[bool], error: float) -> None:
    """Each bin counts by its answers: how far its probability is from its share of right ones."""
    found = calibrate(confidences, rights)
    assert found.expected_error == pytest.approx(error, abs=1e-4)
    assert sum(each.n for each in found.bins) == len(confidences)
    assert all(each.low < each.confidence <= each.high for each in found.bins)


def test_nothing_found_has_no_calibration() -> None:
    """Where nothing was answered, there is no number."""
    assert calibrate([], []).expected_error is None


def test_mistakes_of_entities_are_told_apart() -> None:
    """Another label, other borders, missed and spurious; what is right is no mistake."""

    def span(start: int, end: int, label: str) -> Span:
        return Span(start=start, end=end, label=label)

    text = JudgedText(
        text="x" * 40,
        wanted=Said(spans=(span(0, 3, "p"), span(5, 9, "q"), span(12, 15, "p"), span(20, 25, "p"))),
        head=Said(spans=(span(0, 3, "p"), span(5, 8, "q"), span(20, 25, "q"), span(30, 33, "q"))),
        confidence=0.5,
        right=False,
        baselines={},
        baselines_right={},
    )
    found = {(each.true, each.given): each.count for each in find_mistakes([text, text])}
    assert found == {("q", "q"): 2, ("p", ""): 2, ("p", "q"): 2, ("", "q"): 2}


# ---- what is written


def test_an_evaluation_is_not_done_twice(
    judged_sorter: EvaluateHeadReport, sorter: HeadReport, shared: tuple[Context, Recorder]
) -> None:
    """The same head on the same texts is reported as it was; report.json holds it for machines."""
    context, recorder = shared
    assert evaluate(context, sorter.adapter) == judged_sorter
    assert Notice(message="the head wishes is already evaluated") in recorder.events
    stored = json.loads((Path(sorter.path) / "report.json").read_text(encoding="utf-8"))
    assert EvaluateHeadReport.model_validate(stored["report"]) == judged_sorter


def test_the_page_and_the_card(judged_sorter: EvaluateHeadReport) -> None:
    """Both say the figures; the page needs nothing from elsewhere."""
    page = Path(judged_sorter.page).read_text(encoding="utf-8")
    card = unescape(Path(judged_sorter.card).read_text(encoding="utf-8"))
    for text in (page, card):
        assert judged_sorter.summary in text
        assert f"{judged_sorter.accuracy:.3f}" in text
        assert "most frequent label" in text
        assert all(each.label in text for each in judged_sorter.per_label)
    assert "text-classification" in card
    assert "| learning_rate | 0.001 |" in card
    assert "default-src 'none'" in page
    assert "http" not in page.replace("http-equiv", "")
    lines = card.splitlines()
    rows = [number for number, line in enumerate(lines) if line.startswith("|---")]
    assert len(rows) == 4
    assert all(lines[at + 1].startswith("|") and lines[at].count("|") == lines[at - 1].count("|") for at in rows)


def test_what_texts_say_stays_text(judged_sorter: EvaluateHeadReport) -> None:
    """A text, a label and a name of a dataset become no part of the page; Chinese is marked as such."""
    texts = answers(judged_sorter)
    bad = texts[0].model_copy(
        update={"text": f"{HOSTILE} 你好", "right": False, "head": Said(label=HOSTILE), "confidence": 0.99}
    )
    figures = [each.model_copy(update={"label": HOSTILE, "recall": 0.0}) for each in judged_sorter.per_label]
    report = judged_sorter.model_copy(update={"per_label": figures, "dataset": HOSTILE, "adapter": HOSTILE})
    page = render_page(report, [bad, *texts[1:]])
    assert "<script" not in page
    assert page.count("&lt;script&gt;") >= 5
    assert render_page(report, [bad, *texts[1:]]) == page


@pytest.mark.parametrize("name", ["sorter", "finder"])
def test_the_terminal_shows_it(name: str, request: pytest.FixtureRequest, shared: tuple[Context, Recorder]) -> None:
    """One table of the ways, one of the labels, and what it comes to."""
    report = evaluate(shared[0], request.getfixturevalue(name).adapter)
    console = Console(width=200, file=io.StringIO())
    console.print(*render(report, lambda text, **_values: text))
    assert isinstance(console.file, io.StringIO)
    shown = console.file.getvalue()
    assert report.summary in shown
    assert all(each.name in shown for each in report.baselines)
    assert all(each.label in shown for each in report.per_label)
    assert f"Expected calibration error: {report.calibration.expected_error:.3f}" in shown


# ---- what cannot be judged fairly


@pytest.fixture
def copied(sorter: HeadReport, shared: tuple[Context, Recorder], context: Context) -> Context:
    """Another workspace with the same head and dataset."""
    source = shared[0].workspace
    shutil.copytree(source.adapter(sorter.adapter), context.workspace.adapter("wishes"))
    shutil.copytree(source.dataset("wishes"), context.workspace.dataset("wishes"))
    (context.workspace.adapter("wishes") / "report.json").unlink(missing_ok=True)
    return context


def change(path: Path, *, old: str, new: str) -> None:
    """Write a file anew with other words."""
    path.write_text(path.read_text(encoding="utf-8").replace(old, new), encoding="utf-8")


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda dataset, _head: (dataset / "test.jsonl").unlink(), r"test\.jsonl of wishes is not there any more"),
        (lambda dataset, _head: shutil.rmtree(dataset), "dataset wishes that the head wishes was trained on is not"),
        (
            lambda dataset, _head: change(dataset / "train.jsonl", old="lamp", new="torch"),
            r"train\.jsonl of wishes has changed since",
        ),
        (
            lambda dataset, _head: change(dataset / "test.jsonl", old="lamp", new="torch"),
            r"test\.jsonl of wishes has changed since",
        ),
        (
            lambda dataset, _head: [change(each, old='"music"', new='"sound"') for each in dataset.glob("*.jsonl")],
            r"labels of wishes are not those .* \(new: sound; gone: music\)",
        ),
        (lambda _dataset, head: (head / "manifest.json").unlink(), "does not say what its head was trained on"),
        (
            lambda _dataset, head: (head / "manifest.json").write_text('{"inputs": {"params": {}}}', encoding="utf-8"),
            "does not say what its head was trained on",
        ),
        (lambda _dataset, head: (head / "head.safetensors").write_bytes(b"nothing"), "cannot be read"),
        (lambda _dataset, head: (head / "head.safetensors").unlink(), "there is no adapter 'wishes'"),
    ],
)
def test_what_is_not_as_it_was_is_refused(copied: Context, spoil: Callable[[Path, Path], object], message: str) -> None:
    """A test split that is gone or changed, other labels, and a folder of something else."""
    spoil(copied.workspace.dataset("wishes"), copied.workspace.adapter("wishes"))
    with pytest.raises(DataError, match=message):
        evaluate(copied, "wishes")


def test_the_test_split_of_another_dataset(copied: Context, recorder: Recorder) -> None:
    """New texts are judged as they are; what was trained on is left out, and unknown labels are refused."""
    other = copied.workspace.dataset("other")
    with pytest.raises(DataError, match=r"no test\.jsonl"):
        evaluate(copied, "wishes", dataset="other")
    lines: list[dict[str, object]] = [
        {"text": "turn on the lamp in the barn", "label": "light"},
        {"text": "will it rain on the barn today", "label": "weather"},
        {"text": "Turn on the lamp in the kitchen!", "label": "light"},
    ]
    write_lines(other / "test.jsonl", lines)
    report = evaluate(copied, "wishes", dataset="other")
    assert (report.n, report.dataset, report.leaks.count) == (2, "other", 1)
    assert report.leaks.examples == ["Turn on the lamp in the kitchen!"]
    assert Notice(message="1 test texts stand in other splits too, and are left out") in recorder.events
    write_lines(other / "test.jsonl", lines[2:])
    with pytest.raises(DataError, match="all 1 test texts"):
        evaluate(copied, "wishes", dataset="other")
    write_lines(other / "test.jsonl", [{"text": "feed the cat", "label": "cat"}])
    with pytest.raises(DataError, match="label 'cat', which the head does not know"):
        evaluate(copied, "wishes", dataset="other")


def test_what_concerns_chat_models_is_refused(sorter: HeadReport, shared: tuple[Context, Recorder]) -> None:
    """Options that a head has no use for are not passed over."""
    with pytest.raises(SettingsError, match="without --judge, --questions"):
        evaluate_adapter(EvaluateParams(adapter=sorter.adapter, judge=3, questions=10), shared[0])
