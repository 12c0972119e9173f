"""The arms of an evaluation: base, base with examples in its prompt, and tuned."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from pipelines.evaluation.scores import AnswerScore, score_answer
from pipelines.models.engine import Engine, Sampling
from pipelines.models.nearest import NearestFinder, NearestSentence
from pipelines.prompting import answer_prompt, refusal
from pipelines.quotes import format_citation
from pipelines.records import Chunk, Example, ExampleKind, Message

_SHOWN = 3  # answerable examples in the prompt of the few-shot arm; and one unanswerable


@dataclass(frozen=True, kw_only=True)
class ArmResult:
    """What one arm said, and what that is worth."""

    name: str
    answers: tuple[str, ...]
    scores: tuple[AnswerScore, ...]
    loss: float | None  # mean over the test, in nats per token of the right answer


def few_shot_messages(train: Sequence[Example]) -> tuple[Message, ...]:
    """Return examples of the training split as earlier turns of a conversation.

    They are chosen by their ids, not by how they would score.
    """
    ordered = sorted(train, key=lambda example: example.id)
    answerable = [example for example in ordered if example.kind is ExampleKind.GROUNDED][:_SHOWN]
    unanswerable = [example for example in ordered if example.kind is ExampleKind.UNANSWERABLE][:1]
    turns: list[Message] = []
    for example in (*answerable, *unanswerable):
        turns += [message for message in example.messages if message.role != "system"]
    return tuple(turns)


def find_hints(
    test: Sequence[Example], chunks: Mapping[str, Chunk], nearest: NearestFinder
) -> list[NearestSentence | None]:
    """Return the nearest sentence for each question, as the chatbot finds it."""
    return [nearest.find(example.question, _shown(example, chunks)) for example in test]


def run_arm(
    name: str,
    engine: Engine,
    test: Sequence[Example],
    chunks: Mapping[str, Chunk],
    *,
    hints: Sequence[NearestSentence | None],
    shown: Sequence[Message] = (),
    progress: Callable[[int], None],
) -> ArmResult:
    """Let an engine answer the test as the chatbot would, with its prompt and its gate, and score it.

    Args:
        name: Name of the arm.
        engine: Model to ask.
        test: Test split.
        chunks: Chunks by id.
        hints: The nearest sentence for each question; where it is not near, nobody is asked.
        shown: Turns to put between the system's message and the question.
        progress: Told how many questions are answered.
    """
    conversations = [_with_turns(example.messages, shown) for example in test]
    answers = [refusal(example.language) for example in test]
    asked = [number for number, hint in enumerate(hints) if hint is not None and hint.is_near]
    done = len(test) - len(asked)
    for language in sorted({test[number].language for number in asked}):
        numbers = [number for number in asked if test[number].language == language]
        sampling = Sampling(
            max_tokens=answer_prompt(language).defaults["max_tokens"],
            temperature=answer_prompt(language).defaults["temperature"],
        )
        prompts = [conversations[number][:-1] for number in numbers]
        for index, (completion,) in engine.generate(prompts, sampling):
            answers[numbers[index]] = completion.text.strip()
            done += 1
            progress(done)
    losses = engine.losses(conversations)
    return ArmResult(
        name=name,
        answers=tuple(answers),
        scores=_scores(answers, test, chunks),
        loss=sum(loss.nats for loss in losses) / sum(loss.tokens for loss in losses),
    )


def run_closest(
    test: Sequence[Example], chunks: Mapping[str, Chunk], *, hints: Sequence[NearestSentence | None]
) -> ArmResult:
    """Quote, without any model, the closest sentence that every arm is told of.

    It shows what of an arm's score is the hint's. On questions that the embedded teacher wrote
    it is hard to beat, because that teacher's filter keeps no others.
    """
    answers = [
        format_citation(hint.text, hint.number) if hint is not None and hint.is_near else refusal(example.language)
        for hint, example in zip(hints, test, strict=True)
    ]
    return ArmResult(name="closest", answers=tuple(answers), scores=_scores(answers, test, chunks), loss=None)


def _scores(answers: Sequence[str], test: Sequence[Example], chunks: Mapping[str, Chunk]) -> tuple[AnswerScore, ...]:
    return tuple(
        score_answer(answer, example, _shown(example, chunks)) for answer, example in zip(answers, test, strict=True)
    )


def _shown(example: Example, chunks: Mapping[str, Chunk]) -> list[Chunk]:
    return [chunks[chunk_id] for chunk_id in example.chunks]


def _with_turns(messages: tuple[Message, ...], shown: Sequence[Message]) -> tuple[Message, ...]:
    leading = 1 if messages[0].role == "system" else 0
    return (*messages[:leading], *shown, *messages[leading:])
