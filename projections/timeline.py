"""The timeline of a run: a fold of its stream into spans, one per attempt, wait, back-off, round and pause.

A timeline is of one run, and its events are all it needs: so it is folded when somebody looks, and kept nowhere.
Events of types it does not know move its end, no more.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Final, Literal

from flowledger.events import facts
from flowledger.events.envelope import Envelope

SpanKind = Literal[
    "queued",  # from being submitted to being started
    "run",  # from the start to the end, and again from a revert or rerun that a person asked for
    "suspended",  # from suspension until it goes on
    "round",  # one pass of a retry's scope
    "reverting",  # a scope, or the run, is being undone
    "execute",  # one attempt of a task
    "revert",  # one attempt of a revert
    "poll",  # the attempt waits until the next poll, a pause is over, or a signal comes
    "back-off",  # between two attempts, or two rounds
    "nobody",  # the process that drove the run was gone
]


@dataclass(slots=True)
class Span:
    """A stretch of time, in microseconds since the epoch. ``path`` is the atom's or scope's, "" the run's.

    ``ended_us`` is None while it goes on; ``version`` is the event that began it, ``number`` its try or round,
    ``attempt`` counts within a try; ``state`` says how it ended, ``note`` why, ``worker`` who made it, where that was a
    worker.
    """

    kind: SpanKind
    path: str
    started_us: int
    version: int
    number: int = 0
    attempt: int = 0
    ended_us: int | None = None
    state: str = ""
    note: str = ""
    worker: str = ""

    def took_us(self, now_us: int) -> int:
        """How long it took, or has taken until ``now_us``."""
        return max(0, (now_us if self.ended_us is None else self.ended_us) - self.started_us)


class Timeline:
    """The spans of a run, in the order in which they began."""

    def __init__(self) -> None:
        self.spans: list[Span] = []
        self.last_us = 0
        self._open: dict[tuple[str, str], Span] = {}

    def apply(self, envelope: Envelope) -> None:
        """Take in the next event."""
        fold = _FOLDS.get(type(envelope.event))
        if fold is not None:
            fold(self, envelope, envelope.event)
        self.last_us = envelope.time_us

    def extend(self, envelopes: Iterable[Envelope]) -> Timeline:
        """Take in several; returns itself."""
        for envelope in envelopes:
            self.apply(envelope)
        return self

    def begin(self, kind: SpanKind, envelope: Envelope, *, number: int = 0, attempt: int = 0, note: str = "") -> None:
        """A span of this kind begins at the event's path; one that is open ends."""
        self.end(kind, envelope)
        span = Span(kind, envelope.path, envelope.time_us, envelope.version, number, attempt, note=note)
        self.spans.append(span)
        self._open[kind, envelope.path] = span

    def end(self, kind: SpanKind, envelope: Envelope, state: str = "", note: str = "") -> None:
        """The span of this kind at the event's path ends, if there is one."""
        span = self._open.pop((kind, envelope.path), None)
        if span is not None:
            span.ended_us = envelope.time_us
            span.state = state or span.state
            span.note = note or span.note
            if kind in ("execute", "revert"):
                span.worker = getattr(envelope.event, "worker", "")

    def is_open(self, kind: SpanKind) -> bool:
        """Whether a span of this kind goes on anywhere."""
        return any(each == kind for each, _ in self._open)

    def end_all(self, envelope: Envelope, state: str) -> None:
        """Nothing goes on any more."""
        for span in self._open.values():
            span.ended_us = envelope.time_us
            span.state = span.state or state
        self._open.clear()


def _submitted(line: Timeline, envelope: Envelope, event: facts.RunSubmitted) -> None:
    line.begin("queued", envelope)


def _started(line: Timeline, envelope: Envelope, event: facts.RunStarted) -> None:
    line.end("queued", envelope)
    line.begin("run", envelope)


def _claimed(line: Timeline, envelope: Envelope, event: facts.RunClaimed) -> None:
    """A later owner: since the last event nobody drove the run."""
    if event.epoch > 1 and not line.is_open("suspended"):
        line.spans.append(
            Span("nobody", "", line.last_us, envelope.version, ended_us=envelope.time_us, note=f"then {event.owner}")
        )


def _ended(state: str) -> Callable[[Timeline, Envelope, Any], None]:
    def fold(line: Timeline, envelope: Envelope, _: facts.Event) -> None:
        line.end("run", envelope, state)
        line.end_all(envelope, state)

    return fold


def _suspended(line: Timeline, envelope: Envelope, event: facts.RunSuspended) -> None:
    line.begin("suspended", envelope)


def _resumed(line: Timeline, envelope: Envelope, event: facts.RunResumed) -> None:
    line.end("suspended", envelope)


def _accepted(line: Timeline, envelope: Envelope, event: facts.RequestAccepted) -> None:
    if event.kind in ("revert", "rerun"):
        line.begin("run", envelope, note=f"{event.kind}: {event.reason}")


def _round(line: Timeline, envelope: Envelope, event: facts.RoundStarted) -> None:
    line.end("back-off", envelope)
    line.begin("round", envelope, number=event.round)


def _decided(line: Timeline, envelope: Envelope, event: facts.RetryDecided) -> None:
    line.end("round", envelope, event.decision)


def _reverting(line: Timeline, envelope: Envelope, event: facts.ScopeReverting) -> None:
    line.begin("reverting", envelope, number=event.round)


def _reset(line: Timeline, envelope: Envelope, event: facts.ScopeReset) -> None:
    line.end("reverting", envelope, "REVERTED")
    if event.until is not None:
        line.begin("back-off", envelope, number=event.round)


def _task_started(line: Timeline, envelope: Envelope, event: facts.TaskStarted) -> None:
    line.end("back-off", envelope)
    line.begin("execute", envelope, number=event.try_, attempt=event.attempt)


def _task_waiting(line: Timeline, envelope: Envelope, event: facts.TaskWaiting) -> None:
    note = f"for signal {event.signal}" if event.signal else event.message
    line.begin("poll", envelope, number=event.try_, attempt=event.attempt, note=note)


def _outcome(state: str) -> Callable[[Timeline, Envelope, Any], None]:
    def fold(line: Timeline, envelope: Envelope, event: Any) -> None:
        line.end("poll", envelope)
        failure = getattr(event, "failure", None)
        line.end("execute", envelope, state, "" if failure is None else failure.message.partition("\n")[0])
        if getattr(event, "until", None) is not None:
            line.begin("back-off", envelope, number=event.try_, attempt=event.attempt)

    return fold


def _interrupted(line: Timeline, envelope: Envelope, event: facts.TaskInterrupted) -> None:
    line.end("poll", envelope)
    line.end("execute" if event.phase == "execute" else "revert", envelope, "INTERRUPTED", event.cause)


def _revert_started(line: Timeline, envelope: Envelope, event: facts.RevertStarted) -> None:
    line.end("poll", envelope)
    line.end("execute", envelope, "INTERRUPTED")
    line.end("back-off", envelope)
    line.begin("revert", envelope, number=event.try_, attempt=event.attempt)


def _reverted(line: Timeline, envelope: Envelope, event: facts.TaskReverted) -> None:
    line.end("revert", envelope, "REVERTED")


def _revert_failed(line: Timeline, envelope: Envelope, event: facts.RevertFailed) -> None:
    line.end("revert", envelope, "REVERT_FAILED", event.failure.message.partition("\n")[0])
    if event.until is not None:
        line.begin("back-off", envelope, number=event.try_, attempt=event.attempt)


def timeline(envelopes: Iterable[Envelope]) -> list[Span]:
    """The spans of a run."""
    return Timeline().extend(envelopes).spans


_FOLDS: Final[dict[type[facts.Event], Callable[[Timeline, Envelope, Any], None]]] = {
    facts.RunSubmitted: _submitted,
    facts.RunStarted: _started,
    facts.RunClaimed: _claimed,
    facts.RunSuspended: _suspended,
    facts.RunResumed: _resumed,
    facts.RunSucceeded: _ended("SUCCEEDED"),
    facts.RunReverted: _ended("REVERTED"),
    facts.RunFailed: _ended("FAILED"),
    facts.RunCancelled: _ended("CANCELLED"),
    facts.RequestAccepted: _accepted,
    facts.RoundStarted: _round,
    facts.RetryDecided: _decided,
    facts.ScopeReverting: _reverting,
    facts.ScopeReset: _reset,
    facts.TaskStarted: _task_started,
    facts.TaskWaiting: _task_waiting,
    facts.TaskSucceeded: _outcome("SUCCEEDED"),
    facts.TaskFailed: _outcome("FAILED"),
    facts.TaskInterrupted: _interrupted,
    facts.RevertStarted: _revert_started,
    facts.TaskReverted: _reverted,
    facts.RevertFailed: _revert_failed,
}
