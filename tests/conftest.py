"""What all tests share: a clean environment, a workspace, and a context over it."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from pathlib import Path

import hypothesis
import pytest
from filelock import FileLock

from pipelines.lazy import silence_libraries
from pipelines.models.catalog import DEFAULT_BASE_MODEL
from pipelines.operation import Context, Event, Plan, open_context
from pipelines.workspace import Workspace

pytest_plugins = ["tests.fake_openai", "tests.trained_heads"]

hypothesis.settings.register_profile("unhurried", deadline=None)  # a busy machine is no failure
hypothesis.settings.load_profile("unhurried")
silence_libraries()  # before any test module imports a library that would report home

HANDBOOK = Path(__file__).parent.parent / "examples" / "handbook"


@pytest.fixture(scope="session", autouse=True)
def _own_core() -> None:
    """Each of several test processes has a core of its own: threads that wait for each other's cores crawl."""
    worker = os.environ.get("PYTEST_XDIST_WORKER", "")
    if worker and hasattr(os, "sched_setaffinity"):
        cores = sorted(os.sched_getaffinity(0))
        os.sched_setaffinity(0, {cores[int(worker.removeprefix("gw")) % len(cores)]})


@pytest.fixture(scope="session", autouse=True)
def _converted_models(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Converted models are shared by all tests and test processes, and not with the person who runs them."""
    base = tmp_path_factory.getbasetemp()
    shared = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base
    folder = os.environ.get("TEST_DATA_HOME") or str(shared / "data-home")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_DATA_HOME", folder)
        with FileLock(shared / "data-home.lock"):  # one process converts, the others find it done
            open_context(base).models.base_folder(DEFAULT_BASE_MODEL)
        yield


@pytest.fixture(autouse=True)
def _alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """No test sees the person's settings or a key, or reaches beyond this machine."""
    for name in list(os.environ):
        if name.startswith(("ASSISTANT_", "OPENAI_", "LANGCHAIN_", "LANGSMITH_")):
            monkeypatch.delenv(name)
    for name in ("LC_ALL", "LC_MESSAGES", "LANG"):
        monkeypatch.delenv(name, raising=False)
    connect = socket.socket.connect

    def connect_locally(self: socket.socket, address: object) -> None:
        if self.family != socket.AF_UNIX and (not isinstance(address, tuple) or address[0] not in ("127.0.0.1", "::1")):
            raise AssertionError(f"a test tried to reach {address!r}")
        connect(self, address)  # type: ignore[arg-type]

    monkeypatch.setattr(socket.socket, "connect", connect_locally)


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    """A workspace of its own for each test."""
    made = Workspace(tmp_path / "workspace")
    made.make()
    return made


class Recorder:
    """Keeps what a context was told, and answers its questions."""

    def __init__(self) -> None:
        self.events: list[Event] = []
        self.plans: list[Plan] = []
        self.agrees = True

    def emit(self, event: Event) -> None:
        """Keep an event."""
        self.events.append(event)

    def confirm(self, plan: Plan) -> bool:
        """Keep a plan, and agree or not."""
        self.plans.append(plan)
        return self.agrees


@pytest.fixture
def recorder() -> Recorder:
    """What the context of this test was told."""
    return Recorder()


@pytest.fixture
def context(workspace: Workspace, recorder: Recorder) -> Context:
    """A context over the test's workspace, with the real embedded models."""
    return make_context(workspace, recorder)


def make_context(workspace: Workspace, recorder: Recorder) -> Context:
    """Return a context with the settings as they are now."""
    return open_context(workspace.root, emit=recorder.emit, confirm=recorder.confirm)
