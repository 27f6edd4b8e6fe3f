"""`Run`: the handle of one run."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Generator, Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Generic, Literal, get_args, overload

from typing_extensions import TypeVar

from flowledger.core.decide import held_paths, round_failures
from flowledger.core.plan import RUN
from flowledger.core.preview import Preview
from flowledger.core.signals import Signal
from flowledger.core.typed import to_json
from flowledger.core.values import Values
from flowledger.events.durations import Seconds, seconds
from flowledger.events.errors import (
    InputError,
    RunCancelled,
    RunFailed,
    RunReverted,
    RunSuspended,
    RunUnsuccessful,
)
from flowledger.events.facts import Raw, Resolution
from flowledger.events.failure import Failure
from flowledger.events.requests import Cancel, Request, Resolve, Suspend

from .asking import word_wanted
from .forking import Asked
from .listening import Progress

if TYPE_CHECKING:
    from .acting import Acting
    from .loading import Loaded

T = TypeVar("T", default=Any)
V = TypeVar("V")

RunState = Literal[
    "PENDING", "RUNNING", "SUSPENDING", "SUSPENDED", "REVERTING", "SUCCEEDED", "REVERTED", "FAILED", "CANCELLED"
]


class Run(Generic[T]):
    """A run of an app: what it came to, and what may be done with it.

    A handle that `App.run` gave back has the run's state in hand; one from `App.get` reads the log when first asked.
    Either reads it again when the run has gone on since, whoever drove it.
    """

    def __init__(self, app: Acting, run_id: str, key: str | None, loaded: Loaded | None = None) -> None:
        self.id = run_id
        self.key = key
        self._app = app
        self._loaded = loaded

    def __repr__(self) -> str:
        return f"<run {self.id} {self.state}>"

    @property
    def state(self) -> RunState:
        """The status as the store has it; a run on its way back is REVERTING."""
        stream = self._app.stream_of(self.id)
        return "REVERTING" if stream.status == "RUNNING" and stream.direction == "BACK" else stream.status

    @property
    def result(self) -> T:
        """What the root flow returns, as its annotated type.

        Raises:
            RunUnsuccessful: the run has not SUCCEEDED; which subclass says why.
        """
        self.check()
        result: T = _values(self._load()).result()
        return result

    @property
    def results(self) -> Mapping[str, Any]:
        """The results of all atoms that have one, by path."""
        loaded = self._load()
        values, plan = _values(loaded), loaded.state.plan
        nodes = plan.nodes
        return MappingProxyType(
            {
                nodes[number].path: values.load(task.result, values.content(number))
                for number in plan.in_order(loaded.state.results)
                if (task := nodes[number].task) is not None
            }
        )

    @property
    def failures(self) -> tuple[Failure, ...]:
        """What failed for good, in plan order; failed reverts last."""
        return _failures(self._load())

    @property
    def progress(self) -> Mapping[str, Progress]:
        """What the bodies that run have last said of how far they have got, by path; at most a second old."""
        notes = self._app.runtime.store.progress.of(self.id)
        if not notes:
            return MappingProxyType({})
        loaded = self._app.load_run(self.id)
        state, by_path = loaded.state, loaded.state.plan.by_path
        return MappingProxyType(
            {
                note.path: Progress(self.id, note.path, note.attempt, note.fraction, note.message)
                for note in notes
                if (number := by_path.get(note.path)) is not None
                and state.states[number] in ("RUNNING", "WAITING")
                and (state.tries[number], state.attempts[number]) == (note.try_, note.attempt)
            }
        )

    def check(self) -> None:
        """Raise `RunUnsuccessful` (with ``__cause__`` where this process saw the exception) unless SUCCEEDED."""
        state = self.state
        if state != "SUCCEEDED":
            raise self._unsuccessful(state)

    def wait(self, timeout: Seconds | None = None) -> T:
        """The result, once the run has ended; drives the run if nobody does, and no conductor will.

        Raises:
            RunUnsuccessful: it did not succeed; `RunSuspended`: somebody has suspended it, and only `resume` goes on.
            TimeoutError: it has not ended within ``timeout``, in seconds or as a `timedelta`.
        """
        self._loaded = self._app.wait_for(self.id, None if timeout is None else _limit_s(timeout))
        return self.result

    def __await__(self) -> Generator[Any, None, T]:
        return asyncio.to_thread(self.wait).__await__()

    def resume(self, *, reason: str = "") -> Run[T]:
        """Go on with a suspended run, or with one whose process is gone; returns when it has ended or is suspended.

        Raises:
            IllegalRequest: it is held; `resolve` it.
            RunOwned: another process drives it.
        """
        resumed: Run[T] = self._app.resume_run(self.id, reason=reason)
        return resumed

    def suspend(self, *, reason: str) -> None:
        """Let running bodies finish, start nothing more (G2). Returns when whoever drives the run has agreed.

        This, `cancel` and `resolve` are durable requests: where another process drives the run, that one answers; where
        nobody does, this one takes the run up, and returns when it has ended or is suspended.

        Raises:
            IllegalRequest: it is suspended already.
            NotLive: it has ended.
        """
        self._ask(Suspend(reason=reason))

    def cancel(self, *, reason: str, revert: bool = True, dry_run: bool = False) -> Preview:
        """Give the run up, and undo all that stands of it, or, without ``revert``, leave that standing (G4). It ends
        CANCELLED, or FAILED if a revert fails.

        Returns what is (``dry_run``: would be) undone, or kept, as the run stood when it was asked; see `suspend`.

        Raises:
            IllegalRequest: it is being cancelled already, or held.
            NotLive: it has ended.
        """
        preview = self._app.preview_cancel(self.id, keep=not revert)
        if not dry_run:
            self._ask(Cancel(reason=reason, keep=not revert))
        return preview

    def resolve(self, path: str, outcome: Resolution, *, value: object = None, reason: str) -> None:
        """Say what became of the attempt that the run is held at (G3): "rerun" it, it has "failed", or it has
        "succeeded" with ``value`` as its result. The run goes on then; see `suspend`.

        Raises:
            IllegalRequest: nothing is held at ``path``, or the value is not of the type that the task returns.
            InputError: there is no such outcome, or only one that has succeeded has a value.
            NotLive: the run has ended.
        """
        _check_outcome(outcome, value)
        content = to_json(value) if outcome == "succeeded" else b"null"
        self._ask(Resolve(path=path, resolution=outcome, result=Raw(content), reason=reason))

    def send(self, signal: Signal[V], value: V, *, reason: str = "") -> None:
        """Send a value to whoever waits for the signal, now or later (F4). It is kept until the run is driven.

        Raises:
            InputError: the value is not of the signal's type.
            NotLive: the run has ended.
        """
        self._app.send_signal(self.id, signal.name, signal.to_json(value), reason=reason)

    async def aresume(self, *, reason: str = "") -> Run[T]:
        """`resume` for a caller that must not block."""
        return await asyncio.to_thread(self.resume, reason=reason)

    async def asuspend(self, *, reason: str) -> None:
        """`suspend` for a caller that must not block."""
        await asyncio.to_thread(self.suspend, reason=reason)

    async def acancel(self, *, reason: str, revert: bool = True, dry_run: bool = False) -> Preview:
        """`cancel` for a caller that must not block."""
        return await asyncio.to_thread(self.cancel, reason=reason, revert=revert, dry_run=dry_run)

    async def aresolve(self, path: str, outcome: Resolution, *, value: object = None, reason: str) -> None:
        """`resolve` for a caller that must not block."""
        await asyncio.to_thread(self.resolve, path, outcome, value=value, reason=reason)

    async def asend(self, signal: Signal[V], value: V, *, reason: str = "") -> None:
        """`send` for a caller that must not block."""
        await asyncio.to_thread(self.send, signal, value, reason=reason)

    def revert(self, *, reason: str, dry_run: bool = False) -> Preview:
        """Undo all that stands of a run that is over (G5). Returns what is (``dry_run``: would be) undone.

        Raises:
            IllegalRequest: the run is in another state.
        """
        preview = self._app.preview_revert(self.id)
        if not dry_run:
            self._app.revert_run(self.id, reason=reason)
            self._loaded = None  # it has more history now
        return preview

    def rerun(self, *, reason: str, from_: str | None = None, dry_run: bool = False) -> Preview:
        """Run again what of a run that is over has not succeeded (G5), until it has ended again.

        ``from_``, the path of a part: run again from it on, and undo first what stands of it and of what comes after
        it. Returns what is (``dry_run``: would be) undone, run again, and kept. Look at `state` for how it ended.

        Raises:
            IllegalRequest: the run is not over, or a part that has succeeded comes after one that would run again.
            InputError: there is no part ``from_``, or no reason.
        """
        preview = self._app.preview_rerun(self.id, from_=from_)
        if not dry_run:
            self._app.rerun_run(self.id, reason=reason, from_=from_)
            self._loaded = None  # it has more history now
        return preview

    @overload
    def fork(
        self, *, at: str | int | None = None, inputs: Mapping[str, Any] | None = None, adopt: bool = False, reason: str,
        dry_run: Literal[False] = False,
    ) -> Run[T]: ...  # fmt: skip
    @overload
    def fork(
        self, *, at: str | int | None = None, inputs: Mapping[str, Any] | None = None, adopt: bool = False, reason: str,
        dry_run: Literal[True],
    ) -> Preview: ...  # fmt: skip
    def fork(
        self, *, at: str | int | None = None, inputs: Mapping[str, Any] | None = None, adopt: bool = False, reason: str,
        dry_run: bool = False,
    ) -> Run[T] | Preview:  # fmt: skip
        """Begin a new run that takes over what this one has done (G6). Returns it when it has ended, however it did;
        with ``dry_run`` says what it would keep and run, and writes nothing.

        ``at``: the path of the part from which on all is new, or a version of this run, up to which it is read; None:
        whatever has not succeeded so far is new. ``inputs``: new values by name; what depends on them, or is defined
        otherwise in today's code, is new. What is taken over is not undone by the fork, unless it is to ``adopt`` it:
        then this run, which must be over, refuses `rerun` and `revert`.

        Raises:
            InputError: no reason, no such part or version, or a new input that does not fit.
            IllegalRequest: the run had not started then, or cannot be adopted.
            PayloadErased: its key was removed, so there is nothing to take over.
        """
        asked = Asked(at=at, inputs=inputs, adopt=adopt, reason=reason)
        return self._app.preview_fork(self.id, asked) if dry_run else self._app.fork_run(self.id, asked)

    # -- inside

    def _ask(self, request: Request) -> None:
        self._app.ask(self.id, request)
        self._loaded = None  # it has more history now

    def _load(self) -> Loaded:
        if self._loaded is None or self._app.has_gone_on(self.id, self._loaded.state.version):
            self._loaded = self._app.load_run(self.id)
        return self._loaded

    def _unsuccessful(self, state: RunState) -> RunUnsuccessful:
        loaded = self._load()
        failures = _failures(loaded)
        cls, hint = _ENDS.get(state, (RunUnsuccessful, _no_hint))
        held = held_paths(loaded.state) if state == "SUSPENDED" else ()
        what = f": {failures[0].path}: {failures[0].type}: {failures[0].message}" if failures else ""
        more = f" (and {len(failures) - 1} more)" if len(failures) > 1 else ""
        if held:
            what, more = f", held at {', '.join(held)}", ""
        says = word_wanted(self.id, held[0]) if held else hint(self.id)
        error = cls(f"run {self.id} is {state}{what}{more}", run=self, failures=failures, hint=says)
        if failures:
            error.__cause__ = loaded.exceptions.get(failures[0].path)
        return error


def _values(loaded: Loaded) -> Values:
    return Values(loaded.state, moved=loaded.moved, resource=_no_resource, vault=loaded.vault)


def _failures(loaded: Loaded) -> tuple[Failure, ...]:
    state, plan = loaded.state, loaded.state.plan
    by_path = plan.by_path
    failed = [state.failures.get(by_path[failure.path], failure) for failure in round_failures(state, RUN)]
    found = (*failed, *(state.revert_errors[number] for number in plan.in_order(state.revert_errors)))
    return tuple(map(_values(loaded).shown, found))


def _check_outcome(outcome: Any, value: object) -> None:
    known = get_args(Resolution)
    if outcome not in known:
        raise InputError(
            f"there is no outcome {outcome!r}", field="outcome", expected=f"one of {', '.join(known)}",
            given=repr(outcome),
        )  # fmt: skip
    if outcome != "succeeded" and value is not None:
        raise InputError(
            f"what has {outcome!r} for an outcome has no value", field="value", expected="none", given=repr(value),
            hint="leave it out, or say that it has succeeded",
        )  # fmt: skip


def _limit_s(timeout: Seconds) -> float:
    try:
        return seconds(timeout)
    except ValueError as error:
        raise InputError(str(error), field="timeout", expected="seconds or a timedelta", given=repr(timeout)) from error


def _no_resource(name: str) -> Any:
    raise AssertionError(name)  # results need no resources


def _no_hint(run_id: str) -> str:
    return f"`flowledger show {run_id}` says where it is"


_ENDS: dict[str, tuple[type[RunUnsuccessful], Callable[[str], str]]] = {
    "REVERTED": (RunReverted, lambda run: f"everything has been undone; `flowledger show {run}` says what failed"),
    "FAILED": (
        RunFailed,
        lambda run: (
            f"look with `flowledger show {run}`, undo with `flowledger revert {run} --reason …`, "
            f"go on after mending with `flowledger rerun {run} --reason …`"
        ),
    ),
    "CANCELLED": (RunCancelled, lambda run: f"`flowledger audit {run}` says who asked for it, and why"),
    "SUSPENDED": (RunSuspended, lambda run: f"nothing is lost: `flowledger resume {run}` goes on"),
}
