"""Listeners: told in this process of every event of its runs, once durable; never in the way of a run.

Each listener has a thread of its own and a queue before it. The engine only puts into the queue and goes on: a listener
that is slow, raises, or never comes back delays nobody but itself. What no longer fits is left out, the oldest first,
and that is said in the log of the process; the log of the run has it all.
"""

from __future__ import annotations

import asyncio
import inspect
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Sequence
from difflib import get_close_matches
from logging import getLogger
from threading import Condition, Lock, Thread, current_thread
from time import monotonic
from typing import Any, NamedTuple

from flowledger.events.codec import opened
from flowledger.events.envelope import Envelope, StoredEvent
from flowledger.events.errors import IllegalRequest, InputError
from flowledger.events.facts import EVENTS, Event

MOST_WAITING = 10_000  # what a listener may be behind before the oldest is left out
DRAIN_S = 2.0  # how long a closing app waits for its listeners
IDLE_S = 5.0  # how long a listener's thread waits for more before it ends; the next event starts another

_LOG = getLogger("flowledger.listeners")
_NAMES = tuple(cls.__name__ for cls in EVENTS)


class Progress(NamedTuple):
    """How far a body says it has got (`TaskContext.progress`). Told to who listens, kept nowhere."""

    run_id: str
    path: str
    attempt: int
    fraction: float  # 0.0 to 1.0
    message: str


EventListener = Callable[[Envelope], object]  # an async one gives an awaitable
ProgressListener = Callable[[Progress], object]


class Listeners:
    """All listeners of an app. `tell` and `progress` may be called from any thread; they never wait and never raise."""

    def __init__(self) -> None:
        self._lock = Lock()
        # replaced as a whole, so that who tells needs no lock
        self._events: tuple[Queue, ...] = ()
        self._progress: tuple[Queue, ...] = ()

    def __bool__(self) -> bool:
        """Whether anybody wants events."""
        return bool(self._events)

    # -- who listens ----------------------------------------------------------------------------

    def add(self, listener: EventListener, events: Sequence[str | type[Event]]) -> None:
        """Tell ``listener`` of these events from now on; none named: of all.

        Raises:
            InputError: there is no event of that name, or it cannot be called.
            IllegalRequest: it listens already.
        """
        types = event_types(events)
        with self._lock:
            self._events = (*self._events, self._new(listener, types, self._events))

    def add_progress(self, listener: ProgressListener) -> None:
        """Tell ``listener`` what bodies say of their progress."""
        with self._lock:
            self._progress = (*self._progress, self._new(listener, frozenset(), self._progress))

    def remove(self, listener: Callable[..., object]) -> None:
        """Tell it no more; what it was told already it still hears.

        Raises:
            IllegalRequest: it does not listen.
        """
        with self._lock:
            gone = [queue for queue in (*self._events, *self._progress) if queue.listener == listener]
            if not gone:
                raise IllegalRequest(f"{_called(listener)} does not listen")
            self._events = tuple(queue for queue in self._events if queue not in gone)
            self._progress = tuple(queue for queue in self._progress if queue not in gone)

    def _new(self, listener: Callable[..., object], types: frozenset[str], others: Sequence[Queue]) -> Queue:
        if not callable(listener):
            raise InputError(
                f"{listener!r} cannot listen", field="listener", expected="a callable", given=repr(listener)
            )
        if any(queue.listener == listener for queue in others):
            raise IllegalRequest(f"{_called(listener)} listens already", hint="name all its events in one call")
        return Queue(listener, types)

    # -- telling --------------------------------------------------------------------------------

    def tell(self, run_id: str, events: Sequence[StoredEvent]) -> None:
        """These events of a run are durable."""
        envelopes: dict[int, Envelope] = {}  # each is read once, and only if somebody wants it
        for queue in self._events:
            for event in events:
                if queue.wants(event.type):
                    if event.version not in envelopes:
                        envelopes[event.version] = next(opened(run_id, (event,)))
                    queue.put(envelopes[event.version])

    def progress(self, run_id: str, path: str, attempt: int, fraction: float, message: str) -> None:
        """A body says how far it has got."""
        for queue in self._progress:
            queue.put(Progress(run_id, path, attempt, fraction, message))

    def drain(self, timeout_s: float | None = None, *, listener: Callable[..., object] | None = None) -> bool:
        """Wait until everybody (or ``listener``) has heard what there was to tell; False if that takes longer than
        ``timeout_s`` (2 s)."""
        until = monotonic() + (DRAIN_S if timeout_s is None else timeout_s)
        queues = [q for q in (*self._events, *self._progress) if listener is None or q.listener == listener]
        return all(queue.drain(until) for queue in queues)


class Queue:
    """One listener, what it has yet to hear, and the thread on which it hears it."""

    def __init__(self, listener: Callable[..., object], types: frozenset[str]) -> None:
        self.listener = listener
        self._types = types
        self._changed = Condition()
        self._waiting: deque[Envelope | Progress] = deque()
        self._left_out = 0
        self._hears = False  # it is being told something just now
        self._thread: Thread | None = None

    def wants(self, type_: str) -> bool:
        """Whether it asked for events of this name."""
        return not self._types or type_ in self._types

    def put(self, what: Envelope | Progress) -> None:
        """Let it hear this when its turn comes."""
        with self._changed:
            if len(self._waiting) >= MOST_WAITING:
                self._waiting.popleft()
                self._left_out += 1
            self._waiting.append(what)
            if self._thread is None:
                self._thread = Thread(target=self._work, name=f"flowledger-{_called(self.listener)}", daemon=True)
                self._thread.start()
            self._changed.notify_all()

    def drain(self, until: float) -> bool:
        """Wait until it has heard everything, ``until`` this monotonic time at most. A listener does not wait for
        itself."""
        if self._thread is current_thread():
            return True
        with self._changed:
            return self._changed.wait_for(lambda: not self._waiting and not self._hears, max(0.0, until - monotonic()))

    # -- on its thread --------------------------------------------------------------------------

    def _work(self) -> None:
        runner = asyncio.Runner()  # has a loop from its first coroutine on
        while (what := self._next()) is not None:
            self._let_hear(runner, what)
        runner.close()

    def _next(self) -> Envelope | Progress | None:
        with self._changed:
            self._hears = False
            self._changed.notify_all()
            if not self._changed.wait_for(lambda: self._waiting, IDLE_S):
                self._thread = None
                return None
            left_out, self._left_out = self._left_out, 0
            self._hears = True
            what = self._waiting.popleft()
        if left_out:
            _LOG.warning("listener %s is behind: %d events were left out", _called(self.listener), left_out)
        return what

    def _let_hear(self, runner: asyncio.Runner, what: Envelope | Progress) -> None:
        try:
            answer = self.listener(what)
            if inspect.isawaitable(answer):
                runner.run(_awaited(answer))
        except BaseException:  # noqa: BLE001 - whatever it raises is nobody's business but its own
            _LOG.exception("listener %s failed on %s", _called(self.listener), _said(what))


async def _awaited(answer: Awaitable[Any]) -> None:
    await answer


def _said(what: Envelope | Progress) -> str:
    if isinstance(what, Progress):
        return f"the progress of {what.path} in run {what.run_id}"
    return f"event {what.version} {what.type} of run {what.run_id}"


def _called(listener: Callable[..., object]) -> str:
    name: str = getattr(listener, "__qualname__", type(listener).__qualname__)
    return name


def event_types(events: Iterable[str | type[Event]]) -> frozenset[str]:
    """The names of these events.

    Raises:
        InputError: there is no event of that name.
    """
    return frozenset(_name(event) for event in events)


def _name(event: str | type[Event]) -> str:
    name = event if isinstance(event, str) else getattr(event, "__name__", repr(event))
    if name in _NAMES:
        return name
    near = get_close_matches(name, _NAMES, n=1)
    raise InputError(
        f"there is no event {name!r}", field="events", given=name, expected="the class or name of an event",
        hint=f"did you mean {near[0]}?" if near else "docs/semantics.md and flowledger.events.facts name them all",
    )  # fmt: skip
