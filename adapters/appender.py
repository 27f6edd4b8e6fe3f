"""The one way into the log of a process (rule A1, DESIGN §7.5): group commit.

One thread commits in turns: while one transaction is under way, whatever else is appended gathers, and the next takes
all of it. No delay is added: a lone run commits at once, a hundred runs share a commit.

Handing an append to the thread and its result back costs 0.1 ms, several times that where both have slept. So, while
commits are quick (`IN_PLACE_S`) and the thread has nothing to do, an append that is alone in its turn of the event loop
is committed in place; also one that takes longer (`LONE_S`), as long as nothing but its run needs the loop: whatever
happens to a run meanwhile has to wait for its append anyway.

Back-pressure is the rule of one append in flight per run: no more requests wait than there are live runs, and a run
whose append waits has nothing else to add. What can grow is their size, so the bytes are bounded: an append over the
bound waits a moment for room, then is answered with `StoreUnavailable`. Waiting cannot deadlock: the thread needs
nothing of the event loop.

A store that is away for a while (a restart, a fail-over, a full disk, another writer's lock) ends no run: the same
requests are sent again, with pauses, and the store says of those that had arrived that they have (A3). Each append
waits `OUTAGE_S` at most; no longer once this process is fenced or the appender is closed.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from queue import Empty, SimpleQueue
from threading import Event, Thread
from time import monotonic, perf_counter
from typing import NamedTuple, Protocol

from flowledger.adapters.failpoint import reach
from flowledger.events.errors import StoreError, StoreUnavailable
from flowledger.events.store import Append, AppendResult, Store

#: What one transaction takes at most (a single larger append still goes, alone).
TURN_EVENTS = 2_000
TURN_BYTES = 1_000_000
#: What may wait at most, and how long an append waits for room.
QUEUE_BYTES = 256_000_000
PATIENCE_S = 5.0
#: How long an append waits at most for a store that is away, and the pauses between two attempts.
OUTAGE_S = 30.0
FIRST_PAUSE_S = 0.05
LONGEST_PAUSE_S = 1.0
#: Where commits take less than this on average, a lone append blocks the event loop rather than change threads.
IN_PLACE_S = 0.001
LONE_S = 0.02
#: How long such appends may keep the event loop before others get a turn.
TURN_S = 0.002

Done = Callable[[AppendResult], None]

_LOG = logging.getLogger("flowledger.appender")


class Appender(Protocol):
    """`core.ports.Appender`, with its end and its counters."""

    commits: int  # turns: calls of `Store.append` that the store has answered
    requests: int  # appends answered
    events: int  # events in them

    def append(self, request: Append, done: Done) -> None:
        """See `core.ports.Appender.append`. Called on the event loop."""
        ...

    def close(self) -> None:
        """Write what has been appended, then end. Later appends are answered with `StoreUnavailable`."""
        ...


def open_appender(
    store: Store, loop: asyncio.AbstractEventLoop, *,
    outage_s: float = OUTAGE_S, fenced: Callable[[], bool] = lambda: False, lone: Callable[[], bool] = lambda: False,
) -> Appender:  # fmt: skip
    """The appender that fits this store; ``done`` callbacks run on ``loop``.

    ``outage_s``: how long an append waits for a store that is away; ``fenced``: whether waiting has become of no use;
    ``lone``: whether nothing but the run that appends needs the loop.
    """
    if store.immediate:
        return DirectAppender(store)
    return GroupAppender(store, loop, outage_s=outage_s, fenced=fenced, lone=lone)


class DirectAppender:
    """For a store whose append takes no I/O: no thread, no queue."""

    def __init__(self, store: Store) -> None:
        self.commits = self.requests = self.events = 0
        self._append = store.append
        self._closed = False

    def append(self, request: Append, done: Done) -> None:
        if self._closed:
            done(_closed())
            return
        self.commits += 1
        self.requests += 1
        self.events += len(request.events)
        try:
            result = self._append((request,))[0]
        except StoreUnavailable as error:
            result = error
        done(result)

    def close(self) -> None:
        self._closed = True


class _Queued(NamedTuple):
    request: Append
    done: Done
    size_bytes: int
    until: float  # monotonic: how long it may wait for a store that is away


class _Answered(NamedTuple):
    """What came of a turn: answers for these; the rest wait for the store."""

    items: Sequence[_Queued]
    results: Sequence[AppendResult]
    rest: Sequence[_Queued] = ()


class GroupAppender:
    """Commits in turns, and hands the results of each turn to the loop in one call."""

    def __init__(
        self, store: Store, loop: asyncio.AbstractEventLoop, *,
        queue_bytes: int = QUEUE_BYTES, patience_s: float = PATIENCE_S, in_place_s: float = IN_PLACE_S,
        outage_s: float = OUTAGE_S, fenced: Callable[[], bool] = lambda: False,
        lone: Callable[[], bool] = lambda: False,
    ) -> None:  # fmt: skip
        self.commits = self.requests = self.events = 0
        self._store = store
        self._loop = loop
        self._queue_bytes = queue_bytes
        self._patience_s = patience_s
        self._in_place_s = in_place_s
        self._outage_s = outage_s
        self._fenced = fenced
        self._lone = lone
        self._away_since: float | None = None  # monotonic
        self._commit_s = in_place_s  # moving average; it takes a quick commit of the thread to begin in place
        self._last_run = ""
        self._in_turn = False
        self._gathered: list[_Queued] = []  # of this turn of the loop
        self._queue: SimpleQueue[_Queued | None] = SimpleQueue()
        self._room = Event()
        # What went to the thread and what came out of it: one writer each, so that neither needs a lock.
        self._queued_bytes = self._settled_bytes = 0
        self._queued = self._settled = 0
        self._closed = False
        self._closing = Event()
        self._thread = Thread(target=self._run, name="flowledger-appender", daemon=True)
        self._thread.start()

    def append(self, request: Append, done: Done) -> None:
        if self._closed:
            self._loop.call_soon(done, _closed())
            return
        item = _Queued(request, done, _size_bytes(request), monotonic() + self._outage_s)
        alone = request.run_id == self._last_run  # among many runs, waiting for company is what fills a commit
        self._last_run = request.run_id
        if self._gathered:
            self._gathered.append(item)
        elif alone and self._queued == self._settled and self._is_quick():
            self._gathered.append(item)
            if not self._in_turn:
                self._loop.call_soon(self._turn)
        else:
            self._hand_over(item)

    def _is_quick(self) -> bool:
        """Whether commits take so little that the loop can wait for them, and none has to wait for a transaction."""
        if self._store.is_locked:
            return False
        return self._commit_s < self._in_place_s or (self._commit_s < LONE_S and self._lone())

    def close(self) -> None:
        """See `Appender.close`. Called on the event loop, or once it has stopped."""
        if not self._closed:
            self._closed = True
            for item in self._gathered:
                self._hand_over(item)
            self._gathered = []
            self._queue.put(None)
            self._closing.set()
        self._thread.join()

    def _turn(self) -> None:
        """What this turn of the loop has appended: one is committed here and now, more go to the thread.

        A run whose bodies are as quick as its commits appends again at once: it goes on here, for a moment.
        """
        until = monotonic() + TURN_S
        self._in_turn = True
        while len(self._gathered) == 1 and monotonic() < until:
            gathered, self._gathered = self._gathered, []
            items, results, waiting = self._commit(gathered)
            _deliver(items, results)
            self._gathered[:0] = waiting
            if waiting:
                break
        self._in_turn = False
        gathered, self._gathered = self._gathered, []
        if len(gathered) == 1 and self._away_since is None:
            self._gathered = gathered
            self._loop.call_soon(self._turn)
            return
        for item in gathered:
            self._hand_over(item)

    def _hand_over(self, item: _Queued) -> None:
        if self._has_room(item.size_bytes) or self._wait_for_room(item.size_bytes):
            self._queued_bytes += item.size_bytes
            self._queued += 1
            self._queue.put(item)
        else:
            self._loop.call_soon(item.done, _overfull(self._queue_bytes))

    def _has_room(self, size_bytes: int) -> bool:
        waiting_bytes = self._queued_bytes - self._settled_bytes
        return not waiting_bytes or waiting_bytes + size_bytes <= self._queue_bytes

    def _wait_for_room(self, size_bytes: int) -> bool:
        deadline = monotonic() + self._patience_s
        while True:
            self._room.clear()
            if self._has_room(size_bytes):
                return True
            if not self._room.wait(deadline - monotonic()):
                return False

    # -- on the appender's thread ---------------------------------------------------------------

    def _run(self) -> None:
        held: deque[_Queued] = deque()
        open_ = True
        while open_ or held:
            open_ = self._gather(held, wait=open_ and not held) and open_
            turn = _take_turn(held)
            if turn:
                items, results, rest = self._commit(turn)
                self._hand_back(items, results)
                if rest:
                    held.extendleft(reversed(rest))
                    self._closing.wait(self._pause_s())

    def _gather(self, held: deque[_Queued], *, wait: bool) -> bool:
        """Move what has been appended into ``held``; False once there will be no more."""
        with suppress(Empty):
            while (item := self._queue.get(block=wait)) is not None:
                held.append(item)
                wait = False
            return False
        return True

    def _hand_back(self, items: Sequence[_Queued], results: Sequence[AppendResult]) -> None:
        self._settled_bytes += sum([item.size_bytes for item in items])
        self._settled += len(items)
        self._room.set()
        with suppress(RuntimeError):  # the loop is closed: nobody waits for an answer any more
            self._loop.call_soon_threadsafe(_deliver, items, results)

    # -- on either ------------------------------------------------------------------------------

    def _commit(self, turn: Sequence[_Queued]) -> _Answered:
        began = perf_counter()
        try:
            answered = _Answered(turn, self._results([item.request for item in turn]))
        except StoreUnavailable as error:
            answered = self._unreached(turn, error)
        else:
            self._reached()
            self.commits += 1
        self._commit_s += (perf_counter() - began - self._commit_s) / 8
        self.requests += len(answered.items)
        self.events += sum([len(item.request.events) for item in answered.items])
        reach("append.before_ack")
        return answered

    def _results(self, batch: Sequence[Append]) -> Sequence[AppendResult]:
        try:
            return self._store.append(batch)
        except StoreUnavailable:
            raise
        except Exception as error:  # noqa: BLE001 - a bug must not end the thread that every run waits for
            return [StoreError(f"run {request.run_id}: the append went wrong: {error!r}") for request in batch]

    # -- a store that is away -------------------------------------------------------------------

    def _unreached(self, turn: Sequence[_Queued], error: StoreUnavailable) -> _Answered:
        """Who has waited long enough is answered; the others' requests will be sent again as they are."""
        now = monotonic()
        if self._away_since is None:
            self._away_since = now
            _LOG.warning("appends wait up to %g s for the store: %s", self._outage_s, error)
        over = self._closed or self._fenced()
        items = [item for item in turn if over or now >= item.until]
        rest = [] if over else [item for item in turn if now < item.until]
        return _Answered(items, [StoreUnavailable(error.message, hint=error.hint) for _ in items], rest)

    def _reached(self) -> None:
        if self._away_since is not None:
            _LOG.warning("the store is back after %.1f s", monotonic() - self._away_since)
            self._away_since = None

    def _pause_s(self) -> float:
        """A quarter of the time the store has been away: soon at first, then less and less often."""
        away_s = 0.0 if self._away_since is None else monotonic() - self._away_since
        return min(max(FIRST_PAUSE_S, away_s / 4), LONGEST_PAUSE_S)


def _take_turn(held: deque[_Queued]) -> list[_Queued]:
    """What the next transaction takes, first come first served; a run's second append stays for the turn after."""
    turn: list[_Queued] = []
    later: list[_Queued] = []
    runs: set[str] = set()
    events = size_bytes = 0
    while held:
        item = held[0]
        events += len(item.request.events)
        size_bytes += item.size_bytes
        if turn and (events > TURN_EVENTS or size_bytes > TURN_BYTES):
            break
        held.popleft()
        (later if item.request.run_id in runs else turn).append(item)
        runs.add(item.request.run_id)
    held.extendleft(reversed(later))
    return turn


def _deliver(items: Sequence[_Queued], results: Sequence[AppendResult]) -> None:
    if not items:
        return
    for item, result in zip(items, results, strict=True):
        item.done(result)
    reach("append.after_ack")


def _size_bytes(request: Append) -> int:
    size = sum([len(event.payload) for event in request.events])
    if request.payloads:
        size += sum([len(payload.content) for payload in request.payloads])
    if request.plans:
        size += sum([len(plan.document) for plan in request.plans])
    return size


def _closed() -> StoreUnavailable:
    return StoreUnavailable("the appender has been closed")


def _overfull(queue_bytes: int) -> StoreUnavailable:
    return StoreUnavailable(
        f"more than {queue_bytes:,} bytes of events wait for the store",
        hint="the store is slower than the runs: run fewer at once, or keep large values elsewhere",
    )
