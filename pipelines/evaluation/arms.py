"""The arms of an evaluation: base, base with examples in its prompt, and tuned."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from pipelines.evaluation.scores import AnswerScore, score_answer
from pipelines.models.engine import Engine, Sampling
from pipelines.models.nearest import NearestFinder
from pipelines.prompting import answer_prompt
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


def run_arm(
    name: str,
    engine: Engine,
    test: Sequence[Example],
    chunks: Mapping[str, Chunk],
    *,
    shown: Sequence[Message] = (),
    progress: Callable[[int], None],
) -> ArmResult:
    """Let an engine answer the test with the chatbot's own prompt, and score it.

    Args:
        name: Name of the arm.
        engine: Model to ask.
        test: Test split.
        chunks: Chunks by id.
        shown: Turns to put between the system's message and the question.
        progress: Told how many questions are answered.
    """
    conversations = [_with_turns(example.messages, shown) for example in test]
    answers = [""] * len(test)
    done = 0
    for language in sorted({example.language for example in test}):
        numbers = [number for number, example in enumerate(test) if example.language == language]
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
        scores=tuple(
            score_answer(answer, example, [chunks[chunk_id] for chunk_id in example.chunks])
            for answer, example in zip(answers, test, strict=True)
        ),
        loss=sum(loss.nats for loss in losses) / sum(loss.tokens for loss in losses),
    )


def run_closest(test: Sequence[Example], chunks: Mapping[str, Chunk], nearest: NearestFinder) -> ArmResult:
    """Quote, without any model, the closest sentence that every arm is told of.

    It shows what of an arm's score is the hint's. Never refuses. On questions that the
    embedded teacher wrote it is always right where there is an answer, because the teacher's
    filter keeps no others.
    """
    answers, scores = [], []
    for example in test:
        shown = [chunks[chunk_id] for chunk_id in example.chunks]
        found = nearest.find(example.question, shown)
        answers.append(format_citation(found.text, found.number) if found else "")
        scores.append(score_answer(answers[-1], example, shown))
    return ArmResult(name="closest", answers=tuple(answers), scores=tuple(scores), loss=None)


def _with_turns(messages: tuple[Message, ...], shown: Sequence[Message]) -> tuple[Message, ...]:
    leading = 1 if messages[0].role == "system" else 0
    return (*messages[:leading], *shown, *messages[leading:])
