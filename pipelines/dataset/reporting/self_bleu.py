"""How well the other texts of a set foretell each of them: Self-BLEU, in linear time.

It is counted here because sacrebleu brings five more packages and counts the references anew
for each text, which is quadratic. The two largest counts of an n-gram are enough to leave one
text out. The results are those of sacrebleu with `effective_order` and a floor of 0.1.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

Words = Sequence[str]
Ngram = tuple[str, ...]
_ORDERS = (1, 2, 3, 4)
_FLOOR = 0.1  # matches credited to an order without any; Chen and Cherry 2014, method 1


def ngrams(said: Words, order: int) -> list[Ngram]:
    """Return the runs of `order` words, in order."""
    return list(zip(*(said[start:] for start in range(order))))


def self_bleu(said: Sequence[Words]) -> float:
    """Return the mean BLEU of a text against all others, from 0 to 1; 0 where there are no others.

    Source:
        Zhu et al. 2018, Texygen, section 3, arXiv:1802.01886; BLEU after Papineni et al. 2002.
    """
    if len(said) < 2:
        return 0.0
    counts = {order: [Counter(ngrams(each, order)) for each in said] for order in _ORDERS}
    best = {order: _two_largest(counts[order]) for order in _ORDERS}
    lengths = Counter(map(len, said))
    total = 0.0
    for number, each in enumerate(said):
        matches = [_matches(counts[order][number], best[order], number) for order in _ORDERS]
        possible = [max(0, len(each) - order + 1) for order in _ORDERS]
        total += _bleu(matches, possible, length=len(each), reference=_closest_length(len(each), lengths))
    return total / len(said)


class _Largest(NamedTuple):
    """The largest count of an n-gram in any text, which text that is, and the next largest."""

    times: int
    owner: int
    next_times: int


def _two_largest(counts: Sequence[Counter[Ngram]]) -> dict[Ngram, _Largest]:
    found: dict[Ngram, _Largest] = {}
    for number, each in enumerate(counts):
        for ngram, count in each.items():
            known = found.get(ngram)
            if known is None or count > known.times:
                found[ngram] = _Largest(count, number, known.times if known else 0)
            elif count > known.next_times:
                found[ngram] = known._replace(next_times=count)
    return found


def _matches(own: Counter[Ngram], best: dict[Ngram, _Largest], number: int) -> int:
    """Return how many n-grams of a text occur in another, each as often as there at most."""
    matches = 0
    for ngram, count in own.items():
        largest = best[ngram]
        matches += min(count, largest.next_times if largest.owner == number else largest.times)
    return matches


def _closest_length(length: int, lengths: Counter[int]) -> int:
    """Return the length nearest to `length` among the other texts', the shorter of two."""
    others = (other for other, count in lengths.items() if other != length or count > 1)
    return min(others, key=lambda other: (abs(other - length), other))


def _bleu(matches: Sequence[int], possible: Sequence[int], *, length: int, reference: int) -> float:
    """Return BLEU over the orders that the text is long enough for."""
    if not any(matches):
        return 0.0
    precisions = [(found or _FLOOR) / of for found, of in zip(matches, possible) if of]
    brevity = min(1.0, math.exp(1 - reference / length))
    return brevity * math.exp(sum(map(math.log, precisions)) / len(precisions))
