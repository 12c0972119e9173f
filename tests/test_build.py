"""The whole way, with the packaged models, as a person starts it: built, killed, taken up, asked."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.conftest import HANDBOOK

FILES = (
    "membership.md",
    "rental/deposits-damage.md",
    "workshop/brakes.md",
    "sales/webshop-shipping.html",
    "booklet.pdf",
)
COMMAND = ("bot", "build", "shop", "--documents", "papers", "--examples", "32", "--epochs", "2", "--yes", "--json")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workspace with a few real documents, in English and Chinese."""
    made = tmp_path_factory.mktemp("build")
    for name in (*FILES, "zh/门店须知.md"):
        target = made / "papers" / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(HANDBOOK / name, target)
    return made


def start(folder: Path, *arguments: str) -> subprocess.Popen[str]:
    """Start the command line as a process of its own."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("ASSISTANT_")}
    return subprocess.Popen(
        [sys.executable, "-m", "assistant", *arguments],
        cwd=folder,
        env={**environment, "PYTHONPATH": str(Path(__file__).parent.parent)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def run(folder: Path, *arguments: str) -> tuple[dict[str, object], str]:
    """Run a command to its end; return its JSON and what it said besides."""
    process = start(folder, *arguments)
    out, err = process.communicate(timeout=600)
    assert process.returncode == 0, err
    return json.loads(out), err


def kill_at(folder: Path, stage: str) -> str:
    """Start the build and kill it when it first speaks of a stage; return what it said."""
    with start(folder, *COMMAND) as process:
        assert process.stderr is not None
        said = ""
        for line in process.stderr:
            said += line
            if line.startswith(stage):
                if stage == "writing examples":
                    wait_for_an_answer(folder / "calls.sqlite", process)
                process.send_signal(signal.SIGKILL)
                break
    assert process.returncode == -signal.SIGKILL, said
    return said


def wait_for_an_answer(calls: Path, process: subprocess.Popen[str]) -> None:
    """Return as soon as the teacher has answered something, which is well before it is done."""
    while process.poll() is None:
        with contextlib.closing(sqlite3.connect(calls, timeout=30)) as ledger:
            if ledger.execute("SELECT count(*) FROM calls").fetchone()[0]:
                return
        time.sleep(0.05)


@pytest.fixture(scope="module")
def built(folder: Path) -> tuple[dict[str, object], str]:
    """A build that was killed while indexing, while writing and while training, and then finished."""
    for stage in ("indexing", "writing examples", "training"):
        kill_at(folder, stage)
    return run(folder, *COMMAND)


def test_a_killed_build_is_taken_up(built: tuple[dict[str, object], str]) -> None:
    """The last run repeats no finished stage, asks the teacher nothing again, and says so."""
    report, said = built
    assert "already written: 32 examples" in said
    assert report["dataset"]["calls"]["cached"] > 0  # type: ignore[index]


def test_the_report_has_its_fields(built: tuple[dict[str, object], str]) -> None:
    """The JSON of a build is what others rely on."""
    report, _said = built
    assert report["dataset"].keys() >= {"path", "kept", "rejected", "splits"}  # type: ignore[union-attr, attr-defined]
    assert report["training"].keys() >= {"adapter", "steps", "tokens_per_second", "seconds"}  # type: ignore[attr-defined]
    assert report["evaluation"].keys() >= {  # type: ignore[attr-defined]
        "metric", "base", "few_shot", "tuned", "difference", "verdict",
    }  # fmt: skip
    assert report["index"]["documents"] == 6  # type: ignore[index]
    assert report["served"] == ("tuned" if report["evaluation"]["verdict"] == "better" else "base")  # type: ignore[index]


def test_building_again_does_nothing_again(built: tuple[dict[str, object], str], folder: Path) -> None:
    """The same command on the same documents finishes at once, with the same result."""
    started = time.monotonic()
    again, said = run(folder, *COMMAND)
    assert again["evaluation"] == built[0]["evaluation"]
    assert again["training"] == built[0]["training"]
    assert "already trained" in said
    assert "already evaluated" in said
    assert time.monotonic() - started < built[0]["seconds"]  # type: ignore[operator]


def test_a_plan_needs_no_endpoint(built: tuple[dict[str, object], str], folder: Path) -> None:
    """The embedded teacher's pilot forecasts a dataset too, costs nothing, and leaves no dataset behind."""
    del built
    report, _said = run(
        folder, "data", "plan", "planned", "--collection", "shop", "--examples", "40", "--yes", "--json"
    )
    forecast = report["forecast"]
    assert isinstance(forecast, dict)
    assert forecast["pilot_kept"] > 0
    assert forecast["minutes"]["low"] > 0
    assert not (folder / "datasets" / "planned" / "examples.jsonl").exists()


@pytest.mark.usefixtures("built")
@pytest.mark.parametrize(
    "question",
    ["How long is the warranty on a used bicycle?", "What does a lost blue spoke cost?", "门店周日几点开门？"],
)
def test_every_citation_stands_in_its_document(folder: Path, question: str) -> None:
    """What an answer cites is the document's text at the offsets given."""
    report, _said = run(folder, "bot", "ask", "shop", question, "--json")
    assert report["refused"] or report["citations"]
    for citation in report["citations"]:  # type: ignore[attr-defined]
        shown, _ = run(folder, "docs", "show", citation["document"], "--collection", "shop", "--json")
        assert str(shown["text"])[citation["start"] : citation["end"]] == citation["quote"]


@pytest.mark.usefixtures("built")
def test_what_the_documents_do_not_say_is_refused(folder: Path) -> None:
    """A question about something else gets no answer and no citation, but the nearest sentence."""
    report, _said = run(folder, "bot", "ask", "shop", "Which airline flies to Reykjavik on Mondays?", "--json")
    assert report["refused"]
    assert report["citations"] == []
    assert report["closest"]


@pytest.mark.usefixtures("built")
def test_a_chat_keeps_to_its_commands(folder: Path) -> None:
    """A chat answers, shows its passages, forgets, and ends with the input."""
    process = start(folder, "bot", "chat", "shop")
    out, err = process.communicate("What does a lost blue spoke cost?\n/sources\n/clear\n/help\n", timeout=300)
    assert process.returncode == 0, err
    assert "membership.md" in out
    assert "/quit" in out
    assert "Good-bye." in out
