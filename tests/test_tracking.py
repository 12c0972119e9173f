"""What a run logs: as curves, in words, on boards, on a page, in the terminal, and in the list of adapters."""

from __future__ import annotations

import importlib.util
import io
import json
import math
import os
import re
import struct
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar
from urllib.parse import parse_qs, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st
from mlflow.tracking import MlflowClient
from rich.console import Console
from tensorboardX.proto.event_pb2 import Event as BoardEvent
from tensorboardX.proto.event_pb2 import SessionLog

from assistant.terminal.console import Terminal
from assistant.terminal.plot import VALIDATION_MARK, plot_lines
from assistant.terminal.reports import render
from pipelines.errors import DataError, MissingExtraError, SettingsError
from pipelines.models.catalog import DEFAULT_BASE_MODEL
from pipelines.operation import Context, Progress
from pipelines.training.adapters import (
    ListAdaptersParams,
    ShowAdapterParams,
    list_adapters,
    show_adapter,
)
from pipelines.training.params import TrainParams
from pipelines.training.progress import METRICS, StepReport
from pipelines.training.tracking.boards import EVENTS, open_trackers
from pipelines.training.tracking.curves import Curve, read_curves
from pipelines.training.tracking.findings import find
from pipelines.training.tracking.report import PAGE, render_page
from pipelines.training.work import run_training
from tests.conftest import Recorder, make_context
from tests.small_dataset import write_splits
from tests.tiny_model import make_tiny_model


def write_metrics(folder: Path, validation: list[float], *, losses: list[float] | None = None, tail: str = "") -> Path:
    """Metrics of a run that validates every second step."""
    folder.mkdir(parents=True, exist_ok=True)
    lines = []
    for step in range(1, 2 * len(validation) + 1):
        loss = losses[step - 1] if losses else 3.0 / step + 0.5
        entry: dict[str, Any] = {"step": step, "loss": loss, "seconds": step * 0.5}
        if step % 2 == 0:
            entry["validation_loss"] = validation[step // 2 - 1]
        lines.append(json.dumps(entry) + "\n")
    (folder / METRICS).write_text("".join(lines) + tail, encoding="utf-8")
    return folder / METRICS


# Curves


def test_metrics_are_read_leniently(tmp_path: Path) -> None:
    """New numbers become curves, a torn end is ignored, and what is no measurement is counted."""
    path = tmp_path / METRICS
    path.write_text(
        '{"step": 1, "loss": 2.0, "grad_norm": 1, "note": "x", "is_ok": true, "bad": NaN}\n'
        "not json\n"
        '["step", 2]\n'
        '{"step": "2", "loss": 1.0}\n'
        '{"step": 3, "loss": 1.0, "validation_loss": 1.5}\n'
        '{"step": 4, "loss": 0.',
        encoding="utf-8",
    )
    curves = read_curves(path)
    assert {name: curve.points() for name, curve in curves.by_name.items()} == {
        "loss": [(1, 2.0), (3, 1.0)],
        "grad_norm": [(1, 1)],
        "validation_loss": [(3, 1.5)],
    }
    assert curves.unreadable == 3
    assert not read_curves(tmp_path / "none").by_name


@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=300), st.integers(2, 9))
def test_a_curve_is_thin_and_exact_where_it_matters(values: list[float], most: int) -> None:
    """However long a run is, a curve has few points, in order, and exact ends and lowest point."""
    curve = Curve(most=most)
    for step, value in enumerate(values, start=1):
        curve.add(step, value)
    points = curve.points()
    steps = [step for step, _value in points]
    assert len(points) <= most + 1
    assert steps == sorted(set(steps))
    assert steps[-1] == curve.last_step == curve.count == len(values)
    assert (curve.first, curve.last, curve.lowest) == (values[0], values[-1], min(values))
    assert values[curve.lowest_step - 1] == min(values)
    assert all(min(values) - 1e-6 <= value <= max(values) + 1e-6 for _step, value in points)


# In words


@pytest.mark.parametrize(
    ("validation", "words"),
    [
        ([2.0, 1.0, 1.1, 1.2, 1.3], "rose 3 times in a row after step 4: overfitting. The weights of step 4"),
        ([2.0, 1.0, 1.1, 0.9], "still learning"),
        ([2.0, 1.0, 1.1], "lowest at step 4 and higher later"),
        ([1.0, 1.3, 1.2], "No validation was better than the first"),
        ([1.0], "Only 1 validations"),
        ([], "No step was logged"),
    ],
)
def test_findings_say_what_the_curves_show(tmp_path: Path, validation: list[float], words: str) -> None:
    """Overfitting, a run that was too short, and one that went nowhere are named with their steps."""
    texts = [finding.text for finding in find(read_curves(write_metrics(tmp_path, validation)))]
    assert any(words in text for text in texts), texts
    assert ("overfitting" in " ".join(texts)) == ("overfitting" in words)


def test_findings_know_a_loss_that_does_not_fall_and_one_learnt_by_heart(tmp_path: Path) -> None:
    """The training loss is looked at too, and so is what could not be read."""
    rising = write_metrics(tmp_path, [1.0, 1.0], losses=[1.0, 2.0, 3.0, 4.0], tail="?\n")
    levels = {finding.level: finding.text for finding in find(read_curves(rising))}
    assert "did not fall" in levels["bad"]
    assert any("1 lines" in finding.text for finding in find(read_curves(rising)))
    learnt = write_metrics(tmp_path, [2.0, 1.0], losses=[2.0, 0.1, 0.1, 0.1])
    assert any("by heart" in finding.text for finding in find(read_curves(learnt)))


# Boards


def events(folder: Path) -> list[Any]:
    """Read the one event file of a folder: length, checksum, event, checksum (TFRecord)."""
    [path] = folder.glob("events.out.tfevents.*")
    data, found = path.read_bytes(), []
    while data:
        (length,) = struct.unpack("<Q", data[:8])
        assert len(data) >= length + 16
        found.append(BoardEvent.FromString(data[12 : 12 + length]))
        data = data[length + 16 :]
    return found


def scalars(folder: Path) -> dict[str, list[tuple[int, float]]]:
    """Return step and value of every scalar, by its tag."""
    found: dict[str, list[tuple[int, float]]] = {}
    for event in events(folder):
        for value in event.summary.value:
            found.setdefault(value.tag, []).append((event.step, round(value.simple_value, 5)))
    return found


def report_of(step: int) -> StepReport:
    """What a step tells; every second one validates."""
    return StepReport(
        step=step,
        steps=6,
        loss=3.0 / step + 0.5,
        learning_rate=7e-4,
        grad_norm=1.0,
        tokens=100 * step,
        tokens_per_second=100.0,
        memory_mb=500,
        seconds=float(step),
        seconds_left=1.0,
        validation_loss=1.0 if step % 2 == 0 else None,
        measures={"accuracy": 0.5} if step % 2 == 0 else {},
    )


class FakeMlflow(BaseHTTPRequestHandler):
    """As much of MLflow's REST API (2.0) as a run needs; it keeps what it is sent."""

    metrics: ClassVar[dict[str, list[dict[str, Any]]]] = {}
    params: ClassVar[dict[str, dict[str, str]]] = {}
    status: ClassVar[dict[str, str]] = {}
    files: ClassVar[dict[str, bytes]] = {}
    authorizations: ClassVar[set[str | None]] = set()
    failures: ClassVar[list[int]] = []

    def do_GET(self) -> None:
        """Answer what is asked."""
        self._handle()

    do_POST = do_PUT = do_GET  # noqa: N815

    def log_message(self, *arguments: object) -> None:
        """Say nothing."""

    def _handle(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.authorizations.add(self.headers.get("Authorization"))
        url = urlsplit(self.path)
        if self.failures:
            return self._answer({"error_code": "INTERNAL_ERROR"}, status=self.failures.pop())
        if self.command == "PUT":
            self.files[url.path.rpartition("/")[2]] = body
            return self._answer({})
        sent = json.loads(body) if body else {name: values[0] for name, values in parse_qs(url.query).items()}
        name = url.path.partition("/mlflow/")[2].replace("/", "_").replace("-", "_")
        if name == "experiments_get_by_name":
            return self._answer({"error_code": "RESOURCE_DOES_NOT_EXIST"}, status=404)
        return self._answer(getattr(self, name)(sent))

    def experiments_create(self, sent: dict[str, Any]) -> dict[str, Any]:
        """Create the one experiment."""
        assert sent["name"] == "assistant"
        return {"experiment_id": "1"}

    def runs_create(self, sent: dict[str, Any]) -> dict[str, Any]:
        """Create a run."""
        assert sent["user_id"] == "unknown"
        # The client remembers a run's place by its id as long as it lives, so ids differ between tests.
        run = f"{self.server.server_address[1]}-{len(self.metrics)}"
        self.metrics[run], self.params[run] = [], {}
        return self.runs_get({"run_id": run})

    def runs_get(self, sent: dict[str, Any]) -> dict[str, Any]:
        """Describe a run."""
        run = sent["run_id"]
        place = f"mlflow-artifacts:/1/{run}/artifacts"
        return {"run": {"info": {"run_id": run, "experiment_id": "1", "artifact_uri": place}, "data": {}}}

    def runs_update(self, sent: dict[str, Any]) -> dict[str, Any]:
        """Keep the state of a run."""
        self.status[sent["run_id"]] = sent["status"]
        return {"run_info": {"run_id": sent["run_id"], "status": sent["status"]}}

    def runs_log_batch(self, sent: dict[str, Any]) -> dict[str, Any]:
        """Keep what was measured."""
        self.metrics[sent["run_id"]] += sent.get("metrics", [])
        self.params[sent["run_id"]] |= {each["key"]: each["value"] for each in sent.get("params", [])}
        return {}

    def metrics_get_history(self, sent: dict[str, Any]) -> dict[str, Any]:
        """Return what was measured under a name."""
        return {"metrics": [each for each in self.metrics[sent["run_id"]] if each["key"] == sent["metric_key"]]}

    def _answer(self, content: dict[str, Any], *, status: int = 200) -> None:
        data = json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)


@pytest.fixture
def mlflow() -> Iterator[SimpleNamespace]:
    """A server on this machine, and its memory."""
    for kept in (FakeMlflow.metrics, FakeMlflow.params, FakeMlflow.status, FakeMlflow.files):
        kept.clear()  # type: ignore[attr-defined]
    FakeMlflow.authorizations.clear()
    FakeMlflow.failures.clear()
    server = ThreadingHTTPServer(("127.0.0.1", 0), FakeMlflow)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()

    def sent() -> list[dict[str, Any]]:
        """Return what the only run was sent."""
        [measured] = FakeMlflow.metrics.values()
        return measured

    yield SimpleNamespace(url=f"http://127.0.0.1:{server.server_port}", server=FakeMlflow, sent=sent)
    server.shutdown()
    thread.join()
    server.server_close()


def run_boards(folder: Path, steps: range, *, url: str = "", resumed_from_step: int = 0) -> list[str]:
    """Tell the boards of some steps, as a run does; return what they complained of."""
    notices: list[str] = []
    with open_trackers(
        folder,
        params={"rank": 4, "adapter": None},
        resumed_from_step=resumed_from_step,
        mlflow_url=url,
        notice=notices.append,
    ) as trackers:
        for step in steps:
            trackers.log(report_of(step))
        if steps.stop > report_of(1).steps:
            (folder / PAGE).write_text("<html>", encoding="utf-8")
            trackers.finish(folder / PAGE)
    return notices


def test_steps_that_are_taken_again_appear_once(tmp_path: Path, mlflow: SimpleNamespace) -> None:
    """A run that was killed at step 4 and goes on from step 2 has each step once on every board."""
    write_metrics(tmp_path, [])
    assert run_boards(tmp_path, range(1, 5), url=mlflow.url) == []
    assert list(mlflow.server.status.values()) == ["KILLED"]
    write_metrics(tmp_path, [1.0])  # the loop forgets what it logged after its checkpoint
    assert run_boards(tmp_path, range(3, 7), url=mlflow.url, resumed_from_step=2) == []

    losses = [(step, round(3.0 / step + 0.5, 5)) for step in range(1, 7)]
    found = scalars(tmp_path / EVENTS)
    assert found["loss/training"] == losses
    assert found["run/validation_accuracy"][-1] == (6, 0.5)
    assert found["loss/validation"] == [(2, 1.0), (4, 1.0), (6, 1.0)]
    assert [event.step for event in events(tmp_path / EVENTS) if event.session_log.status == SessionLog.START] == [1]

    assert sorted((each["step"], round(each["value"], 5)) for each in mlflow.sent() if each["key"] == "loss") == losses
    assert list(mlflow.server.params.values()) == [{"rank": "4"}]
    assert list(mlflow.server.status.values()) == ["FINISHED"]
    assert mlflow.server.files == {PAGE: b"<html>"}


def test_a_fresh_run_has_boards_of_its_own(tmp_path: Path, mlflow: SimpleNamespace) -> None:
    """Training again does not mix with what was trained before."""
    for _time in range(2):
        write_metrics(tmp_path, [])
        run_boards(tmp_path, range(1, 7), url=mlflow.url)
    assert [step for step, _value in scalars(tmp_path / EVENTS)["loss/training"]] == list(range(1, 7))
    runs = mlflow.server.metrics.values()
    assert [sum(each["key"] == "loss" for each in sent) for sent in runs] == [6, 6]


def test_a_server_that_fails_for_a_while_gets_everything(tmp_path: Path, mlflow: SimpleNamespace) -> None:
    """What could not be sent is sent later, and the failure is told once."""
    notices: list[str] = []
    mlflow.server.failures.append(400)
    with open_trackers(
        tmp_path, params={}, resumed_from_step=0, mlflow_url=mlflow.url, notice=notices.append
    ) as trackers:
        trackers.log(report_of(1))
        while mlflow.server.failures:  # until the first attempt was refused
            time.sleep(0.01)
        trackers.finish()
    assert [each["step"] for each in mlflow.sent() if each["key"] == "loss"] == [1]
    assert len(notices) == 1


def test_a_server_that_is_gone_is_told_once(tmp_path: Path, mlflow: SimpleNamespace) -> None:
    """Nothing answers: the run goes on, the other board is complete, and one line says so."""
    gone = ThreadingHTTPServer(("127.0.0.1", 0), FakeMlflow)
    gone.server_close()
    write_metrics(tmp_path, [])
    [notice] = run_boards(tmp_path, range(1, 7), url=f"http://127.0.0.1:{gone.server_port}")
    assert notice.startswith("MLflow: 127.0.0.1: ")
    assert MlflowClient.__module__ == "mlflow.tracking.client"  # imported with this file, as that takes a while
    assert len(scalars(tmp_path / EVENTS)["loss/training"]) == 6


@pytest.mark.parametrize("is_given_for_it", [False, True])
def test_credentials_go_where_they_were_given_for(
    tmp_path: Path, mlflow: SimpleNamespace, monkeypatch: pytest.MonkeyPatch, is_given_for_it: bool
) -> None:
    """A token of the shell is sent only to an address that comes from the shell too."""
    monkeypatch.setenv("MLFLOW_TRACKING_TOKEN", "secret")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", mlflow.url if is_given_for_it else "http://127.0.0.1:1")
    run_boards(tmp_path, range(1, 2), url=mlflow.url)
    assert mlflow.server.authorizations == ({"Bearer secret"} if is_given_for_it else {None})
    assert os.environ["MLFLOW_DISABLE_TELEMETRY"] == "true"


def test_a_folder_can_stand_in_for_the_server(tmp_path: Path) -> None:
    """A file URL keeps measures and page below the folder."""
    assert run_boards(tmp_path, range(1, 7), url=f"file://{tmp_path}/store") == []
    [losses] = (tmp_path / "store").glob("*/*/metrics/loss")
    assert [line.split()[2] for line in losses.read_text().splitlines()] == list("123456")
    assert list((tmp_path / "store").glob(f"*/*/artifacts/{PAGE}"))


def test_an_address_that_is_none_is_refused_before_training(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A wrong URL and a missing library are said at the start, with what to do."""
    for url in ("ftp://host", "http://", "databricks"):
        with pytest.raises(SettingsError, match="mlflow_url must begin"):
            run_boards(tmp_path, range(1, 2), url=url)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(MissingExtraError, match="mlflow") as caught:
        run_boards(tmp_path, range(1, 2), url="http://127.0.0.1:1")
    assert "assistant[mlflow]" in caught.value.hint
    assert run_boards(tmp_path, range(1, 2)) == []  # without the library, there are no event files
    assert not (tmp_path / EVENTS).exists()


def test_a_board_that_cannot_write_stops_nothing(tmp_path: Path) -> None:
    """Where the event files cannot be, the run goes on without them."""
    (tmp_path / EVENTS).write_text("in the way")
    [notice] = run_boards(tmp_path, range(1, 7))
    assert notice.startswith("TensorBoard: ")


# The page


def test_the_page_is_escaped_and_complete(tmp_path: Path) -> None:
    """Parameters, outcome, machine, findings and every curve are there; nothing of it runs or loads."""
    hostile = "<script>alert(1)</script>"
    path = write_metrics(tmp_path, [2.0, 1.0, 1.1, 1.2, 1.3])
    shown = {
        "params": {"dataset": hostile, "patience": 3, "learning_rate": 7e-4},
        "outcome": {"steps": 10, "best_validation_loss": 1.0},
        "machine": {"processor": "abacus"},
    }
    page = render_page(hostile, read_curves(path), **shown)
    assert page == render_page(hostile, read_curves(path), **shown)
    assert "<script" not in page
    assert "&lt;script&gt;" in page
    assert not re.search(r"""(src|href)=["'](?!#)""", page)
    assert page.count("<svg") == 2  # losses, seconds
    assert len(re.findall(r'\bid="([^"]+)"', page)) == len(set(re.findall(r'\bid="([^"]+)"', page)))
    for words in ("overfitting", "best: step 4", "abacus", "0.0007", "patience was used up", "prefers-color-scheme"):
        assert words in page
    assert "No step was logged" in render_page(
        "empty", read_curves(tmp_path / "none"), params={}, outcome={}, machine={}
    )


# The terminal


def test_the_plot_shows_losses_where_they_are() -> None:
    """The line falls from the top left to the bottom right; marks stand where validation was."""
    training = [(step, 4.0 - step * 0.03) for step in range(1, 101)]
    lines = plot_lines(training, [(50, 2.5), (100, 4.0)], steps=100, width=40, height=6)
    assert lines == [
        "  4.000 ┤⠙⠒⠤⣄⣀                         ◆",
        "        │    ⠈⠉⠒⠦⢤⣀",
        "        │          ⠉⠓⠲⠤⣀⡀",
        "  2.500 ┤               ◆⠙⠒⠤⢄⣀",
        "        │                    ⠈⠉⠒⠢⢤⣀",
        "  1.000 ┤                          ⠉⠑⠲⠤⣀",
        "         1                           100",
    ]


@given(
    st.lists(st.floats(-1e9, 1e9), min_size=1, max_size=60),
    st.lists(st.floats(-1e9, 1e9), max_size=5),
    st.integers(1, 200),
)
def test_the_plot_keeps_to_its_size(losses: list[float], validation: list[float], steps: int) -> None:
    """Whatever the numbers are, no line is longer, and there are as many as were asked for."""
    training = list(enumerate(losses, start=1))
    marks = [(number * len(losses) // 5 + 1, value) for number, value in enumerate(validation)]
    lines = plot_lines(training, [mark for mark in marks if mark[0] <= len(losses)], steps=steps, width=60, height=8)
    assert len(lines) == 9
    assert max(map(len, lines)) <= 60


def drawn(*, height: int, is_terminal: bool = True, encoding: str = "utf-8") -> str:
    """What a terminal shows of a training with two validations."""
    output = io.TextIOWrapper(io.BytesIO(), encoding=encoding)
    terminal = Terminal(is_json=False)
    terminal.err = Console(
        file=output, force_terminal=is_terminal, width=100, height=height, _environ={"TERM": "xterm"}
    )
    for step in range(1, 21):
        detail = {"loss": f"{2.0 / step:.3f}"} | ({"validation loss": "1.000"} if step % 10 == 0 else {})
        terminal.show_event(Progress(stage="training", done=step, total=20, detail=detail))
    terminal.stop_progress()
    output.flush()
    return output.buffer.getvalue().decode(encoding)  # type: ignore[attr-defined]


def test_the_plot_is_drawn_where_there_is_room() -> None:
    """Below the bars of a terminal that is tall enough and knows the characters; nowhere else."""
    assert VALIDATION_MARK in drawn(height=30)
    assert VALIDATION_MARK not in drawn(height=12)
    assert "20/20" in drawn(height=12)
    assert drawn(height=30, is_terminal=False).splitlines() == [
        "training 1/20 loss 2.000",
        "training 20/20 loss 0.100  validation loss 1.000",
    ]


# The list of adapters


def test_adapters_stand_beside_each_other(context: Context) -> None:
    """What their manifests and evaluations say, the newest marked; what is broken is unfinished."""
    for name, day, judged in (("b", 2, True), ("a", 1, False)):
        folder = context.workspace.adapter(name)
        write_metrics(folder, [2.0, 1.0, 1.1])
        report = {"adapter": name, "base": "smol", "steps": 6, "examples": 9, "tokens_per_second": 5.5, "seconds": 90}
        manifest = {
            "finished": f"2026-01-0{day}",
            "inputs": {"params": {"dataset": name, "objective": "dpo"} if judged else {}},
            "report": {**report, "best_validation_loss": 1.0},
        }
        (folder / "manifest.json").write_text(json.dumps(manifest))
        if judged:
            evaluation = {"report": {"verdict": "better", "difference": {"low": 0.1, "high": 0.3}}}
            (folder / "report.json").write_text(json.dumps(evaluation))
    (context.workspace.adapter("c")).mkdir()
    (context.workspace.adapter("c") / "manifest.json").write_text('{"report": {"adapter": 7}}')

    a, b, c = list_adapters(ListAdaptersParams(), context).adapters
    assert (a.adapter, b.adapter, c.state) == ("a", "b", "unfinished")
    assert (b.base, b.steps, b.examples, b.best_validation_loss, b.minutes) == ("smol", 6, 9, 1.0, 1.5)
    assert (b.method, b.objective, a.objective) == ("qlora", "dpo", "sft")
    assert (b.verdict, b.difference, b.newest) == ("better", (0.1, 0.3), True)
    assert (a.verdict, a.difference, a.newest) == ("", None, False)

    console = Console(file=io.StringIO(), width=150)
    for part in render(list_adapters(ListAdaptersParams(), context), lambda text: text):
        console.print(part)
    [row] = [line for line in console.file.getvalue().splitlines() if "newest" in line]  # type: ignore[attr-defined]
    assert [cell.strip() for cell in row.split("│")[1:-1]] == [
        "b (newest)",
        "smol",
        "qlora, dpo",
        "9",
        "6",
        "1",
        "5.5",
        "1.5",
        "better (+0.10 … +0.30)",
    ]

    shown = show_adapter(ShowAdapterParams(adapter="b"), context)
    assert shown.adapter.verdict == "better"
    assert [file.file for file in shown.files] == ["manifest.json", "metrics.jsonl", "report.json"]
    assert [(each.curve, each.points, each.lowest_step) for each in shown.curves] == [
        ("loss", 6, 6),
        ("seconds", 6, 1),
        ("validation_loss", 3, 4),
    ]
    assert shown.params["objective"] == "dpo"
    assert any("lowest at step 4" in text for text in shown.findings)
    with pytest.raises(DataError, match="no adapter 'z'"):
        show_adapter(ShowAdapterParams(adapter="z"), context)


# All of it


def test_a_run_is_shown_while_and_after_it_trains(
    context: Context,
    recorder: Recorder,
    mlflow: SimpleNamespace,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    """Stopped at its third step and started again, a run is whole on its boards and its page."""
    monkeypatch.setenv("ASSISTANT_MLFLOW_URL", mlflow.url)
    monkeypatch.setenv("ASSISTANT_THREADS", "1")
    packaged = context.models.base_folder(DEFAULT_BASE_MODEL)
    base = make_tiny_model(tmp_path / "tiny", like=packaged)
    params = TrainParams(dataset="tools", base=str(base), rank=4, epochs=5)
    write_splits(context.workspace.dataset("tools"))
    context.workspace.adapter("tools").mkdir(parents=True)

    def stop(step: StepReport) -> None:
        if step.step == 3:
            raise KeyboardInterrupt

    watched = make_context(context.workspace, recorder)
    with pytest.raises(KeyboardInterrupt):
        run_training(params, watched, after_step=stop)
    report = run_training(params, watched)
    assert (report.resumed_from_step, report.steps) == (3, 5)

    folder = Path(report.path)
    logged = [json.loads(line) for line in (folder / METRICS).read_text().splitlines()]
    found = scalars(folder / EVENTS)
    assert [step for step, _value in found["loss/training"]] == [1, 2, 3, 4, 5]
    assert [value for _step, value in found["loss/training"]] == pytest.approx([each["loss"] for each in logged])
    sent = [each["step"] for each in mlflow.sent() if each["key"] == "validation_loss"]
    assert sorted(sent) == [1, 2, 3, 4, 5]
    page = (folder / PAGE).read_text(encoding="utf-8")
    assert mlflow.server.files == {PAGE: page.encode()}
    assert f"{report.best_validation_loss:.3f}" in page
    assert math.isfinite(report.best_validation_loss)
