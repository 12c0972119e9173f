"""The process in which files are parsed: paths come in, documents go out, one line of JSON each.

It holds nothing that a hostile file could be after, and may be killed at any moment.
"""

from __future__ import annotations

import contextlib
import os
import resource
import sys
import time
from pathlib import Path
from typing import Literal

from pydantic import BaseModel

from pipelines.errors import AssistantError, MissingExtraError
from pipelines.knowledge.parse import read_document
from pipelines.records import Document

_MEGABYTE = 1_000_000


class Request(BaseModel):
    """A file to read."""

    path: str
    document_id: str
    max_megabytes: float


class Reply(BaseModel):
    """What came of it: a document, or an error of the tree and what it said."""

    document: Document | None = None
    error: str = ""
    hint: str = ""
    kind: Literal["data", "extra", "memory"] = "data"


def main() -> None:
    """Serve requests until the input ends; arguments: megabytes of memory, seconds of processor time."""
    memory_mb, cpu_s = int(sys.argv[1]), int(sys.argv[2])
    with contextlib.suppress(ValueError, OSError):  # what the system forbids was limited already
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        resource.setrlimit(resource.RLIMIT_AS, (memory_mb * _MEGABYTE,) * 2)
    # What a library prints must not get into the replies.
    replies = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    for line in sys.stdin.buffer:
        _limit_time(cpu_s)
        try:
            reply = _answer(Request.model_validate_json(line)).model_dump_json()
        except MemoryError:
            # What is left of it is in pieces: the next file gets a process of its own.
            error = f"needs more than {memory_mb} MB of memory"
            reply = Reply(error=error, hint="Split the file.", kind="memory").model_dump_json()
        replies.write(reply + "\n")
        replies.flush()


def _limit_time(cpu_s: int) -> None:
    used_s = int(time.process_time()) + 1
    _soft, hard = resource.getrlimit(resource.RLIMIT_CPU)
    with contextlib.suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_CPU, (used_s + cpu_s, hard))


def _answer(request: Request) -> Reply:
    try:
        document = read_document(
            Path(request.path), document_id=request.document_id, max_megabytes=request.max_megabytes
        )
        return Reply(document=document)
    except MissingExtraError as error:
        return Reply(error=str(error), hint=error.hint, kind="extra")
    except AssistantError as error:
        return Reply(error=str(error), hint=error.hint)
    except MemoryError:
        raise
    except Exception as error:  # noqa: BLE001 - the edge: a parser's fault on one file is no reason to stop
        return Reply(error=f"its reader failed: {type(error).__name__}: {error}", hint="Convert it to another format.")


if __name__ == "__main__":
    main()
