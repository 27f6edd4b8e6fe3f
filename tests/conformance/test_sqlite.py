"""What is SQLite's own: the file, who may touch it, what the database itself refuses (rule A6), ambiguous commits."""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Event, Thread
from typing import Any, Self

import pytest
from msgspec.structs import replace

from flowledger.adapters.keys import new_key
from flowledger.adapters.sealing import seal_log
from flowledger.adapters.signing import Signer
from flowledger.adapters.stores import sqlite_append, sqlite_upgrading
from flowledger.adapters.stores.sqlite import SqliteStore
from flowledger.adapters.stores.sqlite_schema import SCHEMA_VERSION
from flowledger.events.chain import verified
from flowledger.events.errors import SchemaTooNew, SchemaTooOld, StoreError, StoreUnavailable, Tampered
from flowledger.events.store import Appended, Mail, Owner, PlanRow, Sent

from .streams import Run, everything, new_run, payload_row


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "log.db"


@pytest.fixture
def store(path: Path) -> Iterator[SqliteStore]:
    opened = SqliteStore(path)
    yield opened
    opened.close()


def sql(path: Path, statement: str, *values: object) -> list[Any]:
    """Run one statement as a stranger would: no pragma, no SQLAlchemy, no respect."""
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        return connection.execute(statement, values).fetchall()


# -- the database refuses -----------------------------------------------------------------------

COPY = "SELECT position, run_id, version, type, schema_version, path, 7, actor, payload, hash FROM events LIMIT 1"
OTHER_PLACE = "SELECT 99, run_id, version, type, schema_version, path, 7, actor, payload, hash FROM events LIMIT 1"
OTHER_VERSION = "SELECT position, run_id, 99, type, schema_version, path, 7, actor, payload, hash FROM events LIMIT 1"


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE events SET payload = x'00'",
        "UPDATE OR REPLACE events SET version = 1 WHERE version = 2",
        "DELETE FROM events",
        f"INSERT OR REPLACE INTO events {COPY}",
        f"INSERT OR REPLACE INTO events {OTHER_PLACE}",
        f"INSERT OR REPLACE INTO events {OTHER_VERSION}",
        f"REPLACE INTO events {COPY}",
        f"INSERT INTO events {COPY.replace('LIMIT 1', 'WHERE version = 1')} ON CONFLICT DO UPDATE SET payload = x'00'",
        "UPDATE payloads SET content = x'00'",
        "DELETE FROM payloads",
        "INSERT OR REPLACE INTO payloads SELECT run_id, digest, x'00' FROM payloads",
        "UPDATE plans SET document = x'00'",
        "DELETE FROM plans",
        "INSERT OR REPLACE INTO plans SELECT fingerprint, x'00' FROM plans",
        "UPDATE seals SET signature = x'00'",
        "DELETE FROM seals",
        "INSERT OR REPLACE INTO seals SELECT number, statement, x'00' FROM seals",
        "UPDATE sealed_heads SET version = 1",
        "DELETE FROM sealed_heads",
        "INSERT OR REPLACE INTO sealed_heads SELECT run_id, seal, 1, hash FROM sealed_heads",
    ],
)
def test_a6_the_database_refuses_to_change_what_is_written(store: SqliteStore, path: Path, statement: str) -> None:
    # Given
    run = new_run(store)
    content = payload_row(b"large")
    run.put(store, payloads=[content], plans=[PlanRow("f", b"plan")])
    seal_log(store, Signer(new_key("test", "ed25519")))
    before = everything(store)
    # When
    with pytest.raises(sqlite3.IntegrityError, match="append-only"):
        sql(path, statement)
    # Then
    assert everything(store) == before
    assert (store.payload(run.run_id, content.digest), store.plan("f")) == (b"large", b"plan")


def test_a8_a_change_made_behind_the_triggers_is_found(store: SqliteStore, path: Path) -> None:
    # Given somebody who may drop triggers
    run = new_run(store, count=3)
    sql(path, "DROP TRIGGER events_no_update")
    # When
    sql(path, "UPDATE events SET payload = x'7b207d' WHERE version = 2")
    # Then
    with pytest.raises(Tampered) as caught:
        list(verified(run.run_id, store.read(run.run_id)))
    assert caught.value.version == 2


def test_a_hash_that_is_none_is_refused_and_the_others_of_the_batch_are_not(store: SqliteStore) -> None:
    # Given a request that no engine would make
    first, bad, last = new_run(store), new_run(store), new_run(store)
    request = bad.next()
    broken = type(request)(
        run_id=bad.run_id, expected=1, epoch=0, status="RUNNING", events=[replace(request.events[0], hash=b"short")]
    )
    # When
    results = store.append([first.next(), broken, last.next()])
    # Then
    assert [type(result) for result in results] == [Appended, StoreError, Appended]
    assert len(store.read(bad.run_id)) == 1


def test_a_stream_row_set_back_by_hand_stops_its_run_and_no_other(store: SqliteStore, path: Path) -> None:
    # Given
    run, fine = new_run(store, count=2), new_run(store)
    sql(path, "UPDATE streams SET version = 1 WHERE run_id = ?", run.run_id)
    # When
    results = store.append([Run(run.run_id, version=1).next(), fine.next()])
    # Then
    assert isinstance(results[0], StoreError)
    assert "verify" in results[0].hint
    assert results[1] == Appended(2)


# -- the file -----------------------------------------------------------------------------------


def test_the_log_is_in_wal_mode_and_every_commit_is_synced(store: SqliteStore) -> None:
    for connection in (store._writer._connection, store._owners._pooled.driver_connection):
        assert connection is not None
        assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
        assert connection.execute("PRAGMA synchronous").fetchone() == (2,)
        assert connection.execute("PRAGMA foreign_keys").fetchone() == (1,)


def test_an_append_is_four_statements_and_one_commit(store: SqliteStore) -> None:
    # Given
    run = new_run(store)
    commits, statements = store.commits, store.statements
    # When
    run.put(store, 2)
    # Then: BEGIN, UPDATE of the stream row, INSERT of the events, COMMIT
    assert (store.commits - commits, store.statements - statements) == (1, 4)


@contextmanager
def as_nobody() -> Iterator[None]:
    """Root may write everywhere: be somebody else for a moment."""
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder that everybody may enter, unlike pytest's."""
    with TemporaryDirectory() as name:
        Path(name).chmod(0o755)
        yield Path(name)


def test_a_directory_that_cannot_be_written_is_named(open_folder: Path) -> None:
    # Given
    open_folder.chmod(0o555)
    # When
    with as_nobody(), pytest.raises(StoreUnavailable) as caught:
        SqliteStore(open_folder / "log.db")
    # Then
    assert str(open_folder / "log.db") in caught.value.message
    assert "writable" in caught.value.hint
    assert not list(open_folder.iterdir())


def open_and_append(path: Path, run: Run) -> None:
    with closing(SqliteStore(path)) as store:
        store.append([run.next()])


@pytest.mark.parametrize("folder_mode", [0o555, 0o777])
def test_a_file_that_cannot_be_written_is_named_and_stays_as_it_was(open_folder: Path, folder_mode: int) -> None:
    # Given
    path = open_folder / "log.db"
    store = SqliteStore(path)
    run = new_run(store)
    store.close()
    path.chmod(0o444)
    open_folder.chmod(folder_mode)
    before = path.read_bytes()
    # When
    with as_nobody(), pytest.raises(StoreUnavailable) as caught:
        open_and_append(path, run)
    # Then
    assert str(path) in caught.value.message
    assert caught.value.hint
    assert path.read_bytes() == before


@pytest.mark.parametrize("name", ["no/such/folder/log.db", "."])
def test_a_path_that_cannot_be_a_file_is_named(tmp_path: Path, name: str) -> None:
    with pytest.raises(StoreUnavailable, match="unable to open") as caught:
        SqliteStore(tmp_path / name)
    assert caught.value.hint


def test_a_file_that_is_something_else_is_left_alone(path: Path) -> None:
    # Given
    path.write_text("Dear diary, " * 100)
    # When
    with pytest.raises(StoreUnavailable, match="not a database"):
        SqliteStore(path)
    # Then
    assert path.read_text().startswith("Dear diary")


@pytest.mark.parametrize(("version", "error"), [("999", SchemaTooNew), ("0", SchemaTooOld), ("", SchemaTooOld)])
def test_a_database_of_another_release_is_refused_and_not_touched(
    store: SqliteStore, path: Path, version: str, error: type[StoreError]
) -> None:
    # Given
    run = new_run(store)
    sql(path, "UPDATE meta SET value = ? WHERE name = 'schema_version'", version)
    # When
    with pytest.raises(error, match=str(path)) as caught:
        SqliteStore(path)
    # Then
    assert caught.value.hint
    assert len(store.read(run.run_id)) == 1


def test_tables_of_the_user_in_the_same_file_do_no_harm(path: Path) -> None:
    # Given
    sql(path, "CREATE TABLE mine (n INTEGER)")
    # When
    store = SqliteStore(path)
    new_run(store)
    store.close()
    # Then
    assert sql(path, "SELECT count(*) FROM mine") == [(0,)]


def test_a_full_disk_is_named_and_nothing_is_half_written(store: SqliteStore, path: Path) -> None:
    # Given: the same error SQLite gives when the disk is full
    run, other = new_run(store), new_run(store)
    pages = sql(path, "PRAGMA page_count")[0][0]
    store._writer._connection.execute(f"PRAGMA max_page_count = {pages}")
    # When
    with pytest.raises(StoreUnavailable, match="full") as caught:
        store.append([other.next(), run.next(3, payload=b"x" * 100_000)])
    # Then
    assert "space" in caught.value.hint
    assert len(everything(store)) == 2
    # When there is room again / Then the same append goes through
    store._writer._connection.execute("PRAGMA max_page_count = 1000000")
    run.put(store, 3, payload=b"x" * 100_000)


def test_a_lock_held_too_long_by_another_program_is_named(
    store: SqliteStore, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given
    run = new_run(store)
    monkeypatch.setattr("flowledger.adapters.stores.sqlite_file.BUSY_TIMEOUT_S", 0.02)
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        # When
        with pytest.raises(StoreUnavailable, match="locked") as caught:
            store.append([run.next()])
        # Then
        assert str(path) in caught.value.hint
        other.execute("ROLLBACK")
    run.put(store)


# -- a commit that ends in an error (A3) ----------------------------------------------------------


class Breaking:
    """The writer's connection, but for one COMMIT that fails: before or after it has happened."""

    def __init__(self, connection: sqlite3.Connection, *, committed: bool, then: Callable[[], None]) -> None:
        self._connection = connection
        self._committed = committed
        self._then = then
        self._broken = False

    def execute(self, statement: str, values: tuple[object, ...] = ()) -> sqlite3.Cursor:
        if statement == "COMMIT" and not self._broken:
            self._broken = True
            if self._committed:
                self._connection.execute(statement)
            self._then()
            raise sqlite3.OperationalError("disk I/O error")
        return self._connection.execute(statement, values)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._connection, name)


def nothing() -> None:
    pass


def test_a3_a_commit_that_happened_before_its_error_is_acknowledged(store: SqliteStore) -> None:
    # Given
    run, other = new_run(store), new_run(store)
    store._writer._connection = Breaking(store._writer._connection, committed=True, then=nothing)  # type: ignore[assignment]
    # When
    results = store.append([run.next(2), Run("nobody").next(), other.next()])
    # Then
    assert [type(result).__name__ for result in results] == ["Appended", "VersionConflict", "Appended"]
    assert len(everything(store)) == 5


def test_a3_a_commit_that_did_not_happen_is_unavailable_and_can_be_sent_again(store: SqliteStore) -> None:
    # Given
    run = new_run(store)
    store._writer._connection = Breaking(store._writer._connection, committed=False, then=nothing)  # type: ignore[assignment]
    request = run.next(2)
    # When
    with pytest.raises(StoreUnavailable, match="disk I/O"):
        store.append([request])
    # Then
    assert len(everything(store)) == 1
    assert store.append([request]) == [Appended(3)]


def test_a3_a_commit_overtaken_by_another_writer_is_not_taken_for_ours(store: SqliteStore, path: Path) -> None:
    # Given
    run = new_run(store)
    rival = SqliteStore(path)

    def overtake() -> None:
        store._writer._connection.execute("ROLLBACK")
        rival.append([run.next(actor="rival")])

    store._writer._connection = Breaking(store._writer._connection, committed=False, then=overtake)  # type: ignore[assignment]
    # When
    with pytest.raises(StoreUnavailable):
        store.append([run.next(actor="me")])
    # Then
    assert [event.actor for event in store.read(run.run_id, after_version=1)] == ["rival"]
    rival.close()


def test_a_file_without_an_inbox_gets_one(path: Path) -> None:
    # Given a file of an earlier release
    first = SqliteStore(path)
    run = new_run(first)
    first.close()
    drop = ("DROP TABLE inbox", "DROP TABLE attempt_claims", "ALTER TABLE owners DROP COLUMN asks")
    for statement in (*drop, "UPDATE meta SET value = '3'"):
        sql(path, statement)
    # When
    store = SqliteStore(path)
    # Then
    assert store.send([Mail(run.run_id, "r1", "suspend", b"{}", "me")]) == [Sent("RUNNING", None)]
    run.put(store, answers=[1], seen=1)
    store.close()


def test_a_file_of_an_earlier_release_is_upgraded_when_it_is_opened(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given a file, and a release whose schema has a column more
    path = tmp_path / "old.db"
    SqliteStore(path).close()
    monkeypatch.setattr(sqlite_upgrading, "SCHEMA_VERSION", SCHEMA_VERSION + 1)
    monkeypatch.setattr(sqlite_upgrading, "STEPS", {SCHEMA_VERSION + 1: ("ALTER TABLE owners ADD COLUMN mood TEXT",)})
    # When it is opened twice
    SqliteStore(path).close()
    SqliteStore(path).close()
    # Then it has the column, and says which schema it has
    with sqlite3.connect(path) as connection:
        columns = [row[1] for row in connection.execute("PRAGMA table_info(owners)")]
        version = connection.execute("SELECT value FROM meta WHERE name = 'schema_version'").fetchone()[0]
    assert ("mood" in columns, version) == (True, str(SCHEMA_VERSION + 1))


# -- who writes next ----------------------------------------------------------------------------


class Busy:
    """Another thread that appends all the time, to a disk that takes 20 ms for a commit."""

    def __init__(self, store: SqliteStore) -> None:
        self._store = store
        self._stop, self._locked = Event(), Event()
        self._thread = Thread(target=self._work)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _work(self) -> None:
        run = new_run(self._store)
        while not self._stop.is_set():
            run.put(self._store)

    def reach(self, point: str) -> None:
        """Stands where an append may be made to crash."""
        if point == "append.before_commit":
            self._locked.set()
            time.sleep(0.02)

    def wait_until_it_has_the_lock(self) -> None:
        self._locked.clear()
        assert self._locked.wait(60)


@pytest.mark.parametrize(("of", "most"), [("the same process", 5), ("another process", 400)])
def test_b2_a_beat_does_not_wait_until_somebody_has_appended_all_there_is(
    store: SqliteStore, path: Path, monkeypatch: pytest.MonkeyPatch, of: str, most: int
) -> None:
    # Given somebody who appends over and over
    store.join(Owner(id="o" * 26, host="here", pid=1, app="shop"))
    waited = 0
    with closing(SqliteStore(path)) as other:
        appends_to = store if of == "the same process" else other
        busy = Busy(appends_to)
        monkeypatch.setattr(sqlite_append, "reach", busy.reach)
        with busy:
            for _ in range(5):
                busy.wait_until_it_has_the_lock()
                before = appends_to.commits
                # When
                store.beat("o" * 26)
                waited += appends_to.commits - before
    # Then it waits for the append that is under way; among processes, where nobody stands in line, for some more, and
    # not for the 500 there are in the ten seconds after which it would have failed
    assert waited <= most
