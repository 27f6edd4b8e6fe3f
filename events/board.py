"""The job board: where runs wait for an owner, and how conductors take them (rules B1, B3; part of a store).

A run with a queue is a job while nobody owns it, or while its owner is dead. What conductors say of themselves and what
people say of jobs are operational rows, read as they are: the log knows only who owned a run when (`RunClaimed`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple, Protocol

from .store import Claim, RunStatus

#: The queue of runs that were submitted without naming one, and what conductors take where they are not told otherwise.
DEFAULT_QUEUE = "default"

#: Why a job does not simply wait: a conductor could not take it up; a person moved it aside, or took it from its owner.
Remark = Literal["refused", "trashed", "released"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Offer:
    """What a conductor can run: claims are made among these."""

    app: str
    factories: Sequence[str]
    queues: Sequence[str]
    takeover_s: float


class Claimed(NamedTuple):
    """A job that has become ours."""

    run_id: str
    claim: Claim


@dataclass(frozen=True, slots=True, kw_only=True)
class Note:
    """What was last said of a job; ``times`` counts how often the same was said in a row."""

    run_id: str
    remark: Remark
    reason: str
    actor: str
    at_us: int
    times: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """A run that waits, is worked on, or has been moved aside, as the board shows it.

    ``owner`` with ``seen_s`` None: the owner has no row, so it is dead.
    """

    run_id: str
    app: str
    factory: str
    key: str | None
    queue: str
    priority: int
    status: RunStatus
    wake_at_us: int | None
    owner: str | None
    host: str | None
    pid: int | None
    seen_s: float | None
    epoch: int
    created_us: int
    note: Note | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Conductor:
    """A live process that takes jobs. ``runs`` is how many it drove when it last said so."""

    owner: str
    host: str
    pid: int
    app: str
    factories: tuple[str, ...]
    queues: tuple[str, ...]
    runs: int
    max_runs: int
    draining: bool
    seen_s: float


class Board(Protocol):
    """Jobs and conductors. Methods block and may be called from any thread, like those of `Store`."""

    def claim(self, owner_id: str, offer: Offer, *, limit: int, but: Sequence[str] = ()) -> list[Claimed]:
        """Take up to ``limit`` jobs in one transaction: higher priority first, then oldest (B1, B3).

        A job is ready if nobody owns it, it is not final or suspended, and its ``wake_at_us`` is not ahead (where that
        is past, mail has come: then also a suspended or final one); or if its owner is dead, as `Store.claim` judges.
        Runs in ``but`` and trashed ones are left alone. Nobody takes over from itself.

        Raises:
            StoreUnavailable: what was taken is not known; call `keep` before the next claim.
        """
        ...

    def wait(self, owner_id: str, offer: Offer, *, timeout_s: float, but: Sequence[str] = ()) -> bool:
        """Block until there is a job that `claim` would take, or the time is over. True if there is; nothing is taken.

        A job is met at once where it came up through this store object, soon where not; one whose time has come, or
        whose owner is dead, within about a second. What false says is as old. False also once the owner leaves through
        this object.
        """
        ...

    def keep(self, owner_id: str, run_ids: Sequence[str]) -> int:
        """Let go of all jobs this owner has but these; how many that were."""
        ...

    def say(self, conductor: Conductor) -> None:
        """What this conductor takes, and how much it has. Goes with its owner row."""
        ...

    def conductors(self) -> list[Conductor]:
        """Processes that take jobs and have an owner row, newest first."""
        ...

    def jobs(self, *, app: str | None = None, after: str = "", limit: int = 100) -> list[Job]:
        """Runs with a queue that are not final, or have a note; by run id, after ``after`` (keyset)."""
        ...

    def job(self, run_id: str) -> Job | None:
        """One run with a queue, whatever its status."""
        ...

    def note(self, run_id: str, remark: Remark, *, reason: str, actor: str) -> None:
        """Say something of a job; it replaces what was said before."""
        ...

    def forget(self, run_id: str) -> None:
        """What was said of a job holds no more: it runs, or a person has put it back."""
        ...

    def free(self, run_id: str) -> bool:
        """Take a job from its owner, dead or alive: epoch + 1, so that what it still appends is refused.

        False: nobody owns it.
        """
        ...
