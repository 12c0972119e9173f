"""Kills a run of some 2,000 calls at 50 random moments, and storms another; nothing may be lost.

After every kill the ledger is read: what it held before, it holds still. At the end the endpoint
is asked how many calls came again that it had answered before (only those in flight at a kill
may), and the dataset is compared, byte for byte, with that of a run which nobody killed. STALL_S sets how long the
endpoint of the storm falls silent: 20 seconds, if nothing else is said.
"""

from __future__ import annotations

import os
import random
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.measure import Row
from benchmarks.mock_endpoint import Behaviour, Mock, running_mock
from pipelines.records import Chunk, content_id, write_records
from pipelines.workspace import Workspace

_KILLS = 50
_EXAMPLES = 4_000
_CHUNKS = 400
_CONCURRENCY = 16
_LONGEST_S = 1_800


def measure() -> list[Row]:
    """Return a row for the kills and a row for the storm."""
    with tempfile.TemporaryDirectory() as folder:
        whole = _run_whole(Path(folder) / "whole", Behaviour())
        killed = _run_killed(Path(folder) / "killed", whole)
        storm = _run_storm(Path(folder) / "storm", whole)
    return [killed, storm]


def _run_whole(folder: Path, behaviour: Behaviour) -> bytes:
    _make_collection(folder)
    with running_mock(behaviour) as mock:
        _start(folder, mock).wait(_LONGEST_S)
    return _dataset(folder)


def _run_killed(folder: Path, whole: bytes) -> Row:
    _make_collection(folder)
    dice = random.Random(0)
    lost = kills = 0
    before: set[str] = set()
    with running_mock(Behaviour(latency_ms=5)) as mock:
        while kills < _KILLS:
            child = _start(folder, mock)
            _wait_for_calls(folder, child, len(before) + dice.randrange(5, 60))
            if child.poll() is not None:
                break
            child.send_signal(signal.SIGKILL)
            child.wait()
            kills += 1
            stored = _keys(folder)
            lost += len(before - stored)
            before = stored
        _start(folder, mock).wait(_LONGEST_S)
        stats = mock.stats()
    is_same = _dataset(folder) == whole
    again = stats.get("repeated_after_answer", 0)
    figure = (
        f"{kills} kills, {stats['calls']} calls: {lost} stored answers lost, {again} answered calls sent again, "
        f"dataset {'the same' if is_same else 'DIFFERENT'}"
    )
    return Row(what="kill -9 at random moments of a run", figure=figure, against=f"{_CONCURRENCY} in flight at a kill")


def _run_storm(folder: Path, whole: bytes) -> Row:
    _make_collection(folder)
    behaviour = Behaviour(
        latency_ms=5,
        limited_share=0.2,
        failing_share=0.05,
        cut_share=0.02,
        retry_after_s=0.2,
        stall_at=700,
        stall_s=float(os.environ.get("STALL_S", "20")),
    )
    started = time.monotonic()
    with running_mock(behaviour) as mock:
        code = _start(folder, mock).wait(_LONGEST_S)
    is_same = _dataset(folder) == whole
    figure = f"exit {code} after {time.monotonic() - started:.0f} s, dataset {'the same' if is_same else 'DIFFERENT'}"
    return Row(what=f"20% 429, 5% 500, 2% cut off, a stall of {behaviour.stall_s:g} s", figure=figure)


def _make_collection(folder: Path) -> None:
    """Write the chunks of a collection of invented rules."""
    workspace = Workspace(folder)
    workspace.make()
    chunks = []
    for number in range(_CHUNKS):
        sentences = [
            f"Rule {number}.{part} of house {number % 37} says that guest number {number * 7 + part} keeps the "
            f"{word} key for {part + 2} days after the visit."
            for part, word in enumerate(("brass", "silver", "copper"))
        ]
        text = " ".join(sentences)
        document = f"house-{number % 37}.md"
        chunk_id = content_id(document, str(number), text)
        chunks.append(
            Chunk(id=chunk_id, document=document, start=number * 1000, end=number * 1000 + len(text), text=text)
        )
    path = workspace.chunks("big")
    path.parent.mkdir(parents=True, exist_ok=True)
    write_records(path, chunks)


def _start(folder: Path, mock: Mock) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "benchmarks.crash_run", str(folder), mock.url, str(_EXAMPLES)]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def _wait_for_calls(folder: Path, child: subprocess.Popen[bytes], count: int) -> None:
    started = time.monotonic()
    while child.poll() is None and len(_keys(folder)) < count and time.monotonic() - started < _LONGEST_S:
        time.sleep(0.02)


def _keys(folder: Path) -> set[str]:
    path = folder / "calls.sqlite"
    if not path.is_file():
        return set()
    with sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=30) as connection:
        try:
            return {row[0] for row in connection.execute("SELECT key FROM calls WHERE model = 'mock'")}
        except sqlite3.OperationalError:
            return set()


def _dataset(folder: Path) -> bytes:
    return (folder / "examples.jsonl").read_bytes()
