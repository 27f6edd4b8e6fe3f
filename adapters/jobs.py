"""The job board for people: what waits, for whom, and why it does not go on (rules B1, B3)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from flowledger.events.board import Conductor, Job
from flowledger.events.errors import IllegalRequest, InputError
from flowledger.events.store import LIVE, Store, Stream

Standing = Literal["READY", "OWNED", "ORPHANED", "WAITING", "SUSPENDED", "REFUSED", "TRASHED", "UNSERVED", "OVER"]

#: Owners that were not seen for so long count as dead.
DEAD_S = 20.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Listed:
    """A job, how it stands, and in a sentence why."""

    job: Job
    standing: Standing
    why: str


def listed(store: Store, *, app: str | None = None, after: str = "", limit: int = 100) -> list[Listed]:
    """Jobs as they stand, by run id."""
    conductors, now_us = store.board.conductors(), store.now_us()
    return [judged(job, conductors, now_us) for job in store.board.jobs(app=app, after=after, limit=limit)]


def judged(job: Job, conductors: Sequence[Conductor], now_us: int) -> Listed:
    """How a job stands. What a person said comes first, then who has it, then who could have it."""
    standing, why = _judged(job, conductors, now_us)
    return Listed(job=job, standing=standing, why=why)


def _judged(job: Job, conductors: Sequence[Conductor], now_us: int) -> tuple[Standing, str]:
    note = job.note
    if note is not None and note.remark == "trashed":
        return "TRASHED", f"{note.actor}: {note.reason}"
    if job.owner is not None:
        if job.seen_s is None or job.seen_s > DEAD_S:
            return "ORPHANED", f"its owner {job.owner} is gone; the next conductor takes it over"
        return "OWNED", f"process {job.pid} on {job.host}"
    if job.status not in LIVE:
        return (
            ("SUSPENDED", "resume it, or resolve what it is held at")
            if job.status == "SUSPENDED"
            else ("OVER", job.status)
        )
    able = [c for c in conductors if c.seen_s <= DEAD_S and serves(c, job)]
    if not able:
        return "UNSERVED", f"no live conductor takes {job.app}/{job.factory} from the queue {job.queue}"
    if note is not None and note.remark == "refused":
        return "REFUSED", f"{note.reason} ({note.times} times, by {note.actor})"
    if job.wake_at_us is not None and job.wake_at_us > now_us:
        return "WAITING", f"for {(job.wake_at_us - now_us) / 1e6:.0f} s more"
    return "READY", f"{len(able)} conductor{'s' if len(able) > 1 else ''} could take it"


def serves(conductor: Conductor, job: Job) -> bool:
    """Whether this conductor takes such jobs."""
    return (
        not conductor.draining
        and conductor.app == job.app
        and job.queue in conductor.queues
        and job.factory in conductor.factories
    )


# -- what a person may do -----------------------------------------------------------------------


def job_of(store: Store, stream: Stream) -> Job:
    """The job that a run is.

    Raises:
        IllegalRequest: it has no queue.
    """
    job = store.board.job(stream.run_id)
    if job is None:
        raise IllegalRequest(
            f"run {stream.run_id} is embedded: it was never on the board", hint="`resume` goes on with it"
        )
    return job


def release(store: Store, stream: Stream, *, reason: str, actor: str) -> bool:
    """Take a job from its owner, so that any conductor may claim it; a trashed one is put back. False: it was free.

    What the old owner still appends is refused; tasks it runs locally are interrupted by whoever comes next (C3).

    Raises:
        InputError: no reason.
        IllegalRequest: the run is embedded.
    """
    _need(reason, "release")
    job = job_of(store, stream)
    if job.note is not None and job.note.remark == "trashed":
        store.board.forget(job.run_id)
        return True
    if not store.board.free(job.run_id):
        return False
    store.board.note(job.run_id, "released", reason=reason, actor=actor)
    return True


def trash(store: Store, stream: Stream, *, reason: str, actor: str) -> None:
    """Move a job aside: nobody is given it until it is released again. Whoever has it loses it.

    Raises:
        InputError: no reason.
        IllegalRequest: the run is embedded, or over.
    """
    _need(reason, "trash")
    job = job_of(store, stream)
    if job.status not in LIVE and job.status != "SUSPENDED":
        raise IllegalRequest(
            f"run {job.run_id} is {job.status}: there is nothing to move aside", hint="`jobs ls` lists what can be"
        )
    store.board.note(job.run_id, "trashed", reason=reason, actor=actor)
    store.board.free(job.run_id)


def _need(reason: str, verb: str) -> None:
    if not reason.strip():
        raise InputError(f"jobs {verb} needs a reason", field="--reason", expected="a text", hint='add --reason "…"')
