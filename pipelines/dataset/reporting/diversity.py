"""How varied a set of texts is, in the measures that the literature uses, compared fairly.

Nearly every measure moves with the number of texts and with their length, so at most 1,000
texts are measured, drawn with a seed, and two sets are compared at equal number. What counts
words is compared at equal length, too; what looks at whole texts is not, because a text that
lost its end means something else, and no longer repeats what it did. All of them look at
words as `pipelines.text.words` finds them: without case or punctuation, each Chinese
character one word.

Source:
    Shaib et al. 2024, Standardizing the Measurement of Text Diversity, arXiv:2403.00553
    (which measures, and equal length); Deshpande et al. 2025, arXiv:2507.15092 (how far
    unequal length misleads).
"""

from __future__ import annotations

import itertools
import math
import random
import zlib
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, NamedTuple

from pydantic import Field

from pipelines.dataset.reporting.self_bleu import Words, ngrams, self_bleu
from pipelines.lazy import lazy_import
from pipelines.records import Record
from pipelines.text import join_lines, words

if TYPE_CHECKING:
    import numpy

    from pipelines.models.embedder import Vectors
else:
    numpy = lazy_import("numpy", extra="data")

MOST_TEXTS = 1_000
# Share of the words of two texts that are the same (Jaccard index), and cosine of their
# vectors, from which on the later one adds nothing.
NEAR_WORDS = 0.8
NEAR_COSINE = 0.9
_REPEATED_ORDER = 4
_OF_VECTORS = ("embedded", "vendi_score", "mean_distance", "paraphrases")
_OF_WHOLES = ("near_duplicates", *_OF_VECTORS)


class Diversity(Record):
    """How varied a set of texts is; the last four need vectors."""

    texts: int = Field(description="Texts measured.")
    words: int = Field(description="Words in them.")
    distinct_1: float = Field(description="Different words, as a share of all words.")
    distinct_2: float = Field(description="Different pairs of words, as a share of all pairs.")
    compression_ratio: float = Field(description="How many times smaller the texts get by compression.")
    self_repetition: float = Field(
        description="Mean logarithm of how often a text's runs of four words occur elsewhere."
    )
    self_bleu: float = Field(description="Mean BLEU of a text against all others, from 0 to 1.")
    near_duplicates: float = Field(description="Share of texts that have nearly the words of an earlier one.")
    embedded: int = Field(0, description="Texts whose vectors were measured.")
    vendi_score: float | None = Field(None, description="How many wholly different texts would be as varied.")
    mean_distance: float | None = Field(None, description="Mean cosine distance of two texts.")
    paraphrases: float | None = Field(None, description="Share of texts that mean nearly the same as an earlier one.")

    def with_vectors_of(self, part: Diversity) -> Diversity:
        """Return these measures, those that need vectors taken from the part that has them."""
        return self._with(part, _OF_VECTORS)

    def _with(self, other: Diversity, names: Sequence[str]) -> Diversity:
        return self.model_copy(update={name: getattr(other, name) for name in names})


class Comparison(Record):
    """Two sets of texts, measured at equal number, and where words are counted, at equal length."""

    ours: Diversity = Field(description="The texts in question.")
    baseline: Diversity = Field(description="The texts that they are compared with.")
    ours_mean_words: float = Field(description="Mean length of the former before anything was cut.")
    baseline_mean_words: float = Field(description="Mean length of the latter before anything was cut.")


@dataclass(frozen=True)
class Measure:
    """What people should know about one field of `Diversity`."""

    name: str
    label: str
    meaning: str
    better: Literal["more", "less"]
    is_share: bool = field(default=False, kw_only=True)


MEASURES = (
    Measure("distinct_1", "Distinct words", "different words among all words", "more", is_share=True),
    Measure("distinct_2", "Distinct pairs", "different pairs of words among all pairs", "more", is_share=True),
    Measure("vendi_score", "Vendi score", "how many wholly different texts would be as varied", "more"),
    Measure("mean_distance", "Mean distance", "cosine distance of two texts, from 0 to 2", "more"),
    Measure("compression_ratio", "Compression ratio", "how many times smaller zlib makes the texts", "less"),
    Measure("self_bleu", "Self-BLEU", "how well the other texts foretell a text, from 0 to 1", "less"),
    Measure(
        "self_repetition", "Self-repetition", "how often runs of four words recur elsewhere, as a logarithm", "less"
    ),
    Measure(
        "near_duplicates",
        "Near duplicates",
        f"texts that share {NEAR_WORDS:.0%} of their words with an earlier one",
        "less",
        is_share=True,
    ),
    Measure(
        "paraphrases",
        "Paraphrases",
        f"texts whose vector is within cosine {NEAR_COSINE} of an earlier one's",
        "less",
        is_share=True,
    ),
)


class Pair(NamedTuple):
    """Two texts that are alike, by their numbers."""

    first: int
    second: int
    cosine: float


def draw(count: int, *, seed: int, most: int = MOST_TEXTS) -> list[int]:
    """Return the numbers of at most `most` of `count` texts, in order."""
    if count <= most:
        return list(range(count))
    return sorted(random.Random(seed).sample(range(count), most))


def measure_diversity(texts: Sequence[str], vectors: Vectors | None = None, *, seed: int = 0) -> Diversity:
    """Measure how varied `texts` are; at most 1,000 of them are looked at.

    Args:
        texts: The texts; for none at all, every measure is that of no variety and no repetition.
        vectors: Their vectors; float, (texts, size), each of length 1.
        seed: Draws the texts where there are more.

    Raises:
        ValueError: There are more or fewer vectors than texts.
    """
    if vectors is not None and len(vectors) != len(texts):
        raise ValueError(f"expected {len(texts)} vectors, one a text, got {len(vectors)}")
    drawn = draw(len(texts), seed=seed)
    said = [words(texts[number]) for number in drawn]
    seen = None if vectors is None else vectors[drawn]
    near = None if seen is None else _cosines(seen)
    return Diversity(
        texts=len(said),
        words=sum(map(len, said)),
        distinct_1=_distinct(said, 1),
        distinct_2=_distinct(said, 2),
        compression_ratio=_compression_ratio(said),
        self_repetition=_self_repetition(said),
        self_bleu=self_bleu(said),
        near_duplicates=_near_duplicates(said),
        embedded=0 if near is None else len(said),
        vendi_score=None if seen is None else _vendi_score(seen),
        mean_distance=None if near is None else _mean_distance(near),
        paraphrases=None if near is None else _share_near(near),
    )


def compare(
    ours: Sequence[str],
    baseline: Sequence[str],
    *,
    embed: Callable[[Sequence[str]], Vectors] | None = None,
    seed: int = 0,
) -> Comparison:
    """Measure two sets of texts of which as many are taken, with ends cut off where words are counted.

    Args:
        ours: The texts in question.
        baseline: The texts that they are compared with.
        embed: Gives texts their vectors, each of length 1; without it those measures are left out.
        seed: Draws the texts where there are more than are measured.

    Raises:
        ValueError: One of the sets is empty.
    """
    if not ours or not baseline:
        raise ValueError(f"expected texts in both sets, got {len(ours)} and {len(baseline)}")
    count = min(len(ours), len(baseline), MOST_TEXTS)
    drawn = [[texts[number] for number in draw(len(texts), seed=seed, most=count)] for texts in (ours, baseline)]
    by_words = map(measure_diversity, match_lengths(*drawn))
    as_wholes = (measure_diversity(texts, embed(texts) if embed else None) for texts in drawn)
    first, second = (part._with(whole, _OF_WHOLES) for part, whole in zip(by_words, as_wholes, strict=True))
    return Comparison(
        ours=first, baseline=second, ours_mean_words=_mean_words(ours), baseline_mean_words=_mean_words(baseline)
    )


def match_lengths(ours: Sequence[str], baseline: Sequence[str]) -> tuple[list[str], list[str]]:
    """Return two sets of as many texts, cut to the same lengths in words, as their words alone.

    The longest of one set is paired with the longest of the other, and so on down, and the
    longer of each pair loses its end: no other pairing cuts less.

    Raises:
        ValueError: There are more texts in one set than in the other.
    """
    first, second = (sorted(map(words, texts), key=len) for texts in (ours, baseline))
    lengths = [min(map(len, pair)) for pair in zip(first, second, strict=True)]
    cut = [[join_lines(said[:length]) for said, length in zip(side, lengths)] for side in (first, second)]
    return cut[0], cut[1]


def closest_pairs(vectors: Vectors, *, count: int) -> list[Pair]:
    """Return the `count` pairs of texts that are likest in meaning, likest first."""
    cosines = _cosines(vectors)
    rows, columns = numpy.tril_indices(len(cosines), -1)
    order = numpy.argsort(-cosines[rows, columns], kind="stable")[:count]
    return [Pair(int(columns[i]), int(rows[i]), float(cosines[rows[i], columns[i]])) for i in order]


def _mean_words(texts: Sequence[str]) -> float:
    return sum(len(words(text)) for text in texts) / len(texts)


def _distinct(said: Sequence[Words], order: int) -> float:
    """Source: Li et al. 2016, section 5.4, arXiv:1510.03055 (distinct-1 and distinct-2)."""
    everything = [ngram for each in said for ngram in ngrams(each, order)]
    return len(set(everything)) / len(everything) if everything else 0.0


def _compression_ratio(said: Sequence[Words]) -> float:
    plain = "\n".join(map(join_lines, said)).encode()
    return len(plain) / len(zlib.compress(plain, 9)) if plain else 1.0


def _self_repetition(said: Sequence[Words]) -> float:
    """Source: Salkar et al. 2022, Self-Repetition in Abstractive Neural Summarizers, section 3."""
    if not said:
        return 0.0
    own = [set(ngrams(each, _REPEATED_ORDER)) for each in said]
    holding = Counter(itertools.chain.from_iterable(own))
    return sum(math.log1p(sum(holding[ngram] - 1 for ngram in each)) for each in own) / len(said)


def _near_duplicates(said: Sequence[Words]) -> float:
    """Return the share of texts whose words are nearly those of an earlier text.

    Source:
        Bayardo et al. 2007, Scaling Up All Pairs Similarity Search, section 4 (of two sets so
        alike, the rarest few words of each have one in common).
    """
    unique = [frozenset(each) or frozenset(("",)) for each in said]
    holding = Counter(itertools.chain.from_iterable(unique))
    texts_of: dict[str, list[int]] = defaultdict(list)
    repeating = 0
    for number, own in enumerate(unique):
        rarest = sorted(own, key=lambda word: (holding[word], word))
        telling = rarest[: len(own) - math.ceil(NEAR_WORDS * len(own) - 1e-9) + 1]
        earlier = {text for word in telling for text in texts_of[word]}
        repeating += any(_is_near(own, unique[text]) for text in earlier)
        for word in telling:
            texts_of[word].append(number)
    return repeating / len(unique) if unique else 0.0


def _is_near(first: frozenset[str], second: frozenset[str]) -> bool:
    shared = len(first & second)
    return shared >= NEAR_WORDS * (len(first) + len(second) - shared)


def _cosines(vectors: Vectors) -> Vectors:
    """Return the cosine of each pair; float, (texts, texts)."""
    return numpy.asarray(vectors @ vectors.T)


def _vendi_score(vectors: Vectors) -> float:
    """Source: Friedman and Dieng 2022, definition 3.1, arXiv:2210.02410."""
    if not len(vectors):
        return 0.0
    wide = vectors if vectors.shape[0] < vectors.shape[1] else vectors.T  # both have the same eigenvalues
    eigenvalues = numpy.linalg.eigvalsh((wide @ wide.T).astype(numpy.float64) / len(vectors))
    positive = eigenvalues[eigenvalues > 1e-12]
    return float(numpy.exp(-(positive * numpy.log(positive)).sum()))


def _mean_distance(cosines: Vectors) -> float:
    rows, columns = numpy.tril_indices(len(cosines), -1)
    return float(1 - cosines[rows, columns].mean(dtype=numpy.float64)) if len(rows) else 0.0


def _share_near(cosines: Vectors) -> float:
    """Return the share of texts whose vector is nearly that of an earlier text."""
    if not len(cosines):
        return 0.0
    return float((numpy.tril(cosines, -1) >= NEAR_COSINE).any(axis=1).mean())
