"""Waiting for a job on Postgres: told at once, by the one poll of the process; by it alone where no hint comes (B7)."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from time import monotonic

import pytest

from flowledger.adapters.heartbeat import HEARTBEAT_S
from flowledger.adapters.stores.postgres import PostgresStore, polling
from flowledger.adapters.stores.postgres.polling import JOBS_POLL_S
from flowledger.adapters.stores.postgres.ready import asked
from flowledger.events.board import Offer
from flowledger.events.store import START
from tests.conformance.streams import everything, joined, new_run
from tests.postgres import connect, sql
from tests.postgres_server import wait_until

OFFER = Offer(app="shop", factories=("order",), queues=("shop",), takeover_s=20)


def test_b7_who_waits_for_a_job_elsewhere_is_told_at_once(
    store: PostgresStore, elsewhere: PostgresStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given one who waits, and whom no poll would tell within a minute
    monkeypatch.setattr(polling, "JOBS_POLL_S", 60.0)
    monkeypatch.setattr(polling, "POLL_S", 60.0)
    me = joined(elsewhere)
    for _ in range(9):
        assert not elsewhere.board.wait(me.id, OFFER, timeout_s=0)
        with ThreadPoolExecutor(1) as pool:
            waiting = pool.submit(elsewhere.board.wait, me.id, OFFER, timeout_s=20)
            # When
            new_run(store, queue="shop")
            # Then
            assert waiting.result()
        assert len(elsewhere.board.claim(me.id, OFFER, limit=10)) == 1


def test_b7_a_job_that_nobody_told_of_is_met_by_the_poll(store: PostgresStore, postgres_url: str) -> None:
    # Given a job that is set free by hand, past everything that notifies
    me, you = joined(store), joined(store)
    run = new_run(store, owner=you.id, queue="shop")
    assert not store.board.wait(me.id, OFFER, timeout_s=0)
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(store.board.wait, me.id, OFFER, timeout_s=30)
        # When
        began = monotonic()
        sql(postgres_url, "UPDATE {s}.streams SET owner = NULL WHERE run_id = %s", run.run_id)
        # Then
        assert waiting.result()
    assert monotonic() - began < 2 * JOBS_POLL_S


def test_b7_mail_events_and_jobs_are_asked_for_by_one_statement(
    store: PostgresStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given one who is told by the poll alone, each of which is noted
    monkeypatch.setattr(polling, "JOBS_POLL_S", 0.05)
    monkeypatch.setattr(polling, "POLL_S", 0.05)
    me, _ = joined(store), new_run(store)
    last = everything(store)[-1].cursor
    store.wait(START, timeout_s=1)
    wait_until(lambda: not store._side._dirty, "others are told of what is new")
    asks, question = list[tuple[bool, bool, int]](), store._texts.poll

    def noted(*, log: bool, mail: bool, offers: int) -> str:
        asks.append((log, mail, offers))
        return question(log=log, mail=mail, offers=offers)

    monkeypatch.setattr(store._texts, "poll", noted)
    # When all are waited for, jobs under two offers
    before = store._side.statements
    with ThreadPoolExecutor(4) as pool:
        waiting = [
            pool.submit(store.wait, last, timeout_s=60),
            pool.submit(lambda: bool(store.due(me.id, seen={}, timeout_s=60).mail)),
            pool.submit(store.board.wait, me.id, OFFER, timeout_s=60),
            pool.submit(store.board.wait, me.id, replace(OFFER, app="bank"), timeout_s=60),
        ]
        # Then each poll asks for all of it, in the one statement there is
        wait_until(lambda: asks[-3:] == [(True, True, 2)] * 3, "not all is asked for together")
        wait_until(lambda: store._side.statements - before == len(asks), "there are other statements than polls")
        store.leave(me.id)
        new_run(store)
        assert [each.result() for each in waiting] == [True, False, False, False]


def test_b7_who_waits_for_jobs_alone_asks_less_than_once_a_second(store: PostgresStore) -> None:
    # Given
    me = joined(store)
    store.board.wait(me.id, OFFER, timeout_s=0)
    # When
    began, before = monotonic(), store._side.statements
    assert not store.board.wait(me.id, OFFER, timeout_s=2.4 * JOBS_POLL_S)
    # Then there is room for the heartbeat in one statement a second
    assert 1 <= store._side.statements - before <= (monotonic() - began) * (1 - 1 / HEARTBEAT_S)


def test_b7_the_question_goes_by_indexes(store: PostgresStore, postgres_url: str) -> None:
    # Given a log of many runs that are over, and some that others have
    me, you = joined(store), joined(store)
    for _ in range(5):
        new_run(store, owner=you.id, queue="shop")
    sql(
        postgres_url,
        "INSERT INTO {s}.streams (run_id, app, factory, inputs_digest, tags, queue, priority, status, direction, "
        "epoch, version, head_hash, created_us) SELECT 'r' || n, 'shop', 'order', '', '{{}}', 'shop', 0, 'SUCCEEDED', "
        "'FORWARD', 1, 1, sha256(''), 0 FROM generate_series(1, 20000) AS n",
    )
    sql(postgres_url, "ANALYZE {s}.streams")
    text = store._texts.poll(log=False, mail=False, offers=1)
    with connect(postgres_url) as connection:
        # When
        rows = connection.execute(f"EXPLAIN {text}".encode(), asked(me.id, OFFER, [], n="_0")).fetchall()
    # Then
    plan = "\n".join(str(row[0]) for row in rows)
    assert "Seq Scan on streams" not in plan, plan
    assert {"streams_jobs", "streams_due", "streams_owned"} <= {word for word in plan.split() if "streams_" in word}
