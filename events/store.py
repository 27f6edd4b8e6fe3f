"""The store: the contract of memory, SQLite and Postgres (rules A, B1, B2, B7, C2, G1; one conformance suite for all).

All methods block, may be called from any thread, and raise `StoreUnavailable` when the store cannot be reached or
cannot write. What an append did to one run never depends on the other runs of its batch.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, Protocol, runtime_checkable

import msgspec

from .claims import AttemptClaims
from .envelope import StoredEvent
from .errors import StoreError
from .progress import ProgressBoard
from .run_keys import RunKeys
from .seals import Seals
from .transactions import Transactions

if TYPE_CHECKING:
    from .board import Board

RunStatus = Literal["PENDING", "RUNNING", "SUSPENDING", "SUSPENDED", "SUCCEEDED", "REVERTED", "FAILED", "CANCELLED"]
Direction = Literal["FORWARD", "BACK"]
FINAL: frozenset[RunStatus] = frozenset({"SUCCEEDED", "REVERTED", "FAILED", "CANCELLED"})
LIVE: frozenset[RunStatus] = frozenset({"PENDING", "RUNNING", "SUSPENDING"})  # there is something to do


class Cursor(str):
    """A place in the global log. Opaque: it is compared, stored and handed back as it is, never taken apart (A4)."""

    __slots__ = ()


START = Cursor("")


@dataclass(frozen=True, slots=True, kw_only=True)
class NewStream:
    """What the stream row of a new run holds and keeps (rule A7). ``owner`` None: it waits to be claimed.

    ``parent``: the run that begets it, which must be at ``parent_epoch``, or the append is answered with `Fenced`: who
    has lost a run begets none in its name, when its next owner may have seen already that there is none (G7).
    """

    app: str
    factory: str
    key: str | None
    inputs_digest: str
    tags: Mapping[str, str] = field(default_factory=dict[str, str])
    queue: str | None = None
    priority: int = 0
    owner: str | None = None
    parent: str | None = None
    parent_epoch: int = 0


class PayloadRow(NamedTuple):
    """A value moved out of an event: ``digest`` is the SHA-256 (hex) of ``content``, kept per run (rule A8)."""

    digest: str
    content: bytes


class PlanRow(NamedTuple):
    """A compiled plan, kept once per fingerprint."""

    fingerprint: str
    document: bytes


class Append(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One run's next events. ``expected`` is the version before them, ``epoch`` the appender's.

    The stream row takes ``status``, ``direction``, ``wake_at_us`` (earliest due time), and the version and hash of the
    last event. ``release`` gives up ownership in the same transaction. A new run has ``create`` and ``expected`` 0;
    its epoch is 1 where it has an owner from the start, else 0.

    ``answers`` are the numbers of the inbox rows that these events answer: they are deleted in the same transaction
    (C2). An append that ends or suspends the run says in ``seen`` how many requests it knows of; if there are more, it
    is refused (`InboxNotEmpty`, G1).
    """

    run_id: str
    expected: int
    epoch: int
    events: Sequence[StoredEvent]
    status: RunStatus
    direction: Direction = "FORWARD"
    wake_at_us: int | None = None
    create: NewStream | None = None
    release: bool = False
    payloads: Sequence[PayloadRow] = ()
    plans: Sequence[PlanRow] = ()  # the run's own when it starts, later those of its expansions (E7)
    answers: Sequence[int] = ()
    seen: int | None = None


class Appended(msgspec.Struct, frozen=True, gc=False):
    """The events are durable; the stream is at ``version``."""

    version: int


# Per run of a batch: Appended, or the error as a value — VersionConflict, Fenced, KeyTaken, InboxNotEmpty — never half.
AppendResult = Appended | StoreError


@dataclass(frozen=True, slots=True, kw_only=True)
class Stream:
    """A stream row as it stands."""

    run_id: str
    app: str
    factory: str
    key: str | None
    inputs_digest: str
    tags: Mapping[str, str]
    queue: str | None
    priority: int
    status: RunStatus
    direction: Direction
    wake_at_us: int | None
    owner: str | None
    epoch: int
    requests: int
    version: int
    head_hash: bytes
    created_us: int


class Followed(NamedTuple):
    """An event met on the global log; ``cursor`` is the place just after it."""

    cursor: Cursor
    run_id: str
    event: StoredEvent


class Hidden(NamedTuple):
    """Events that are in the log and not given out yet, since ``since_us`` and up to a place; ``by`` says who holds
    them back."""

    since_us: int
    upto: Cursor
    by: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Owner:
    """A process that may own runs. ``id`` is new at every start (an id used twice would hide a death)."""

    id: str
    host: str
    pid: int
    app: str


class Claim(NamedTuple):
    """Ownership of a run: append under this ``epoch``, after ``version``."""

    epoch: int
    version: int
    head_hash: bytes


class Held(NamedTuple):
    """The run is another's: of ``owner``, which was last seen ``seen_s`` seconds ago."""

    owner: str
    host: str
    pid: int
    seen_s: float


# -- the inbox: what is addressed to a run ----------------------------------------------------------


class Mail(NamedTuple):
    """Something for a run: a request of a person, an outcome from a worker, a message from another run (G1, C2).

    ``id`` is the sender's: the same id again is the same mail. ``content`` is JSON. ``live``: only if the run is not
    final.
    """

    run_id: str
    id: str
    kind: str
    content: bytes
    actor: str
    live: bool = False


class Sent(NamedTuple):
    """The mail is in the inbox (or was, and is answered by now). ``status`` and ``owner`` are the run's."""

    status: RunStatus
    owner: str | None


class NotSent(NamedTuple):
    """There is no such run (``status`` None), or it is final and the mail was for live ones."""

    status: RunStatus | None


class InboxRow(NamedTuple):
    """A mail that waits for its answer. ``number`` orders the inbox of a run; ``time_us`` is store time."""

    number: int
    id: str
    kind: str
    content: bytes
    actor: str
    time_us: int


class Inbox(NamedTuple):
    """``requests`` counts the mail a run has ever been sent; ``rows`` is what has not been answered, in order."""

    requests: int
    rows: Sequence[InboxRow]


class Due(NamedTuple):
    """What waits for an owner (B7). ``mail``: runs with mail it has not seen, and the number of the newest."""

    mail: Mapping[str, int]


class Store(Transactions, Protocol):
    """Streams of events with expected versions, epochs, one global order; inboxes; and the owners of runs."""

    #: An append takes no I/O and may be made from the event loop itself.
    immediate: bool

    @property
    def board(self) -> Board:
        """Where runs wait for an owner (B1, B3)."""
        ...

    @property
    def progress(self) -> ProgressBoard:
        """How far bodies have got (F2)."""
        ...

    @property
    def claims(self) -> AttemptClaims:
        """Which attempts workers make (C1 to C4)."""
        ...

    @property
    def run_keys(self) -> RunKeys:
        """The keys of runs that have secrets."""
        ...

    @property
    def seals(self) -> Seals:
        """Signed statements about where runs stood."""
        ...

    @property
    def is_locked(self) -> bool:
        """Whether an append would have to wait for a transaction that is under way in this process."""
        ...

    def append(self, batch: Sequence[Append]) -> list[AppendResult]:
        """Append for each run of the batch, all or nothing per run, in one transaction (A1–A3).

        Returns one result per request, in order. An ambiguous commit is settled by looking before this returns or
        raises; and an append that comes again after it arrived (same hash at ``expected`` + 1, same epoch) is
        `Appended`, so that the same request may be sent again after `StoreUnavailable`.

        Raises:
            InternalError: a run stands twice in the batch, or events do not follow ``expected`` one by one.
        """
        ...

    def append_through(self, connection: Any, request: Append) -> AppendResult:
        """Make a run that nobody owns in the transaction of a caller: it is there when that commits (the outbox).

        ``connection`` is SQLAlchemy's or psycopg's own, to the database of the log. `Appended`, or `KeyTaken`.

        Raises:
            InputError: it is no such connection, or it is in no transaction.
            Exception: what the caller's database raises.
        """
        ...

    def read(self, run_id: str, *, after_version: int = 0, limit: int | None = None) -> list[StoredEvent]:
        """Events of one stream with version > ``after_version``, in order (keyset pages with ``limit``)."""
        ...

    def read_all(self, after: Cursor, *, limit: int = 1000) -> list[Followed]:
        """Events of all streams after the cursor, in commit order; a later call never finds an earlier one (A4)."""
        ...

    def hidden(self, *, upto: Cursor | None = None) -> Hidden | None:
        """What `read_all` does not give out yet, since a transaction that is older than it is open (A4, H2): all, or
        what there is up to a place."""
        ...

    def wait(self, after: Cursor, *, timeout_s: float) -> bool:
        """Block until the log has events after the cursor, or the time is over. True if there are."""
        ...

    def stream(self, run_id: str) -> Stream | None:
        """The stream row of this run."""
        ...

    def find(self, *, app: str, factory: str, key: str) -> Stream | None:
        """The stream with this key (unique per app and factory, rule G8)."""
        ...

    def streams(
        self,
        *,
        app: str | None = None,
        key: str | None = None,
        prefix: str | None = None,
        statuses: Sequence[RunStatus] = (),
        factory: str | None = None,
        before: str | None = None,
        limit: int = 50,
    ) -> list[Stream]:
        """Stream rows, newest run first. ``prefix`` matches the run id; ``before`` is a run id (keyset)."""
        ...

    def strays(self) -> list[str]:
        """Runs that have events and no stream row: somebody has removed it."""
        ...

    def payload(self, run_id: str, digest: str) -> bytes | None:
        """A value that was moved out of an event."""
        ...

    def plan(self, fingerprint: str) -> bytes | None:
        """The document of a plan."""
        ...

    def send(self, batch: Sequence[Mail]) -> list[Sent | NotSent]:
        """Put mail into inboxes, in one transaction that first raises ``requests`` on the stream rows (G1).

        Returns one result per mail, in order. A mail whose id the inbox has already is not put there again, so that
        the same one may be sent again after `StoreUnavailable`.
        """
        ...

    def inbox(self, run_id: str, *, after: int = 0) -> Inbox:
        """Mail with a number > ``after`` that no append has answered yet, and ``requests`` at the same moment."""
        ...

    def due(self, owner_id: str, *, seen: Mapping[str, int], timeout_s: float) -> Due:
        """Block until one of the owner's runs has mail with a number above ``seen`` (by run id; 0 where it is missing).

        Returns what there is then; nothing once the time is over, or when the owner leaves through this store object.
        Mail is met at once where it was sent through this object, soon where not, and within a second at worst.
        """
        ...

    def now_us(self) -> int:
        """Store time: the database's clock, microseconds since the epoch (rule F1)."""
        ...

    def join(self, owner: Owner) -> None:
        """Make the owner's heartbeat row and take its presence lock."""
        ...

    def beat(self, owner_id: str) -> int:
        """Say that the owner lives; returns store time.

        Raises:
            Fenced: the owner has no row (any more): to others it is dead, and it must start anew under another id.
        """
        ...

    def leave(self, owner_id: str) -> None:
        """Remove the owner's row and free its presence lock; runs it still owns become claimable."""
        ...

    def claim(self, run_id: str, owner_id: str, *, takeover_s: float) -> Claim | Held | None:
        """Become the run's owner, epoch + 1, if nobody is or the owner is dead (B1); None: no such run.

        Dead is who has no row, who was last seen more than ``takeover_s`` seconds ago, or whose presence lock is free
        (B2). Nobody takes over from itself: a run that ``owner_id`` owns already is `Held`.
        """
        ...

    def driver(self, run_id: str) -> Held | None:
        """Who drives a run, for people: its owner, and when that was last seen.

        None: nobody owns it, or its owner is gone: it has no row, or its presence lock is free (B2).
        """
        ...

    def release(self, run_id: str, *, epoch: int) -> None:
        """Give up ownership without an event (the claim led to nothing). No effect under another epoch."""
        ...

    def describe(self) -> str:
        """Where the log is, for people: a path or a URL without its password."""
        ...

    def close(self) -> None:
        """Free connections, threads and locks."""
        ...


class Counted(NamedTuple):
    """A part of the log that the database has gone through; ``amiss`` are runs to be looked at more closely.

    ``plans``: the fingerprints that events name, each with a run that has it.
    """

    runs: int
    events: int
    payloads: int
    amiss: tuple[str, ...]
    plans: tuple[tuple[str, str], ...] = ()


@runtime_checkable
class ChecksItself(Protocol):
    """A store whose database can compute hashes: the bytes of the log need not travel to be verified (A8)."""

    def check_log(self) -> Iterator[Counted]:
        """Go through all runs: versions, hashes, heads, moved values, what stream rows say, and events without one.

        Says too much rather than too little.
        """
        ...
