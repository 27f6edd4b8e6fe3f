"""Two logs of the same flow and inputs, compared as rule D8 says.

Left out: the fields an event class declares volatile, who wrote it and when, and what only a crash and a resume write:
`RunClaimed RunReleased RunSuspended RunResumed TaskInterrupted`, and each start that an interruption made void (with
the polls of that attempt). The attempts that remain are counted again as if the void ones had never been.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple, cast

import msgspec

from flowledger.events import facts
from flowledger.events.envelope import Envelope

_OF_A_CRASH = (
    facts.RunClaimed, facts.RunReleased, facts.RunSuspended, facts.RunResumed, facts.TaskInterrupted,
)  # fmt: skip
_OF_A_START = (facts.TaskStarted, facts.TaskWaiting, facts.RevertStarted)

Start = tuple[str, str, int, int]  # phase, path, try, attempt


class Fact(NamedTuple):
    """An event without what may differ."""

    type: str
    path: str
    fields: tuple[tuple[str, Any], ...]

    def __repr__(self) -> str:
        return f"{self.type}({self.path} {' '.join(f'{name}={value!r}' for name, value in self.fields)})"


def comparable(log: Sequence[Envelope]) -> list[Fact]:
    """What two logs of the same flow and inputs have in common, in order."""
    void = {_start(e) for e in log if isinstance(e.event, facts.TaskInterrupted)}
    found: list[Fact] = []
    for envelope in log:
        event = envelope.event
        if isinstance(event, _OF_A_CRASH) or (isinstance(event, _OF_A_START) and _start(envelope) in void):
            continue
        found.append(Fact(envelope.type, envelope.path, tuple(_fields(envelope, void))))
    return found


def by_path(log: Sequence[Envelope]) -> dict[str, list[Fact]]:
    """The same per atom and scope: what parallel executors must agree on."""
    found: dict[str, list[Fact]] = {}
    for fact in comparable(log):
        found.setdefault(fact.path, []).append(fact)
    return found


def _start(envelope: Envelope) -> Start:
    """Which start of a body an event belongs to."""
    event = envelope.event
    assert isinstance(event, facts.AtomEvent)
    if isinstance(event, facts.TaskInterrupted):
        phase: str = event.phase
    else:
        phase = (
            "revert" if isinstance(event, facts.RevertStarted | facts.TaskReverted | facts.RevertFailed) else "execute"
        )
    return phase, envelope.path, event.try_, event.attempt


def _fields(envelope: Envelope, void: set[Start]) -> Iterable[tuple[str, Any]]:
    event = envelope.event
    for name in event.__struct_fields__:
        if name in type(event).volatile:
            continue
        value: Any = getattr(event, name)
        if name == "attempt":
            value = _renumbered(_start(envelope), void)
        elif name == "failure":
            value = _without_attempt(value, envelope, void)
        elif name == "failures":
            value = tuple((f.path, f.type, f.message, f.kind) for f in value)
        yield name, _plain(value)


def _plain(value: Any) -> Any:
    """Values as they are stored: bytes can be compared and shown."""
    if isinstance(value, dict):
        return {name: _plain(each) for name, each in cast("dict[str, Any]", value).items()}
    return bytes(value) if isinstance(value, msgspec.Raw) else value


def _renumbered(start: Start, void: set[Start]) -> int:
    """The attempt's number had the void ones never been."""
    phase, path, try_, attempt = start
    return attempt - sum((phase, path, try_, earlier) in void for earlier in range(1, attempt))


def _without_attempt(value: Any, envelope: Envelope, void: set[Start]) -> Any:
    """A failure says in which attempt it was, too; its traceback may hold the lines of either call."""
    return msgspec.structs.replace(value, attempt=_renumbered(_start(envelope), void), traceback="")
