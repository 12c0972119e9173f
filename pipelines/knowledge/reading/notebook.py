"""Jupyter notebooks (nbformat 3 and 4): prose, code, and what it printed."""

from __future__ import annotations

import re

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from pipelines.errors import DataError
from pipelines.knowledge.reading.encoding import decode
from pipelines.knowledge.reading.markup import add_markdown
from pipelines.knowledge.reading.plain import PlainText, Source

# A training's progress may fill pages; what it tells stands at the beginning.
_LONGEST_OUTPUT_CHARS = 2_000
# Of a line that was written anew again and again, as progress is, the last state is seen.
_OVERWRITTEN = re.compile(r"^[^\n]*\r(?=[^\r\n])", re.MULTILINE)
_Lines = str | list[str]


class _Output(BaseModel):
    model_config = ConfigDict(extra="ignore")

    text: _Lines = ""
    data: dict[str, object] = {}
    ename: str = ""  # of an error
    evalue: str = ""

    def shown(self) -> str:
        text = _joined(self.text) or _joined(self.data.get("text/plain", ""))
        error = f"{self.ename}: {self.evalue}" if self.ename else ""
        return _OVERWRITTEN.sub("", text) or error


class _Cell(BaseModel):
    model_config = ConfigDict(extra="ignore")

    cell_type: str
    source: _Lines = ""
    input: _Lines = ""  # the code, in format 3
    outputs: list[_Output] = []


class _Worksheet(BaseModel):
    cells: list[_Cell] = []


class _Notebook(BaseModel):
    model_config = ConfigDict(extra="ignore")

    nbformat: int = Field(ge=3)
    cells: list[_Cell] = []
    worksheets: list[_Worksheet] = []  # format 3


def read_notebook(source: Source) -> PlainText:
    """Return the cells of a notebook in order, with the text that they printed.

    Raises:
        DataError: It is not a notebook.
    """
    plain = PlainText()
    try:
        notebook = _Notebook.model_validate_json(decode(source.content, plain))
    except ValidationError as error:
        problem = error.errors()[0]
        where = ".".join(map(str, problem["loc"])) or "the file"
        raise DataError(
            f"is not a readable notebook: {where}: {problem['msg']}", hint="Open it in Jupyter and save it again."
        ) from error
    for cell in [*notebook.cells, *(cell for sheet in notebook.worksheets for cell in sheet.cells)]:
        _add_cell(plain, cell)
    return plain


def _add_cell(plain: PlainText, cell: _Cell) -> None:
    text = _joined(cell.source) or _joined(cell.input)
    if cell.cell_type != "code":
        add_markdown(plain, text)
        return
    plain.add(plain.clean(text.expandtabs(4)).strip("\n"))
    for output in cell.outputs:
        shown = plain.clean(output.shown()).strip("\n").rstrip()
        if len(shown) > _LONGEST_OUTPUT_CHARS:
            shown = shown[:_LONGEST_OUTPUT_CHARS] + " …"
            plain.hidden["long outputs' ends"] += 1
        plain.add(shown)


def _joined(lines: object) -> str:
    if isinstance(lines, list):
        return "".join(line for line in lines if isinstance(line, str))
    return lines if isinstance(lines, str) else ""
