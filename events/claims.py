"""Attempts made by workers: the contract of who has begun what, and how it ended (rules C1 to C4; part of a store).

The broker carries requests, which are hints. What counts is here: a worker *claims* an attempt before it runs it, says
that it lives while it does, and *reports* the outcome, which is put into the run's inbox in the same transaction. A
message that comes twice is refused by the claim; an outcome is never lost with the engine that asked for it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple, Protocol

from .facts import Phase

#: The kind of mail that holds an outcome (`core.portable.Told`).
OUTCOME: Final = "outcome"

#: Who spoke so recently lives, in seconds: a lock that was lost with its connection is soon taken again.
FRESH_S: Final = 3.0

#: A claim of whose worker nothing was heard for so long is dead, in seconds.
LOST_S: Final = 20.0


class AttemptKey(NamedTuple):
    """One attempt of an atom, forward or back."""

    run_id: str
    path: str
    try_: int
    attempt: int
    phase: Phase = "execute"


class Ask(NamedTuple):
    """A call that a worker wants to make. ``call``: 0 for an attempt's first, store time (us) for each poll after it,
    so that later calls have higher numbers whoever asked for them (F2)."""

    key: AttemptKey
    call: int = 0


class Report(NamedTuple):
    """How a call ended: ``content`` is a `core.portable.Told` as bytes, put into the run's inbox as mail."""

    key: AttemptKey
    call: int
    content: bytes

    @property
    def mail_id(self) -> str:
        """The id under which it stands in the inbox: the same outcome is never there twice."""
        _, path, try_, attempt, phase = self.key
        return f"{phase}/{try_}/{attempt}/{self.call}/{path}"


class Sign(NamedTuple):
    """An attempt that a worker is making just now, with the last that its body has said (None: nothing yet)."""

    key: AttemptKey
    fraction: float | None = None
    message: str = ""


class WorkerRow(NamedTuple):
    """What a worker says of itself. ``id`` is new at every start."""

    id: str
    host: str
    pid: int
    app: str
    queues: tuple[str, ...]
    concurrency: int
    state: str = "running"  # or "draining"


class KnownWorker(NamedTuple):
    """A worker as others see it: ``running`` attempts, last seen ``seen_s`` seconds ago, whether it ``lives``."""

    row: WorkerRow
    started_us: int
    seen_s: float
    running: int
    lives: bool

    def serves(self, app: str, queue: str) -> bool:
        """Whether it takes requests of this queue."""
        return self.lives and self.row.state != "draining" and self.row.app == app and queue in self.row.queues


class Unclaimed(NamedTuple):
    """What one engine has asked for on a queue and nobody has begun: how many, the oldest since when (store time)."""

    queue: str
    waiting: int
    since_us: int


class Backlog(NamedTuple):
    """The same of all engines of an app that live; the oldest for ``waits_s`` seconds."""

    app: str
    queue: str
    waiting: int
    waits_s: float


class Claimed(NamedTuple):
    """An attempt that has begun. ``ended``: its outcome is in the inbox, or was. ``lives``: it has not ended, its
    worker said so within `LOST_S` and has not visibly died."""

    key: AttemptKey
    call: int
    worker: str
    claimed_us: int
    seen_s: float
    ended: bool
    lives: bool
    cancelled: bool
    fraction: float | None
    message: str


class AttemptClaims(Protocol):
    """Claims on attempts. Methods block and may be called from any thread; all raise `StoreUnavailable`.

    The first five, and `kept`, are all that the worker's database role may do (C2).
    """

    #: Seconds without a sign of its worker after which a claim lives no more. Sooner where the worker's presence lock
    #: is free and it has said nothing for `FRESH_S`.
    lost_s: float

    # -- for workers

    def join(self, worker: WorkerRow) -> None:
        """Make the worker known, and hold its presence lock where the store has such; removes long-dead rows."""
        ...

    def claim(self, worker: str, asks: Sequence[Ask]) -> list[bool]:
        """Begin these calls, in one statement: True where the worker may, and must, make it.

        Refused: the run does not exist or is over; the same or a later call has been claimed; or an earlier call is
        still being made by a worker that lives. The same key twice in ``asks`` is granted at most once. What this very
        worker has claimed and not ended is granted again, since its answer may have been lost: who makes it already
        must not make it twice.
        """
        ...

    def report(self, worker: str, reports: Sequence[Report]) -> None:
        """Put outcomes into the inboxes and end their claims, in one transaction; make ownerless runs due.

        Repeating it is harmless (the mail's id is the key and the call). It is put in whoever owns the run, also where
        the run is final; the worker's claim may have been taken over by now (C4).
        """
        ...

    def beat(self, worker: WorkerRow, running: Sequence[Sign]) -> list[AttemptKey]:
        """Say that the worker lives and makes these; returns those that nobody wants any more (cancelled)."""
        ...

    def leave(self, worker: str) -> None:
        """The worker has ended in good order: its row is removed, its presence lock freed."""
        ...

    # -- for engines and people

    def of(self, run_ids: Sequence[str]) -> list[Claimed]:
        """The claims of workers on attempts of these runs, by run and path."""
        ...

    def cancel(self, keys: Sequence[AttemptKey]) -> None:
        """Set the flag of these attempts; their workers see it at their next beat."""
        ...

    def workers(self, app: str | None = None) -> list[KnownWorker]:
        """All workers with a row, by app and start."""
        ...

    def say_unclaimed(self, owner: str, unclaimed: Sequence[Unclaimed]) -> None:
        """What this owner has asked for and nobody has begun, instead of what it said before. Goes with its row."""
        ...

    def backlogs(self, app: str | None = None) -> list[Backlog]:
        """What owners that live have last said of that, by app and queue."""
        ...

    def sweep(self) -> None:
        """Remove what nobody will ask for again: claims and requests of runs that are over, a day after the last sign.

        Until then they stay, so that a message which comes late is refused.
        """
        ...

    # -- large requests, by reference

    def keep(self, key: AttemptKey, call: int, content: bytes) -> None:
        """Keep a request that is too large for a message (for engines). Repeating it is harmless."""
        ...

    def kept(self, key: AttemptKey, call: int) -> bytes | None:
        """A request that was kept (for workers); None: it is gone, its run has ended."""
        ...
