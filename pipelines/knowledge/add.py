"""`docs add`: makes a collection hold what a folder holds, and nothing twice."""

from __future__ import annotations

import hashlib
import itertools
import time
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, Field

from pipelines.errors import DataError
from pipelines.knowledge.chunk import chunk_document
from pipelines.knowledge.index import update_index
from pipelines.knowledge.ledger import KnowledgeLedger
from pipelines.knowledge.parse import read_document
from pipelines.knowledge.scan import Scan, readable_kinds, scan_folder
from pipelines.operation import Context, Operation, Positional
from pipelines.records import Name, write_records
from pipelines.workspace import locked


class AddDocumentsParams(BaseModel):
    """What to add, and where to."""

    folder: Annotated[Path, Positional()] = Field(description="Folder, or single file, to add.")
    collection: Name = Field("default", description="Collection to add it to.")
    max_megabytes: float = Field(20.0, gt=0, description="Largest file to read.")


class FailedDocument(BaseModel):
    """A document that could not be added, and why."""

    document: str
    reason: str


class AddDocumentsReport(BaseModel):
    """What became of the folder's files."""

    collection: str
    added: int = 0
    updated: int = 0
    unchanged: int = 0
    removed: int = 0
    failed: list[FailedDocument] = []
    documents: int = 0
    chunks: int = 0
    seconds: float = 0.0


def add_documents(params: AddDocumentsParams, context: Context) -> AddDocumentsReport:
    """Read the documents of a folder into a collection, to be searched and cited."""
    started = time.monotonic()
    root = context.resolve(params.folder)
    scan = scan_folder(root)
    if not scan.files:
        raise _nothing_readable(root, scan)
    report = AddDocumentsReport(collection=params.collection)
    folder = context.workspace.knowledge(params.collection)
    with locked(folder):
        ledger = KnowledgeLedger(folder)
        try:
            _update_ledger(root, scan, ledger, report, params, context)
            report.documents, report.chunks = ledger.count()
            if not report.documents:
                raise _nothing_readable(root, scan)
            write_records(context.workspace.chunks(params.collection), ledger.chunks())
            update_index(folder, ledger, context)
        finally:
            ledger.close()
    for reason, count in sorted(scan.passed_over.items()):
        context.notice(f"passed over {count} {reason} files; readable: {readable_kinds()}")
    report.failed = [FailedDocument(document=name, reason=why) for name, why in sorted(scan.failed.items())]
    report.seconds = round(time.monotonic() - started, 2)
    return report


ADD_DOCUMENTS = Operation(params=AddDocumentsParams, report=AddDocumentsReport, run=add_documents)


def _update_ledger(
    root: Path,
    scan: Scan,
    ledger: KnowledgeLedger,
    report: AddDocumentsReport,
    params: AddDocumentsParams,
    context: Context,
) -> None:
    """Read what is new or changed, and forget what is gone."""
    known = ledger.known()
    kept: set[str] = set()
    for number, (name, path) in enumerate(scan.files.items(), start=1):
        document_id = _unique_id(name, path, root, ledger, kept)
        kept.add(document_id)
        try:
            if known.get(document_id) == _file_hash(path):
                report.unchanged += 1
            else:
                document = read_document(path, document_id=document_id, max_megabytes=params.max_megabytes)
                is_new = ledger.root_of(document_id) is None
                ledger.replace(document, chunk_document(document), root=ledger.root_of(document_id) or str(root))
                report.added += is_new
                report.updated += not is_new
        except DataError as error:
            scan.failed[name] = f"{error} {error.hint}".strip()
        context.progress("reading documents", number, len(scan.files))
    for document_id in set(ledger.ids(str(root))) - kept:
        ledger.remove(document_id)
        report.removed += 1


def _unique_id(name: str, path: Path, root: Path, ledger: KnowledgeLedger, taken: set[str]) -> str:
    """Return the id that the file has already; else its path below the root, or one like it that is free."""
    known = ledger.id_of(str(path))
    if known is not None:
        return known
    led = (f"{root.name}{number or ''}/{name}" for number in itertools.count())
    return next(each for each in itertools.chain([name], led) if each not in taken and ledger.root_of(each) is None)


def _file_hash(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise DataError(f"cannot be read: {error.strerror}", path=path) from error


def _nothing_readable(root: Path, scan: Scan) -> DataError:
    if scan.failed:
        reasons = "; ".join(f"{name} {why}" for name, why in sorted(scan.failed.items())[:5])
        return DataError(f"no document in {root} could be read: {reasons}", path=root)
    return DataError(
        f"{root} holds no documents", path=root, hint=f"Put files of these kinds into it: {readable_kinds()}."
    )
