"""Whether training records were learnt by heart: by the loss, and by runs of words that come back."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from pipelines.dataset.formats.rows import conversation_of
from pipelines.prompting import is_refusal
from pipelines.records import Example, Language, content_id
from pipelines.text import words

# A run of so many words hardly comes about twice by chance; a Chinese character is half a word or less.
RUN_WORDS: dict[Language, int] = {"en": 8, "zh": 16}
_MOST_RECORDS = 24

Run = tuple[str, ...]


def draw_records(train: Sequence[Example]) -> list[Example]:
    """Return training records to measure the loss on; the same ones every time.

    Those that share their passages are drawn together: what they share is computed once.
    """

    def key(example: Example) -> tuple[str, str]:
        return content_id("memorised", *(example.chunks or (example.id,))), example.id

    return sorted(train, key=key)[:_MOST_RECORDS]


def count_echoes(answers: Sequence[str], test: Sequence[Example], train: Iterable[Example]) -> tuple[int, float]:
    """Return how many answers echo a training answer, and the share of echoed runs among all.

    A run of words echoes where a training answer has it, and neither what was put to the model
    nor the right answer does. Refusals are the same everywhere, and do not count.

    Source:
        Carlini et al. 2023, Quantifying Memorization, section 2, arXiv:2202.07646 (verbatim
        reproduction); here of answers, without a prefix of the record.
    """
    learnt = {run for example in train for run in _runs(conversation_of(example)[-1].content, example.language)}
    echoing = echoed = total = 0
    for answer, example in zip(answers, test, strict=True):
        if is_refusal(answer):
            continue
        said = list(_runs(answer, example.language))
        before = {run for message in conversation_of(example) for run in _runs(message.content, example.language)}
        found = sum(run in learnt and run not in before for run in said)
        echoing += found > 0
        echoed += found
        total += len(said)
    return echoing, echoed / total if total else 0.0


def _runs(text: str, language: Language) -> Iterator[Run]:
    said, size = words(text), RUN_WORDS[language]
    yield from (tuple(said[start : start + size]) for start in range(len(said) - size + 1))
