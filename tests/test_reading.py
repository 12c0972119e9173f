"""Each family of formats: what is understood of a file, and what of it is hidden."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Sequence
from email.message import EmailMessage
from email.mime.text import MIMEText
from pathlib import Path

import docx
import openpyxl
import pptx
import pytest
from docx.opc.constants import RELATIONSHIP_TYPE
from docx.opc.packuri import PackURI
from docx.opc.part import Part
from docx.oxml import OxmlElement, parse_xml
from docx.oxml.ns import nsdecls
from docx.oxml.xmlchemy import BaseOxmlElement
from docx.shared import Pt, RGBColor
from pptx.chart.data import CategoryChartData
from pptx.enum.chart import XL_CHART_TYPE
from pptx.util import Inches

from pipelines.errors import DataError
from pipelines.knowledge.chunk import chunk_document
from pipelines.knowledge.parse import read_document
from pipelines.records import Document
from tests.test_parse import make_pdf

PNG = b"\x89PNG\r\n\x1a\n"


def read(folder: Path, name: str, content: str | bytes) -> Document:
    """Write a file and read it as a document."""
    path = folder / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return read_document(path, document_id=name, max_megabytes=20)


def blocks(document: Document) -> list[str]:
    """Return a document's text, block by block."""
    return document.text.split("\n\n")


def outline(document: Document) -> list[tuple[int, str]]:
    """Return level and title of the headings, each of which stands where it says."""
    for offset, level, title in document.headings:
        assert document.text[offset:].startswith(f"{'#' * level} {title}")
    return [(level, title) for _offset, level, title in document.headings]


def make_word() -> bytes:
    """Return a Word document with a list, a table, and text that is not seen."""
    word = docx.Document()
    word.core_properties.title = "Bike shop"
    word.add_heading("Hours", 1)
    paragraph = word.add_paragraph("We open ")
    paragraph.add_run("at nine").bold = True
    paragraph.add_run(" on holidays never").font.hidden = True
    paragraph.add_run(" Rides are free.").font.size = Pt(1)
    paragraph.add_run(" Obey.").font.color.rgb = RGBColor(255, 255, 255)
    deleted = OxmlElement("w:del")
    deleted.append(paragraph.add_run(" and at noon")._r)
    paragraph._p.append(deleted)
    paragraph.add_run(".")
    word.add_heading("Prices", 2)
    word.add_paragraph("a day: 9", style="List Bullet")
    table = word.add_table(rows=2, cols=2)
    for cell, text in zip([*table.rows[0].cells, *table.rows[1].cells], ["bike", "price", "red", "9"]):
        cell.text = text
    heading = word.add_heading("Returns", 1)
    heading.runs[0]._r.insert(0, OxmlElement("w:lastRenderedPageBreak"))
    word.add_paragraph("Bring it back.")
    return saved(word)


def saved(office: docx.document.Document | pptx.presentation.Presentation | openpyxl.Workbook) -> bytes:
    """Return an Office document as its bytes."""
    buffer = io.BytesIO()
    office.save(buffer)
    return buffer.getvalue()


def make_epub(chapters: Sequence[str], **extra: bytes) -> bytes:
    """Return a book of XHTML chapters, with further entries."""
    items = "".join(
        f'<item id="c{number}" href="c%20{number}.xhtml" media-type="application/xhtml+xml"/>'
        for number in range(len(chapters))
    )
    spine = "".join(f'<itemref idref="c{number}"/>' for number in reversed(range(len(chapters))))
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr(
            "META-INF/container.xml",
            '<container xmlns="urn:oasis:names:tc:opendocument:xmlns:container"><rootfiles>'
            '<rootfile full-path="OEBPS/book.opf"/></rootfiles></container>',
        )
        archive.writestr(
            "OEBPS/book.opf",
            '<package xmlns="http://www.idpf.org/2007/opf"><metadata xmlns:dc="http://purl.org/dc/elements/1.1/">'
            '<dc:title>Bike book</dc:title></metadata><manifest><item id="n" href="nav.xhtml" properties="nav" '
            f'media-type="application/xhtml+xml"/>{items}</manifest><spine><itemref idref="n"/>'
            f"{spine}</spine></package>",
        )
        archive.writestr("OEBPS/nav.xhtml", "<nav>Contents</nav>")
        for number, chapter in enumerate(chapters):
            archive.writestr(f"OEBPS/c {number}.xhtml", f"<html><body>{chapter}</body></html>")
        for name, content in extra.items():
            archive.writestr(name, content)
    return buffer.getvalue()


def test_word(tmp_path: Path) -> None:
    """Headings, lists, tables and pages survive; deleted and hidden text does not."""
    document = read(tmp_path, "a.docx", make_word())
    assert blocks(document) == [
        *("# Hours", "We open at nine.", "## Prices", "- a day: 9", "bike | price", "red | 9"),
        *("# Returns", "Bring it back."),
    ]
    assert outline(document) == [(1, "Hours"), (2, "Prices"), (1, "Returns")]
    assert document.title == "Bike shop"
    assert document.notes == ("left out 3 hidden pieces of text",)
    assert document.page_at(document.text.index("red")) == 1
    assert document.page_at(document.text.index("# Returns")) == 2


def test_a_word_style_can_hide(tmp_path: Path) -> None:
    """Text is hidden by its style too, and shown where a run says otherwise."""
    word = docx.Document()
    word.styles["Quote"].font.hidden = True
    word.add_paragraph("Secret.", style="Quote")
    word.add_paragraph("", style="Quote").add_run("Shown.").font.hidden = False
    assert read(tmp_path, "a.docx", saved(word)).text == "Shown."


def word_xml(name: str, inside: str) -> BaseOxmlElement:
    """Return an element of a Word document."""
    spaces = f'{nsdecls("w")} xmlns:m="http://schemas.openxmlformats.org/officeDocument/2006/math"'
    return parse_xml(f"<{name} {spaces}>{inside}</{name}>")


def test_what_stands_beside_a_paragraph_comes_after_it(tmp_path: Path) -> None:
    """Notes and text boxes follow the paragraph that they belong to, once; comments are counted."""
    word = docx.Document()
    paragraph = word.add_paragraph("We open")
    text = "<w:p><w:r><w:t>{}</w:t></w:r></w:p>"
    paragraph._p.append(word_xml("w:r", '<w:footnoteReference w:id="2"/>'))
    paragraph._p.append(word_xml("w:r", f"<w:txbxContent>{text.format('A box.')}</w:txbxContent>"))
    paragraph._p.append(word_xml("w:r", "<w:t> at nine,</w:t><w:br/><w:t>non</w:t><w:noBreakHyphen/><w:t>stop</w:t>"))
    paragraph._p.append(word_xml("m:oMath", "<m:r><m:t>: 24-9</m:t></m:r>"))
    word.add_comment(paragraph.runs, text="Really?")
    word.add_heading("Prices", 1)
    note = f'<w:footnote w:id="2">{text.format("Except on holidays.")}</w:footnote>'
    notes = f"<w:footnotes {nsdecls('w')}>{note}</w:footnotes>".encode()
    part = Part(PackURI("/word/footnotes.xml"), "text/xml", notes, word.part.package)
    word.part.relate_to(part, RELATIONSHIP_TYPE.FOOTNOTES)
    document = read(tmp_path, "a.docx", saved(word))
    assert blocks(document) == ["We open at nine,\nnon-stop: 24-9", "Except on holidays.", "A box.", "# Prices"]
    assert document.notes == ("left out 1 comments",)


def test_tables_and_lists_of_a_word_document(tmp_path: Path) -> None:
    """Merged cells are said in each row, a table in a cell is read once, a frame is none, inner lists are moved in."""
    word = docx.Document()
    table = word.add_table(rows=3, cols=3)
    for cell, text in zip(table._cells, ["bike", "day", "week", "city", "", "40", "", "9", "45"], strict=True):
        cell.text = text
    table.cell(1, 0).merge(table.cell(2, 0))
    table.cell(1, 2).add_table(1, 1).cell(0, 0).text = "or less"
    word.add_table(1, 1).cell(0, 0).add_paragraph("bring", style="List Bullet")
    word.add_paragraph("a lock", style="List Bullet 2")
    assert blocks(read(tmp_path, "a.docx", saved(word))) == [
        *("bike | day | week", "city |  | 40 or less", "city | 9 | 45", "- bring", "  - a lock"),
    ]


def test_slides(tmp_path: Path) -> None:
    """Each slide is a page under its title; hidden slides and shapes are left out, notes are kept."""
    show = pptx.Presentation()
    for title in ("Hours", "Secret", "Prices"):
        slide = show.slides.add_slide(show.slide_layouts[5])
        slide.shapes.title.text = title
        for text in ("We open at nine.", "Obey."):
            slide.shapes.add_textbox(0, 0, Inches(1), Inches(1)).text_frame.text = text
        slide.shapes[-1]._element.nvSpPr.cNvPr.set("hidden", "1")
    show.slides[1]._element.set("show", "0")
    table = show.slides[2].shapes.add_table(1, 2, 0, 0, Inches(1), Inches(1)).table
    table.cell(0, 0).text, table.cell(0, 1).text = "red", "9"
    show.slides[2].notes_slide.notes_text_frame.text = "Say hello."
    document = read(tmp_path, "a.pptx", saved(show))
    assert blocks(document) == ["# Hours", "We open at nine.", "# Prices", "We open at nine.", "red | 9", "Say hello."]
    assert document.page_at(document.text.index("Prices")) == 3
    assert document.notes == ("left out 2 hidden shapes", "left out 1 hidden slides")


def test_charts_and_lists_of_slides(tmp_path: Path) -> None:
    """A chart is read as its numbers, and an inner list is moved in."""
    show = pptx.Presentation()
    slide = show.slides.add_slide(show.slide_layouts[1])
    slide.shapes.title.text = "Rides"
    text_frame = slide.placeholders[1].text_frame
    for number, paragraph in enumerate(
        [text_frame.paragraphs[0], text_frame.add_paragraph(), text_frame.add_paragraph()]
    ):
        paragraph.text, paragraph.level = f"item {number}", number
    data = CategoryChartData()
    data.categories = ["May", "June"]
    data.add_series("city", (1, 2.5))
    data.add_series("cargo", (None, 3))
    frame = slide.shapes.add_chart(XL_CHART_TYPE.COLUMN_CLUSTERED, 0, 0, Inches(3), Inches(3), data)
    frame.chart.chart_title.text_frame.text = "By month"
    assert blocks(read(tmp_path, "a.pptx", saved(show))) == [
        *("# Rides", "item 0", "- item 1", "  - item 2", "By month", "| city | cargo", "May | 1", "June | 2.5 | 3"),
    ]


def test_sheets(tmp_path: Path) -> None:
    """Each sheet is a page; cells come with their column's name; what is hidden is left out."""
    book = openpyxl.Workbook()
    sheet = book.active
    sheet.title = "Bikes"
    for row in (["bike", "price", "cost"], ["red", 9.5, 3], ["blue", 8, 2], ["old", 1, 1]):
        sheet.append(row)
    sheet.cell(row=1_048_576, column=16_384, value="far away")
    sheet.column_dimensions["C"].hidden = True
    sheet.row_dimensions[4].hidden = True
    secret = book.create_sheet("Secret")
    secret.append(["Obey."])
    secret.sheet_state = "veryHidden"
    book.create_sheet("Notes").append(["Open daily."])
    document = read(tmp_path, "a.xlsx", saved(book))
    assert document.text.split("\n") == [
        *("# Bikes", "", "bike | price", "bike: red | price: 9.5", "bike: blue | price: 8", "", "far away"),
        *("", "# Notes", "", "Open daily."),
    ]
    assert document.page_at(document.text.index("Open daily")) == 3
    assert document.notes == ("left out 6 hidden cells", "left out 1 hidden sheets")


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.csv", 'bike,price\nred,"9\nor 8"\nblue,\n'),
        ("a.csv", "\ufeffbike;price\r\nred;9 or 8\r\nblue;\r\n"),
        ("a.tsv", "bike\tprice\nred\t9 or 8\nblue\t\n"),
    ],
)
def test_tables_of_text(tmp_path: Path, name: str, content: str) -> None:
    """Whatever separates the cells, a row says what each of them is."""
    assert read(tmp_path, name, content).text.split("\n") == ["bike | price", "bike: red | price: 9 or 8", "bike: blue"]


def test_a_sheet_as_people_make_them(tmp_path: Path) -> None:
    """A title above a table, merged cells, percents and a second table below are read as they are meant."""
    book = openpyxl.Workbook()
    sheet = book.active
    for row in (["Prices 2024"], ["bike", "model", "off"], ["city", "red", 0.25], [None, "blue", None], [None]):
        sheet.append(row)
    for row in (["city", "old", 1], [None], ["Phones"], ["name", "number"], ["Ann", "0123"], [None, "=1+1"]):
        sheet.append(row)
    sheet.merge_cells("A1:C1")
    sheet.merge_cells("A3:A4")
    sheet["C3"].number_format = "0%"
    sheet["C6"].number_format = ";;;"
    document = read(tmp_path, "a.xlsx", saved(book))
    assert document.text.split("\n")[2:] == [
        *("Prices 2024", "bike | model | off", "bike: city | model: red | off: 25%", "bike: city | model: blue"),
        *("bike: city | model: old", "", "Phones", "name | number", "name: Ann | number: 0123"),
    ]
    assert document.notes == ("left out 1 formulas without a saved value", "left out 1 hidden cells")


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("# of 2024\nbike;price\nred;9,5\nblue;10,5\n", ["# of 2024", "bike | price", "bike: red | price: 9,5"]),
        ("year,2023,2023\n,spring,fall\nred,,9\n", ["year | 2023 | 2023", "| spring | fall", "red |  | 9"]),
        ("A title\nOne, two\nThree\n", ["A title", "One | two", "Three"]),
    ],
)
def test_cells_keep_their_columns(tmp_path: Path, content: str, expected: list[str]) -> None:
    """Whatever stands above, and where nothing names the columns, a cell is in its own."""
    assert read(tmp_path, "a.csv", content).text.split("\n")[:3] == expected


def test_a_table_without_names(tmp_path: Path) -> None:
    """A first row with numbers in it is a row like the others."""
    assert read(tmp_path, "a.csv", "red,9\nblue,8\n").text == "red | 9\nblue | 8"


def test_a_book(tmp_path: Path) -> None:
    """Chapters come in the order of the spine, without the table of contents."""
    document = read(tmp_path, "a.epub", make_epub(["<h1>Two</h1><p>b</p>", "<h1>One</h1><p>a</p>"]))
    assert blocks(document) == ["# One", "a", "# Two", "b"]
    assert document.title == "Bike book"


def test_a_protected_book_is_refused(tmp_path: Path) -> None:
    """A book that only a vendor's program may open is told from a broken one; scrambled fonts are none of that."""
    rights = '<encryption><EncryptedData><EncryptionMethod Algorithm="{}"/></EncryptedData></encryption>'
    font = make_epub(
        ["<p>a</p>"], **{"META-INF/encryption.xml": rights.format("http://www.idpf.org/2008/embedding").encode()}
    )
    assert read(tmp_path, "a.epub", font).text == "a"
    text = make_epub(["<p>a</p>"], **{"META-INF/encryption.xml": rights.format("urn:aes128").encode()})
    with pytest.raises(DataError, match="is encrypted"):
        read(tmp_path, "a.epub", text)


def make_message(subject: str, text: str, *, html: str = "", attachments: Sequence[str] = ()) -> EmailMessage:
    """Return a message."""
    message = EmailMessage()
    message["Subject"], message["From"], message["To"] = subject, "Ann <ann@example.org>", "bob@example.org"
    message.set_content(text)
    if html:
        message.add_alternative(html, subtype="html")
    for name in attachments:
        message.add_attachment(b"PK\x03\x04 obey", maintype="application", subtype="zip", filename=name)
    return message


def test_a_message(tmp_path: Path) -> None:
    """The plain text is preferred; attachments are named and not opened, forwarded messages are read."""
    message = make_message("租车 hours", "We open at nine.", html="<p>Other.</p>", attachments=["../a.zip"])
    message.add_attachment(make_message("Prices", "A day: 9"))
    document = read(tmp_path, "a.eml", bytes(message))
    assert blocks(document) == [
        *("# 租车 hours", "From: Ann <ann@example.org>\nTo: bob@example.org", "We open at nine."),
        *("Attachment: ../a.zip", "## Prices", "From: Ann <ann@example.org>\nTo: bob@example.org", "A day: 9"),
    ]
    assert document.title == "租车 hours"
    assert document.notes == ("did not open the attachment ../a.zip",)


def test_a_message_in_an_old_charset(tmp_path: Path) -> None:
    """The declared encoding counts, and one that does not exist is no reason to give up."""
    for charset, body in (("gb2312", "租车店九点开门。".encode("gb18030")), ("x-none", "租车店九点开门。".encode())):
        content = f"Subject: a\nContent-Type: text/plain; charset={charset}\nContent-Transfer-Encoding: 8bit\n\n"
        assert "租车店九点开门。" in read(tmp_path, "a.eml", content.encode() + body).text


def test_all_parts_of_a_message_that_are_its_text_are_read(tmp_path: Path) -> None:
    """Text after a picture, and a list's footer, are read; of alternatives one that says something."""
    message = make_message("Hours", " ", html="<p>We open at nine.</p>")
    message.make_mixed()
    message.attach(MIMEText("Bike shop mailing list"))
    message.attach(MIMEText("a,b", "csv"))
    document = read(tmp_path, "a.eml", bytes(message))
    assert blocks(document)[2:] == ["We open at nine.", "Bike shop mailing list", "Attachment: text/csv"]


def test_a_mailbox(tmp_path: Path) -> None:
    """Messages are told apart, and quoted separators are text."""
    first = b"From ann@example.org Mon Jan  1 09:00:00 2024\nSubject: One\n\nHello.\n>From here on 2024 it is text.\n\n"
    second = b"From bob@example.org Tue Jan  2 09:00:00 2024\nSubject: Two\n\nBye.\n"
    document = read(tmp_path, "a.mbox", first + second)
    assert blocks(document) == ["# One", "Hello.\nFrom here on 2024 it is text.", "# Two", "Bye."]
    assert document.title == "a.mbox"
    with pytest.raises(DataError, match="is not a mailbox"):
        read(tmp_path, "a.mbox", b"Hello.")


def make_notebook(**change: object) -> str:
    """Return a notebook of one cell of prose and one of code."""
    code = {
        "cell_type": "code",
        "source": ["def open():\n", "\treturn 9\n"],
        "outputs": [{"output_type": "stream", "text": ["nine\n"]}, {"data": {"text/plain": "9", "image/png": "iVBO"}}],
    }
    cells = [{"cell_type": "markdown", "source": "# Hours\n\nWe *open*."}, code]
    return json.dumps({"nbformat": 4, "cells": cells} | change)


def test_a_notebook(tmp_path: Path) -> None:
    """Prose, code and what it printed come in order."""
    document = read(tmp_path, "a.ipynb", make_notebook())
    assert blocks(document) == ["# Hours", "We open.", "def open():\n    return 9", "nine", "9"]
    assert outline(document) == [(1, "Hours")]
    old = make_notebook(cells=[], nbformat=3, worksheets=[{"cells": [{"cell_type": "code", "input": "a = 1"}]}])
    assert read(tmp_path, "a.ipynb", old).text == "a = 1"


def test_what_a_cell_of_a_notebook_showed(tmp_path: Path) -> None:
    """Of progress the last state is kept, of an error what it said; columns stay below their names."""
    texts = ["\x1b[31m 10%\r 99%\x1b[0m\r100%\n", "   a  b\n0  1  2\n"]
    outputs = [*({"text": text} for text in texts), {"ename": "ValueError", "evalue": "no deposit", "traceback": ["x"]}]
    cell = {"cell_type": "code", "source": "", "outputs": outputs}
    document = read(tmp_path, "a.ipynb", make_notebook(cells=[cell]))
    assert document.text == "100%\n\n   a  b\n0  1  2\n\nValueError: no deposit"


@pytest.mark.parametrize(
    "content", ["{}", "[]", "[" * 100_000, make_notebook(cells=[{"source": "a"}]), '{"nbformat": 4,']
)
def test_a_broken_notebook_is_refused(tmp_path: Path, content: str) -> None:
    """Other JSON, and JSON without an end, is reported."""
    with pytest.raises(DataError, match="is not a readable notebook"):
        read(tmp_path, "a.ipynb", content)


PYTHON = '''"""Shop."""
import os

@cache
def hours():
    """class Not a class."""
    def inner(): ...
    return 9

class Bike:
    price = 9

    def ride(self):
\t    return self
'''


@pytest.mark.parametrize(
    ("name", "code", "expected"),
    [
        ("a.py", PYTHON, [(1, "hours"), (1, "Bike"), (2, "ride")]),
        ("a.py", "print 'old'\ndef hours():\n    pass\n", [(1, "hours")]),
        (
            "a.js",
            "// function no\nexport class Bike {\n}\nconst ride = async (a) => {\n}\nif (a) {\n}\n",
            [(1, "Bike"), (1, "ride")],
        ),
        (
            "a.go",
            "/* func no\n*/\nfunc (b *Bike) Ride() error {\n}\ntype Bike struct {\n}\n",
            [(1, "Ride"), (1, "Bike")],
        ),
        (
            "a.rs",
            "pub(crate) fn ride<T>(b: T) {\n}\nimpl Bike {\n    fn go(&self) {\n    }\n}\n",
            [(1, "ride"), (1, "Bike"), (2, "go")],
        ),
        (
            "A.java",
            "public class Bike {\n    public void ride(int a) {\n        go(a);\n    }\n}\n",
            [(1, "Bike"), (2, "ride")],
        ),
        ("a.c", "int ride(int a);\nstatic int ride(int a)\n{\n    return go(a);\n}\n", [(1, "ride")]),
        ("a.sql", "create table bike (id int);\n", [(1, "bike")]),
    ],
)
def test_source_code(tmp_path: Path, name: str, code: str, expected: list[tuple[int, str]]) -> None:
    """Definitions are headings, so that a chunk says what it belongs to; the code itself stays to the letter."""
    document = read(tmp_path, name, code)
    assert outline(document) == expected
    assert document.title == name
    assert all(line.expandtabs(4).rstrip() in document.text for line in code.split("\n"))
    assert any(chunk.heading.endswith(expected[-1][1]) for chunk in chunk_document(document))


def test_a_page_of_documentation(tmp_path: Path) -> None:
    """What a generator puts around the text is left out, by whatever role or class; notes in the text stay."""
    document = read(
        tmp_path,
        "a.html",
        """<div role=navigation><h3>Navigation</h3><ul><li>next</ul></div><ul class=docnav><li>Prev</ul>
        <div role=main><section><h1>Bikes<a class=headerlink href=#>¶</a></h1><form><p>We <ruby>open<rt>o</rt></ruby>.
        <label>Name</label><input value=x><button>Send</button></form>
        <aside class=footnote>Not on Sundays.</aside></section></div><aside>Advertisement</aside>""",
    )
    assert blocks(document) == ["# Bikes", "We open. Name", "Not on Sundays."]
    assert document.title == "Bikes"


def test_tables_of_a_page(tmp_path: Path) -> None:
    """Cells keep their columns, and what stretches over rows is in each; a table for layout is read as its parts."""
    table = """<table><caption>Prices</caption><tr><th rowspan=2>Bike<th colspan=2>Price<tr><th>day<th>week
        <tr><td>c<b>it</b>y<td><td>40<tr><td rowspan=2>cargo<td>15<td><table><tr><td>a<td>b</table>
        <tr><td><ul><li>16<li>17</ul><td>70</table>"""
    document = read(tmp_path, "a.html", f"<table><tr><td><h1>Shop</h1>{table}<td><pre>a\n  b<br>c</pre></table>")
    assert blocks(document) == [
        *("# Shop", "Prices", "Bike | Price", "Bike | day | week", "city |  | 40", "cargo | 15 | a | b"),
        *("cargo | - 16 - 17 | 70", "a\n  b\nc"),
    ]


def test_lists_in_lists_and_lines(tmp_path: Path) -> None:
    """An item of an inner list is moved in, and two line ends make a paragraph."""
    page = "<ul><li>a<ol><li>b<li>c</ol>d<li>e</ul>One<br>two.<br>\n<br>Three."
    expected = ["- a", "  - b", "  - c", "d", "- e", "One two.", "Three."]
    assert blocks(read(tmp_path, "a.html", page)) == expected
    assert blocks(read(tmp_path, "a.md", "- a\n  1. b\n  2. c\n- e\n"))[1:3] == ["  - b", "  - c"]


HIDDEN = [
    *('<p style="display:none">', '<p style="color: red; visibility : hidden">', '<p style="opacity:0">', "<p hidden>"),
    *('<p style="font-size:0px">', '<p style="position:absolute; left:-9999px">', '<p style="color:#FFF">'),
    *(
        '<p style="color:rgb(255, 255, 255)">',
        '<p style="color:black;background:#000000">',
        '<p style="color:rgba(0,0,0,0)">',
    ),
    *('<div style="background-color:navy"><p style="color:navy">', '<p class="x">', '<p id="y">'),
]


@pytest.mark.parametrize("tag", HIDDEN)
def test_hidden_html_is_left_out(tmp_path: Path, tag: str) -> None:
    """What a browser does not show is not read, and that is said."""
    sheet = "<style>@media print { .z { display: none } } .x, #y { display: none }</style>"
    document = read(
        tmp_path, "a.html", f"{sheet}<p>We open.</p>{tag}Obey. <b style='opacity:0'>Now.</b></p></div><p>Bye.</p>"
    )
    assert blocks(document) == ["We open.", "Bye."]
    assert document.notes == ("left out 1 hidden parts",)


@pytest.mark.parametrize(
    "tag",
    [
        *('<p style="color:#ffe">', '<p style="opacity:0.5">', '<p style="font-size:10px">', '<p class="z">'),
        *('<div style="background:black"><p style="color:white">', '<table bgcolor="black"><td style="color:white">'),
    ],
)
def test_what_is_shown_is_read(tmp_path: Path, tag: str) -> None:
    """White on black, small and half transparent text can be read, so it is."""
    sheet = "<style>@media print { .z { display: none } }</style>"
    document = read(tmp_path, "a.html", f"{sheet}{tag}We open.")
    assert (document.text, document.notes) == ("We open.", ())


@pytest.mark.parametrize("name", ["a.txt", "a.md", "a.html", "a.py", "a.csv", "a.ipynb"])
def test_hidden_characters_are_counted(tmp_path: Path, name: str) -> None:
    """Zero-width characters and the tags that spell ASCII unseen never get into a document."""
    text = "we\u200b open\u2060 \U000e004f\U000e0062at\u202e nine"
    if name == "a.ipynb":
        text = make_notebook(cells=[{"cell_type": "code", "source": text}])
    document = read(tmp_path, name, text)
    assert document.text.replace("at", "").split() == ["we", "open", "nine"]
    assert document.notes == ("left out 5 hidden characters",)


@pytest.mark.parametrize(
    ("encoding", "text"),
    [
        ("gb18030", "租车"),
        ("gb18030", "租车店每天早上九点开门，晚上六点关门。"),
        ("big5", "租車店每天早上九點開門，晚上六點關門。"),
        ("shift_jis", "私たちは毎朝九時に開店し、夕方六時に閉店します。"),
        ("cp1252", "The café opens at nine – every day; it is Zoë’s."),
        ("cp1251", "Мы открываемся каждый день в девять часов утра."),
        ("utf-16-le", "We open at nine."),
        ("utf-32", "We open at nine. 租车"),
    ],
)
@pytest.mark.parametrize("name", ["a.txt", "a.md", "a.html"])
def test_unmarked_encodings_are_told(tmp_path: Path, name: str, encoding: str, text: str) -> None:
    """A folder may hold files of any encoding that people have; a guess is noted."""
    document = read(tmp_path, name, text.encode(encoding))
    assert document.text == text
    guesses = () if encoding.startswith("utf") else (f"read as {encoding.upper()}, which fits best",)
    assert document.notes == guesses


def test_lines_of_another_encoding_are_told(tmp_path: Path) -> None:
    """A UTF-8 file into which a line was pasted as it was in another file is read whole."""
    lines = [f"租车 {number} café".encode() for number in range(20)]
    lines[7] = "The café is Zoë’s – déjà vu.".encode("cp1252")
    document = read(tmp_path, "a.log", b"\n".join(lines))
    assert document.text.split("\n")[6:9] == ["租车 6 café", "The café is Zoë’s – déjà vu.", "租车 8 café"]
    assert document.notes == ("read 1 lines that are not UTF-8 as CP1252",)


def test_pdf_text_that_is_not_drawn_is_left_out(tmp_path: Path) -> None:
    """Text in rendering mode 3 is hidden beside other text, and what OCR read where it is alone."""
    lines = ["We open at nine.", ") Tj 3 Tr (Obey.", ") Tj 0 Tr (Bye."]
    document = read(tmp_path, "a.pdf", make_pdf([lines]))
    assert "Obey" not in document.text and "open" in document.text and "Bye" in document.text
    assert document.notes == ("left out 1 invisible pieces of text",)
    scanned = read(tmp_path, "a.pdf", make_pdf([[") Tj 3 Tr (We open at nine."]]))
    assert (scanned.text, scanned.notes) == ("We open at nine.", ())


def test_running_lines_of_a_pdf_are_left_out(tmp_path: Path) -> None:
    """What stands above or below the text of every page is not content."""
    words = ["morning", "noon", "evening", "summer", "winter", "spring"]
    pages = [
        [
            f"Bike book, page {number}",
            "",
            f"In the {word} the shop is open, and in the rest of the time it is",
            "closed.",
        ]
        for number, word in enumerate(words, start=1)
    ]
    document = read(tmp_path, "a.pdf", make_pdf([[*page, "Imprint"] for page in pages]))
    assert blocks(document) == [f"{page[2]} closed." for page in pages]
    assert document.page_at(document.text.index("summer")) == 4
    form = read(tmp_path, "a.pdf", make_pdf([[f"Ticket {number}"] for number in range(1, 7)]))
    assert "Ticket 6" in form.text


def test_the_outline_of_a_pdf_tells_its_headings(tmp_path: Path) -> None:
    """Where there are bookmarks, their titles are the headings, and short lines are text."""
    lines = ["1.2 Opening hours", "Short line", "We open at nine in the morning, and we close at six in the evening."]
    content = make_pdf([lines])
    outline_objects = (
        b"90 0 obj << /Type /Outlines /First 91 0 R /Last 91 0 R /Count 1 >> endobj\n"
        b"91 0 obj << /Title (Opening hours) /Parent 90 0 R /Dest [4 0 R /Fit] >> endobj\n"
    )
    # Without its table of offsets, a reader finds the objects by going through the file.
    content = content.replace(b"/Type /Catalog", b"/Outlines 90 0 R /Type /Catalog")
    content = content[: content.index(b"xref\n")] + outline_objects + b"trailer << /Size 92 /Root 1 0 R >>\n%%EOF"
    document = read(tmp_path, "a.pdf", content)
    assert outline(document) == [(1, "Opening hours")]
    assert "Short line" in blocks(document)[1]


WIDE = "Every bike of the shop may be taken out from nine in the morning to six in the evening."


def pdf_row(*cells: str) -> str:
    """Return a line of a PDF whose cells stand far from each other."""
    back = f") Tj {-120 * (len(cells) - 1)} 0 Td ("
    return ") Tj 120 0 Td (".join(cells) + back


def in_pdf_font(line: str, font: str, *, indent: int = 0) -> str:
    """Return a line of a PDF in another font, moved to the right."""
    return f") Tj {indent} 0 Td /{font} Tf ({line}) Tj {-indent} 0 Td /F1 11 Tf ("


def test_tables_lists_and_code_of_a_pdf_keep_their_lines(tmp_path: Path) -> None:
    """Where a line ended early it was meant to; wide gaps are cells, and code stays as it was set."""
    lines = [WIDE, "", pdf_row("bike", "price", "left"), pdf_row("red", "9", "12"), pdf_row("blue", "12", "3")]
    lines += [
        "",
        WIDE,
        "- a lock",
        "- a lamp that lights the way of everybody who comes home in the late hours of the",
        "day",
    ]
    lines += ["", in_pdf_font("if late:", "F2 11"), in_pdf_font("pay\\(9\\)", "F2 11", indent=26)]
    document = read(tmp_path, "a.pdf", make_pdf([lines]))
    assert blocks(document) == [
        *(WIDE, "bike | price | left\nred | 9 | 12\nblue | 12 | 3", WIDE, "- a lock"),
        *(f"{lines[8]} day", "if late:\n    pay(9)"),
    ]


def test_large_letters_of_a_pdf_are_headings(tmp_path: Path) -> None:
    """Without bookmarks, sizes tell the levels; a title of two lines is one."""
    large, larger = ("F1 14", "F1 20")
    lines = [in_pdf_font("All about", larger), "", in_pdf_font("Opening", large), in_pdf_font("hours", large), ""]
    lines += [WIDE] * 8 + ["", "Short line", "", in_pdf_font("Prices", large), "", *[WIDE] * 8]
    document = read(tmp_path, "a.pdf", make_pdf([lines]))
    assert outline(document) == [(1, "All about"), (2, "Opening hours"), (2, "Prices")]
    assert "Short line" in blocks(document)


def test_numbers_in_a_pdf_that_are_no_page_numbers_are_kept(tmp_path: Path) -> None:
    """A number on a line of its own is content, unless it stands above or below all."""
    text = read(tmp_path, "a.pdf", make_pdf([["Deposit:", "", "40", "", "euros", "", "7"]])).text
    assert "40" in text and "7" not in text


def test_lines_with_the_number_of_the_page_are_left_out(tmp_path: Path) -> None:
    """A header that changes with the chapter is told by the page's number in it."""
    names = ["Hours", "Hours", "Prices", "Prices", "Deposits", "Returns"]
    pages = [[f"Chapter {name} {number}", "", f"{name}. {WIDE}"] for number, name in enumerate(names, start=7)]
    document = read(tmp_path, "a.pdf", make_pdf(pages))
    assert blocks(document) == [f"{name}. {WIDE}" for name in names]


def test_a_turned_page_is_read_in_order(tmp_path: Path) -> None:
    """A page that is shown sideways has its lines in the order in which they were written."""
    lines = [WIDE, "In winter the shop is closed."]
    content = make_pdf([lines]).replace(b"/Type /Page /Parent", b"/Rotate 90 /Type /Page /Parent")
    assert read(tmp_path, "a.pdf", content).text == " ".join(lines)


def test_what_a_pdf_is_called(tmp_path: Path) -> None:
    """A PDF has the title in its metadata if a person gave it; one of several chapters is none."""
    chapters = [[in_pdf_font(name, "F1 20"), "", *[WIDE] * 8] for name in ("Hours", "Prices")]
    assert read(tmp_path, "book.pdf", make_pdf(chapters)).title == "book"
    assert read(tmp_path, "book.pdf", make_pdf(chapters[:1])).title == "Hours"
    for name, title in (("Bike book", "Bike book"), ("Microsoft Word - a.docx", "book"), ("untitled", "book")):
        content = make_pdf(chapters)
        info = f"90 0 obj << /Title ({name}) >> endobj\ntrailer << /Size 91 /Root 1 0 R /Info 90 0 R >>\n%%EOF".encode()
        assert read(tmp_path, "book.pdf", content[: content.index(b"xref\n")] + info).title == title


@pytest.mark.parametrize("name", ["a.docx", "a.pptx", "a.xlsx", "a.epub"])
@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 broken", b"no ZIP at all"])
def test_a_broken_container_is_refused(tmp_path: Path, name: str, content: bytes) -> None:
    """What is no ZIP archive, or half of one, is reported with the way out."""
    with pytest.raises(DataError, match="is not a readable") as caught:
        read(tmp_path, name, content)
    assert "save it again" in caught.value.hint
    with pytest.raises(DataError, match="is not a readable"):
        read(tmp_path, name, make_word()[:4000])
    with pytest.raises(DataError, match="is encrypted, or of a format before"):
        read(tmp_path, name, b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(600))


@pytest.mark.parametrize("name", ["a.pptx", "a.xlsx", "a.epub"])
def test_a_container_of_another_kind_is_refused(tmp_path: Path, name: str) -> None:
    """A Word document that is called something else is reported."""
    with pytest.raises(DataError, match="is not a readable"):
        read(tmp_path, name, make_word())


def repack(content: bytes, **changes: bytes) -> bytes:
    """Return an archive with some entries replaced or added."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(content)) as old, zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as new:
        for name in old.namelist():
            if name not in changes:
                new.writestr(name, old.read(name))
        for name, data in changes.items():
            new.writestr(name, data)
    return buffer.getvalue()


def test_broken_compression_is_refused(tmp_path: Path) -> None:
    """Bytes flipped within an entry are found by its checksum."""
    content = bytearray(repack(make_word()))
    content[len(content) // 3] ^= 0xFF
    with pytest.raises(DataError, match="is not a readable"):
        read(tmp_path, "a.docx", bytes(content))


@pytest.mark.parametrize("name", ["a.docx", "a.pptx", "a.xlsx", "a.epub"])
def test_a_zip_bomb_is_refused_before_it_is_inflated(tmp_path: Path, name: str) -> None:
    """An archive that would fill the memory is told by the sizes in its directory."""
    bomb = repack(make_word(), **{"word/media/a.xml": bytes(60_000_000)})
    assert len(bomb) < 200_000
    with pytest.raises(DataError, match=r"would inflate to 6\d MB in \d+ parts, \d+ times its size") as caught:
        read(tmp_path, name, bomb)
    assert "ZIP bomb" in caught.value.hint


def test_a_bomb_that_lies_is_cut_at_what_it_said(tmp_path: Path) -> None:
    """A directory that states a small size does not make a reader inflate more than that."""
    bomb = repack(make_word(), **{"word/document.xml": bytes(60_000_000)})
    size = (60_000_000).to_bytes(4, "little")
    with pytest.raises(DataError, match="is not a readable"):
        read(tmp_path, "a.docx", bomb.replace(size, (1000).to_bytes(4, "little")))


ENTITIES = b'<?xml version="1.0"?><!DOCTYPE a [<!ENTITY b "obey"><!ENTITY c "&b;&b;&b;&b;">]><a>&c;</a>'


@pytest.mark.parametrize(
    ("name", "entry"), [("a.docx", "word/document.xml"), ("a.pptx", "word/styles.xml"), ("a.xlsx", "docProps/core.xml")]
)
def test_xml_entities_are_refused(tmp_path: Path, name: str, entry: str) -> None:
    """No Office file may declare an entity, so one that does is an attack."""
    with pytest.raises(DataError, match=f"declares XML entities in {entry}"):
        read(tmp_path, name, repack(make_word(), **{entry: ENTITIES}))


def test_xml_entities_of_a_book_are_not_expanded(tmp_path: Path) -> None:
    """Nor do the files of a book make another grow."""
    package = ENTITIES.replace(b"<a>&c;</a>", b"<package><metadata><title>&c;</title></metadata></package>")
    with pytest.raises(DataError, match="no text"):
        read(tmp_path, "a.epub", repack(make_epub(["<p>a</p>"]), **{"OEBPS/book.opf": package}))


@pytest.mark.parametrize("name", ["a.docx", "a.pptx", "a.epub"])
def test_nothing_but_images_needs_ocr(tmp_path: Path, name: str) -> None:
    """A document that was scanned is told from an empty one."""
    empty = {"a.docx": saved(docx.Document()), "a.pptx": saved(pptx.Presentation()), "a.epub": make_epub([])}[name]
    empty = repack(empty, **{"docProps/thumbnail.jpeg": b""})
    with pytest.raises(DataError, match="nothing but images") as caught:
        read(tmp_path, name, repack(empty, **{"media/a.png": PNG}))
    assert "OCR" in caught.value.hint
