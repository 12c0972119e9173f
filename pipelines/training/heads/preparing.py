"""The splits of a labelled set as tokens, with what was cut, divided or could not be aligned."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from pipelines.training.heads.encoding import EncodedText, Item, TextEncoder, tag_words, with_targets
from pipelines.training.heads.labelled import Labelled, LabelledData
from pipelines.training.heads.model import HeadConfig


@dataclass(frozen=True, kw_only=True)
class PreparedSplit:
    """The texts of a split, and the same as items."""

    records: list[Labelled]
    items: list[Item]  # with their targets
    texts: list[EncodedText]  # the items by text, where words are judged

    @property
    def labels(self) -> list[str]:
        """The label of each text."""
        return [record.label for record in self.records]


@dataclass(frozen=True, kw_only=True)
class PreparedSplits:
    """All splits."""

    train: PreparedSplit
    validation: PreparedSplit
    test: PreparedSplit
    cut: int  # texts of which the end is not read
    windowed: int  # texts that are read in several windows
    misaligned: int  # spans that begin or end inside of a word
    unknown_share: float  # of the training tokens


def prepare(data: LabelledData, encoder: TextEncoder, config: HeadConfig) -> PreparedSplits:
    """Make tokens and targets of all splits."""
    cut = windowed = misaligned = 0
    made: list[PreparedSplit] = []
    for records in (data.train, data.validation, data.test):
        if config.kind == "classification":
            split, is_cut = _wholes(records, encoder, labels=config.labels)
            cut += is_cut
        else:
            split, amiss = _words(records, encoder, labels=config.labels)
            windowed += sum(len(text.windows) > 1 for text in split.texts)
            misaligned += amiss
        made.append(split)
    train, validation, test = made
    return PreparedSplits(
        train=train,
        validation=validation,
        test=test,
        cut=cut,
        windowed=windowed,
        misaligned=misaligned,
        unknown_share=encoder.unknown_share(train.items),
    )


def class_weights(items: Sequence[Item], classes: int) -> tuple[float, ...]:
    """Return the weight of each class: as much for all of a rare one as of a frequent one."""
    counts = Counter(target for item in items for target in item.targets)
    total = counts.total()
    return tuple(total / (len(counts) * counts[number]) if counts[number] else 1.0 for number in range(classes))


def _wholes(records: Sequence[Labelled], encoder: TextEncoder, *, labels: Sequence[str]) -> tuple[PreparedSplit, int]:
    encoded = [encoder.encode_whole(record.text) for record in records]
    items = [
        Item(tokens=item.tokens, targets=(labels.index(record.label),))
        for record, (item, _is_cut) in zip(records, encoded)
    ]
    return PreparedSplit(records=list(records), items=items, texts=[]), sum(is_cut for _item, is_cut in encoded)


def _words(records: Sequence[Labelled], encoder: TextEncoder, *, labels: Sequence[str]) -> tuple[PreparedSplit, int]:
    texts: list[EncodedText] = []
    misaligned = 0
    for record in records:
        encoded = encoder.encode_words(record.text)
        tags = tag_words(encoded.words, record.spans, labels=labels)
        windows = with_targets(encoded.windows, tags)
        texts.append(EncodedText(words=encoded.words, windows=tuple(windows)))
        starts, ends = {start for start, _end in encoded.words}, {end for _start, end in encoded.words}
        misaligned += sum(span.start not in starts or span.end not in ends for span in record.spans)
    items = [window for text in texts for window in text.windows]
    return PreparedSplit(records=list(records), items=items, texts=texts), misaligned
