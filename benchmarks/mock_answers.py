"""What the mock endpoint says: text, or an instance of the schema that it was asked for."""

from __future__ import annotations

import hashlib
import json
import random
import re
from typing import Any

from benchmarks.mock_teacher import teach

_VOCABULARY = (
    "amber anchor apple autumn basket beacon bridge candle canyon cedar cellar circle cobalt copper coral "
    "cotton cradle dancer desert dragon ember engine fabric falcon feather forest garden ginger glacier hammer "
    "harbor hazel helmet island jacket jasmine kettle ladder lantern lemon linen magnet maple marble meadow mirror "
    "mountain needle ocean olive orchard paper pepper pillow planet pocket prairie quartz rabbit ribbon river "
    "saddle salmon shadow silver spider summit sunset temple thunder timber tunnel valley velvet violin walnut willow"
)
_WORDS = _VOCABULARY.split()
# How data-designer asks for a form: in the prompt, and not with response_format.
_DESCRIBED = re.compile(r"<response_schema>\s*(\{.+?\})\s*</response_schema>", re.DOTALL)


def content_for(asked: dict[str, Any]) -> str:
    """Return the answer to a call: text, or an instance of the schema; the same messages and seed get the same."""
    messages = json.dumps([asked.get("messages"), asked.get("seed")], sort_keys=True).encode()
    dice = random.Random(hashlib.blake2b(messages, digest_size=8).digest())
    wanted = asked.get("response_format") or {}
    if wanted.get("type") == "json_schema":
        taught = teach(asked["messages"], wanted["json_schema"]["schema"])
        if taught is not None:
            return taught
        return json.dumps(_instance(wanted["json_schema"]["schema"], dice))
    if wanted.get("type") == "json_object":
        return json.dumps({"answer": _sentence(dice)})
    described = _DESCRIBED.search("\n".join(map(_said, asked["messages"])))
    if described:
        return f"```json\n{json.dumps(_instance(json.loads(described[1]), dice))}\n```"
    return _sentence(dice)


def _said(message: dict[str, Any]) -> str:
    """Return the text of a message, which may be in parts."""
    content = message.get("content") or ""
    return content if isinstance(content, str) else "\n".join(part.get("text", "") for part in content)


def _instance(schema: dict[str, Any], dice: random.Random) -> object:
    return Maker(dice, definitions=schema.get("$defs", {})).make(schema)


class Maker:
    """Draws values that satisfy a simple JSON schema, with texts that no other has.

    Patterns and formats of texts are not looked at; of alternatives the first is taken.
    """

    def __init__(self, dice: random.Random, *, definitions: dict[str, Any]) -> None:
        self._dice = dice
        self._definitions = definitions
        self._makers = {
            "object": self._object,
            "array": self._array,
            "integer": self._integer,
            "number": self._number,
            "boolean": lambda schema: dice.random() < 0.5,
            "null": lambda schema: None,
            "string": self._text,
        }

    def make(self, schema: dict[str, Any]) -> object:
        """Return a value that satisfies `schema`."""
        if "$ref" in schema:
            return self.make(self._definitions[schema["$ref"].rsplit("/", 1)[1]])
        if "const" in schema:
            return schema["const"]
        if "enum" in schema:
            return self._dice.choice(schema["enum"])
        for several in ("anyOf", "oneOf", "allOf"):
            if several in schema:
                return self.make(schema[several][0])
        return self._makers[schema.get("type", "string")](schema)

    def _object(self, schema: dict[str, Any]) -> object:
        return {name: self.make(each) for name, each in schema.get("properties", {}).items()}

    def _array(self, schema: dict[str, Any]) -> object:
        fewest = schema.get("minItems", min(2, schema.get("maxItems", 2)))
        return [self.make(each) for each in schema.get("prefixItems") or [schema.get("items", {})] * fewest]

    def _integer(self, schema: dict[str, Any]) -> object:
        low = schema.get("minimum", schema.get("exclusiveMinimum", -1) + 1)
        high = schema.get("maximum", schema.get("exclusiveMaximum", low + 11) - 1)
        return self._dice.randint(low, high)

    def _number(self, schema: dict[str, Any]) -> object:
        low = schema.get("minimum", schema.get("exclusiveMinimum", 0.0))
        return self._dice.uniform(low, schema.get("maximum", schema.get("exclusiveMaximum", low + 1.0)))

    def _text(self, schema: dict[str, Any]) -> object:
        text = _sentence(self._dice)
        while len(text) < schema.get("minLength", 0):
            text += " " + _sentence(self._dice)
        return text[: schema.get("maxLength")]


def _sentence(dice: random.Random) -> str:
    return " ".join(dice.choices(_WORDS, k=10)).capitalize() + "."
