"""The arms of an evaluation: what is put to which model, and what the answers are worth.

Questions about passages go the chatbot's way, with its prompt, its hint and its gate. Other
examples are put as they stand.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from pipelines.dataset.formats.rows import conversation_of
from pipelines.evaluation.scores import AnswerScore, score_answer
from pipelines.models.engine import Engine, Sampling
from pipelines.models.nearest import NearestFinder, NearestSentence
from pipelines.prompting import answer_messages, answer_prompt, refusal
from pipelines.quotes import format_citation
from pipelines.records import Chunk, Example, ExampleKind, Message

_SHOWN = 3  # answerable examples in the prompt of the few-shot arm; and one unanswerable
# Tokens of an answer where the chatbot's prompt does not say: what the training answers need, within bounds.
_SHORTEST_CAP, _LONGEST_CAP = 16, 256
_BYTES_PER_TOKEN = 2
Hint = NearestSentence | None


@dataclass(frozen=True, kw_only=True)
class Put:
    """One question as an arm puts it to its model."""

    prompt: tuple[Message, ...]
    chunks: tuple[Chunk, ...] = ()
    is_asked: bool = True  # else not even the nearest sentence is near, and the chatbot refuses by itself
    counts: bool = True  # else the question means something else to this arm


@dataclass(frozen=True, kw_only=True)
class ArmResult:
    """What one arm said, and what that is worth."""

    name: str
    answers: tuple[str, ...]
    scores: tuple[AnswerScore | None, ...]  # None where a question does not count for this arm
    loss: float | None  # mean over the test, in nats per token of the right answer
    retrieved: float | None = None


def few_shot_messages(train: Sequence[Example]) -> tuple[Message, ...]:
    """Return examples of the training split as earlier turns of a conversation.

    They are chosen by their ids, not by how they would score.
    """
    ordered = sorted(train, key=lambda example: example.id)
    answerable = [example for example in ordered if example.kind is not ExampleKind.UNANSWERABLE][:_SHOWN]
    unanswerable = [example for example in ordered if example.kind is ExampleKind.UNANSWERABLE][:1]
    turns: list[Message] = []
    for example in (*answerable, *unanswerable):
        turns += [message for message in conversation_of(example) if message.role != "system"]
    return tuple(turns)


def find_hints(test: Sequence[Example], chunks: Mapping[str, Chunk], nearest: NearestFinder) -> list[Hint]:
    """Return the nearest sentence for each question, as the chatbot finds it."""
    return [nearest.find(example.question, shown(example, chunks)) for example in test]


def put_as_given(test: Sequence[Example], chunks: Mapping[str, Chunk], hints: Sequence[Hint]) -> list[Put]:
    """Put each example as it was composed, with the passages that it was given."""
    return [
        Put(
            prompt=conversation_of(example)[:-1],
            chunks=shown(example, chunks),
            is_asked=not example.chunks or (hint is not None and hint.is_near),
        )
        for example, hint in zip(test, hints, strict=True)
    ]


def put_with_examples(given: Sequence[Put], test: Sequence[Example], train: Sequence[Example]) -> list[Put]:
    """Put each example after some of the training split that teach the same."""
    alike: dict[str, list[Example]] = defaultdict(list)
    for example in train:
        alike[_family(example)].append(example)
    turns = {family: few_shot_messages(examples) for family, examples in alike.items()}
    return [
        Put(prompt=_with_turns(put.prompt, turns.get(_family(example), ())), chunks=put.chunks, is_asked=put.is_asked)
        for put, example in zip(given, test, strict=True)
    ]


def put_with_found(
    given: Sequence[Put], test: Sequence[Example], found: Sequence[Sequence[Chunk]], nearest: NearestFinder
) -> list[Put]:
    """Put each question with the passages that a search found for it.

    A question that was made unanswerable by withholding its passage does not count where the
    search may find that passage.
    """
    puts = []
    for put, example, passages in zip(given, test, found, strict=True):
        if not example.chunks:
            puts.append(put)
            continue
        hint = nearest.find(example.question, passages)
        closest = format_citation(hint.text, hint.number) if hint else ""
        withheld = example.kind is ExampleKind.UNANSWERABLE and not set(example.sources) <= set(example.chunks)
        puts.append(
            Put(
                prompt=answer_messages(example.question, passages, closest=closest),
                chunks=tuple(passages),
                is_asked=hint is not None and hint.is_near,
                counts=not withheld,
            )
        )
    return puts


def put_closed_book(given: Sequence[Put], test: Sequence[Example]) -> list[Put]:
    """Put each question alone, to see what the model knows by heart."""
    return [
        Put(
            prompt=(Message(role="user", content=example.question),),
            counts=example.kind is not ExampleKind.UNANSWERABLE,
        )
        if example.chunks
        else put
        for put, example in zip(given, test, strict=True)
    ]


def run_arm(
    name: str,
    engine: Engine,
    test: Sequence[Example],
    puts: Sequence[Put],
    *,
    caps: Mapping[str, int],
    with_loss: bool = True,
    progress: Callable[[int], None],
) -> ArmResult:
    """Let an engine answer the test, and score it.

    Args:
        name: Name of the arm.
        engine: Model to ask.
        test: Test split.
        puts: What it is asked, in the order of the test.
        caps: Most tokens of an answer, by kind, for examples without passages.
        with_loss: Whether what is put leads to the right answer as it is written in the test.
        progress: Told how many questions are answered.
    """
    answers = [refusal(example.language) for example in test]
    asked: dict[Sampling, list[int]] = defaultdict(list)
    for number, (put, example) in enumerate(zip(puts, test, strict=True)):
        if put.is_asked:
            asked[_sampling(example, caps)].append(number)
    done = len(test) - sum(map(len, asked.values()))
    for sampling, numbers in asked.items():
        for index, (completion,) in engine.generate([puts[number].prompt for number in numbers], sampling):
            answers[numbers[index]] = completion.text.strip()
            done += 1
            progress(done)
    return ArmResult(
        name=name,
        answers=tuple(answers),
        scores=_scores(answers, test, puts),
        loss=mean_loss(engine, test, puts) if with_loss else None,
    )


def mean_loss(engine: Engine, examples: Sequence[Example], puts: Sequence[Put] = ()) -> float:
    """Return the mean loss of the right answers, in nats per token.

    Args:
        engine: Model to measure.
        examples: What has the right answers.
        puts: What is put before them; what the examples say if not given.
    """
    whole = [conversation_of(example) for example in examples]
    if puts:
        whole = [(*put.prompt, messages[-1]) for put, messages in zip(puts, whole, strict=True)]
    losses = engine.losses(whole)
    return sum(loss.nats for loss in losses) / max(1, sum(loss.tokens for loss in losses))


def answer_caps(train: Sequence[Example]) -> dict[str, int]:
    """Return how many tokens answers may have, by kind: as many as the longest in training can need."""
    longest: dict[str, int] = defaultdict(int)
    for example in train:
        size = len(conversation_of(example)[-1].content.encode())
        longest[example.kind] = max(longest[example.kind], size // _BYTES_PER_TOKEN)
    return {kind: min(_LONGEST_CAP, max(_SHORTEST_CAP, size)) for kind, size in longest.items()}


def run_closest(test: Sequence[Example], puts: Sequence[Put], *, hints: Sequence[Hint]) -> ArmResult:
    """Quote, without any model, the closest sentence that every arm is told of.

    It shows what of an arm's score is the hint's. On questions that the embedded teacher wrote
    it is hard to beat, because that teacher's filter keeps no others. Examples without passages
    do not count.
    """
    answers = [
        format_citation(hint.text, hint.number) if hint is not None and hint.is_near else refusal(example.language)
        for hint, example in zip(hints, test, strict=True)
    ]
    scores = [
        score if example.chunks else None for score, example in zip(_scores(answers, test, puts), test, strict=True)
    ]
    return ArmResult(name="closest", answers=tuple(answers), scores=tuple(scores), loss=None)


def shown(example: Example, chunks: Mapping[str, Chunk]) -> tuple[Chunk, ...]:
    """Return the passages that an example shows."""
    return tuple(chunks[chunk_id] for chunk_id in example.chunks)


def _scores(answers: Sequence[str], test: Sequence[Example], puts: Sequence[Put]) -> tuple[AnswerScore | None, ...]:
    return tuple(
        score_answer(answer, example, put.chunks) if put.counts else None
        for answer, example, put in zip(answers, test, puts, strict=True)
    )


def _sampling(example: Example, caps: Mapping[str, int]) -> Sampling:
    if not example.chunks:
        return Sampling(max_tokens=caps.get(example.kind, _LONGEST_CAP))
    defaults = answer_prompt(example.language).defaults
    return Sampling(max_tokens=defaults["max_tokens"], temperature=defaults["temperature"])


def _family(example: Example) -> str:
    return "passages" if example.chunks else example.kind.value


def _with_turns(messages: tuple[Message, ...], turns: Sequence[Message]) -> tuple[Message, ...]:
    leading = 1 if messages[0].role == "system" else 0
    return (*messages[:leading], *turns, *messages[leading:])
