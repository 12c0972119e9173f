"""Brings the ledger of a collection to what a folder holds, and reads nothing twice.

A file that looks as it did (size, time of change, inode) is not opened. One that was written
to within two seconds before it was read may have been written to again without looking
otherwise, so its looks are not trusted: the next time, its hash decides, as git does it.
"""

from __future__ import annotations

import dataclasses
import hashlib
import itertools
import os
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from pydantic import BaseModel, Field

from pipelines.errors import DataError
from pipelines.knowledge.chunk import CHUNKER, TokenLimit, chunk_document
from pipelines.knowledge.collection import open_embedder, opened_vectors
from pipelines.knowledge.ledger import KnowledgeLedger, KnownFile
from pipelines.knowledge.reading.reader import open_reader
from pipelines.knowledge.scan import Scan, shown
from pipelines.operation import Context
from pipelines.records import Chunk, Document

if TYPE_CHECKING:
    from pipelines.knowledge.reading.reader import DocumentReader
    from pipelines.models.embedder import Embedder

_RACY_NS = 2_000_000_000
_NOTED_AT_ONCE = 200
_CLOSED = "may not be looked at; check the permissions of its folder"
_LARGEST_INODE = (1 << 63) - 1  # SQLite's integers have a sign


class DocumentChange(BaseModel):
    """What became of one document."""

    change: Literal["added", "updated", "renamed", "removed"]
    document: str
    former: str = Field("", description="What it was called before.")


@dataclass(frozen=True, kw_only=True)
class UpdateRules:
    """Which files are read, and which are read though they look as they did."""

    max_megabytes: float
    verify: bool = False  # hash every file
    retry: bool = False  # try those again that could not be read


@dataclass
class FolderUpdate:
    """What became of the files of a folder."""

    changes: list[DocumentChange] = field(default_factory=list)
    failed: dict[str, str] = field(default_factory=dict)  # reason by document
    unchanged: int = 0

    def count(self, change: str) -> int:
        """Return how many documents changed so."""
        return sum(each.change == change for each in self.changes)


class Cutter:
    """Cuts documents as the embedder of a collection needs it; it is loaded when the first one is cut."""

    def __init__(self, folder: Path, context: Context) -> None:
        self._context = context
        self._embedder: Embedder | None = None
        with opened_vectors(folder) as stored:
            self._version = stored.serving()

    @property
    def name(self) -> str:
        """Name that changes whenever documents would be cut otherwise."""
        return f"{CHUNKER} for {self._version.embedder if self._version else self._open().name}"

    def cut(self, document: Document) -> list[Chunk]:
        """Return the chunks of a document."""
        embedder = self._open()
        return chunk_document(document, limit=TokenLimit(max_tokens=embedder.max_tokens, tokenize=embedder.tokenize))

    def _open(self) -> Embedder:
        if self._embedder is None:
            self._embedder = open_embedder(self._version, self._context)
        return self._embedder


def update_ledger(
    scan: Scan, ledger: KnowledgeLedger, cutter: Cutter, rules: UpdateRules, context: Context
) -> FolderUpdate:
    """Read what is new or changed below a folder, and forget what is gone from it."""
    with open_reader() as reader:
        updater = _Updater(scan, ledger, cutter, rules, context, reader)
        for number, (name, path) in enumerate(scan.files.items(), start=1):
            updater.take(name, path)
            context.progress("reading documents", number, len(scan.files))
        return updater.finish()


class _Updater:
    """Takes the files of a folder one by one."""

    def __init__(
        self,
        scan: Scan,
        ledger: KnowledgeLedger,
        cutter: Cutter,
        rules: UpdateRules,
        context: Context,
        reader: DocumentReader,
    ) -> None:
        self._scan = scan
        self._ledger = ledger
        self._cutter = cutter
        self._rules = rules
        self._context = context
        self._reader = reader
        self._known = ledger.files()
        self._taken = {file.document for file in self._known.values()}
        self._gone = {file.path: file for file in self._find_gone()}
        self._gone_by_hash = _by_hash(self._gone.values())
        self._elsewhere_by_hash = _by_hash(self._find_elsewhere())
        self._noted: list[KnownFile] = []
        self._update = FolderUpdate()
        self._cut_again = 0

    def take(self, name: str, path: Path) -> None:
        """Read a file, if that is needed."""
        known = self._known.get(str(path))
        if known is None:
            known = KnownFile(path=str(path), root=str(self._scan.root), document=self._free_id(name))
        looks = _look(path)
        try:
            if looks is None:
                raise DataError("was gone before it could be read" if _is_gone(str(path)) else _CLOSED)
            if known.failure and self._is_given_up(known, looks):
                self._update.failed[known.document] = known.failure
                return
            if known.sha256 and known.cut == self._cutter.name and self._is_unchanged(known, looks):
                self._update.unchanged += 1
                return
            document = self._reader.read(path, document_id=known.document, max_megabytes=self._rules.max_megabytes)
        except DataError as error:
            self._note_failure(known, error.whole, looks)
            return
        if _look(path) != looks:
            self._context.notice(
                f"{known.document} changed while it was read: one version of it is stored, "
                "and the next run looks at it again"
            )
        self._store(document, known, looks)

    def finish(self) -> FolderUpdate:
        """Forget what is gone, write down what was found out, and return what became of all."""
        for file in self._gone.values():
            self._ledger.forget_file(file.path)
            if file.sha256:
                self._update.changes.append(DocumentChange(change="removed", document=file.document))
        for name, reason in self._scan.failed.items():
            path = shown(self._scan.root / name)
            known = self._known.get(path)
            if known is None:
                known = KnownFile(path=path, root=str(self._scan.root), document=self._free_id(name))
            self._note(dataclasses.replace(known, size=-1, failure=reason))
            self._update.failed[known.document] = reason
        self._ledger.note_files(self._noted)
        if self._cut_again:
            self._context.notice(f"{self._cut_again} unchanged documents were cut into passages anew")
        return self._update

    def _find_gone(self) -> Iterator[KnownFile]:
        """Yield the files of this folder that it has no more; those behind what may not be read may be there."""
        root = self._scan.root
        found = {str(path) for path in self._scan.files.values()}
        below = f"{root}{os.sep}"
        for path, file in self._known.items():
            if path in found or not self._scan.refused.isdisjoint([path, *map(str, Path(path).parents)]):
                continue
            # One that was never read is nobody's loss, wherever it was.
            if file.root == str(root) or ((path.startswith(below) or not file.sha256) and _is_gone(path)):
                yield file

    def _find_elsewhere(self) -> Iterator[KnownFile]:
        """Yield the files of other folders, which may have been moved here."""
        found = {str(path) for path in self._scan.files.values()}
        root = str(self._scan.root)
        for path, file in self._known.items():
            if file.root != root and path not in found and path not in self._gone:
                yield file

    def _free_id(self, name: str) -> str:
        """Return the name, or one like it that no other document has."""
        led = (f"{shown(self._scan.root.name)}{number or ''}/{name}" for number in itertools.count())
        free = next(each for each in itertools.chain([name], led) if each not in self._taken)
        self._taken.add(free)
        return free

    def _is_given_up(self, known: KnownFile, looks: _Looks) -> bool:
        """Whether it would fail again: it looks as it did, and may cost no more than it might then."""
        return not self._rules.retry and looks.are_those_of(known) and known.tried == self._limits()

    def _limits(self) -> str:
        return f"{self._rules.max_megabytes:g} MB, {CHUNKER}"

    def _is_unchanged(self, known: KnownFile, looks: _Looks) -> bool:
        if not known.failure and looks.are_those_of(known) and not self._rules.verify:
            return True
        if known.size not in (-1, looks.size) or looks.size > self._rules.max_megabytes * 1e6:
            return False
        if _file_hash(Path(known.path)) != known.sha256:
            return False
        self._note(looks.noted(known))
        return True

    def _store(self, document: Document, known: KnownFile, looks: _Looks) -> None:
        for note in document.notes:
            self._context.notice(f"{document.id}: {note}")
        former = None if known.sha256 else self._former(document.sha256)
        chunks, cut = self._cutter.cut(document), self._cutter.name
        self._ledger.replace(document, chunks, root=known.root, cut=cut, former=former)
        self._note(looks.noted(known))
        if document.sha256 == known.sha256:
            self._cut_again += known.cut != cut
            self._update.unchanged += 1
            return
        change: Literal["added", "updated", "renamed"] = "updated" if known.sha256 else "renamed" if former else "added"
        self._update.changes.append(
            DocumentChange(change=change, document=known.document, former=former.document if former else "")
        )

    def _former(self, sha256: str) -> KnownFile | None:
        """Return, and count as found again, a file that is gone from here or elsewhere and had this content."""
        if here := self._gone_by_hash.get(sha256):
            return self._gone.pop(here.pop(0).path)
        elsewhere = self._elsewhere_by_hash.get(sha256)
        while elsewhere:
            if _is_gone((file := elsewhere.pop()).path):
                return file
        return None

    def _note_failure(self, known: KnownFile, reason: str, looks: _Looks | None) -> None:
        self._update.failed[known.document] = reason
        seen = looks.noted(known) if looks else dataclasses.replace(known, size=-1)
        self._note(dataclasses.replace(seen, failure=reason, tried=self._limits()))

    def _note(self, file: KnownFile) -> None:
        self._noted.append(file)
        if len(self._noted) >= _NOTED_AT_ONCE:
            self._ledger.note_files(self._noted)
            self._noted.clear()


@dataclass(frozen=True, kw_only=True)
class _Looks:
    """What tells that a file changed, without opening it."""

    size: int
    modified_ns: int
    inode: int
    is_racy: bool = field(compare=False)

    def are_those_of(self, known: KnownFile) -> bool:
        """Whether a known file looked so, when that could be trusted."""
        return (self.size, self.modified_ns, self.inode) == (known.size, known.modified_ns, known.inode)

    def noted(self, known: KnownFile) -> KnownFile:
        """Return what is known of a file that was read when it looked so."""
        size = -1 if self.is_racy else self.size
        return dataclasses.replace(
            known, size=size, modified_ns=self.modified_ns, inode=self.inode, failure="", tried=""
        )


def _look(path: Path) -> _Looks | None:
    """Return how a file looks; None if it is not there."""
    try:
        status = path.stat()
    except OSError:
        return None
    return _Looks(
        size=status.st_size,
        modified_ns=status.st_mtime_ns,
        inode=status.st_ino & _LARGEST_INODE,
        is_racy=time.time_ns() - status.st_mtime_ns < _RACY_NS,
    )


def _by_hash(files: Iterable[KnownFile]) -> dict[str, list[KnownFile]]:
    """Return files whose content is known, by its hash."""
    found: dict[str, list[KnownFile]] = {}
    for file in files:
        if file.sha256:
            found.setdefault(file.sha256, []).append(file)
    return found


def _is_gone(path: str) -> bool:
    """Whether there is surely no such file; one behind a closed door may be there."""
    try:
        os.lstat(path)
    except (FileNotFoundError, NotADirectoryError):
        return True
    except OSError:
        return False
    return False


def _file_hash(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise DataError(f"cannot be read: {error.strerror}", path=path, hint="Check its permissions.") from error
