"""Which files of a folder are documents, and what became of the others."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from pipelines.errors import DataError
from pipelines.knowledge.parse import READABLE_SUFFIXES


@dataclass
class Scan:
    """What was found in a folder."""

    files: dict[str, Path] = field(default_factory=dict)  # by document id
    failed: dict[str, str] = field(default_factory=dict)  # reason by document id
    passed_over: Counter[str] = field(default_factory=Counter)  # files of other kinds, by suffix


def scan_folder(root: Path) -> Scan:
    """List the documents below a folder, or the one file that `root` is.

    Hidden files and folders are passed over. A link to a file that is itself listed is
    the same document; a link that leaves the folder is refused.

    Raises:
        DataError: There is no such folder, or it cannot be read.
    """
    if not root.exists():
        raise DataError(f"there is no file or folder {root}", path=root, hint="Check the path.")
    if not os.access(root, os.R_OK):
        raise DataError(f"{root} may not be read", path=root, hint="Check its permissions.")
    scan = Scan()
    if root.is_file():
        if root.suffix.lower() not in READABLE_SUFFIXES:
            raise DataError(
                f"{root.name} is of a kind that cannot be read", path=root, hint=f"Readable: {readable_kinds()}."
            )
        scan.files[root.name] = root
        return scan
    links: list[tuple[str, Path]] = []
    for path in _walk(root, scan):
        document_id = path.relative_to(root).as_posix()
        if path.suffix.lower() not in READABLE_SUFFIXES:
            scan.passed_over[path.suffix.lower() or "without suffix"] += 1
        elif path.is_symlink():
            links.append((document_id, path))
        elif path.is_file():
            scan.files[document_id] = path
    _resolve_links(root, scan, links)
    return scan


def readable_kinds() -> str:
    """Return the suffixes of readable files, for messages."""
    return " ".join(sorted(READABLE_SUFFIXES))


def _walk(root: Path, scan: Scan) -> Iterable[Path]:
    def refuse(error: OSError) -> None:
        folder = Path(error.filename).relative_to(root).as_posix()
        scan.failed[folder] = f"the folder may not be read: {error.strerror}"

    for folder, folders, names in os.walk(root, onerror=refuse):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in folders:
            path = Path(folder, name)
            if path.is_symlink() and not path.resolve().is_relative_to(root.resolve()):
                scan.failed[path.relative_to(root).as_posix()] = "is a link out of the folder"
        for name in sorted(names):
            if not name.startswith("."):
                yield Path(folder, name)


def _resolve_links(root: Path, scan: Scan, links: list[tuple[str, Path]]) -> None:
    inside = root.resolve()
    listed = {path.resolve() for path in scan.files.values()}
    for document_id, path in links:
        target = Path(os.path.realpath(path))
        if not target.is_file():
            scan.failed[document_id] = "is a link to nothing"
        elif not target.is_relative_to(inside):
            scan.failed[document_id] = "is a link out of the folder"
        elif target not in listed:
            listed.add(target)
            scan.files[document_id] = path
