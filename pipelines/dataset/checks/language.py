"""Check of language: question and answer are in the language that was asked for.

English is told from other languages in Latin letters by a model of letter sequences, Chinese
from the rest by its script, in which names and commands in Latin letters may stand. Text that
is too short to tell, or mostly names or code, passes.
"""

from __future__ import annotations

import functools
import re
import unicodedata
from collections import Counter
from collections.abc import Iterator

from py3langid.langid import MODEL_FILE, LanguageIdentifier

from pipelines.dataset.checks import Check
from pipelines.dataset.checks.form import own_words
from pipelines.records import Example, ExampleKind, Language, Rejection, rejected
from pipelines.text import fold_space, language_of

_NAMES: dict[Language, str] = {"en": "English", "zh": "Chinese"}
# Those that teachers write, and no small relatives of English that short questions resemble.
_CANDIDATES = (
    *("ar", "ca", "cs", "da", "de", "el", "en", "es", "fa", "fi", "fr", "he", "hi", "hu", "id", "it", "ja", "ko"),
    *("nl", "no", "pl", "pt", "ro", "ru", "sv", "th", "tr", "uk", "vi", "zh"),
)
# English questions full of foreign names come near to 0.1; measured on SQuAD.
_LEAST_ENGLISH = 0.1
_FEWEST_WORDS = 3  # written with a small letter, so no names
_MOST_KANA = 0.2  # share of kana among kana and Chinese characters; Japanese has half or so
_SCRIPTS = ("LATIN", "CJK", "HIRAGANA", "KATAKANA")
_QUOTED = re.compile('["“«「『][^"”»」』]{0,300}["”»」』]')
_CODE = re.compile(r"```.*?(?:```|$)|`[^`\n]+`", re.DOTALL)
_ASCII_RUN = re.compile("[!-~]+")
# Commands, options, paths, addresses and names in code belong to no language.
_TECHNICAL = re.compile(r"[/\\_=<>{}$|@]|[a-z0-9][.:][a-z0-9]|\(\d?\)|^-{1,2}[a-z]", re.IGNORECASE)
_LATIN_WORD = re.compile(r"[^\W\d_]+(?:['’\-][^\W\d_]+)*")
_CHINESE_RUN = re.compile("[\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff]+")


def check_language(expected: Language | None = None) -> Check:
    """Return the check that examples are in a language.

    Args:
        expected: The language; by default, for each example, that of what it quotes, or else
            the one it is recorded with.
    """
    return functools.partial(_check, expected=expected)


def is_in_language(text: str, language: Language) -> bool:
    """Whether `text` is in the language, or shows nothing of any other."""
    prose = _prose(text)
    scripts = Counter(filter(None, map(_script, prose)))
    chinese, latin = scripts["CJK"], scripts["LATIN"]
    kana = scripts["HIRAGANA"] + scripts["KATAKANA"]
    other = scripts["OTHER"]
    if kana > _MOST_KANA * (kana + chinese) or other > chinese + latin:
        return False
    latin_text = _CHINESE_RUN.sub(" ", prose)
    words = _LATIN_WORD.findall(latin_text)
    if language == "zh":
        return _is_chinese(text, chinese=chinese, latin=latin, words=words)
    return chinese <= len(words) and (not _tells(words) or _english(fold_space(latin_text)) >= _LEAST_ENGLISH)


def _is_chinese(text: str, *, chinese: int, latin: int, words: list[str]) -> bool:
    if not chinese:  # a name, a number, a command; not a sentence
        return not _tells(words) and not text.rstrip().endswith(("?", "？"))
    # A question about a command may have more Latin letters than Chinese characters.
    return chinese >= len(words) or 3 * chinese > latin or not _tells(words)


def _check(example: Example, *, expected: Language | None) -> Example | Rejection:
    language = expected or _language_of_source(example)
    for name, text in _said(example):
        if text and not is_in_language(text, language):
            reason = f"{name} is not in {_NAMES[language]}: {fold_space(text)[:120]!r}"
            return rejected(example, check="language", reason=reason)
    return example


def _language_of_source(example: Example) -> Language:
    quoted = " ".join(quote.quote for quote in example.quotes)
    return language_of(quoted) if quoted else example.language


def _said(example: Example) -> Iterator[tuple[str, str]]:
    """Yield the texts that someone wrote for the example, each with its name."""
    yield "the question", example.question
    if example.kind not in {ExampleKind.CLASSIFICATION, ExampleKind.SPANS}:
        yield "the answer", own_words(example)
    if example.kind is ExampleKind.CONVERSATION:
        for number, message in enumerate(example.messages, start=1):
            # Once passages are shown with them, the user's turns are not the user's alone.
            if message.role == "assistant" or (message.role == "user" and not example.chunks):
                yield f"turn {number}", message.content


def _prose(text: str) -> str:
    """Return `text` without code and addresses, and without quotations if more than those is left."""
    prose = _ASCII_RUN.sub(_without_technical, _CODE.sub(" ", text))
    spoken = _QUOTED.sub(" ", prose)
    return spoken if any(character.isalpha() for character in spoken) else prose


def _without_technical(run: re.Match[str]) -> str:
    return " " if _TECHNICAL.search(run.group()) else run.group()


def _tells(words: list[str]) -> bool:
    """Whether so many words are no names that their language can be told."""
    return sum(word[0].islower() for word in words) >= _FEWEST_WORDS


@functools.cache
def _script(character: str) -> str:
    """Return the script of a letter, '' for anything else."""
    if not character.isalpha():
        return ""
    name = unicodedata.name(character, "")
    return next((script for script in _SCRIPTS if name.startswith(script)), "OTHER")


@functools.cache
def _identifier() -> LanguageIdentifier:
    identifier = LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)
    identifier.set_languages(_CANDIDATES)
    return identifier


def _english(text: str) -> float:
    """Return how likely `text` is English among the candidates, in [0, 1]."""
    return next(float(share) for language, share in _identifier().rank(text) if language == "en")
