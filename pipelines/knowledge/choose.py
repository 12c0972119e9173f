"""Which model embeds a new collection: what was asked for, or what its documents need."""

from __future__ import annotations

from pathlib import Path

from pipelines.errors import AssistantError, DataError
from pipelines.knowledge.collection import opened_vectors
from pipelines.knowledge.reading.reader import open_reader
from pipelines.knowledge.scan import Scan
from pipelines.models.catalog import CATALOG, MULTILINGUAL_EMBEDDER
from pipelines.operation import Context
from pipelines.text import language_of

# So many files, spread over all, tell the language of a folder.
_SAMPLED_FILES = 20
_CHINESE_SHARE = 0.2


def choose_embedder(asked: str, scan: Scan, folder: Path, context: Context, *, max_megabytes: float) -> None:
    """Decide once which model embeds the collection in `folder`.

    The default model knows English only; where much is Chinese, the multilingual one is taken.

    Args:
        asked: Model that a person named; empty if none.
        scan: The documents.
        folder: Of the collection.
        context: Whose settings come first.
        max_megabytes: Largest file to read.

    Raises:
        DataError: The collection was embedded by another model than the one that was named.
    """
    asked = lasting_name(asked)
    with opened_vectors(folder) as stored:
        serving = stored.serving()
        if serving is not None:
            if asked not in ("", serving.model) and context.models.open_embedder(asked).name != serving.embedder:
                raise DataError(
                    f"the collection was embedded by {serving.model or serving.embedder}, not by {asked}",
                    path=folder,
                    hint=f"Embed it anew: assistant docs reindex --collection {folder.name} --embedder {asked}",
                )
            return
        if asked:
            context.check_model(asked)
        model = asked or _needed(scan, context, max_megabytes=max_megabytes)
        if not model:
            return
        try:
            name = context.models.open_embedder(model).name
        except AssistantError as error:
            if asked:
                raise
            context.notice(f"much of this is Chinese, which the default model of vectors does not know: {error}")
            return
        stored.serve(stored.begin(name, model=model))


def lasting_name(asked: str) -> str:
    """Return what a model is called from any folder: one that is a folder itself, by its whole path."""
    folder = Path(asked).expanduser()
    if any(model.name == asked for model in CATALOG) or not (folder / "config.json").is_file():
        return asked
    return str(folder.resolve())


def _needed(scan: Scan, context: Context, *, max_megabytes: float) -> str:
    """Return the multilingual model where a good part of the documents is Chinese; else nothing."""
    if context.settings.embedder_model:
        return ""
    paths = list(scan.files.values())
    sampled = paths[:: max(1, len(paths) // _SAMPLED_FILES)]
    chinese = paragraphs = 0
    with open_reader() as reader:
        for path in sampled:
            try:
                document = reader.read(path, document_id=path.name, max_megabytes=max_megabytes)
            except AssistantError:
                continue  # it is reported when it is added
            blocks = document.text.split("\n\n")
            paragraphs += len(blocks)
            chinese += sum(language_of(block) == "zh" for block in blocks)
    return MULTILINGUAL_EMBEDDER if chinese and chinese >= _CHINESE_SHARE * paragraphs else ""
