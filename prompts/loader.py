"""Loads prompt files: front matter that says what goes in, then one section per role.

The roles are split before anything is rendered, so no input can open a section. A prompt
that is released never changes; an edit is a new version. `lock.json` holds their hashes.
"""

from __future__ import annotations

import functools
import hashlib
import importlib.resources
import re
from dataclasses import dataclass
from importlib.resources.abc import Traversable
from typing import Any

import jinja2
import jinja2.meta
import yaml
from jinja2.sandbox import SandboxedEnvironment
from pydantic import BaseModel, ConfigDict, Field, ValidationError

_FILE = re.compile(r"(?P<name>[a-z_]+)\.v(?P<version>\d+)\.md")
_FRONT = re.compile(r"\A---\n(?P<front>.*?)\n---\n(?P<body>.*)\Z", re.DOTALL)
_SECTION = re.compile(r"^# (system|user|assistant|text)\n", re.MULTILINE)
_ENVIRONMENT = SandboxedEnvironment(
    undefined=jinja2.StrictUndefined, keep_trailing_newline=False, trim_blocks=True, lstrip_blocks=True
)


class PromptError(ValueError):
    """A prompt file is malformed, or is rendered with the wrong inputs."""


class FrontMatter(BaseModel):
    """What a prompt file says about itself."""

    model_config = ConfigDict(extra="forbid")

    name: str
    version: int
    purpose: str = Field(min_length=1)
    inputs: dict[str, str] = {}  # name and meaning
    constants: dict[str, Any] = {}
    defaults: dict[str, Any] = {}


@dataclass(frozen=True, kw_only=True)
class Prompt:
    """One version of one prompt."""

    name: str
    version: int
    purpose: str
    inputs: frozenset[str]
    constants: dict[str, Any]  # texts the code needs as well, such as a fixed reply
    defaults: dict[str, Any]  # sampling settings
    sections: tuple[tuple[str, str], ...]  # role and template, in order
    sha256: str  # of the file

    @property
    def id(self) -> str:
        """Name and version, as records store it."""
        return f"{self.name}@{self.version}"

    def render(self, **inputs: object) -> list[tuple[str, str]]:
        """Return role and text of each section.

        Raises:
            PromptError: An input is missing, or is not one of the prompt's.
        """
        if inputs.keys() != self.inputs:
            wrong = sorted(inputs.keys() ^ self.inputs)
            raise PromptError(f"{self.id} takes {sorted(self.inputs)}; missing or unknown: {wrong}")
        values = {**self.constants, **inputs}
        return [(role, _ENVIRONMENT.from_string(template).render(values)) for role, template in self.sections]


def prompt_names() -> list[tuple[str, int]]:
    """Return name and version of every prompt, sorted."""
    matches = [_FILE.fullmatch(path.name) for path in _folder().iterdir()]
    return sorted((match["name"], int(match["version"])) for match in matches if match)


@functools.cache
def load_prompt(name: str, *, version: int | None = None) -> Prompt:
    """Load a prompt; its newest version, unless one is named.

    Raises:
        PromptError: There is no such prompt, or its file is malformed.
    """
    versions = [known for prompt, known in prompt_names() if prompt == name]
    if not versions or (version is not None and version not in versions):
        raise PromptError(f"there is no prompt {name!r} version {version or 'at all'}")
    chosen = version or max(versions)
    text = (_folder() / f"{name}.v{chosen}.md").read_text(encoding="utf-8")
    return _parse(text, expected=(name, chosen))


def _parse(text: str, *, expected: tuple[str, int]) -> Prompt:
    match = _FRONT.match(text)
    if match is None:
        raise PromptError(f"{expected[0]}: no front matter between lines of ---")
    try:
        front = FrontMatter.model_validate(yaml.safe_load(match["front"]))
    except (yaml.YAMLError, ValidationError) as error:
        raise PromptError(f"{expected[0]}: the front matter is malformed: {error}") from error
    if (front.name, front.version) != expected:
        raise PromptError(f"{expected[0]}.v{expected[1]}.md: the front matter names another prompt")
    pieces = _SECTION.split(match["body"])
    if pieces[0].strip() or len(pieces) < 3:
        raise PromptError(f"{expected[0]}: the text must begin with a section such as '# system'")
    sections = tuple((role, body.strip("\n")) for role, body in zip(pieces[1::2], pieces[2::2], strict=True))
    try:
        parsed = [_ENVIRONMENT.parse(body) for _role, body in sections]
    except jinja2.TemplateSyntaxError as error:
        raise PromptError(f"{expected[0]}: the template is malformed: {error}") from error
    used = set().union(*map(jinja2.meta.find_undeclared_variables, parsed)) - front.constants.keys()
    if used != front.inputs.keys():
        raise PromptError(f"{expected[0]}: declares {sorted(front.inputs)}, but uses {sorted(used)}")
    return Prompt(
        name=front.name,
        version=front.version,
        purpose=front.purpose,
        inputs=frozenset(front.inputs),
        constants=front.constants,
        defaults=front.defaults,
        sections=sections,
        sha256=hashlib.sha256(text.encode()).hexdigest(),
    )


def _folder() -> Traversable:
    return importlib.resources.files("prompts")
