"""`RunDriver`: drives one run. Outcomes, timers and requests come in; events go out; bodies start once that is durable.

One turn: take in what has happened since the last append, ask `decide`, perform what there is room for, append all of
it as one commit, and when that is acknowledged start the bodies whose start it holds. A straight line therefore costs
one commit per task: TaskSucceeded(k) and TaskStarted(k+1) ride together (DESIGN §5).

Everything here runs on the engine's event loop; bodies run elsewhere and report through `outcome`.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from functools import partial
from time import monotonic

from flowledger.core import decide as deciding
from flowledger.core.actions import Wait
from flowledger.core.plan import RUN, Plan
from flowledger.core.state import State
from flowledger.events import facts
from flowledger.events.claims import OUTCOME
from flowledger.events.codec import opened
from flowledger.events.envelope import Envelope
from flowledger.events.errors import FlowledgerError, InboxNotEmpty, InternalError, StoreError
from flowledger.events.requests import CHILD, Request, encode
from flowledger.events.store import LIVE, Append, AppendResult, Inbox

from . import performing, remote, settling
from .active import ActiveRun, Observer, Services
from .answering import Asked, answer
from .attempt import Attempt, Outcome, Unsettled

TURN_S = 0.01  # how long a run may keep the loop to itself before others get a turn


class RunDriver(ActiveRun):
    """Drives one run until it is final, suspended, or lost to this process.

    `over` tells when that is.
    """

    __slots__ = (
        "_again",
        "_answered",
        "_asked",
        "_error",
        "_fetching",
        "_finished",
        "_fired",
        "_in_flight",
        "_in_line",
        "_known",
        "_left",
        "_observers",
        "_outcomes",
        "_seen",
        "_timers",
        "_turning",
        "_waiters",
        "not_appended",
    )

    def __init__(
        self,
        services: Services,
        *,
        run_id: str,
        plan: Plan,
        state: State,
        head: bytes,
        epoch: int,
        moved: dict[str, bytes],
        observe: Observer | None = None,
    ) -> None:
        super().__init__(services, run_id=run_id, plan=plan, state=state, head=head, epoch=epoch, moved=moved)
        self._finished = False
        self._left = False  # nothing more is appended here; what the run had made is being closed
        self._error: FlowledgerError | None = None  # what took the run away from here
        self._waiters: list[asyncio.Future[None]] = []
        self._observers: list[Observer] = [observe] if observe else []
        self._outcomes: list[tuple[Attempt, Outcome]] = []
        self._fired: list[Wait] = []
        self._asked: list[Asked] = []
        self._answered: list[int] = []  # numbers of mail that the next append answers
        self._known = 0  # the number up to which mail has been delivered
        self._seen = 0  # how much mail there has been when it was last looked for
        self._fetching = False
        self._timers: dict[int, tuple[Wait, asyncio.TimerHandle]] = {}
        self._in_flight: Append | None = None
        self.not_appended: Append | None = None  # what the store refused: why the run was lost
        self._turning = False
        self._again = False
        self._in_line = False  # for a slot, or woken by one

    async def over(self) -> None:
        """Wait until this driver does nothing more. Who waits may be cancelled; the run goes on.

        Raises:
            Fenced, StoreUnavailable: what took the run away from this process.
        """
        if not self._finished:
            waiter = self.services.loop.create_future()
            self._waiters.append(waiter)
            await waiter
        if self._error is not None:
            raise self._error

    # -- what comes in --------------------------------------------------------------------------

    def outcome(self, attempt: Attempt, outcome: Outcome) -> None:
        """A body ended (called on the loop)."""
        if isinstance(outcome, Unsettled):
            self.lose(outcome.error)
            return
        self._outcomes.append((attempt, outcome))
        self.advance()

    def committed(self, number: int, content: bytes) -> None:
        """A transaction of an owner that is gone has been committed, but its event was not: here it is (C8)."""
        settling.committed(self, self.plan.nodes[number], content)

    def request(self, request: Request, *, actor: str, later: bool = False) -> None:
        """A person in this process asks something of this run (called on the loop); what does not fit its state is
        passed over. ``later``: answered by the first turn."""
        self._asked.append(Asked(self.services.ids.request_id(), request.kind, encode(request), actor))
        if not later:
            self.advance()

    @property
    def is_new(self) -> bool:
        """Whether nothing of the run has been stored yet, so that nobody can have sent it anything."""
        return self.drafts.expected == 0

    @property
    def known_mail(self) -> int:
        """The number up to which the run's mail has been delivered."""
        return self._known

    def deliver(self, inbox: Inbox, *, later: bool = False) -> None:
        """The run's inbox as it was a moment ago (called on the loop): what is new in it is answered."""
        self._seen = max(self._seen, inbox.requests)
        self._fetching = False
        for row in inbox.rows:
            if row.number > self._known:
                self._known = row.number
                self._asked.append(Asked(row.id, row.kind, row.content, row.actor, row.number))
        if not later:
            self.advance()

    def give_up(self, reason: str) -> None:
        """Start no more bodies; once none runs here, leave the run to whoever claims it next (called on the loop)."""
        if self.giving_up is None:
            self.giving_up = reason
            self.advance()

    @property
    def _local(self) -> bool:
        """Whether a body runs here. What workers make goes on, whoever drives the run (C3)."""
        return any(attempt.lane != "workers" for attempt in self.live.values())

    @property
    def head(self) -> bytes:
        """The hash of the run's last event."""
        return self.drafts.head

    def observe(self, observer: Observer) -> None:
        """Tell ``observer`` of every event from now on, once it is durable."""
        self._observers.append(observer)

    def lose(self, error: FlowledgerError) -> None:
        """This process may not drive the run any more: nothing is appended, running bodies see the flag."""
        if not self.lost:
            self.lost = True
            self._leave(error)

    @property
    def is_over(self) -> bool:
        """Whether this driver will append nothing more."""
        return self.lost or self._left

    @property
    def waits_elsewhere(self) -> bool:
        """Whether work of this run is under way on another thread: an append, or a body that is no coroutine."""
        return (
            self._in_flight is not None
            or self.settling > 0
            or any(not attempt.call.is_async or attempt.node.lane == "workers" for attempt in self.live.values())
        )

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
            while self._again and not (self.lost or self._left):
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
        if self._in_flight or self._fetching:
            return
        self._take_in()
        self.refused.clear()
        performing.perform_all(self)
        if self.state.status == "SUSPENDING" or self.giving_up is not None:
            self._let_go()
        if self.drafts.events:
            self._append()
        elif self.starting:
            self._start()
        if not self._in_flight and (self.refused or self._in_line or self.state.agenda.entries):
            self._share_slots()

    def _let_go(self) -> None:
        """Suspend the run, or give it up, once nothing of it runs here any more (G2, B4)."""
        if deciding.suspended(self.state) and not self.live:
            self.draft(RUN, facts.RunSuspended(held=deciding.held_paths(self.state)))
        elif self.giving_up is not None and not self._local and self.state.status in LIVE and not self.drafts.release:
            self.draft(0, facts.RunReleased(reason=self.giving_up))
            self.drafts.release = True

    def _take_in(self) -> None:
        if self._outcomes:
            outcomes, self._outcomes = self._outcomes, []
            for attempt, outcome in outcomes:
                settling.settle(self, attempt, outcome)
        if self._fired or self._asked:
            self._hear()

    def _hear(self) -> None:
        """What timers and people say."""
        for wait in self._fired:
            if self.state.due.get(wait.node) == wait:
                self.draft(wait.node, facts.TimerFired(due=wait.until_us))
        self._fired.clear()
        for asked in self._asked:
            if asked.kind == CHILD:
                self.child_ended(asked.content.decode())
            elif asked.kind == OUTCOME:
                remote.hear_outcome(self, asked)
            else:
                answer(self, asked)
            if asked.number is not None:
                self._answered.append(asked.number)
        self._asked.clear()

    # -- appending ------------------------------------------------------------------------------

    def _append(self) -> None:
        append = self.drafts.take(answers=self._answered, seen=self._seen)
        if self._answered:
            self._answered = []
        for row in append.payloads:
            self.moved[row.digest] = row.content
        self._in_flight = append
        self.services.appender.append(append, self._appended)

    def _appended(self, result: AppendResult) -> None:
        append = self._in_flight
        self._in_flight = None
        if self.lost or append is None:
            return
        if isinstance(result, StoreError):
            if isinstance(result, InboxNotEmpty):
                self._read_mail_first(append)
            else:
                self.not_appended = append
                self.lose(result)
            return
        self.begun(append)
        if append.release:
            self._leave(None)
            return
        if self.state.due:
            self._set_timers(append)
        self._start()
        self.advance()

    def _read_mail_first(self, append: Append) -> None:
        """The run was to end or to be suspended, but there is mail (G1): answer it, and decide again."""
        self.drafts.put_back(append)
        self._answered = list(append.answers)
        self._fetching = True
        self.services.post.fetch(self.run_id)

    def begun(self, append: Append) -> None:
        """Tell of an append that is durable; also of one that was made for this run, together with another's (G6)."""
        if self.services.listeners:
            self.services.listeners.tell(self.run_id, append.events)
        if self._observers:
            self._tell(list(opened(self.run_id, append.events)))

    def _tell(self, envelopes: list[Envelope]) -> None:
        for observer in self._observers:
            with suppress(Exception):  # an observer can never disturb a run
                observer(envelopes)

    # -- bodies ---------------------------------------------------------------------------------

    def _start(self) -> None:
        starting, self.starting = self.starting, []
        for attempt in starting:
            executor = self.services.lanes[attempt.lane].executor
            if attempt.lane != "workers" and attempt.is_limited:  # workers keep its time, and it begins when they do
                settling.watch(self, attempt, executor)
            executor.submit(attempt, partial(self._report, attempt))

    def _report(self, attempt: Attempt, outcome: Outcome) -> None:
        if attempt.limit is not None:
            attempt.no_limit()
        self.slots(attempt.lane).give(took_s=attempt.took_s)
        if not (self.lost or self._left):
            self.outcome(attempt, outcome)

    def _share_slots(self) -> None:
        """Stand in line for slots this run could use, and pass on what it cannot."""
        self._in_line = False
        for name, lane in self.services.lanes.items():
            if name == "inline":
                continue
            refused = name in self.refused
            if refused or (lane.slots.free == 0 and self.state.agenda.has(name)):
                self._in_line = True
                lane.slots.wait(self, self._wake, in_hand=refused)
            else:
                lane.slots.forget(self)
                lane.slots.pass_on()

    def _wake(self) -> None:
        self.services.loop.call_soon(self.advance)

    # -- time -----------------------------------------------------------------------------------

    def _set_timers(self, append: Append) -> None:
        """Timers for what the acknowledged events wait for."""
        for event in append.events:
            wait = self.state.due.get(self.plan.by_path[event.path])
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
            self.polls_due[wait.node] = None
        else:
            self._fired.append(wait)
        self.advance()

    def go_on(self) -> None:
        """The first turn: set the timers the log speaks of, then advance."""
        for wait in deciding.waits(self.state):
            self.set_timer(wait)
            task = self.plan.nodes[wait.node].task
            if task is not None and task.child and wait.why == "poll":
                self.polls_due[wait.node] = None  # whoever drove the run may have driven its child (G7)
        self.advance()

    # -- the end --------------------------------------------------------------------------------

    def _leave(self, error: FlowledgerError | None) -> None:
        self._left = True
        for _, handle in self._timers.values():
            handle.cancel()
        self._timers.clear()
        for attempt in list(self.live.values()):
            attempt.no_limit()
            if attempt.lane == "workers":  # it goes on, and its outcome is for whoever drives the run then
                del self.live[attempt.node.number]
                self.slots("workers").give()
        for lane in self.services.lanes.values():
            lane.slots.forget(self)
            lane.slots.pass_on()
        for attempt in self.starting:  # taken, never started
            if attempt.lane != "workers":
                self.slots(attempt.lane).give()
        self.starting.clear()
        if self.noted:
            self.services.notes.forget(self.run_id)
        self.services.loop.create_task(self._finish(error))

    async def _finish(self, error: FlowledgerError | None) -> None:
        await self.services.resources.close_run(self.run_id)
        if self._finished:
            return
        self._finished, self._error = True, error
        for waiter in self._waiters:
            if not waiter.done():  # whoever waited may have been cancelled
                waiter.set_result(None)


def _internal(error: Exception) -> FlowledgerError:
    if isinstance(error, FlowledgerError):
        return error
    wrapped = InternalError(f"the engine stopped on {type(error).__name__}: {error}")
    wrapped.__cause__ = error
    return wrapped
