"""Source code, cut at its definitions, whose names are the headings."""

from __future__ import annotations

import ast
import re
import warnings
from collections.abc import Iterator
from dataclasses import dataclass

from pipelines.knowledge.reading.encoding import decode
from pipelines.knowledge.reading.plain import PlainText, Source

_TAB = 4
_DEEPEST = 6
_LONGEST_LINE = 300
_WORDS = (
    r"class|interface|struct|enum|union|trait|impl|protocol|extension|object|record|namespace|module|mod|package|"
    r"def|fn|func|fun|function|sub|macro_rules!|type|"
    r"(?i:CREATE\s+(?:OR\s+REPLACE\s+)?(?:TABLE|VIEW|FUNCTION|PROCEDURE))"
)
_MODIFIERS = (
    r"(?:(?:export|default|pub(?:\([\w ]+\))?|public|private|protected|internal|static|final|abstract|sealed|virtual|"
    r"override|async|unsafe|extern|const|inline|partial|open|data|suspend|local|declare)\s+)*"
)
# `class Name`, `func (r Receiver) Name(`, `impl<T> Name`, `CREATE TABLE name`.
_NAMED = re.compile(
    rf"(?P<indent> *){_MODIFIERS}(?:{_WORDS})\b(?:\s*\([^()]*\))?(?:<[^<>]*>)?\s+[\"`\[]?(?P<name>[\w.:$!?]+)"
)
# `static int name(int a) {` and `public void name(String a)`: a type, a name, brackets, and no semicolon.
_TYPED = re.compile(r"(?P<indent> *)(?:[\w:<>\[\],*&~.]+\s+)+[*&]*(?P<name>[\w:~]+)\s*\([^;{}=]*\)?[^;=]*\{?\s*$")
# `name = (a) => {` and `name <- function(a)`.
_ASSIGNED = re.compile(
    r"(?P<indent> *)(?:export\s+)?(?:const|let|var|local)?\s*(?P<name>[\w.$]+)\s*(?:=|<-)\s*(?:async\s*)?"
    r"(?:function\b|\([^()]*\)\s*=>|\w+\s*=>)"
)
_NOT_NAMES = {
    "if",
    "for",
    "while",
    "switch",
    "catch",
    "return",
    "else",
    "do",
    "foreach",
    "using",
    "lock",
    "new",
    "throw",
}
_BRACED = {".c", ".cc", ".cpp", ".cs", ".cxx", ".dart", ".h", ".hh", ".hpp", ".java", ".m"}


@dataclass(frozen=True)
class _Definition:
    line: int  # from 0, of its first decorator
    level: int
    name: str


def read_program(source: Source) -> PlainText:
    """Return source code to the letter but for tabs, under headings that name its definitions."""
    plain = PlainText(title=source.name)
    lines = plain.clean(decode(source.content, plain).expandtabs(_TAB)).split("\n")
    definitions = _python_definitions("\n".join(lines)) if source.suffix in (".py", ".pyi") else None
    if definitions is None:
        definitions = list(_definitions(lines, is_braced=source.suffix in _BRACED))
    start = 0
    for definition in definitions:
        plain.add("\n".join(lines[start : definition.line]).strip("\n").rstrip())
        plain.add(definition.name, level=min(_DEEPEST, definition.level))
        start = definition.line
    plain.add("\n".join(lines[start:]).strip("\n").rstrip())
    return plain


def _python_definitions(code: str) -> list[_Definition] | None:
    """Return the classes and functions of Python code; None if it is not of this version's syntax."""
    try:
        with warnings.catch_warnings(action="ignore"):
            tree = ast.parse(code)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None
    return sorted(_below(tree, level=1), key=lambda each: each.line)


def _below(node: ast.AST, *, level: int) -> Iterator[_Definition]:
    """Yield classes, functions and methods; a function within a function belongs to it."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            first = min([child.lineno, *(each.lineno for each in child.decorator_list)])
            yield _Definition(line=first - 1, level=level, name=child.name)
            if isinstance(child, ast.ClassDef):
                yield from _below(child, level=level + 1)
        elif isinstance(child, ast.If | ast.Try | ast.With):
            yield from _below(child, level=level)


def _without_comments(lines: list[str]) -> Iterator[tuple[int, str]]:
    """Yield the numbered lines that no comment of C's form covers; longer ones are generated code."""
    is_comment = False
    for number, line in enumerate(lines):
        is_comment = is_comment or line.lstrip().startswith("/*")
        if not is_comment and len(line) <= _LONGEST_LINE:
            yield number, line
        is_comment = is_comment and "*/" not in line


def _definitions(lines: list[str], *, is_braced: bool) -> Iterator[_Definition]:
    indents: list[int] = []
    for number, line in _without_comments(lines):
        found = _NAMED.match(line) or _ASSIGNED.match(line) or (_TYPED.match(line) if is_braced else None)
        if found is None or found["name"].lower() in _NOT_NAMES or line.lstrip().split(" ", 1)[0] in _NOT_NAMES:
            continue
        indent = len(found["indent"])
        while indents and indents[-1] >= indent:
            indents.pop()
        indents.append(indent)
        yield _Definition(line=number, level=len(indents), name=found["name"])
