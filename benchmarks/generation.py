"""How many answers a second we get out of an endpoint, against two other generators.

Everyone sends the same prompts to the same endpoint on loopback, in a process of its own, and
is timed from the first prompt to the last record on disk, without imports and preparation. Two
cases: an endpoint that answers at once, where the client is the limit, and one that takes
half a second, where the endpoint is. `python -m benchmarks.generation` prints more.

The others are installed into `.bench-peers/`, or the folder that BENCH_PEERS names.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.measure import Row
from benchmarks.mock_endpoint import Behaviour, running_mock

_ROOT = Path(__file__).parent.parent
_RUNNERS = Path(__file__).parent / "peers"
_TIMES = 3
_TIMEOUT_S = 600


@dataclass(frozen=True, kw_only=True)
class Case:
    """An endpoint, and what is asked of it."""

    name: str
    latency_ms: float
    count: int
    concurrency: int

    @property
    def ideal(self) -> float | None:
        """Calls a second that the endpoint allows; None where it is not the limit."""
        return self.concurrency * 1000 / self.latency_ms if self.latency_ms else None


CASES = (
    Case(name="endpoint answers at once", latency_ms=0, count=2_000, concurrency=64),
    Case(name="endpoint takes 500 ms", latency_ms=500, count=3_840, concurrency=64),
)


@dataclass(frozen=True, kw_only=True)
class Client:
    """One who does the task, and the Python that it is done with."""

    name: str
    runner: str
    python: str = sys.executable
    problem: str = ""  # why it cannot be run


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What one run took."""

    seconds: float
    cpu_s: float
    whole_s: float  # with imports and preparation
    kept: int
    peak_mb: int


def measure() -> list[Row]:
    """Return a row for each of the others in each case."""
    rows = []
    for case in CASES:
        clients = _clients()
        outcomes = _interleaved(case, clients)
        ours = outcomes["ours"]
        for client in clients:
            if client.name != "ours":
                rows.append(_row(case, ours, client, outcomes.get(client.name)))
    return rows


def _row(case: Case, ours: Sequence[Outcome], client: Client, theirs: Sequence[Outcome] | None) -> Row:
    what = f"{case.count:,} answers, {case.concurrency} at once, {case.name}"
    figure = _figure(case, ours)
    peak = max(each.peak_mb for each in ours)
    if theirs is None:
        return Row(what=what, figure=figure, against=f"{client.name}: skipped, {client.problem}", peak_mb=peak)
    ratio = _rate(case, ours) / _rate(case, theirs)
    return Row(what=what, figure=figure, against=f"{client.name}: {_figure(case, theirs)}", ratio=ratio, peak_mb=peak)


def _figure(case: Case, outcomes: Sequence[Outcome]) -> str:
    rate = _rate(case, outcomes)
    return f"{rate:.0f} calls/s" + (f" ({rate / case.ideal:.0%} of ideal)" if case.ideal else "")


def _rate(case: Case, outcomes: Sequence[Outcome]) -> float:
    return case.count / statistics.median(each.seconds for each in outcomes)


def _interleaved(case: Case, clients: Sequence[Client]) -> dict[str, list[Outcome]]:
    """Run all in turn, several times, so that what else the machine does meets all alike."""
    outcomes: dict[str, list[Outcome]] = {}
    for _ in range(_TIMES):
        for client in clients:
            if not client.problem:
                outcomes.setdefault(client.name, []).append(_run(case, client))
    return outcomes


def _run(case: Case, client: Client) -> Outcome:
    """Do the task once, at an endpoint of its own.

    Raises:
        RuntimeError: The client failed, or kept less than it was asked for.
    """
    with running_mock(Behaviour(latency_ms=case.latency_ms)) as mock:
        command = [client.python, "-m", f"benchmarks.peers.{client.runner}", mock.url]
        command += [str(case.count), str(case.concurrency), "--structured"]
        started = time.perf_counter()
        finished = subprocess.run(
            command,
            capture_output=True,
            text=True,
            check=False,
            cwd=_ROOT,
            env=_environment(client),
            timeout=_TIMEOUT_S,
        )
        whole_s = time.perf_counter() - started
        answered = int(mock.stats()["answered"])
    if finished.returncode:
        raise RuntimeError(f"{client.name} failed: {finished.stderr[-2000:]}")
    told = json.loads(finished.stdout.splitlines()[-1])
    if told["kept"] != case.count or answered < case.count:
        raise RuntimeError(f"{client.name} kept {told['kept']} of {case.count}, with {answered} answers")
    return Outcome(whole_s=whole_s, **{name: told[name] for name in ("seconds", "cpu_s", "kept", "peak_mb")})


def _environment(client: Client) -> dict[str, str]:
    """Return variables with which a peer writes into no folder of the user's, and asks no network.

    Both would fetch the table of a tokenizer; litellm, which one of them needs, ships it.
    """
    if client.python == sys.executable:
        return dict(os.environ)
    folder = _peers_folder()
    home = folder / "home"
    home.mkdir(exist_ok=True)
    tables = next(folder.glob("curator/lib/*/site-packages/litellm/litellm_core_utils/tokenizers"), None)
    return os.environ | {"HOME": str(home)} | ({"TIKTOKEN_CACHE_DIR": str(tables)} if tables else {})


def _clients() -> list[Client]:
    return [
        Client(name="ours", runner="ours"),
        _peer("bespokelabs-curator 0.1.31", "curator"),
        _peer("data-designer 0.9.7", "data_designer"),
        Client(name="aiohttp alone", runner="bare"),
    ]


def _peer(name: str, runner: str) -> Client:
    """Return a peer, installed if it was not."""
    folder = _peers_folder() / runner
    python, done = folder / "bin" / "python", folder / ".installed"
    wanted = _RUNNERS / f"{runner}.txt"
    if not (done.is_file() and done.read_text() == wanted.read_text()):
        commands = (
            [sys.executable, "-m", "venv", "--clear", str(folder)],
            # The list is whole: what pip would add or refuse for lack of a release is known.
            [str(python), "-m", "pip", "install", "--quiet", "--no-deps", "--requirement", str(wanted)],
        )
        for command in commands:
            finished = subprocess.run(command, capture_output=True, text=True, check=False)
            if finished.returncode:
                lines = finished.stderr.strip().splitlines() or ["no reason given"]
                return Client(name=name, runner=runner, problem=f"pip could not install it: {lines[-1][:120]}")
        done.write_text(wanted.read_text())
    return Client(name=name, runner=runner, python=str(python))


def _peers_folder() -> Path:
    folder = Path(os.environ.get("BENCH_PEERS") or _ROOT / ".bench-peers").resolve()
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def main() -> None:
    """Print one line for each client and case, with the processor time and the whole process."""
    print("| client | case | calls/s | share of ideal | ours is faster by | CPU a call | with start | kept |")
    print("|---|---|---:|---:|---:|---:|---:|---:|")
    for case in CASES:
        clients = _clients()
        outcomes = _interleaved(case, clients)
        for client in clients:
            if client.problem:
                print(f"| {client.name} | {case.name} | skipped, {client.problem} | | | | | |")
                continue
            runs = outcomes[client.name]
            rate = _rate(case, runs)
            share = f"{rate / case.ideal:.0%}" if case.ideal else ""
            ratio = _rate(case, outcomes["ours"]) / rate
            cpu_ms = statistics.median(each.cpu_s for each in runs) / case.count * 1000
            whole = case.count / statistics.median(each.whole_s for each in runs)
            kept = min(each.kept for each in runs)
            line = f"{rate:.0f} | {share} | {ratio:.2f} | {cpu_ms:.2f} ms | {whole:.0f} calls/s | {kept} |"
            print(f"| {client.name} | {case.name} | {line}", flush=True)


if __name__ == "__main__":
    main()
