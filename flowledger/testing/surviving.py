"""Proofs over whole flows: that a run survives a crash at any append, and that it does the same every time."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal, NamedTuple

from flowledger.adapters import loading
from flowledger.adapters.app import App
from flowledger.adapters.run import Run
from flowledger.core import replay
from flowledger.core.comparing import by_path, comparable
from flowledger.core.compiler import check_pure, entry, rebuild
from flowledger.core.parts import Part
from flowledger.events.envelope import Envelope
from flowledger.events.store import Append

from .crashing import Crash, crashing
from .memory import in_memory

Executor = Literal["inline", "threads"]


class _Ended(NamedTuple):
    """How a run ended, and its log."""

    state: str
    results: dict[str, Any]
    log: list[Envelope]


def assert_survives_crashes(
    app: App,
    part: Part[Any],
    *,
    executor: Executor = "inline",
    before_each: Callable[[], None] | None = None,
) -> int:
    """Run a flow once undisturbed, then crash it before and after each of its appends and resume it (in memory).

    Each resumed run must end like the first one: the same state, the same results, the same events per atom, but for
    what a crash leaves. So bodies must not mind to be called again with the same idempotency key, which is the point.

    Args:
        executor: where the bodies run; with ``"inline"`` the same points are tried every time.
        before_each: is called before each run: sets the world the bodies work on back to its beginning.

    Returns:
        How many crashes it survived.

    Raises:
        AssertionError: it did not; the message names the append.
    """
    renew = before_each or _nothing
    appends: list[str] = []
    renew()
    with in_memory(app), crashing(app, _counting(appends)):
        whole = _ended(app, app.execute(part, key="whole", executor=executor))
    for n in range(len(appends)):
        for before in (True, False):
            crash = _nth_append(n, before=before, last=appends[n])
            renew()
            with in_memory(app):
                with crashing(app, crash):
                    app.execute(part, key="crashed", executor=executor)
                again = _ended(app, app.execute(part, key="crashed", executor=executor))
            _assert_alike(whole, again, f"after a crash {crash.where}")
    return 2 * len(appends)


def assert_deterministic(app: App, part: Part[Any], *, before_each: Callable[[], None] | None = None) -> None:
    """Build a flow twice and run it twice, inline and in memory: plans, results and logs must be equal (rule D8).

    Args:
        before_each: is called before each run: sets the world the bodies work on back to its beginning.

    Raises:
        FactoryNotPure: the factory does not build the same plan again from the same inputs.
        AssertionError: the two runs differ; the message names the first event that does.
    """
    root = entry(part, app)
    check_pure(lambda: rebuild(app, root.factory, root.inputs_json()), app)
    first, second = (_run_once(app, part, before_each or _nothing) for _ in range(2))
    _assert_alike(first, second, "when it runs again")
    for a, b in zip(comparable(first.log), comparable(second.log), strict=False):
        assert a == b, f"the second run did not do the same:\n  first  {a}\n  second {b}"
    assert len(first.log) == len(second.log)


def _run_once(app: App, part: Part[Any], renew: Callable[[], None]) -> _Ended:
    renew()
    with in_memory(app):
        return _ended(app, app.execute(part, executor="inline"))


def _ended(app: App, run: Run[Any]) -> _Ended:
    """What a run came to; its log must be a valid one of today's plan, with nothing left to do."""
    log = loading.read(app.runtime.store, run.id)
    loaded = app.load_run(run.id)
    replay.check_complete(loaded.plan, replay.check(loaded.plan, log, moved=loaded.moved))
    return _Ended(run.state, dict(run.results), log)


def _counting(appends: list[str]) -> Crash:
    """No crash, but a list of the appends, each by its last event."""

    def at(request: Append) -> bool:
        appends.append(request.events[-1].type)
        return False

    return Crash("never", at, before=True)


def _nth_append(n: int, *, before: bool, last: str) -> Crash:
    left = n

    def at(_: Append) -> bool:
        nonlocal left
        left -= 1
        return left < 0

    return Crash(f"{'before' if before else 'after'} append {n + 1} ({last})", at, before=before)


def _assert_alike(expected: _Ended, found: _Ended, when: str) -> None:
    assert found.state == expected.state, f"{when} the run is {found.state}, not {expected.state}"
    assert found.results == expected.results, f"{when} the results are {found.results}, not {expected.results}"
    kinds = [{path: [f.type for f in story] for path, story in by_path(e.log).items()} for e in (expected, found)]
    for path in kinds[0] | kinds[1]:
        first, then = (kind.get(path, []) for kind in kinds)
        assert first == then, f"{when} {path or 'the run'} did {then}, not {first}"


def _nothing() -> None:
    """The world needs no renewal."""
