"""Streams for tests: events that hang together, as the engine would make them."""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import sha256
from time import monotonic, sleep
from typing import Any

from flowledger.adapters.ids import new_ulid
from flowledger.events.chain import GENESIS, link
from flowledger.events.envelope import StoredEvent
from flowledger.events.store import Append, Appended, Cursor, Followed, NewStream, Owner, PayloadRow, Store

NOW_US = 1_700_000_000_000_000


@dataclass
class Run:
    """One run as its owner sees it: what it appends next follows what it appended last."""

    run_id: str
    epoch: int = 0
    version: int = 0
    head: bytes = GENESIS

    def next(self, count: int = 1, *, payload: bytes = b"{}", path: str = "flow/task", actor: str = "me@host",
             **fields: Any) -> Append:  # fmt: skip
        """The next ``count`` events as an append; nothing has happened yet."""
        events: list[StoredEvent] = []
        head = self.head
        for version in range(self.version + 1, self.version + count + 1):
            head = link(head, self.run_id.encode(), version, "TaskStarted", 1, path, NOW_US + version, actor, payload)
            events.append(StoredEvent(version, "TaskStarted", 1, path, NOW_US + version, actor, payload, head))
        wanted: dict[str, Any] = {"status": "RUNNING", "epoch": self.epoch, "expected": self.version} | fields
        return Append(run_id=self.run_id, events=events, **wanted)

    def appended(self, request: Append) -> None:
        """Go on from here."""
        self.version, self.head = request.events[-1].version, request.events[-1].hash

    def put(self, store: Store, count: int = 1, **fields: Any) -> Append:
        """Append, and insist that it works."""
        request = self.next(count, **fields)
        assert store.append([request]) == [Appended(self.version + count)]
        self.appended(request)
        return request


def new_stream(**fields: Any) -> NewStream:
    return NewStream(**{"app": "shop", "factory": "order", "key": None, "inputs_digest": "d0", **fields})


def new_run(store: Store, *, run_id: str | None = None, count: int = 1, **fields: Any) -> Run:
    """A run that has been created; with ``owner=`` it is owned from the start, under epoch 1."""
    run = Run(run_id or new_ulid(), epoch=1 if fields.get("owner") else 0)
    run.put(store, count, create=new_stream(**fields))
    return run


def joined(store: Store, host: str = "here") -> Owner:
    """A new owner that lives."""
    owner = Owner(id=new_ulid(), host=host, pid=4711, app="shop")
    store.join(owner)
    return owner


def payload_row(content: bytes) -> PayloadRow:
    return PayloadRow(sha256(content).hexdigest(), content)


def everything(store: Store, *, page: int = 1000, at_least: int = 0) -> list[Followed]:
    """The whole log, in pages. ``at_least``: so many events, also such as no stream row knows of.

    On Postgres an open transaction anywhere in the cluster may hide what is newer for a moment (A4): wait for it.
    """
    whole = max(at_least, sum(row.version for row in store.streams(limit=100_000)))
    deadline = monotonic() + 30
    while True:
        found = _pages(store, page)
        if len(found) >= whole or monotonic() > deadline:
            return found
        sleep(0.005)


def _pages(store: Store, page: int) -> list[Followed]:
    found: list[Followed] = []
    cursor = Cursor("")
    while rows := store.read_all(cursor, limit=page):
        found.extend(rows)
        cursor = rows[-1].cursor
    return found
