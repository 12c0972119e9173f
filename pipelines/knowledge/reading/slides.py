"""PPTX: each slide a page, its title a heading, with tables and the speaker's notes."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from io import BytesIO
from itertools import zip_longest
from zipfile import BadZipFile

import pptx
from lxml import etree
from pptx.chart.chart import Chart
from pptx.exc import PackageNotFoundError
from pptx.shapes.base import BaseShape
from pptx.slide import Slide

from pipelines.errors import DataError
from pipelines.knowledge.reading.archive import open_office, refuse_empty
from pipelines.knowledge.reading.plain import PlainText, Source


def read_presentation(source: Source) -> PlainText:
    """Return the text of a presentation; hidden slides and shapes are left out.

    Raises:
        DataError: It is broken, encrypted, a ZIP bomb, or holds no text.
    """
    archive = open_office(source.content, kind="PPTX")
    plain = PlainText()
    try:
        presentation = pptx.Presentation(BytesIO(source.content))
        for slide in presentation.slides:
            plain.start_page()
            if slide.element.get("show") in ("0", "false"):
                plain.hidden["hidden slides"] += 1
            else:
                _add_slide(plain, slide)
        plain.title = presentation.core_properties.title or plain.title
    except (KeyError, ValueError, AttributeError, PackageNotFoundError, BadZipFile, zlib.error) as error:
        raise _broken(error) from error
    except (etree.XMLSyntaxError, RecursionError) as error:
        raise _broken(error) from error
    if not plain.blocks:
        raise refuse_empty(archive)
    return plain


def _broken(error: Exception) -> DataError:
    return DataError(
        f"is not a readable PPTX file: {error}", hint="Open it in PowerPoint or LibreOffice and save it again."
    )


def _add_slide(plain: PlainText, slide: Slide) -> None:
    title = slide.shapes.title
    if title is not None:
        plain.add(plain.fold(title.text_frame.text), level=1)
    for shape in _shapes(slide.shapes, plain):
        if title is not None and shape.shape_id == title.shape_id:
            continue
        _add_shape(plain, shape)
    if slide.has_notes_slide and slide.notes_slide.notes_text_frame is not None:
        for line in slide.notes_slide.notes_text_frame.text.splitlines():
            plain.add(plain.fold(line))


def _add_shape(plain: PlainText, shape: BaseShape) -> None:
    if shape.has_text_frame:
        for paragraph in shape.text_frame.paragraphs:
            mark = "  " * (paragraph.level - 1) + "- " if paragraph.level else ""
            plain.add(mark + plain.fold(paragraph.text) if paragraph.text.strip() else "")
    if getattr(shape, "has_table", False):
        for row in shape.table.rows:
            plain.add_row(plain.fold(cell.text) for cell in row.cells)
    elif getattr(shape, "has_chart", False):
        try:
            _add_chart(plain, shape.chart)
        except (KeyError, ValueError, AttributeError, NotImplementedError):
            plain.hidden["charts"] += 1  # of a kind that the library does not know
    elif shape.element.tag.endswith("}graphicFrame"):
        plain.hidden["diagrams"] += 1


def _add_chart(plain: PlainText, chart: Chart) -> None:
    """Append a chart's title, and its numbers as a table."""
    if chart.has_title and chart.chart_title.has_text_frame:
        plain.add(plain.fold(chart.chart_title.text_frame.text))
    for plot in chart.plots:
        plain.add_row(["", *(plain.fold(series.name) for series in plot.series)])
        for category, *values in zip_longest(plot.categories, *(series.values for series in plot.series)):
            numbers = ("" if value is None else f"{value:.12g}" for value in values)
            plain.add_row([plain.fold(str(category or "")), *numbers])


def _shapes(shapes: Iterator[BaseShape], plain: PlainText) -> Iterator[BaseShape]:
    for shape in shapes:
        if shape.element.xpath("./*/p:cNvPr[@hidden='1' or @hidden='true']"):
            plain.hidden["hidden shapes"] += 1
        elif hasattr(shape, "shapes"):
            yield from _shapes(shape.shapes, plain)
        else:
            yield shape
