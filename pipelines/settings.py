"""What is true of this machine: endpoints, keys and folders.

Order: `ASSISTANT_*` variables, then the workspace's `assistant.toml`, then the default on
the field. What to *do* is never a setting; it is the `Params` of an operation.
"""

from __future__ import annotations

import os
import re
import tomllib
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

from pydantic import Field, SecretStr, ValidationError
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from pipelines.errors import SettingsError
from pipelines.records import Record

PREFIX = "ASSISTANT_"
SETTINGS_FILE = "assistant.toml"
_LOCAL = ("127.0.0.1", "localhost", "::1")
_OTHER_VARIABLES = {"ASSISTANT_TRACEBACK"}  # shows where an unexpected error came from


def data_home() -> Path:
    """Return the folder for what all workspaces share, after the XDG base directory rules."""
    base = os.environ.get("XDG_DATA_HOME") or str(Path.home() / ".local" / "share")
    return Path(base) / "assistant"


class Endpoint(Record):
    """One OpenAI-compatible endpoint, with the key that was given for it."""

    url: str
    model: str
    key: SecretStr = SecretStr("")
    input_price: float | None = None
    output_price: float | None = None


class Settings(BaseSettings):
    """Settings of the machine and the workspace."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, extra="forbid", env_ignore_empty=True)

    teacher_url: str = Field("", description="Base URL of the teacher's OpenAI-compatible endpoint, ending in /v1.")
    teacher_model: str = Field("", description="Name of the teacher at that endpoint.")
    teacher_key: SecretStr = Field(
        SecretStr(""), description="Key for the teacher's endpoint; only as a variable, next to its URL."
    )
    teacher_input_price: float | None = Field(None, ge=0, description="US dollars per million tokens sent.")
    teacher_output_price: float | None = Field(None, ge=0, description="US dollars per million tokens received.")
    teacher_concurrency: int = Field(
        64, ge=1, le=1024, description="Most calls under way at once; how many serve best is found out."
    )
    teacher_requests_per_minute: float | None = Field(None, gt=0, description="Calls a minute that are never passed.")
    teacher_tokens_per_minute: float | None = Field(None, gt=0, description="Tokens a minute, likewise.")
    teacher_timeout_s: float = Field(600.0, gt=0, description="Longest wait for one answer.")
    teacher_retries: int = Field(
        4, ge=0, le=20, description="Attempts after the first, while the endpoint has never answered."
    )
    teacher_patience_s: float = Field(
        1800.0, gt=0, description="Longest time without any answer, from an endpoint that has answered before."
    )
    agent_url: str = Field("", description="Base URL of the agent's endpoint; the teacher's if empty.")
    agent_model: str = Field("", description="Name of the agent's model; the teacher's if empty.")
    agent_key: SecretStr = Field(
        SecretStr(""), description="Key for the agent's endpoint; only as a variable, next to its URL."
    )
    embedder_model: str = Field(
        "",
        description="Model that makes vectors of texts: a name of models list, the path of a sentence-transformers "
        "folder, or, with embedder_url, its name there; the embedded English one if empty.",
    )
    embedder_url: str = Field(
        "", description="Base URL of an OpenAI-compatible endpoint that is to make the vectors, ending in /v1."
    )
    embedder_key: SecretStr = Field(
        SecretStr(""), description="Key for the embedder's endpoint; only as a variable, next to its URL."
    )
    models_folder: Path = Field(
        default_factory=lambda: data_home() / "models", description="Where converted models are kept."
    )
    threads: int = Field(0, ge=0, description="Threads for the local models; 0 takes all cores.")
    chroma_url: str = Field(
        "", description="Chroma server for the vectors, as http or https URL; they stay in the workspace if empty."
    )
    mlflow_url: str = Field(
        "", description="MLflow that training reports to, as http, https or file URL; nothing is sent if empty."
    )
    interface_language: Literal["auto", "en", "zh"] = Field("auto", description="Language of the terminal.")

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Let variables win over the file, which arrives as keyword arguments."""
        return env_settings, init_settings

    def teacher(self) -> Endpoint | None:
        """Return the remote teacher, or None where the embedded one is to be used."""
        if not self.teacher_url:
            return None
        return _endpoint(
            "teacher",
            self.teacher_url,
            self.teacher_model,
            self.teacher_key,
            prices=(self.teacher_input_price, self.teacher_output_price),
        )

    def agent(self) -> Endpoint | None:
        """Return the endpoint of the agent, or None where there is none."""
        if self.agent_url:
            return _endpoint("agent", self.agent_url, self.agent_model, self.agent_key)
        teacher = self.teacher()
        if teacher is None or not self.agent_model:
            return teacher
        return teacher.model_copy(update={"model": self.agent_model})

    def embedder(self) -> Endpoint | None:
        """Return the endpoint that makes vectors, or None where a local model does."""
        if not self.embedder_url:
            return None
        return _endpoint("embedder", self.embedder_url, self.embedder_model, self.embedder_key)


def is_local(endpoint: Endpoint) -> bool:
    """Whether an endpoint is on this machine."""
    return urlsplit(endpoint.url).hostname in _LOCAL


def load_settings(folder: Path) -> Settings:
    """Read the settings for the workspace in `folder`.

    Raises:
        SettingsError: The file or a variable is malformed, unknown or out of range.
    """
    path = folder / SETTINGS_FILE
    values: dict[str, object] = {}
    if path.is_file():
        try:
            values = tomllib.loads(path.read_text(encoding="utf-8"))
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise SettingsError(f"{path} is not valid TOML: {error}") from error
    values.pop("workspace_version", None)
    for secret in ("teacher_key", "agent_key", "embedder_key"):
        if secret in values:
            raise SettingsError(
                f"{path} holds {secret}; a file that gets shared is no place for a key",
                hint=f"Remove it and set {PREFIX}{secret.upper()} instead.",
            )
    if unknown := sorted(values.keys() - Settings.model_fields.keys()):
        raise SettingsError(f"{path} holds {unknown[0]!r}, which is no setting", hint="Correct or remove it.")
    variables = {name for name in os.environ if name.startswith(PREFIX)} - _OTHER_VARIABLES
    if unknown := sorted(variables - {PREFIX + name.upper() for name in Settings.model_fields}):
        raise SettingsError(f"{unknown[0]} is set, but is no setting", hint="Correct its name, or unset it.")
    try:
        return Settings(**values)  # type: ignore[arg-type]
    except ValidationError as error:
        problem = error.errors()[0]
        name = ".".join(map(str, problem["loc"]))
        raise SettingsError(
            f"setting {name!r}: {problem['msg']}", hint=f"Correct it in {path} or in {PREFIX}{name.upper()}."
        ) from error


def _endpoint(
    role: str,
    url: str,
    model: str,
    key: SecretStr,
    *,
    prices: tuple[float | None, float | None] = (None, None),
) -> Endpoint:
    variable = f"{PREFIX}{role.upper()}_URL"
    key = SecretStr(key.get_secret_value().strip())
    if not re.fullmatch(r"[!-~]*", key.get_secret_value()):
        raise SettingsError(
            f"the key of the {role} holds characters that no key has",
            hint=f"Copy it again into {PREFIX}{role.upper()}_KEY.",
        )
    try:
        urlsplit(url).port  # noqa: B018
    except ValueError as error:
        raise SettingsError(f"{role}_url {url!r} is no address: {error}", hint=f"Set {variable}.") from error
    if not url.startswith(("http://", "https://")):
        raise SettingsError(f"{role}_url must start with http:// or https://, got {url!r}", hint=f"Set {variable}.")
    if not model:
        raise SettingsError(f"{role}_url is set, but {role}_model is not", hint=f"Set {PREFIX}{role.upper()}_MODEL.")
    # A key belongs to the address beside it. An address from a shared file must not be
    # able to collect the key that somebody exported for another one.
    if key.get_secret_value() and os.environ.get(variable, "") != url:
        raise SettingsError(
            f"{PREFIX}{role.upper()}_KEY is set, but its URL comes from {SETTINGS_FILE}",
            hint=f"Set {variable} next to the key, so that it is clear where the key may be sent.",
        )
    return Endpoint(url=url.rstrip("/"), model=model, key=key, input_price=prices[0], output_price=prices[1])
