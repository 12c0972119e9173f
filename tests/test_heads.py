"""Task heads: labelled texts read with care, heads that learn, resume, and say the same when loaded again."""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Iterator
from pathlib import Path

import numpy
import pytest
import torch
from sklearn import metrics

from pipelines.errors import DataError, SettingsError, TrainingError
from pipelines.models.catalog import DEFAULT_BASE_MODEL, DEFAULT_EMBEDDER
from pipelines.operation import Context, Notice, Progress, open_context
from pipelines.records import Span
from pipelines.training.adapters import ListAdaptersParams, ShowAdapterParams, list_adapters, show_adapter
from pipelines.training.checkpoint import find_checkpoints
from pipelines.training.exporting.export import ExportParams, export_adapter
from pipelines.training.heads.baselines import predict_dictionary, predict_tfidf
from pipelines.training.heads.encoding import Item, TextEncoder, read_tags, tag_words, with_targets
from pipelines.training.heads.fitting import FitPlan, FitStep, Fitting, Validation
from pipelines.training.heads.labelled import Labelled, divide, load_labelled, read_labelled
from pipelines.training.heads.labeller import open_encoder, open_labeller
from pipelines.training.heads.model import Head, HeadConfig, judge, load_head, save_head
from pipelines.training.heads.predict import PredictParams, predict_labels
from pipelines.training.heads.scores import difference_interval, entity_counts, f1_score, label_counts
from pipelines.training.heads.train import HeadParams, HeadReport, HeadTask, find_base, fit_head, plan_head, train_head
from pipelines.training.job import free_memory_mb, run_watched, running_job
from pipelines.training.launch import launch_training
from pipelines.training.params import TrainParams
from pipelines.training.train import plan_train, train_adapter
from tests.conftest import Recorder
from tests.trained_heads import LEARNT_BY_HEART, TEXTS, marked_texts, sorted_texts, write_lines


@pytest.fixture(scope="module")
def finder(shared: tuple[Context, Recorder]) -> HeadReport:
    """A head that finds persons and towns."""
    context, _recorder = shared
    path = write_lines(context.workspace.root / "towns.jsonl", marked_texts())
    return fit_head(HeadParams(dataset=str(path), kind="tokens", trained="full", epochs=6, learning_rate=1e-3), context)


@pytest.fixture(scope="module")
def encoder_folder(shared: tuple[Context, Recorder]) -> Path:
    """The folder of the embedded encoder."""
    return find_base(DEFAULT_EMBEDDER, shared[0])


# ---- data


@pytest.mark.parametrize(
    ("kind", "line", "message"),
    [
        ("classification", {"text": "a lamp"}, "line 2 has no label"),
        ("classification", {"text": "a lamp", "label": " "}, "line 2 has no label"),
        ("classification", {"label": "light"}, "line 2 has no text"),
        ("classification", {"text": "a", "label": ["light"]}, "line 2: label"),
        ("tokens", {"text": "Hedda", "label": "x"}, "line 2 has no spans"),
        ("tokens", {"text": "Hedda", "spans": [{"start": 0, "end": 6, "label": "p"}]}, "line 2 .* outside of its 5"),
        ("tokens", {"text": "a  b", "spans": [{"start": 1, "end": 3, "label": "p"}]}, "line 2 .* is empty"),
        ("tokens", {"text": "a", "spans": [{"start": -1, "end": 1, "label": "p"}]}, "line 2: spans.0.start"),
        (
            "tokens",
            {"text": "Hedda", "spans": [{"start": 2, "end": 4, "label": "p"}, {"start": 0, "end": 3, "label": "q"}]},
            "line 2 .* overlaps",
        ),
    ],
)
def test_a_bad_line_is_named(tmp_path: Path, kind: str, line: dict[str, object], message: str) -> None:
    """What is wrong is said with the number of the line, and nothing of the file is used."""
    good: dict[str, object] = {"text": "a lamp", "label": "light", "spans": []}
    path = write_lines(tmp_path / "bad.jsonl", [good, line])
    with pytest.raises(DataError, match=message):
        read_labelled(path, kind=kind)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("train", "test", "message"),
    [
        ([("a", "x"), ("b", "x"), ("c", "x")], [("d", "x")], "one label"),
        ([("a", "x"), ("b", "y")], [("d", "y"), ("e", "z"), ("f", "x")], "test.jsonl line 2 has the label 'z'"),
        ([("a", "x"), ("b", "x"), ("c", "y")], [("d", "x")], "fewer than 2 texts: y"),
        ([], [("d", "x")], "train.jsonl holds nothing"),
    ],
)
def test_what_cannot_be_learnt_is_said(
    tmp_path: Path, train: list[tuple[str, str]], test: list[tuple[str, str]], message: str
) -> None:
    """One class, a label that is never shown, a class with one text, and an empty file are refused."""
    for split, records in (("train", train), ("validation", test[:1]), ("test", test)):
        write_lines(tmp_path / f"{split}.jsonl", [{"text": text, "label": label} for text, label in records])
    with pytest.raises(DataError, match=message):
        load_labelled(tmp_path, kind="classification")


def test_missing_splits_are_made_of_the_hashes_of_texts(tmp_path: Path) -> None:
    """The same file in another order gives the same splits, of each label a share, and no text twice."""
    records = [*sorted_texts(), {"text": "  Turn ON the lamp in the kitchen ", "label": "light"}]
    first = load_labelled(write_lines(tmp_path / "a.jsonl", records), kind="classification")
    again = load_labelled(write_lines(tmp_path / "b.jsonl", records[::-1]), kind="classification")
    assert first.made_splits == ("validation", "test")
    for split, size in (("train", 36), ("validation", 6), ("test", 12)):
        one, other = getattr(first, split), getattr(again, split)
        assert {record.text for record in one} == {record.text for record in other}
        assert len({record.text.strip().casefold() for record in one}) == size
        assert {record.label for record in one} == set(TEXTS)
    folded = [{record.text.strip().casefold() for record in split} for split in (first.train, first.test)]
    assert not folded[0] & folded[1]


def test_few_texts_of_a_label_stay_in_training() -> None:
    """Of two texts of a label, one is learnt and one validates."""
    records = [Labelled(text=f"{label} {n}", label=label) for label in "xy" for n in range(2)]
    splits = divide(records, wanted=("validation", "test"))
    assert {split: sorted(each.label for each in found) for split, found in splits.items()} == {
        "train": ["x", "y"],
        "validation": ["x", "y"],
        "test": [],
    }


# ---- words and tags


@pytest.fixture(scope="module", params=[DEFAULT_EMBEDDER, DEFAULT_BASE_MODEL])
def encoder(request: pytest.FixtureRequest, shared: tuple[Context, Recorder]) -> TextEncoder:
    """What makes tokens for an encoder, and for a chat model."""
    return open_encoder(find_base(request.param, shared[0]), max_length=24)


@pytest.mark.parametrize(
    ("text", "pieces"),
    [
        ("Hedda met Anna Berg, in\n New Haven!", ["Hedda", "Anna Berg", "New Haven"]),
        ("赫达在塔林市见到了安娜。", ["赫达", "塔林市", "安娜"]),
        ("[SEP] Zoë paid 12 € to Núñez<|im_end|>", ["Zoë", "12 €", "Núñez"]),
        ("x " * 90 + "Hedda lives in Porto", ["Hedda", "Porto"]),
    ],
)
def test_tags_give_the_spans_back(encoder: TextEncoder, text: str, pieces: list[str]) -> None:
    """Spans become tags, tags of windows, and the tags of all windows the same spans again."""
    labels = ("p", "q")
    places = [(text.index(piece), text.index(piece) + len(piece)) for piece in pieces]
    spans = [Span(start=start, end=end, label="pq"[n % 2]) for n, (start, end) in enumerate(places)]
    encoded = encoder.encode_words(text)
    tags = tag_words(encoded.words, spans, labels=labels)
    windows = with_targets(encoded.windows, tags)
    assert all(len(window.tokens) <= 24 for window in windows)
    assert (len(windows) > 1) == (len(text) > 100)
    joined = [tag for window in windows for tag in window.targets]
    assert read_tags(encoded.words, joined, labels=labels) == spans


def test_tags_without_a_beginning_begin_a_span() -> None:
    """Neighbours of one label stay apart by B, and a change of label begins a new span."""
    words = [(at, at + 1) for at in range(6)]
    spans = read_tags(words, [2, 1, 2, 4, 0, 4], labels=("p", "q"))
    assert [(span.start, span.end, span.label) for span in spans] == [
        (0, 1, "p"),
        (1, 3, "p"),
        (3, 4, "q"),
        (5, 6, "q"),
    ]


def test_a_text_without_words_has_no_windows(encoder: TextEncoder) -> None:
    """White space alone is not judged."""
    assert encoder.encode_words(" \n ").windows == ()


# ---- scores and baselines


def test_f1_of_labels_is_that_of_scikit_learn() -> None:
    """Macro F1 equals scikit-learn's, also where a label is never given."""
    rng = numpy.random.default_rng(0)
    true, given = ([str(each) for each in rng.integers(0, 4, 60)] for _ in range(2))
    given = ["0" if each == "3" else each for each in given]
    counts = label_counts(true, given, labels=("0", "1", "2", "3", "4"))
    assert f1_score(counts.sum(axis=0), kind="classification") == pytest.approx(
        metrics.f1_score(true, given, average="macro", zero_division=0)
    )


def test_an_entity_counts_only_when_exact() -> None:
    """A wrong end or label is an error on both sides: 1 of 3 found, of 3 given, is F1 1/3."""
    true = [[Span(start=0, end=3, label="p"), Span(start=5, end=9, label="q")], [Span(start=0, end=2, label="p")]]
    given = [[Span(start=0, end=3, label="p"), Span(start=5, end=8, label="q")], [Span(start=0, end=2, label="q")]]
    totals = entity_counts(true, given, labels=("p", "q")).sum(axis=0)
    assert totals.tolist() == [[1, 1, 2], [0, 2, 1]]
    assert f1_score(totals, kind="tokens") == pytest.approx(1 / 3)


def test_the_interval_of_a_difference() -> None:
    """Equal predictions differ by nothing; clearly better ones by more than nothing."""
    true = ["a", "b"] * 40
    right = label_counts(true, true, labels=("a", "b"))
    wrong = label_counts(true, ["a"] * 80, labels=("a", "b"))
    assert difference_interval(right, right, kind="classification", seed=0) == (0.0, 0.0)
    low, high = difference_interval(right, wrong, kind="classification", seed=0)
    assert 0.5 < low < 1 - 1 / 3 < high < 0.8


def test_the_dictionary_takes_the_longest_piece_and_its_usual_label() -> None:
    """New York is not York, whatever the case; inside of a word nothing is found."""
    train = [
        Labelled(text="New York", spans=(Span(start=0, end=8, label="town"),)),
        Labelled(text="York", spans=(Span(start=0, end=4, label="person"),)),
        Labelled(text="York!", spans=(Span(start=0, end=4, label="town"),)),
        Labelled(text="York?", spans=(Span(start=0, end=4, label="town"),)),
        Labelled(text="塔林", spans=(Span(start=0, end=2, label="town"),)),
    ]
    [found, chinese] = predict_dictionary(train, ["From new york to York, not Yorkshire", "我在塔林市"])
    assert [(span.start, span.end, span.label) for span in found] == [(5, 13, "town"), (17, 21, "town")]
    assert [(span.start, span.end) for span in chinese] == [(2, 4)]


def test_tfidf_reads_chinese_by_characters() -> None:
    """Logistic regression tells texts apart that have no spaces."""
    train = [Labelled(text=f"请打开{n}号灯", label="灯") for n in "一二三四"]
    train += [Labelled(text=f"今天下{n}场雨吗", label="雨") for n in "一二三四"]
    assert predict_tfidf(train, train, ["打开灯", "会下雨吗"]) == ["灯", "雨"]


# ---- heads


def test_a_head_learns_to_sort(sorter: HeadReport, shared: tuple[Context, Recorder]) -> None:
    """A few dozen texts suffice; what was left out, and what is simpler, stands in the report."""
    context, recorder = shared
    assert sorter.f1 > 0.9
    assert sorter.accuracy is not None
    assert sorter.other_kinds == 1
    assert Notice(message="1 examples of other kinds are left out") in recorder.events
    assert sum(each.support for each in sorter.per_label) == sorter.splits["test"]
    majority, tfidf = sorter.baselines
    assert majority.f1 < 0.3 < tfidf.f1
    assert majority.low <= majority.difference <= majority.high
    assert sorter.trained == "full"
    assert any(isinstance(event, Progress) and "validation F1" in event.detail for event in recorder.events)
    logged = [json.loads(line) for line in (Path(sorter.path) / "metrics.jsonl").read_text().splitlines()]
    validated = [each for each in logged if "validation_f1" in each]
    best = max(validated, key=lambda each: (each["validation_f1"], -each["validation_loss"]))
    assert (best["validation_f1"], best["step"]) == (sorter.validation_f1, sorter.best_step)
    [line] = [each for each in list_adapters(ListAdaptersParams(), context).adapters if each.adapter == "wishes"]
    assert (line.state, line.base) == ("trained", DEFAULT_EMBEDDER)
    assert train_head(LEARNT_BY_HEART, context) == sorter


def test_a_head_is_not_taken_for_an_adapter(
    sorter: HeadReport, shared: tuple[Context, Recorder], tmp_path: Path
) -> None:
    """It is listed and shown as what it is, not exported, and not trained over."""
    context, _recorder = shared
    [line] = [each for each in list_adapters(ListAdaptersParams(), context).adapters if each.adapter == "wishes"]
    assert (line.is_head, line.method, line.objective) == (True, "full", "classification")
    assert show_adapter(ShowAdapterParams(adapter="wishes"), context).params["trained"] == "full"
    with pytest.raises(DataError, match="is a head") as caught:
        export_adapter(ExportParams(adapter="wishes"), context)
    assert "train predict wishes" in caught.value.hint
    talk = {"messages": [{"role": "user", "content": "Hi."}, {"role": "assistant", "content": "Hello."}]}
    params = TrainParams(dataset=str(write_lines(tmp_path / "wishes.jsonl", [talk, talk])))
    for refuse in (plan_train, train_adapter, launch_training):
        with pytest.raises(SettingsError, match="name of a head") as refused:
            refuse(params, context)
        assert "--adapter" in refused.value.hint
    assert plan_train(params.model_copy(update={"adapter": "talk"}), context).replaces == ()


def test_the_saved_head_predicts_what_was_reported(sorter: HeadReport, shared: tuple[Context, Recorder]) -> None:
    """Loaded again, the head is as right on the test split as the report says; other fields are kept."""
    context, _recorder = shared
    file = context.workspace.dataset("wishes") / "test.jsonl"
    report = predict_labels(PredictParams(adapter="wishes", file=file), context)
    lines = [json.loads(line) for line in Path(report.path).read_text(encoding="utf-8").splitlines()]
    true = [json.loads(line)["label"] for line in file.read_text(encoding="utf-8").splitlines()]
    assert report.texts == len(true)
    assert metrics.accuracy_score(true, [line["label"] for line in lines]) == pytest.approx(sorter.accuracy, abs=1e-4)
    assert all(line["kind"] == "classification" and 1 / 3 < line["score"] <= 1 for line in lines)
    with pytest.raises(DataError, match="already"):
        predict_labels(PredictParams(adapter="wishes", file=file), context)


def test_a_head_learns_to_find(finder: HeadReport, shared: tuple[Context, Recorder]) -> None:
    """Persons and towns are found, at their place, also in names that it never saw."""
    context, _recorder = shared
    assert finder.f1 > 0.9
    assert finder.made_splits == ["validation", "test"]
    assert finder.misaligned == finder.windowed == 0
    text = "In autumn Walter was seen near Dresden."
    [prediction] = predict_labels(PredictParams(adapter="towns", text=text), context).predictions
    assert prediction.spans is not None
    assert [(each.text, each.label) for each in prediction.spans] == [("Walter", "person"), ("Dresden", "town")]
    assert all(text[each.start : each.end] == each.text and each.score > 0.5 for each in prediction.spans)


def test_long_texts_are_read_to_their_end(finder: HeadReport, shared: tuple[Context, Recorder], tmp_path: Path) -> None:
    """What stands behind the first window is found, and alone in a batch the same as with others."""
    context, _recorder = shared
    long = "Nothing was said about chair 3. " * 60 + "Hedda moved to Porto in spring."
    file = write_lines(tmp_path / "in.jsonl", [{"text": "Ruth"}, {"text": long, "id": 7}])
    predict_labels(PredictParams(adapter=finder.adapter, file=file, output=tmp_path / "out.jsonl"), context)
    line = json.loads((tmp_path / "out.jsonl").read_text(encoding="utf-8").splitlines()[1])
    assert line["id"] == 7
    assert [(each["text"], each["label"]) for each in line["spans"]] == [("Hedda", "person"), ("Porto", "town")]


@pytest.mark.parametrize("trained", ["full", "lora"])
def test_weights_come_back_as_they_were(encoder_folder: Path, tmp_path: Path, trained: str) -> None:
    """Saved and loaded again, a head gives the very same probabilities; of another shape it is refused."""
    config = HeadConfig(
        kind="tokens",
        labels=("p", "q"),
        base=DEFAULT_EMBEDDER,
        trained=trained,
        max_length=64,  # type: ignore[arg-type]
    )
    head = Head(encoder_folder, config, seed=1)
    generator = torch.Generator().manual_seed(3)
    weights = {
        name: each.detach().float() + 0.02 * torch.randn(each.shape, generator=generator)
        for name, each in head.trained_parameters().items()
    }
    items = [Item(tokens=(101, *range(2000, 2000 + n), 102), places=(1, n)) for n in (3, 30, 9)]
    untrained = judge(head, items)
    with torch.no_grad():
        for name, parameter in head.trained_parameters().items():
            parameter.copy_(weights[name])
    before = judge(head, items)
    save_head(head, weights, tmp_path)
    after = judge(load_head(tmp_path, config, base_folder=encoder_folder), items)
    for one, other, first in zip(before, after, untrained, strict=True):
        assert numpy.array_equal(one, other)
        assert not numpy.allclose(one, first, atol=1e-3)
    with pytest.raises(DataError, match="another model"):
        load_head(tmp_path, config.model_copy(update={"labels": ("p",)}), base_folder=encoder_folder)


@pytest.fixture
def runs(encoder_folder: Path, tmp_path: Path) -> Iterator[tuple[Path, Path]]:
    """Two folders to train in."""
    for name in ("whole", "parts"):
        (tmp_path / name).mkdir()
    return iter([(tmp_path / "whole", tmp_path / "parts")])


def new_run(base: Path, folder: Path, *, f1s: list[float], patience: int = 9, learning_rate: float = 1e-3) -> Fitting:
    """A short run over a few texts, whose validations come out as they are told to."""
    config = HeadConfig(kind="classification", labels=("a", "b"), base=DEFAULT_EMBEDDER, trained="lora", max_length=64)
    items = [Item(tokens=(101, 2000 + n, 3000 - n, 102), targets=(n % 2,)) for n in range(8)]
    plan = FitPlan(epochs=4, learning_rate=learning_rate, batch_size=3, patience=patience, seed=0)
    rest = iter(f1s)
    head = Head(base, config, seed=0)
    return Fitting(head, items, validate=lambda: Validation(f1=next(rest), loss=1.0), plan=plan, folder=folder, key="k")


def test_a_resumed_run_equals_an_uninterrupted_one(encoder_folder: Path, runs: Iterator[tuple[Path, Path]]) -> None:
    """Stopping in the middle of an epoch and going on changes nothing of what is learnt."""
    whole, parts = next(runs)
    losses: list[float] = []
    new_run(encoder_folder, whole, f1s=[0.1, 0.2, 0.3, 0.4, 0.4]).fit(lambda step: losses.append(step.loss))

    again: list[float] = []

    def interrupt(step: FitStep) -> None:
        again.append(step.loss)
        if step.step == 5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        new_run(encoder_folder, parts, f1s=[0.1]).fit(interrupt)
    with (parts / "metrics.jsonl").open("a", encoding="utf-8") as file:
        file.write('{"step": 6, "lo')  # cut by a kill
    second = new_run(encoder_folder, parts, f1s=[0.2, 0.3, 0.4, 0.4])
    assert second.resumed_from_step == 5
    second.fit(lambda step: again.append(step.loss))
    assert again == pytest.approx(losses, rel=0.02)
    assert len(losses) == 12
    logged = [json.loads(line)["step"] for line in (parts / "metrics.jsonl").read_text().splitlines()]
    assert logged == list(range(1, 13))
    second.save()
    assert not find_checkpoints(parts)


def test_training_stops_early_with_the_best_weights(encoder_folder: Path, tmp_path: Path) -> None:
    """After `patience` epochs without a better F1 it ends, and the weights are those of the best."""
    run = new_run(encoder_folder, tmp_path, f1s=[0.5, 0.4, 0.5, 0.5], patience=2)
    kept: dict[int, list[torch.Tensor]] = {}

    def keep(step: FitStep) -> None:
        kept[step.step] = [each.clone() for each in run._masters]

    fitted = run.fit(keep)
    assert (fitted.steps, fitted.best_step) == (9, 3)
    loaded = [each.detach() for each in run._parameters.values()]
    assert all(torch.equal(each, best.to(each.dtype)) for each, best in zip(loaded, kept[3], strict=True))
    assert not all(torch.equal(each, last.to(each.dtype)) for each, last in zip(loaded, kept[9], strict=True))


def test_a_loss_that_is_no_number_ends_the_run(encoder_folder: Path, tmp_path: Path) -> None:
    """A learning rate out of all bounds is an error that says so."""
    with pytest.raises(TrainingError, match="loss became"):
        new_run(encoder_folder, tmp_path, f1s=[0.1] * 4, learning_rate=1e30).fit(lambda step: None)


def test_a_chat_model_takes_a_head_too(context: Context, recorder: Recorder) -> None:
    """The causal base model is trained by LoRA, judged by its last token, and reads the texts in part."""
    texts = [{**each, "text": f"{each['text']} {'or so ' * 20}"} for each in sorted_texts()[::3]]
    path = write_lines(context.workspace.root / "some.jsonl", texts)
    params = HeadParams(dataset=str(path), base=DEFAULT_BASE_MODEL, epochs=1, max_length=16, class_weights=True)
    report = fit_head(params, context)
    assert (report.trained, report.adapter, report.unknown_share) == ("lora", "some", 0)
    assert report.cut == len(texts)
    assert Notice(message=f"of {len(texts)} texts only the first 16 tokens are read") in recorder.events
    opened = open_labeller(Path(report.path), base_folder=find_base(DEFAULT_BASE_MODEL, context))
    asked = ["play a song in the hall", "is there snow before the attic, or will it rain"]
    together, _cut = opened.label(asked)
    alone = [opened.label([text])[0][0] for text in asked]
    assert [each.score for each in together] == pytest.approx([each.score for each in alone], abs=0.02)


def test_what_the_model_cannot_read_is_said(context: Context, recorder: Recorder) -> None:
    """An English encoder has no tokens for most Chinese characters."""
    texts = [(f"请把{room}的灯打开，谢谢您", "灯") for room in "厨厅室库阁廊"]
    texts += [(f"今天{room}会不会下雨呢", "雨") for room in "晨晚夜午早间"]
    lines: list[dict[str, object]] = [{"text": text, "label": label} for text, label in texts]
    report = fit_head(
        HeadParams(dataset=str(write_lines(context.workspace.root / "zh.jsonl", lines)), epochs=1), context
    )
    assert report.unknown_share > 0.1
    assert any(isinstance(event, Notice) and "choose another --base" in event.message for event in recorder.events)


def test_a_head_in_a_child_goes_on(context: Context) -> None:
    """Short memory ends the child with an error that says so; stopped, it saves, and the same command goes on."""
    path = write_lines(context.workspace.root / "wishes.jsonl", sorted_texts())
    params = HeadParams(dataset=str(path), epochs=3)
    folder = context.workspace.adapter("wishes")
    task = HeadTask(workspace=str(context.workspace.root), seed=0, parent=os.getpid(), params=params)
    with pytest.raises(TrainingError, match="too little memory"):
        run_watched(
            task,
            context,
            folder=folder,
            module="pipelines.training.heads.child",
            least_free_mb=free_memory_mb() + 1_000_000,
        )

    def stop(event: object) -> None:
        if isinstance(event, Progress) and event.stage == "training":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train_head(params, dataclasses.replace(context, emit=stop))
    assert running_job(folder) is None
    assert find_checkpoints(folder)
    report = train_head(params, context)
    assert 0 < report.resumed_from_step < report.steps
    assert not find_checkpoints(folder)


def test_a_file_that_holds_no_head_is_named(context: Context) -> None:
    """Bytes that are no weights, or somebody else's weights, are not loaded."""
    folder = context.workspace.adapter("odd")
    folder.mkdir(parents=True)
    (folder / "head.safetensors").write_bytes(b"nothing")
    with pytest.raises(DataError, match="cannot be read"):
        predict_labels(PredictParams(adapter="odd", text="Hello"), context)


def test_what_cannot_start_says_why(context: Context) -> None:
    """A missing dataset, head, model or text, a place that is taken, and a length beyond the model."""
    path = write_lines(context.workspace.root / "wishes.jsonl", sorted_texts())
    with pytest.raises(DataError, match=r"no .*train\.jsonl"):
        train_head(HeadParams(dataset="nothing"), context)
    with pytest.raises(DataError, match="line 1 has no spans"):
        train_head(HeadParams(dataset=str(path), kind="tokens"), context)
    with pytest.raises(SettingsError, match="reads at most 512"):
        fit_head(HeadParams(dataset=str(path), max_length=1024), context)
    with pytest.raises(DataError, match="no trained head"):
        predict_labels(PredictParams(adapter="nothing", text="Hello"), context)
    with pytest.raises(SettingsError, match="either a text or a file"):
        predict_labels(PredictParams(adapter="nothing"), context)
    taken = context.workspace.adapter("bot")
    taken.mkdir(parents=True)
    (taken / "adapter_config.json").write_text("{}", encoding="utf-8")
    for refuse in (plan_head, train_head):
        with pytest.raises(SettingsError, match="adapter of a chat model") as caught:
            refuse(HeadParams(dataset=str(path), adapter="bot"), context)
        assert "--adapter" in caught.value.hint
    confined = open_context(context.workspace.root, confine=True)
    with pytest.raises(SettingsError, match="outside the workspace"):
        train_head(HeadParams(dataset="/etc/hosts.jsonl"), confined)


def test_the_plan_counts_texts(context: Context) -> None:
    """The plan says on how many texts, of those that are not set aside, for how long, and what it would replace."""
    path = write_lines(context.workspace.root / "wishes.jsonl", sorted_texts())
    plan = plan_head(HeadParams(dataset=str(path), epochs=10), context)
    assert f"on {len(load_labelled(path, kind='classification').train)} texts" in plan.title
    assert plan.minutes is not None
    assert 0 < plan.minutes[0] < plan.minutes[1]
    assert plan.replaces == ()
