"""A judge's view of the answers: the teacher compares them in pairs, each pair in both orders.

Only what it says in both orders counts, because judges prefer a place.

Source:
    Zheng et al. 2023, Judging LLM-as-a-Judge, section 3.3, arXiv:2306.05685 (position bias,
    swapped orders, conservative ties).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Literal

from pipelines.dataset.formats.rows import conversation_of
from pipelines.dataset.recipes.recipe import make_request
from pipelines.dataset.recipes.replies import Comparison
from pipelines.errors import ApprovalRequired, SettingsError
from pipelines.evaluation.report import ArmName, JudgedPairs, JudgedQuestion
from pipelines.evaluation.scores import metric_of
from pipelines.models.teacher import Request
from pipelines.operation import Context, Plan
from pipelines.prompting import inside
from pipelines.records import Example
from prompts import load_prompt

_PROMPT = load_prompt("compare_arms")
_TAGS = ("asked", "good_answer", "answer_A", "answer_B")

Winner = Literal["tuned", "other", "tie", "flip", "unread"]


def judge_arms(
    test: Sequence[Example], questions: Sequence[JudgedQuestion], against: ArmName, context: Context, *, most: int
) -> JudgedPairs:
    """Have the teacher compare the tuned model's answers with another arm's.

    Args:
        test: The test split.
        questions: What each arm answered, in the same order.
        against: The arm to compare with.
        context: For the teacher, and for whoever has to agree.
        most: Most pairs to compare; labels, refusals and equal answers need no judge.

    Raises:
        SettingsError: There is no remote teacher.
        ApprovalRequired: Nobody agreed to ask it.
    """
    teacher = context.models.open_teacher()
    if teacher is None:
        raise SettingsError(
            "judging needs a remote teacher: the embedded one cannot compare answers",
            hint="Set ASSISTANT_TEACHER_URL and ASSISTANT_TEACHER_MODEL, or leave --judge away.",
        )
    chosen = _choose(test, questions, against)[:most]
    plan = Plan(
        title=f"Have {teacher.name} compare {len(chosen)} pairs of answers",
        steps=("questions, passages and answers are sent to the teacher, personal data masked",),
        calls=2 * len(chosen),
    )
    if chosen and not context.confirm(plan):
        raise ApprovalRequired("judging was not approved, so nothing was sent", hint="Agree when asked.")
    requests = [request for pair in chosen for request in _requests(*pair, against)]
    replies = [reply.record for reply in teacher.ask(requests)]
    verdicts = [record.better if isinstance(record, Comparison) else "" for record in replies]
    counts = Counter(_winner(first, second) for first, second in zip(verdicts[::2], verdicts[1::2]))
    return JudgedPairs(
        judge=teacher.name,
        against=against,
        pairs=len(chosen),
        tuned_wins=counts["tuned"],
        other_wins=counts["other"],
        ties=counts["tie"],
        flips=counts["flip"],
        unread=counts["unread"],
        bias=_bias(teacher.name, [example for example, _question in chosen]),
    )


def _choose(
    test: Sequence[Example], questions: Sequence[JudgedQuestion], against: ArmName
) -> list[tuple[Example, JudgedQuestion]]:
    """Return what can be compared, free text first: what has a quote to compare needs a judge least."""
    chosen = [
        (example, question)
        for example, question in zip(test, questions, strict=True)
        if metric_of(example) in ("rouge_l", "quote_f1") and question.answers["tuned"] != question.answers[against]
    ]
    return sorted(chosen, key=lambda pair: metric_of(pair[0]) == "quote_f1")


def _requests(example: Example, question: JudgedQuestion, against: ArmName) -> Iterator[Request]:
    """Yield the request with the tuned answer first, and the one with it second."""
    asked = "\n\n".join(message.content for message in conversation_of(example)[:-1] if message.role != "system")
    tuned, other = question.answers["tuned"], question.answers[against]
    for first, second in ((tuned, other), (other, tuned)):
        yield make_request(
            _PROMPT,
            Comparison,
            asked=_closed(asked),
            wanted=_closed(question.wanted),
            first=_closed(first),
            second=_closed(second),
        )


def _closed(text: str) -> str:
    for tag in _TAGS:
        text = inside(text, tag)
    return text


def _winner(tuned_first: str, tuned_second: str) -> Winner:
    if not tuned_first or not tuned_second:
        return "unread"
    verdicts: dict[tuple[str, str], Winner] = {("A", "B"): "tuned", ("B", "A"): "other", ("tie", "tie"): "tie"}
    # Better by one order and a tie by the other is no flip, and no win either.
    return verdicts.get((tuned_first, tuned_second), "tie" if "tie" in (tuned_first, tuned_second) else "flip")


def _bias(judge: str, examples: Sequence[Example]) -> str:
    wrote = sum(example.teacher == judge for example in examples)
    if wrote:
        return (
            f"{judge} wrote {wrote} of the {len(examples)} right answers itself, and the model was tuned to write "
            "like it: its liking for the tuned answers is partly a liking for its own."
        )
    return f"{judge} did not write these answers, as far as the records tell; it may still favour its own style."
