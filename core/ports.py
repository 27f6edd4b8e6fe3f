"""What the engine asks of the world. Small on purpose; adapters implement them, tests replace them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

from flowledger.events.envelope import StoredEvent
from flowledger.events.facts import Progress, RunSubmitted
from flowledger.events.failure import Failure
from flowledger.events.store import Append, AppendResult

from .plan import Plan
from .vault import Vault


class Clock(Protocol):
    """The one source of time (rule F1): store time read with each heartbeat, plus monotonic time since."""

    def now_us(self) -> int:
        """Microseconds since the epoch; never goes back within a process."""
        ...


class Ids(Protocol):
    """Where new ids come from."""

    def run_id(self) -> str:
        """A new run id: 26 characters, sorts by creation time (ULID)."""
        ...

    def request_id(self) -> str:
        """A new id for a request of a person."""
        ...

    def random(self) -> float:
        """A number in [0, 1): the jitter of a back-off, which is then recorded."""
        ...


class Post(Protocol):
    """Brings runs their mail."""

    def fetch(self, run_id: str) -> None:
        """Read the run's inbox, soon, and hand what is in it to whoever drives the run (`RunDriver.deliver`)."""
        ...


class Appender(Protocol):
    """The one way into the log of a process: gathers all runs' appends, one transaction per turn (group commit)."""

    def append(self, request: Append, done: Callable[[AppendResult], None]) -> None:
        """Append; ``done`` is called once, on the event loop, with the result or the `StoreError` as a value.

        On a store that is ``immediate`` it is called before this returns.
        A run has at most one append in flight (A1): the engine sees to it, the appender relies on it.
        """
        ...


class Listeners(Protocol):
    """Who is told in this process what happens. Telling never waits and never raises; may be done from any thread."""

    def __bool__(self) -> bool:
        """Whether anybody wants events."""
        ...

    def tell(self, run_id: str, events: Sequence[StoredEvent]) -> None:
        """These events of a run are durable."""
        ...

    def progress(self, run_id: str, path: str, attempt: int, fraction: float, message: str) -> None:
        """A body says how far it has got."""
        ...


class ProgressNotes(Protocol):
    """Where bodies' progress is noted for who looks from another process; never in the log (F2)."""

    def put(self, run_id: str, path: str, try_: int, attempt: int, progress: Progress) -> None:
        """Note it, soon; of several, the last. From any thread, never in the way of a body."""
        ...

    def forget(self, run_id: str) -> None:
        """Nothing of this run is running here any more."""
        ...


class Vaults(Protocol):
    """Where runs get their vaults, and those their keys."""

    def of(self, run_id: str, plan: Plan, submitted: RunSubmitted | None) -> Vault:
        """The vault of a run; of a new one (``submitted`` None) its key is made if it needs one.

        Raises:
            KeyMissing: there is no key to encrypt it with, or not the one that it was encrypted with.
            PayloadErased: its key was removed.
        """
        ...


class Parent(NamedTuple):
    """The atom whose child a run is, in one of its tries (G7); ``epoch`` is the one under which its run is driven."""

    run_id: str
    path: str
    try_: int
    epoch: int


class Waiting(NamedTuple):
    """The child run has not ended."""

    run_id: str
    message: str


class Workers(Protocol):
    """What an engine needs to understand workers' outcomes."""

    def opened(self, reply: bytes, bound_to: str) -> bytes:
        """A reply as it was before it was encrypted for its way, if it was.

        Raises:
            KeyMissing, IntegrityError: it cannot be read here.
        """
        ...


class Children(Protocol):
    """Runs that are atoms of other runs. Called on the event loop."""

    async def look(
        self, parent: Parent, factory: str, arguments: Mapping[str, Any], executor: str | None
    ) -> bytes | Failure | Waiting:
        """How the child is, made and taken up where that is for this process to do: its result, or why there is none.

        Raises whatever keeps the child from being made.
        """
        ...

    async def undo(self, parent: Parent, factory: str) -> Failure | None:
        """Cancel a child that lives, have one reverted that has succeeded; why that cannot be, or None once it is."""
        ...
