"""`RunDriver`: drives one run. Outcomes, timers and requests come in; events go out; bodies start once that is durable.

One turn: take in what has happened since the last append, ask `decide`, perform what there is room for, append all of
it as one commit, and when that is acknowledged start the bodies whose start it holds. A straight line therefore costs
one commit per task: TaskSucceeded(k) and TaskStarted(k+1) ride together (DESIGN §5).

Everything here runs on the engine's event loop; bodies run elsewhere and report through `outcome`.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from time import monotonic
from typing import Any

from flowledger.core import decide as deciding
from flowledger.core.actions import Wait
from flowledger.core.plan import Plan
from flowledger.core.ports import Appender, Clock, Ids
from flowledger.core.state import State
from flowledger.core.values import Values
from flowledger.events import facts
from flowledger.events.envelope import Envelope
from flowledger.events.errors import FlowledgerError, InternalError, StoreError
from flowledger.events.facts import Event, RequestKind
from flowledger.events.failure import Failure
from flowledger.events.store import FINAL, AppendResult

from . import performing, settling
from .attempt import Attempt, Executor, Outcome
from .drafts import Drafts
from .resources import ResourcePool
from .slots import Slots

Observer = Callable[[Sequence[Envelope]], None]

TURN_S = 0.01  # how long a run may keep the loop to itself before others get a turn


@dataclass(frozen=True, slots=True)
class Lane:
    """One kind of executor with its slots."""

    executor: Executor
    slots: Slots


@dataclass(frozen=True, slots=True, kw_only=True)
class Services:
    """What a process gives all its runs."""

    loop: asyncio.AbstractEventLoop
    appender: Appender
    clock: Clock
    ids: Ids
    lanes: Mapping[str, Lane]
    resources: ResourcePool
    actor: str
    inline_bytes: int
    max_bytes: int


class RunDriver:
    """Drives one run until it is final, suspended, or lost to this process.

    ``finished`` resolves with None, or with the error that took the run away from here (`Fenced`, `StoreUnavailable`).
    """

    def __init__(
        self, services: Services, *, run_id: str, plan: Plan, state: State, head: bytes, epoch: int,
        moved: dict[str, bytes], observe: Observer | None = None,
    ) -> None:  # fmt: skip
        self.services = services
        self.run_id = run_id
        self.plan = plan
        self.state = state
        self.drafts = Drafts(run_id, state, services.clock, actor=services.actor, head=head, epoch=epoch)
        self.moved = moved
        self.values = Values(plan, state, moved=moved, resource=self._resource)
        self.finished: asyncio.Future[None] = services.loop.create_future()
        self.exceptions: dict[str, BaseException] = {}  # by path, for __cause__ in this process
        self.live: dict[int, Attempt] = {}  # bodies that run here, polls included
        self.acquiring: set[int] = set()
        self.unfit: dict[int, Failure] = {}  # atoms whose resources could not be made
        self.polls_due: set[int] = set()
        self.poll_counts: dict[int, int] = {}  # all polls of this try, also the ones between two lines of the log
        self.poll_logged_us: dict[int, int] = {}
        self._observers: list[Observer] = [observe] if observe else []
        self._inline = Slots(1)  # bodies of the inline lane run one at a time within a run (D8)
        self._starting: list[Attempt] = []
        self._outcomes: deque[tuple[Attempt, Outcome]] = deque()
        self._fired: list[Wait] = []
        self._requests: list[tuple[RequestKind, str, str]] = []
        self._timers: dict[int, tuple[Wait, asyncio.TimerHandle]] = {}
        self._in_flight = False
        self._turning = False
        self._again = False
        self._lost = False

    # -- what comes in --------------------------------------------------------------------------

    def outcome(self, attempt: Attempt, outcome: Outcome) -> None:
        """A body ended (called on the loop)."""
        self._outcomes.append((attempt, outcome))
        self.advance()

    def request(self, kind: RequestKind, *, reason: str, actor: str, later: bool = False) -> None:
        """A person asks something of this run (called on the loop); ``later``: answered by the first turn."""
        self._requests.append((kind, reason, actor))
        if not later:
            self.advance()

    @property
    def head(self) -> bytes:
        """The hash of the run's last event."""
        return self.drafts.head

    def observe(self, observer: Observer) -> None:
        """Tell ``observer`` of every event from now on, once it is durable."""
        self._observers.append(observer)

    def lose(self, error: FlowledgerError) -> None:
        """This process may not drive the run any more: nothing is appended, running bodies see the flag."""
        if not self._lost:
            self._lost = True
            self._leave(error)

    @property
    def is_over(self) -> bool:
        """Whether this driver will append nothing more."""
        return self._lost or self.finished.done()

    # -- one turn -------------------------------------------------------------------------------

    def advance(self) -> None:
        """Go as far as possible now. Called whenever something has happened; calls from within are folded into it."""
        if self._turning:
            self._again = True
            return
        self._turning = True
        until = monotonic() + TURN_S
        try:
            self._again = True
            while self._again and not self.is_over:
                self._again = False
                self._turn()
                if monotonic() > until:
                    self.services.loop.call_soon(self.advance)
                    break
        except Exception as error:  # noqa: BLE001 - a bug of ours must end the run here, not hang it
            self.lose(_internal(error))
        finally:
            self._turning = False

    def _turn(self) -> None:
        if self._in_flight:
            return
        self._take_in()
        performing.perform_all(self)
        if deciding.suspended(self.state) and not self.live:
            self.draft(0, facts.RunSuspended())
        if len(self.drafts):
            self._append()
        elif self._starting:
            self._start()
        if not self._in_flight:
            self._share_slots()

    def _take_in(self) -> None:
        while self._outcomes:
            attempt, outcome = self._outcomes.popleft()
            settling.settle(self, attempt, outcome)
        for wait in self._fired:
            if self.state.due.get(wait.node) == wait:
                self.draft(wait.node, facts.TimerFired(due=wait.until_us))
        self._fired.clear()
        for kind, reason, actor in self._requests:
            self._answer(kind, reason, actor)
        self._requests.clear()

    def _answer(self, kind: RequestKind, reason: str, actor: str) -> None:
        request = self.services.ids.request_id()
        if kind == "suspend" and self.state.status != "RUNNING":
            return  # already on its way
        self.draft(0, facts.RequestAccepted(request=request, kind=kind, reason=reason), actor=actor)

    def draft(self, number: int, event: Event, *, actor: str | None = None) -> None:
        """Fold one event and let it ride in the next append."""
        self.drafts.add(number, event, actor=actor)

    # -- appending ------------------------------------------------------------------------------

    def _append(self) -> None:
        append, envelopes = self.drafts.take()
        for row in append.payloads:
            self.moved[row.digest] = row.content
        self._in_flight = True
        self.services.appender.append(append, lambda result: self._appended(result, envelopes))

    def _appended(self, result: AppendResult, envelopes: list[Envelope]) -> None:
        self._in_flight = False
        if self._lost:
            return
        if isinstance(result, StoreError):
            self.lose(result)
            return
        self._tell(envelopes)
        if self.state.status in FINAL or self.state.status == "SUSPENDED":
            self._leave(None)
            return
        self._set_timers(envelopes)
        self._start()
        self.advance()

    def _tell(self, envelopes: list[Envelope]) -> None:
        for observer in self._observers:
            with suppress(Exception):  # an observer can never disturb a run
                observer(envelopes)

    # -- bodies ---------------------------------------------------------------------------------

    def room(self) -> dict[str, int]:
        """How many bodies may start now, by lane."""
        room = {name: lane.slots.free for name, lane in self.services.lanes.items()}
        room["inline"] = self._inline.free
        return room

    def slots(self, lane: str) -> Slots:
        """The slots of a lane; the inline lane has its own in each run."""
        return self._inline if lane == "inline" else self.services.lanes[lane].slots

    def start_when_durable(self, attempt: Attempt) -> None:
        """Start this body once what has been drafted is acknowledged."""
        self.live[attempt.node.number] = attempt
        self._starting.append(attempt)

    def _start(self) -> None:
        starting, self._starting = self._starting, []
        for attempt in starting:
            executor = self.services.lanes[settling.lane_of(attempt)].executor
            settling.watch(self, attempt, executor)
            executor.submit(attempt, self._reporter(attempt))

    def _reporter(self, attempt: Attempt) -> Callable[[Outcome], None]:
        def report(outcome: Outcome) -> None:
            self.slots(settling.lane_of(attempt)).give()
            if not self.is_over:
                self.outcome(attempt, outcome)

        return report

    def _share_slots(self) -> None:
        """Stand in line for slots this run could use, and pass on what it cannot."""
        for name, lane in self.services.lanes.items():
            if name == "inline":
                continue
            if lane.slots.free == 0 and self.state.agenda.first({name: 1}):
                lane.slots.wait(self, self._wake)
            else:
                lane.slots.pass_on()

    def _wake(self) -> None:
        self.services.loop.call_soon(self.advance)

    # -- time -----------------------------------------------------------------------------------

    def _set_timers(self, envelopes: Sequence[Envelope]) -> None:
        """Timers for what the acknowledged events wait for."""
        if not self.state.due:
            return
        for envelope in envelopes:
            number = self.plan.by_path[envelope.path]
            wait = self.state.due.get(number)
            if wait is not None:
                self.set_timer(wait)

    def set_timer(self, wait: Wait, *, at_us: int | None = None) -> None:
        """Come back to a waiting node when it is due (``at_us``: at this time instead)."""
        due_us = wait.until_us if at_us is None else at_us
        delay_s = max(0.0, (due_us - self.services.clock.now_us()) / 1e6)
        old = self._timers.pop(wait.node, None)
        if old is not None:
            old[1].cancel()
        handle = self.services.loop.call_later(delay_s, self._due, wait)
        self._timers[wait.node] = (wait, handle)

    def _due(self, wait: Wait) -> None:
        self._timers.pop(wait.node, None)
        if self.is_over:
            return
        if wait.why == "poll":
            self.polls_due.add(wait.node)
        else:
            self._fired.append(wait)
        self.advance()

    def go_on(self) -> None:
        """The first turn: set the timers the log speaks of, then advance."""
        for wait in deciding.waits(self.state):
            self.set_timer(wait)
        self.advance()

    # -- the end --------------------------------------------------------------------------------

    def _leave(self, error: FlowledgerError | None) -> None:
        for _, handle in self._timers.values():
            handle.cancel()
        self._timers.clear()
        for lane in self.services.lanes.values():
            lane.slots.forget(self)
            lane.slots.pass_on()
        for attempt in self._starting:  # taken, never started
            self.slots(settling.lane_of(attempt)).give()
        self._starting.clear()
        self.services.loop.create_task(self._finish(error))

    async def _finish(self, error: FlowledgerError | None) -> None:
        await self.services.resources.close_run(self.run_id)
        if self.finished.done():
            return
        if error is None:
            self.finished.set_result(None)
        else:
            self.finished.set_exception(error)

    # -- resources ------------------------------------------------------------------------------

    def _resource(self, name: str) -> Any:
        return self.services.resources.get(name, self.run_id)

    def acquire(self, number: int, names: Sequence[str]) -> None:
        """Make the resources an atom needs, then come back to it."""
        if number not in self.acquiring:
            self.acquiring.add(number)
            self.services.loop.create_task(self._acquire(number, names))

    async def _acquire(self, number: int, names: Sequence[str]) -> None:
        try:
            await self.services.resources.acquire(names, self.run_id)
        except BaseException as error:  # noqa: BLE001 - whatever the user's code raises is a failure of the atom (D7)
            self.unfit[number] = performing.resource_failure(self, number, error)
        self.acquiring.discard(number)
        self.advance()


def _internal(error: Exception) -> FlowledgerError:
    if isinstance(error, FlowledgerError):
        return error
    wrapped = InternalError(f"the engine stopped on {type(error).__name__}: {error}")
    wrapped.__cause__ = error
    return wrapped
