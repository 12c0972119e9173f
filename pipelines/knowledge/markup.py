"""HTML and Markdown as plain text with headings."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from markdown_it import MarkdownIt
from selectolax.lexbor import LexborHTMLParser, LexborNode

from pipelines.errors import DataError
from pipelines.text import clean_text, fold_space

# Not content: navigation, code that runs, forms, and what a reader cannot see.
_DROPPED = (
    "head, script, style, template, noscript, nav, footer, aside, form, button, svg, iframe, object, "
    "[hidden], [aria-hidden=true], [style*='display:none'], [style*='display: none'], "
    ".navheader, .navfooter, .toc, #toc"
)
_HEADINGS = {f"h{level}": level for level in range(1, 7)}
_BLOCKS = {
    *("html", "body", "main", "article", "section", "header", "div", "p", "blockquote", "figure", "figcaption"),
    *("ul", "ol", "li", "dl", "dt", "dd", "table", "thead", "tbody", "tfoot", "tr", "caption", "details", "summary"),
    *_HEADINGS,
}
_FRONT_MATTER = re.compile(r"\A---\r?\n.*?\n---\r?\n", re.DOTALL)


@dataclass
class PlainText:
    """Text that grows block by block, with the headings in it."""

    blocks: list[str] = field(default_factory=list)
    headings: list[tuple[int, int, str]] = field(default_factory=list)  # offset, level, title
    title: str = ""
    length: int = 0

    def add(self, block: str, *, level: int = 0) -> None:
        """Append a block; `level` is above 0 for a heading."""
        if not block:
            return
        if level:
            self.headings.append((self.length, level, block))
            self.title = self.title or block
            block = "#" * level + " " + block
        self.blocks.append(block)
        self.length += len(block) + 2

    @property
    def text(self) -> str:
        """All blocks, with an empty line between them."""
        return "\n\n".join(self.blocks)


def read_html(html: str) -> PlainText:
    """Return the content of an HTML page as text; navigation and hidden parts are left out."""
    tree = LexborHTMLParser(html)
    title = tree.css_first("title")
    page_title = fold_space(clean_text(title.text())) if title is not None else ""
    plain = PlainText()
    for node in tree.css(_DROPPED):
        node.decompose()
    if tree.body is not None:
        try:
            _walk(tree.body, plain, _Pending())
        except RecursionError as error:
            raise DataError("its elements are nested too deeply") from error
    plain.title = plain.title or page_title
    return plain


def read_markdown(markdown: str) -> PlainText:
    """Return the content of a Markdown file as text."""
    body = _FRONT_MATTER.sub("", markdown)
    return read_html(MarkdownIt("commonmark").enable(["table", "strikethrough"]).render(body))


@dataclass
class _Pending:
    """Inline text that is not yet a block."""

    pieces: list[str] = field(default_factory=list)
    mark: str = ""  # what the next block begins with, such as a list item's hyphen

    def flush(self, plain: PlainText, *, level: int = 0) -> None:
        text = fold_space(clean_text("".join(self.pieces)))
        self.pieces.clear()
        if text:
            plain.add(self.mark + text, level=level)
            self.mark = ""


def _walk(node: LexborNode, plain: PlainText, pending: _Pending) -> None:
    child = node.child
    while child is not None:
        tag = child.tag or ""
        if tag == "-text":
            pending.pieces.append(child.text_content or "")
        elif tag == "br":
            pending.pieces.append(" ")
        elif tag == "pre":
            pending.flush(plain)
            plain.add(clean_text(child.text()).strip("\n"))
        elif tag == "tr":
            pending.flush(plain)
            cells = [_inline(cell) for cell in child.css("td, th")]
            plain.add(" | ".join(cell for cell in cells if cell))
        elif tag in _BLOCKS:
            pending.flush(plain)
            if tag == "li":
                pending.mark = "- "
            _walk(child, plain, pending)
            pending.flush(plain, level=_HEADINGS.get(tag, 0))
            pending.mark = ""
        elif not tag.startswith(("-", "_", "!")):
            _walk(child, plain, pending)
        child = child.next
    if node.tag == "body":
        pending.flush(plain)


def _inline(node: LexborNode) -> str:
    return fold_space(clean_text(node.text(separator=" ")))
