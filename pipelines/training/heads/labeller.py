"""Texts in, labels out: a head with its tokenizer."""

from __future__ import annotations

import itertools
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy
from transformers import AutoTokenizer

from pipelines.records import Span
from pipelines.training.heads.encoding import EncodedText, Probabilities, TextEncoder, read_tags
from pipelines.training.heads.model import Head, judge, load_head, read_config


@dataclass(frozen=True, kw_only=True)
class LabelledText:
    """What a head says of a text."""

    label: str = ""
    score: float = 0.0  # probability of the label
    spans: tuple[Span, ...] = ()
    span_scores: tuple[float, ...] = ()  # mean probability of the tags of each span's words


class Labeller:
    """Labels texts, or the pieces in them, with one head."""

    def __init__(self, head: Head, encoder: TextEncoder) -> None:
        self._head = head
        self._encoder = encoder

    def label(self, texts: Sequence[str]) -> tuple[list[LabelledText], int]:
        """Return what is said of each text, and of how many texts the end was not read."""
        labels = self._head.config.labels
        if self._head.config.kind == "tokens":
            encoded = [self._encoder.encode_words(text) for text in texts]
            windows = [window for text in encoded for window in text.windows]
            return read_spans(encoded, judge(self._head, windows), labels=labels), 0
        wholes = [self._encoder.encode_whole(text) for text in texts]
        found = read_labels(judge(self._head, [item for item, _is_cut in wholes]), labels=labels)
        return found, sum(is_cut for _item, is_cut in wholes)


def open_encoder(base_folder: Path, *, max_length: int) -> TextEncoder:
    """Return what makes tokens for the model in a folder."""
    return TextEncoder(AutoTokenizer.from_pretrained(base_folder, local_files_only=True), max_length=max_length)


def open_labeller(folder: Path, *, base_folder: Path) -> Labeller:
    """Return the head that was saved in a folder, with its tokenizer.

    Raises:
        DataError: There is none, or it was trained on another base model.
    """
    config = read_config(folder)
    head = load_head(folder, config, base_folder=base_folder)
    return Labeller(head, open_encoder(base_folder, max_length=config.max_length))


def read_labels(probabilities: Sequence[Probabilities], *, labels: Sequence[str]) -> list[LabelledText]:
    """Return the most probable label of each text."""
    return [LabelledText(label=labels[int(each[0].argmax())], score=float(each[0].max())) for each in probabilities]


def read_spans(
    texts: Sequence[EncodedText], probabilities: Sequence[Probabilities], *, labels: Sequence[str]
) -> list[LabelledText]:
    """Return the pieces found in each text, of the probabilities of all their windows."""
    rest = iter(probabilities)
    return [_read(text, list(itertools.islice(rest, len(text.windows))), labels=labels) for text in texts]


def _read(text: EncodedText, windows: list[Probabilities], *, labels: Sequence[str]) -> LabelledText:
    if not windows:
        return LabelledText()
    whole = numpy.concatenate(windows)
    spans = read_tags(text.words, whole.argmax(axis=1).tolist(), labels=labels)
    best = dict(zip((start for start, _end in text.words), whole.max(axis=1).tolist()))
    scores = [
        statistics.fmean(score for start, score in best.items() if span.start <= start < span.end) for span in spans
    ]
    return LabelledText(spans=tuple(spans), span_scores=tuple(scores))
