"""MLflow by its address: a run's parameters, its measures, and its page as artifact.

Everything is sent by a thread of its own, in batches: the training only leaves its values
here. What cannot be sent is kept, up to a limit, and tried again with the next batch.
"""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from pipelines.errors import SettingsError
from pipelines.lazy import lazy_import, require_installed
from pipelines.workspace import write_json

if TYPE_CHECKING:
    from mlflow import entities, tracking

    from pipelines.training.tracking.boards import State
else:
    entities = lazy_import("mlflow.entities", extra="mlflow")
    tracking = lazy_import("mlflow.tracking", extra="mlflow")

RUN = "mlflow.json"
EXPERIMENT = "assistant"
_SCHEMES = ("http", "https", "file")
_UPLOADS = ("mlflow-artifacts", "http", "https")  # a server must not make us write to other places
_SEND_SECONDS = 5.0
_CLOSE_SECONDS = 30.0
_MOST_WAITING = 100_000
_BATCH = 1_000  # the most that MLflow takes at once
_LONGEST_PARAM = 500
_LONGEST_WARNING = 300
# A server that does not answer is given up quickly; the next batch tries again.
_PATIENCE = {
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "5",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
    "MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR": "1",
    "MLFLOW_HTTP_RESPECT_RETRY_AFTER_HEADER": "false",
    "MLFLOW_ALLOW_FILE_STORE": "true",
    "GIT_PYTHON_REFRESH": "quiet",
}
_CREDENTIALS = ("MLFLOW_TRACKING_USERNAME", "MLFLOW_TRACKING_PASSWORD", "MLFLOW_TRACKING_TOKEN")
_ADDRESSES = ("MLFLOW_TRACKING_URI", "ASSISTANT_MLFLOW_URL")


class MlflowBoard:
    """One run of MLflow; a resumed training goes on with the run that it had."""

    def __init__(self, folder: Path, *, url: str, params: Mapping[str, object], resumed_from_step: int) -> None:
        """Start sending.

        Raises:
            SettingsError: The URL is not one of MLflow's, or the library is not installed.
        """
        _check(url)
        require_installed("mlflow", extra="mlflow")
        _prepare_environment(url)
        self._folder = folder
        self._url = url
        self._params = {name: str(value)[:_LONGEST_PARAM] for name, value in params.items() if value is not None}
        self._known_run = _read_run(folder, url) if resumed_from_step else ""
        self._waiting: list[tuple[str, float, int, int]] = []  # name, value, milliseconds, step
        self._lock = threading.Lock()
        self._run = ""
        self._sent_to = 0
        self._warning = ""
        self._has_warned = False
        self._state: State = "stopped"
        self._files: tuple[Path, ...] = ()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._work, name="mlflow", daemon=True)
        self._thread.start()

    def log(self, step: int, values: Mapping[str, float]) -> str:
        """Leave the values of a step to be sent."""
        now = int(time.time() * 1000)
        with self._lock:
            if len(self._waiting) < _MOST_WAITING:
                self._waiting.extend((name, value, now, step) for name, value in values.items())
        return self._take_warning()

    def close(self, state: State, files: tuple[Path, ...]) -> str:
        """Send what is left, for a limited time."""
        self._state, self._files = state, files
        self._stop.set()
        self._thread.join(_CLOSE_SECONDS)
        if self._thread.is_alive():
            return "it takes too long, so the end of the run was not sent"
        return self._take_warning()

    def _take_warning(self) -> str:
        if not self._warning or self._has_warned:
            return ""
        self._has_warned = True
        return self._warning

    def _work(self) -> None:
        is_last = False
        while not is_last:
            is_last = self._stop.is_set()
            try:
                client = self._open()
                self._send(client)
                if is_last:
                    self._end(client)
            except Exception as error:  # noqa: BLE001 - whatever a server answers, the training goes on
                self._warning = f"{urlsplit(self._url).hostname or self._url}: {error}"[:_LONGEST_WARNING]
                if getattr(error, "error_code", "") == "RESOURCE_DOES_NOT_EXIST":
                    self._known_run = ""  # somebody removed it
            if not is_last:
                self._stop.wait(_SEND_SECONDS)

    def _open(self) -> tracking.MlflowClient:
        """Return the client; the first time, with a run to write to."""
        client = tracking.MlflowClient(tracking_uri=self._url)
        if self._run:
            return client
        if self._known_run:
            history = client.get_metric_history(self._known_run, "loss")
            self._sent_to = max((each.step for each in history), default=0)
            client.update_run(self._known_run, status="RUNNING")
            self._run = self._known_run
            return client
        experiment = client.get_experiment_by_name(EXPERIMENT)
        number = client.create_experiment(EXPERIMENT) if experiment is None else experiment.experiment_id
        run = client.create_run(number, run_name=self._folder.name).info.run_id
        client.log_batch(run, params=[entities.Param(name, value) for name, value in self._params.items()])
        write_json(self._folder / RUN, {"url": self._url, "run": run})
        self._run = run
        return client

    def _send(self, client: tracking.MlflowClient) -> None:
        """Send what waits; a batch leaves the queue when it has arrived."""
        while batch := self._waiting[:_BATCH]:
            fresh = [entities.Metric(*point) for point in batch if point[3] > self._sent_to]
            if fresh:
                client.log_batch(self._run, metrics=fresh)
            with self._lock:
                del self._waiting[: len(batch)]

    def _end(self, client: tracking.MlflowClient) -> None:
        client.set_terminated(self._run, status="FINISHED" if self._state == "finished" else "KILLED")
        place = urlsplit(client.get_run(self._run).info.artifact_uri).scheme
        if self._files and (place in _UPLOADS or urlsplit(self._url).scheme == "file"):
            for path in self._files:
                client.log_artifact(self._run, str(path))


def _check(url: str) -> None:
    if urlsplit(url).scheme not in _SCHEMES or (urlsplit(url).scheme != "file" and not urlsplit(url).netloc):
        raise SettingsError(
            f"mlflow_url must begin with http://, https:// or file://, got {url!r}", hint="Set ASSISTANT_MLFLOW_URL."
        )


def _prepare_environment(url: str) -> None:
    """Set the library's patience, and drop credentials that were not given for this address."""
    for name, value in _PATIENCE.items():
        os.environ.setdefault(name, value)
    if url not in [os.environ.get(name) for name in _ADDRESSES]:
        for name in _CREDENTIALS:
            os.environ.pop(name, None)


def _read_run(folder: Path, url: str) -> str:
    """Return the run that an earlier process reported to; empty if there is none at this address."""
    try:
        stored = json.loads((folder / RUN).read_text(encoding="utf-8"))
        return str(stored["run"]) if stored["url"] == url else ""
    except (OSError, ValueError, KeyError, TypeError):
        return ""
