"""Settings: where they come from, which wins, and what is refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipelines.errors import SettingsError
from pipelines.models.provider import Models
from pipelines.settings import SETTINGS_FILE, Endpoint, Settings, data_home, is_local, load_settings

URL = "https://models.example/v1"


def write(folder: Path, toml: str) -> Path:
    """Write a settings file; return its folder."""
    (folder / SETTINGS_FILE).write_text(toml, encoding="utf-8")
    return folder


@pytest.mark.parametrize(
    ("variable", "toml", "expected"),
    [
        ("3", "threads = 2", 3),
        (None, "threads = 2", 2),
        (None, "", 0),
        ("3", "", 3),
        ("", "threads = 2", 2),
    ],
)
def test_a_variable_wins_over_the_file_and_the_file_over_the_default(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, variable: str | None, toml: str, expected: int
) -> None:
    """The order is variable, file, default; an empty variable is none."""
    if variable is not None:
        monkeypatch.setenv("ASSISTANT_THREADS", variable)
    assert load_settings(write(tmp_path, toml)).threads == expected


def test_without_a_file_the_defaults_hold(tmp_path: Path) -> None:
    """A folder that is no workspace has settings all the same."""
    assert load_settings(tmp_path) == Settings()
    assert load_settings(tmp_path).teacher() is None
    assert load_settings(tmp_path).agent() is None


def test_other_programs_variables_are_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only variables with our prefix count."""
    monkeypatch.setenv("THREADS", "9")
    monkeypatch.setenv("TEACHER_URL", URL)
    assert load_settings(tmp_path) == Settings()


@pytest.mark.parametrize(
    ("toml", "problem"),
    [
        ("thread = 2", "'thread', which is no setting"),
        ("[teacher]\nurl = 'x'", "'teacher', which is no setting"),
        ("threads = 'many'", "'threads': Input should be a valid integer"),
        ("threads = -1", "'threads': Input should be greater than or equal to 0"),
        ("teacher_timeout_s = 0", "'teacher_timeout_s': Input should be greater than 0"),
        ("teacher_concurrency = 0", "'teacher_concurrency'"),
        ("teacher_concurrency = 1025", "'teacher_concurrency'"),
        ("teacher_retries = -1", "'teacher_retries'"),
        ("teacher_patience_s = 0", "'teacher_patience_s': Input should be greater than 0"),
        ("teacher_requests_per_minute = 0", "'teacher_requests_per_minute': Input should be greater than 0"),
        ("teacher_tokens_per_minute = -1", "'teacher_tokens_per_minute': Input should be greater than 0"),
        ("teacher_input_price = -1", "'teacher_input_price'"),
        ("interface_language = 'fr'", "'interface_language': Input should be 'auto', 'en' or 'zh'"),
        ("threads = ", "is not valid TOML"),
        ("threads: 2", "is not valid TOML"),
        ("threads = 1\nthreads = 2", "is not valid TOML"),
    ],
)
def test_a_wrong_file_is_refused(tmp_path: Path, toml: str, problem: str) -> None:
    """An unknown, mistyped or unreadable setting is named with its file."""
    with pytest.raises(SettingsError, match=problem) as caught:
        load_settings(write(tmp_path, toml))
    assert str(tmp_path / SETTINGS_FILE) in f"{caught.value} {caught.value.hint}"


@pytest.mark.parametrize("content", [b"threads = 2 # \xe9", b"\xff\xfet\x00"])
def test_a_file_that_is_not_utf8_is_refused(tmp_path: Path, content: bytes) -> None:
    """TOML is UTF-8."""
    (tmp_path / SETTINGS_FILE).write_bytes(content)
    with pytest.raises(SettingsError, match="is not valid TOML"):
        load_settings(tmp_path)


@pytest.mark.parametrize("toml", ['_env_prefix = "OTHER_"', '_env_file = "/etc/passwd"', "_cli_parse_args = true"])
def test_a_file_cannot_steer_where_settings_come_from(tmp_path: Path, toml: str) -> None:
    """The options of the library behind the settings are no settings of ours."""
    with pytest.raises(SettingsError, match=toml.partition(" ")[0]):
        load_settings(write(tmp_path, toml))


@pytest.mark.parametrize(
    ("name", "value"),
    [("ASSISTANT_THREADS", "many"), ("ASSISTANT_THREADS", "-1"), ("ASSISTANT_INTERFACE_LANGUAGE", "fr")],
)
def test_a_wrong_variable_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    """A value out of range is refused, and the hint names the variable."""
    monkeypatch.setenv(name, value)
    with pytest.raises(SettingsError) as caught:
        load_settings(tmp_path)
    assert name in caught.value.hint


def test_an_unknown_variable_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A misspelt variable is told, so that nobody's documents go to the wrong teacher unnoticed."""
    monkeypatch.setenv("ASSISTANT_TECHER_URL", URL)
    with pytest.raises(SettingsError, match=r"(?i)techer_url"):
        load_settings(tmp_path)


@pytest.mark.parametrize("key", ["teacher_key", "agent_key"])
def test_a_key_in_the_file_is_refused(tmp_path: Path, key: str) -> None:
    """A file that gets shared holds no key; the message does not repeat it."""
    with pytest.raises(SettingsError, match=key) as caught:
        load_settings(write(tmp_path, f'{key} = "sk-secret"'))
    assert "sk-secret" not in f"{caught.value} {caught.value.hint}"
    assert f"ASSISTANT_{key.upper()}" in caught.value.hint


def test_keys_are_not_printed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A key never gets into a log by way of the settings."""
    monkeypatch.setenv("ASSISTANT_TEACHER_KEY", "sk-secret")
    settings = load_settings(tmp_path)
    assert settings.teacher_key.get_secret_value() == "sk-secret"
    assert "sk-secret" not in f"{settings!r} {settings.model_dump_json()}"


def test_an_endpoint_is_made_of_its_settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Address, model, key and prices of the teacher come together."""
    monkeypatch.setenv("ASSISTANT_TEACHER_URL", f"{URL}/")
    monkeypatch.setenv("ASSISTANT_TEACHER_KEY", "sk-secret")
    toml = 'teacher_model = "large"\nteacher_input_price = 2\nteacher_output_price = 10\n'
    endpoint = load_settings(write(tmp_path, toml)).teacher()
    assert endpoint is not None
    assert (endpoint.url, endpoint.model, endpoint.key.get_secret_value()) == (URL, "large", "sk-secret")
    assert (endpoint.input_price, endpoint.output_price) == (2.0, 10.0)


@pytest.mark.parametrize(
    ("toml", "prices"),
    [("", (None, None)), ("teacher_input_price = 2\n", (2.0, None)), ("teacher_output_price = 0\n", (None, 0.0))],
)
def test_a_price_is_what_was_set(tmp_path: Path, toml: str, prices: tuple[float | None, float | None]) -> None:
    """A price that was not set is not nothing."""
    endpoint = load_settings(write(tmp_path, f'teacher_url = "{URL}"\nteacher_model = "m"\n{toml}')).teacher()
    assert endpoint is not None
    assert (endpoint.input_price, endpoint.output_price) == prices


def test_the_pace_of_the_teacher_is_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the teacher's endpoint bears reaches its client, from the file and from variables."""
    toml = (
        'teacher_url = "http://127.0.0.1:9/v1"\nteacher_model = "m"\nteacher_concurrency = 7\n'
        "teacher_patience_s = 2.5\nteacher_retries = 0\nteacher_timeout_s = 3\nteacher_tokens_per_minute = 9e4\n"
    )
    monkeypatch.setenv("ASSISTANT_TEACHER_REQUESTS_PER_MINUTE", "60")
    teacher = Models(load_settings(write(tmp_path, toml)), calls=tmp_path / "calls.sqlite").open_teacher()
    assert teacher is not None
    assert (teacher.concurrency, teacher.patience_s, teacher.retries, teacher.timeout_s) == (7, 2.5, 0, 3.0)
    assert (teacher.requests_per_minute, teacher.tokens_per_minute) == (60.0, 90_000.0)
    assert teacher.masker is not None


def test_without_rates_there_are_none(tmp_path: Path) -> None:
    """A limit that nobody set is found out, and not assumed."""
    settings = load_settings(tmp_path)
    assert (settings.teacher_requests_per_minute, settings.teacher_tokens_per_minute) == (None, None)
    assert settings.teacher_concurrency >= 64


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("http://127.0.0.1:8000/v1", True),
        ("http://localhost/v1", True),
        ("http://LOCALHOST:1/v1", True),
        ("http://[::1]:8000/v1", True),
        ("https://models.example/v1", False),
        ("http://localhost.example/v1", False),
        ("http://127.0.0.1.example/v1", False),
        ("http://127.0.0.1@models.example/v1", False),
        ("http://192.168.0.2/v1", False),
    ],
)
def test_what_is_on_this_machine(url: str, expected: bool) -> None:
    """Only an address of this machine itself is local, whatever it looks like."""
    assert is_local(Endpoint(url=url, model="m")) is expected


@pytest.mark.parametrize(
    ("toml", "problem"),
    [
        ('teacher_url = "models.example/v1"\nteacher_model = "m"', "must start with http"),
        ('teacher_url = "file:///etc/passwd"\nteacher_model = "m"', "must start with http"),
        (f'teacher_url = "{URL}"', "teacher_model is not"),
    ],
)
def test_half_an_endpoint_is_refused(tmp_path: Path, toml: str, problem: str) -> None:
    """An endpoint needs an address that can be called, and a model."""
    settings = load_settings(write(tmp_path, toml))
    with pytest.raises(SettingsError, match=problem) as caught:
        settings.teacher()
    assert "ASSISTANT_TEACHER_" in caught.value.hint


@pytest.mark.parametrize("role", ["teacher", "agent"])
def test_a_key_is_not_sent_to_an_address_from_a_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, role: str
) -> None:
    """A workspace that somebody shared cannot collect the key of whoever opens it."""
    monkeypatch.setenv(f"ASSISTANT_{role.upper()}_KEY", "sk-secret")
    settings = load_settings(write(tmp_path, f'{role}_url = "https://evil.example/v1"\n{role}_model = "m"\n'))
    with pytest.raises(SettingsError, match="its URL comes from") as caught:
        settings.teacher() if role == "teacher" else settings.agent()
    assert f"ASSISTANT_{role.upper()}_URL" in caught.value.hint


@pytest.mark.parametrize(
    ("toml", "expected"),
    [
        ("", ("https://models.example/v1", "large")),
        ('agent_model = "small"', ("https://models.example/v1", "small")),
        ('agent_url = "http://localhost:8000/v1"\nagent_model = "local"', ("http://localhost:8000/v1", "local")),
    ],
)
def test_the_agent_uses_the_teacher_unless_it_has_its_own(tmp_path: Path, toml: str, expected: tuple[str, str]) -> None:
    """What is not said of the agent's endpoint is the teacher's."""
    written = write(tmp_path, f'teacher_url = "{URL}"\nteacher_model = "large"\n{toml}\n')
    endpoint = load_settings(written).agent()
    assert endpoint is not None
    assert (endpoint.url, endpoint.model) == expected


def test_converted_models_are_kept_for_all_workspaces(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """They lie where the XDG rules say; without them, below the home folder."""
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    assert load_settings(tmp_path).models_folder == tmp_path / "data" / "assistant" / "models"
    monkeypatch.delenv("XDG_DATA_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert data_home() == tmp_path / ".local" / "share" / "assistant"


def test_every_setting_is_described() -> None:
    """The descriptions are what the documentation is made of."""
    assert not [name for name, field in Settings.model_fields.items() if not field.description]
