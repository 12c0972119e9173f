"""EPUB: the chapters of a book in reading order (EPUB 3.3, sections 4 and 5)."""

from __future__ import annotations

import posixpath
import re
import zipfile
from urllib.parse import unquote

from lxml import etree

from pipelines.errors import DataError
from pipelines.knowledge.reading.archive import open_archive, read_entry, refuse_empty
from pipelines.knowledge.reading.encoding import decode
from pipelines.knowledge.reading.markup import add_html
from pipelines.knowledge.reading.plain import PlainText, Source

_CONTAINER = "META-INF/container.xml"
_ENCRYPTION = "META-INF/encryption.xml"
# Fonts are scrambled so; text never is.
_FONT_SCRAMBLING = ("http://www.idpf.org/2008/embedding", "http://ns.adobe.com/pdf/enc#RC")
_CHAPTER_TYPES = ("application/xhtml+xml", "text/html")
_ENCODING = re.compile(rb"<\?xml[^>]+encoding=[\"']([\w-]+)")


def read_epub(source: Source) -> PlainText:
    """Return the chapters of a book.

    Raises:
        DataError: It is broken, protected, a ZIP bomb, or holds no text.
    """
    archive = open_archive(source.content, kind="EPUB")
    plain = PlainText()
    with archive:
        _refuse_protected(archive)
        root = _parse(archive, _CONTAINER).find(".//{*}rootfile")
        package_name = root.get("full-path", "") if root is not None else ""
        package = _parse(archive, package_name)
        title = package.find(".//{http://purl.org/dc/elements/1.1/}title")
        for name in _chapters(package, posixpath.dirname(package_name)):
            if name not in archive.namelist():
                plain.hidden["missing chapters"] += 1
                continue
            content = read_entry(archive, name, kind="EPUB")
            declared = _ENCODING.search(content[:200])
            add_html(plain, decode(content, plain, declared=declared[1].decode() if declared else ""))
        if not plain.blocks:
            raise refuse_empty(archive)
    plain.title = plain.fold(title.text or "") if title is not None else plain.title
    return plain


def _parse(archive: zipfile.ZipFile, name: str) -> etree._Element:
    parser = etree.XMLParser(resolve_entities=False, no_network=True, load_dtd=False)
    try:
        return etree.fromstring(read_entry(archive, name, kind="EPUB"), parser)
    except etree.XMLSyntaxError as error:
        raise DataError(f"is not a readable EPUB file: {error}", hint="Repair it, for example with Calibre.") from error


def _chapters(package: etree._Element, folder: str) -> list[str]:
    """Return the names of the entries that the spine lists, without the table of contents."""
    items = {
        item.get("id", ""): item
        for item in package.iterfind(".//{*}manifest/{*}item")
        if item.get("media-type") in _CHAPTER_TYPES and "nav" not in (item.get("properties") or "").split()
    }
    spine = [items.get(each.get("idref", "")) for each in package.iterfind(".//{*}spine/{*}itemref")]
    return [
        posixpath.normpath(posixpath.join(folder, unquote(item.get("href", "")))) for item in spine if item is not None
    ]


def _refuse_protected(archive: zipfile.ZipFile) -> None:
    if _ENCRYPTION not in archive.namelist():
        return
    methods = _parse(archive, _ENCRYPTION).iterfind(".//{*}EncryptionMethod")
    if any(method.get("Algorithm") not in _FONT_SCRAMBLING for method in methods):
        raise DataError("is encrypted: it is protected against copying", hint="Use a copy without protection.")
