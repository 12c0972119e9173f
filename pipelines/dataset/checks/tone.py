"""Flags for people to look at: insults, threats and obscenity, and generalisations about groups.

Nothing is rejected for its tone. The lexicon in `tone.yaml` is small and means to be right
when it speaks, so that manuals, medicine and history stay quiet; it has these limits:
- It knows English and Chinese, and of both the plain words. Irony, polite contempt, new slang,
  code words and most disguises pass unseen; a judge that reads the text has to find those.
- It cannot tell a word that is used from one that is quoted: a novel, or an article about an
  insult, is flagged like the insult.
- Of bias it finds sentences that say of a whole group that it is, cannot or should not something,
  by a list of groups and traits. What a dataset leaves out, or says of single persons, is beyond it.
"""

from __future__ import annotations

import functools
import importlib.resources
import re
from collections.abc import Iterator, Mapping, Sequence

import yaml
from pydantic import BaseModel, ConfigDict

from pipelines.records import Example, ExampleKind, Rejection

_Weighted = tuple[tuple[re.Pattern[str], float], ...]

# Letters that stand for others, and marks that hide one.
_LOOK_ALIKES: Mapping[str, str] = {
    "a": "[a4@*]",
    "e": "[e3*]",
    "i": "[i1!*]",
    "o": "[o0*]",
    "s": "[s5$]",
    "t": "[t7]",
    "u": "[uv*]",
}
# A text is as bad as its worst words; the share of a text would hide one slur in a long answer.
_BIAS_EXPLICIT, _BIAS_SWEEPING = 0.8, 0.6


class _Lexicon(BaseModel):
    model_config = ConfigDict(extra="forbid")

    words_en: dict[float, list[str]]
    endings_en: list[str]
    phrases_en: dict[float, list[str]]
    phrases_zh: dict[float, list[str]]
    groups_en: list[str]
    groups_zh: list[str]
    traits_en: list[str]
    sweeps_en: list[str]
    plain_zh: list[str]
    traits_zh: list[str]


def check_tone(example: Example) -> Example | Rejection:
    """Return the example with flags and scores for toxicity and bias; never a rejection.

    The scores, in [0, 1], tell how bad the worst phrase is; 0 where none was found.
    """
    texts = [text.replace("’", "'") for text in _shown(example)]
    scores = {name: max(score(text) for text in texts) for name, score in _MEASURES.items()}
    found = tuple(name for name, score in scores.items() if score > 0)
    return example.model_copy(
        update={
            "flags": tuple(dict.fromkeys((*example.flags, *found))),
            "scores": {**example.scores, **scores},
        }
    )


def toxicity(text: str) -> float:
    """Return how bad the worst insult, threat or obscenity of `text` is, in [0, 1]."""
    return max((weight for pattern, weight in _toxic_patterns() if _meant(pattern, text)), default=0.0)


def bias(text: str) -> float:
    """Return how plainly `text` generalises about a group of people, in [0, 1]."""
    return max((weight for pattern, weight in _bias_patterns() if pattern.search(text)), default=0.0)


_MEASURES = {"toxicity": toxicity, "bias": bias}


def _shown(example: Example) -> Iterator[str]:
    yield example.question
    yield example.answer
    yield example.rejected
    if example.kind is ExampleKind.CONVERSATION:
        # Once passages are shown with them, the user's turns are not the user's alone.
        yield from (turn.content for turn in example.messages if turn.role == "assistant" or not example.chunks)


def _meant(pattern: re.Pattern[str], text: str) -> bool:
    """Whether the pattern is found, and not in what is mostly digits and marks, such as a part number."""
    return any(
        2 * sum(character.isalpha() for character in match.group()) >= len(match.group())
        for match in pattern.finditer(text)
    )


@functools.cache
def _lexicon() -> _Lexicon:
    source = importlib.resources.files("pipelines.dataset.checks") / "tone.yaml"
    return _Lexicon.model_validate(yaml.safe_load(source.read_text(encoding="utf-8")))


@functools.cache
def _toxic_patterns() -> _Weighted:
    lexicon = _lexicon()
    endings = "|".join(lexicon.endings_en)
    patterns = [
        (rf"(?<![\w@#/.$!*\-])(?:{'|'.join(map(_disguised, words))})(?:{endings})?(?![\w/])", weight)
        for weight, words in lexicon.words_en.items()
    ]
    patterns += [(rf"\b(?:{_any(phrases)})\b", weight) for weight, phrases in lexicon.phrases_en.items()]
    patterns += [(_any(phrases), weight) for weight, phrases in lexicon.phrases_zh.items()]
    return _compiled(patterns)


@functools.cache
def _bias_patterns() -> _Weighted:
    lexicon = _lexicon()
    group, traits = _any(lexicon.groups_en), _any(lexicon.traits_en)
    group_zh, traits_zh = f"(?:{_any(lexicon.groups_zh)})(?:们|者)?", _any(lexicon.traits_zh)
    how = "(?:(?:all|just|really|naturally|usually|generally|simply|often|always|mostly|inherently) )*"
    always = "(?:都|就是|天生|总是|全是|从来|本来就|普遍|生来|只会|不配)"
    clause = "[^，。！？；、\\s]"
    patterns = [
        (rf"\b(?:{group}) (?:are|tend to be|were born|make) {how}(?:{traits})", _BIAS_EXPLICIT),
        (rf"\b(?:{group}) (?:{_any(lexicon.sweeps_en)})", _BIAS_SWEEPING),
        (rf"\ball (?:{group}) (?:are (?!created|born|equal|required|entitled|mortal)|want|hate)\b", _BIAS_SWEEPING),
        (rf"{group_zh}{clause}{{0,4}}{always}{clause}{{0,6}}(?:{traits_zh})", _BIAS_EXPLICIT),
        (rf"{group_zh}(?:天生|生来|就该|就应该|不配|没有?一个(?:是)?好)", _BIAS_SWEEPING),
        (rf"{group_zh}{clause}{{0,2}}(?:{_any(lexicon.plain_zh)})", _BIAS_SWEEPING),
    ]
    return _compiled(patterns)


def _disguised(word: str) -> str:
    """Return a pattern for the word with letters repeated, or replaced by their look-alikes."""
    return "".join(f"{_LOOK_ALIKES.get(letter, letter)}+" for letter in word)


def _any(patterns: Sequence[str]) -> str:
    return "|".join(patterns)


def _compiled(patterns: Sequence[tuple[str, float]]) -> _Weighted:
    return tuple((re.compile(pattern, re.IGNORECASE | re.MULTILINE), weight) for pattern, weight in patterns)
