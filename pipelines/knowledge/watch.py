"""`docs watch`: keeps a collection at what a folder holds, until it is told to stop."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from pydantic import BaseModel, Field

from pipelines.errors import DataError, LLMError, SettingsError
from pipelines.knowledge.add import AddDocumentsParams, AddDocumentsReport, FailedDocument, add_documents
from pipelines.lazy import lazy_import
from pipelines.operation import Context, Operation, Positional
from pipelines.records import Name

if TYPE_CHECKING:
    import watchfiles
else:
    watchfiles = lazy_import("watchfiles", extra="docs")

# A burst of changes has ended when nothing changed for so long; one that does not end is taken after the longest wait.
_QUIET_MS = 400
_LONGEST_MS = 10_000
_TICK_MS = 500
# What failed, because another process was at work or an endpoint was away, is tried again after so long.
_AGAIN_S = 30.0


class WatchDocumentsParams(BaseModel):
    """What to watch, and which collection to keep at it."""

    folder: Annotated[Path, Positional()] = Field(description="Folder to watch.")
    collection: Name = Field("default", description="Collection to keep at what the folder holds.")
    max_megabytes: float = Field(20.0, gt=0, description="Largest file to read.")


class WatchDocumentsReport(BaseModel):
    """What changed while the folder was watched."""

    collection: str
    runs: int = Field(0, description="Times that the collection was brought up to date; the first is at the start.")
    added: int = 0
    updated: int = 0
    renamed: int = 0
    removed: int = 0
    failed: list[FailedDocument] = Field([], description="Files that could not be read at last.")
    seconds: float = 0.0


def watch_documents(params: WatchDocumentsParams, context: Context) -> WatchDocumentsReport:
    """Watch a folder and keep a collection at what it holds, until Ctrl-C."""
    if context.confine:
        raise SettingsError(
            "a folder is watched from a terminal only", hint="Add it once instead, whenever it has changed."
        )
    return watch_folder(params, context, stop=threading.Event())


WATCH_DOCUMENTS = Operation(params=WatchDocumentsParams, report=WatchDocumentsReport, run=watch_documents)


def watch_folder(params: WatchDocumentsParams, context: Context, *, stop: threading.Event) -> WatchDocumentsReport:
    """Add a folder, and again after each burst of changes, until `stop` is set or Ctrl-C is pressed.

    Raises:
        DataError: There is no such folder, or the system cannot watch it.
    """
    started = time.monotonic()
    root = context.resolve(params.folder)
    if not root.is_dir():
        raise DataError(f"there is no folder {root}", path=root, hint="Check the path.")
    report = WatchDocumentsReport(collection=params.collection)
    failure, failed_at = "", 0.0
    try:
        for is_changed in _ticks(root, _is_watched(root, context), stop):
            if is_changed or (failure and time.monotonic() - failed_at >= _AGAIN_S):
                told, failure = failure, _bring_up_to_date(params, report, context)
                failed_at = time.monotonic()
                if failure not in ("", told):
                    context.notice(failure)
    except KeyboardInterrupt:
        context.notice(f"{root} is no longer watched")
    report.seconds = round(time.monotonic() - started, 2)
    return report


def _ticks(root: Path, is_watched: Callable[[object, str], bool], stop: threading.Event) -> Iterator[bool]:
    """Yield twice a second, and after each burst, whether anything may have changed; the first time, it may.

    The system watches a folder, not its name: one that was put in its place is watched from then on.
    """
    try:
        while not stop.is_set():
            watched = _identity(root)
            found = watchfiles.watch(
                root,
                watch_filter=is_watched,
                debounce=_LONGEST_MS,
                step=_QUIET_MS,
                stop_event=stop,
                rust_timeout=_TICK_MS,
                yield_on_timeout=True,
                ignore_permission_denied=True,
            )
            is_ready = False  # what changes before the watcher is ready is seen by nobody
            for changes in found:
                yield bool(changes) or not is_ready
                is_ready = True
                if _identity(root) not in (watched, None):
                    break
    except (OSError, RuntimeError) as error:
        raise DataError(
            f"{root} cannot be watched: {error}",
            path=root,
            hint="Raise the system's limit of watches (fs.inotify.max_user_watches), or watch a smaller folder.",
        ) from error


def _identity(folder: Path) -> tuple[int, int] | None:
    """Return what tells a folder from another one of its name; None if there is none."""
    try:
        status = folder.stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino


def _is_watched(root: Path, context: Context) -> Callable[[object, str], bool]:
    """Return what tells changes of documents from those that nobody reads, or that this makes itself."""
    own = context.workspace.root / "knowledge"

    def is_watched(change: object, path: str) -> bool:
        del change
        place = Path(path)
        if place.is_relative_to(own) or not place.is_relative_to(root):
            return False
        return not any(part.startswith(".") for part in place.relative_to(root).parts)

    return is_watched


def _bring_up_to_date(params: WatchDocumentsParams, report: WatchDocumentsReport, context: Context) -> str:
    """Add the folder; return why that failed, or nothing."""
    report.runs += 1
    try:
        added = add_documents(
            AddDocumentsParams(folder=params.folder, collection=params.collection, max_megabytes=params.max_megabytes),
            context,
        )
    except (DataError, LLMError) as error:  # the folder may be empty for a moment, or away
        return error.whole
    _say(added, report, context)
    report.added += added.added
    report.updated += added.updated
    report.renamed += added.renamed
    report.removed += added.removed
    report.failed = added.failed
    return ""


def _say(added: AddDocumentsReport, report: WatchDocumentsReport, context: Context) -> None:
    """Tell what this run changed, and what it could not read that was not told before."""
    for change in added.changes:
        former = f" (it was {change.former})" if change.former else ""
        context.notice(f"{change.change} {change.document}{former}")
    if more := added.added + added.updated + added.renamed + added.removed - len(added.changes):
        context.notice(f"and {more} more changes")
    told = {(each.document, each.reason) for each in report.failed}
    for failure in added.failed:
        if (failure.document, failure.reason) not in told:
            context.notice(f"failed {failure.document}: {failure.reason}")
    context.notice(f"{added.documents} documents, {added.chunks} chunks; watching for changes, Ctrl-C ends it")
