"""`ActiveRun`: a run while a process drives it. What its parts share: plan, state, next append, bodies that run here.

`RunDriver` (run.py) adds the turns; `performing` and `settling` work on this and know nothing of turns.
"""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from msgspec.structs import replace as replaced

from flowledger.core.actions import CONTROL, Wait
from flowledger.core.evolve import ended
from flowledger.core.flowing import may_start
from flowledger.core.plan import Node, Plan
from flowledger.core.ports import Appender, Children, Clock, Ids, Listeners, Post, ProgressNotes, Vaults, Workers
from flowledger.core.state import Ended, State
from flowledger.core.values import Values
from flowledger.events.envelope import Envelope
from flowledger.events.errors import FlowledgerError, StoreError
from flowledger.events.facts import OutcomeIgnored, Phase, Progress, Raw
from flowledger.events.failure import Failure
from flowledger.events.transactions import Transactions

from .attempt import Attempt, Executor, Outcome, failure_of
from .drafts import Drafts
from .resources import ResourcePool
from .slots import Slots
from .transacting import TransactionalAttempt

Observer = Callable[[Sequence[Envelope]], None]


class Making(Protocol):
    """An executor that has to be made before bodies can run on it. ``capacity`` is right once it is."""

    capacity: int

    @property
    def is_made(self) -> bool:
        """Whether it is there. One that breaks may have to be made again."""
        ...

    async def make(self) -> None:
        """Make it, if nobody has yet; raises whatever its maker raises."""
        ...


@dataclass(frozen=True, slots=True)
class Lane:
    """One kind of executor with its slots."""

    executor: Executor
    slots: Slots
    making: Making | None = None

    async def made(self) -> None:
        """Have its executor made: it then has as many slots as that has places."""
        if self.making is not None:
            await self.making.make()
            self.slots.resize(self.making.capacity)


@dataclass(frozen=True, slots=True, kw_only=True)
class Services:
    """What a process gives all its runs."""

    loop: asyncio.AbstractEventLoop
    appender: Appender
    clock: Clock
    ids: Ids
    lanes: Mapping[str, Lane]
    resources: ResourcePool
    listeners: Listeners
    post: Post
    notes: ProgressNotes
    children: Children | None = None
    workers: Workers | None = None
    transactions: Transactions
    actor: str
    inline_bytes: int
    max_bytes: int
    vaults: Vaults


class ActiveRun(ABC):
    """One run in the hands of this process."""

    __slots__ = (
        "__weakref__",
        "acquiring",
        "draft",
        "drafts",
        "exceptions",
        "giving_up",
        "guards",
        "inline",
        "live",
        "lost",
        "moved",
        "noted",
        "plan",
        "poll_counts",
        "poll_logged_us",
        "polls_due",
        "refused",
        "run_id",
        "said",
        "services",
        "settling",
        "starting",
        "state",
        "unfit",
        "values",
        "vault",
        "woken",
        "worker",
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
    ) -> None:
        self.services = services
        self.run_id = run_id
        self.plan = state.plan
        self.state = state
        self.vault = state.vault = vault = services.vaults.of(run_id, state.plan, state.submitted)
        self.guards = not vault.is_plain
        state.moved = moved
        self.drafts = Drafts(
            run_id, state, services.clock, actor=services.actor, head=head, epoch=epoch, vault=vault, moved=moved,
            inline_bytes=services.inline_bytes,
        )  # fmt: skip
        self.draft = self.drafts.add  # fold one event and let it ride in the next append
        self.moved = moved
        self.values = Values(state, moved=moved, resource=self._resource, vault=vault)
        self.exceptions: dict[str, BaseException] = {}  # by path, for __cause__ in this process
        self.live: dict[int, Attempt] = {}  # bodies that run here, polls included
        self.refused: dict[str, None] = {}  # lanes in which a body waits for a place in hand
        self.starting: list[Attempt] = []  # bodies to start when what is drafted is durable
        self.acquiring: dict[int, None] = {}
        self.unfit: dict[int, Failure] = {}  # atoms whose resources could not be made
        self.polls_due: dict[int, None] = {}
        self.poll_counts: dict[int, int] = {}  # all polls of this try, also the ones between two lines of the log
        self.poll_logged_us: dict[int, int] = {}
        self.woken: dict[int, None] = {}  # atoms whose child has ended while they were just looking at it
        self.worker = ""  # while a worker's outcome is written down: whose it is
        self.said: dict[int, Progress] = {}  # how far bodies have got that run, by their last word
        self.noted = False  # whether any has ever said so
        self.settling = 0  # transactions whose time is over and that are being declared lost
        self.lost = False
        self.giving_up: str | None = None  # why this process lets go of the run as soon as no body runs here
        self.inline = Slots(1)

    # -- what `RunDriver` does

    @abstractmethod
    def advance(self) -> None:
        """Go as far as possible now."""

    @abstractmethod
    def outcome(self, attempt: Attempt, outcome: Outcome) -> None:
        """A body ended."""

    @abstractmethod
    def set_timer(self, wait: Wait, *, at_us: int | None = None) -> None:
        """Come back to a waiting node when it is due (``at_us``: at this time instead)."""

    @abstractmethod
    def lose(self, error: FlowledgerError) -> None:
        """This process may not, or cannot, drive the run any more."""

    # -- children

    def child_ended(self, path: str) -> None:
        """The run that is this atom has ended: look at it now, and not in half a minute (G7)."""
        number = self.plan.by_path.get(path)
        if number is None:
            return
        wait = self.state.due.get(number)
        if wait is not None and wait.why == "poll" and number not in self.live:
            self.polls_due[number] = None
            self.advance()
        elif number in self.live:
            self.woken[number] = None

    # -- transactions

    def declare_lost(self, attempt: TransactionalAttempt) -> None:
        """The time of a transaction is over: unless it is just being committed, it never will be (C8)."""
        self.settling += 1
        self.services.loop.create_task(self._declare_lost(attempt))

    async def _declare_lost(self, attempt: TransactionalAttempt) -> None:
        settle = self.services.transactions.settle
        try:
            # Up to its own start, no further: what has been drafted since may never be written, and another attempt
            # may begin at a version that was only meant for it.
            content = await asyncio.to_thread(settle, attempt.outcome_key, version=attempt.version)
        except StoreError as error:
            self.lose(error)
            return
        finally:
            self.settling -= 1
        # Committed after all: the body's own report says so, it is on its way.
        if content is None and not self.lost and self.live.get(attempt.node.number) is attempt:
            self.outcome(attempt, attempt.overdue(still_running=True))

    # -- events and slots

    def slots(self, lane: str) -> Slots:
        """The slots of a lane, shared with other runs; the inline lane's are its own: one body at a time (D8)."""
        return self.inline if lane == "inline" else self.services.lanes[lane].slots

    def take_slot(self, lane: str, *, in_hand: bool) -> bool:
        """Take a slot of a lane; ``in_hand``: only with a place that is free now (see `slots`)."""
        if self.slots(lane).take(self, in_hand=in_hand):
            return True
        if in_hand:
            self.refused[lane] = None
        return False

    def room(self, lane: str) -> int:
        """How many bodies may start now in this lane; what needs no body is taken one at a time (see `performing`)."""
        if lane == CONTROL:
            return 1
        if self.giving_up is not None:
            return 0
        if lane == "inline":
            return self.inline.free
        if lane not in self.services.lanes:
            return 1  # that this process has none is said when a body is to start there
        return self.services.lanes[lane].slots.free

    def start_when_durable(self, attempt: Attempt) -> None:
        """Start this body once what has been drafted is acknowledged."""
        if isinstance(attempt, TransactionalAttempt):
            attempt.version = self.state.version
        self.live[attempt.node.number] = attempt
        self.starting.append(attempt)

    # -- what an attempt asks

    def redacted(self, text: str) -> str:
        """A text without what must not be written."""
        return self.vault.redactor(text)

    def leaks(self, content: bytes) -> bool:
        """Whether a secret stands in clear in a value that is not annotated as one."""
        return self.vault.leaks(content)

    @property
    def max_bytes(self) -> int:
        """The largest result, in bytes."""
        return self.services.max_bytes

    def is_cancelled(self, node: Node, phase: Phase) -> bool:
        """Whether a body should stop: its scope fails, or the run is not this process's any more (D1)."""
        return self.lost or (phase == "execute" and not may_start(self.state, node.scope))

    def awaits(self, attempt: Attempt) -> bool:
        """Whether this attempt's outcome is still waited for."""
        return not self.lost and self.live.get(attempt.node.number) is attempt

    def progressed(self, attempt: Attempt, progress: Progress) -> None:
        """A body says how far it has got, on its own thread: told to who listens, noted for who looks (F2)."""
        if self.lost or self.live.get(attempt.node.number) is not attempt:
            return
        path, fraction, message = attempt.node.path, progress.fraction, progress.message
        self.services.listeners.progress(self.run_id, path, attempt.attempt, fraction, message)
        if attempt.phase == "execute":
            self.said[attempt.node.number] = progress
            self.noted = True
            self.services.notes.put(self.run_id, path, attempt.try_, attempt.attempt, progress)

    def deadline_us(self, node: Node) -> int | None:
        """When all attempts and polls of the atom's try must be over; suspended time does not count (G2)."""
        task = node.task
        if task is None or task.deadline_s is None:
            return None
        first = self.state.first_started_us.get(node.number)
        started = self.services.clock.now_us() - self.state.suspended_us if first is None else first
        return started + self.state.suspended_us + round(task.deadline_s * 1e6)

    def late(self, number: int) -> tuple[OutcomeIgnored, ...]:
        """What came too late of the execute of an atom that is being reverted (C4), each with its result."""
        return tuple(self._whole(number, late) for late in self.state.late.get(number, ()))

    def _whole(self, number: int, late: OutcomeIgnored) -> OutcomeIgnored:
        content = bytes(late.result) if late.moved is None else self.vault.opened(self.moved[late.moved])
        task = self.plan.nodes[number].task
        if task is not None and task.result.secretive:
            content = self.vault.revealed(content, self.moved)
        failure = None if late.failure is None else self.vault.shown(late.failure)
        return replaced(late, result=Raw(content), moved=None, failure=failure)

    def ended(self, number: int) -> Ended:
        """How the execute of an atom ended that is being reverted."""
        return self.state.ended.get(number) or ended(self.state, number)

    # -- resources

    def _resource(self, name: str) -> Any:
        return self.services.resources.get(name, self.run_id)

    def acquire(self, node: Node, make: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Make what an atom needs before its body can begin, then come back to it."""
        if node.number not in self.acquiring:
            self.acquiring[node.number] = None
            self.services.loop.create_task(self._acquire(node, make))

    async def _acquire(self, node: Node, make: Callable[[], Coroutine[Any, Any, None]]) -> None:
        try:
            await make()
        except BaseException as error:  # noqa: BLE001 - whatever a maker raises is a failure of the atom (D7, C9)
            self.exceptions[node.path] = error
            self.unfit[node.number] = failure_of(error, path=node.path, kind="resource")
        self.acquiring.pop(node.number, None)
        self.advance()
