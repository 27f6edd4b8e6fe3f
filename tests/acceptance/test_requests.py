"""What people ask of runs that are under way, and of runs that nobody drives (rules G1 to G4)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from flowledger import App, Flow, Hold, NotReady, Signal, TaskContext, Times, linear, sleep, unordered
from flowledger.adapters.ids import new_ulid
from flowledger.events import facts, requests
from flowledger.events.errors import IllegalRequest, InputError, NotLive, RunCancelled, RunFailed
from flowledger.events.store import Mail

from .asked import Gate, background, check_replay, has, log, only, types, until


@pytest.fixture(params=["memory", "sqlite", "postgres"])
def app(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[App]:
    url = {"memory": lambda: f"memory://{new_ulid()}", "sqlite": lambda: f"sqlite:///{tmp_path}/log.db",
           "postgres": lambda: str(request.getfixturevalue("postgres_url"))}[request.param]()  # fmt: skip
    app = App("asked", database_url=url)
    yield app
    app.close()


@pytest.fixture
def memory() -> Iterator[App]:
    """For what does not depend on the store."""
    app = App("asked", database_url=f"memory://{new_ulid()}")
    yield app
    app.close()


class World:
    """Tasks that say what they do; `make`, then `hold` at a gate, then `after`."""

    def __init__(self, app: App, *, on_failure: Any = "revert") -> None:
        self.done: list[str] = []
        self.gate = Gate()

        @app.task
        def make() -> int:
            self.done.append("+make")
            return 1

        @make.revert
        def unmake() -> None:
            self.done.append("-make")

        @app.task
        def hold() -> None:
            self.done.append("+hold")
            self.gate.wait()

        @hold.revert
        def unhold() -> None:
            self.done.append("-hold")

        @app.task
        def after() -> None:
            self.done.append("+after")

        @app.flow(on_failure=on_failure)
        def work() -> Flow[None]:
            return linear(make, hold, after)

        @app.flow
        def waiting() -> Flow[None]:
            return linear(make, sleep(3600), after)

        self.work, self.waiting = work, waiting


# -- G1 -----------------------------------------------------------------------------------------


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


# -- G2 -----------------------------------------------------------------------------------------


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


# -- G3 -----------------------------------------------------------------------------------------


class Held:
    """A flow whose second task leaves it to a person, once."""

    def __init__(self, app: App) -> None:
        self.done: list[str] = []
        self.keys: list[str] = []

        @app.task
        def make() -> None:
            self.done.append("+make")

        @make.revert
        def unmake() -> None:
            self.done.append("-make")

        @app.task(attempts=3)
        def decide() -> int:
            self.done.append("+decide")
            if self.done.count("+decide") == 1:
                raise Hold("who knows whether it went through")
            return 1

        @decide.revert
        def undecide(result: int | None) -> None:
            self.done.append(f"-decide {result}")

        @app.task
        def after(decided: int) -> int:
            return decided

        @app.flow
        def work() -> Flow[int]:
            decided = decide.bind()
            last = after.bind(decided)
            return linear(make, decided, last, returns=last)

        self.work = work


PATH = "work/decide"


def test_g3_a_body_may_leave_it_to_a_person(app: App) -> None:
    # Given
    held = Held(app)
    # When
    run = app.run(held.work(), check=False)
    # Then
    assert run.state == "SUSPENDED"
    suspended = only(app, run, "RunSuspended").event
    assert isinstance(suspended, facts.RunSuspended)
    assert suspended.held == (PATH,)
    said = only(app, run, "TaskHeld").event
    assert isinstance(said, facts.TaskHeld)
    assert said.reason == "who knows whether it went through"
    check_replay(app, held.work(), run)
    # And nothing but a word of a person lets it go on
    with pytest.raises(IllegalRequest, match=f"held at {PATH}") as caught:
        run.resume()
    assert "resolve" in caught.value.hint
    with pytest.raises(IllegalRequest, match=f"held at {PATH}"):
        app.ask(run.id, requests.Cancel(reason="r"))
    assert run.state == "SUSPENDED"


def test_g3_resolved_as_rerun_the_attempt_is_made_again_under_the_same_key(app: App) -> None:
    # Given
    held = Held(app)
    run = app.run(held.work(), check=False)
    # When
    run.resolve(PATH, "rerun", reason="it did not")
    # Then: whether it had an effect was not known, so the key is the same (C5)
    assert app.get(run.id).result == 1
    keys = [e.event.key for e in log(app, run) if isinstance(e.event, facts.TaskStarted) and e.path == PATH]
    assert len(keys) == 2
    assert len(set(keys)) == 1
    check_replay(app, held.work(), run)


def test_g3_resolved_as_succeeded_what_follows_gets_the_result(app: App) -> None:
    # Given
    held = Held(app)
    run = app.run(held.work(), check=False)
    # When
    run.resolve(PATH, "succeeded", result=42, reason="I saw it")
    # Then
    assert app.get(run.id).result == 42
    assert held.done.count("+decide") == 1
    check_replay(app, held.work(), run)


def test_g3_resolved_as_failed_it_is_a_failure_like_any_other(app: App) -> None:
    # Given
    held = Held(app)
    run = app.run(held.work(), check=False)
    # When
    run.resolve(PATH, "failed", reason="it was refused")
    # Then
    assert app.get(run.id).state == "REVERTED"
    assert held.done == ["+make", "+decide", "-decide None", "-make"]
    [failure] = app.get(run.id).failures
    assert (failure.kind, failure.message) == ("resolved", "it was refused")
    check_replay(app, held.work(), run)


def test_g3_a_word_that_does_not_fit_is_refused(memory: App) -> None:
    # Given
    held = Held(memory)
    run = memory.run(held.work(), check=False)
    # When / Then
    with pytest.raises(IllegalRequest, match="does not fit what work/decide returns"):
        run.resolve(PATH, "succeeded", result="no number", reason="r")
    with pytest.raises(IllegalRequest, match=r"'work/make' is not held \(held: work/decide\)"):
        run.resolve("work/make", "failed", reason="r")
    assert run.state == "SUSPENDED"


def test_g3_a_run_that_is_held_twice_waits_for_both(memory: App) -> None:
    # Given
    @memory.task
    def one() -> int:
        raise Hold("one")

    @memory.task
    def two() -> int:
        raise Hold("two")

    @memory.flow
    def work() -> Flow[list[int]]:
        both = unordered(one, two).named("both")
        return linear(both, returns=both)

    run = memory.run(work(), check=False)
    suspended = only(memory, run, "RunSuspended").event
    assert isinstance(suspended, facts.RunSuspended)
    assert suspended.held == ("work/both/one", "work/both/two")
    # When
    run.resolve("work/both/two", "succeeded", result=2, reason="r")
    # Then
    assert run.state == "SUSPENDED"
    run.resolve("work/both/one", "succeeded", result=1, reason="r")
    assert memory.get(run.id).result == [1, 2]
    check_replay(memory, work(), run)


def test_g3_a_hold_in_a_scope_that_fails_anyway_is_a_failure(memory: App) -> None:
    # Given two bodies side by side, one of which fails while the other runs
    gate = Gate()

    @memory.task
    def breaks() -> None:
        assert gate.reached.wait(20)
        raise ValueError("no")

    @memory.task
    def holds() -> None:
        gate.wait()
        raise Hold("too late")

    @memory.flow
    def work() -> Flow[Any]:
        return linear(unordered(breaks, holds).named("both"))

    with background(memory, work()) as driven:
        until(lambda: has(memory, driven.run, "TaskFailed"))
        gate.opened.set()
    # Then
    assert driven.state == "REVERTED"
    assert "TaskHeld" not in types(memory, driven.run)


# -- G4 -----------------------------------------------------------------------------------------


def test_g4_cancel_undoes_what_stands(app: App) -> None:
    # Given
    world = World(app)
    with background(app, world.work()) as driven:
        assert world.gate.reached.wait(20)
        # When
        preview = driven.run.cancel(reason="wrong version")
        # Then it waits for the body that runs, and starts nothing
        world.gate.opened.set()
    assert driven.state == "CANCELLED"
    assert preview.reverts == ("work/hold", "work/make")
    assert world.done == ["+make", "+hold", "-hold", "-make"]
    with pytest.raises(RunCancelled):
        driven.run.check()
    check_replay(app, world.work(), driven.run)


def test_g4_what_waits_ends_at_once(app: App) -> None:
    world = World(app)
    with background(app, world.waiting()) as driven:
        until(lambda: has(app, driven.run, "TaskWaiting"))
        driven.run.cancel(reason="r")
    assert driven.state == "CANCELLED"
    assert world.done == ["+make", "-make"]
    check_replay(app, world.waiting(), driven.run)


def test_g4_cancel_undoes_also_where_a_failure_would_keep(memory: App) -> None:
    world = World(memory, on_failure="stop")
    with background(memory, world.work()) as driven:
        assert world.gate.reached.wait(20)
        driven.run.cancel(reason="r")
        world.gate.opened.set()
    assert driven.state == "CANCELLED"
    assert world.done == ["+make", "+hold", "-hold", "-make"]


def test_g4_keep_leaves_it_standing(app: App) -> None:
    world = World(app)
    with background(app, world.work()) as driven:
        assert world.gate.reached.wait(20)
        preview = driven.run.cancel(reason="r", keep=True)
        world.gate.opened.set()
    assert driven.state == "CANCELLED"
    assert preview.keeps == ("work/make", "work/hold")
    assert world.done == ["+make", "+hold"]
    cancelled = only(app, driven.run, "RunCancelled").event
    assert cancelled == facts.RunCancelled(kept=True)
    check_replay(app, world.work(), driven.run)


def test_g4_a_dry_run_says_what_would_be_undone_and_asks_nothing(memory: App) -> None:
    world = World(memory)
    with background(memory, world.work()) as driven:
        assert world.gate.reached.wait(20)
        assert driven.run.cancel(reason="", dry_run=True).reverts == ("work/hold", "work/make")
        assert memory.runtime.store.inbox(driven.run.id).requests == 0
        world.gate.opened.set()
    assert driven.state == "SUCCEEDED"


def test_g4_a_cancel_that_cannot_undo_ends_failed(memory: App) -> None:
    # Given
    gate = Gate()

    @memory.task
    def make() -> None: ...

    @make.revert
    def unmake() -> None:
        raise ValueError("stuck")

    @memory.task
    def hold() -> None:
        gate.wait()

    @memory.flow
    def work() -> Flow[None]:
        return linear(make, hold)

    with background(memory, work()) as driven:
        assert gate.reached.wait(20)
        driven.run.cancel(reason="r")
        gate.opened.set()
    # Then
    with pytest.raises(RunFailed):
        driven.run.check()
    assert only(memory, driven.run, "RunFailed").event == facts.RunFailed(reason="revert_failed")


def test_g4_a_revert_under_way_is_widened_and_not_restarted(app: App) -> None:
    # Given a scope that is being undone for its next round
    done: list[str] = []
    gate = Gate()

    @app.task
    def outer() -> None:
        done.append("+outer")

    @outer.revert
    def un_outer() -> None:
        done.append("-outer")

    @app.task
    def inner() -> None:
        done.append("+inner")

    @inner.revert
    def un_inner() -> None:
        done.append("-inner")
        gate.wait()

    @app.task
    def breaks() -> None:
        raise ValueError("no")

    @app.flow
    def work() -> Flow[None]:
        return linear(outer, linear(inner, breaks, retry=Times(5), name="scope"))

    with background(app, work()) as driven:
        assert gate.reached.wait(20)
        # When
        driven.run.cancel(reason="r")
        gate.opened.set()
    # Then the revert is completed once, and the rest undone
    assert driven.state == "CANCELLED"
    assert done == ["+outer", "+inner", "-inner", "-outer"]
    assert types(app, driven.run).count("RevertStarted") == 2
    check_replay(app, work(), driven.run)


def test_g4_a_run_that_is_being_undone_ends_cancelled_and_keeps_nothing(memory: App) -> None:
    # Given
    gate = Gate()

    @memory.task
    def make() -> None: ...

    @make.revert
    def unmake() -> None:
        gate.wait()

    @memory.task
    def breaks() -> None:
        raise ValueError("no")

    @memory.flow
    def work() -> Flow[None]:
        return linear(make, breaks)

    with background(memory, work()) as driven:
        assert gate.reached.wait(20)
        with pytest.raises(IllegalRequest, match="nothing can be kept"):
            driven.run.cancel(reason="r", keep=True)
        driven.run.cancel(reason="r")
        with pytest.raises(IllegalRequest, match="cancelled already"):
            driven.run.cancel(reason="again")
        gate.opened.set()
    assert driven.state == "CANCELLED"
    assert types(memory, driven.run).count("RevertStarted") == 1
    check_replay(memory, work(), driven.run)


def test_g4_a_suspended_run_is_cancelled_by_who_asks(app: App) -> None:
    # Given
    world = World(app)
    with background(app, world.waiting()) as driven:
        until(lambda: has(app, driven.run, "TaskWaiting"))
        driven.run.suspend(reason="r")
    # When
    driven.run.cancel(reason="enough")
    # Then
    assert driven.state == "CANCELLED"
    assert world.done == ["+make", "-make"]
    check_replay(app, world.waiting(), driven.run)


def test_g4_a_body_that_runs_is_told_to_stop(memory: App) -> None:
    # Given
    @memory.task
    def listens(ctx: TaskContext) -> bool:
        until(lambda: ctx.cancelled)
        return True

    @memory.flow
    def work() -> Flow[None]:
        return linear(listens)

    with background(memory, work()) as driven:
        until(lambda: has(memory, driven.run, "TaskStarted"))
        # When
        driven.run.cancel(reason="r")
    # Then
    assert driven.state == "CANCELLED"
    assert has(memory, driven.run, "TaskSucceeded")


def test_g4_a_poll_ends_at_once(memory: App) -> None:
    # Given
    @memory.task
    def polls() -> None:
        raise NotReady("still", retry_after=3600)

    @memory.flow
    def work() -> Flow[None]:
        return linear(polls)

    with background(memory, work()) as driven:
        until(lambda: has(memory, driven.run, "TaskWaiting"))
        # When
        driven.run.cancel(reason="r")
    # Then
    assert driven.state == "CANCELLED"
    check_replay(memory, work(), driven.run)
