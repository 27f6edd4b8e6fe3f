"""Taking up runs that others have, had, or gave up (B1): what the simulation found, on the real parts."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from threading import Event
from time import monotonic, sleep
from typing import Any

import pytest

from flowledger import App, Flow, IllegalRequest, RunOwned, Settings, StoreUnavailable, linear
from flowledger.adapters import driving
from flowledger.adapters.conductor.conductor import Conductor
from flowledger.events.board import Offer
from flowledger.events.store import Append, AppendResult
from flowledger.testing import InMemory
from tests.acceptance.logs import log_of


def shop(app: App) -> Any:
    @app.task
    def pack() -> str:
        return "packed"

    @app.task
    def send() -> str:
        return "sent"

    @app.flow
    def sell() -> Flow[str]:
        return linear(pack, send, returns=send)

    return sell


def test_b1_a_run_that_has_ended_since_somebody_looked_is_handed_out_not_taken_up(
    flow_app: InMemory, crash_at: Any
) -> None:
    # Given a run that was left behind, and somebody who has looked at it
    app = flow_app.new("shop")
    sell = shop(app)
    with crash_at(app, "TaskSucceeded", "pack") as crash:
        app.run(sell(), key="k")
    looked = app.stream_of(crash.run_id)

    # When another one is quicker to take it up and end it
    run = app.run(sell(), key="k")
    before = log_of(app, run)
    loaded = app.runtime.call(driving.resume(app.runtime, app, looked)).result(20)

    # Then it is final for whoever comes later, its log as it was, and it is nobody's
    assert loaded.state.status == "SUCCEEDED"
    assert log_of(app, run) == before
    assert app.stream_of(run.id).owner is None


def test_g1_a_run_that_has_ended_and_has_no_mail_is_not_taken_up_to_answer_it(flow_app: InMemory) -> None:
    # Given somebody who has asked something of a run, and has looked at it before it ended, with an answer
    app = flow_app.new("shop")
    run = app.run(shop(app)())
    before = log_of(app, run)
    looked = app.stream_of(run.id)

    # When he takes it up, so that it answers
    loaded = app.runtime.call(driving.attend(app.runtime, app, looked)).result(20)

    # Then it is as it was, and nobody's
    assert loaded.state.status == "SUCCEEDED"
    assert log_of(app, run) == before
    assert app.stream_of(run.id).owner is None


def test_g5_a_run_that_was_reverted_since_somebody_looked_is_not_reverted_again(flow_app: InMemory) -> None:
    app = flow_app.new("shop")
    run = app.run(shop(app)())
    looked = app.stream_of(run.id)
    run.revert(reason="not wanted")

    with pytest.raises(IllegalRequest, match="is REVERTED"):
        app.runtime.call(driving.revert(app.runtime, app, looked, reason="once more")).result(20)

    assert app.stream_of(run.id).owner is None


def test_b1_a_run_that_the_conductor_of_this_process_has_just_claimed_is_not_taken_from_it() -> None:
    # Given a job that the process's conductor has claimed and not begun to read
    with closing(App("shop", database_url="memory://")) as app:
        run = app.submit(shop(app)())
        board, me = app.runtime.store.board, app.runtime.owner
        offer = Offer(app="shop", factories=["sell"], queues=["default"], takeover_s=20)
        ((_, claim),) = board.claim(me, offer, limit=1)

        # When somebody in the same process wants to go on with it, they are told to wait
        with pytest.raises(RunOwned, match="just being taken up by this process"):
            run.resume()

        # Then it is the conductor's as before
        stream = app.stream_of(run.id)
        assert (stream.owner, stream.epoch) == (me, claim.epoch)


def test_b1_after_a_lost_answer_a_conductor_keeps_what_else_its_process_drives() -> None:
    # Given a job that somebody in the process drives, and its conductor, which has not heard what it had claimed
    begun, go = Event(), Event()
    with closing(App("shop", database_url="memory://")) as app:

        @app.task
        def pack() -> None:
            begun.set()
            assert go.wait(20)

        run = app.submit(app.flow(name="sell")(lambda: linear(pack))(), queue="elsewhere")
        with ThreadPoolExecutor(1) as pool:
            driven = pool.submit(run.resume)
            assert begun.wait(20)
            conductor = Conductor(app.runtime, app, queues=["default"], max_runs=5)
            conductor._unsure = True
            # When it asks once more
            app.runtime.call(conductor._take()).result(20)
            # Then the run is its process's as before
            assert app.stream_of(run.id).owner == app.runtime.owner
            go.set()
            assert driven.result(20).state == "SUCCEEDED"


class Away:
    """An appender that cannot reach its store."""

    def append(self, request: Append, done: Callable[[AppendResult], None]) -> None:
        done(StoreUnavailable("not today"))


def test_b1_a_run_given_up_while_the_store_was_away_is_let_go_when_it_answers(crash_at: Any) -> None:
    # Given two processes on one log, and a run that was left behind
    settings = Settings(database_url="memory://let-go", lease_heartbeat_s=0.05)
    mine, theirs = App("shop", settings=settings), App("shop", settings=settings)
    sell = shop(mine)
    shop(theirs)
    with crash_at(mine, "TaskSucceeded", "pack") as crash:
        mine.run(sell(), key="k")

    # When the first takes it up, and then the store is away for longer than it waits
    mine.runtime.intercept(lambda _: Away())
    with pytest.raises(StoreUnavailable, match="not today"):
        mine.run(sell(), key="k")

    # Then another can take it up, although the first one lives
    assert taken_up(theirs, crash.run_id).result == "sent"
    for app in (mine, theirs):
        app.close()


def taken_up(app: App, run_id: str) -> Any:
    """Resume a run as soon as that is not refused."""
    until = monotonic() + 20
    while True:
        try:
            return app.get(run_id).resume()
        except RunOwned:
            if monotonic() > until:
                raise
            sleep(0.01)
