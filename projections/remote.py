"""How it stands with tasks that workers make: who was asked when, who makes it (rules C1, C3).

The log says that workers were asked; what has become of that stands in the claims, which are read as they are.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from flowledger.events.claims import AttemptKey, Claimed, KnownWorker
from flowledger.events.facts import Phase

from .nodes import AtomView
from .run_view import RunView


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """An attempt under way that workers were asked for. ``asked_us`` is store time; ``serving`` workers that live take
    the queue; ``claim`` is None until one has begun; ``worker`` is that one, if it is still known."""

    path: str
    queue: str
    asked_us: int
    serving: int
    claim: Claimed | None
    worker: KnownWorker | None

    def words(self, now_us: int) -> str:
        """In a sentence that begins after the task's name."""
        since_s = max(0, now_us - self.asked_us) / 1e6
        return f"asked of workers on queue {self.queue}, {ago(since_s)}; {self._standing()}"

    def _standing(self) -> str:
        claim = self.claim
        if claim is None:
            if not self.serving:
                return f"no worker serves queue {self.queue}"
            workers = "1 worker serves" if self.serving == 1 else f"{self.serving} workers serve"
            return f"in the queue, {workers} it"
        where = "" if self.worker is None else f" ({self.worker.row.host}, pid {self.worker.row.pid})"
        if claim.ended:
            return f"worker {claim.worker}{where} has reported how it ended"
        if not claim.lives:
            return f"worker {claim.worker}{where} is gone, last heard {ago(claim.seen_s)}"
        unwanted = ", and is told to stop" if claim.cancelled else ""
        return f"worker {claim.worker}{where} makes it, last heard {ago(claim.seen_s)}{unwanted}"


def under_way(view: RunView) -> list[AtomView]:
    """The atoms that workers have been asked for, and that have not ended; a poll that waits is none."""
    return [atom for atom in view.atoms.values() if atom.queue and atom.state in ("RUNNING", "REVERTING")]


def asked(view: RunView, claims: Iterable[Claimed], workers: Sequence[KnownWorker]) -> dict[str, Asked]:
    """How each of these stands, by path. ``claims`` are the run's, ``workers`` all that are known."""
    claimed = {claim.key: claim for claim in claims}
    known = {worker.row.id: worker for worker in workers}
    found: dict[str, Asked] = {}
    for atom in under_way(view):
        claim = claimed.get(_key(view, atom))
        found[atom.path] = Asked(
            path=atom.path,
            queue=atom.queue,
            asked_us=atom.asked_us,
            serving=sum(worker.serves(view.app, atom.queue) for worker in workers),
            claim=claim,
            worker=None if claim is None else known.get(claim.worker),
        )
    return found


def _key(view: RunView, atom: AtomView) -> AttemptKey:
    back = atom.state == "REVERTING"
    phase: Phase = "revert" if back else "execute"
    return AttemptKey(view.run_id, atom.path, atom.try_, atom.revert_attempt if back else atom.attempt, phase)


def ago(seconds: float) -> str:
    """How long ago, as roughly as people say it."""
    if seconds < 120:
        return f"{seconds:.0f} s ago"
    return f"{seconds / 60:.0f} min ago" if seconds < 7200 else f"{seconds / 3600:.0f} h ago"
