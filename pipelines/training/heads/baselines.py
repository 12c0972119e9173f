"""What is easy to beat, and what is not: predictions without a neural network."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence

from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import f1_score
from sklearn.pipeline import Pipeline, make_pipeline

from pipelines.records import Span
from pipelines.text import language_of, words
from pipelines.training.heads.labelled import Labelled

_STRENGTHS = (1.0, 10.0, 100.0)


def predict_majority(train: Sequence[Labelled], texts: Sequence[str]) -> list[str]:
    """Give every text the most frequent label."""
    [(label, _count)] = Counter(record.label for record in train).most_common(1)
    return [label] * len(texts)


def predict_tfidf(train: Sequence[Labelled], validation: Sequence[Labelled], texts: Sequence[str]) -> list[str]:
    """Give each text a label by logistic regression over TF-IDF, its strength chosen on validation."""
    asked, wanted = [record.text for record in validation], [record.label for record in validation]
    best: tuple[float, Pipeline] | None = None
    for strength in _STRENGTHS:
        model = make_pipeline(_vectorizer(train), LogisticRegression(C=strength, max_iter=2_000))
        model.fit([record.text for record in train], [record.label for record in train])
        score = float(f1_score(wanted, model.predict(asked), average="macro", zero_division=0))
        if best is None or score > best[0]:
            best = (score, model)
    assert best is not None
    return [str(label) for label in best[1].predict(texts)]


def _vectorizer(train: Sequence[Labelled]) -> TfidfVectorizer:
    """Return what counts words and pairs of them, or runs of characters where words have no spaces."""
    chinese = sum(language_of(record.text) == "zh" for record in train)
    if chinese * 2 > len(train):
        return TfidfVectorizer(analyzer="char", ngram_range=(1, 3), sublinear_tf=True)
    return TfidfVectorizer(tokenizer=words, token_pattern=None, lowercase=False, ngram_range=(1, 2), sublinear_tf=True)


def predict_dictionary(train: Sequence[Labelled], texts: Sequence[str]) -> list[list[Span]]:
    """Find the pieces of the training texts again, the longest first, with their most frequent label."""
    seen: dict[str, Counter[str]] = defaultdict(Counter)
    for record in train:
        for span in record.spans:
            seen[record.text[span.start : span.end].casefold()][span.label] += 1
    labels = {piece: counts.most_common(1)[0][0] for piece, counts in seen.items()}
    longest = max(map(len, labels), default=0)
    return [_look_up(text, labels, longest=longest) for text in texts]


def _look_up(text: str, labels: dict[str, str], *, longest: int) -> list[Span]:
    borders = [at for at in range(len(text) + 1) if _is_border(text, at)]
    spans: list[Span] = []
    free = 0
    for start in borders:
        if start < free:
            continue
        for end in reversed([each for each in borders if start < each <= start + longest]):
            piece = text[start:end].casefold()
            if piece in labels:
                spans.append(Span(start=start, end=end, label=labels[piece]))
                free = end
                break
    return spans


def _is_border(text: str, at: int) -> bool:
    """Whether a piece may begin or end here: not inside of a word of letters."""
    if at in (0, len(text)):
        return True
    before, after = text[at - 1], text[at]
    return not (before.isalnum() and after.isalnum()) or "zh" in (language_of(before), language_of(after))
