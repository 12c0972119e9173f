"""What a question asks, read off its words, and in what two questions that sound alike differ.

A vector says that two questions are about the same; it does not say whether they ask the
same. "When does the shop open?" and "When does the shop close?" are nearer to each other
than most paraphrases are. So the words decide first: numbers, negations, opposites, the
kind of answer that is wanted, who does what to whom, and a word put in another's place.
"""

from __future__ import annotations

import functools
import re
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from itertools import pairwise
from typing import Literal

from pipelines.dataset.checks.asked import Asked, asked_by
from pipelines.dataset.checks.wordlists import CONTRASTS_EN, CONTRASTS_ZH, LIGHT, LIGHT_ZH, SYNONYMS_EN, SYNONYMS_ZH
from pipelines.records import Language
from pipelines.text import language_of, words

_PUNCTUATION = re.compile(r"[\W_]+")
_NEGATIONS = frozenset(("not", "no", "never", "cannot", "nor", *"不没未无"))
_CONTRACTED = re.compile(r"n['’]t$")
_WHEN = re.compile(r"\b(?:what|which) (?:year|date|day|time)\b", re.IGNORECASE)
_POLITE = re.compile(
    r"^(?:(?:hello|hi|hey|please|so|excuse me)\b[\s,!:.]*"
    r"|(?:could|can|would|will) (?:you|someone|anybody) (?:please |kindly )?"
    r"(?:tell me|explain|say|let me know)\b[\s,:]*|(?:tell me|let me know)\b[\s,:]*|do you (?:happen to )?know\b[\s,:]*"
    r"|i(?: would|['’]d) (?:like|love) to know\b[\s,:]*|i(?:['’]m| am) wondering\b[\s,:]*)+",
    re.IGNORECASE,
)
_ROMAN = re.compile(r"\b[IVXLC]{2,}\b")
_DIGIT = re.compile(r"\d")
_COORDINATED = frozenset(("and", "or", "和", "与", "或"))
# Of two questions whose words are the same but for this share, one was made from the other.
_SAME_FRAME = 0.6
# From here on, a negation in one alone turns its meaning round.
_ALIKE = 0.4
_FEWEST_SAME = 2  # of a single word in common, the words alone say nothing
_MOST_SLIPS = 4
_SHORTEST_SLIP, _SHORTEST_VOWEL_SLIP = 5, 8
_VOWELS = frozenset("aeiou")
_PRONOUN, _ARTICLES = "it", frozenset(("the", "a", "an"))
_SUFFIXES = ("ings", "ing", "edly", "ed", "ies", "es", "s", "ly", "e")


def normalized(text: str) -> str:
    """Return `text` without case, punctuation, white space and compatibility forms."""
    return _PUNCTUATION.sub(" ", unicodedata.normalize("NFKC", text).casefold()).strip()


Verdict = Literal["same", "different", "open"]


@dataclass(frozen=True, slots=True)
class Reading:
    """A question as its words."""

    language: Language
    words: tuple[str, ...]
    content: tuple[str, ...]  # words that carry meaning, as one form each, in order
    light: tuple[str, ...]  # the others, in order
    numbers: frozenset[str]
    names: frozenset[str]  # content words written as names
    negations: int
    asked: Asked
    shingles: frozenset[str]  # character trigrams of content words; of Chinese, pairs


def read_question(question: str) -> Reading:
    """Return the words of a question, sorted by what they are good for."""
    language = language_of(question)
    question = _one_form_zh(question) if language == "zh" else _one_form_en(question)
    said = words(question)
    light = LIGHT_ZH if language == "zh" else LIGHT
    content = [_form(word) for word in said if word not in light and not _is_negation(word)]
    return Reading(
        language=language,
        words=tuple(said),
        content=tuple(_ordered(said, content)),
        light=tuple(word for word in said if word in light and word not in _COORDINATED),
        numbers=frozenset(word for word in said if _DIGIT.search(word)) | frozenset(_ROMAN.findall(question)),
        names=frozenset(_names(question)),
        negations=sum(map(_is_negation, said)),
        asked=asked_by(question, language),
        shingles=frozenset(_shingles(content, language)),
    )


def compare(first: Reading, second: Reading) -> Verdict:
    """Return what the words alone say of two questions: the same, different, or nothing."""
    if first.language != second.language or first.numbers != second.numbers or _contrasts(first, second):
        return "different"
    left, right = _leftovers(first, second)
    if not first.asked.agrees(second.asked) or (left & first.names and right & second.names):
        return "different"
    likeness = frame_likeness(first, second)
    if likeness >= _ALIKE and first.negations != second.negations:
        return "different"
    if left or right or first.asked != second.asked:
        return "different" if likeness >= _SAME_FRAME else "open"
    if first.negations != second.negations or len(set(first.content)) < _FEWEST_SAME:
        return "open"
    return "different" if _is_swapped(first, second) else "same"


def is_same(first: Reading, second: Reading) -> bool:
    """Return whether `compare` says so, quickly where it does not."""
    if first.numbers != second.numbers or first.asked != second.asked:
        return False
    # A slip of the hand makes two words of one, and there is hardly more than one.
    if len(set(first.content) ^ set(second.content)) > _MOST_SLIPS:
        return False
    return not any(_leftovers(first, second)) and compare(first, second) == "same"


def jaccard(first: frozenset[str], second: frozenset[str]) -> float:
    """Return the share of common elements; 0 if there are none at all."""
    common = len(first & second)
    return common / (len(first) + len(second) - common) if common else 0.0


def frame_likeness(first: Reading, second: Reading) -> float:
    """Return how much of two questions is the same words in the same order, from 0 to 1."""
    one, other = sorted((first.words, second.words))  # which is first makes a difference to the matcher
    return SequenceMatcher(None, one, other, autojunk=False).ratio()


def rest_of(reading: Reading, other: Reading) -> str:
    """Return what `reading` asks besides the content that it shares with `other`."""
    shared = set(reading.content) & set(other.content)
    rest: list[str] = []
    for word in reading.words:
        if _form(word) not in shared:
            rest.append(word)
        elif not rest or rest[-1] != _PRONOUN:
            rest = rest[:-1] if rest and rest[-1] in _ARTICLES else rest
            rest.append(_PRONOUN)
    return " ".join(rest) + "?"


def _leftovers(first: Reading, second: Reading) -> tuple[set[str], set[str]]:
    """Return the content words of each that the other lacks, misspelt ones aside."""
    left, right = _missing(first, second), _missing(second, first)
    for word in sorted(left):
        slip = next((other for other in sorted(right) if _is_slip(word, other)), None)
        if slip is not None:
            del left[word], right[slip]
    return set(left.values()), set(right.values())


def _missing(reading: Reading, other: Reading) -> dict[str, str]:
    """Return the content words, with their forms, that `other` lacks in any form."""
    lacking = set(reading.content) - set(other.content)
    if not lacking:
        return {}
    spelt = {word: form for word in reading.words if (form := _form(word)) in lacking}
    return {word: form for word, form in spelt.items() if not _is_slip_of_light(word)}


def _is_slip(first: str, second: str) -> bool:
    """Whether two words differ by one slip of the hand, and are hardly two real words.

    A letter is missing, doubled or added, two are swapped, or a vowel stands for another
    inside a long word. Any other letter in place of one makes too many real words of each
    other: Ireland and Iceland, sailor and tailor.
    """
    if min(len(first), len(second)) < _SHORTEST_SLIP or _DIGIT.search(first + second):
        return False
    if frozenset((_form(first), _form(second))) in _contrasting():
        return False
    start = next((i for i, (a, b) in enumerate(zip(first, second)) if a != b), min(len(first), len(second)))
    a, b = first[start:], second[start:]
    if a[1:] == b or a == b[1:] or (a[2:] == b[2:] and a[:2] == b[1::-1]):
        return True
    return a[1:] == b[1:] and len(first) >= _SHORTEST_VOWEL_SLIP and {a[0], b[0]} <= _VOWELS and start > 0


@functools.lru_cache(maxsize=100_000)
def _is_slip_of_light(word: str) -> bool:
    return any(_is_slip(word, light) for light in LIGHT)


def _contrasts(first: Reading, second: Reading) -> bool:
    """Whether a word of one is the opposite of a word of the other."""
    left, right = set(first.words) - set(second.words), set(second.words) - set(first.words)
    contrasting = _contrasting()
    return any(frozenset((_form(a), _form(b))) in contrasting for a in left for b in right)


def _is_swapped(first: Reading, second: Reading) -> bool:
    """Whether the same words stand in other places, so that somebody else does it."""
    a, b = list(first.content), list(second.content)
    if a == b or sorted(a) != sorted(b):
        return a == b and _helps(first) != _helps(second) and first.asked.kind == "person"
    if first.light == second.light:
        return True
    return first.asked.kind == "person" and _helps(first) != _helps(second)


def _helps(reading: Reading) -> bool:
    """Whether the one asked for is not the subject: 'who did he see' and not 'who saw him'."""
    return bool({"do", "does", "did"} & set(reading.light))


def _ordered(said: Sequence[str], content: list[str]) -> list[str]:
    """Return content words, with those around 'and' and 'or' in the order of the alphabet."""
    joined = [i for i in range(1, len(said) - 1) if said[i] in _COORDINATED]
    forms = list(content)
    for i in joined:
        pair = [_form(said[i - 1]), next((_form(word) for word in said[i + 1 :] if _form(word) in content), "")]
        if all(each in forms for each in pair):
            at = sorted(forms.index(each) for each in pair)
            for position, form in zip(at, sorted(pair)):
                forms[position] = form
    return forms


def _names(question: str) -> Iterable[str]:
    """Yield the words that are written as names: a capital letter, not at the beginning."""
    for number, word in enumerate(question.split()):
        bare = word.strip("\"'“”‘’()[],.?!:;")
        if number and bare[:1].isupper():
            yield _form(bare.casefold())


def _shingles(content: Sequence[str], language: Language) -> Iterable[str]:
    if language == "zh":
        yield from ("".join(pair) for pair in pairwise(content))
        return
    for word in content:
        padded = f" {word} "
        yield from (padded[i : i + 3] for i in range(len(padded) - 2))


def _is_negation(word: str) -> bool:
    return word in _NEGATIONS or _CONTRACTED.search(word) is not None


@functools.lru_cache(maxsize=100_000)
def _form(word: str) -> str:
    """Return the one form of a word: its stem, or the first of its synonyms."""
    synonyms = _synonyms()
    return synonyms.get(word) or synonyms.get(_stem(word)) or _stem(word)


def _stem(word: str) -> str:
    if _DIGIT.search(word):
        return word
    stem = word.replace("’", "'").removesuffix("'s").removesuffix("s'")
    for suffix in _SUFFIXES:
        if stem.endswith(suffix) and len(stem) - len(suffix) >= 3 and not stem.endswith("ss"):
            stem = stem.removesuffix(suffix) + ("y" if suffix == "ies" else "")
            break
    if len(stem) > 3 and stem[-1] == stem[-2] and stem[-1] not in "ls":
        stem = stem[:-1]
    return stem.rstrip("e") if len(stem) > 3 else stem


@functools.cache
def _synonyms() -> dict[str, str]:
    """Return, by word and by stem, the form of the group that it belongs to."""
    forms: dict[str, str] = {}
    for group in SYNONYMS_EN:
        for word in group:
            forms.setdefault(word, _stem(group[0]))
            forms.setdefault(_stem(word), _stem(group[0]))
    return forms


@functools.cache
def _contrasting() -> frozenset[frozenset[str]]:
    pairs = set()
    for group in CONTRASTS_EN:
        forms = [_form(word) for word in group]
        pairs |= {frozenset((a, b)) for a in forms for b in forms if a != b}
    for group in CONTRASTS_ZH:
        pairs |= {frozenset((a, b)) for a in group for b in group if a != b}
    return frozenset(pairs)


def _one_form_en(question: str) -> str:
    """Return an English question without politeness, and with 'when' for 'what year' and the like."""
    asked = _POLITE.sub("", unicodedata.normalize("NFKC", question).strip())
    return _WHEN.sub("when", asked)


@functools.cache
def _phrases_zh() -> tuple[re.Pattern[str], dict[str, str]]:
    forms = {phrase: group[0] for group in SYNONYMS_ZH for phrase in group}
    longest_first = sorted(forms, key=len, reverse=True)
    return re.compile("|".join(map(re.escape, longest_first))), forms


def _one_form_zh(question: str) -> str:
    """Return a Chinese question with the first of each group of synonyms in place of the others."""
    pattern, forms = _phrases_zh()
    return pattern.sub(lambda match: forms[match.group()], unicodedata.normalize("NFKC", question))
