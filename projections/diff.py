"""What differs between two runs: plan, inputs, the way each went, results, durations, and where they part (B1).

A fold of two logs. It knows nothing of the code that made them; fields that two logs of the same flow and inputs may
differ in (ids, keys, times, polls; rule D8) do not count.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

import msgspec

from flowledger.events import facts
from flowledger.events.envelope import Envelope
from flowledger.events.failure import Failure

from .nodes import AtomView
from .outline import Place
from .run_view import RunView

#: Events that tell of processes, not of the flow.
_ASIDE: Final[frozenset[type[facts.Event]]] = frozenset(
    {facts.RunClaimed, facts.RunReleased, facts.RunSuspended, facts.RunResumed, facts.RequestAccepted,
     facts.RequestRefused, facts.TimerFired, facts.TaskWaiting}
)  # fmt: skip
_NOT_SAID: Final = frozenset({"fingerprint", "code"})
#: So much of a value is shown, in characters.
_SHOWN: Final = 80


class Change(NamedTuple):
    """One difference: ``what`` it is about, and how it is in the first and in the second run; None: not there."""

    what: str
    first: str | None
    second: str | None


class Divergence(NamedTuple):
    """The first thing at one path that the two runs did differently, with the version in each; None: it did nothing
    more there. ``fields``: where both did the same kind of thing, what of it differs."""

    path: str
    first: Envelope | None
    second: Envelope | None
    fields: tuple[str, ...] = ()


class Pace(NamedTuple):
    """How long a task took in each, in microseconds; None where it did not run."""

    path: str
    first_us: int | None
    second_us: int | None


@dataclass(slots=True)
class Difference:
    """All that differs. ``equal``: nothing does but how long it took."""

    plan: list[Change] = field(default_factory=list[Change])
    inputs: list[Change] = field(default_factory=list[Change])
    path_taken: list[Change] = field(default_factory=list[Change])
    results: list[Change] = field(default_factory=list[Change])
    paces: list[Pace] = field(default_factory=list[Pace])
    divergence: Divergence | None = None

    @property
    def equal(self) -> bool:
        """Whether the two did the same, however long it took."""
        return not (self.plan or self.inputs or self.path_taken or self.results or self.divergence)


class Side:
    """One of the two runs: its view, its events, and the values they hold."""

    def __init__(self, view: RunView, envelopes: Sequence[Envelope]) -> None:
        self.view = view
        self.by_path: dict[str, list[Envelope]] = {}
        self.inputs: dict[str, str] = {}
        self.results: dict[str, str] = {}
        for envelope in envelopes:
            self._take(envelope)

    def _take(self, envelope: Envelope) -> None:
        event = envelope.event
        if isinstance(event, facts.RunSubmitted):
            self.inputs = _inputs(event)
        elif isinstance(event, facts.TaskSucceeded):
            self.results[envelope.path] = event.moved or bytes(event.result).decode(errors="replace")
        elif isinstance(event, facts.TaskReverted):
            self.results.pop(envelope.path, None)
        if type(event) not in _ASIDE and not isinstance(event, facts.RunSubmitted):
            self.by_path.setdefault(envelope.path, []).append(envelope)


def compare(first: Side, second: Side) -> Difference:
    """All that differs."""
    return Difference(
        plan=list(_plan(first.view, second.view)),
        inputs=list(_values(first.inputs, second.inputs)),
        path_taken=list(_path_taken(first.view, second.view)),
        results=list(_values(first.results, second.results)),
        paces=list(_paces(first.view, second.view)),
        divergence=_divergence(first, second),
    )


# -- the plan -----------------------------------------------------------------------------------


def _plan(first: RunView, second: RunView) -> Iterator[Change]:
    for what in ("app", "factory"):
        if getattr(first, what) != getattr(second, what):
            yield Change(what, getattr(first, what), getattr(second, what))
    mine, theirs = _places(first), _places(second)
    for path in dict.fromkeys((*mine, *theirs)):
        if path not in mine or path not in theirs:
            yield Change(path, _kind(mine.get(path)), _kind(theirs.get(path)))
        elif mine[path] != theirs[path]:
            yield Change(path, _described(mine[path]), _described(theirs[path]))
    if first.fingerprint != second.fingerprint:
        yield Change("fingerprint", first.fingerprint, second.fingerprint)


def _places(view: RunView) -> dict[str, Place]:
    return {node.path: node.place for node in view.below("")}


def _kind(place: Place | None) -> str | None:
    return None if place is None else place.pattern


def _described(place: Place) -> str:
    retry = f", retry {place.retry}" if place.retry else ""
    after = f", after {', '.join(place.waits_for)}" if place.waits_for else ""
    return f"{place.pattern}{retry}{after}"


# -- values -------------------------------------------------------------------------------------


def _inputs(event: facts.RunSubmitted) -> dict[str, str]:
    if event.moved is not None:
        return {"inputs": event.moved}
    found = msgspec.json.decode(event.inputs, type=dict[str, msgspec.Raw])
    return {name: bytes(value).decode(errors="replace") for name, value in found.items()}


def _values(first: dict[str, str], second: dict[str, str]) -> Iterator[Change]:
    for name in dict.fromkeys((*first, *second)):
        mine, theirs = first.get(name), second.get(name)
        if mine != theirs:
            yield from _inside(name, mine, theirs)


def _inside(name: str, first: str | None, second: str | None) -> Iterator[Change]:
    """Where two values differ: at the smallest parts of objects and lists that do."""
    mine, theirs = _decoded(first), _decoded(second)
    if isinstance(mine, dict) and isinstance(theirs, dict):
        yield from _inside_objects(name, mine, theirs)  # pyright: ignore[reportUnknownArgumentType]
    elif isinstance(mine, list) and isinstance(theirs, list) and len(mine) == len(theirs):  # pyright: ignore[reportUnknownArgumentType]
        yield from _inside_lists(name, mine, theirs)  # pyright: ignore[reportUnknownArgumentType]
    else:
        yield Change(name, _short(first), _short(second))


def _inside_objects(name: str, first: dict[str, Any], second: dict[str, Any]) -> Iterator[Change]:
    for part in dict.fromkeys((*first, *second)):
        if first.get(part, _NOTHING) != second.get(part, _NOTHING):
            yield from _inside(f"{name}.{part}", _encoded(first, part), _encoded(second, part))


def _inside_lists(name: str, first: list[Any], second: list[Any]) -> Iterator[Change]:
    for number, (a, b) in enumerate(zip(first, second, strict=True)):
        if a != b:
            yield from _inside(f"{name}[{number}]", _json(a), _json(b))


_NOTHING: Final = object()


def _decoded(value: str | None) -> Any:
    try:
        return None if value is None else msgspec.json.decode(value)
    except msgspec.MsgspecError:  # the digest of a value that was moved out
        return None


def _encoded(values: dict[str, Any], part: str) -> str | None:
    return _json(values[part]) if part in values else None


def _json(value: Any) -> str:
    return msgspec.json.encode(value).decode()


def _short(value: str | None) -> str | None:
    return value if value is None or len(value) <= _SHOWN else f"{value[:_SHOWN]}…"


# -- the way each went --------------------------------------------------------------------------


def _path_taken(first: RunView, second: RunView) -> Iterator[Change]:
    if first.state != second.state:
        yield Change("run", first.state, second.state)
    for path in dict.fromkeys((*first.atoms, *second.atoms)):
        mine, theirs = first.atoms.get(path), second.atoms.get(path)
        if mine is not None and theirs is not None and _went(mine) != _went(theirs):
            yield Change(path, _went(mine), _went(theirs))
    for path in dict.fromkeys((*first.flows, *second.flows)):
        rounds = [len(view.flows[path].failed_rounds) if path in view.flows else 0 for view in (first, second)]
        if rounds[0] != rounds[1]:
            yield Change(path or "run", f"{rounds[0]} failed rounds", f"{rounds[1]} failed rounds")


def _went(atom: AtomView) -> str:
    tries = f", {atom.attempts} attempts" if atom.attempts > 1 else ""
    failed = f": {atom.failed}" if atom.failed else ""
    return f"{atom.state}{tries}{failed}"


def _paces(first: RunView, second: RunView) -> Iterator[Pace]:
    for path in dict.fromkeys((*first.atoms, *second.atoms)):
        took = [view.atoms[path].duration_us() if path in view.atoms else None for view in (first, second)]
        if took != [None, None]:
            yield Pace(path, took[0], took[1])


def _divergence(first: Side, second: Side) -> Divergence | None:
    """Of the paths at which the two did not do the same, the one where the first run did it earliest."""
    found: list[tuple[int, Divergence]] = []
    for path in dict.fromkeys((*first.by_path, *second.by_path)):
        mine, theirs = first.by_path.get(path, []), second.by_path.get(path, [])
        for place in range(max(len(mine), len(theirs))):
            a = mine[place] if place < len(mine) else None
            b = theirs[place] if place < len(theirs) else None
            if a is None or b is None or _said(a) != _said(b):
                versions = [each.version for each in (a, b) if each is not None]
                found.append((min(versions), Divergence(path, a, b, _differing(a, b))))
                break
    return min(found, key=lambda item: item[0])[1] if found else None


def _differing(first: Envelope | None, second: Envelope | None) -> tuple[str, ...]:
    if first is None or second is None or first.type != second.type:
        return ()
    mine, theirs = _said(first)[1], _said(second)[1]
    return tuple(name.rstrip("_") for name in mine if mine[name] != theirs.get(name))


def _said(envelope: Envelope) -> tuple[str, dict[str, Any]]:
    """An event without what may differ between two runs that did the same.

    Plans are compared as plans, code never (C10), and of a failure only what it is, not where in the code.
    """
    event = envelope.event
    names = [name for name in event.__struct_fields__ if name not in event.volatile and name not in _NOT_SAID]
    return envelope.type, {name: _plain(getattr(event, name)) for name in names}


def _plain(value: Any) -> Any:
    if isinstance(value, msgspec.Raw):
        return bytes(value)
    if isinstance(value, Failure):
        return value.type, value.message, value.kind
    if isinstance(value, tuple):
        return tuple(_plain(each) for each in value)  # pyright: ignore[reportUnknownVariableType]
    return value
