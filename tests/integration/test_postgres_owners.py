"""Who lives and who owns what on Postgres: presence locks, heartbeats, takeovers (rules B1, B2, F1; RELIABILITY R8)."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from time import monotonic, sleep

import pytest

from flowledger.adapters.heartbeat import Heartbeat
from flowledger.adapters.stores.postgres import PostgresStore, locate
from flowledger.events.errors import Fenced
from flowledger.events.store import Appended, Claim, Held, Owner
from tests.conformance.streams import Run, joined, new_run
from tests.postgres import sql, through

ROOT = Path(__file__).parents[2]

OWN = """
import os, subprocess, sys, time
from flowledger.adapters.stores import open_store
from tests.conformance.streams import joined, new_run
store = open_store(sys.argv[1])
owner = joined(store)
run = new_run(store, owner=owner.id)
if sys.argv[2] == "fork" and os.fork() == 0:
    time.sleep(60)
if sys.argv[2] == "exec":
    subprocess.Popen(["sleep", "60"], close_fds=False)
print(owner.id, run.run_id, flush=True)
sys.stdin.readline()
for _ in range(3):
    print(type(store.append([run.next()])[0]).__name__, flush=True)
"""

Spawn = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture
def spawn(postgres_url: str) -> Iterator[Spawn]:
    """Start a process that owns a run; at the end it and its children are killed."""
    started: list[subprocess.Popen[str]] = []

    def start(child: str = "none") -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, "-c", OWN, postgres_url, child],
            cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, start_new_session=True,
        )  # fmt: skip
        started.append(process)
        return process

    yield start
    for process in started:
        os.killpg(process.pid, signal.SIGKILL) if process.poll() is None else _kill_children(process.pid)
        process.communicate()


def _kill_children(group: int) -> None:
    try:
        os.killpg(group, signal.SIGKILL)
    except ProcessLookupError:
        return


def words(process: subprocess.Popen[str]) -> list[str]:
    assert process.stdout is not None
    return process.stdout.readline().split()


def claimed_within(store: PostgresStore, run_id: str, me: Owner, *, seconds: float) -> Claim:
    """Claim as soon as it is granted."""
    deadline = monotonic() + seconds
    while True:
        claim = store.claim(run_id, me.id, takeover_s=3600)
        if isinstance(claim, Claim):
            return claim
        assert monotonic() < deadline, claim
        sleep(0.02)


@pytest.mark.parametrize("child", ["none", "fork", "exec"])
def test_b2_after_kill_9_the_run_is_claimed_at_once(store: PostgresStore, spawn: Spawn, child: str) -> None:
    # Given: an owner in another process, and perhaps a child of it that goes on living
    process = spawn(child)
    owner_id, run_id = words(process)
    me = joined(store)
    held = store.claim(run_id, me.id, takeover_s=3600)
    assert isinstance(held, Held)
    assert held.owner == owner_id
    # When
    process.kill()
    process.wait()
    # Then: as soon as the server has noticed
    assert claimed_within(store, run_id, me, seconds=30).epoch == 2


def test_rel_r8_a_process_that_was_stopped_past_its_lease_is_fenced(store: PostgresStore, spawn: Spawn) -> None:
    # Given: stopped, its lock still held
    process = spawn()
    _, run_id = words(process)
    me = joined(store)
    os.kill(process.pid, signal.SIGSTOP)
    assert isinstance(store.claim(run_id, me.id, takeover_s=3600), Held)
    # When: it counts as dead by time
    claim = store.claim(run_id, me.id, takeover_s=-1)
    assert isinstance(claim, Claim)
    mine = Run(run_id, claim.epoch, claim.version, claim.head_hash)
    mine.put(store)
    os.kill(process.pid, signal.SIGCONT)
    # Then
    assert process.stdin is not None
    process.stdin.write("go\n")
    process.stdin.flush()
    assert [words(process) for _ in range(3)] == [["Fenced"]] * 3
    assert len(store.read(run_id)) == 2


def test_b2_a_lost_connection_takes_its_locks_again(store: PostgresStore, elsewhere: PostgresStore) -> None:
    # Given
    owner, me = joined(store), joined(elsewhere)
    run = new_run(store, owner=owner.id)
    # When: the server ends the session that holds the lock
    pid = _side_of(store)
    elsewhere._owners._reading("SELECT pg_terminate_backend(%s)", pid)
    while _side_of(store) in (pid, None) or not store._side._held:
        sleep(0.01)
    # Then
    assert isinstance(elsewhere.claim(run.run_id, me.id, takeover_s=3600), Held)
    # When it leaves / Then
    store.leave(owner.id)
    assert isinstance(elsewhere.claim(run.run_id, me.id, takeover_s=3600), Claim)


def _side_of(store: PostgresStore) -> int | None:
    """Which session its side thread has, without making one in that thread's place."""
    connection = store._side._link._connection
    return None if connection is None or connection.closed else connection.info.backend_pid


def test_b2_a_store_that_is_closed_without_leaving_is_dead(store: PostgresStore, elsewhere: PostgresStore) -> None:
    owner, me = joined(store), joined(elsewhere)
    run = new_run(store, owner=owner.id)
    store.close()
    assert claimed_within(elsewhere, run.run_id, me, seconds=5)


def test_b2_an_owner_without_a_session_of_its_own_lives_by_its_row_alone(
    postgres_url: str, elsewhere: PostgresStore
) -> None:
    # Given: behind a pooler nothing can be held
    pooled = PostgresStore.from_url(through(locate(postgres_url).url.port or 5432, postgres_url, pooler="transaction"))
    owner, me = joined(pooled), joined(elsewhere)
    run = new_run(pooled, owner=owner.id)
    # When / Then
    assert isinstance(elsewhere.claim(run.run_id, me.id, takeover_s=3600), Held)
    assert isinstance(elsewhere.claim(run.run_id, me.id, takeover_s=-1), Claim)
    # And the other way round: who is behind the pooler sees the lock of who is not
    other = new_run(elsewhere, owner=me.id)
    assert isinstance(pooled.claim(other.run_id, owner.id, takeover_s=3600), Held)
    pooled.close()


def test_b1_many_claim_many_runs_of_a_dead_owner_and_each_is_claimed_once(postgres_url: str) -> None:
    # Given
    stores = [PostgresStore.from_url(postgres_url) for _ in range(4)]
    dead = joined(stores[0])
    runs = [new_run(stores[0], owner=dead.id) for _ in range(20)]
    stores[0].leave(dead.id)
    owners = [joined(each) for each in stores]

    def claim(n: int) -> list[str]:
        return [type(stores[n].claim(run.run_id, owners[n].id, takeover_s=20)).__name__ for run in runs]

    # When
    with ThreadPoolExecutor(4) as pool:
        names = [name for found in pool.map(claim, range(4)) for name in found]
    # Then
    assert sorted(names) == ["Claim"] * 20 + ["Held"] * 60
    for each in stores:
        each.close()


def test_b1_a_claim_waits_for_an_append_under_way_and_begins_after_it(
    store: PostgresStore, elsewhere: PostgresStore
) -> None:
    # Given: the old owner's append has been executed, and is not committed
    owner, me = joined(store), joined(elsewhere)
    run = new_run(store, owner=owner.id)
    connection = store._writer._link.connection()
    request = run.next(2)
    with ThreadPoolExecutor(1) as pool:
        with connection.transaction():
            assert store._writer._send([request]) == {run.run_id}
            claiming = pool.submit(elsewhere.claim, run.run_id, me.id, takeover_s=-1)
            while sql(_url(store), "SELECT count(*) FROM pg_locks WHERE NOT granted") == [(0,)]:
                sleep(0.01)
        # Then
        assert claiming.result() == Claim(2, 3, request.events[-1].hash)


def _url(store: PostgresStore) -> str:
    location = store._database.location
    schema = location.schema
    return location.url.set(query={"schema": schema}).render_as_string(hide_password=False)


def test_b2_the_heartbeat_goes_on_while_appends_and_reads_hang(store: PostgresStore, postgres_url: str) -> None:
    # Given: somebody has locked the log away
    heart = Heartbeat(store, app="shop", heartbeat_s=0.05, fence_s=2)
    run = new_run(store, owner=heart.owner.id)
    with ThreadPoolExecutor(2) as pool:
        blocker = store._database.connect()
        blocker.autocommit = False
        blocker.execute(f"LOCK TABLE {locate(postgres_url).schema}.events".encode())
        appending = pool.submit(store.append, [run.next()])
        pool.submit(store.read, run.run_id)
        # When
        seen = _seen(postgres_url, heart.owner.id)
        deadline = monotonic() + 10
        # Then
        while _seen(postgres_url, heart.owner.id) < seen + 300_000:
            assert monotonic() < deadline
            assert not heart.fenced
        blocker.rollback()
        blocker.close()
        assert appending.result() == [Appended(2)]
    heart.close()


def _seen(url: str, owner_id: str) -> int:
    [[seen_us]] = sql(url, "SELECT last_seen_us FROM {s}.owners WHERE id = %s", owner_id)
    assert isinstance(seen_us, int)
    return seen_us


def test_b2_an_owner_whose_row_was_removed_is_fenced(store: PostgresStore, postgres_url: str) -> None:
    owner = joined(store)
    sql(postgres_url, "DELETE FROM {s}.owners")
    with pytest.raises(Fenced):
        store.beat(owner.id)


def test_rel_r9_leases_go_by_the_clock_of_the_database(
    store: PostgresStore, elsewhere: PostgresStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given a machine whose clock is three days ahead
    monkeypatch.setattr(time, "time", lambda: 4e9)
    monkeypatch.setattr(time, "time_ns", lambda: 4 * 10**18)
    owner, me = joined(store), joined(elsewhere)
    run = new_run(store, owner=owner.id)
    # When / Then
    held = elsewhere.claim(run.run_id, me.id, takeover_s=20)
    assert isinstance(held, Held)
    assert held.seen_s < 20
    assert store.now_us() < 4 * 10**15
    assert store.beat(owner.id) < 4 * 10**15
