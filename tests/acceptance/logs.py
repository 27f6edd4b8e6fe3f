"""Reading the log of a run in a test."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, TypeVar

from flowledger import App, Run
from flowledger.adapters import loading
from flowledger.events.envelope import Envelope
from flowledger.events.facts import Event

E = TypeVar("E", bound=Event)


def log_of(app: App, run: Run[Any]) -> list[Envelope]:
    """The run's events from the first on, the chain checked."""
    return loading.read(app.runtime.store, run.id)


def story(log: list[Envelope], *, of: str = "") -> list[str]:
    """``Type name`` per event, name being the last part of the path; owners left out. ``of``: only below this path."""
    return [
        f"{envelope.type} {envelope.path.rpartition('/')[2]}".strip()
        for envelope in log
        if envelope.type not in ("RunClaimed", "RunReleased") and envelope.path.startswith(of)
    ]


def events(log: list[Envelope], kind: type[E], path: str | None = None) -> Iterator[E]:
    """The events of one class, in order; those of one path, where it is named (by its last part)."""
    for envelope in log:
        if isinstance(envelope.event, kind) and path in (None, envelope.path.rpartition("/")[2]):
            yield envelope.event
