"""Listeners that are ready to use: what happens as lines in a log, and how long everything takes."""

from __future__ import annotations

from collections.abc import Callable
from logging import DEBUG, WARNING, Logger, getLogger
from threading import Lock
from typing import NamedTuple

from flowledger.events import facts
from flowledger.events.envelope import Envelope
from flowledger.events.facts import Phase

VALUE_CHARS = 200

#: What somebody may have to look at.
_ALARMING = (
    facts.TaskFailed, facts.TaskInterrupted, facts.RetryDecided, facts.RevertFailed, facts.RunFailed,
    facts.RunReverted, facts.RunSuspended, facts.RunCancelled, facts.RequestRefused, facts.TaskHeld,
)  # fmt: skip


class LoggingListener:
    """One line per event: ``app.listen(LoggingListener())``.

    Args:
        logger: where to; by default `flowledger.events`.
        level: of what goes well.
        alarm: of what does not: failures, interruptions, reverts, suspensions.
        values: write results along, cut to 200 characters. Not by default: a log is read by more people.
    """

    def __init__(
        self, logger: Logger | None = None, *, level: int = DEBUG, alarm: int = WARNING, values: bool = False
    ) -> None:
        self._log = logger or getLogger("flowledger.events")
        self._level = level
        self._alarm = alarm
        self._values = values

    def __call__(self, envelope: Envelope) -> None:
        """Write its line."""
        event = envelope.event
        level = self._alarm if isinstance(event, _ALARMING) else self._level
        if self._log.isEnabledFor(level):
            what = f"{envelope.type} {envelope.path}".rstrip()
            self._log.log(level, "run %s: %s%s", envelope.run_id, what, self._more(event), extra=_fields(envelope))

    def _more(self, event: facts.Event) -> str:
        match event:
            case facts.TaskFailed() | facts.RevertFailed():
                again = ", again" if event.again else ""
                return f": {event.failure.type}: {event.failure.message}{again}"
            case facts.RetryDecided():
                return f": {event.decision} after round {event.round}"
            case facts.TaskSucceeded() if self._values:
                value = f"({event.moved[:12]}…)" if event.moved else bytes(event.result).decode()
                return f": {value[:VALUE_CHARS]}"
            case facts.TaskInterrupted():
                return f": {event.cause}"
            case _:
                return ""


class Duration(NamedTuple):
    """How long something took, by the times of its events. ``path`` "" is the whole run, suspensions included."""

    run_id: str
    path: str
    phase: Phase
    attempt: int  # 0: of the whole run
    seconds: float
    ended: str  # the event that ended it


class DurationListener:
    """Tells how long each attempt, revert and run took: ``app.listen(DurationListener(report))``.

    ``report`` is called with a `Duration` at the end of each. What had begun before this process drove the run is
    counted from the beginning only where this listener has heard it; the log has all times in any case.
    """

    def __init__(self, report: Callable[[Duration], object]) -> None:
        self._report = report
        self._began: dict[tuple[str, str, Phase], tuple[int, int]] = {}  # attempt, time
        self._lock = Lock()

    def __call__(self, envelope: Envelope) -> None:
        """Take the time of a beginning; at an end, report."""
        event = envelope.event
        match event:
            case facts.RunStarted():
                self._begin(envelope, "execute", 0)
            case facts.TaskStarted():
                self._begin(envelope, "execute", event.attempt)
            case facts.RevertStarted():
                self._begin(envelope, "revert", event.attempt)
            case facts.TaskSucceeded() | facts.TaskFailed():
                self._end(envelope, "execute")
            case facts.TaskReverted() | facts.RevertFailed():
                self._end(envelope, "revert")
            case facts.TaskInterrupted():
                self._end(envelope, event.phase)
            case facts.RunSucceeded() | facts.RunReverted() | facts.RunFailed():
                self._end(envelope, "execute")
                self._forget(envelope.run_id)
            case _:
                pass

    def _begin(self, envelope: Envelope, phase: Phase, attempt: int) -> None:
        with self._lock:
            self._began[envelope.run_id, envelope.path, phase] = (attempt, envelope.time_us)

    def _end(self, envelope: Envelope, phase: Phase) -> None:
        with self._lock:
            began = self._began.pop((envelope.run_id, envelope.path, phase), None)
        if began is not None:
            attempt, time_us = began
            seconds = (envelope.time_us - time_us) / 1e6
            self._report(Duration(envelope.run_id, envelope.path, phase, attempt, seconds, envelope.type))

    def _forget(self, run_id: str) -> None:
        with self._lock:
            self._began = {key: value for key, value in self._began.items() if key[0] != run_id}


def _fields(envelope: Envelope) -> dict[str, object]:
    """What a structured log can be searched by."""
    return {
        "run": envelope.run_id, "path": envelope.path, "event": envelope.type, "version": envelope.version,
        "attempt": getattr(envelope.event, "attempt", None),
    }  # fmt: skip
