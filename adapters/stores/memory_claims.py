"""Attempts of workers in memory: for workers in the process of their engine (rules C1 to C4)."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass

from flowledger.events.claims import (
    LOST_S,
    OUTCOME,
    Ask,
    AttemptKey,
    Backlog,
    Claimed,
    KnownWorker,
    Report,
    Sign,
    Unclaimed,
    WorkerRow,
)
from flowledger.events.store import LIVE, Mail, RunStatus

from .backlogs import backlogs, packed

_DAY_US = 24 * 3600 * 1_000_000


@dataclass(slots=True)
class _Claim:
    call: int
    worker: str
    claimed_us: int
    seen_us: int
    ended: bool = False
    cancelled: bool = False
    fraction: float | None = None
    message: str = ""


@dataclass(slots=True)
class _Worker:
    row: WorkerRow
    started_us: int
    seen_us: int
    running: int = 0


class MemoryClaims:
    """See `events.claims.AttemptClaims`. ``lock`` is the store's; ``status`` is that of a run, ``send`` puts mail.

    ``app_of`` is the app of an owner that was seen within so many seconds.
    """

    def __init__(
        self,
        lock: AbstractContextManager[object],
        status: Callable[[str], RunStatus | None],
        send: Callable[[Sequence[Mail]], object],
        app_of: Callable[[str, float], str | None],
    ) -> None:
        self.lost_s = LOST_S
        self._lock = lock
        self._status = status
        self._send = send
        self._app_of = app_of
        self._unclaimed: dict[str, str] = {}
        self._claims: dict[AttemptKey, _Claim] = {}
        self._workers: dict[str, _Worker] = {}
        self._parcels: dict[tuple[AttemptKey, int], bytes] = {}

    # -- for workers ----------------------------------------------------------------------------

    def join(self, worker: WorkerRow) -> None:
        with self._lock:
            self._workers[worker.id] = _Worker(worker, _now_us(), _now_us())

    def claim(self, worker: str, asks: Sequence[Ask]) -> list[bool]:
        with self._lock:
            answered: set[AttemptKey] = set()
            return [self._claim(worker, ask, answered) for ask in asks]

    def _claim(self, worker: str, ask: Ask, answered: set[AttemptKey]) -> bool:
        if ask.key in answered or not self._may_begin(worker, ask):
            return False
        answered.add(ask.key)
        self._claims[ask.key] = _Claim(ask.call, worker, _now_us(), _now_us())
        return True

    def _may_begin(self, worker: str, ask: Ask) -> bool:
        if self._status(ask.key.run_id) not in LIVE:
            return False
        claim = self._claims.get(ask.key)
        if claim is None or (claim.call == ask.call and claim.worker == worker and not claim.ended):
            return True
        return claim.call < ask.call and not self._lives(claim)

    def report(self, worker: str, reports: Sequence[Report]) -> None:
        with self._lock:
            for report in reports:
                claim = self._claims.get(report.key)
                if claim is not None and (claim.call, claim.worker) == (report.call, worker):
                    claim.ended = True
            self._send([Mail(r.key.run_id, r.mail_id, OUTCOME, r.content, worker) for r in reports])

    def beat(self, worker: WorkerRow, running: Sequence[Sign]) -> list[AttemptKey]:
        with self._lock:
            known = self._workers.setdefault(worker.id, _Worker(worker, _now_us(), _now_us()))
            known.row, known.seen_us, known.running = worker, _now_us(), len(running)
            return [sign.key for sign in running if not self._touched(worker.id, sign)]

    def _touched(self, worker: str, sign: Sign) -> bool:
        """Note a sign of life; whether the attempt is still wanted."""
        claim = self._claims.get(sign.key)
        if claim is None or claim.worker != worker or claim.ended:
            return False
        claim.seen_us = _now_us()
        if sign.fraction is not None:
            claim.fraction, claim.message = sign.fraction, sign.message
        return not claim.cancelled

    def leave(self, worker: str) -> None:
        with self._lock:
            self._workers.pop(worker, None)

    # -- for engines and people -----------------------------------------------------------------

    def of(self, run_ids: Sequence[str]) -> list[Claimed]:
        wanted = set(run_ids)
        with self._lock:
            return [
                Claimed(
                    key, c.call, c.worker, c.claimed_us, _since_s(c.seen_us), c.ended, self._lives(c), c.cancelled,
                    c.fraction, c.message,
                )
                for key, c in sorted(self._claims.items(), key=lambda item: item[0])
                if key.run_id in wanted
            ]  # fmt: skip

    def cancel(self, keys: Sequence[AttemptKey]) -> None:
        with self._lock:
            for key in keys:
                claim = self._claims.get(key)
                if claim is not None and not claim.ended:
                    claim.cancelled = True

    def workers(self, app: str | None = None) -> list[KnownWorker]:
        with self._lock:
            known = sorted(self._workers.values(), key=lambda w: (w.row.app, w.started_us, w.row.id))
            return [
                KnownWorker(w.row, w.started_us, _since_s(w.seen_us), w.running, self._is_alive(w.row.id))
                for w in known
                if app is None or w.row.app == app
            ]

    def say_unclaimed(self, owner: str, unclaimed: Sequence[Unclaimed]) -> None:
        with self._lock:
            self._unclaimed[owner] = packed(unclaimed) or "[]"

    def forget(self, owner: str) -> None:
        """The owner has left: what it asked for is asked for by nobody. Under the lock."""
        self._unclaimed.pop(owner, None)

    def backlogs(self, app: str | None = None) -> list[Backlog]:
        with self._lock:
            said = [(self._app_of(owner, self.lost_s), text) for owner, text in self._unclaimed.items()]
        rows = [(of, text) for of, text in said if of is not None and app in (None, of)]
        return backlogs(rows, _now_us())

    def sweep(self) -> None:
        with self._lock:
            before_us = _now_us() - _DAY_US
            for key, claim in list(self._claims.items()):
                if claim.seen_us < before_us and self._status(key.run_id) not in LIVE:
                    del self._claims[key]

    # -- large requests -------------------------------------------------------------------------

    def keep(self, key: AttemptKey, call: int, content: bytes) -> None:
        with self._lock:
            self._parcels.setdefault((key, call), content)

    def kept(self, key: AttemptKey, call: int) -> bytes | None:
        return self._parcels.get((key, call))

    # -- who lives ------------------------------------------------------------------------------

    def _lives(self, claim: _Claim) -> bool:
        return not claim.ended and _since_s(claim.seen_us) <= self.lost_s and self._is_alive(claim.worker)

    def _is_alive(self, worker: str) -> bool:
        known = self._workers.get(worker)
        return known is not None and _since_s(known.seen_us) <= self.lost_s


def _now_us() -> int:
    return time.time_ns() // 1000


def _since_s(time_us: int) -> float:
    return max(0, _now_us() - time_us) / 1e6
