"""The project's own rules: what is written in two places agrees, and what is shown runs."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from assistant.cli.app import APP
from assistant.cli.entries import operations_of
from assistant.cli.reference import reference
from assistant.terminal.language import _CHINESE

ROOT = Path(__file__).parent.parent
LONGEST_MODULE, LONGEST_FUNCTION = 350, 45
LONGER: dict[str, str] = {}  # name, and why it is long
SOURCES = sorted(path for room in ("assistant", "pipelines", "prompts") for path in (ROOT / room).rglob("*.py"))


def test_the_reference_is_current() -> None:
    """docs/commands.md is what `make docs` would write."""
    assert (ROOT / "docs" / "commands.md").read_text(encoding="utf-8") == reference()


def test_every_dependency_is_pinned() -> None:
    """Each library that pyproject.toml names has its version in constraints.txt."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    groups = [project["dependencies"], *project["optional-dependencies"].values()]
    wanted = {re.match(r"[\w.-]+", line)[0].lower() for group in groups for line in group}  # type: ignore[index]
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pinned = {line.partition("==")[0] for line in lines if "==" in line}
    assert wanted - {"assistant"} <= pinned


@pytest.mark.parametrize("script", sorted((ROOT / "examples").glob("*.py")), ids=lambda path: path.stem)
def test_every_example_runs(script: Path) -> None:
    """A script of examples/ ends well and says something."""
    finished = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, timeout=300, check=False)
    assert finished.returncode == 0, finished.stderr
    assert finished.stdout.strip()


def test_every_parameter_is_used() -> None:
    """No field of an operation's parameters is there for show."""
    text = "\n".join(path.read_text(encoding="utf-8") for path in SOURCES)
    unused = [
        f"{operation.name}: {name}"
        for operation in operations_of(APP)
        for name in operation.params.model_fields
        if f"params.{name}" not in text and f"self.{name}" not in text
    ]
    assert not unused


def test_every_translation_is_used() -> None:
    """No Chinese text stands for an English one that is gone."""
    text = "\n".join(
        path.read_text(encoding="utf-8") for path in SOURCES if path.name not in ("language.py", "chinese.py")
    )
    # Fields of reports are shown by their names, with spaces.
    assert not [english for english in _CHINESE if english not in text and english.replace(" ", "_") not in text]


def test_the_dataset_rooms_are_small() -> None:
    """Modules are read in a minute and functions at a glance, but for those that say why they are longer."""
    long = set()
    for path in (ROOT / "pipelines" / "dataset").rglob("*.py"):
        text = path.read_text(encoding="utf-8")
        name = path.relative_to(ROOT / "pipelines" / "dataset").with_suffix("").as_posix()
        long |= {name} if len(text.splitlines()) > LONGEST_MODULE else set()
        long |= {
            f"{name}:{node.name}"
            for node in ast.walk(ast.parse(text))
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
            if node.end_lineno is not None and node.end_lineno - node.lineno >= LONGEST_FUNCTION
        }
    assert long == LONGER.keys()


@pytest.mark.parametrize("library", ["rich", "prompt_toolkit", "chromadb", "langchain", "langchain_core", "langgraph"])
def test_heavy_libraries_have_one_home(library: str) -> None:
    """Where a library may be imported is where one would look for it."""
    homes = {"rich": {"terminal"}, "prompt_toolkit": {"terminal"}, "chromadb": {"knowledge"}}
    homes["langchain_core"] = {"agent", "knowledge"}  # its tools, and its retriever
    pattern = re.compile(rf"^\s*(?:from|import) {library}\b", re.MULTILINE)
    users = {path.parent.name for path in SOURCES if pattern.search(path.read_text(encoding="utf-8"))}
    assert users == homes.get(library, {"agent"})
