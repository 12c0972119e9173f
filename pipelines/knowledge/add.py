"""`docs add`: makes a collection hold what a folder holds, and nothing twice."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, Field

from pipelines.errors import DataError
from pipelines.knowledge.choose import choose_embedder
from pipelines.knowledge.collection import made_ledger
from pipelines.knowledge.index import update_index
from pipelines.knowledge.scan import Scan, readable_kinds, scan_folder, shown
from pipelines.knowledge.turn import taking_turn
from pipelines.knowledge.update import Cutter, DocumentChange, FolderUpdate, UpdateRules, update_ledger
from pipelines.operation import Context, Operation, Positional
from pipelines.records import Name

_MOST_CHANGES = 20
# Folders that the workspace itself makes; what is in them was made of documents.
_MADE = ("adapters", "bots", "datasets", "knowledge", "searches")


class AddDocumentsParams(BaseModel):
    """What to add, and where to."""

    folder: Annotated[Path, Positional()] = Field(description="Folder, or single file, to add.")
    collection: Name = Field("default", description="Collection to add it to.")
    max_megabytes: float = Field(20.0, gt=0, description="Largest file to read.")
    embedder: str = Field(
        "", description="Model of a new collection's vectors: a name of models list, or a folder; by language if empty."
    )
    verify: bool = Field(False, description="Hash every file, also those that look as they did.")
    retry: bool = Field(False, description="Try files again that could not be read, though they did not change.")


class FailedDocument(BaseModel):
    """A document that could not be added, and why."""

    document: str
    reason: str


class AddDocumentsReport(BaseModel):
    """What became of the folder's files."""

    collection: str
    added: int = 0
    updated: int = 0
    renamed: int = 0
    unchanged: int = 0
    removed: int = 0
    changes: list[DocumentChange] = Field([], description=f"The first {_MOST_CHANGES} changes.")
    failed: list[FailedDocument] = []
    documents: int = 0
    chunks: int = 0
    seconds: float = 0.0


def add_documents(params: AddDocumentsParams, context: Context) -> AddDocumentsReport:
    """Read the documents of a folder into a collection, to be searched and cited."""
    started = time.monotonic()
    root = context.resolve(params.folder)
    made = [context.workspace.root / name for name in _MADE]
    scan = scan_folder(root, without=made)
    folder = context.workspace.knowledge(params.collection)
    if not scan.files:
        raise _nothing_readable(root, scan.failed, kept=_count_kept(root, folder))
    with taking_turn(folder, context), made_ledger(folder) as ledger:
        choose_embedder(params.embedder, scan, folder, context, max_megabytes=params.max_megabytes)
        rules = UpdateRules(max_megabytes=params.max_megabytes, verify=params.verify, retry=params.retry)
        update = update_ledger(scan, ledger, Cutter(folder, context), rules, context)
        documents, chunks = ledger.count()
        if documents or update.changes:  # also if the last document was removed: nothing is to be left of it
            ledger.write_chunks(context.workspace.chunks(params.collection))
            update_index(folder, ledger, context)
        if not documents:
            raise _nothing_readable(root, update.failed)
    _say_what_was_passed_over(scan, context)
    report = _report(params.collection, update)
    report.documents, report.chunks = documents, chunks
    report.seconds = round(time.monotonic() - started, 2)
    return report


ADD_DOCUMENTS = Operation(params=AddDocumentsParams, report=AddDocumentsReport, run=add_documents)


def _report(collection: str, update: FolderUpdate) -> AddDocumentsReport:
    return AddDocumentsReport(
        collection=collection,
        added=update.count("added"),
        updated=update.count("updated"),
        renamed=update.count("renamed"),
        unchanged=update.unchanged,
        removed=update.count("removed"),
        changes=update.changes[:_MOST_CHANGES],
        failed=[FailedDocument(document=name, reason=why) for name, why in sorted(update.failed.items())],
    )


def _say_what_was_passed_over(scan: Scan, context: Context) -> None:
    if scan.passed_over:
        kinds = ", ".join(f"{count} {reason}" for reason, count in sorted(scan.passed_over.items()))
        context.notice(f"passed over files of kinds that are not read: {kinds}")


def _count_kept(root: Path, folder: Path) -> int:
    """Return how many documents of a collection were read from a folder."""
    if not (folder / "ledger.sqlite").is_file():
        return 0
    with made_ledger(folder) as ledger:
        return sum(file.root == str(root) and file.sha256 != "" for file in ledger.files().values())


def _nothing_readable(root: Path, failed: dict[str, str], *, kept: int = 0) -> DataError:
    if failed:
        reasons = "; ".join(f"{name} {why}" for name, why in sorted(failed.items())[:5])
        return DataError(f"no document in {shown(root)} could be read: {reasons}", path=root)
    if kept:  # it may be a disk that is not there today
        return DataError(
            f"{shown(root)} holds no documents; the {kept} that were read from it before are kept",
            path=root,
            hint="If they are to go too, remove them with: assistant docs remove",
        )
    return DataError(
        f"{shown(root)} holds no documents", path=root, hint=f"Put files of these kinds into it: {readable_kinds()}."
    )
