"""What stands beside the chain and says what the log says: the stream row, a bundle's manifest, the plans.

It is not hashed with the events, so it is held to them: whoever changes what a run is called, how it ended, or what was
planned leaves every event as it was.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final, NamedTuple

import msgspec

from flowledger.core.document import fingerprint_of
from flowledger.core.states import ENDS
from flowledger.events.envelope import StoredEvent
from flowledger.events.errors import Tampered
from flowledger.events.store import FINAL
from flowledger.projections.run_view import NAMES_PLAN

#: The statuses that are compared; what goes on may be between two of the others.
_SETTLED: Final = FINAL | {"SUSPENDED"}
_SETS: Final = {"RunStarted": "RUNNING", "RunResumed": "RUNNING", "RunSuspended": "SUSPENDED", **ENDS}
_NAMES_PLAN: Final = frozenset(each.__name__ for each in NAMES_PLAN)
_DIGEST_LENGTH: Final = 64


class Called(NamedTuple):
    """What a run is called beside its log, and how it stands there; ``tags`` None: it is not said."""

    app: str
    factory: str
    key: str | None
    status: str
    tags: Mapping[str, str] | None = None


class _Submitted(msgspec.Struct):
    app: str = ""
    factory: str = ""
    key: str | None = None
    tags: dict[str, str] = {}


class _Said(msgspec.Struct):
    fingerprint: str = ""
    kind: str = ""


def _read(event: StoredEvent, type_: type[Any]) -> Any:
    """What is asked of a payload; None: it is not one of ours, and its bytes are all there is to verify."""
    try:
        return msgspec.json.decode(event.payload, type=type_)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return None


class Beside:
    """Goes along one log and holds to it what stands beside it."""

    def __init__(self, run_id: str) -> None:
        self._run_id = run_id
        self._submitted: _Submitted | None = None
        self._status = "PENDING"

    def take(self, event: StoredEvent) -> None:
        """Take in the next event."""
        if event.version == 1 and event.type == "RunSubmitted":
            self._submitted = _read(event, _Submitted)
        elif event.type in _SETS:
            self._status = _SETS[event.type]
        elif event.type == "RequestAccepted":
            said = _read(event, _Said)
            if said is not None and said.kind in ("revert", "rerun"):
                self._status = "RUNNING"

    def status(self, otherwise: str) -> str:
        """How the run stands by its events; ``otherwise`` where they do not settle it."""
        return self._status if self._status in _SETTLED or otherwise in _SETTLED else otherwise

    def fault(self, called: Called, where: str, version: int) -> Tampered | None:
        """What ``where`` says otherwise than the events up to ``version``."""
        said = self._submitted
        if said is None:
            return None
        for name in ("app", "factory", "key", "tags"):
            beside, logged = getattr(called, name), getattr(said, name)
            if beside != logged and not (name == "tags" and beside is None):
                return self._otherwise(where, f"{name} {_shown(beside)}", _shown(logged), 1)
        if called.status != self._status and (called.status in _SETTLED or self._status in _SETTLED):
            return self._otherwise(where, f"status {called.status}", self._status, version)
        return None

    def _otherwise(self, where: str, beside: str, logged: str, version: int) -> Tampered:
        what = f"run {self._run_id}: {where} says {beside}, the log says {logged} (event {version})"
        return Tampered(what, run_id=self._run_id, version=version)


def _shown(value: object) -> str:
    return "none" if value is None else msgspec.json.encode(value).decode()


class Plans:
    """The plans that events name. Each is looked at once; ``read`` finds one by its fingerprint."""

    def __init__(self, read: Callable[[str], bytes | None]) -> None:
        self._read = read
        self._good: set[str] = set()

    def is_good(self, fingerprint: str) -> bool:
        """Whether the plan is there, and is what its name says."""
        if fingerprint in self._good:
            return True
        document = self._read(fingerprint)
        if document is None or fingerprint_of(document) != fingerprint:
            return False
        self._good.add(fingerprint)
        return True

    def fault(self, run_id: str, event: StoredEvent) -> Tampered | None:
        """What is wrong with the plan that an event names."""
        fingerprint = plan_of(event)
        if fingerprint is None or self.is_good(fingerprint):
            return None
        wrong = "is missing" if self._read(fingerprint) is None else "was changed"
        what = f"run {run_id}: the plan of event {event.version} {event.type} {wrong} (plan {fingerprint[:12]})"
        return Tampered(what, run_id=run_id, version=event.version)


def plan_of(event: StoredEvent) -> str | None:
    """The fingerprint of the plan that an event names."""
    if event.type not in _NAMES_PLAN:
        return None
    said = _read(event, _Said)
    return said.fingerprint if said is not None and len(said.fingerprint) == _DIGEST_LENGTH else None
