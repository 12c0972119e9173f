"""Texts as tokens: whole ones to sort, or word by word in windows to find pieces in.

A word is judged at its first token; the others of it are not labelled (Devlin et al. 2019,
BERT, section 5.3, arXiv:1810.04805). Pieces are written as BIO tags (Ramshaw and Marcus 1995).
"""

from __future__ import annotations

import bisect
import itertools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy
from numpy.typing import NDArray
from transformers import PreTrainedTokenizerFast

from pipelines.records import Span
from pipelines.text import language_of

Probabilities = NDArray[numpy.float32]
OUTSIDE = 0  # tag of a word in no piece; label k begins with 1 + 2k and goes on with 2 + 2k


@dataclass(frozen=True, kw_only=True)
class Item:
    """What the model computes at once, and what it is to say."""

    tokens: tuple[int, ...]
    places: tuple[int, ...] = ()  # tokens to judge; none: the text as a whole
    targets: tuple[int, ...] = ()  # class of the text, or tag of each place


@dataclass(frozen=True, kw_only=True)
class EncodedText:
    """A text as its words, and the windows in which they are judged, each word in one of them."""

    words: tuple[tuple[int, int], ...]  # start and end in the text
    windows: tuple[Item, ...]


class TextEncoder:
    """Makes tokens of texts, as plain text: no text can bring control tokens."""

    def __init__(self, tokenizer: PreTrainedTokenizerFast, *, max_length: int) -> None:
        self._tokenizer = tokenizer
        bare = self._encode("a")[0]
        whole = list(tokenizer("a").input_ids)
        start = next(at for at in range(len(whole)) if whole[at : at + len(bare)] == bare)
        self._before, self._after = tuple(whole[:start]), tuple(whole[start + len(bare) :])
        self._capacity = max_length - len(self._before) - len(self._after)

    def unknown_share(self, items: Iterable[Item]) -> float:
        """Return the share of tokens that stand for what the model has no token for."""
        unknown = self._tokenizer.unk_token_id
        tokens = [token for item in items for token in item.tokens]
        return tokens.count(unknown) / max(len(tokens), 1)

    def encode_whole(self, text: str) -> tuple[Item, bool]:
        """Return a text as one item, and whether its end had to be cut off."""
        tokens = self._encode(text)[0]
        return self._item(tokens[: self._capacity]), len(tokens) > self._capacity

    def encode_words(self, text: str) -> EncodedText:
        """Return the words of a text, in windows that overlap where it is too long for one."""
        tokens, offsets, word_ids = self._encode(text)
        words, first_tokens = _words(text, offsets, word_ids)
        windows = [
            self._item(
                tokens[start:end], places=[at - start + len(self._before) for at in first_tokens[first_word:last_word]]
            )
            for start, end, first_word, last_word in _windows(first_tokens, len(tokens), capacity=self._capacity)
            if first_word < last_word
        ]
        return EncodedText(words=tuple(words), windows=tuple(windows))

    def _item(self, tokens: Sequence[int], places: Sequence[int] = ()) -> Item:
        return Item(tokens=(*self._before, *tokens, *self._after), places=tuple(places))

    def _encode(self, text: str) -> tuple[list[int], list[tuple[int, int]], list[int | None]]:
        encoded = self._tokenizer(
            text, add_special_tokens=False, split_special_tokens=True, return_offsets_mapping=True, verbose=False
        )
        return list(encoded.input_ids), list(encoded.offset_mapping), encoded.word_ids()


def _words(
    text: str, offsets: Sequence[tuple[int, int]], word_ids: Sequence[int | None]
) -> tuple[list[tuple[int, int]], list[int]]:
    """Return each word's place in the text and its first token; a Chinese character is a word."""
    words: list[tuple[int, int]] = []
    first_tokens: list[int] = []
    current: int | None = None
    for number, ((start, end), word_id) in enumerate(zip(offsets, word_ids)):
        while start < end and text[start].isspace():
            start += 1
        if start == end:
            continue
        is_new = word_id != current or (start >= words[-1][1] and language_of(text[start]) == "zh")
        if is_new or not words:
            words.append((start, end))
            first_tokens.append(number)
        else:
            words[-1] = (words[-1][0], max(end, words[-1][1]))
        current = word_id
    return words, first_tokens


def _windows(first_tokens: Sequence[int], count: int, *, capacity: int) -> list[tuple[int, int, int, int]]:
    """Return first and last token of each window, and the first and last word judged in it.

    Windows overlap by a quarter; in the overlap, a word is judged where it has more context.
    """
    windows: list[tuple[int, int, int, int]] = []
    start = first_word = 0
    while True:
        end = min(start + capacity, count)
        following = bisect.bisect_left(first_tokens, max(start + 1, end - capacity // 4))
        if end == count or following == len(first_tokens):
            return [*windows, (start, end, first_word, len(first_tokens))]
        begin = first_tokens[following]
        last_word = bisect.bisect_left(first_tokens, begin + max(0, end - begin) // 2)
        windows.append((start, end, first_word, last_word))
        start, first_word = begin, last_word


# ---- tags


def tag_words(words: Sequence[tuple[int, int]], spans: Sequence[Span], *, labels: Sequence[str]) -> list[int]:
    """Return the BIO tag of each word; a word that a piece covers in part belongs to it."""
    tags = [OUTSIDE] * len(words)
    for span in spans:
        begin = 1 + 2 * labels.index(span.label)
        inside = [at for at, (start, end) in enumerate(words) if start < span.end and span.start < end]
        for at in [at for at in inside if tags[at] == OUTSIDE]:
            tags[at] = begin if at == inside[0] else begin + 1
    return tags


def read_tags(words: Sequence[tuple[int, int]], tags: Sequence[int], *, labels: Sequence[str]) -> list[Span]:
    """Return the pieces that tags say; one that goes on without having begun begins there."""
    spans: list[Span] = []
    previous = OUTSIDE
    for (start, end), tag in zip(words, tags, strict=True):
        label = labels[(tag - 1) // 2] if tag != OUTSIDE else ""
        goes_on = tag != OUTSIDE and tag % 2 == 0 and previous in (tag, tag - 1)
        if goes_on:
            spans[-1] = Span(start=spans[-1].start, end=end, label=label)
        elif tag != OUTSIDE:
            spans.append(Span(start=start, end=end, label=label))
        previous = tag
    return spans


def with_targets(windows: Sequence[Item], targets: Sequence[int]) -> list[Item]:
    """Return windows with the targets of their places, which follow one another."""
    rest = iter(targets)
    return [
        Item(tokens=each.tokens, places=each.places, targets=tuple(itertools.islice(rest, len(each.places))))
        for each in windows
    ]
