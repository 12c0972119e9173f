"""What the terminal shows of trainings: nothing cut at 80 columns, nothing in English where it speaks Chinese."""

from __future__ import annotations

import functools
import io
import re
from pathlib import Path

import pytest
from pydantic import BaseModel
from rich.console import Console

from assistant.cli.failures import show_failure
from assistant.terminal.console import Terminal
from assistant.terminal.language import translate
from assistant.terminal.progress import LiveProgress
from assistant.terminal.reports import render
from pipelines.operation import Plan
from pipelines.training.adapters import AdapterLine, FileLine, ListAdaptersReport, ShowAdapterReport
from pipelines.training.heads.predict import FoundSpan, Prediction, PredictReport
from pipelines.training.params import TrainReport
from pipelines.training.plan import Choice, GuardLine, MaskedRecord, TrainingPlan

LINE = AdapterLine(
    adapter="bicycle-shop",
    base="smollm2-135m-instruct",
    state="trained",
    method="qlora",
    objective="sft",
    examples=1043,
    steps=30,
    best_validation_loss=0.18489,
    tokens_per_second=19.7,
    minutes=6.2,
    verdict="better",
    difference=(0.1, 0.3),
    newest=True,
)


@pytest.mark.parametrize("width", [50, 80, 120, 160])
def test_the_list_of_adapters_is_never_cut(width: int) -> None:
    """Every name and number of it is there whole, in a table only where there is room for one."""
    shown = printed(
        ListAdaptersReport(adapters=[LINE, AdapterLine(adapter="other", base="", state="unfinished")]), width
    )
    words = ["bicycle-shop", "newest", "smollm2-135m-instruct", "sft", "1,043", "30", "0.1849", "19.7", "6.2", "+0.10"]
    assert [word for word in [*words, "other", "unfinished"] if word not in shown] == []
    assert "…" not in shown.replace("+0.10 … +0.30", "").replace("+0.10 …\n", "")
    assert ("│" in shown) is (width == 160)


def test_a_workspace_without_adapters_says_so() -> None:
    """Rather than showing the head of a table."""
    assert printed(ListAdaptersReport(adapters=[]), 80).strip() == "There is no adapter yet."


@pytest.mark.parametrize("width", [80, 160])
def test_a_head_is_listed_as_one(width: int) -> None:
    """With what it learnt to label."""
    head = AdapterLine(adapter="w", base="b", state="trained", is_head=True, method="lora", objective="classification")
    assert "head, lora, classification" in printed(ListAdaptersReport(adapters=[head]), width)
    assert "head" not in printed(ListAdaptersReport(adapters=[LINE]), width)


def test_a_text_is_labelled_in_a_line() -> None:
    """Its label, or each piece of it, and nothing about files; of a file also what was written and how often."""
    span = FoundSpan(start=0, end=5, label="person", text="Hedda", score=0.98765)
    label = Prediction(text="make it warm", label="light", score=0.9321, spans=None)
    pieces = Prediction(text="Hedda came.", label=None, score=None, spans=[span])
    nothing = Prediction(text="Nobody came.", label=None, score=None, spans=[])
    one = PredictReport(adapter="a", path="", texts=1, cut=0, labels={}, predictions=[label])
    assert printed(one, 80) == "light  0.932\n"
    assert printed(one.model_copy(update={"predictions": [pieces]}), 80) == "Hedda  person  0.988\n"
    assert printed(one.model_copy(update={"predictions": [nothing]}), 80) == "Nothing was found.\n"
    many = {"path": "/w/a.jsonl", "texts": 9, "labels": {"light": 9}}
    shown = printed(one.model_copy(update=many), 80)
    assert [each in shown for each in ("/w/a.jsonl", "light 9", "make it warm", "0.932", "cut")] == [True] * 4 + [False]


def test_an_adapter_is_shown_without_what_is_unknown() -> None:
    """No None or False for a reader, and sizes that can be read."""
    files = [FileLine(file="adapter.bin", size_bytes=19_593_064), FileLine(file="training.html", size_bytes=900)]
    params = {"dataset": "shop.jsonl", "learning_rate": None}
    report = ShowAdapterReport(
        adapter=LINE, path="/w/adapters/bicycle-shop", params=params, findings=["Fine."], curves=[], files=files
    )
    shown = printed(report, 80)
    assert re.search("None|False|learning_rate", shown) is None
    assert "19.6 MB" in shown
    assert "900 B" in shown
    assert "/w/adapters/bicycle-shop/training.html" in shown.replace("\n", "")


def test_what_is_learnt_is_marked_without_colour_too() -> None:
    """By colour where there is one, and by guillemets elsewhere."""
    assert "learnt: »Yes.«" not in printed(plan(), 80, is_coloured=True)
    shown = printed(plan(), 80)
    assert "Is it? »Yes.«" in shown
    assert "between » and «" in shown


def test_training_is_told_in_chinese() -> None:
    """No English but names, units and what came from a person or the data."""
    outcome = TrainReport(
        adapter="s", path="/w/s", base="b", steps=3, examples=4, left_out=0, tokens_per_second=1.0, peak_memory_mb=9,
        best_validation_loss=0.1, best_step=3, resumed_from_step=0, seconds=2.0,
    )  # fmt: skip
    lists = ListAdaptersReport(adapters=[LINE.model_copy(update={"adapter": "s", "base": "b"})])
    known = {"s", "b", "w", "sft", "qlora", "own", "MB", "min", "training", "html", "NF", "bf", "Is", "it", "Yes"}
    for report in (outcome, lists, plan()):
        for width in (80, 160):
            words = set(re.findall(r"[A-Za-z]+", printed(report, width, language="zh")))
            assert words - known == set()


def test_progress_keeps_its_numbers_at_eighty_columns() -> None:
    """What is told beside the bar goes on below it, rather than cutting the count and the time."""
    console = Console(file=io.StringIO(), width=80, height=24, force_terminal=True)
    progress = LiveProgress(console, legend="")
    detail = "loss 0.229  tokens/s 20  left 3:17  validation loss 0.221"
    progress.update(progress.add_task("training", total=48, detail=""), completed=30, detail=detail)
    with console.capture() as capture:
        console.print(*progress.get_renderables())
    shown = re.sub(r"\x1b\[[0-9;]*m", "", capture.get())
    assert "30/48 0:00:00" in shown
    assert "…" not in shown
    assert shown.split()[-1] == "0.221"


@pytest.mark.parametrize(
    ("minutes", "said"),
    [((0.2, 0.9), "under a minute"), ((0.8, 1.3), "about a minute"), ((3.9, 4.2), "about 4 minutes")],
)
def test_a_plan_does_not_say_from_one_to_one(
    minutes: tuple[float, float], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """A time of which both ends are the same is one time."""
    Terminal(is_json=False).show_plan(Plan(title="Train", steps=[], minutes=minutes))
    assert said in capsys.readouterr().err


def test_a_failure_is_told_in_the_language_that_was_set(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Also outside of a command, and a stop that a person asked for is no error."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ASSISTANT_INTERFACE_LANGUAGE", "zh")
    stopped = "Stopped. Run the same command again to go on from here."
    show_failure(stopped, "", kind="Interrupted", is_json=False, has_traceback=False)
    show_failure("a line", "See --help.", kind="UsageError", is_json=False, has_traceback=False)
    said = capsys.readouterr().err.splitlines()
    assert said == ["已停止。再次运行同一命令即可从这里继续。", "错误: a line", "怎么办: 请看 --help。"]
    monkeypatch.setenv("ASSISTANT_INTERFACE_LANGUAGE", "nonsense")
    show_failure("a line", "", kind="SettingsError", is_json=False, has_traceback=False)
    assert "a line" in capsys.readouterr().err


def plan() -> TrainingPlan:
    """Return a plan with one of everything."""
    return TrainingPlan(
        adapter="s", objective="sft", method="qlora", examples=43, tokens=1293, steps=24, minutes=5.7, memory_mb=1521,
        tokens_per_second=17.0, hardware={"cores": "2", "number type": "bf16"},
        choices=[Choice(what="weights", chosen="NF4, dequantized once", reason="as the base model is")],
        guard=[GuardLine(check="few", severity="warning", count=43, detail="records teach a form, and hardly more")],
        records=[MaskedRecord(shown="Is it? ", learnt="Yes.", tokens=5)],
    )  # fmt: skip


def printed(report: BaseModel, width: int, *, language: str = "en", is_coloured: bool = False) -> str:
    """Return what a console of that width prints of a report."""
    console = Console(
        file=io.StringIO(), width=width, force_terminal=is_coloured, color_system="truecolor" if is_coloured else None
    )
    say = functools.partial(translate, language=language)
    for part in render(report, say):
        console.print(part)
    return console.file.getvalue()  # type: ignore[attr-defined]
