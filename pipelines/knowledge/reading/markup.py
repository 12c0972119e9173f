"""HTML and Markdown as plain text with headings."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from markdown_it import MarkdownIt
from selectolax.lexbor import LexborHTMLParser, LexborNode

from pipelines.errors import DataError
from pipelines.knowledge.reading.encoding import decode
from pipelines.knowledge.reading.hidden import remove_unseen
from pipelines.knowledge.reading.plain import PlainText, Source

# Not content: navigation, code that runs, forms, and pictures drawn with letters.
_DROPPED = (
    "head, script, style, template, noscript, nav, footer, aside, form, button, svg, iframe, object, "
    "[aria-hidden=true], "
    ".navheader, .navfooter, .toc, #toc"
)
_HEADINGS = {f"h{level}": level for level in range(1, 7)}
_BLOCKS = {
    *("html", "body", "main", "article", "section", "header", "div", "p", "blockquote", "figure", "figcaption"),
    *("ul", "ol", "li", "dl", "dt", "dd", "table", "thead", "tbody", "tfoot", "tr", "caption", "details", "summary"),
    *_HEADINGS,
}
_CHARSET = re.compile(rb"<meta[^>]+charset=[\"']?([\w-]+)", re.IGNORECASE)
_FRONT_MATTER = re.compile(r"\A---\r?\n.*?\n---\r?\n", re.DOTALL)


def read_html(source: Source) -> PlainText:
    """Return the content of an HTML page as text; navigation and hidden parts are left out."""
    plain = PlainText()
    declared = _CHARSET.search(source.content[:2048])
    add_html(plain, decode(source.content, plain, declared=declared[1].decode() if declared else ""))
    return plain


def read_markdown(source: Source) -> PlainText:
    """Return the content of a Markdown file as text."""
    plain = PlainText()
    add_markdown(plain, decode(source.content, plain))
    return plain


def add_markdown(plain: PlainText, markdown: str) -> None:
    """Append the content of Markdown text."""
    body = _FRONT_MATTER.sub("", markdown)
    add_html(plain, MarkdownIt("commonmark").enable(["table", "strikethrough"]).render(body))


def add_html(plain: PlainText, html: str) -> None:
    """Append the content of a page; its title stands in where there is no heading.

    Raises:
        DataError: Its elements are nested too deeply.
    """
    tree = LexborHTMLParser(html)
    title = tree.css_first("title")
    page_title = plain.fold(title.text()) if title is not None else ""
    remove_unseen(tree, plain, dropped=_DROPPED)
    if tree.body is not None:
        try:
            _walk(tree.body, plain, _Pending())
        except RecursionError as error:
            raise DataError("its elements are nested too deeply", hint="Save it as plain text.") from error
    plain.title = plain.title or page_title


@dataclass
class _Pending:
    """Inline text that is not yet a block."""

    pieces: list[str] = field(default_factory=list)
    mark: str = ""  # what the next block begins with, such as a list item's hyphen

    def flush(self, plain: PlainText, *, level: int = 0) -> None:
        text = plain.fold("".join(self.pieces))
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
            plain.add(plain.clean(child.text().expandtabs(4)).strip("\n"))
        elif tag == "tr":
            pending.flush(plain)
            plain.add_row(plain.fold(cell.text(separator=" ")) for cell in child.css("td, th"))
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
