"""Plain text in English and Chinese: sentences, words, language, white space."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Sequence

from pipelines.records import Language

_CJK = "\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"
_CJK_RUN = re.compile(f"[{_CJK}]+")
_WORD = re.compile(r"[^\W_]+(?:['’.\-][^\W_]+)*")
# A sentence ends at its punctuation (with closing quotes or brackets) before white space
# and a beginning, or right at Chinese punctuation, or at a line that ends.
_BOUNDARY = re.compile(
    r"(?P<latin>[.!?…]+[\"'”’)\]]*)(?=\s+[\"'“‘(\[]*[A-Z0-9])|(?P<cjk>[。！？；]+[”’」』）]*)|(?P<line>\n+)"
)
_ABBREVIATION = re.compile(
    r"(?:^|[\s(])(?:[A-Za-z]|[A-Z][a-z]"
    r"|(?i:e\.g|i\.e|cf|etc|vs|ca|approx|no|fig|vol|pp|dr|mr|mrs|ms|prof|st|inc|ltd))\.$"
)
_LIST_MARK = re.compile(r"\s*(?:(?:[-*•]|\d{1,3}[.)])\s+)?")
_NUMBER_ALONE = re.compile(r"\s*\d{1,3}\.")
_INVISIBLE = re.compile("[\u00ad\u200b-\u200f\u202a-\u202e\u2060-\u2064\ufeff]")
_CJK_GAP = re.compile(f"(?<=[{_CJK}\u3000-\u303f\uff00-\uffef]) (?=[{_CJK}\u3000-\u303f\uff00-\uffef])")
_LINE_END = re.compile("\r\n|[\r\x0b\x0c\x85\u2028\u2029]")
_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]")


def sentence_spans(text: str) -> list[tuple[int, int]]:
    """Return start and end of each sentence, without the white space around it.

    Lines of their own (headings, list items) count as sentences, without a list's marks.
    """
    spans: list[tuple[int, int]] = []
    start = 0
    for match in _BOUNDARY.finditer(text):
        end = match.start() if match.lastgroup == "line" else match.end()
        if match.lastgroup == "latin" and _ends_nothing(text[start:end]):
            continue
        _append_stripped(spans, text, start, end)
        start = match.end()
    _append_stripped(spans, text, start, len(text))
    return spans


def fold_space(text: str) -> str:
    """Return `text` on one line, with single spaces."""
    return " ".join(text.split())


def join_lines(lines: Sequence[str]) -> str:
    """Return wrapped lines as one; Chinese ones meet without a space."""
    joined = " ".join(line.strip() for line in lines).strip()
    return _CJK_GAP.sub("", joined)


def clean_text(text: str) -> str:
    """Return `text` without control, invisible and direction characters, in NFC."""
    unified = _LINE_END.sub("\n", text).replace("\t", " ").replace("\u00a0", " ")
    return unicodedata.normalize("NFC", _CONTROL.sub("", _INVISIBLE.sub("", unified)))


def language_of(text: str) -> Language:
    """Return the language of `text`, told by its script."""
    chinese = sum(len(run) for run in _CJK_RUN.findall(text))
    latin = len(_WORD.findall(_CJK_RUN.sub(" ", text)))
    # A name or a command of many letters does not make a Chinese sentence an English one.
    return "zh" if chinese > latin else "en"


def main_language(texts: Iterable[str]) -> Language:
    """Return the language that most texts are in; English of none."""
    languages = Counter(language_of(text) for text in texts)
    return max(languages, key=lambda language: languages[language], default="en")


def words(text: str) -> list[str]:
    """Return the lower-case words of `text`; each Chinese character is a word."""
    found: list[str] = []
    for piece in re.split(f"([{_CJK}])", text.casefold()):
        if _CJK_RUN.fullmatch(piece):
            found.append(piece)
        else:
            found += _WORD.findall(piece)
    return found


def search_terms(text: str) -> list[str]:
    """Return what a keyword index holds of `text`: words, and pairs of Chinese characters."""
    found: list[str] = []
    position = 0
    lowered = text.casefold()
    for run in _CJK_RUN.finditer(lowered):
        found += _WORD.findall(lowered[position : run.start()])
        characters = run.group()
        found += [characters[i : i + 2] for i in range(len(characters) - 1)] or [characters]
        position = run.end()
    return found + _WORD.findall(lowered[position:])


def _ends_nothing(sentence: str) -> bool:
    """Whether the full stop behind what would be a sentence is that of an abbreviation or of an item's number."""
    return bool(_ABBREVIATION.search(sentence) or _NUMBER_ALONE.fullmatch(sentence))


def _append_stripped(spans: list[tuple[int, int]], text: str, start: int, end: int) -> None:
    mark = _LIST_MARK.match(text, start, end)
    start = mark.end() if mark else start
    end = start + len(text[start:end].rstrip())
    if end > start:
        spans.append((start, end))
