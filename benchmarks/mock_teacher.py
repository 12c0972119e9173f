"""A teacher without a mind: sound questions and true quotes, told from the passage by rule.

With it a whole run of generation can be measured, killed and repeated: the same messages get the
same answer, and what it writes passes the checks.
"""

from __future__ import annotations

import hashlib
import json
import random
import re
from typing import Any

_PASSAGE = re.compile(r"<passage[^>]*>\n(.*?)\n</passage>", re.DOTALL)
_ASKED = re.compile(r"^(\d+)\. (.+)$", re.MULTILINE)
_SENTENCE = re.compile(r"[^.!?。！？]+(?:[.!?。！？]|$)")
_SUBJECTS = ["traveller", "baker", "gardener", "engineer", "teacher", "sailor", "doctor", "farmer", "pilot", "nurse"]
_PLACES = ["Lisbon", "Oslo", "Kyoto", "Quito", "Cairo", "Riga", "Perth", "Lima", "Turin", "Bergen", "Porto", "Leeds"]


def teach(messages: list[dict[str, Any]], schema: dict[str, Any]) -> str | None:
    """Return questions about the passages, or answers with quotes; None if neither is asked for."""
    said = "\n".join(str(message.get("content")) for message in messages)
    passages = _PASSAGE.findall(said)
    wanted = schema.get("properties", {})
    if not passages or not wanted.keys() & {"questions", "answers"}:
        return None
    sentences = [sentence.strip() for passage in passages for sentence in _SENTENCE.findall(passage)]
    dice = random.Random(hashlib.blake2b(said.encode(), digest_size=8).digest())
    if "questions" in wanted:
        count = wanted["questions"].get("maxItems", 2)
        return json.dumps({"questions": [_question(sentence, dice) for sentence in dice.choices(sentences, k=count)]})
    asked = _ASKED.findall(said.rpartition("</passage>")[2])
    answers = [
        {"number": int(number), "quotes": [_nearest(question, sentences)], "answer": "It is as the rules have it."}
        for number, question in asked
    ]
    return json.dumps({"answers": answers})


def _question(sentence: str, dice: random.Random) -> str:
    told = " ".join(re.findall(r"\w+", sentence)[:16])
    who = f"a {dice.choice(_SUBJECTS)} from {dice.choice(_PLACES)}"
    return f"What should {who} know about “{told}” in {dice.randrange(9999)}?"


def _nearest(question: str, sentences: list[str]) -> str:
    told = set(re.findall(r"\w+", question.lower()))
    return max(sentences, key=lambda sentence: len(told & set(re.findall(r"\w+", sentence.lower()))))
