"""What a head is scored on: texts that were set aside before it was trained, and still are the same."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from pydantic import ValidationError

from pipelines.dataset.checks.similar import normalized
from pipelines.errors import DataError
from pipelines.evaluation.report import Leaks
from pipelines.manifest import file_hash
from pipelines.operation import Context
from pipelines.training.heads.labelled import Labelled, LabelledData, data_files, load_labelled, read_labelled
from pipelines.training.heads.model import HeadConfig, read_config
from pipelines.training.heads.train import MANIFEST, HeadParams, find_source

_TEST = "test.jsonl"
_SHOWN = 3
_RETRAIN = "Train the head again with: assistant train head"


@dataclass(frozen=True, kw_only=True)
class HeadMaterial:
    """A head's configuration, the data that it was trained on, and the texts to score it on."""

    config: HeadConfig
    data: LabelledData
    test: list[Labelled]
    leaks: Leaks
    dataset: str  # name of what the test texts are from
    is_made_split: bool
    test_sha256: str  # of the file that holds them
    files: Mapping[str, str]  # that it was trained on, with their SHA-256


def read_material(folder: Path, context: Context, *, dataset: str | None) -> HeadMaterial:
    """Read what the evaluation of a head needs.

    Args:
        folder: Where the head is.
        context: The workspace that datasets are in.
        dataset: Dataset whose test split to use in place of the head's own.

    Raises:
        DataError: It is no head of this program, its dataset is gone or no longer what it was
            trained on, its labels are others, or there is no test split.
    """
    config = read_config(folder)
    trained, recorded = _read_training(folder)
    source = find_source(trained.dataset, context)
    if not data_files(source):
        raise DataError(
            f"the dataset {trained.dataset} that the head {folder.name} was trained on is not in {source}",
            path=source,
            hint="Put it back, or start from the folder that its path was given from.",
        )
    data = load_labelled(source, kind=config.kind)
    _check_labels(config.labels, data.labels, source=source)
    files = {path.name: file_hash(path) for path in data_files(source)}
    _check_unchanged(recorded, files, source=source, is_test_free=dataset is not None)
    if dataset is None:
        material = HeadMaterial(
            config=config,
            data=data,
            test=data.test,
            leaks=Leaks(),
            dataset=source.name if source.is_dir() else source.stem,
            is_made_split="test" in data.made_splits,
            test_sha256=files.get(_TEST) or next(iter(files.values())),
            files=files,
        )
    else:
        material = _other_test(context.workspace.dataset(dataset), config, data, files=files)
    return _without_leaks(material)


def _read_training(folder: Path) -> tuple[HeadParams, Mapping[str, str]]:
    """Return what a head was trained with, and the hashes of the files it was trained on."""
    path = folder / MANIFEST
    try:
        inputs = json.loads(path.read_text(encoding="utf-8"))["inputs"]
        return HeadParams.model_validate(inputs["head"]), {
            str(name): str(each) for name, each in inputs["files"].items()
        }
    except (OSError, ValueError, KeyError, TypeError, AttributeError, ValidationError) as error:
        raise DataError(
            f"{folder} does not say what its head was trained on, so no text is known to be new to it",
            path=path,
            hint=f"Finish its training, or start it anew: assistant train head DATASET --adapter {folder.name}",
        ) from error


def _check_labels(known: Sequence[str], labels: Sequence[str], *, source: Path) -> None:
    if set(known) == set(labels):
        return
    changes = {"new": set(labels).difference(known), "gone": set(known).difference(labels)}
    said = "; ".join(f"{what}: {', '.join(sorted(each))}" for what, each in changes.items() if each)
    raise DataError(
        f"the labels of {source.name} are not those that the head knows ({said})", path=source, hint=_RETRAIN
    )


def _check_unchanged(
    recorded: Mapping[str, str], present: Mapping[str, str], *, source: Path, is_test_free: bool
) -> None:
    """Refuse files that are not those of the training: a text of the test may have been learnt."""
    for name in sorted({*recorded, *present}):
        if name not in present:
            problem = "is not there any more"
        elif name not in recorded:
            problem = "is new"
        elif recorded[name] != present[name] and not (is_test_free and name == _TEST):
            problem = "has changed"
        else:
            continue
        raise DataError(
            f"{name} of {source.name} {problem} since the head was trained, "
            "so its test split is not the one that was set aside",
            path=source,
            hint=f"{_RETRAIN}. Or name a dataset with a test split that it has not seen: --dataset NAME",
        )


def _other_test(folder: Path, config: HeadConfig, data: LabelledData, *, files: Mapping[str, str]) -> HeadMaterial:
    """Return the test split of another dataset as what to score on."""
    path = folder / _TEST
    if not path.is_file():
        raise DataError(
            f"there is no {_TEST} in {folder}", path=folder, hint=f"Make it with: assistant data curate {folder.name}"
        )
    test, _others = read_labelled(path, kind=config.kind)
    for record in test:
        if unknown := sorted(record.labels.difference(config.labels)):
            raise DataError(
                f"{record.place} has the label {unknown[0]!r}, which the head does not know",
                path=path,
                hint=f"Known: {', '.join(config.labels[:20])}.",
            )
    return HeadMaterial(
        config=config,
        data=data,
        test=test,
        leaks=Leaks(),
        dataset=folder.name,
        is_made_split=False,
        test_sha256=file_hash(path),
        files=files,
    )


def _without_leaks(material: HeadMaterial) -> HeadMaterial:
    """Return the material without test texts that were trained on or chosen by."""
    seen = {normalized(record.text) for record in (*material.data.train, *material.data.validation)}
    kept = [record for record in material.test if normalized(record.text) not in seen]
    leaking = [record.text for record in material.test if normalized(record.text) in seen]
    if not kept:
        raise DataError(
            f"all {len(leaking)} test texts of {material.dataset} stand in what the head was trained on",
            hint="Name a dataset with a test split that it has not seen: --dataset NAME",
        )
    return replace(material, test=kept, leaks=Leaks(count=len(leaking), examples=leaking[:_SHOWN]))
