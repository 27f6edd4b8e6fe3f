"""The next append of a run: events folded as they are drafted, encoded, and linked into the chain.

Folding a draft before it is acknowledged decides only what else rides in the same append; nothing acts on it, and if
the append is refused the folded state is thrown away with the driver (A1).
"""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import sha256
from typing import Any

from msgspec.structs import replace

from flowledger.core.decide import wake_at_us
from flowledger.core.evolve import evolve
from flowledger.core.evolve.run import ENDINGS, BeforeEnding, before_ending, take_back
from flowledger.core.plan import Plan
from flowledger.core.ports import Clock
from flowledger.core.state import State
from flowledger.core.vault import BARE, VALUES, Vault, value_type
from flowledger.events import facts
from flowledger.events.chain import link
from flowledger.events.codec import encode
from flowledger.events.envelope import StoredEvent
from flowledger.events.facts import Event, TaskSucceeded
from flowledger.events.store import FINAL, Append, NewStream, PayloadRow, PlanRow

from .owning import NOTHING, owned

#: What stands in the place of a value that was moved out.
_EMPTY: dict[str, Any] = {
    "inputs": facts.Raw(b"{}"),
    "result": facts.NULL,
    "values": facts.Raw(b"{}"),
    "payload": facts.NULL,
}


class Drafts:
    """Collects what one run appends next. ``head`` is the hash of the last event, drafted or stored; ``expected`` the
    version after which the next append comes."""

    def __init__(
        self, run_id: str, state: State, clock: Clock, *, actor: str, head: bytes, epoch: int, vault: Vault,
        moved: dict[str, bytes], inline_bytes: int,
    ) -> None:  # fmt: skip
        self._run_id = run_id
        self._run_key = run_id.encode()
        self._state = state
        self._clock = clock
        self._actor = actor
        self._vault = vault
        self._is_plain = vault.is_plain
        self._moved = moved
        self._inline_bytes = -1 if vault.codec is not None else inline_bytes
        self.head = head
        self.release = False  # the append gives the run up, although it is not over
        self.epoch = epoch
        self.expected = state.version
        self.events: list[StoredEvent] = []  # drafted, not taken yet
        self._payloads: list[PayloadRow] = []
        self._plans: list[PlanRow] = []
        self._create: NewStream | None = None
        self._ending: tuple[BeforeEnding, bytes] | None = None

    def add(self, number: int, event: Event, *, actor: str | None = None) -> None:
        """Fold and keep one event of node ``number``."""
        state = self._state
        time_us = max(self._clock.now_us(), state.time_us)  # never back within a run (F1)
        cls = type(event)
        if cls is TaskSucceeded and self._is_plain:  # the one that every task has
            if len(bytes(event.result)) > self._inline_bytes:  # type: ignore[attr-defined]  # pyright: ignore[reportAttributeAccessIssue]
                event = self._moved_out(event)
        elif cls not in BARE:
            event = self._writable(number, event)
        if cls in ENDINGS:
            self._ending = before_ending(state), self.head
        evolve(state, number, event, time_us)
        version, type_, schema, path = state.version, cls.__name__, cls.schema_version, state.plan.nodes[number].path
        payload = encode(event)
        who = actor or self._actor
        self.head = head = link(self.head, self._run_key, version, type_, schema, path, time_us, who, payload)
        self.events.append(StoredEvent(version, type_, schema, path, time_us, who, payload, head))

    def _writable(self, number: int, event: Event) -> Event:
        """The event as it goes into the log: no secret in it, no large value."""
        vault = self._vault
        if isinstance(event, facts.RunForked):
            event = owned(event, self._state.plan, vault, self._put, inline_bytes=self._inline_bytes)
        event = vault.shielded(event, lambda name: is_secretive(self._state.plan, number, name), self._put)
        if isinstance(event, facts.RoundStarted):
            if vault.codec is None:
                return event
            sealed, digests = vault.sealed_value(bytes(event.value), self._put)
            return replace(event, value=facts.Raw(sealed), secrets=(*event.secrets, *digests))
        return self._moved_out(event)

    def _moved_out(self, event: Event) -> Event:
        """The event with its value in a payload row, if that is large, or the run's values are encoded."""
        field = VALUES.get(type(event))
        if field is None:
            return event
        content = bytes(getattr(event, field))
        if len(content) <= self._inline_bytes or content in NOTHING:
            return event
        return replace(event, **{field: _EMPTY[field], "moved": self._put(self._vault.stored(content))})

    def _put(self, content: bytes) -> str:
        """Keep bytes in a payload row beside the events; returns the digest that stands for them."""
        digest = sha256(content).hexdigest()
        self._moved[digest] = content
        self._payloads.append(PayloadRow(digest, content))
        return digest

    def create(self, stream: NewStream) -> None:
        """The append makes the stream."""
        self._create = stream

    def keep_plan(self, plan: PlanRow) -> None:
        """The append carries the document of a plan, or of an expansion."""
        self._plans.append(plan)

    def put_back(self, append: Append) -> None:
        """An append was refused because there is mail (G1): draft it again, but for the ending it would have been."""
        events = list(append.events)
        if self._ending is not None:
            before, self.head = self._ending
            take_back(self._state, before)
            events.pop()
            self._ending = None
        self.expected = append.expected
        self.events, self._payloads, self._plans = events, list(append.payloads), list(append.plans)
        self._create = append.create

    def take(self, *, answers: Sequence[int] = (), seen: int = 0) -> Append:
        """What has been drafted, as one append; what comes after is drafted for the next.

        ``answers`` are numbers of mail that it answers; ``seen`` is how much mail is known, should it be an ending.
        """
        state = self._state
        status = state.status
        ends = status in FINAL or status == "SUSPENDED"
        release = self.release or ends
        append = Append(
            run_id=self._run_id,
            expected=self.expected,
            epoch=self.epoch,
            events=self.events,
            status=status,
            direction=state.direction,
            wake_at_us=wake_at_us(state) if state.due and not ends else None,
            create=self._create,
            release=release,
            payloads=self._payloads,
            plans=self._plans,
            answers=answers,
            seen=seen if release else None,
        )
        self.expected = state.version
        self.events, self._create = [], None
        if self._payloads or self._plans:
            self._payloads, self._plans = [], []
        return append


def is_secretive(plan: Plan, number: int, name: str) -> bool:
    """Whether the value that an event of this node holds may have secrets in it; ``name`` is that of an input."""
    node = plan.nodes[number]
    if node.expansion is not None:
        wanted = node.expansion.typed.get(name)
        return wanted is None or wanted.secretive
    type_ = value_type(node)
    if type_ is not None:
        return type_.secretive
    return name not in plan.inputs or plan.inputs[name].secretive
