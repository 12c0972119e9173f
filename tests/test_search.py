"""`train search`, on a model of two layers with random weights: trials, halving, time, resuming."""

from __future__ import annotations

import os
import shlex
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy
import pytest
from scipy import stats

from pipelines.errors import DataError, TrainingError
from pipelines.models.catalog import DEFAULT_BASE_MODEL
from pipelines.operation import Context, Event, Progress, open_context
from pipelines.settings import SETTINGS_FILE
from pipelines.training import search, trial
from pipelines.training.job import free_memory_mb, run_watched, running_job
from pipelines.training.params import TrainParams
from pipelines.training.search import SearchParams, SearchReport, SearchTask, plan_search, run_search, search_adapters
from pipelines.training.study import Study
from pipelines.workspace import Workspace
from tests.small_dataset import write_splits
from tests.tiny_model import make_tiny_model

TRIALS, EPOCHS = 3, 8


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a model that knows nothing and is quick."""
    folder = tmp_path_factory.mktemp("tiny")
    return make_tiny_model(folder, like=open_context(folder).models.base_folder(DEFAULT_BASE_MODEL))


def new_context(folder: Path, emit: Any = lambda event: None) -> Context:
    """A context over a workspace of its own, with the dataset in it."""
    workspace = Workspace(folder)
    if workspace.make():
        write_splits(workspace.dataset("tools"))
        with (folder / SETTINGS_FILE).open("a", encoding="utf-8") as file:
            file.write("threads = 1\n")  # so small a model is not quicker with more
    return open_context(folder, emit=emit)


def params(tiny: Path, **chosen: Any) -> SearchParams:
    """A short search."""
    return SearchParams(dataset="tools", base=str(tiny), trials=TRIALS, epochs=EPOCHS, **chosen)


@pytest.fixture(scope="module")
def opened() -> list[str]:
    """Every file that is opened while the search of this module runs."""
    return []


@pytest.fixture(scope="module")
def searched(tiny: Path, tmp_path_factory: pytest.TempPathFactory, opened: list[str]) -> SearchReport:
    """A search that nothing disturbs."""
    context = new_context(tmp_path_factory.mktemp("whole"))
    is_watching = True

    def watch(event: str, arguments: tuple[object, ...]) -> None:
        if is_watching and event == "open":
            opened.append(str(arguments[0]))

    sys.addaudithook(watch)
    report = run_search(params(tiny), context)
    is_watching = False
    return report


def essence(report: SearchReport) -> list[tuple[object, ...]]:
    """What of the trials does not depend on the clock."""
    return [
        (line.trial, line.learning_rate, line.rank, line.epochs, line.steps, line.state, line.validation_loss)
        for line in report.trials
    ]


def test_the_default_is_tried_first_and_the_best_is_named(searched: SearchReport) -> None:
    """Every trial is in the report, with what it tried and came to."""
    default = TrainParams(dataset="tools")
    first = searched.trials[0]
    assert (first.learning_rate, first.rank, first.epochs) == (default.rate, default.rank, default.epochs)
    assert len(searched.trials) == TRIALS
    assert len({line.learning_rate for line in searched.trials}) == TRIALS
    finished = [line for line in searched.trials if line.state == "finished"]
    assert first in finished
    assert searched.best is not None
    assert searched.best.validation_loss == min(line.validation_loss or 99 for line in finished)
    assert not searched.is_out_of_time
    assert sorted(path.name for path in Path(searched.path).iterdir() if not path.name.startswith(".")) == [
        "report.json",
        "trials.journal",
    ]


def test_the_command_trains_with_what_was_best(searched: SearchReport, tiny: Path) -> None:
    """The command that is printed says all that the trial was trained with."""
    words = shlex.split(searched.command)
    assert words[:4] == ["assistant", "train", "start", "tools"]
    given = {name[2:].replace("-", "_"): value for name, value in zip(words[4::2], words[5::2], strict=True)}
    best = searched.best
    assert best is not None
    trained = TrainParams.model_validate({"dataset": "tools", **given})
    assert (trained.rate, trained.rank, trained.epochs) == (best.learning_rate, best.rank, best.epochs)
    assert trained.base == str(tiny)


def test_the_test_split_is_not_opened(searched: SearchReport, opened: list[str]) -> None:
    """Choosing parameters by the test split would make its scores worthless."""
    assert searched.trials
    assert any(name.endswith("validation.jsonl") for name in opened)
    assert not [name for name in opened if name.endswith("test.jsonl")]


def test_a_search_says_how_sure_it_is(searched: SearchReport) -> None:
    """The verdict follows from the interval, which holds the mean."""
    if searched.gain is None:
        assert searched.verdict == "default is best"
        assert searched.best == searched.default
    else:
        assert searched.default is not None and searched.best is not None
        assert searched.gain.low <= searched.gain.mean <= searched.gain.high
        lost = (searched.default.validation_loss or 0) - (searched.best.validation_loss or 0)
        assert searched.gain.mean == pytest.approx(lost, abs=0.02)
        assert searched.verdict == ("better" if searched.gain.low > 0 else "within noise")


def test_a_search_that_was_killed_tries_what_it_would_have_tried(
    searched: SearchReport, tiny: Path, tmp_path: Path
) -> None:
    """Stopped within the second trial, with a torn line and a lock left, it ends as the other did."""
    begun = 0

    def stop(event: Event) -> None:
        nonlocal begun
        if isinstance(event, Progress) and event.stage == "training":
            begun += event.done == 1
            if begun == 2:
                raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_search(params(tiny), new_context(tmp_path, stop))
    folder = Workspace(tmp_path).search("tools")
    assert len(list(folder.glob("trial-*/checkpoint-*.pt"))) == 1
    with (folder / "trials.journal").open("a", encoding="utf-8") as file:
        file.write('{"op_code": 4, "wor')
    (folder / "trials.journal.lock").symlink_to("trials.journal")

    first: list[int] = []

    def watch(event: Event) -> None:
        if isinstance(event, Progress) and event.stage == "training":
            first.append(event.done)

    resumed = run_search(params(tiny), new_context(tmp_path, watch))
    assert first[0] == 2  # the interrupted trial goes on from its checkpoint
    wanted, found = essence(searched), essence(resumed)
    assert [line[:-1] for line in found] == [line[:-1] for line in wanted]
    assert [line[-1] for line in found] == pytest.approx([line[-1] for line in wanted], rel=0.02)

    again: list[Event] = []
    assert run_search(params(tiny), new_context(tmp_path, again.append)) == resumed
    assert not again


def test_the_time_ends_a_trial_and_more_time_goes_on_with_it(
    tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A search out of time says so, knows no better parameters, and keeps what was done."""
    seconds = 0
    done: list[int] = []
    clock = SimpleNamespace(monotonic=lambda: float(seconds))
    monkeypatch.setattr(search, "time", clock)
    monkeypatch.setattr(trial, "time", clock)

    def tick(event: Event) -> None:
        nonlocal seconds
        if isinstance(event, Progress) and event.stage == "training":
            seconds += 1
            done.append(event.done)

    context = new_context(tmp_path, tick)
    short = run_search(params(tiny, minutes=1.5 / 60), context)
    assert done == [1, 2]
    assert short.is_out_of_time
    assert [(line.state, line.steps, line.seconds) for line in short.trials] == [("unfinished", 2, 2.0)]
    assert (short.verdict, short.best, short.command) == ("unknown", None, "")
    assert run_search(params(tiny, minutes=1.5 / 60), context) == short
    assert done == [1, 2]

    longer = run_search(params(tiny, minutes=30).model_copy(update={"trials": 2}), context)
    assert done[:4] == [1, 2, 3, 4]
    assert [line.trial for line in longer.trials] == [1, 2]
    assert longer.trials[0].state == "finished"
    assert longer.seconds == len(done)
    assert not longer.is_out_of_time


def test_noise_is_that_of_the_differences(tmp_path: Path) -> None:
    """A gain that all examples share is certain, one of a single example is not, and one example tells nothing."""
    study = Study(tmp_path, inputs={"seed": 0}, most_epochs=3)
    default = [(3.0, 2), (5.0, 2), (9.0, 3), (2.0, 1)]
    for nats in (default, [(n - 0.5 * t, t) for n, t in default], [(0.5, 2), *default[1:]], [(1.0, 1)]):
        study.ask().finish(1.0, nats)
    mean, low, high = study.gain(2, over=1, comparisons=3) or (0, 0, 0)
    assert (mean, low, high) == pytest.approx((0.5, 0.5, 0.5))
    mean, low, high = study.gain(3, over=1, comparisons=3) or (0, 0, 0)
    assert mean == pytest.approx(2.5 / 8)
    assert low < 0 < mean < high
    assert study.gain(4, over=4, comparisons=3) is None


def test_the_best_of_several_has_to_gain_more(tmp_path: Path) -> None:
    """With examples of equal length it is the paired t interval, at a level divided by the comparisons."""
    study = Study(tmp_path, inputs={"seed": 0}, most_epochs=3)
    rng = numpy.random.default_rng(0)
    before, after = rng.normal(3, 1, 12), rng.normal(2.6, 1, 12)
    for nats in (before, after):
        study.ask().finish(1.0, [(float(each), 1) for each in nats])
    for comparisons in (1, 4):
        known = stats.ttest_rel(before, after).confidence_interval(1 - 0.05 / comparisons)
        found = study.gain(2, over=1, comparisons=comparisons)
        assert found == pytest.approx((float((before - after).mean()), known.low, known.high), abs=1e-3)


def test_what_is_tried_depends_on_the_seed(tmp_path: Path) -> None:
    """After the defaults; the same seed tries the same."""
    tried = []
    for number, seed in enumerate((0, 0, 1)):
        (tmp_path / str(number)).mkdir()
        study = Study(tmp_path / str(number), inputs={"seed": seed}, most_epochs=9)
        first = study.ask()
        first.finish(1.0, [(1.0, 1)])
        tried.append([first.learning_rate, study.ask().learning_rate])
    assert tried[0] == tried[1] != tried[2]
    assert tried[0][0] == tried[2][0]


def test_a_trial_that_is_behind_is_given_up(tmp_path: Path) -> None:
    """At the second validation, the better half goes on; a trial that diverged is named so."""
    study = Study(tmp_path, inputs={"seed": 0}, most_epochs=3)
    fates = []
    for loss in (1.0, 2.0, 0.9):
        chosen = study.ask()
        fates.append([chosen.is_behind(loss), chosen.is_behind(loss)])
        if any(fates[-1]):
            chosen.give_up()
        else:
            chosen.finish(loss, [(loss, 1)])
    assert fates == [[False, False], [False, True], [False, False]]
    study.ask().give_up(has_diverged=True)
    assert [line["state"] for line in study.lines()] == ["finished", "given up", "finished", "diverged"]
    assert study.best_loss() == 0.9


def test_a_search_in_a_child_goes_on(searched: SearchReport, tiny: Path, tmp_path: Path) -> None:
    """Stopped in its first trial the child saves, and the same command ends as an undisturbed search does."""

    def stop(event: Event) -> None:
        if isinstance(event, Progress) and event.stage == "training":
            raise KeyboardInterrupt

    folder = Workspace(tmp_path).search("tools")
    with pytest.raises(KeyboardInterrupt):
        search_adapters(params(tiny), new_context(tmp_path, stop))
    assert running_job(folder) is None
    assert len(list(folder.glob("trial-*/checkpoint-*.pt"))) == 1
    resumed = search_adapters(params(tiny), new_context(tmp_path))
    wanted, found = essence(searched), essence(resumed)
    assert [line[:-1] for line in found] == [line[:-1] for line in wanted]
    assert [line[-1] for line in found] == pytest.approx([line[-1] for line in wanted], rel=0.02)


def test_a_search_short_of_memory_says_so(tiny: Path, tmp_path: Path) -> None:
    """The child is ended before the machine is."""
    context = new_context(tmp_path)
    task = SearchTask(workspace=str(tmp_path), seed=0, parent=os.getpid(), params=params(tiny))
    with pytest.raises(TrainingError, match="too little memory"):
        run_watched(
            task,
            context,
            folder=context.workspace.search("tools"),
            module="pipelines.training.search_child",
            least_free_mb=free_memory_mb() + 1_000_000,
        )


def test_a_dataset_without_splits_is_refused(tmp_path: Path, tiny: Path) -> None:
    """The hint says how to make them; the plan says how long a search may take."""
    context = new_context(tmp_path)
    with pytest.raises(DataError, match=r"no train\.jsonl") as caught:
        search_adapters(SearchParams(dataset="other", base=str(tiny)), context)
    assert "data curate other" in caught.value.hint
    assert plan_search(params(tiny, minutes=7), context).minutes == (0.0, 7.0)
