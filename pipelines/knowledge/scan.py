"""Which files of a folder are documents, and what became of the others."""

from __future__ import annotations

import os
import stat
import unicodedata
from collections import Counter
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from pipelines.errors import DataError
from pipelines.knowledge.parse import READABLE_SUFFIXES

# Characters that would change how a terminal or a page shows the others: control, direction, line ends.
_UNSEEN = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})
_OUT_OF_FOLDER = "is a link out of the folder"
_HIDDEN = (".", "~$")  # the latter is what Office puts beside a document that somebody has open
_NO_FILES = {stat.S_IFIFO: "a pipe", stat.S_IFSOCK: "a socket", stat.S_IFCHR: "a device", stat.S_IFBLK: "a device"}


@dataclass
class Scan:
    """What was found in a folder."""

    root: Path
    files: dict[str, Path] = field(default_factory=dict)  # by name
    failed: dict[str, str] = field(default_factory=dict)  # reason by name
    refused: set[str] = field(default_factory=set)  # paths of the failed ones
    passed_over: Counter[str] = field(default_factory=Counter)  # files of other kinds, by suffix

    def name(self, path: str) -> str:
        """Return what a file is called: its path below the folder, as it can be shown."""
        return shown(Path(os.path.relpath(path, self.root)).as_posix())

    def refuse(self, path: str, reason: str) -> None:
        """Take note of what is not read, and why."""
        self.failed[self.name(path)] = reason
        self.refused.add(path)


def scan_folder(root: Path, *, without: Collection[Path] = ()) -> Scan:
    """List the documents below a folder, or the one file that `root` is.

    Hidden files and folders are passed over, and so are those of `without`. A link to a file
    that is itself listed is the same document; a link that leaves the folder is refused.

    Raises:
        DataError: There is no such folder, or it cannot be read.
    """
    scan = Scan(root=root)
    if not root.exists():
        raise DataError(f"there is no file or folder {shown(root)}", path=shown(root), hint="Check the path.")
    if not os.access(root, os.R_OK):
        raise DataError(f"{shown(root)} may not be read", path=shown(root), hint="Check its permissions.")
    if not _is_unicode(str(root)):
        raise DataError(f"{shown(root)} has a name that is not UTF-8", path=shown(root), hint="Rename it.")
    if not root.is_dir():
        if not _is_readable(root.name):
            raise DataError(
                f"{root.name} is of a kind that cannot be read", path=root, hint=f"Readable: {readable_kinds()}."
            )
        scan.files[shown(root.name)] = root
        return scan
    links: list[str] = []
    for entry in _walk(scan, frozenset(map(str, without))):
        _sort(entry, scan, links)
    _resolve_links(scan, links)
    return scan


def readable_kinds() -> str:
    """Return the suffixes of readable files, for messages."""
    return " ".join(sorted(READABLE_SUFFIXES))


def shown(name: str | Path) -> str:
    """Return a name as it can be shown and stored: what has no glyph, and bytes that are not UTF-8, are escaped."""
    if str(name).isprintable():  # nearly all are
        return str(name)
    return "".join(_escaped(each) if unicodedata.category(each) in _UNSEEN else each for each in str(name))


def _escaped(character: str) -> str:
    if "\udc80" <= character <= "\udcff":  # a byte of a name that is not UTF-8 (PEP 383)
        return f"\\x{ord(character) - 0xDC00:02x}"
    return character.encode("unicode_escape", errors="surrogatepass").decode()


def _walk(scan: Scan, without: frozenset[str]) -> Iterator[os.DirEntry[str]]:
    """Yield what is in the folder and in those below it, but for folders, by name."""
    folders = [str(scan.root)]
    while folders:
        folder = folders.pop()
        try:
            with os.scandir(folder) as listing:
                entries = sorted(listing, key=lambda entry: entry.name)
        except OSError as error:
            scan.refuse(folder, f"the folder may not be read: {error.strerror}")
            continue
        below = []
        for entry in entries:
            if entry.name.startswith(_HIDDEN):
                continue
            if not _is_folder(entry):
                yield entry
            elif entry.is_symlink():  # one to a folder in here leads to nothing new
                if not Path(os.path.realpath(entry.path)).is_relative_to(scan.root.resolve()):
                    scan.refuse(entry.path, _OUT_OF_FOLDER)
            elif not _is_unicode(entry.name):
                scan.refuse(entry.path, "the folder has a name that is not UTF-8")
            elif entry.path not in without:
                below.append(entry.path)
        folders += reversed(below)


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link to itself
        return False


def _sort(entry: os.DirEntry[str], scan: Scan, links: list[str]) -> None:
    """Put what is no folder where it belongs: with the files, the links, the failures or the others."""
    if not _is_readable(entry.name):
        scan.passed_over[shown(Path(entry.name).suffix.lower()) or "without suffix"] += 1
        return
    name = scan.name(entry.path)
    if not _is_unicode(entry.name):
        scan.refuse(entry.path, "has a name that is not UTF-8; rename the file")
    elif entry.is_symlink():
        links.append(entry.path)
    elif entry.is_file():
        _add_file(name, entry.path, scan)
    else:
        scan.refuse(entry.path, _kind_of(entry))


def _add_file(name: str, path: str, scan: Scan) -> None:
    while name in scan.files:  # two names that look the same when they are escaped
        name += "'"
    scan.files[name] = Path(path)


def _kind_of(entry: os.DirEntry[str]) -> str:
    try:
        kind = _NO_FILES.get(stat.S_IFMT(entry.stat(follow_symlinks=False).st_mode))
    except OSError:
        return "was gone before it could be read"
    return f"is {kind}, not a file" if kind else "is not a file"


def _resolve_links(scan: Scan, links: list[str]) -> None:
    inside = scan.root.resolve()
    listed = {os.path.realpath(path) for path in scan.files.values()} if links else set()
    for path in links:
        name, target = scan.name(path), os.path.realpath(path)
        if not Path(target).is_file():
            scan.refuse(path, "is a link to nothing")
        elif not Path(target).is_relative_to(inside):
            scan.refuse(path, _OUT_OF_FOLDER)
        elif target not in listed:
            listed.add(target)
            _add_file(name, path, scan)


def _is_readable(name: str) -> bool:
    return Path(name).suffix.lower() in READABLE_SUFFIXES


def _is_unicode(name: str) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True
