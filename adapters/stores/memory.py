"""The log in memory: for tests, for trying things out, and to measure the engine without a disk."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import islice
from threading import Condition, Lock, RLock
from typing import Any

from flowledger.events.envelope import StoredEvent
from flowledger.events.errors import Fenced, KeyTaken, NotSupported, StoreError
from flowledger.events.store import (
    FINAL,
    Append,
    Appended,
    AppendResult,
    Claim,
    Cursor,
    Direction,
    Due,
    Followed,
    Held,
    Inbox,
    Mail,
    NewStream,
    NotSent,
    Owner,
    RunStatus,
    Sent,
    Stream,
)
from flowledger.events.transactions import OutcomeKey

from .batch import begotten_late, check, has_unseen, makes_job, no_such_run, position_of, refusal
from .mailbox import Mailbox, newer
from .memory_board import MemoryBoard
from .memory_claims import MemoryClaims
from .memory_keys import MemoryRunKeys
from .memory_progress import MemoryProgress
from .memory_seals import MemorySeals


class MemoryRun:
    """A stream row and its events. Changed only under the store's lock."""

    __slots__ = ("created_us", "direction", "epoch", "events", "mailbox", "new", "owner", "status", "wake_at_us")

    def __init__(self, new: NewStream, created_us: int) -> None:
        self.new = new
        self.created_us = created_us
        self.owner = new.owner
        self.epoch = 0 if new.owner is None else 1
        self.events: list[StoredEvent] = []
        self.status: RunStatus = "PENDING"
        self.direction: Direction = "FORWARD"
        self.wake_at_us: int | None = None
        self.mailbox: Mailbox | None = None

    @property
    def requests(self) -> int:
        return 0 if self.mailbox is None else self.mailbox.requests

    def row(self, run_id: str) -> Stream:
        new = self.new
        return Stream(
            run_id=run_id, app=new.app, factory=new.factory, key=new.key, inputs_digest=new.inputs_digest,
            tags=dict(new.tags), queue=new.queue, priority=new.priority, status=self.status, direction=self.direction,
            wake_at_us=self.wake_at_us, owner=self.owner, epoch=self.epoch, requests=self.requests,
            version=len(self.events), head_hash=self.events[-1].hash, created_us=self.created_us,
        )  # fmt: skip


class MemoryStore:
    """A store that ends with its process. ``commits`` counts the calls of `append` that wrote something."""

    immediate = True
    transactions = 0
    longest_transaction_s = 0.0
    is_locked = False

    def __init__(self, name: str = "") -> None:
        self.commits = 0
        self._name = name
        self._lock = lock = RLock()
        self._changed = Condition(lock)
        self._mailed = Condition(lock)
        self.lock = self._changed  # for the board: what it does is one step with what happens here
        self.board = MemoryBoard(self, lock)
        self._runs: dict[str, MemoryRun] = {}
        self._mailboxes: dict[str, Mailbox] = {}  # made with a run's first mail
        self._log: list[StoredEvent] = []
        self._run_ids: list[str] = []  # of the events in the log
        self._keys: dict[tuple[str, str, str], str] = {}
        self._payloads: dict[tuple[str, str], bytes] = {}
        self._plans: dict[str, bytes] = {}
        self._owners: dict[str, tuple[Owner, int]] = {}
        self._waiting = 0
        self.progress = MemoryProgress()
        self.claims = MemoryClaims(lock, self._status, self.send, self._app_of)
        self.seals = MemorySeals(self.read)
        self.run_keys = MemoryRunKeys()
        #: The views of this log, once somebody has looked (`views.views_of`).
        self.views: object = None
        self.views_lock = Lock()

    # -- the log --------------------------------------------------------------------------------

    def append(self, batch: Sequence[Append]) -> list[AppendResult]:
        check(batch)
        with self._lock:
            before = len(self._log)
            results = [self._append_one(request) for request in batch]
            self.commits += len(self._log) > before
            if self._waiting:
                self._changed.notify_all()
            if self.board.waiting and any(makes_job(request) for request in batch):
                self.board.came()
        return results

    def _append_one(self, request: Append) -> AppendResult:
        run_id = request.run_id
        run = self._runs.get(run_id)
        if run is None:
            if request.create is None:
                return no_such_run(request)
            created = self._create(request, request.create)
            if isinstance(created, StoreError):
                return created
            run = created
        elif (
            len(run.events) != request.expected
            or run.epoch != request.epoch
            or (request.seen is not None and has_unseen(request, run.requests))
        ):
            return _refused(run, request)
        events = request.events
        run.events.extend(events)
        self._log.extend(events)
        self._run_ids.extend([run_id] * len(events))
        run.status = request.status
        run.direction = request.direction
        run.wake_at_us = request.wake_at_us
        if request.release:
            run.owner = None
        if request.answers and run.mailbox is not None:
            run.mailbox.answer(request.answers)
        for payload in request.payloads:
            self._payloads.setdefault((run_id, payload.digest), payload.content)
        for plan in request.plans:
            self._plans.setdefault(plan.fingerprint, plan.document)
        return Appended(len(run.events))

    def _create(self, request: Append, new: NewStream) -> MemoryRun | StoreError:
        if new.parent is not None:
            parent = self._runs.get(new.parent)
            if parent is None or parent.epoch != new.parent_epoch:
                return begotten_late(new, None if parent is None else parent.epoch)
        if new.key is not None:
            holder = self._keys.setdefault((new.app, new.factory, new.key), request.run_id)
            if holder != request.run_id:
                return KeyTaken(f"key {new.key!r} of {new.factory} belongs to run {holder}", run_id=holder)
        run = self._runs[request.run_id] = MemoryRun(new, request.events[0].time_us)
        return run

    def read(self, run_id: str, *, after_version: int = 0, limit: int | None = None) -> list[StoredEvent]:
        with self._changed:
            run = self._runs.get(run_id)
            if run is None:
                return []
            return run.events[after_version : None if limit is None else after_version + limit]

    def read_all(self, after: Cursor, *, limit: int = 1000) -> list[Followed]:
        start = position_of(after)
        with self._changed:
            rows = zip(self._run_ids[start : start + limit], self._log[start : start + limit], strict=True)
        return [Followed(Cursor(position), run_id, event) for position, (run_id, event) in enumerate(rows, start + 1)]

    def hidden(self, *, upto: Cursor | None = None) -> None:
        return None

    def wait(self, after: Cursor, *, timeout_s: float) -> bool:
        position = position_of(after)
        with self._changed:
            self._waiting += 1
            try:
                return self._changed.wait_for(lambda: len(self._log) > position, timeout_s)
            finally:
                self._waiting -= 1

    # -- rows -----------------------------------------------------------------------------------

    def stream(self, run_id: str) -> Stream | None:
        with self._changed:
            run = self._runs.get(run_id)
            return None if run is None else run.row(run_id)

    def find(self, *, app: str, factory: str, key: str) -> Stream | None:
        with self._changed:
            run_id = self._keys.get((app, factory, key))
            return None if run_id is None else self._runs[run_id].row(run_id)

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
        with self._changed:
            found = (
                run.row(run_id)
                for run_id, run in sorted(self._runs.items(), reverse=True)
                if (app is None or run.new.app == app)
                and (key is None or run.new.key == key)
                and (factory is None or run.new.factory == factory)
                and (prefix is None or run_id.startswith(prefix))
                and (before is None or run_id < before)
                and (not statuses or run.status in statuses)
            )
            return list(islice(found, limit))

    def strays(self) -> list[str]:
        return []  # a run is its events

    def payload(self, run_id: str, digest: str) -> bytes | None:
        return self._payloads.get((run_id, digest))

    def plan(self, fingerprint: str) -> bytes | None:
        return self._plans.get(fingerprint)

    def _status(self, run_id: str) -> RunStatus | None:
        run = self._runs.get(run_id)
        return None if run is None else run.status

    # -- inboxes --------------------------------------------------------------------------------

    def send(self, batch: Sequence[Mail]) -> list[Sent | NotSent]:
        with self._changed:
            results = [self._send(mail) for mail in batch]
            self._mailed.notify_all()
        return results

    def _send(self, mail: Mail) -> Sent | NotSent:
        run = self._runs.get(mail.run_id)
        if run is None or (mail.live and run.status in FINAL):
            return NotSent(None if run is None else run.status)
        if run.mailbox is None:
            run.mailbox = self._mailboxes[mail.run_id] = Mailbox()
        run.mailbox.put(mail, self.now_us())
        if run.owner is None and run.new.queue is not None:
            run.wake_at_us = 0  # it is due: whoever claims it answers (G1)
            self.board.came()
        return Sent(run.status, run.owner)

    def inbox(self, run_id: str, *, after: int = 0) -> Inbox:
        with self._changed:
            run = self._runs.get(run_id)
            return Inbox(0, []) if run is None or run.mailbox is None else run.mailbox.after(after)

    def due(self, owner_id: str, *, seen: Mapping[str, int], timeout_s: float) -> Due:
        with self._changed:
            self._mailed.wait_for(lambda: owner_id not in self._owners or self._mail(owner_id, seen), timeout_s)
            return Due(self._mail(owner_id, seen))

    def _mail(self, owner_id: str, seen: Mapping[str, int]) -> dict[str, int]:
        boxes = self._mailboxes.items()
        return newer({run_id: box.newest for run_id, box in boxes if self._runs[run_id].owner == owner_id}, seen)

    # -- owners ---------------------------------------------------------------------------------

    def now_us(self) -> int:
        return time.time_ns() // 1000

    def join(self, owner: Owner) -> None:
        with self._changed:
            self._owners[owner.id] = (owner, self.now_us())

    def beat(self, owner_id: str) -> int:
        with self._changed:
            joined = self._owners.get(owner_id)
            if joined is None:
                raise Fenced(f"owner {owner_id} has no row any more: others take it for dead")
            now_us = self.now_us()
            self._owners[owner_id] = (joined[0], now_us)
            return now_us

    def leave(self, owner_id: str) -> None:
        with self._changed:
            self._owners.pop(owner_id, None)
            self.claims.forget(owner_id)
            self._mailed.notify_all()
            self.board.came()

    def claim(self, run_id: str, owner_id: str, *, takeover_s: float) -> Claim | Held | None:
        with self._changed:
            run = self._runs.get(run_id)
            if run is None:
                return None
            held = self.held(run, owner_id, takeover_s)
            if held is not None:
                return held
            run.owner = owner_id
            run.epoch += 1
            self._mailed.notify_all()
            return Claim(run.epoch, len(run.events), run.events[-1].hash)

    def driver(self, run_id: str) -> Held | None:
        with self._changed:
            run = self._runs.get(run_id)
            lives = run is not None and self.seen_s(run.owner) is not None
            return self.held(run, run.owner or "", 0.0) if run is not None and lives else None

    def held(self, run: MemoryRun, claimer: str, takeover_s: float) -> Held | None:
        """Why ``claimer`` may not have the run."""
        if run.owner is None:
            return None
        seen_s = self.seen_s(run.owner)
        if run.owner != claimer and (seen_s is None or seen_s > takeover_s):
            return None
        owner = self.owner(run.owner)
        return Held(run.owner, owner.host, owner.pid, seen_s or 0.0) if owner else Held(run.owner, "", 0, 0.0)

    def owner(self, owner_id: str | None) -> Owner | None:
        """An owner that has joined."""
        return self._owners[owner_id][0] if owner_id in self._owners else None

    def seen_s(self, owner_id: str | None) -> float | None:
        """Seconds since the owner's last beat; None: it has no row."""
        joined = None if owner_id is None else self._owners.get(owner_id)
        return None if joined is None else max(0, self.now_us() - joined[1]) / 1e6

    def _app_of(self, owner_id: str, within_s: float) -> str | None:
        """The app of an owner that was seen so lately."""
        owner, seen_s = self.owner(owner_id), self.seen_s(owner_id)
        return owner.app if owner is not None and seen_s is not None and seen_s <= within_s else None

    def queued(self) -> Iterable[tuple[str, MemoryRun]]:
        """Runs with a queue. Under the lock."""
        return [(run_id, run) for run_id, run in self._runs.items() if run.new.queue is not None]

    def release(self, run_id: str, *, epoch: int) -> None:
        with self._changed:
            run = self._runs.get(run_id)
            if run is not None and run.epoch == epoch:
                run.owner = None
                self.board.came()

    # -- transactions ---------------------------------------------------------------------------

    def transact(
        self, key: OutcomeKey, *, version: int, work: Callable[[Any], bytes], timeout_s: float
    ) -> bytes | None:
        raise NotSupported("a log in memory is no database: it has no transactions", hint="use SQLite or Postgres")

    def append_through(self, connection: Any, request: Append) -> AppendResult:
        raise NotSupported("a log in memory is no database: it has no transactions", hint="use SQLite or Postgres")

    def settle(self, key: OutcomeKey, *, version: int) -> bytes | None:
        raise NotSupported("a log in memory is no database: it has no transactions", hint="use SQLite or Postgres")

    def describe(self) -> str:
        return f"memory://{self._name}"

    def close(self) -> None:
        """Nothing to free: the log lives as long as somebody holds the store."""


def _refused(run: MemoryRun, request: Append) -> AppendResult:
    """Sent before and arrived is not refused: the hash at ``expected + 1`` tells (A3)."""
    events, expected = request.events, request.expected
    if run.epoch == request.epoch and [e.hash for e in run.events[expected : expected + 1]] == [events[0].hash]:
        return Appended(events[-1].version)
    return refusal(request, epoch=run.epoch, version=len(run.events), requests=run.requests)
