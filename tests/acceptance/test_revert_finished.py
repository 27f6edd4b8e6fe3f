"""Rule G5: a run that is over is undone; a rerun or a revert that is given up at once."""

from __future__ import annotations

import gc
from typing import Any

import pytest

from flowledger import App, Flow, IllegalRequest, Times, linear
from flowledger.events import facts
from flowledger.events.envelope import Envelope
from flowledger.events.requests import Cancel, Request, encode
from flowledger.events.store import Mail
from tests.acceptance.logs import events, log_of
from tests.acceptance.mending import Mending, stopped, w, world

__all__ = ["w", "world"]


# -- revert ---------------------------------------------------------------------------------------


def test_g5_a_revert_asks_no_retry(w: Mending) -> None:
    # Given a run with a retried flow that succeeded, and a part that cannot be undone at first
    @w.app.flow
    def line() -> Flow[Any]:
        return linear(linear(*w.parts("ab"), name="in", retry=Times(5)), w.part("c"))

    run = w.app.run(line())
    w.broken = {"-a"}

    # When it is undone
    run.revert(reason="not needed")
    ends = [run.state]
    w.broken = set()
    run.revert(reason="now it can be")

    # Then nobody asked the retry, and the second revert went on where the first had failed
    assert [*ends, run.state] == ["FAILED", "REVERTED"]
    assert w.said() == ["+a", "+b", "+c", "-c", "-b", "-a"]
    assert not list(events(log_of(w.app, run), facts.RetryDecided))
    w.checked(run, line())


def test_c5_a_revert_that_is_asked_for_again_has_another_key_for_its_outcome_was_known(w: Mending) -> None:
    # Given a run, a part of which cannot be undone at first
    run = w.app.run(stopped(w, *w.parts("ab")))
    w.broken = {"-b"}
    run.revert(reason="not needed")
    run.revert(reason="once more")
    w.broken = set()

    # When its revert is asked for once more
    run.revert(reason="now it can be")

    # Then each had a key of its own
    keys = [event.key for event in events(log_of(w.app, run), facts.RevertStarted, "b")]
    assert len(keys) == len(set(keys)) == 3


def test_g5_a_revert_of_a_run_that_was_undone_is_refused() -> None:
    app = App("undone", database_url="memory://")

    @app.task
    def fails() -> None:
        raise ValueError

    @app.flow
    def line() -> Flow[Any]:
        return linear(fails)

    run = app.run(line(), check=False)
    with pytest.raises(IllegalRequest):
        run.revert(reason="again")
    app.close()


# -- given up at once -----------------------------------------------------------------------------


def test_g4_nothing_can_be_kept_of_a_run_whose_revert_has_been_accepted(w: Mending) -> None:
    # Given a run that is over, and somebody who has written to it that it be cancelled, and all of it kept
    flow = stopped(w, *w.parts("ab"))
    run = w.app.run(flow)
    _write_to(w, run, Cancel(reason="enough", keep=True))

    # When somebody else has it undone, so that both are answered at once
    run.revert(reason="not needed")

    # Then the cancel is refused, and the run says that it was undone
    assert (run.state, w.said()) == ("REVERTED", ["+a", "+b", "-b", "-a"])
    (refused,) = events(log_of(w.app, run), facts.RequestRefused)
    assert (refused.kind, refused.why) == ("cancel", "what the run did is being undone already: nothing can be kept")
    w.checked(run, flow)


def test_g4_a_rerun_that_is_cancelled_at_once_keeps_everything_if_that_was_asked(w: Mending) -> None:
    # Given a run that stopped, and somebody who has written to it that it be cancelled, and all of it kept
    w.broken = {"b"}
    flow = stopped(w, *w.parts("abc"))
    run = w.app.run(flow, check=False)
    _write_to(w, run, Cancel(reason="enough", keep=True))

    # When somebody else asks for a rerun, so that both are answered at once
    run.rerun(reason="mended")

    # Then nothing has run again and nothing was undone, which can be done later
    assert (run.state, w.said()) == ("CANCELLED", ["+a", "!b"])
    run.revert(reason="not needed")
    assert (run.state, w.said()) == ("REVERTED", ["-b", "-a"])
    w.checked(run, flow)


def _write_to(world: Mending, run: Any, request: Request) -> None:
    world.app.runtime.store.send([Mail(run.id, "a letter", request.kind, encode(request), "somebody")])


def test_what_was_read_of_a_run_is_let_go_before_it_is_driven() -> None:
    # Given a run that has failed
    app, read = App("again", database_url="memory://"), list[set[str]]()

    @app.task
    def look() -> None:
        lists = [each for each in gc.get_objects() if type(each) is list and each]
        read.append({each[0].run_id for each in lists if type(each[0]) is Envelope})
        if len(read) == 1:
            raise ValueError

    @app.flow
    def looking() -> Flow[None]:
        return linear(look)

    run = app.run(looking(), on_failure="stop", check=False)
    # When it is read and driven once more
    run.rerun(reason="again")
    # Then nothing keeps what may be hundreds of thousands of events
    assert len(read) == 2
    assert run.id not in read[-1]
    app.close()
