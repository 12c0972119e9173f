"""Types of columns, said once for all who have to know them.

Whoever reads JSON lines guesses types from the first megabytes, and a list that is empty
there has none. So the types travel with the data: in the card, and in Parquet itself.
"""

from __future__ import annotations

import types
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Literal, TypeAlias, Union, get_args, get_origin

from pydantic import BaseModel


@dataclass(frozen=True)
class ListOf:
    """Any number of values of one shape."""

    item: Shape


Scalar = Literal["string", "bool", "int64", "float64"]
Shape: TypeAlias = "Scalar | ListOf | Mapping[str, Shape]"
Columns = Mapping[str, Shape]

_SCALARS: dict[object, Scalar] = {str: "string", bool: "bool", int: "int64", float: "float64"}


def shape_of(annotation: object) -> Shape:
    """Return the shape of values with a Python type, as JSON holds them.

    Mappings with any keys become lists of names and values, since columns have fixed fields.

    Raises:
        ValueError: Columns cannot hold that type.
    """
    origin, arguments = get_origin(annotation), get_args(annotation)
    if annotation in _SCALARS:
        return _SCALARS[annotation]
    if origin is Literal or (isinstance(annotation, type) and issubclass(annotation, Enum)):
        return "string"
    if origin in (Union, types.UnionType):
        [inner] = [each for each in arguments if each is not type(None)]
        return shape_of(inner)
    if origin in (list, tuple):
        return ListOf(shape_of(arguments[0]))
    if origin is dict:
        return ListOf({"name": shape_of(arguments[0]), "value": shape_of(arguments[1])})
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return {name: shape_of(field.annotation) for name, field in annotation.model_fields.items()}
    raise ValueError(f"no column holds {annotation!r}")


def features_of(columns: Columns) -> list[dict[str, object]]:
    """Return the types of columns as the front matter of a dataset card declares them."""
    return [{"name": name, **_feature(shape)} for name, shape in columns.items()]


def _feature(shape: Shape) -> dict[str, object]:
    if isinstance(shape, str):
        return {"dtype": shape}
    if isinstance(shape, ListOf):
        inner = _feature(shape.item)
        # A list of plain values or of structures names them without a level of its own.
        return {"list": inner.get("dtype") or inner.get("struct") or inner}
    return {"struct": features_of(shape)}
