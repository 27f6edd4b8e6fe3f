"""What an append costs on Postgres, and what one bad row does to the others (rules A1 to A3)."""

from __future__ import annotations

import re
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from typing import Any

import psycopg
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace
from psycopg.adapt import Transformer

from flowledger.adapters.ids import new_ulid
from flowledger.adapters.stores.postgres import PostgresStore, wire
from flowledger.adapters.stores.postgres.exchange import Exchange
from flowledger.adapters.stores.postgres.writer import SINGLE_EVENTS
from flowledger.events.errors import Fenced, StoreError, StoreUnavailable
from flowledger.events.store import Appended, PlanRow
from tests.conformance.streams import Run, everything, new_run, new_stream, payload_row
from tests.postgres import connect, sql, through

# -- one statement, one commit ------------------------------------------------------------------


def test_a_batch_of_many_runs_is_one_statement_and_one_commit(store: PostgresStore) -> None:
    # Given
    runs = [new_run(store) for _ in range(50)]
    commits, statements = store.commits, store.statements
    # When
    results = store.append([run.next(1 + n % 5) for n, run in enumerate(runs)])
    # Then
    assert all(isinstance(result, Appended) for result in results)
    assert (store.commits - commits, store.statements - statements) == (1, 1)


@pytest.mark.parametrize("count", [1, SINGLE_EVENTS, SINGLE_EVENTS + 1])
def test_a_lone_append_is_one_statement_and_one_commit(store: PostgresStore, count: int) -> None:
    # Given
    run = new_run(store)
    commits, statements = store.commits, store.statements
    # When
    run.put(store, count)
    # Then
    assert (store.commits - commits, store.statements - statements) == (1, 1)


def test_creations_payloads_and_plans_are_in_the_one_transaction(store: PostgresStore, postgres_url: str) -> None:
    # Given
    old = new_run(store)
    new = [Run(new_ulid()) for _ in range(3)]
    plan = PlanRow("f", b"plan")
    batch = [run.next(2, create=new_stream(), plans=[plan], payloads=[payload_row(b"v")]) for run in new]
    statements = store.statements
    # When
    store.append([*batch, old.next(payloads=[payload_row(b"w")])])
    # Then
    assert store.statements == statements + 1
    assert sql(postgres_url, "SELECT count(DISTINCT xid) FROM {s}.events WHERE run_id <> %s", old.run_id) == [(1,)]
    assert sql(postgres_url, "SELECT count(*) FROM {s}.payloads") == [(4,)]


def test_no_begin_and_no_commit_go_over_the_wire(store: PostgresStore, monkeypatch: pytest.MonkeyPatch) -> None:
    # Given
    run = new_run(store)
    run.put(store)
    answers: list[object] = []
    answer = Exchange._answer

    def counting(self: Exchange) -> Any:
        answers.append(self)
        return answer(self)

    monkeypatch.setattr(Exchange, "_answer", counting)
    # When
    for _ in range(10):
        run.put(store)
    # Then: each is one round trip
    assert len(answers) == 10


def test_events_of_a_batch_keep_their_order_in_the_global_log(store: PostgresStore) -> None:
    # Given
    runs = [new_run(store) for _ in range(40)]
    # When
    store.append([run.next(7) for run in reversed(runs)])
    # Then
    for run in runs:
        seen = [met.event.version for met in everything(store) if met.run_id == run.run_id]
        assert seen == list(range(1, 9))


def test_a_commit_is_durable_even_where_the_database_says_otherwise(postgres_url: str) -> None:
    # Given
    url = through(*_endpoint(postgres_url), options="-c synchronous_commit=off")
    store = PostgresStore.from_url(url)
    # When
    new_run(store)
    # Then
    assert store._writer._link.connection().execute("SHOW synchronous_commit").fetchone() == ("on",)
    store.close()


def _endpoint(url: str) -> tuple[int, str]:
    return int(re.findall(r":(\d+)/", url)[0]), url


# -- many at once -------------------------------------------------------------------------------


def test_a2_batches_of_the_same_runs_in_any_order_do_not_deadlock(postgres_url: str) -> None:
    # Given
    stores = [PostgresStore.from_url(postgres_url) for _ in range(4)]
    runs = [new_run(stores[0]) for _ in range(30)]
    barrier = Barrier(4)
    before = _deadlocks(postgres_url)

    def append(n: int) -> list[str]:
        barrier.wait(10)
        names: list[str] = []
        for _ in range(20):
            order = runs if n % 2 else runs[::-1]
            results = stores[n].append([run.next(actor=f"writer-{n}") for run in order])
            names += [type(result).__name__ for result in results]
        return names

    # When
    with ThreadPoolExecutor(4) as pool:
        names = [name for found in pool.map(append, range(4)) for name in found]
    # Then: each run has been advanced once, by whoever was first; everybody else was told
    assert names.count("Appended") >= 30
    assert {*names} == {"Appended", "VersionConflict"}
    assert all(len(stores[0].read(run.run_id)) == 2 for run in runs)
    assert _deadlocks(postgres_url) == before
    for store in stores:
        store.close()


def _deadlocks(url: str) -> object:
    return sql(url, "SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()")


def test_a2_a_deadlock_with_a_stranger_is_retried_after_looking(store: PostgresStore, postgres_url: str) -> None:
    # Given: a stranger who locks in the other order
    first, second = sorted([new_run(store), new_run(store)], key=lambda run: run.run_id)
    with connect(postgres_url) as stranger, ThreadPoolExecutor(1) as pool:
        lock = "SELECT FROM {s}.streams WHERE run_id = %s FOR UPDATE"
        schema = store._database.schema
        stranger.autocommit = False
        stranger.execute("SET LOCAL deadlock_timeout = '60s'")  # let the store be the one that is chosen
        stranger.execute(lock.format(s=schema).encode(), [second.run_id])
        # When
        appending = pool.submit(store.append, [first.next(), second.next()])
        _until_waiting(postgres_url)
        stranger.execute(lock.format(s=schema).encode(), [first.run_id])
        stranger.rollback()
        # Then
        assert appending.result() == [Appended(2), Appended(2)]


def _until_waiting(url: str) -> None:
    while sql(url, "SELECT count(*) FROM pg_locks WHERE NOT granted") == [(0,)]:
        pass


def test_g7_whoever_begets_a_run_waits_for_who_is_claiming_its_parent(store: PostgresStore, postgres_url: str) -> None:
    # Given: somebody is about to claim a run that has been lost
    parent, child = new_run(store, owner="me"), Run(new_ulid())
    with connect(postgres_url) as claiming, ThreadPoolExecutor(1) as pool:
        claiming.autocommit = False
        claim = f"UPDATE {store._database.schema}.streams SET epoch = epoch + 1 WHERE run_id = %s"
        claiming.execute(claim.encode(), [parent.run_id])
        # When a run is begotten in its name
        begotten = child.next(create=new_stream(parent=parent.run_id, parent_epoch=parent.epoch))
        appending = pool.submit(store.append, [begotten])
        _until_waiting(postgres_url)
        claiming.commit()
        # Then it comes too late: whoever has claimed the parent may have seen that there is none
        [result] = appending.result()
        assert isinstance(result, Fenced)
        assert store.stream(child.run_id) is None


def test_two_processes_that_create_the_same_keys_agree(postgres_url: str) -> None:
    # Given
    stores = [PostgresStore.from_url(postgres_url) for _ in range(2)]
    keys = [f"k{n}" for n in range(20)]

    def create(n: int) -> list[str]:
        order = keys if n else keys[::-1]
        return [
            type(r).__name__ for r in stores[n].append([Run(new_ulid()).next(create=new_stream(key=k)) for k in order])
        ]

    # When
    with ThreadPoolExecutor(2) as pool:
        names = [name for found in pool.map(create, range(2)) for name in found]
    # Then
    assert sorted(names) == ["Appended"] * 20 + ["KeyTaken"] * 20
    for store in stores:
        store.close()


# -- who is at fault ----------------------------------------------------------------------------


def _short_hash(events: Sequence[Any]) -> list[Any]:
    return [replace(events[0], hash=b"short")]


def _too_large_a_number(events: Sequence[Any]) -> list[Any]:
    return [replace(events[0], time_us=2**63)]


def _no_character(events: Sequence[Any]) -> list[Any]:
    return [replace(events[0], path="\ud800")]


@pytest.mark.parametrize("broken", [_short_hash, _too_large_a_number, _no_character])
@pytest.mark.parametrize("alone", [True, False])
def test_an_event_the_database_refuses_stops_its_run_and_no_other(
    store: PostgresStore, broken: Any, alone: bool
) -> None:
    # Given
    first, bad, last = new_run(store), new_run(store), new_run(store)
    request = bad.next()
    request = replace(request, events=broken(request.events))
    # When
    results = store.append([request] if alone else [first.next(), request, last.next()])
    # Then
    names = [type(result) for result in results]
    assert names == ([StoreError] if alone else [Appended, StoreError, Appended])
    assert len(store.read(bad.run_id)) == 1


def test_a_stream_row_set_back_by_hand_stops_its_run_and_no_other(store: PostgresStore, postgres_url: str) -> None:
    # Given
    run, fine = new_run(store, count=2), new_run(store)
    sql(postgres_url, "UPDATE {s}.streams SET version = 1 WHERE run_id = %s", run.run_id)
    # When
    results = store.append([Run(run.run_id, version=1).next(), fine.next()])
    # Then
    assert isinstance(results[0], StoreError)
    assert "verify" in results[0].hint
    assert results[1] == Appended(2)


def test_a_key_too_long_for_an_index_is_refused(store: PostgresStore) -> None:
    key = "".join(chr(0x4E00 + n * 7 % 20_000) for n in range(5_000))
    [result] = store.append([Run("R").next(create=new_stream(key=key))])
    assert type(result) is StoreError


def test_a_lock_held_too_long_by_a_stranger_is_named(postgres_url: str) -> None:
    # Given
    store = PostgresStore.from_url(through(*_endpoint(postgres_url), lock_timeout_s=0.05))
    run = new_run(store)
    with connect(postgres_url) as stranger:
        stranger.autocommit = False
        stranger.execute(f"LOCK TABLE {store._database.schema}.events".encode())
        # When
        with pytest.raises(StoreUnavailable, match="lock timeout") as caught:
            store.append([run.next()])
        # Then
        assert "pg_locks" in caught.value.hint
        stranger.rollback()
    run.put(store)
    store.close()


def test_a_statement_that_takes_too_long_is_given_up_by_the_server(postgres_url: str) -> None:
    # Given
    store = PostgresStore.from_url(through(*_endpoint(postgres_url), statement_timeout_s=0.1))
    run = new_run(store)
    with connect(postgres_url) as stranger:
        stranger.autocommit = False
        stranger.execute(f"LOCK TABLE {store._database.schema}.events".encode())
        # When / Then
        with pytest.raises(StoreUnavailable, match="statement timeout"):
            store.append([run.next()])
        stranger.rollback()
    run.put(store)
    store.close()


# -- the plan of the statement ------------------------------------------------------------------


def _scanned(store: PostgresStore, runs: list[Run]) -> int:
    """How many stream rows the server looks at for one append of these runs."""
    connection = store._writer._link.connection()
    requests = [run.next() for run in runs]
    connection.autocommit = False
    before = _looked_at(store)
    assert [type(result) for result in store.append(requests)] == [Appended] * len(runs)
    scanned = _looked_at(store) - before
    connection.commit()
    connection.autocommit = True
    for run, request in zip(runs, requests, strict=True):
        run.appended(request)
    return scanned


def _looked_at(store: PostgresStore) -> int:
    relation = f"{store._database.schema}.streams"
    connection = store._writer._link.connection()
    found = connection.execute("SELECT pg_stat_get_xact_tuples_returned(%s::regclass)", [relation]).fetchone()
    return int(found[0]) if found else 0


@pytest.mark.parametrize("count", [1, 3])
def test_an_append_finds_its_rows_by_index_also_once_the_log_has_grown(
    store: PostgresStore, postgres_url: str, count: int
) -> None:
    # Given a log that was as small as can be when the statement was planned, and is large now
    runs = [new_run(store) for _ in range(count)]
    sql(postgres_url, "VACUUM ANALYZE {s}.streams")
    for _ in range(10):
        _scanned(store, runs)
    sql(
        postgres_url,
        "INSERT INTO {s}.streams SELECT 'X' || n, app, factory, NULL, inputs_digest, tags, NULL, 0, status, direction, "
        "NULL, NULL, 0, 0, 1, head_hash, 1 FROM {s}.streams, generate_series(1, 5000) n WHERE run_id = %s",
        runs[0].run_id,
    )
    assert _scanned(store, runs) > 5000
    # When
    exchange = store._writer._exchange
    assert exchange is not None
    exchange._fresh_until = 0.0
    # Then: the first appends are planned each for itself, the others by what is kept
    assert max(_scanned(store, runs) for _ in range(10)) < 50


# -- values on their way ------------------------------------------------------------------------


@given(st.lists(st.one_of(st.none(), st.text(), st.sampled_from(["\0", "\x010", "\x01", "\0\x01\x011"]))))
def test_a8_texts_are_packed_as_the_server_reads_them(values: list[str | None]) -> None:
    packed = wire.texts(values)
    loaded = _load(psycopg.postgres.types["text"].array_oid, packed)
    assert [None if value is None else wire.original(value) for value in loaded] == values


@given(st.lists(st.binary()))
def test_a8_bytes_are_packed_as_the_server_reads_them(values: list[bytes]) -> None:
    assert _load(psycopg.postgres.types["bytea"].array_oid, wire.blobs(values)) == values


@given(st.lists(st.one_of(st.none(), st.integers(-(2**63), 2**63 - 1))))
def test_numbers_are_packed_as_the_server_reads_them(values: list[int | None]) -> None:
    assert _load(psycopg.postgres.types["int8"].array_oid, wire.ints(values)) == values


def _load(oid: int, packed: bytes) -> Any:
    transformer = Transformer()
    return transformer.get_loader(oid, psycopg.pq.Format.BINARY).load(bytes(packed))
