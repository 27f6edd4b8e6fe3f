"""The job board in memory: for tests, and for conductors embedded in one process."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from threading import Condition, RLock
from time import monotonic
from typing import TYPE_CHECKING, Final

from flowledger.events.board import Claimed, Conductor, Job, Note, Offer, Remark
from flowledger.events.store import LIVE, Claim

if TYPE_CHECKING:
    from .memory import MemoryRun, MemoryStore

#: How often who waits for jobs looks for those whose time has come, or whose owner has died.
LOOK_S: Final = 0.5


class MemoryBoard:
    """See `events.board.Board`. Works under the store's own lock."""

    def __init__(self, store: MemoryStore, lock: RLock) -> None:
        self._store = store
        self._came = Condition(lock)
        self.waiting = 0  # who waits for a job; read under the lock
        self._notes: dict[str, Note] = {}
        self._conductors: dict[str, Conductor] = {}

    def claim(self, owner_id: str, offer: Offer, *, limit: int, but: Sequence[str] = ()) -> list[Claimed]:
        store = self._store
        with store.lock:
            now_us = store.now_us()
            ready = [
                (-run.new.priority, run_id, run)
                for run_id, run in store.queued()
                if run_id not in but and self._is_ready(run, owner_id, offer, now_us) and not self._is_trashed(run_id)
            ]
            return [_taken(run_id, run, owner_id) for _, run_id, run in sorted(ready, key=lambda r: r[:2])[:limit]]

    def wait(self, owner_id: str, offer: Offer, *, timeout_s: float, but: Sequence[str] = ()) -> bool:
        store, deadline = self._store, monotonic() + timeout_s
        with store.lock:
            self.waiting += 1
            try:
                while store.owner(owner_id) is not None:
                    if self._has_job(owner_id, offer, but):
                        return True
                    left_s = deadline - monotonic()
                    if left_s <= 0:
                        return False
                    self._came.wait(min(LOOK_S, left_s))
                return False
            finally:
                self.waiting -= 1

    def came(self) -> None:
        """There may be a new job, or one who waits for jobs has left. Under the lock."""
        if self.waiting:
            self._came.notify_all()

    def _has_job(self, owner_id: str, offer: Offer, but: Sequence[str]) -> bool:
        now_us = self._store.now_us()
        return any(
            run_id not in but and self._is_ready(run, owner_id, offer, now_us) and not self._is_trashed(run_id)
            for run_id, run in self._store.queued()
        )

    def _is_trashed(self, run_id: str) -> bool:
        note = self._notes.get(run_id)
        return note is not None and note.remark == "trashed"

    def _is_ready(self, run: MemoryRun, owner_id: str, offer: Offer, now_us: int) -> bool:
        new = run.new
        if new.app != offer.app or new.factory not in offer.factories or new.queue not in offer.queues:
            return False
        if run.owner is None:
            has_mail = run.mailbox is not None and run.mailbox.newest > 0
            return has_mail or (run.status in LIVE if run.wake_at_us is None else run.wake_at_us <= now_us)
        return run.owner != owner_id and self._store.held(run, owner_id, offer.takeover_s) is None

    def keep(self, owner_id: str, run_ids: Sequence[str]) -> int:
        with self._store.lock:
            left = [run for run_id, run in self._store.queued() if run.owner == owner_id and run_id not in run_ids]
            for run in left:
                run.owner = None
            self.came()
            return len(left)

    def say(self, conductor: Conductor) -> None:
        with self._store.lock:
            self._conductors[conductor.owner] = conductor

    def conductors(self) -> list[Conductor]:
        store = self._store
        with store.lock:
            seen = [(said, store.seen_s(said.owner)) for _, said in sorted(self._conductors.items(), reverse=True)]
        return [self._shown(said, seen_s) for said, seen_s in seen if seen_s is not None]

    def _shown(self, said: Conductor, seen_s: float) -> Conductor:
        owner = self._store.owner(said.owner)
        assert owner is not None
        return replace(said, host=owner.host, pid=owner.pid, app=owner.app, seen_s=seen_s)

    def jobs(self, *, app: str | None = None, after: str = "", limit: int = 100) -> list[Job]:
        def shown(run_id: str, run: MemoryRun) -> bool:
            live = run.status in LIVE or run.status == "SUSPENDED" or run_id in self._notes
            return live and run_id > after and app in (None, run.new.app)

        return self._some(shown)[:limit]

    def job(self, run_id: str) -> Job | None:
        return next(iter(self._some(lambda found, _: found == run_id)), None)

    def _some(self, wanted: Callable[[str, MemoryRun], bool]) -> list[Job]:
        with self._store.lock:
            runs: Iterable[tuple[str, MemoryRun]] = sorted(self._store.queued(), key=lambda pair: pair[0])
            return [self._job(run_id, run) for run_id, run in runs if wanted(run_id, run)]

    def _job(self, run_id: str, run: MemoryRun) -> Job:
        new, owner = run.new, self._store.owner(run.owner)
        return Job(
            run_id=run_id, app=new.app, factory=new.factory, key=new.key, queue=new.queue or "",
            priority=new.priority, status=run.status, wake_at_us=run.wake_at_us, owner=run.owner,
            host=owner.host if owner else None, pid=owner.pid if owner else None, seen_s=self._store.seen_s(run.owner),
            epoch=run.epoch, created_us=run.created_us, note=self._notes.get(run_id),
        )  # fmt: skip

    def note(self, run_id: str, remark: Remark, *, reason: str, actor: str) -> None:
        with self._store.lock:
            before = self._notes.get(run_id)
            same = before is not None and (before.remark, before.reason) == (remark, reason)
            self._notes[run_id] = Note(
                run_id=run_id, remark=remark, reason=reason, actor=actor, at_us=self._store.now_us(),
                times=before.times + 1 if same and before else 1,
            )  # fmt: skip

    def forget(self, run_id: str) -> None:
        with self._store.lock:
            self._notes.pop(run_id, None)
            self.came()

    def free(self, run_id: str) -> bool:
        with self._store.lock:
            run = dict(self._store.queued()).get(run_id)
            if run is None or run.owner is None:
                return False
            run.owner = None
            run.epoch += 1
            self.came()
            return True


def _taken(run_id: str, run: MemoryRun, owner_id: str) -> Claimed:
    run.owner = owner_id
    run.epoch += 1
    return Claimed(run_id, Claim(run.epoch, len(run.events), run.events[-1].hash))
