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

# Not content: navigation, code that runs, what is filled in or played, readings above characters. A
# note within the text is content, an aside of the whole page is not.
_DROPPED = (
    "head, script, style, template, noscript, nav, footer, svg, iframe, object, video, audio, canvas, rt, rp, "
    "button, select, textarea, input, datalist, [aria-hidden=true], [role=navigation], [role=search], "
    "aside:not(:is(article, main, section, [role=main]) *, [role=note], [role^=doc-], [epub\\:type]), "
    ".navheader, .navfooter, .docnav, .headerlink, .toc, #toc"
)
# A table with one of these in it, and no names of columns, is the page's layout.
_LAYOUT = "table, pre, h1, h2, h3, h4, h5, h6"
_MOST_SPANNED = 100
_BREAK = "\v"
_LISTS = ("ul", "ol")
_HEADINGS = {f"h{level}": level for level in range(1, 7)}
_BLOCKS = {
    *("html", "body", "main", "article", "section", "header", "address", "form", "fieldset", "div", "p", "pre"),
    *("blockquote", "figure", "figcaption", "ul", "ol", "li", "dl", "dt", "dd", "details", "summary"),
    *("table", "caption", "thead", "tbody", "tfoot", "tr", "th", "td"),
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
    lists: int = 0  # around it

    def flush(self, plain: PlainText, *, level: int = 0) -> None:
        text = plain.fold("".join(self.pieces))
        self.pieces.clear()
        if text:
            plain.add(self.mark + text, level=level)
            self.mark = ""

    @property
    def is_broken(self) -> bool:
        """Whether the line has ended, with nothing after it yet."""
        return next((piece for piece in reversed(self.pieces) if piece.strip(" \t\r\n")), "") == _BREAK


def _walk(node: LexborNode, plain: PlainText, pending: _Pending) -> None:
    child = node.child
    while child is not None:
        tag = child.tag or ""
        if tag == "-text":
            pending.pieces.append(child.text_content or "")
        elif tag == "br":
            if pending.is_broken:
                pending.flush(plain)
            pending.pieces.append(_BREAK)
        elif tag in _BLOCKS:
            pending.flush(plain)
            _add_block(child, plain, pending)
        elif not tag.startswith(("-", "_", "!")):
            _walk(child, plain, pending)
        child = child.next
    if node.tag == "body":
        pending.flush(plain)


def _add_block(node: LexborNode, plain: PlainText, pending: _Pending) -> None:
    tag = node.tag or ""
    if tag == "pre":
        for line_end in node.css("br"):
            line_end.replace_with("\n")
        plain.add(plain.clean(node.text().expandtabs(4)).strip("\n"))
    elif tag == "table" and _is_data(node):
        _add_table(node, plain)
    else:
        if tag == "li":
            pending.mark = "  " * (pending.lists - 1) + "- "
        pending.lists += tag in _LISTS
        _walk(node, plain, pending)
        pending.lists -= tag in _LISTS
        pending.flush(plain, level=_HEADINGS.get(tag, 0))
        pending.mark = ""


def _is_data(table: LexborNode) -> bool:
    return bool(_own(table, "th, caption")) or all(each.mem_id == table.mem_id for each in table.css(_LAYOUT))


def _own(table: LexborNode, selector: str) -> list[LexborNode]:
    """Return what is selected in a table, but not in a table within it."""
    return [each for each in table.css(selector) if _table_of(each) == table.mem_id]


def _table_of(node: LexborNode) -> int:
    above = node.parent
    while above is not None and above.tag != "table":
        above = above.parent
    return above.mem_id if above is not None else 0


def _add_table(table: LexborNode, plain: PlainText) -> None:
    """Append the rows of a table; what stretches over several rows is said in each of them."""
    for caption in _own(table, "caption"):
        plain.add(_text(caption, plain))
    stretched: dict[int, tuple[int, str]] = {}  # by column: how many more rows, and the text
    for row in _own(table, "tr"):
        cells: dict[int, str] = {column: text for column, (_more, text) in stretched.items()}
        stretched = {column: (more - 1, text) for column, (more, text) in stretched.items() if more > 1}
        column = 0
        for cell in (each for each in row.iter() if each.tag in ("td", "th")):
            while column in cells:
                column += 1
            cells[column] = text = _text(cell, plain)
            rows, columns = _span(cell, "rowspan"), _span(cell, "colspan")
            if rows > 1:
                stretched[column] = (rows - 1, text)
            for covered in range(column + 1, column + columns):
                cells[covered] = ""
            column += columns
        plain.add_row(cells.get(number, "") for number in range(max(cells, default=-1) + 1))


def _text(node: LexborNode, plain: PlainText) -> str:
    """Return what is below a node on one line."""
    inner = PlainText(hidden=plain.hidden)
    pending = _Pending()
    _walk(node, inner, pending)
    pending.flush(inner)
    return " ".join(inner.blocks)


def _span(cell: LexborNode, name: str) -> int:
    value = cell.attributes.get(name) or ""
    return min(_MOST_SPANNED, int(value)) if value.isdecimal() and int(value) else 1
