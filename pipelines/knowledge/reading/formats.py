"""Which kinds of files are read, and by which reader."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from pipelines.errors import DataError
from pipelines.knowledge.reading.plain import PlainText, Source
from pipelines.lazy import lazy_import

if TYPE_CHECKING:
    from pipelines.knowledge.reading import book, mail, markup, notebook, pdf, program, prose, sheets, slides, word
else:
    book = lazy_import("pipelines.knowledge.reading.book", extra="docs")
    mail = lazy_import("pipelines.knowledge.reading.mail", extra="docs")
    markup = lazy_import("pipelines.knowledge.reading.markup", extra="docs")
    notebook = lazy_import("pipelines.knowledge.reading.notebook", extra="docs")
    pdf = lazy_import("pipelines.knowledge.reading.pdf", extra="docs")
    program = lazy_import("pipelines.knowledge.reading.program", extra="docs")
    prose = lazy_import("pipelines.knowledge.reading.prose", extra="docs")
    sheets = lazy_import("pipelines.knowledge.reading.sheets", extra="docs")
    slides = lazy_import("pipelines.knowledge.reading.slides", extra="docs")
    word = lazy_import("pipelines.knowledge.reading.word", extra="docs")

Reader = Callable[[Source], PlainText]
_PROGRAMS = (
    *(".bash", ".c", ".cc", ".cpp", ".cs", ".cxx", ".dart", ".ex", ".exs", ".go", ".h", ".hh", ".hpp", ".hs"),
    *(".java", ".jl", ".js", ".jsx", ".kt", ".kts", ".lua", ".m", ".mjs", ".php", ".pl", ".pm", ".ps1", ".py"),
    *(".pyi", ".r", ".rb", ".rs", ".scala", ".sh", ".sql", ".swift", ".ts", ".tsx", ".vb", ".zig"),
)
# Each goes through a function of its own, so that naming a reader imports nothing.
_READERS: dict[Reader, tuple[str, ...]] = {
    lambda source: book.read_epub(source): (".epub",),
    lambda source: mail.read_mail(source): (".eml",),
    lambda source: mail.read_mailbox(source): (".mbox",),
    lambda source: markup.read_html(source): (".htm", ".html", ".xhtml"),
    lambda source: markup.read_markdown(source): (".markdown", ".md"),
    lambda source: notebook.read_notebook(source): (".ipynb",),
    lambda source: pdf.read_pdf(source): (".pdf",),
    lambda source: program.read_program(source): _PROGRAMS,
    lambda source: prose.read_log(source): (".log",),
    lambda source: prose.read_text(source): (".rst", ".text", ".txt"),
    lambda source: sheets.read_table(source): (".csv", ".tsv"),
    lambda source: sheets.read_workbook(source): (".xlsm", ".xlsx"),
    lambda source: slides.read_presentation(source): (".pptx",),
    lambda source: word.read_word(source): (".docx",),
}
_BY_SUFFIX = {suffix: reader for reader, suffixes in _READERS.items() for suffix in suffixes}
READABLE_SUFFIXES = frozenset(_BY_SUFFIX)


def read_source(source: Source) -> PlainText:
    """Read the text of a file by the reader for its suffix.

    Raises:
        DataError: It is of an unknown kind, broken, or not to be read.
        MissingExtraError: The library for this kind is not installed.
    """
    reader = _BY_SUFFIX.get(source.suffix)
    if reader is None:
        raise DataError(
            f"is of a kind that cannot be read: {source.suffix or 'no suffix'}",
            hint=f"Readable: {' '.join(sorted(READABLE_SUFFIXES))}.",
        )
    return reader(source)
