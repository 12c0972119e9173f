"""The Croissant description of an export: its files with their hashes, and what their rows hold.

Source:
    MLCommons, Croissant Format Specification 1.1, http://mlcommons.org/croissant/1.1.
"""

from __future__ import annotations

import importlib.resources
import json
from collections.abc import Iterator, Mapping
from pathlib import Path

from pipelines.dataset.exporting.card import Card, ExportedFile
from pipelines.dataset.formats.shapes import ListOf, Scalar, Shape
from pipelines.workspace import write_json

CROISSANT = "croissant.json"
_CONFORMS_TO = "http://mlcommons.org/croissant/1.1"
_TYPES: Mapping[Scalar, str] = {
    "string": "sc:Text",
    "bool": "sc:Boolean",
    "int64": "sc:Integer",
    "float64": "sc:Float",
}


def write_croissant(card: Card, folder: Path) -> None:
    """Write the description of an export into its folder."""
    context = importlib.resources.files("pipelines.dataset").joinpath("templates", "croissant_context.json")
    files = [file for file in card.files if file.split is not None]
    description = {
        "@context": json.loads(context.read_text(encoding="utf-8")),
        "@type": "sc:Dataset",
        "conformsTo": _CONFORMS_TO,
        "name": card.dataset,
        "description": f"{card.facts.examples} examples for training a chatbot, as {card.format_name}.",
        "license": card.license,
        "inLanguage": sorted(card.facts.languages),
        "distribution": [_file_object(file, card) for file in files],
        "recordSet": [
            {
                "@type": "cr:RecordSet",
                "@id": file.split,
                "name": file.split,
                "field": [_field(name, shape, file, (name,)) for name, shape in card.format.columns.items()],
            }
            for file in files
        ],
    }
    write_json(folder / CROISSANT, description)


def _file_object(file: ExportedFile, card: Card) -> dict[str, object]:
    return {
        "@type": "cr:FileObject",
        "@id": file.file,
        "name": file.file,
        "contentUrl": file.file,
        "contentSize": f"{file.bytes} B",
        "encodingFormat": "application/x-parquet" if card.format.is_parquet else "application/jsonlines",
        "sha256": file.sha256,
    }


def _field(name: str, shape: Shape, file: ExportedFile, path: tuple[str, ...]) -> dict[str, object]:
    """Describe a column, or a field inside one, with what it holds."""
    source: dict[str, object] = {"fileObject": {"@id": file.file}, "extract": {"column": path[0]}}
    if len(path) > 1:
        source["transform"] = {"jsonPath": ".".join(path[1:])}
    described: dict[str, object] = {
        "@type": "cr:Field",
        "@id": "/".join((str(file.split), *path)),
        "name": name,
        "source": source,
    }
    depth = len(list(_lists(shape)))
    if depth:
        described |= {"isArray": True, "arrayShape": ",".join(["-1"] * depth)}
    inner = [shape, *_lists(shape)][-1]
    if isinstance(inner, str):
        return {**described, "dataType": _TYPES[inner]}
    assert not isinstance(inner, ListOf)
    return {**described, "subField": [_field(key, each, file, (*path, key)) for key, each in inner.items()]}


def _lists(shape: Shape) -> Iterator[Shape]:
    """Yield what the lists of a shape hold, from the outermost inwards."""
    while isinstance(shape, ListOf):
        shape = shape.item
        yield shape
