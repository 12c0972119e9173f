"""Kills `docs add` with `kill -9` at 50 random moments; nothing may be lost or doubled, and the index answers.

Run as `python -m benchmarks.indexing_kills WORKSPACE FOLDER`, it is the process that gets killed.
"""

from __future__ import annotations

import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.measure import Row
from pipelines.errors import DataError
from pipelines.knowledge import chroma, owned
from pipelines.knowledge.add import AddDocumentsParams, add_documents
from pipelines.knowledge.collection import opened_ledger, opened_retriever, opened_vectors
from pipelines.operation import Context, open_context

_KILLS = 50
_DOCUMENTS, _SECTIONS = 24, 60
_READY = "ready"
_QUERY = "When was the pump in hall 7 replaced?"


def measure() -> list[Row]:
    """Return one row."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "texts"
        folder.mkdir()
        context = open_context(Path(name) / "workspace")
        context.workspace.make()
        dice = random.Random(0)
        _write(folder, dice, range(_DOCUMENTS))
        kills, unanswered = _killed(context, folder, dice)
        add_documents(AddDocumentsParams(folder=folder), context)
        lost, doubled = _compare(context, _unkilled(Path(name) / "other", folder))
        refused = _two_at_once(context, folder, dice)
        lost_2, doubled_2 = _compare(context, _unkilled(Path(name) / "third", folder))
    figure = (
        f"{kills} kills: {lost} chunks lost, {doubled} doubled, {unanswered} searches unanswered; "
        f"two at once: {lost_2} lost, {doubled_2} doubled, {refused} told to wait"
    )
    return [Row(what="kill -9 of docs add", figure=figure, against="a collection that nothing happened to")]


def _killed(context: Context, folder: Path, dice: random.Random) -> tuple[int, int]:
    """Kill additions of ever other texts; return the kills, and how often the index then did not answer."""
    kills = unanswered = 0
    longest = 0.0
    while kills < _KILLS:
        _write(folder, dice, dice.sample(range(_DOCUMENTS), 6))
        child = _start(context, folder)
        started = time.monotonic()
        try:  # the first one is let live, and tells how long there is to kill the others, as does each that ends
            child.wait(timeout=dice.uniform(0, longest) if longest else None)
            longest = time.monotonic() - started
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()
            kills += 1
            unanswered += not _answers(context)
    return kills, unanswered


def _answers(context: Context) -> bool:
    with opened_retriever(context, "default") as retriever:
        return bool(retriever.search(_QUERY, top_k=5))


def _two_at_once(context: Context, folder: Path, dice: random.Random) -> int:
    """Add the same changes from two processes; return how many were told to wait."""
    _write(folder, dice, range(_DOCUMENTS))
    children = [_start(context, folder) for _ in range(2)]
    codes = [child.wait() for child in children]
    assert 0 in codes
    return sum(code == DataError.exit_code for code in codes)


def _unkilled(root: Path, folder: Path) -> Context:
    context = open_context(root)
    context.workspace.make()
    add_documents(AddDocumentsParams(folder=folder), context)
    return context


def _compare(context: Context, expected: Context) -> tuple[int, int]:
    """Return how many chunks are missing and how many are too many, in the worst of all places."""
    one, other = _held(context), _held(expected)
    lost = max(len(set(there) - set(here)) for here, there in zip(one, other, strict=True))
    doubled = max(len(here) - len(set(here) & set(there)) for here, there in zip(one, other, strict=True))
    return lost, doubled


def _held(context: Context) -> tuple[list[str], list[str], list[str]]:
    """Return the chunks of the ledger, those of the stored vectors, and the texts in Chroma."""
    folder = context.workspace.knowledge("default")
    with opened_ledger(context, "default") as ledger, opened_vectors(folder) as stored:
        chunks = [chunk.id for chunk in ledger.chunks()]
        assert ledger.count_keywords() == len(chunks)
        version = stored.serving()
        assert version is not None
        embedded = stored.chunks_of(sorted(stored.texts(version.embedder)))
    owned.close_indexes()
    index = chroma.open_folder(folder / "chroma" / version.key, version)
    texts = sorted(index.keys())
    index.close()
    return chunks, embedded, texts


def _write(folder: Path, dice: random.Random, numbers: range | list[int]) -> None:
    """Write documents of short sections; one in six goes away, if there is one."""
    for number in numbers:
        path = folder / f"{number}.md"
        if path.exists() and dice.random() < 1 / 6:
            path.unlink()
            continue
        sections = (
            f"## Hall {hall}\n\nThe pump in hall {hall} was replaced in {dice.randint(1900, 2020)}.\n"
            for hall in range(_SECTIONS)
        )
        path.write_text(f"# Plant {number}\n\n" + "\n".join(sections), encoding="utf-8")


def _start(context: Context, folder: Path) -> subprocess.Popen[bytes]:
    """Start a process that adds a folder; return when it is about to."""
    command = [sys.executable, "-m", "benchmarks.indexing_kills", str(context.workspace.root), str(folder)]
    child = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    assert child.stdout is not None
    assert child.stdout.readline().decode().strip() == _READY
    return child


def _add(workspace: Path, folder: Path) -> int:
    """Load all that is needed, say so, and add the folder; return the exit code."""
    context = open_context(workspace)
    context.models.open_embedder().embed(["warm"])
    print(_READY, flush=True)
    try:
        add_documents(AddDocumentsParams(folder=folder), context)
    except DataError as error:
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(_add(Path(sys.argv[1]), Path(sys.argv[2])))
