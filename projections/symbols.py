"""The symbols of a run as of some event: inputs, results that have names, values of retries (H4).

Values are JSON as the log has it. One that was moved out of its event is a `Moved` with the digest it is kept under.
"""

from __future__ import annotations

from typing import Final, NamedTuple

import msgspec

from flowledger.core.document import read_document
from flowledger.core.inheriting import Had
from flowledger.events import facts
from flowledger.events.envelope import Envelope


class Moved(NamedTuple):
    """A value kept beside the events, by its digest."""

    digest: str


#: A value: its JSON, or where it is.
SymbolValue = bytes | Moved


class Known(NamedTuple):
    """A symbol: its value, who gave it (a path; "" is the run's inputs), and the version of the event that did."""

    value: SymbolValue
    path: str
    version: int


class Symbols:
    """What is known after the events applied so far. Several parts may provide one name: each has its own value."""

    def __init__(self) -> None:
        self._names: dict[str, tuple[str, ...]] = {}
        self._known: dict[tuple[str, str], Known] = {}
        self._taken: list[tuple[str, int, SymbolValue]] = []

    def use(self, document: bytes) -> None:
        """Learn from a plan which part provides what."""
        for node in read_document(document).nodes:
            if node.provides is not None:
                self._names[node.path] = (node.provides,) if isinstance(node.provides, str) else tuple(node.provides)
        taken, self._taken = self._taken, []
        for path, version, value in taken:
            self._provided(path, version, value)

    def take_over(self, had: Had) -> None:
        """What a fork has from its source (G6), known by name as soon as there is a plan."""
        for path, done in had.done.items():
            result = done.result
            value: SymbolValue = bytes(result.content) if result.moved is None else Moved(result.moved)
            self._taken.append((path, done.version, value))
        for path, value in had.rounds.items():
            if bytes(value) != b"null":
                version = max((done.version for done in had.done.values()), default=0)
                self._known[path, "round value"] = Known(bytes(value), path, version)

    def all(self) -> dict[str, list[Known]]:
        """Every symbol by name, in the order in which they became known."""
        found: dict[str, list[Known]] = {}
        for (_, name), known in sorted(self._known.items(), key=lambda item: item[1].version):
            found.setdefault(name, []).append(known)
        return found

    def apply(self, envelope: Envelope) -> None:
        """Take in the next event."""
        event = envelope.event
        match event:
            case facts.RunSubmitted():
                self._inputs(envelope, event)
            case facts.TaskSucceeded():
                self._result(envelope, event)
            case facts.RoundStarted() if bytes(event.value) != b"null":
                self._known[envelope.path, "round value"] = Known(bytes(event.value), envelope.path, envelope.version)
            case facts.TaskReverted():
                self._forget(envelope.path)
            case facts.ScopeReset() if envelope.path:
                self._forget(envelope.path)
            case facts.ScopeReset(forgotten=paths):
                for path in paths:
                    self._forget(path)
            case _:
                pass

    def _inputs(self, envelope: Envelope, event: facts.RunSubmitted) -> None:
        if event.moved is not None:
            self._known["", "inputs"] = Known(Moved(event.moved), "", envelope.version)
            return
        for name, value in msgspec.json.decode(event.inputs, type=dict[str, msgspec.Raw]).items():
            self._known["", name] = Known(bytes(value), "", envelope.version)

    def _result(self, envelope: Envelope, event: facts.TaskSucceeded) -> None:
        value: SymbolValue = bytes(event.result) if event.moved is None else Moved(event.moved)
        self._provided(envelope.path, envelope.version, value)

    def _provided(self, path: str, version: int, value: SymbolValue) -> None:
        names = self._names.get(path, ())
        for name in names:
            part = value if len(names) == 1 or isinstance(value, Moved) else _part(value, name, names)
            self._known[path, name] = Known(part, path, version)
        if not names and value != b"null":
            self._known[path, f"result of {path}"] = Known(value, path, version)

    def _forget(self, path: str) -> None:
        gone = [key for key in self._known if key[0] == path or key[0].startswith(f"{path}/")]
        for key in gone:
            del self._known[key]


_PARTS: Final = msgspec.json.Decoder(list[msgspec.Raw] | dict[str, msgspec.Raw])
_NULL: Final = msgspec.Raw(b"null")


def _part(value: bytes, name: str, names: tuple[str, ...]) -> bytes:
    """One of several values that a task provides: by place, or by name."""
    parts: list[msgspec.Raw] | dict[str, msgspec.Raw] = _PARTS.decode(value)
    if isinstance(parts, dict):
        return bytes(parts.get(name, _NULL))
    place = names.index(name)
    return bytes(parts[place]) if place < len(parts) else b"null"
