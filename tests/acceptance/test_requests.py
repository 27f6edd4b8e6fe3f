"""What people ask of runs that are under way, and of runs that nobody drives (rules G1 and G2)."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from flowledger import App, Flow, Signal, linear
from flowledger.adapters.ids import new_ulid
from flowledger.events import facts, requests
from flowledger.events.errors import IllegalRequest, InputError, NotLive
from flowledger.events.store import Mail
from tests.acceptance.requesting import World, app, memory

from .asked import Gate, background, check_replay, has, log, only, types, until

__all__ = ["app", "memory"]


# -- G1 -------------------------------------------------------------------------------------------


def test_g1_a_request_is_answered_once_with_actor_and_reason(app: App) -> None:
    # Given a run that waits
    world = World(app)
    with background(app, world.waiting()) as driven:
        until(lambda: has(app, driven.run, "TaskWaiting"))
        # When
        driven.run.suspend(reason="change 77")
    # Then
    accepted = only(app, driven.run, "RequestAccepted")
    assert isinstance(accepted.event, facts.RequestAccepted)
    assert (accepted.event.kind, accepted.event.reason) == ("suspend", "change 77")
    assert "@" in accepted.actor
    assert driven.state == "SUSPENDED"
    assert app.runtime.store.inbox(driven.run.id).rows == []
    row = app.runtime.store.stream(driven.run.id)
    assert row is not None
    assert row.requests == 1
    check_replay(app, world.waiting(), driven.run)


def test_g1_a_request_sent_twice_is_answered_once(app: App) -> None:
    # Given
    world = World(app)
    mail = requests.encode(requests.Signal(name="x", payload=facts.Raw(b"1")))
    with background(app, world.work()) as driven:
        assert world.gate.reached.wait(20)
        run = driven.run
        for _ in range(2):  # the second time after the first was answered: its sender never heard
            app.runtime.store.send([Mail(run.id, "once", "signal", mail, "me")])
            until(lambda: has(app, run, "SignalReceived"))
        world.gate.opened.set()
    # Then
    assert types(app, run).count("SignalReceived") == 1
    assert app.runtime.store.inbox(run.id).rows == []
    assert run.state == "SUCCEEDED"


def test_g1_a_run_does_not_end_over_a_request_that_came_meanwhile(app: App, monkeypatch: pytest.MonkeyPatch) -> None:
    # Given a run whose last body is about to end, and a cancel that nobody tells its driver of
    world = World(app)
    store = app.runtime.store
    with background(app, world.work()) as driven:
        assert world.gate.reached.wait(20)
        run = driven.run
        monkeypatch.setattr(app.runtime.mailroom, "_call", lambda run_id: None)
        content = requests.encode(requests.Cancel(reason="too late?"))
        store.send([Mail(run.id, new_ulid(), "cancel", content, "ada@host", live=True)])
        # When
        world.gate.opened.set()
    # Then: all was done, and all is undone
    assert run.state == "CANCELLED"
    assert world.done == ["+make", "+hold", "+after", "-hold", "-make"]
    check_replay(app, world.work(), run)


def test_g1_what_nobody_knows_is_refused_and_disturbs_nothing(memory: App) -> None:
    # Given
    world = World(memory)
    with background(memory, world.work()) as driven:
        assert world.gate.reached.wait(20)
        run, store = driven.run, memory.runtime.store
        # When
        store.send([Mail(run.id, "a", "dance", b"{}", "me"), Mail(run.id, "b", "cancel", b'{"how": 1}', "me")])
        until(lambda: types(memory, run).count("RequestRefused") == 2)
        world.gate.opened.set()
    # Then
    refused = [e.event for e in log(memory, run) if isinstance(e.event, facts.RequestRefused)]
    assert [(r.request, r.kind) for r in refused] == [("a", "dance"), ("b", "cancel")]
    assert "no request 'dance'" in refused[0].why
    assert "unknown field" in refused[1].why
    assert run.state == "SUCCEEDED"


def test_g1_a_request_without_a_reason_is_refused_before_it_is_sent(memory: App) -> None:
    world = World(memory)
    world.gate.opened.set()
    run = memory.run(world.work())
    with pytest.raises(InputError, match="needs a reason"):
        run.suspend(reason=" ")
    assert memory.runtime.store.inbox(run.id).requests == 0


@pytest.mark.parametrize("kind", ["suspend", "cancel", "send"])
def test_g1_a_run_that_is_over_takes_none(memory: App, kind: str) -> None:
    # Given
    world = World(memory)
    world.gate.opened.set()
    run = memory.run(world.work())
    before = log(memory, run)
    # When / Then
    asks: dict[str, Callable[[], object]] = {
        "suspend": lambda: run.suspend(reason="late"),
        "cancel": lambda: run.cancel(reason="late"),
        "send": lambda: run.send(Signal("s", int), 1),
    }
    with pytest.raises(NotLive, match="SUCCEEDED"):
        asks[kind]()
    assert log(memory, run) == before


def test_g1_requests_to_a_run_that_nobody_drives_wait_for_who_does(app: App) -> None:
    # Given a suspended run
    world = World(app)
    with background(app, world.waiting()) as driven:
        until(lambda: has(app, driven.run, "TaskWaiting"))
        driven.run.suspend(reason="r")
    run = driven.run
    # When a signal is sent to it, it stays in the inbox
    run.send(Signal("s", int), 7)
    assert len(app.runtime.store.inbox(run.id).rows) == 1
    # Until somebody takes the run up
    run.cancel(reason="enough")
    assert [t for t in types(app, run) if t in ("SignalReceived", "RequestAccepted")][-2:] == [
        "SignalReceived", "RequestAccepted",
    ]  # fmt: skip
    assert run.state == "CANCELLED"
    check_replay(app, world.waiting(), run)


# -- G2 -------------------------------------------------------------------------------------------


def test_g2_suspend_waits_for_bodies_that_run(app: App) -> None:
    # Given
    world = World(app)
    with background(app, world.work()) as driven:
        assert world.gate.reached.wait(20)
        # When
        driven.run.suspend(reason="r")
        # Then it is on its way
        assert driven.state == "SUSPENDING"
        world.gate.opened.set()
    assert driven.state == "SUSPENDED"
    assert world.done == ["+make", "+hold"]
    # And goes on where it was
    resumed = driven.run.resume(reason="go on")
    assert resumed.state == "SUCCEEDED"
    assert world.done == ["+make", "+hold", "+after"]
    kinds = [e.event.kind for e in log(app, resumed) if isinstance(e.event, facts.RequestAccepted)]
    assert kinds == ["suspend", "resume"]
    check_replay(app, world.work(), resumed)


def test_g2_what_is_being_suspended_may_be_resumed(app: App) -> None:
    # Given
    world = World(app)
    with background(app, world.work()) as driven:
        assert world.gate.reached.wait(20)
        driven.run.suspend(reason="r")
        # When
        app.ask(driven.run.id, requests.Resume())
        # Then
        assert driven.state == "RUNNING"
        world.gate.opened.set()
    assert driven.state == "SUCCEEDED"
    assert "RunSuspended" not in types(app, driven.run)
    check_replay(app, world.work(), driven.run)


def test_g2_a_second_suspend_is_refused(memory: App) -> None:
    world = World(memory)
    with background(memory, world.work()) as driven:
        assert world.gate.reached.wait(20)
        driven.run.suspend(reason="r")
        with pytest.raises(IllegalRequest, match="SUSPENDING already"):
            driven.run.suspend(reason="again")
        world.gate.opened.set()


def test_g2_a_suspended_revert_resumes_into_reverting(app: App) -> None:
    # Given a run that is being undone
    done: list[str] = []
    gate = Gate()

    @app.task
    def one() -> None: ...

    @one.revert
    def un_one() -> None:
        done.append("-one")

    @app.task
    def two() -> None: ...

    @two.revert
    def un_two() -> None:
        gate.wait()
        done.append("-two")

    @app.task
    def breaks() -> None:
        raise ValueError("no")

    @app.flow
    def work() -> Flow[None]:
        return linear(one, two, breaks)

    with background(app, work()) as driven:
        assert gate.reached.wait(20)
        # When
        driven.run.suspend(reason="r")
        gate.opened.set()
    # Then
    row = app.runtime.store.stream(driven.run.id)
    assert row is not None
    assert (row.status, row.direction, done) == ("SUSPENDED", "BACK", ["-two"])
    assert driven.run.resume().state == "REVERTED"
    assert done == ["-two", "-one"]
    check_replay(app, work(), driven.run)
