"""The ledger: what is stored stays, files of earlier versions open, and usage adds up."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.errors import DataError
from pipelines.models.ledger import Call, Ledger, Usage, call_key

OLD_SCHEMA = """
CREATE TABLE calls (
    key TEXT PRIMARY KEY,
    model TEXT NOT NULL,
    response TEXT NOT NULL,
    tokens_in INTEGER NOT NULL,
    tokens_out INTEGER NOT NULL,
    created TEXT NOT NULL DEFAULT CURRENT_TIMESTAMP
)
"""


def call(key: str, **more: object) -> Call:
    """Return an answer."""
    values = {"model": "m", "response": "words", "tokens_in": 10, "tokens_out": 2, **more}
    return Call(key=key, **values)  # type: ignore[arg-type]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where the ledger of a test is."""
    return tmp_path / "calls.sqlite"


@pytest.fixture
def ledger(path: Path) -> Iterator[Ledger]:
    """An empty ledger."""
    opened = Ledger(path)
    yield opened
    opened.close()


def set_day(path: Path, key: str, day: str) -> None:
    """Date a call back."""
    with sqlite3.connect(path) as connection:
        connection.execute("UPDATE calls SET created = ? WHERE key = ?", (f"{day} 12:00:00", key))
    connection.close()


# ---- storing and finding


def test_every_field_comes_back(ledger: Ledger) -> None:
    """What is stored is found as it was."""
    stored = call("k", finish="length", request='{"a": "蜂"}', dataset="bees", cost_usd=0.25, seconds=1.5)
    ledger.store([stored])
    assert ledger.find(["k"]) == {"k": stored}


def test_what_is_not_there_is_not_found(ledger: Ledger) -> None:
    """Unknown keys are left out."""
    ledger.store([call("a")])
    assert ledger.find([]) == {}
    assert set(ledger.find(["a", "b"])) == {"a"}


def test_many_keys_are_found_at_once(ledger: Ledger) -> None:
    """More keys than one statement can hold are no problem."""
    ledger.store(call(str(number)) for number in range(0, 12_000, 100))
    assert len(ledger.find([str(number) for number in range(40_000)])) == 120


def test_the_first_answer_stays(ledger: Ledger) -> None:
    """A second answer to the same call changes nothing."""
    ledger.store([call("k", response="first")])
    ledger.store([call("k", response="second"), call("other")])
    assert ledger.find(["k"])["k"].response == "first"
    assert set(ledger.find(["k", "other"])) == {"k", "other"}


def test_another_process_sees_what_was_stored(ledger: Ledger, path: Path) -> None:
    """What `store` has returned from is in the file."""
    ledger.store([call("k")])
    other = Ledger(path)
    assert set(other.find(["k"])) == {"k"}
    other.close()


def test_threads_may_share_it(ledger: Ledger) -> None:
    """Stores of many threads are all kept."""

    def store(start: int) -> None:
        for number in range(start, start + 50):
            ledger.store([call(str(number))])
            assert ledger.find([str(number)])

    threads = [threading.Thread(target=store, args=(start,)) for start in range(0, 400, 50)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(ledger.find([str(number) for number in range(400)])) == 400


# ---- keys


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("ab"), inner, max_size=3),
    max_leaves=6,
)


@given(JSON, JSON)
def test_keys_tell_requests_apart(one: object, other: object) -> None:
    """Two calls have one key just where model and request are the same, in whatever order their fields are."""
    assert (call_key("m", one) == call_key("m", other)) == (repr(_sorted(one)) == repr(_sorted(other)))
    assert call_key("m", one) != call_key("n", one)


def _sorted(value: object) -> object:
    if isinstance(value, dict):
        return {name: _sorted(value[name]) for name in sorted(value)}
    return [_sorted(inner) for inner in value] if isinstance(value, list) else value


# ---- files of earlier versions


def write_old(path: Path) -> None:
    """Make a ledger as the first version made it, with one answer."""
    with sqlite3.connect(path) as connection:
        connection.execute(OLD_SCHEMA)
        connection.execute(
            "INSERT INTO calls (key, model, response, tokens_in, tokens_out) VALUES ('old', 'm', 'kept', 7, 3)"
        )
    connection.close()


def test_an_old_ledger_is_opened_and_goes_on(path: Path) -> None:
    """What was paid for with an earlier version is found; new answers are stored beside it."""
    write_old(path)
    ledger = Ledger(path)
    assert ledger.find(["old"])["old"] == Call(key="old", model="m", response="kept", tokens_in=7, tokens_out=3)
    ledger.store([call("new", dataset="bees", cost_usd=0.5)])
    ledger.close()
    again = Ledger(path)
    assert again.find(["new"])["new"].dataset == "bees"
    assert [(usage.dataset, usage.calls, usage.unpriced) for usage in again.usage()] == [("", 1, 1), ("bees", 1, 0)]
    again.close()


def test_an_old_ledger_may_be_opened_by_many_at_once(path: Path) -> None:
    """Whoever comes first brings it up to date; the others wait."""
    write_old(path)
    opened: list[Ledger] = []
    together = threading.Barrier(6)

    def open_ledger() -> None:
        together.wait()
        opened.append(Ledger(path))

    threads = [threading.Thread(target=open_ledger) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [set(ledger.find(["old"])) for ledger in opened] == [{"old"}] * 6
    for ledger in opened:
        ledger.close()


def test_an_old_ledger_that_another_process_is_changing_is_waited_for(path: Path) -> None:
    """Who opens it in the middle of that sees it as it is afterwards."""
    write_old(path)
    with sqlite3.connect(path) as other:
        other.execute("PRAGMA journal_mode=WAL")
        other.execute("BEGIN IMMEDIATE")
        other.execute("ALTER TABLE calls ADD COLUMN finish TEXT NOT NULL DEFAULT 'stop'")
        opened: list[Ledger] = []
        opening = threading.Thread(target=lambda: opened.append(Ledger(path)))
        opening.start()
        opening.join(0.3)
        assert not opened
    opening.join()
    other.close()
    assert [set(ledger.find(["old"])) for ledger in opened] == [{"old"}]
    opened[0].close()


# ---- usage


def test_usage_is_told_by_day_dataset_and_model(ledger: Ledger, path: Path) -> None:
    """Calls, tokens and money are added up for each, newest day first; unknown prices are counted."""
    ledger.store(
        [
            call("a", dataset="bees", cost_usd=0.25),
            call("b", dataset="bees", cost_usd=0.5),
            call("c", dataset="bees", model="n"),
            call("d", dataset="wasps", cost_usd=1.0),
            call("e", dataset="bees", cost_usd=2.0),
        ]
    )
    for key in "abcd":
        set_day(path, key, "2026-01-02")
    set_day(path, "e", "2026-01-03")

    def used(day: str, dataset: str, model: str, calls: int, cost_usd: float, unpriced: int) -> Usage:
        return Usage(
            day=day,
            dataset=dataset,
            model=model,
            calls=calls,
            tokens_in=10 * calls,
            tokens_out=2 * calls,
            cost_usd=cost_usd,
            unpriced=unpriced,
        )

    assert ledger.usage() == [
        used("2026-01-03", "bees", "m", 1, 2.0, 0),
        used("2026-01-02", "bees", "m", 2, 0.75, 0),
        used("2026-01-02", "bees", "n", 1, 0.0, 1),
        used("2026-01-02", "wasps", "m", 1, 1.0, 0),
    ]


def test_an_empty_ledger_has_no_usage(ledger: Ledger) -> None:
    """Nothing was used."""
    assert ledger.usage() == []


# ---- what goes wrong


def test_a_full_disk_is_told_and_nothing_before_is_lost(ledger: Ledger) -> None:
    """An answer that cannot be stored is an error that says so, and what was stored is found."""
    ledger.store([call("before")])
    [pages] = ledger._connection.execute("PRAGMA page_count").fetchone()
    ledger._connection.execute(f"PRAGMA max_page_count = {pages}")
    with pytest.raises(DataError, match=r"cannot be stored.*full") as caught:
        ledger.store([call("after", response="x" * 100_000)])
    assert "disk space" in caught.value.hint
    assert set(ledger.find(["before", "after"])) == {"before"}
    ledger._connection.execute(f"PRAGMA max_page_count = {pages + 1_000}")
    ledger.store([call("after", response="x" * 100_000)])
    assert set(ledger.find(["before", "after"])) == {"before", "after"}


@pytest.mark.parametrize("content", [b"not a database, but long enough" * 40, b"SQLite format 3\x00junk"])
def test_a_file_that_is_no_ledger_is_refused(path: Path, content: bytes) -> None:
    """A damaged file is named, and is not overwritten."""
    path.write_bytes(content)
    with pytest.raises(DataError, match="cannot be opened") as caught:
        Ledger(path)
    assert caught.value.path == str(path)
    assert "Move that file away" in caught.value.hint
    assert path.read_bytes() == content


def test_a_ledger_that_breaks_while_it_is_used_is_told(ledger: Ledger, path: Path) -> None:
    """Damage that comes to light later is the same kind of error."""
    ledger.store(call(str(number), response="words " * 500) for number in range(200))
    ledger._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    size = path.stat().st_size
    with path.open("r+b") as file:
        file.seek(4096)
        file.write(b"\xa5" * (size - 4096))
    ledger._connection.execute("PRAGMA shrink_memory")
    with pytest.raises(DataError, match="cannot be read"):
        ledger.find([str(number) for number in range(200)])
    with pytest.raises(DataError, match="cannot be"):
        ledger.store(call(f"new {number}") for number in range(200))
