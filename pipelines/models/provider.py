"""Opens models when they are first needed, and keeps them while the process lives."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from pipelines.lazy import lazy_import
from pipelines.models.catalog import CATALOG, DEFAULT_EMBEDDER, EMBEDDERS, find_model, packaged_files
from pipelines.models.engine import Engine
from pipelines.models.ledger import Ledger
from pipelines.records import Language
from pipelines.settings import Settings

if TYPE_CHECKING:
    from pipelines.models import cached, embedder, hardware, local, remote_embedder, teacher
    from pipelines.privacy import mask
else:
    cached = lazy_import("pipelines.models.cached", extra="train")
    embedder = lazy_import("pipelines.models.embedder", extra="train")
    hardware = lazy_import("pipelines.models.hardware", extra="train")
    local = lazy_import("pipelines.models.local", extra="train")
    remote_embedder = lazy_import("pipelines.models.remote_embedder", extra="teacher")
    teacher = lazy_import("pipelines.models.teacher", extra="teacher")
    mask = lazy_import("pipelines.privacy.mask", extra="data")

# What makes placeholders of personal data unguessable; beside the ledger, and never sent anywhere.
SALT = "privacy.salt"


class Models:
    """The models of one process."""

    def __init__(self, settings: Settings, *, calls: Path) -> None:
        self._settings = settings
        self._calls = calls
        self._ledger: Ledger | None = None
        self._engines: dict[tuple[str, Path | None], Engine] = {}
        self._embedders: dict[str, embedder.Embedder] = {}
        self._teacher: teacher.Teacher | None = None
        self._masker: mask.Masker | None = None

    @property
    def ledger(self) -> Ledger:
        """The answers that models gave in this workspace."""
        if self._ledger is None:
            self._ledger = Ledger(self._calls)
        return self._ledger

    def base_folder(self, base_model: str) -> Path:
        """Return the Hugging Face folder of a chat model."""
        return find_model(base_model, kind="chat", models_folder=self._settings.models_folder)

    def open_engine(self, base_model: str, *, adapter: Path | None = None) -> Engine:
        """Return the base model, or the student that `adapter` makes of it."""
        key = (base_model, adapter)
        if key not in self._engines:
            self._prepare()
            opened = local.open_engine(self.base_folder(base_model), name=base_model, adapter=adapter)
            self._engines[key] = cached.CachedEngine(opened, self.ledger)
        return self._engines[key]

    def open_embedder(self, name: str = "") -> embedder.Embedder:
        """Return the model that makes vectors of texts.

        Args:
            name: As in the setting `embedder_model`, which holds where it is empty.
        """
        name = name or self._settings.embedder_model or DEFAULT_EMBEDDER
        if name not in self._embedders:
            self._embedders[name] = self._opened_embedder(name)
        return self._embedders[name]

    def embedder_of(self, language: Language) -> embedder.Embedder | None:
        """Return the packaged model that knows a language, whose tokens have vectors.

        None: it is one that nothing fails without, and it is not installed.
        """
        model = next(model for model in CATALOG if model.kind == "embedding" and language in model.languages)
        if model.is_optional and packaged_files(model) is None:
            return None
        return self.open_embedder(model.name)

    def _opened_embedder(self, name: str) -> embedder.Embedder:
        endpoint = self._settings.embedder()
        if endpoint is not None and name == endpoint.model:
            return remote_embedder.RemoteEmbedder(
                endpoint, timeout_s=self._settings.teacher_timeout_s, retries=self._settings.teacher_retries
            )
        self._prepare()
        models_folder = self._settings.models_folder
        folder = find_model(name, kind="embedding", models_folder=models_folder)
        short = name if name in EMBEDDERS else folder.name
        return embedder.LocalEmbedder(folder, name=short, remembered=models_folder / "hashes.json")

    def open_teacher(self) -> teacher.Teacher | None:
        """Return the remote teacher; None where the embedded one is to be used."""
        endpoint = self._settings.teacher()
        if endpoint is None:
            return None
        if self._teacher is None:
            self._teacher = teacher.Teacher(
                endpoint,
                self.ledger,
                masker=self.masker,
                concurrency=self._settings.teacher_concurrency,
                timeout_s=self._settings.teacher_timeout_s,
                retries=self._settings.teacher_retries,
                patience_s=self._settings.teacher_patience_s,
                requests_per_minute=self._settings.teacher_requests_per_minute,
                tokens_per_minute=self._settings.teacher_tokens_per_minute,
            )
        return self._teacher

    @property
    def masker(self) -> mask.Masker:
        """What hides personal data in this workspace, always in the same way."""
        if self._masker is None:
            self._masker = mask.Masker(mask.load_salt(self._calls.with_name(SALT)))
        return self._masker

    def forget_engines(self) -> None:
        """Free the memory of the chat models, for training."""
        self._engines.clear()

    def _prepare(self) -> None:
        hardware.prepare_torch(threads=self._settings.threads)
