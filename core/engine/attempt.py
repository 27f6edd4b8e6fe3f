"""One call of a user's body: its arguments, its context, and how it ended.

Runs wherever an executor puts it. Whatever the body does ends as one of three outcomes; nothing escapes (D7), not even
`KeyboardInterrupt` or `SystemExit` out of a body nobody cancelled (B5).
"""

from __future__ import annotations

import asyncio
import inspect
import traceback as tracebacks
from collections.abc import Callable, Mapping
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from logging import getLogger
from typing import Any, NamedTuple, Protocol

from flowledger.core.context import RUNNING, OtherOutcome, TaskContext
from flowledger.core.plan import Call, Node
from flowledger.core.secret import masked
from flowledger.core.state import Ended
from flowledger.core.undoing import revert_lane
from flowledger.events.errors import (
    Hold,
    NotReady,
    PayloadTooLarge,
    Permanent,
    SecretInClear,
    StoreError,
    UnserialisableResult,
)
from flowledger.events.facts import OutcomeIgnored, Phase, Progress
from flowledger.events.failure import Failure, FailureKind

from .redacting import RedactingLog

MESSAGE_CHARS = 4_000
PROGRESS_CHARS = 200
TRACEBACK_CHARS = 16_000
LONGEST_CHARS = 1_000_000  # of a text that is looked through at all
CAUSES = 5

_LOG = getLogger("flowledger.task")
_NONE: Mapping[str, Any] = {}


class Returned(NamedTuple):
    """The body returned; ``content`` is its result as JSON (b"null" for a revert)."""

    content: bytes


class Raised(NamedTuple):
    """The body failed. ``again`` False: no further attempt may help. ``exception`` is kept in this process only.

    ``still_running``: it is given up, and may do something yet (C7).
    """

    failure: Failure
    again: bool
    exception: BaseException | None
    still_running: bool = False


class Unready(NamedTuple):
    """The body said `NotReady`; or the atom waits for the run ``child`` (G7)."""

    retry_after_s: float
    message: str
    child: str = ""


class Held(NamedTuple):
    """The body said `Hold`; ``failure`` says where and why."""

    failure: Failure


class Lost(NamedTuple):
    """Whoever made the attempt is gone, and with it what became of it (C3, C6)."""

    cause: str


class Unsettled(NamedTuple):
    """Nobody knows what became of a transaction, and the store cannot be asked: this process cannot go on (C8)."""

    error: StoreError


Outcome = Returned | Raised | Unready | Held | Lost | Unsettled
_NOTHING = Returned(b"null")


class Host(Protocol):
    """What an attempt asks of the run it belongs to."""

    run_id: str
    lost: bool  # the run is not this process's any more

    def redacted(self, text: str) -> str:
        """A text without what must not be written."""
        ...

    #: There may be secrets, so results are looked through for them.
    guards: bool

    def leaks(self, content: bytes) -> bool:
        """Whether a secret stands in clear in a value that is not annotated as one."""
        ...

    @property
    def max_bytes(self) -> int:
        """The largest result, in bytes."""
        ...

    def is_cancelled(self, node: Node, phase: Phase) -> bool:
        """Whether the body should stop."""
        ...

    def awaits(self, attempt: Attempt) -> bool:
        """Whether this attempt's outcome is still waited for."""
        ...

    def progressed(self, attempt: Attempt, progress: Progress) -> None:
        """The body says how far it has got."""
        ...

    def deadline_us(self, node: Node) -> int | None:
        """When all attempts of the atom's try must be over."""
        ...

    def ended(self, number: int) -> Ended:
        """In a revert: how execute ended."""
        ...

    def late(self, number: int) -> tuple[OutcomeIgnored, ...]:
        """In a revert: what came too late."""
        ...


class Attempt:
    """What an executor is given."""

    __slots__ = (
        "_context", "_host", "arguments", "attempt", "call", "deadline_us", "key", "lane", "limit", "node", "packed",
        "phase", "poll_us", "timed_out", "took_s", "try_",
    )  # fmt: skip

    def __init__(self, host: Host, node: Node, phase: Phase, call: Call, try_: int, attempt: int, key: str) -> None:
        self._host = host
        self.node = node
        self.phase: Phase = phase
        self.call = call
        self.try_ = try_
        self.attempt = attempt
        self.key = key
        self.lane = node.lane if phase == "execute" else revert_lane(node)
        self.arguments: Mapping[str, Any] = _NONE
        self.packed: Mapping[str, bytes] = _NONE  # the same as JSON, where the body runs in another process
        limited = phase == "execute" and node.task is not None and node.task.deadline_s is not None
        self.deadline_us = host.deadline_us(node) if limited else None
        self.poll_us = 0  # of a poll: when it was due, which tells it from the ones before (`events.claims.Ask`)
        self.timed_out = False
        self.took_s: float | None = None  # how long the body had its place, where an executor says so
        self.limit: asyncio.TimerHandle | None = None  # ends it, unless its outcome comes first
        self._context: TaskContext | None = None

    @property
    def context(self) -> TaskContext:
        """What the body may ask about itself; made when first asked for."""
        if self._context is None:
            node, run_id = self.node, self._host.run_id
            self._context = TaskContext(
                run_id=run_id,
                path=node.path,
                attempt=self.attempt,
                idempotency_key=self.key,
                deadline=_at(self.deadline_us),
                log=RedactingLog(
                    _LOG, {"run": run_id, "path": node.path, "attempt": self.attempt}, self._host.redacted
                ),
                outcome=self.ended,
                other_outcomes=tuple(self._other(late) for late in self.late),
                on_progress=self.progressed,
                is_cancelled=self.is_cancelled,
            )
        return self._context

    @property
    def run_id(self) -> str:
        """The run it belongs to."""
        return self._host.run_id

    @property
    def max_bytes(self) -> int:
        """The largest result, in bytes."""
        return self._host.max_bytes

    @property
    def late(self) -> tuple[OutcomeIgnored, ...]:
        """In a revert: what came too late of its execute (C4)."""
        return self._host.late(self.node.number) if self.phase == "revert" else ()

    def _other(self, late: OutcomeIgnored) -> OtherOutcome:
        result = None
        if late.outcome == "succeeded" and self.node.task is not None:
            with suppress(Exception):  # it has been read once; a type that has changed since must not end a revert
                result = self.node.task.result.load(bytes(late.result))
        return OtherOutcome(attempt=late.attempt, outcome=late.outcome, result=result, failure=late.failure)

    @property
    def ended(self) -> Ended | None:
        """In a revert: how execute ended."""
        return self._host.ended(self.node.number) if self.phase == "revert" else None

    def no_limit(self) -> None:
        """Its outcome is here, or nobody waits for it: the timer that would end it is of no use."""
        if self.limit is not None:
            self.limit.cancel()
            self.limit = None

    def progressed(self, fraction: float, message: str) -> None:
        """The body has said how far it has got."""
        self._host.progressed(self, Progress(fraction=fraction, message=self._host.redacted(message)[:PROGRESS_CHARS]))

    @property
    def is_awaited(self) -> bool:
        """Whether its run still waits for its outcome."""
        return self._host.awaits(self)

    @property
    def guards(self) -> bool:
        """Whether there may be secrets in it."""
        return self._host.guards

    def is_cancelled(self) -> bool:
        """Whether the body should stop."""
        return self.timed_out or self._host.is_cancelled(self.node, self.phase)

    def run(self) -> Outcome:
        """Call a sync body and wait for it; one of a run that was lost while it stood in line does not begin."""
        if self._host.lost:
            return Unready(0.0, "the run is not this process's any more")
        return self.called(self.arguments)

    @property
    def is_limited(self) -> bool:
        """Whether its time is."""
        return self.timeout_s is not None or self.deadline_us is not None

    @property
    def timeout_s(self) -> float | None:
        """How long it may take at most, in seconds."""
        return self.call.timeout_s

    def called(self, arguments: Mapping[str, Any]) -> Outcome:
        """How the body ends with these arguments."""
        token = RUNNING.set(self._current)
        try:
            value = self.call.body(**arguments)
            if value is not None and inspect.isawaitable(value):  # a sync def that hands out a coroutine
                value = asyncio.run(_awaited(value))
            return self._returned(value)
        except BaseException as error:  # noqa: BLE001 - rule B5: all of it is a failure of this attempt
            return self._raised(error)
        finally:
            RUNNING.reset(token)

    async def arun(self) -> Outcome:
        """Await an async body."""
        RUNNING.set(self._current)  # a task of its own: its context ends with it
        try:
            value = self.call.body(**self.arguments)
            return self._returned(await value if inspect.isawaitable(value) else value)
        except BaseException as error:  # noqa: BLE001 - rule B5
            return self._raised(error)

    def _current(self) -> TaskContext:
        return self.context

    def _returned(self, value: Any) -> Outcome:
        task = self.node.task
        if task is None or self.phase == "revert" or (value is None and task.result.nothing):
            return _NOTHING
        try:
            content = task.result.to_json(value)
            task.result.load(content)  # what cannot be read back must not be written (C9)
        except Exception as error:  # noqa: BLE001 - any user type's serialiser
            what = f"{self.node.path}: the result does not fit its return annotation: {error}"
            return self._unstorable(UnserialisableResult(what), error)
        if len(content) > self._host.max_bytes:
            size = f"{self.node.path}: the result has {len(content):,} bytes, the limit is {self._host.max_bytes:,}"
            return self._unstorable(PayloadTooLarge(size), None)
        if self._host.guards and self._host.leaks(masked(content) if task.result.secretive else content):
            return self._unstorable(SecretInClear(f"{self.node.path}: a secret of this run stands in the result"), None)
        return Returned(content)

    def _unstorable(self, error: Exception, cause: Exception | None) -> Raised:
        error.__cause__ = cause
        return Raised(self.failure(error, "result"), again=False, exception=error)

    def _raised(self, error: BaseException) -> Outcome:
        if isinstance(error, NotReady) and self.phase == "execute":
            return Unready(error.retry_after_s, str(error))
        if self.timed_out:
            return self.overdue(error)
        if isinstance(error, Hold) and self.phase == "execute":
            return Held(self.failure(error, "permanent"))
        if isinstance(error, Permanent):
            return Raised(self.failure(error, "permanent"), again=False, exception=error)
        task = self.node.task
        retry_on = task.retry_on if task is not None and self.phase == "execute" else ()
        again = not retry_on or isinstance(error, retry_on)
        return Raised(self.failure(error, "error"), again=again, exception=error)

    def overdue(self, error: BaseException | None = None, *, still_running: bool = False) -> Raised:
        """The outcome of an attempt that took longer than it may (C7)."""
        raised = TimeoutError(f"{self.node.path}: no outcome within {self.timeout_s} s")
        raised.__cause__ = error
        return Raised(self.failure(raised, "timeout"), again=True, exception=raised, still_running=still_running)

    def refused(self, error: Exception) -> Raised:
        """The outcome of an attempt that cannot even be asked for: its arguments cannot travel."""
        return Raised(self.failure(error, "arguments"), again=False, exception=error)

    def failure(self, error: BaseException, kind: FailureKind) -> Failure:
        """What the log keeps of an exception."""
        return failure_of(error, path=self.node.path, attempt=self.attempt, kind=kind, redacted=self._host.redacted)


def failure_of(
    error: BaseException, *, path: str, attempt: int = 0, kind: FailureKind = "error", depth: int = 0,
    redacted: Callable[[str], str] = str,
) -> Failure:  # fmt: skip
    """An exception as a `Failure`: names and texts only, cut to what a log can bear.

    ``redacted`` takes out what must not be written, before anything is cut: half a secret would not be known.
    """
    cause = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    return Failure(
        path=path,
        type=_type_name(error),
        message=redacted(_printable(error))[:MESSAGE_CHARS],
        traceback=redacted(_traceback(error))[-TRACEBACK_CHARS:] if depth == 0 else "",
        attempt=attempt,
        kind=kind,
        cause=failure_of(cause, path=path, attempt=attempt, depth=depth + 1, redacted=redacted)
        if cause and depth < CAUSES
        else None,
    )


def _type_name(error: BaseException) -> str:
    cls = type(error)
    return cls.__qualname__ if cls.__module__ == "builtins" else f"{cls.__module__}.{cls.__qualname__}"


def _printable(error: BaseException) -> str:
    try:
        return str(error)[:LONGEST_CHARS].encode("utf-8", "replace").decode()
    except Exception:  # noqa: BLE001 - a user's __str__ may raise
        return "(its message could not be read)"


def _traceback(error: BaseException) -> str:
    frames = error.__traceback__
    if frames is not None and frames.tb_frame.f_code.co_filename == __file__:
        frames = frames.tb_next  # our own call of the body tells nobody anything
    try:
        text = "".join(tracebacks.format_exception(type(error), error, frames))
    except Exception:  # noqa: BLE001 - a user's __str__ may raise here too
        return ""
    return text[-LONGEST_CHARS:].encode("utf-8", "replace").decode()


def _at(time_us: int | None) -> datetime | None:
    return None if time_us is None else datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=time_us)


async def _awaited(value: Any) -> Any:
    return await value


class Executor(Protocol):
    """Where bodies run. ``capacity`` is how many at once."""

    capacity: int

    def submit(self, attempt: Attempt, done: Callable[[Outcome], None]) -> None:
        """Run the attempt; call ``done`` once, on the event loop (an inline executor: before this returns)."""
        ...

    def cancel(self, attempt: Attempt) -> None:
        """Ask a running body to end: an async one is cancelled, a thread sees ``ctx.cancelled``."""
        ...

    def close(self) -> None:
        """Take no more; what runs is left to end or to die with the process."""
        ...
