"""The workspace: its names, its locks, its files, its manifests, and the paths it confines."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import subprocess
import sys
from pathlib import Path

import pytest
from pydantic import BaseModel

from pipelines.errors import ApprovalRequired, DataError, SettingsError
from pipelines.manifest import Manifest, file_hash
from pipelines.operation import Context, Operation, Plan, open_context
from pipelines.settings import SETTINGS_FILE
from pipelines.workspace import WORKSPACE_VERSION, Workspace, find_workspace, locked, replacing, write_json
from tests.conftest import Recorder

REPOSITORY = Path(__file__).parent.parent
HOLD_LOCK = """
import sys
from pathlib import Path
from pipelines.workspace import locked
with locked(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.mark.parametrize("name", ["handbook", "Handbook-2.1", "a", "x" * 64, "租车", "été", "2024"])
def test_a_plain_name_is_a_folder_of_the_workspace(workspace: Workspace, name: str) -> None:
    """What was made lies below the folder of its kind, under its name."""
    for kind, folder in (
        ("datasets", workspace.dataset(name)),
        ("adapters", workspace.adapter(name)),
        ("knowledge", workspace.knowledge(name)),
        ("bots", workspace.bot(name)),
    ):
        assert folder == workspace.root / kind / name


@pytest.mark.parametrize(
    "name",
    ["", ".", "..", "../x", "a/b", "a\\b", "/etc", ".hidden", "-rf", "a b", "a\n", "a\x00", "x" * 65, "~", "a:b", "…"],
)
def test_a_name_cannot_leave_its_folder(workspace: Workspace, name: str) -> None:
    """A name that is a path, hidden, or a command's option is refused for every kind."""
    for folder in (workspace.dataset, workspace.adapter, workspace.knowledge, workspace.bot, workspace.chunks):
        with pytest.raises(SettingsError, match="is not a usable name") as caught:
            folder(name)
        assert "64" in caught.value.hint


def test_names_are_listed_by_kind(workspace: Workspace) -> None:
    """Folders count, files do not; a kind of which there is nothing has no names."""
    for name in ("b", "a"):
        workspace.bot(name).mkdir(parents=True)
    (workspace.root / "bots" / "notes.txt").touch()
    assert workspace.names("bots") == ["a", "b"]
    assert workspace.names("datasets") == []


def test_a_workspace_is_made_once(tmp_path: Path) -> None:
    """Making it again leaves its settings as they are."""
    workspace = Workspace(tmp_path / "deep" / "down")
    assert not workspace.is_made()
    assert workspace.make()
    (workspace.root / SETTINGS_FILE).write_text("workspace_version = 1\nthreads = 2\n", encoding="utf-8")
    assert not workspace.make()
    assert "threads = 2" in (workspace.root / SETTINGS_FILE).read_text(encoding="utf-8")


def test_a_new_workspace_can_be_opened(workspace: Workspace) -> None:
    """The settings that are written first are valid, and of our version."""
    workspace.check_version()
    assert open_context(workspace.root).settings.teacher() is None


@pytest.mark.parametrize("toml", ["", "workspace_version = 0", "workspace_version = 2", "workspace_version = '1'"])
def test_a_workspace_of_another_version_is_refused(workspace: Workspace, toml: str) -> None:
    """Version found and expected are named; nothing is converted silently."""
    (workspace.root / SETTINGS_FILE).write_text(toml, encoding="utf-8")
    with pytest.raises(SettingsError, match=f"expected {WORKSPACE_VERSION}") as caught:
        open_context(workspace.root)
    assert "assistant init" in caught.value.hint


@pytest.mark.parametrize("content", [b"workspace_version = ", b"\xff"])
def test_a_malformed_file_is_no_other_version(workspace: Workspace, content: bytes) -> None:
    """What cannot be read is told as that."""
    (workspace.root / SETTINGS_FILE).write_bytes(content)
    with pytest.raises(SettingsError, match="is not valid TOML"):
        workspace.check_version()


def test_a_workspace_is_found_from_within(workspace: Workspace, tmp_path: Path) -> None:
    """Any folder below the workspace belongs to it; one that belongs to none is a new one."""
    below = workspace.root / "documents" / "deep"
    below.mkdir(parents=True)
    assert find_workspace(below).root == workspace.root
    assert find_workspace(workspace.root).root == workspace.root
    assert find_workspace(tmp_path).root == tmp_path


def test_a_folder_is_locked_once(tmp_path: Path) -> None:
    """A second command that wants the folder is refused at once, and can have it afterwards."""
    with locked(tmp_path / "new"):
        with pytest.raises(DataError, match="another command is working in") as caught, locked(tmp_path / "new"):
            pytest.fail("the folder was locked twice")
        assert "try again" in caught.value.hint
        with locked(tmp_path / "other"):
            pass
    with locked(tmp_path / "new"):
        pass


def test_a_lock_is_released_by_a_failure(tmp_path: Path) -> None:
    """A command that failed does not keep the next one out."""
    with pytest.raises(KeyboardInterrupt), locked(tmp_path):
        raise KeyboardInterrupt
    with locked(tmp_path):
        pass


def test_a_lock_holds_between_processes_and_dies_with_its_holder(tmp_path: Path) -> None:
    """Another process keeps us out while it lives; once it is killed, nothing has to be cleaned up."""
    command = [sys.executable, "-c", HOLD_LOCK, str(tmp_path)]
    with subprocess.Popen(command, cwd=REPOSITORY, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(DataError, match="another command"), locked(tmp_path):
            pytest.fail("the folder was locked twice")
        holder.kill()
        holder.wait()
        with locked(tmp_path):
            pass


@pytest.mark.parametrize(("mode", "old", "new"), [("w", "old", "new 租车\n"), ("wb", b"old", b"new\xff")])
def test_a_file_is_replaced_when_it_is_complete(tmp_path: Path, mode: str, old: str | bytes, new: str | bytes) -> None:
    """Until the last byte is written, a reader finds the old file; then the new one, alone."""
    path = tmp_path / "file"
    path.write_bytes(old if isinstance(old, bytes) else old.encode())
    before = path.read_bytes()
    with replacing(path, mode) as file:
        file.write(new)
        file.flush()
        assert path.read_bytes() == before
    assert path.read_bytes() == (new if isinstance(new, bytes) else new.encode())
    assert [each.name for each in tmp_path.iterdir()] == ["file"]


@pytest.mark.parametrize("error", [OSError, KeyboardInterrupt])
@pytest.mark.parametrize("existed", [True, False])
def test_a_failed_writing_leaves_the_old_file(tmp_path: Path, error: type[BaseException], existed: bool) -> None:
    """Nothing of the attempt is left, and what was there is there still."""
    path = tmp_path / "file"
    if existed:
        path.write_text("old", encoding="utf-8")
    with pytest.raises(error), replacing(path) as file:
        file.write("half of the n")
        raise error
    assert {each.name: each.read_text(encoding="utf-8") for each in tmp_path.iterdir()} == (
        {"file": "old"} if existed else {}
    )


def test_json_is_readable_and_replaced_at_once(tmp_path: Path) -> None:
    """People read these files; a value that is no JSON leaves the old one."""
    path = tmp_path / "file.json"
    write_json(path, {"name": "租车", "count": 2})
    assert path.read_text(encoding="utf-8") == '{\n  "name": "租车",\n  "count": 2\n}\n'
    with pytest.raises(TypeError):
        write_json(path, {"name": object()})
    assert json.loads(path.read_text(encoding="utf-8")) == {"name": "租车", "count": 2}


class Report(BaseModel):
    """A report of nothing in particular."""

    count: int


def test_the_same_inputs_are_finished(tmp_path: Path) -> None:
    """A stage that finished is known by its inputs, and its report is kept."""
    manifest = Manifest(path=tmp_path / "manifest.json", inputs={"seed": 0, "splits": ("train", "test")})
    assert manifest.finished(Report) is None
    manifest.finish(Report(count=7))
    assert manifest.finished(Report) == Report(count=7)
    again = Manifest(path=tmp_path / "manifest.json", inputs={"splits": ["train", "test"], "seed": 0})
    assert again.finished(Report) == Report(count=7)


@pytest.mark.parametrize("inputs", [{}, {"seed": 1}, {"seed": 0, "model": "x"}, {"seed": "0"}, {"seed": None}])
def test_other_inputs_are_not_finished(tmp_path: Path, inputs: dict[str, object]) -> None:
    """Whatever of the inputs changed, the stage is worked on again."""
    Manifest(path=tmp_path / "manifest.json", inputs={"seed": 0}).finish(Report(count=7))
    assert Manifest(path=tmp_path / "manifest.json", inputs=inputs).finished(Report) is None


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"\xff",
        b"{}",
        b"[]",
        b"null",
        b'{"inputs": {"seed": 0}}',
        b'{"inputs": {"seed": 0}, "report": {}}',
        b'{"inputs": {"seed": 0}, "report": {"count": "many"}}',
        b'{"inputs": {"seed": 0}, "report": null}',
    ],
)
def test_a_manifest_that_cannot_be_read_is_not_finished(tmp_path: Path, content: bytes) -> None:
    """A damaged manifest, or one of another version, means working again, not failing."""
    (tmp_path / "manifest.json").write_bytes(content)
    assert Manifest(path=tmp_path / "manifest.json", inputs={"seed": 0}).finished(Report) is None


def test_the_hash_of_a_file_is_its_sha256(tmp_path: Path) -> None:
    """Inputs are known by their hash; a file that is not there has none."""
    (tmp_path / "file").write_bytes(b"text")
    assert file_hash(tmp_path / "file") == hashlib.sha256(b"text").hexdigest()
    assert file_hash(tmp_path / "gone") == ""


@pytest.mark.parametrize("path", ["documents", ".", "documents/../documents/a.md", "documents/not-there-yet"])
def test_a_confined_path_within_the_workspace_is_taken(
    context: Context, monkeypatch: pytest.MonkeyPatch, path: str
) -> None:
    """Paths are taken from the current folder, and may name what does not exist yet."""
    monkeypatch.chdir(context.workspace.root)
    confined = dataclasses.replace(context, confine=True)
    assert confined.resolve(Path(path)) == (context.workspace.root / path).resolve()
    assert confined.resolve(context.workspace.root / path) == (context.workspace.root / path).resolve()


@pytest.mark.parametrize(
    "path", ["..", "../other", "/", "/etc/passwd", "~", "~/x", "documents/../../other", "link/a.md"]
)
def test_a_confined_path_cannot_leave_the_workspace(
    context: Context, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, path: str
) -> None:
    """Neither dots nor links nor the home folder lead out."""
    (tmp_path / "outside").mkdir()
    (context.workspace.root / "link").symlink_to(tmp_path / "outside", target_is_directory=True)
    monkeypatch.chdir(context.workspace.root)
    monkeypatch.setenv("HOME", str(tmp_path))
    with pytest.raises(SettingsError, match="outside the workspace") as caught:
        dataclasses.replace(context, confine=True).resolve(Path(path))
    assert "command line" in caught.value.hint


def test_a_folder_beside_the_workspace_is_not_within_it(context: Context) -> None:
    """A name that begins like the workspace's is another folder."""
    beside = Path(f"{context.workspace.root}-other")
    with pytest.raises(SettingsError, match="outside the workspace"):
        dataclasses.replace(context, confine=True).resolve(beside)


def test_a_person_may_name_any_path(context: Context, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Without confinement, a path leads where it leads."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert context.resolve(Path("x")) == tmp_path / "x"
    assert context.resolve(Path("~/x")) == tmp_path / "home" / "x"
    assert context.resolve(Path("/etc")) == Path("/etc")


class Params(BaseModel):
    """Parameters of nothing in particular."""

    count: int = 1


def count_up(params: Params, context: Context) -> Report:
    """Count up by one.

    More is said here.
    """
    context.notice("counting")
    return Report(count=params.count + 1)


def plan_count(params: Params, context: Context) -> Plan:
    """Say what counting takes."""
    del context
    return Plan(title=f"Count from {params.count}", steps=("one is added",))


def test_an_operation_is_described_by_its_function() -> None:
    """Its name and its summary are written once."""
    operation = Operation(params=Params, report=Report, run=count_up)
    assert (operation.name, operation.summary) == ("count_up", "Count up by one.")


def test_a_planned_operation_runs_once_somebody_agreed(tmp_path: Path, recorder: Recorder) -> None:
    """The plan is shown first; where nobody agrees, nothing is done and nothing is made."""
    operation = Operation(params=Params, report=Report, run=count_up, plan=plan_count)
    context = open_context(tmp_path / "new", emit=recorder.emit, confirm=recorder.confirm)
    recorder.agrees = False
    with pytest.raises(ApprovalRequired, match="count_up was not approved"):
        operation.start(Params(), context)
    assert (recorder.events, context.workspace.is_made()) == ([], False)
    recorder.agrees = True
    assert operation.start(Params(count=2), context) == Report(count=3)
    assert [plan.title for plan in recorder.plans] == ["Count from 1", "Count from 2"]


@pytest.mark.parametrize("is_reading", [True, False])
def test_an_operation_that_writes_makes_the_workspace(tmp_path: Path, is_reading: bool) -> None:
    """One that only reads leaves the folder as it is."""
    context = open_context(tmp_path / "new")
    Operation(params=Params, report=Report, run=count_up, is_reading=is_reading).start(Params(), context)
    assert context.workspace.is_made() != is_reading


def test_nobody_agrees_by_default(tmp_path: Path) -> None:
    """A context that asks no one refuses what has to be approved."""
    operation = Operation(params=Params, report=Report, run=count_up, plan=plan_count)
    with pytest.raises(ApprovalRequired):
        operation.start(Params(), open_context(tmp_path))
