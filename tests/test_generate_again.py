"""Datasets written again: after a crash, in another order, with another filter, size or document."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from pipelines.dataset.export import EXPORT_DATASET, ExportParams
from pipelines.operation import Event
from tests.conftest import Recorder
from tests.fake_openai import FakeOpenAI, Recorded, Reply
from tests.rule_teacher import (
    COLLECTION,
    DATASET,
    Factory,
    house,
    make_factory,
    passage,
    said_in,
    use_teacher,
    write_collection,
)

FILES = ("examples.jsonl", "chunks.jsonl")
CONCURRENCY = 8


@pytest.fixture
def factory(tmp_path: Path, recorder: Recorder, fake_openai: FakeOpenAI, monkeypatch: pytest.MonkeyPatch) -> Factory:
    """A workspace with twelve passages, and a teacher that answers by rule."""
    return make_factory(tmp_path / "one", recorder, fake_openai, monkeypatch)


def other(factory: Factory, root: Path) -> Factory:
    """Return a factory with the same documents and teacher in another workspace."""
    write_collection(root, house(12))
    return Factory(root=root, recorder=Recorder(), fake=factory.fake, teacher=factory.teacher)


def bodies(sent: list[Recorded]) -> list[str]:
    """Return what was sent, as text that can be compared."""
    return [json.dumps(each.json, sort_keys=True) for each in sent]


def files_of(factory: Factory) -> list[bytes]:
    """Return the files of the dataset that must be the same."""
    return [(factory.folder() / name).read_bytes() for name in FILES]


# ---- whoever answers first


def test_the_order_of_the_answers_does_not_matter(
    factory: Factory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One call at a time, or many with answers that come as they like: the same dataset to the byte."""
    use_teacher(monkeypatch, factory.fake.url, concurrency=1)
    factory.generate(examples=14)
    use_teacher(monkeypatch, factory.fake.url, concurrency=16)
    factory.teacher.delay_s = 0.05
    hasty = other(factory, tmp_path / "two")
    hasty.generate(examples=14)
    assert files_of(hasty) == files_of(factory)
    assert [each.text for each in hasty.rejections()] == [each.text for each in factory.rejections()]


def test_another_seed_makes_another_dataset(factory: Factory, tmp_path: Path) -> None:
    """The seed decides what is asked first, and in which manner."""
    factory.generate(examples=8)
    seeded = other(factory, tmp_path / "two")
    seeded.generate(examples=8, seed=1)
    assert [each.id for each in seeded.examples()] != [each.id for each in factory.examples()]


# ---- after a crash


def start(root: Path, url: str, *arguments: str) -> subprocess.Popen[str]:
    """Start the command line in a workspace as a process of its own."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("ASSISTANT_")}
    teacher = {"URL": url, "MODEL": "fake-model", "CONCURRENCY": str(CONCURRENCY), "RETRIES": "0"}
    return subprocess.Popen(
        [sys.executable, "-m", "assistant", "-w", str(root), *arguments, "--yes", "--json"],
        env={
            **environment,
            **{f"ASSISTANT_TEACHER_{name}": value for name, value in teacher.items()},
            "PYTHONPATH": str(Path(__file__).parent.parent),
        },
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_a_killed_run_is_taken_up_where_it_was(factory: Factory, tmp_path: Path) -> None:
    """After kill -9 the dataset is that of a run that nobody killed; only what was under way is sent twice."""
    rule, fake = factory.teacher, factory.fake
    command = ("data", "generate", DATASET, "--collection", COLLECTION, "--examples", "14")
    victim: list[subprocess.Popen[str]] = []

    def killing(sent: Recorded) -> Reply:
        if len(fake.requests) == 11:
            victim[0].send_signal(signal.SIGKILL)
        return rule(sent)

    fake.respond = killing
    victim.append(start(factory.root, fake.url, *command))
    victim[0].communicate(timeout=180)
    assert victim[0].returncode == -signal.SIGKILL
    killed_at = len(fake.requests)
    fake.respond = rule
    factory.generate(examples=14)
    again = Counter(bodies(fake.requests)).most_common()
    assert again[0][1] <= 2
    assert sum(count - 1 for _body, count in again) <= CONCURRENCY
    assert len(fake.requests) > killed_at
    whole = other(factory, tmp_path / "two")
    whole.generate(examples=14)
    assert files_of(whole) == files_of(factory)


def test_an_interrupted_run_keeps_what_was_answered(factory: Factory) -> None:
    """After Ctrl-C in the middle, what was answered is not asked again."""
    rule = factory.teacher

    def interrupting(sent: Recorded) -> Reply:
        if len(factory.fake.requests) == 5:
            os.kill(os.getpid(), signal.SIGINT)
        return rule(sent)

    factory.fake.respond = interrupting
    with pytest.raises(KeyboardInterrupt):
        factory.generate(examples=12)
    factory.fake.respond = rule
    answered = bodies(factory.fake.requests)
    report = factory.generate(examples=12)
    later = bodies(factory.fake.requests)[len(answered) :]
    assert report.kept == 12
    assert report.calls.cached > 0
    assert not set(answered) & set(later)


def test_a_run_that_is_told_to_stop_keeps_what_was_answered(factory: Factory) -> None:
    """Whoever watches may end a run at any event, as the agent does; its answers are there the next time."""

    class Stop(Exception):  # noqa: N818 - no fault
        pass

    class Stopping(Recorder):
        def emit(self, event: Event) -> None:
            super().emit(event)
            if len(self.events) == 4:
                raise Stop

    watching, factory.recorder = factory.recorder, Stopping()
    with pytest.raises(Stop):
        factory.generate(examples=12)
    answered = bodies(factory.fake.requests)
    factory.recorder = watching
    assert factory.generate(examples=12).kept == 12
    assert not set(answered) & set(bodies(factory.fake.requests)[len(answered) :])


# ---- what was paid for once


def test_another_filter_split_or_export_sends_nothing(factory: Factory, tmp_path: Path) -> None:
    """What is asked does not depend on what is done with the answers."""
    factory.generate(examples=30)
    sent = len(factory.fake.requests)
    exam = tmp_path / "exam.txt"
    exam.write_text("Which planet is nearest to the sun?\n", encoding="utf-8")
    report = factory.generate(examples=30, against=exam)
    assert (report.kept, report.calls.sent) == (30, 0)
    factory.curate()
    factory.curate(unanswerable_share=0.4, test_share=0.3)
    EXPORT_DATASET.start(ExportParams(dataset=DATASET, format="sharegpt"), factory.open())
    assert len(factory.fake.requests) == sent


def test_what_was_not_needed_the_first_time_is_not_asked_the_second(
    factory: Factory, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Questions that were asked ahead and never answered stay so, however quickly the rest is there again."""
    use_teacher(monkeypatch, factory.fake.url, concurrency=3)
    rule = factory.teacher

    def slow_in_the_end(sent: Recorded) -> Reply:
        reply = rule(sent)
        return Reply(text=reply.text, delay_s=1.0 if len(rule.calls("ProvedAnswers")) > 5 else 0)

    factory.fake.respond = slow_in_the_end
    factory.generate(examples=14, kinds="grounded")
    stored = sum(line.calls for line in factory.open().models.ledger.usage())
    assert stored == len(factory.fake.requests) + 1  # and the probe: what was under way is not lost
    asked, answered = (len(factory.teacher.calls(name)) for name in ("Questions", "ProvedAnswers"))
    assert asked > answered
    exam = tmp_path / "exam.txt"
    exam.write_text("Which planet is nearest to the sun?\n", encoding="utf-8")
    report = factory.generate(examples=14, kinds="grounded", against=exam)
    assert (report.kept, report.calls.sent) == (14, 0)


@pytest.mark.parametrize("more", [16, 30])
def test_a_larger_dataset_begins_with_the_smaller_one(factory: Factory, more: int) -> None:
    """With more --examples, all that is there stays, and no call of before is sent again."""
    factory.generate(examples=9)
    before, sent = factory.examples(), bodies(factory.fake.requests)
    report = factory.generate(examples=more)
    assert report.kept == more
    assert factory.examples()[:9] == before
    assert not set(sent) & set(bodies(factory.fake.requests)[len(sent) :])


def test_a_new_document_sends_only_its_own_calls(factory: Factory) -> None:
    """Where a document is added, the others are not asked about again, and their tasks stay the same."""
    factory.generate(examples=100)
    sent = len(factory.fake.requests)
    added = [passage(number, document="new.md") for number in (20, 21)]
    write_collection(factory.root, [*house(12), *added])
    report = factory.generate(examples=100)
    later = factory.fake.requests[sent:]
    assert later
    assert not [said for said in map(said_in, later) if not any(chunk.text in said for chunk in added)]
    assert report.calls.cached > 0
    assert {example.source for example in factory.examples()} >= {chunk.id for chunk in added}


def test_a_new_document_in_a_dataset_that_is_full(factory: Factory) -> None:
    """Also where there were enough examples without it, nothing is sent but about it."""
    factory.generate(examples=9)
    sent = len(factory.fake.requests)
    added = [passage(number, document="new.md") for number in (20, 21, 22)]
    write_collection(factory.root, [*house(12), *added])
    factory.generate(examples=9)
    later = map(said_in, factory.fake.requests[sent:])
    assert not [said for said in later if not any(chunk.text in said for chunk in added)]
