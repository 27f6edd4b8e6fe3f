"""Attempts of workers: who may begin, how it is told that they live, how outcomes arrive (rules C1 to C4)."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from flowledger.adapters.ids import new_ulid
from flowledger.events.claims import (
    LOST_S,
    Ask,
    AttemptKey,
    Claimed,
    KnownWorker,
    Report,
    Sign,
    Unclaimed,
    WorkerRow,
)
from flowledger.events.store import Store
from tests.postgres_server import wait_until

from .streams import Run, new_run
from .streams import joined as owner_joined

CHILD = """
import sys, time
from flowledger.adapters.stores import open_store
from flowledger.events.claims import Ask, AttemptKey, WorkerRow
url, worker, run_id = sys.argv[1:]
store = open_store(url)
row = WorkerRow(worker, "host", 1, "app", ("q",), 1)
store.claims.join(row)
print(store.claims.claim(worker, [Ask(AttemptKey(run_id, "flow/a", 1, 1))]), flush=True)
time.sleep(60)
"""


def worker(name: str = "", *, app: str = "app", state: str = "running") -> WorkerRow:
    return WorkerRow(name or new_ulid(), "host", 7, app, ("builds", "tests"), 4, state)


def joined(store: Store, name: str = "") -> str:
    row = worker(name)
    store.claims.join(row)
    return row.id


def key(run: Run, path: str = "flow/a", *, attempt: int = 1) -> AttemptKey:
    return AttemptKey(run.run_id, path, 1, attempt)


def of(store: Store, run: Run) -> list[Claimed]:
    return store.claims.of([run.run_id])


# -- beginning ----------------------------------------------------------------------------------


def test_c1_who_claims_first_makes_it_and_nobody_else(store: Store, elsewhere: Store) -> None:
    # Given
    run, one, other = new_run(store), joined(store), joined(elsewhere)
    asks = [Ask(key(run, "flow/a")), Ask(key(run, "flow/b"))]
    # When / Then
    assert store.claims.claim(one, asks[:1]) == [True]
    assert elsewhere.claims.claim(other, asks) == [False, True]
    assert [(c.key.path, c.worker, c.ended, c.lives) for c in of(store, run)] == [
        ("flow/a", one, False, True),
        ("flow/b", other, False, True),
    ]


def test_c1_a_revert_and_the_next_attempt_are_other_attempts(store: Store) -> None:
    # Given
    run, one = new_run(store), joined(store)
    first = key(run)
    # When / Then
    asks = [Ask(first), Ask(first._replace(phase="revert")), Ask(first._replace(attempt=2))]
    assert store.claims.claim(one, asks) == [True, True, True]
    assert store.claims.claim(joined(store), asks) == [False, False, False]


def test_c1_of_the_same_twice_in_a_batch_one_is_granted(store: Store) -> None:
    run, one = new_run(store), joined(store)
    assert store.claims.claim(one, [Ask(key(run)), Ask(key(run))]) == [True, False]


def test_c1_what_it_has_claimed_and_not_ended_is_granted_to_a_worker_again(store: Store) -> None:
    # Given an answer that was lost
    run, one = new_run(store), joined(store)
    store.claims.claim(one, [Ask(key(run))])
    # When / Then
    assert store.claims.claim(one, [Ask(key(run))]) == [True]
    store.claims.report(one, [Report(key(run), 0, b"{}")])
    assert store.claims.claim(one, [Ask(key(run))]) == [False]


def test_c1_nothing_is_granted_of_a_run_that_is_over_or_not_there(store: Store) -> None:
    # Given
    run, one = new_run(store), joined(store)
    run.put(store, status="SUCCEEDED")
    # When / Then
    gone = AttemptKey(new_ulid(), "flow/a", 1, 1)
    assert store.claims.claim(one, [Ask(key(run)), Ask(gone)]) == [False, False]
    assert store.claims.claim(one, []) == []


def test_f2_a_later_call_is_granted_once_the_one_before_has_ended(store: Store) -> None:
    # Given a poll that is being made
    run, one, other = new_run(store), joined(store), joined(store)
    assert store.claims.claim(one, [Ask(key(run), 5)]) == [True]
    # When / Then a later one waits for it
    assert store.claims.claim(other, [Ask(key(run), 9)]) == [False]
    store.claims.report(one, [Report(key(run), 5, b"{}")])
    assert store.claims.claim(other, [Ask(key(run), 9)]) == [True]
    # And an earlier one comes too late
    assert store.claims.claim(one, [Ask(key(run), 7)]) == [False]


def test_f2_a_later_call_is_granted_where_the_worker_of_the_one_before_is_gone(store: Store) -> None:
    # Given
    run, one, other = new_run(store), joined(store), joined(store)
    store.claims.claim(one, [Ask(key(run), 5)])
    # When
    store.claims.leave(one)
    # Then
    assert [c.lives for c in of(store, run)] == [False]
    assert store.claims.claim(other, [Ask(key(run), 9)]) == [True]
    assert [(c.call, c.worker, c.lives) for c in of(store, run)] == [(9, other, True)]


def test_c1_of_many_who_ask_at_once_each_attempt_is_granted_to_one(url: str, store: Store) -> None:
    # Given
    run = new_run(store)
    asks = [Ask(key(run, f"flow/t{n}")) for n in range(50)]
    names = [joined(store) for _ in range(4)]
    # When
    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(lambda name: store.claims.claim(name, asks), names))
    # Then
    assert [sum(each) for each in zip(*answers, strict=True)] == [1] * 50


# -- outcomes -----------------------------------------------------------------------------------


def test_c2_an_outcome_is_mail_and_ends_the_claim(store: Store, elsewhere: Store) -> None:
    # Given
    run, one = new_run(store), joined(elsewhere)
    elsewhere.claims.claim(one, [Ask(key(run))])
    # When it is reported, twice
    for _ in range(2):
        elsewhere.claims.report(one, [Report(key(run), 0, b'{"x":1}')])
    # Then
    (row,) = store.inbox(run.run_id).rows
    assert (row.kind, row.content, row.actor) == ("outcome", b'{"x":1}', one)
    assert [(c.ended, c.lives) for c in of(store, run)] == [(True, False)]


def test_c4_an_outcome_arrives_also_where_the_run_is_over_or_the_claim_is_anothers(store: Store) -> None:
    # Given
    run, one, other = new_run(store), joined(store), joined(store)
    store.claims.claim(one, [Ask(key(run), 1)])
    store.claims.leave(one)
    store.claims.claim(other, [Ask(key(run), 2)])
    run.put(store, status="SUCCEEDED")
    # When
    store.claims.report(one, [Report(key(run), 1, b"{}")])
    # Then
    assert [row.actor for row in store.inbox(run.run_id).rows] == [one]
    assert [(c.worker, c.ended) for c in of(store, run)] == [(other, False)]


def test_c2_outcomes_of_many_runs_are_one_report(store: Store) -> None:
    # Given
    runs, one = [new_run(store) for _ in range(3)], joined(store)
    store.claims.claim(one, [Ask(key(run, path)) for run in runs for path in ("flow/a", "flow/b")])
    # When
    reports = [Report(key(run, path), 0, path.encode()) for run in runs for path in ("flow/a", "flow/b")]
    store.claims.report(one, reports)
    store.claims.report(one, [])
    # Then
    for run in runs:
        assert [row.content for row in store.inbox(run.run_id).rows] == [b"flow/a", b"flow/b"]


# -- living -------------------------------------------------------------------------------------


def test_c3_signs_keep_a_claim_alive_and_say_how_far_it_is(store: Store, elsewhere: Store) -> None:
    # Given
    run, row = new_run(store), worker()
    store.claims.join(row)
    store.claims.claim(row.id, [Ask(key(run)), Ask(key(run, "flow/b"))])
    # When
    store.claims.beat(row, [Sign(key(run), 0.5, "half\0way"), Sign(key(run, "flow/b"))])
    store.claims.beat(row, [Sign(key(run)), Sign(key(run, "flow/b"))])
    # Then
    said = [(c.key.path, c.fraction, c.message, c.lives) for c in of(elsewhere, run)]
    assert said == [("flow/a", 0.5, "half\0way", True), ("flow/b", None, "", True)]


def test_c3_a_claim_of_which_nothing_is_heard_is_dead(store: Store) -> None:
    # Given
    run, row = new_run(store), worker()
    store.claims.join(row)
    store.claims.claim(row.id, [Ask(key(run)), Ask(key(run, "flow/b"))])
    # When nothing is said for longer than may be, but of one
    store.claims.lost_s = 0.3
    wait_until(lambda: of(store, run)[0].seen_s > 0.3, "time stands still")
    store.claims.beat(row, [Sign(key(run, "flow/b"))])
    # Then
    assert [(c.key.path, c.lives) for c in of(store, run)] == [("flow/a", False), ("flow/b", True)]


def test_c7_who_makes_it_hears_that_nobody_wants_it(store: Store, elsewhere: Store) -> None:
    # Given
    run, row = new_run(store), worker()
    store.claims.join(row)
    store.claims.claim(row.id, [Ask(key(run)), Ask(key(run, "flow/b"))])
    assert store.claims.beat(row, [Sign(key(run)), Sign(key(run, "flow/b"))]) == []
    # When
    elsewhere.claims.cancel([key(run, "flow/b"), key(run, "flow/none")])
    elsewhere.claims.cancel([])
    # Then
    assert store.claims.beat(row, [Sign(key(run)), Sign(key(run, "flow/b"))]) == [key(run, "flow/b")]
    assert [c.cancelled for c in of(store, run)] == [False, True]


def test_c4_who_has_lost_its_claim_hears_that_too(store: Store) -> None:
    # Given
    run, row, other = new_run(store), worker(), joined(store)
    store.claims.join(row)
    store.claims.claim(row.id, [Ask(key(run), 1)])
    store.claims.leave(row.id)
    store.claims.claim(other, [Ask(key(run), 2)])
    # When / Then
    assert store.claims.beat(row, [Sign(key(run))]) == [key(run)]


def test_b2_a_worker_whose_process_is_killed_is_soon_dead(url: str, store: Store) -> None:
    if url.startswith("memory:"):
        pytest.skip("what is in memory has no other process")
    # Given
    run, name = new_run(store), new_ulid()
    child = subprocess.Popen([sys.executable, "-c", CHILD, url, name, run.run_id], stdout=subprocess.PIPE)
    assert child.stdout is not None
    assert child.stdout.readline() == b"[True]\n"
    # When
    child.kill()
    child.wait()
    child.stdout.close()
    # Then
    wait_until(lambda: not of(store, run)[0].lives, "the dead live")
    assert of(store, run)[0].seen_s < LOST_S
    assert [w.lives for w in store.claims.workers()] == [False]


def test_workers_are_seen_with_what_they_do(store: Store, elsewhere: Store) -> None:
    # Given
    run, row = new_run(store), worker()
    store.claims.join(row)
    store.claims.claim(row.id, [Ask(key(run))])
    # When
    store.claims.beat(row._replace(state="draining"), [Sign(key(run))])
    elsewhere.claims.join(worker(app="other"))
    # Then
    assert [w.row.app for w in store.claims.workers()] == ["app", "other"]
    (known,) = elsewhere.claims.workers("app")
    assert (known.row, known.running, known.lives) == (row._replace(state="draining"), 1, True)
    store.claims.leave(row.id)
    assert store.claims.workers("app") == []


# -- what nobody has begun ----------------------------------------------------------------------


def test_c1_what_engines_have_asked_for_and_nobody_has_begun_is_added_up_by_queue(
    store: Store, elsewhere: Store
) -> None:
    # Given two engines of an app
    one, other = owner_joined(store).id, owner_joined(elsewhere).id
    now_us = store.now_us()
    store.claims.say_unclaimed(one, [Unclaimed("builds", 2, now_us - 5_000_000), Unclaimed("te\0sts", 1, now_us)])
    # When
    elsewhere.claims.say_unclaimed(other, [Unclaimed("builds", 3, now_us - 60_000_000)])
    # Then
    found = store.claims.backlogs()
    assert [each[:3] for each in found] == [("shop", "builds", 5), ("shop", "te\0sts", 1)]
    assert 60 <= found[0].waits_s < 80
    assert store.claims.backlogs("bank") == []
    assert store.claims.backlogs("shop")[0].waiting == 5


def test_c1_what_an_engine_has_said_goes_when_it_says_otherwise_or_is_gone(store: Store, elsewhere: Store) -> None:
    # Given
    one, other = owner_joined(store).id, owner_joined(elsewhere).id
    for each in (one, other):
        store.claims.say_unclaimed(each, [Unclaimed("builds", 1, store.now_us())])
    # When / Then
    store.claims.say_unclaimed(one, [])
    assert [each.waiting for each in store.claims.backlogs()] == [1]
    elsewhere.leave(other)
    assert store.claims.backlogs() == []


def test_c1_an_engine_that_was_not_heard_for_long_says_nothing(store: Store) -> None:
    # Given
    one = owner_joined(store).id
    store.claims.say_unclaimed(one, [Unclaimed("builds", 1, store.now_us())])
    # When
    store.claims.lost_s = 0.05
    wait_until(lambda: store.claims.backlogs() == [], "the silent are heard")
    # Then
    store.beat(one)
    store.claims.lost_s = LOST_S
    assert len(store.claims.backlogs()) == 1


@pytest.mark.parametrize(
    ("fields", "serves"),
    [
        ({}, True),
        ({"state": "draining"}, False),
        ({"app": "bank"}, False),
        ({"queues": ("tests",)}, False),
    ],
)
def test_who_serves_a_queue(fields: dict[str, Any], serves: bool) -> None:
    row = worker()._replace(app="shop")._replace(**fields)
    assert KnownWorker(row, 0, 0.0, 0, lives=True).serves("shop", "builds") == serves
    assert not KnownWorker(row, 0, 0.0, 0, lives=False).serves("shop", "builds")


# -- large requests -----------------------------------------------------------------------------


def test_c1_a_large_request_is_kept_for_whoever_claims_it(store: Store, elsewhere: Store) -> None:
    # Given
    run = new_run(store)
    # When kept, twice
    for content in (b"x" * 100_000, b"another"):
        store.claims.keep(key(run), 3, content)
    # Then
    assert elsewhere.claims.kept(key(run), 3) == b"x" * 100_000
    assert elsewhere.claims.kept(key(run), 4) is None


def test_what_is_fresh_is_not_swept_away(store: Store, run_over: Callable[[], Run]) -> None:
    # Given
    run = run_over()
    # When
    store.claims.sweep()
    # Then an old message is still refused
    assert len(of(store, run)) == 1


@pytest.fixture
def run_over(store: Store) -> Callable[[], Run]:
    def make() -> Run:
        run = new_run(store)
        store.claims.claim(joined(store), [Ask(key(run))])
        run.put(store, status="SUCCEEDED")
        return run

    return make
