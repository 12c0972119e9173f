"""The model that was exported, opened again: what is shipped is scored, not what it was made from."""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pipelines.errors import DataError
from pipelines.manifest import file_hash
from pipelines.models.cached import CachedEngine
from pipelines.models.convert import convert_gguf
from pipelines.models.engine import Engine
from pipelines.models.ledger import Ledger
from pipelines.models.local import open_engine

_HINT = "Give the folder of a merged model, or a .gguf file."


def artefact_hash(path: Path) -> str:
    """Return what changes with the weights of an exported model.

    Raises:
        DataError: It is neither a GGUF file nor the folder of a model.
    """
    if path.is_file() and path.suffix.lower() == ".gguf":
        return file_hash(path)
    weights = sorted(path.glob("*.safetensors"))
    if not weights or not (path / "config.json").is_file():
        raise DataError(f"{path} is no exported model", path=path, hint=_HINT)
    return hashlib.sha256("".join(map(file_hash, weights)).encode()).hexdigest()


@contextmanager
def opened_artefact(path: Path, ledger: Ledger) -> Iterator[Engine]:
    """Open an exported model; a GGUF file is dequantized into a folder that is removed again.

    What is measured of a GGUF file is its weights as they are rounded, with the arithmetic of
    this program and not that of the program that will serve it.
    """
    name = f"artefact-{artefact_hash(path)[:12]}"
    with tempfile.TemporaryDirectory() as scratch:
        folder = path
        if path.is_file():
            folder = Path(scratch) / "model"
            convert_gguf(path, folder)
        yield CachedEngine(open_engine(folder, name=name), ledger)
