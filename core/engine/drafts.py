"""The next append of a run: events folded as they are drafted, encoded, and linked into the chain.

Folding a draft before it is acknowledged decides only what else rides in the same append; nothing acts on it, and if
the append is refused the folded state is thrown away with the driver (A1).
"""

from __future__ import annotations

from hashlib import sha256

from flowledger.core.decide import wake_at_us
from flowledger.core.evolve import evolve
from flowledger.core.ports import Clock
from flowledger.core.state import State
from flowledger.events.chain import link
from flowledger.events.codec import encode
from flowledger.events.envelope import StoredEvent
from flowledger.events.facts import Event
from flowledger.events.store import FINAL, Append, NewStream, PayloadRow, PlanRow


class Drafts:
    """Collects what one run appends next. ``head`` is the hash of the last event, drafted or stored."""

    def __init__(self, run_id: str, state: State, clock: Clock, *, actor: str, head: bytes, epoch: int) -> None:
        self._run_id = run_id
        self._run_key = run_id.encode()
        self._state = state
        self._clock = clock
        self._actor = actor
        self.head = head
        self.release = False  # the append gives the run up, although it is not over
        self.epoch = epoch
        self._expected = state.version
        self._events: list[StoredEvent] = []
        self._payloads: list[PayloadRow] = []
        self._plans: list[PlanRow] = []
        self._create: NewStream | None = None

    def __len__(self) -> int:
        return len(self._events)

    def add(self, number: int, event: Event, *, actor: str | None = None) -> None:
        """Fold and keep one event of node ``number``."""
        state = self._state
        now = self._clock.now_us()
        time_us = max(state.time_us, now)  # never back within a run (F1)
        evolve(state, number, event, time_us)
        cls = type(event)
        type_, path = cls.__name__, state.plan.nodes[number].path
        payload = encode(event)
        who = actor or self._actor
        version = state.version
        self.head = link(self.head, self._run_key, version, type_, cls.schema_version, path, time_us, who, payload)
        self._events.append(StoredEvent(version, type_, cls.schema_version, path, time_us, who, payload, self.head))

    def move_out(self, content: bytes) -> str:
        """Keep a large value beside the events; returns the digest that stands for it."""
        digest = sha256(content).hexdigest()
        self._payloads.append(PayloadRow(digest, content))
        return digest

    def create(self, stream: NewStream) -> None:
        """The append makes the stream."""
        self._create = stream

    def keep_plan(self, plan: PlanRow) -> None:
        """The append carries the document of a plan, or of an expansion."""
        self._plans.append(plan)

    def take(self) -> Append:
        """What has been drafted, as one append; what comes after is drafted for the next."""
        state = self._state
        status = state.status
        append = Append(
            run_id=self._run_id,
            expected=self._expected,
            epoch=self.epoch,
            events=self._events,
            status=status,
            direction=state.direction,
            wake_at_us=wake_at_us(state) if state.due else None,
            create=self._create,
            release=self.release or status in FINAL or status == "SUSPENDED",
            payloads=self._payloads,
            plans=self._plans,
        )
        self._expected = state.version
        self._events, self._payloads, self._plans, self._create = [], [], [], None
        return append
