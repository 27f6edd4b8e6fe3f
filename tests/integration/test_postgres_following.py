"""The global log on Postgres: nothing is skipped, whoever commits when; how those who wait are told (A4, B7, R14)."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from time import monotonic, sleep

import psycopg
import pytest
from msgspec.structs import astuple

from flowledger.adapters.stores.postgres import PostgresStore, locate, polling, side
from flowledger.adapters.stores.postgres.following import Place, place_of
from flowledger.events.errors import InputError
from flowledger.events.store import START, Append, Cursor, Followed, Mail
from tests.conformance.streams import Run, everything, joined, new_run
from tests.postgres import connect, sql, through
from tests.postgres_server import wait_until

LONG = os.environ.get("FLOWLEDGER_TEST_LONG") == "1"
SCALE = float(os.environ.get("FLOWLEDGER_TEST_SCALE", "1"))  # of the long form: 0.2 is a fifth of it
EVENTS = round(500_000 * SCALE) if LONG else 5_000
WRITERS = 8


class SlowCommit:
    """An append of another process whose commit has not come yet."""

    def __init__(self, url: str, run: Run) -> None:
        self._connection = connect(url)
        self._connection.autocommit = False
        event = run.next().events[0]
        schema = locate(url).schema
        self._connection.execute(
            f"INSERT INTO {schema}.events (generation, run_id, version, type, schema_version, path, time_us, actor, "
            "payload, hash) VALUES (1, %s, %s, %s, %s, %s, %s, %s, %s, %s)".encode(),
            [run.run_id, *astuple(event)],
        )

    def commit(self) -> None:
        self._connection.commit()
        self._connection.close()

    def roll_back(self) -> None:
        self._connection.rollback()
        self._connection.close()


def test_a4_an_event_committed_late_is_not_skipped(store: PostgresStore, postgres_url: str) -> None:
    # Given: A has its place in the log, and is not committed; B comes after it and is
    a, b = new_run(store), new_run(store)
    before = everything(store)
    open_ = SlowCommit(postgres_url, a)
    b.put(store)
    # When / Then: B is not shown before A
    assert store.read_all(before[-1].cursor) == []
    open_.commit()
    assert [met.run_id for met in everything(store, at_least=4)[2:]] == [a.run_id, b.run_id]


def test_a4_transactions_order_the_log_and_positions_do_not(store: PostgresStore, postgres_url: str) -> None:
    # Given: two transactions; who began first takes its position last
    a, b = new_run(store), new_run(store)
    first, second = connect(postgres_url), connect(postgres_url)
    insert = (
        f"INSERT INTO {locate(postgres_url).schema}.events (generation, run_id, version, type, schema_version, path, "
        "time_us, actor, payload, hash) VALUES (1, %s, %s, %s, %s, %s, %s, %s, %s, %s)"
    ).encode()
    for connection in (first, second):
        connection.autocommit = False
        connection.execute("SELECT pg_current_xact_id()")
    # When
    second.execute(insert, [b.run_id, *astuple(b.next().events[0])])
    second.commit()
    first.execute(insert, [a.run_id, *astuple(a.next().events[0])])
    first.commit()
    # Then
    found = everything(store, at_least=4)[2:]
    assert [met.run_id for met in found] == [a.run_id, b.run_id]
    places = [place_of(met.cursor) for met in found]
    assert places[0].xid < places[1].xid
    assert places[0].position > places[1].position
    assert store.read_all(found[0].cursor) == found[1:]
    for connection in (first, second):
        connection.close()


def test_a4_a_transaction_that_rolls_back_leaves_a_gap_and_no_stall(store: PostgresStore, postgres_url: str) -> None:
    a, b = new_run(store), new_run(store)
    open_ = SlowCommit(postgres_url, a)
    b.put(store)
    open_.roll_back()
    assert [met.run_id for met in everything(store)] == [a.run_id, b.run_id, b.run_id]


@pytest.mark.parametrize(
    "cursor", ["7", "(1,2,3)", "1-2", "1-2-3-4", "1-2-x", "１-2-3", "99999-1-1", f"1-{2**64}-1", "-"]
)
def test_a4_what_is_no_cursor_is_refused(store: PostgresStore, cursor: str) -> None:
    for use in (lambda: store.read_all(Cursor(cursor)), lambda: store.wait(Cursor(cursor), timeout_s=0)):
        with pytest.raises(InputError, match="not a cursor"):
            use()


def test_a4_following_goes_by_the_index(store: PostgresStore, postgres_url: str) -> None:
    # Given
    runs = [new_run(store) for _ in range(20)]
    for _ in range(5):
        requests = [run.next(20) for run in runs]
        store.append(requests)
        for run, request in zip(runs, requests, strict=True):
            run.appended(request)
    sql(postgres_url, "VACUUM ANALYZE {s}.events")
    statement = store._texts.read_all
    with connect(postgres_url) as connection:
        # When
        explained = connection.execute(
            f"EXPLAIN (ANALYZE, FORMAT TEXT) {statement}".encode(), [1, "3", 1, 10]
        ).fetchall()
    # Then: neither sorted, nor more read than asked for
    plan = "\n".join(str(row[0]) for row in explained)
    assert "events_follow" in plan
    assert "Sort" not in plan
    assert "Seq Scan on events" not in plan


# -- R14 ----------------------------------------------------------------------------------------


@pytest.mark.timeout(7200 if LONG else 120)
def test_rel_r14_a_follower_skips_nothing_and_sees_nothing_twice(postgres_url: str, elsewhere: PostgresStore) -> None:
    """Eight processes append, some of them with commits that take their time."""
    per_writer = EVENTS // WRITERS

    def write(n: int) -> dict[str, int]:
        store = PostgresStore.from_url(postgres_url)
        runs = [new_run(store) for _ in range(5)]
        written = 5
        while written < per_writer:
            batch = [run.next(1 + (written + k) % 3) for k, run in enumerate(runs)]
            if n % 2:
                _slowly(store, batch)
            else:
                store.append(batch)
            for run, request in zip(runs, batch, strict=True):
                run.appended(request)
                written += len(request.events)
        store.close()
        return {run.run_id: run.version for run in runs}

    def follow(done: list[int]) -> list[Followed]:
        """Until all are met, or nothing more comes though nobody writes: others' transactions may hide what is new."""
        seen: list[Followed] = []
        cursor = START
        while True:
            finished = bool(done)
            patience_s = 30 if done and len(seen) < done[0] else 1.5
            found = elsewhere.read_all(cursor, limit=97)
            seen.extend(found)
            cursor = found[-1].cursor if found else cursor
            if not found and finished and not elsewhere.wait(cursor, timeout_s=patience_s):
                return seen

    # When
    done: list[int] = []
    with ThreadPoolExecutor(WRITERS + 1) as pool:
        following = pool.submit(follow, done)
        versions = {run_id: last for found in pool.map(write, range(WRITERS)) for run_id, last in found.items()}
        done.append(sum(versions.values()))
        seen = following.result()
    # Then
    met: dict[str, list[int]] = defaultdict(list)
    for each in seen:
        met[each.run_id].append(each.event.version)
    assert met == {run_id: list(range(1, last + 1)) for run_id, last in versions.items()}
    assert sum(versions.values()) >= EVENTS
    assert seen == everything(elsewhere)


def _slowly(store: PostgresStore, batch: Sequence[Append]) -> None:
    """Append in a transaction that stays open a little: its place in the log is taken, and nobody may see it yet."""
    connection = store._writer._link.connection()
    with connection.transaction():
        store._writer._send(batch)
        sleep(0.005)


# -- being told ---------------------------------------------------------------------------------


def has_told(store: PostgresStore) -> None:
    """Wait until it has nothing left to tell others, and has said so."""
    wait_until(lambda: not store._side._dirty, "others were never told")
    sleep(0.1)  # what it tells is on its way


@contextmanager
def side_statements(store: PostgresStore) -> Iterator[list[int]]:
    """How many statements went over the side connection meanwhile."""
    found: list[int] = []
    before = store._side.statements
    yield found
    found.append(store._side.statements - before)


def test_b7_who_waits_asks_once_a_second_however_many_wait(store: PostgresStore) -> None:
    # Given
    new_run(store)
    last = everything(store)[-1].cursor
    store.wait(last, timeout_s=0.1)
    has_told(store)
    # When: five wait, each in short turns, for three seconds
    began = monotonic()
    deadline = began + 3

    def wait(_: int) -> None:
        while monotonic() < deadline:
            store.wait(last, timeout_s=0.3)

    with side_statements(store) as found, ThreadPoolExecutor(5) as pool:
        list(pool.map(wait, range(5)))
    # Then
    assert found[0] <= (monotonic() - began) + 1


def test_b7_nobody_waits_nobody_asks(store: PostgresStore) -> None:
    new_run(store)
    store.wait(START, timeout_s=1)
    has_told(store)
    with side_statements(store) as found:
        sleep(1.2)
    assert found == [0]


def test_who_waits_elsewhere_is_told_at_once(store: PostgresStore, elsewhere: PostgresStore) -> None:
    # Given
    run = new_run(store)
    cursor = everything(store)[-1].cursor
    elsewhere.wait(cursor, timeout_s=0.1)
    took: list[float] = []
    with ThreadPoolExecutor(1) as pool:
        for _ in range(10):
            waiting = pool.submit(elsewhere.wait, cursor, timeout_s=30)
            sleep(0.03)
            # When
            began = monotonic()
            run.put(store)
            # Then
            assert waiting.result()
            took.append(monotonic() - began)
            cursor = everything(elsewhere)[-1].cursor
    assert sorted(took)[5] < 0.5, "a poll would take longer"


def test_b7_who_waits_for_mail_is_told_of_the_first_at_once(
    store: PostgresStore, elsewhere: PostgresStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given one who waits for mail, where appends would be told of in a minute, and nobody looks of their own accord
    monkeypatch.setattr(side, "COALESCE_S", 60.0)
    monkeypatch.setattr(polling, "POLL_S", 60.0)
    me = joined(elsewhere)
    run = new_run(elsewhere, owner=me.id)
    assert not elsewhere.due(me.id, seen={}, timeout_s=0).mail
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(elsewhere.due, me.id, seen={}, timeout_s=20)
        # When
        store.send([Mail(run.run_id, "m1", "signal", b"{}", "somebody", live=True)])
        # Then
        assert waiting.result().mail == {run.run_id: 1}


def test_an_append_is_not_told_within_its_transaction_and_many_are_told_once(
    store: PostgresStore, postgres_url: str
) -> None:
    # Given somebody who listens
    run = new_run(store)
    with connect(postgres_url) as listener:
        listener.execute(f"LISTEN {store._side._channel}".encode())
        list(listener.notifies(timeout=0.2))
        # When
        began = monotonic()
        for _ in range(200):
            run.put(store)
        took_s = monotonic() - began
        # Then
        heard = list(listener.notifies(timeout=0.3))
    assert 1 <= len(heard) <= took_s / 0.01 + 2
    assert {notification.pid for notification in heard} == {_backend(store._side._link.connection())}


def _backend(connection: psycopg.Connection[tuple[object, ...]]) -> int:
    return connection.info.backend_pid


def test_what_the_horizon_hides_is_told_once_it_is_shown(store: PostgresStore, postgres_url: str) -> None:
    # Given: an open transaction hides what is committed
    a, b = new_run(store), new_run(store)
    last = everything(store)[-1].cursor
    open_ = SlowCommit(postgres_url, a)
    b.put(store)
    assert not store.wait(last, timeout_s=0.3)
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(store.wait, last, timeout_s=30)
        # When: it ends, and nobody says so
        began = monotonic()
        open_.commit()
        # Then
        assert waiting.result()
    assert monotonic() - began < 20, "only the end of the wait showed it"


def test_who_waits_goes_on_after_the_connection_was_lost(store: PostgresStore, elsewhere: PostgresStore) -> None:
    # Given
    run = new_run(store)
    last = everything(store)[-1].cursor
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(elsewhere.wait, last, timeout_s=30)
        while not elsewhere._side._listening:
            sleep(0.01)
        # When
        connection = elsewhere._side._link._connection
        assert connection is not None
        pid = _backend(connection)
        store._owners._reading("SELECT pg_terminate_backend(%s)", pid)
        run.put(store)
        # Then
        assert waiting.result()


def test_without_a_session_who_waits_is_told_by_the_poll(postgres_url: str) -> None:
    # Given: as behind a pooler
    with ExitStack() as stack:
        one, two = (
            PostgresStore.from_url(through(_port(postgres_url), postgres_url, pooler="transaction")) for _ in "12"
        )
        for opened in (one, two):
            stack.callback(opened.close)
        run = new_run(one)
        last = everything(one)[-1].cursor
        with ThreadPoolExecutor(1) as pool:
            waiting = pool.submit(two.wait, last, timeout_s=30)
            # When
            run.put(one)
            # Then
            assert waiting.result()
        assert not two._side._listening


def _port(url: str) -> int:
    return locate(url).url.port or 5432


def test_places_are_ordered_as_the_log_is() -> None:
    assert Place(1, 9, 9) < Place(2, 1, 1) < Place(2, 2, 1) < Place(2, 2, 2)
