"""ZIP containers (Office Open XML, EPUB), looked through before anything in them is parsed."""

from __future__ import annotations

import io
import re
import zipfile
import zlib

from pipelines.errors import DataError

_MOST_ENTRIES = 20_000
_MEGABYTE = 1_000_000
_MOST_INFLATED_MB = 300
# Deflate reaches 1032:1; the XML of real documents stays below 60:1.
_LARGEST_RATIO = 120
_RATIO_COUNTS_FROM_MB = 10
_OLE = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"
_DECLARATION = re.compile(rb"<!\s*(?:DOCTYPE|ENTITY)", re.IGNORECASE)
_HEAD_BYTES = 4096


def open_archive(content: bytes, *, kind: str) -> zipfile.ZipFile:
    """Open a container that is safe to inflate.

    Python inflates no entry beyond the size that the archive's directory states, so the sum of
    these sizes bounds the memory.

    Raises:
        DataError: It is broken, encrypted, or a ZIP bomb.
    """
    if content.startswith(_OLE):
        raise DataError(
            f"is encrypted, or of a format before {kind}", hint="Save it without a password in the current format."
        )
    try:
        archive = zipfile.ZipFile(io.BytesIO(content))
        entries = archive.infolist()
    except (zipfile.BadZipFile, ValueError, NotImplementedError, OSError) as error:
        raise _broken(kind, error) from error
    inflated_mb = sum(entry.file_size for entry in entries) / _MEGABYTE
    ratio = inflated_mb * _MEGABYTE / max(1, len(content))
    is_bomb = inflated_mb > _RATIO_COUNTS_FROM_MB and ratio > _LARGEST_RATIO
    if is_bomb or inflated_mb > _MOST_INFLATED_MB or len(entries) > _MOST_ENTRIES:
        raise DataError(
            f"would inflate to {inflated_mb:,.0f} MB in {len(entries):,} parts, {ratio:,.0f} times its size",
            hint="It may be a ZIP bomb. If it is yours, save it again, or split it.",
        )
    if any(entry.flag_bits & 1 for entry in entries):
        raise DataError("is encrypted", hint="Save it without a password.")
    return archive


def read_entry(archive: zipfile.ZipFile, name: str, *, kind: str) -> bytes:
    """Return the bytes of an entry.

    Raises:
        DataError: It is missing or broken.
    """
    try:
        return archive.read(name)
    except KeyError as error:
        raise _broken(kind, error) from error
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, OSError) as error:
        raise _broken(kind, error) from error


def open_office(content: bytes, *, kind: str) -> zipfile.ZipFile:
    """Open an Office Open XML container whose XML declares nothing (ECMA-376 part 2, 7.2.3).

    Raises:
        DataError: As `open_archive`; or an entity is declared.
    """
    archive = open_archive(content, kind=kind)
    for name in archive.namelist():
        if not name.endswith((".xml", ".rels")):
            continue
        try:
            with archive.open(name) as entry:
                head = entry.read(_HEAD_BYTES)
        except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, OSError) as error:
            raise _broken(kind, error) from error
        if _DECLARATION.search(head):
            raise DataError(
                f"declares XML entities in {name}, which {kind} forbids", hint="It may be an attack. Save it again."
            )
    return archive


def has_images(archive: zipfile.ZipFile) -> bool:
    """Whether a picture is among the entries."""
    return any(name.lower().endswith((".png", ".jpg", ".jpeg", ".gif", ".tif", ".tiff")) for name in archive.namelist())


def refuse_empty(archive: zipfile.ZipFile) -> DataError:
    """Return the error of a container in which there is no text."""
    if has_images(archive):
        return only_images()
    return DataError("there is no text in it")


def only_images() -> DataError:
    """Return the error of a document that was scanned."""
    return DataError(
        "holds no text, nothing but images", hint="It may be scanned: run OCR over it first, e.g. with ocrmypdf."
    )


def _broken(kind: str, error: Exception) -> DataError:
    return DataError(f"is not a readable {kind} file: {error}", hint="Open it with its program and save it again.")
