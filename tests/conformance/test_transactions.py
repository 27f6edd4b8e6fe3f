"""C8: a body's writes and its outcome are committed together or not at all, at most once for each try."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from threading import Event, Thread
from typing import Any

import pytest
from sqlalchemy import Connection, create_engine, text

from flowledger.adapters import failpoint
from flowledger.adapters.stores import open_store
from flowledger.events.errors import NotSupported, TransactionMisused
from flowledger.events.store import Store
from flowledger.events.transactions import OutcomeKey

from .conftest import NEW_URL
from .streams import new_run

LIMIT_S = 10.0


@pytest.fixture(params=["sqlite", "postgres"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The stores that are databases."""
    return NEW_URL[request.param](request, tmp_path)


class Books:
    """A table of the user's in the store's database."""

    def __init__(self, url: str) -> None:
        self._engine = create_engine(url.partition("?")[0])
        with self._engine.begin() as connection:
            connection.execute(text("CREATE TABLE bookings (what TEXT)"))

    def write(self, what: str) -> Callable[[Connection], bytes]:
        def work(connection: Connection) -> bytes:
            connection.execute(text("INSERT INTO bookings VALUES (:what)"), {"what": what})
            return b'"done"'

        return work

    def rows(self) -> list[str]:
        with self._engine.connect() as connection:
            return list(connection.scalars(text("SELECT what FROM bookings ORDER BY 1")))

    def close(self) -> None:
        with self._engine.begin() as connection:
            connection.execute(text("DROP TABLE bookings"))
        self._engine.dispose()


@pytest.fixture
def books(url: str) -> Iterator[Books]:
    made = Books(url)
    yield made
    made.close()


@pytest.fixture
def key(store: Store) -> OutcomeKey:
    return OutcomeKey(new_run(store).run_id, "flow/book", 1, "execute")


def transact(store: Store, key: OutcomeKey, work: Callable[[Any], bytes], version: int = 3) -> bytes | None:
    return store.transact(key, version=version, work=work, timeout_s=LIMIT_S)


def test_c8_writes_and_outcome_are_committed_together(
    store: Store, elsewhere: Store, books: Books, key: OutcomeKey
) -> None:
    # When
    outcome = transact(store, key, books.write("a"))
    # Then
    assert outcome == b'"done"'
    assert books.rows() == ["a"]
    assert elsewhere.settle(key, version=99) == b'"done"'


def test_c8_what_raises_leaves_neither(store: Store, books: Books, key: OutcomeKey) -> None:
    # Given
    def work(connection: Connection) -> bytes:
        books.write("a")(connection)
        raise ValueError("no")

    # When
    with pytest.raises(ValueError, match="no"):
        transact(store, key, work)
    # Then
    assert books.rows() == []
    assert store.settle(key, version=3) is None


def test_c8_a_second_transaction_of_the_try_finds_the_first_ones_outcome(
    store: Store, elsewhere: Store, books: Books, key: OutcomeKey
) -> None:
    # Given
    transact(store, key, books.write("a"))
    # When
    outcome = transact(elsewhere, key, lambda _: pytest.fail("the body runs again"), version=7)
    # Then
    assert outcome == b'"done"'
    assert books.rows() == ["a"]


def test_c8_an_attempt_declared_lost_can_never_commit_and_a_later_one_can(
    store: Store, elsewhere: Store, books: Books, key: OutcomeKey
) -> None:
    # Given
    assert elsewhere.settle(key, version=5) is None
    # When
    late = transact(store, key, books.write("late"), version=3)
    next_ = transact(store, key, books.write("next"), version=7)
    # Then
    assert (late, next_) == (None, b'"done"')
    assert books.rows() == ["next"]
    # And a tombstone never takes the place of an outcome
    assert elsewhere.settle(key, version=9) == b'"done"'


def test_c8_other_tries_and_the_way_back_are_keys_of_their_own(store: Store, books: Books, key: OutcomeKey) -> None:
    keys = [key, key._replace(try_=2), key._replace(phase="revert"), key._replace(path="flow/other")]
    for n, each in enumerate(keys):
        assert transact(store, each, books.write(str(n))) == b'"done"'
    assert books.rows() == ["0", "1", "2", "3"]


def test_c8_a_tombstone_that_comes_while_the_body_runs_is_first(
    store: Store, elsewhere: Store, url: str, books: Books, key: OutcomeKey
) -> None:
    if url.startswith("sqlite"):
        pytest.skip("on SQLite nobody writes while the body runs")

    # Given a body that is declared lost before it returns
    def work(connection: Connection) -> bytes:
        assert elsewhere.settle(key, version=3) is None
        return books.write("a")(connection)

    # When / Then
    assert transact(store, key, work) is None
    assert books.rows() == []


def test_c8_who_declares_it_lost_waits_for_one_that_is_being_committed(
    store: Store, elsewhere: Store, books: Books, key: OutcomeKey
) -> None:
    # Given a transaction whose outcome is written but not committed
    written, go_on = Event(), Event()

    def pause() -> None:
        written.set()
        assert go_on.wait(30)

    found: list[bytes | None] = []
    with failpoint.armed("transaction.before_commit", action=pause):
        committing = Thread(target=transact, args=(store, key, books.write("a")))
        committing.start()
        assert written.wait(30)
        # When somebody else settles meanwhile
        settling = Thread(target=lambda: found.append(elsewhere.settle(key, version=9)))
        settling.start()
        go_on.set()
        committing.join(30)
        settling.join(30)
    # Then it finds the outcome
    assert found == [b'"done"']
    assert books.rows() == ["a"]


@pytest.mark.parametrize(
    "end",
    [
        lambda c: c.commit(),
        lambda c: c.rollback(),
        lambda c: c.close(),
        lambda c: c.execute(text("COMMIT")),
        lambda c: c.connection.dbapi_connection.execute("ROLLBACK"),
    ],
    ids=["commit", "rollback", "close", "text", "driver"],
)
def test_c8_a_body_may_not_end_the_transaction_itself(
    store: Store, books: Books, key: OutcomeKey, end: Callable[[Connection], object]
) -> None:
    # Given a body that does, and swallows what comes of it
    def work(connection: Connection) -> bytes:
        with suppress(Exception):
            end(connection)
        return b"null"

    # When / Then
    with pytest.raises(TransactionMisused, match="by returning or raising"):
        transact(store, key, work)
    assert store.settle(key, version=3) is None


def test_c8_a_part_of_it_may_fail_alone(store: Store, books: Books, key: OutcomeKey) -> None:
    # Given
    def work(connection: Connection) -> bytes:
        books.write("a")(connection)
        with suppress(ValueError), connection.begin_nested():
            books.write("b")(connection)
            raise ValueError
        return b"null"

    # When
    assert transact(store, key, work) == b"null"
    # Then
    assert books.rows() == ["a"]


def test_c8_a_body_that_does_not_end_in_time_writes_nothing_more(store: Store, books: Books, key: OutcomeKey) -> None:
    # Given a body that goes on beyond its time, and around SQLAlchemy
    seen: list[str] = []

    def work(connection: Connection) -> bytes:
        books.write("a")(connection)
        raw: Any = connection.connection.dbapi_connection
        while True:
            try:
                raw.execute("INSERT INTO bookings VALUES ('b')")
            except Exception as error:  # noqa: BLE001
                seen.append(str(error))
                return b"null"

    # When
    outcome = store.transact(key, version=3, work=work, timeout_s=0.3)
    # Then
    assert (outcome, len(seen)) == (None, 1)
    assert books.rows() == []


def test_c8_what_the_database_refuses_at_commit_is_a_failure(
    store: Store, url: str, books: Books, key: OutcomeKey
) -> None:
    # Given a constraint that is checked at the end
    engine = create_engine(url.partition("?")[0])
    with engine.begin() as connection:
        connection.execute(text("CREATE TABLE parents (id INTEGER PRIMARY KEY)"))
        connection.execute(
            text("CREATE TABLE kids (parent INTEGER REFERENCES parents (id) DEFERRABLE INITIALLY DEFERRED)")
        )

    def work(connection: Connection) -> bytes:
        books.write("a")(connection)
        connection.execute(text("INSERT INTO kids VALUES (1)"))
        return b"null"

    # When
    with pytest.raises(Exception, match=r"(?i)foreign key"):
        transact(store, key, work)
    # Then
    assert books.rows() == []
    assert store.settle(key, version=3) is None
    with engine.begin() as connection:
        connection.execute(text("DROP TABLE kids"))
        connection.execute(text("DROP TABLE parents"))
    engine.dispose()


def test_c8_a_log_in_memory_has_no_transactions() -> None:
    store = open_store("memory://")
    assert store.transactions == 0
    with pytest.raises(NotSupported):
        transact(store, OutcomeKey("r", "p", 1, "execute"), lambda _: b"")
