"""Files read in a worker process, which a hostile or broken one can kill but not leave."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from pipelines.errors import DataError, MissingExtraError
from pipelines.knowledge.reading.worker import Reply, Request
from pipelines.records import Document

_WORKER = "pipelines.knowledge.reading.worker"
_ROOT = Path(__file__).parents[3]
_BLOCK = 1 << 20


@dataclass(frozen=True, kw_only=True)
class ReadingLimits:
    """What one file may cost before it is given up."""

    memory_mb: int = 2_000  # of address space, the interpreter's included
    cpu_s: int = 60
    wall_s: float = 300.0


@contextlib.contextmanager
def open_reader(limits: ReadingLimits | None = None) -> Iterator[DocumentReader]:
    """Provide a reader, whose process starts with the first file and ends with the block."""
    reader = DocumentReader(limits or ReadingLimits())
    try:
        yield reader
    finally:
        reader.close()


class DocumentReader:
    """Reads documents in a worker process, and starts another when one dies; for one thread."""

    def __init__(self, limits: ReadingLimits) -> None:
        self._limits = limits
        self._process: subprocess.Popen[bytes] | None = None

    def read(self, path: Path, *, document_id: str, max_megabytes: float) -> Document:
        """Read a file.

        Raises:
            DataError: It cannot be read, or not within the limits.
            MissingExtraError: The library for its kind is not installed.
        """
        request = Request(path=_sendable(path), document_id=document_id, max_megabytes=max_megabytes)
        if self._process is None:
            self._process = self._start()
        line = self._exchange(self._process, request.model_dump_json().encode() + b"\n", path)
        reply = Reply.model_validate_json(line)
        if reply.document is not None:
            return reply.document
        if reply.kind == "memory":
            self.close()
        if reply.kind == "extra":
            raise MissingExtraError(reply.error, hint=reply.hint)
        raise DataError(reply.error, path=path, hint=reply.hint)

    def close(self) -> None:
        """End the worker process, whatever it is doing."""
        process, self._process = self._process, None
        if process is None:
            return
        process.kill()
        for stream in (process.stdin, process.stdout):
            if stream is not None:
                with contextlib.suppress(BrokenPipeError):
                    stream.close()
        process.wait()

    def _start(self) -> subprocess.Popen[bytes]:
        # -P: a module in the current folder is not imported. The environment, with its keys, stays here;
        # so does the terminal's Ctrl-C.
        command = [sys.executable, "-P", "-m", _WORKER, str(self._limits.memory_mb), str(self._limits.cpu_s)]
        return subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env={"PYTHONPATH": str(_ROOT), "PYTHONUTF8": "1", "PATH": os.environ.get("PATH", "")},
            start_new_session=True,
        )

    def _exchange(self, process: subprocess.Popen[bytes], request: bytes, path: Path) -> bytes:
        """Send a request and return the line that answers it."""
        assert process.stdin is not None and process.stdout is not None
        deadline = time.monotonic() + self._limits.wall_s
        try:
            process.stdin.write(request)
            process.stdin.flush()
            return _read_line(process.stdout, deadline)
        except TimeoutError as error:
            self.close()
            raise self._too_slow(path, f"{self._limits.wall_s:g} s") from error
        except (BrokenPipeError, EOFError) as error:
            code = process.wait()
            self.close()
            if code == -signal.SIGXCPU:
                raise self._too_slow(path, f"{self._limits.cpu_s} s of processor time") from error
            how = signal.Signals(-code).name if code < 0 else f"exit code {code}"
            raise DataError(
                f"its reader crashed ({how})",
                path=path,
                hint=f"It may be broken, or need more than {self._limits.memory_mb} MB. Repair, convert or split it.",
            ) from error

    @staticmethod
    def _too_slow(path: Path, how_long: str) -> DataError:
        return DataError(
            f"took more than {how_long} to read", path=path, hint="It may be broken. Repair, convert or split it."
        )


def _sendable(path: Path) -> str:
    try:
        str(path).encode()
    except UnicodeEncodeError as error:
        raise DataError("has a name that is not UTF-8", path=ascii(str(path)), hint="Rename the file.") from error
    return str(path.absolute())


def _read_line(stream: IO[bytes], deadline: float) -> bytes:
    """Return what a process writes up to the end of a line.

    Raises:
        TimeoutError: It has not ended by `deadline`.
        EOFError: The process has ended.
    """
    pieces: list[bytes] = []
    while not pieces or not pieces[-1].endswith(b"\n"):
        ready, _writable, _broken = select.select([stream], [], [], max(0.0, deadline - time.monotonic()))
        if not ready:
            raise TimeoutError
        piece = os.read(stream.fileno(), _BLOCK)
        if not piece:
            raise EOFError
        pieces.append(piece)
    return b"".join(pieces)
