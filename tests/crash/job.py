"""What the crash driver is asked to do, and what it answers."""

from __future__ import annotations

from typing import Any, Literal, Self

import msgspec

from flowledger.events.envelope import StoredEvent

Executor = Literal["inline", "threads"]
Choice = Literal["boundaries", "inside", "few"]


class Point(msgspec.Struct, frozen=True):
    """Die at the ``nth`` passing of ``name``."""

    name: str
    nth: int


class Job(msgspec.Struct):
    """Run ``flow``, or do the deed of this name, in ``directory``: once undisturbed, then dying at each point that
    ``choice`` takes."""

    flow: str
    executor: Executor
    choice: Choice
    directory: str
    database_url: str = ""  # "": a new SQLite file for each point


class Row(msgspec.Struct):
    """A stored event."""

    version: int
    type: str
    schema_version: int
    path: str
    time_us: int
    actor: str
    payload: str
    hash: str

    @classmethod
    def of(cls, e: StoredEvent) -> Self:
        """As JSON can carry it."""
        payload, digest = e.payload.decode(), e.hash.hex()
        return cls(e.version, e.type, e.schema_version, e.path, e.time_us, e.actor, payload, digest)


class Outcome(msgspec.Struct):
    """How one run ended, in the child that ended it. ``died``: whether the point was reached."""

    run_id: str
    state: str
    results: dict[str, Any]
    rows: list[Row]
    moved: dict[str, str] = {}  # payload rows by digest, a character for each byte
    trace: list[str] = []
    source: list[Row] = []  # of a fork: the log of the run it is a fork of
    appends: int = 0
    died: bool = False
