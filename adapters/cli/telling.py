"""An event in words: the last column of `events`, and the lines of a run that nobody watches on a screen."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, NamedTuple

from flowledger.events import facts
from flowledger.events.envelope import Envelope
from flowledger.projections.nodes import one_line

from .words import Look, look, took

#: How much of a result is shown, in characters.
_SHOWN = 60


class Told(NamedTuple):
    """What an event says: the state it stands for, and the words. ``quiet``: of no interest while a run is watched."""

    state: str
    text: str
    quiet: bool = False

    @property
    def look(self) -> Look:
        """The icon and style of its state."""
        return look(self.state)


def told(envelope: Envelope) -> Told:
    """The event of an envelope in words; not yet printable."""
    tell = _TOLD.get(type(envelope.event))
    return tell(envelope.event) if tell else Told("RUNNING", "", quiet=True)


def _counted(event: facts.AtomEvent) -> str:
    parts = ([f"try {event.try_}"] if event.try_ > 1 else []) + (
        [f"attempt {event.attempt}"] if event.attempt > 1 else []
    )
    return f" ({', '.join(parts)})" if parts else ""


def _by(worker: str) -> str:
    """Who made it, where that was a worker: its id is for `--json`."""
    return f" by {worker.rpartition(' ')[2]}" if worker else ""


def _polls(polls: int) -> str:
    return f" after {polls} poll{'s' if polls > 1 else ''}" if polls else ""


def _begun(event: facts.TaskStarted | facts.RevertStarted) -> str:
    return f"asked for on queue {event.queue}" if event.queue else "started"


def _submitted(event: facts.RunSubmitted) -> Told:
    key = f", key {event.key}" if event.key else ""
    return Told("PENDING", f"{event.factory} submitted{key}")


def _released(event: facts.RunReleased) -> Told:
    if event.taken_from:
        return Told("PENDING", f"taken from {event.taken_from}: {event.reason}")
    return Told("PENDING", f"released {event.reason}".rstrip(), quiet=True)


def _succeeded(event: facts.TaskSucceeded) -> Told:
    shown = bytes(event.result).decode(errors="replace")
    shown = shown if len(shown) <= _SHOWN else f"{shown[:_SHOWN]}…"
    result = "" if shown == "null" and event.moved is None else f" → {shown if event.moved is None else '(moved)'}"
    return Told("SUCCEEDED", f"succeeded{_by(event.worker)}{_polls(event.polls)}{result}")


def _failed(event: facts.TaskFailed) -> Told:
    again = "; again" + (" after a back-off" if event.until else "") if event.again else ""
    what = f"failed{_by(event.worker)}{_counted(event)}: {one_line(event.failure)}{again}"
    return Told("WAITING" if event.again else "FAILED", what)


def _revert_failed(event: facts.RevertFailed) -> Told:
    again = "; again" if event.again else ""
    what = f"revert failed{_by(event.worker)}: {one_line(event.failure)}{again}"
    return Told("REVERTING" if event.again else "REVERT_FAILED", what)


def _decided(event: facts.RetryDecided) -> Told:
    why = "; ".join(one_line(failure) for failure in event.failures)
    answer = {"RETRY": "undo and try again", "REVERT": "give up", "REVERT_ALL": "give up, undo everything"}
    wait = f" in {took(int(event.backoff_s * 1e6))}" if event.backoff_s else ""
    if event.error is not None:
        return Told("FAILED", f"the retry itself failed: {one_line(event.error)}")
    return Told("WAITING" if event.decision == "RETRY" else "FAILED", f"{answer[event.decision]}{wait}: {why}")


def _branch(event: facts.BranchDecided) -> Told:
    if event.error is not None:
        return Told("FAILED", f"the predicate failed: {one_line(event.error)}")
    said = ", ".join(f"{'yes' if yes else 'no'}{f' after {path}' if path else ''}" for path, yes in event.verdicts)
    return Told("SKIPPED" if event.no else "RUNNING", f"branch: {said}", quiet=event.no is None)


def _accepted(event: facts.RequestAccepted) -> Told:
    if event.kind == "fork":
        return Told("SUCCEEDED", f"adopted by run {event.fork}: {event.reason}")
    state = {"suspend": "SUSPENDING", "revert": "REVERTING", "cancel": "REVERTING"}.get(event.kind, "RUNNING")
    more = f" from {event.from_} on" if event.from_ else " keeping what stands" if event.keep else ""
    more += f" as {event.resolution}" if event.resolution else ""
    return Told(state, f"{event.kind}{more} accepted: {event.reason}".removesuffix(": "))


def _waiting(event: facts.TaskWaiting) -> Told:
    what = f" for signal {event.signal}" if event.signal else f"{_polls(event.polls)} {event.message}".rstrip()
    return Told("WAITING", f"waiting{what}")


def _suspended(event: facts.RunSuspended) -> Told:
    held = f", held at {', '.join(event.held)}: resolve it" if event.held else ""
    return Told("SUSPENDED", f"run suspended{held}")


def _run_failed(event: facts.RunFailed) -> Told:
    return Told("FAILED", "run failed: " + ("stopped, all kept" if event.reason == "stopped" else "a revert failed"))


def _forked(event: facts.RunForked) -> Told:
    adopted = ", adopted" if event.adopted else ""
    kept = f"{len(event.inherited)} result{'s' if len(event.inherited) != 1 else ''} taken over{adopted}"
    return Told("PENDING", f"forked from run {event.source} at event {event.version}, {kept}: {event.reason}")


_TOLD: Final[dict[type[facts.Event], Callable[[Any], Told]]] = {
    facts.RunSubmitted: _submitted,
    facts.RunForked: _forked,
    facts.RunClaimed: lambda e: Told("RUNNING", f"claimed by {e.owner}, epoch {e.epoch}", quiet=e.epoch < 2),
    facts.RunReleased: _released,
    facts.RunStarted: lambda e: Told("RUNNING", f"started, plan {e.fingerprint[:12]}"),
    facts.PlanChanged: lambda e: Told("RUNNING", f"goes on under another plan, {e.fingerprint[:12]}"),
    facts.RunSuspended: _suspended,
    facts.RunResumed: lambda _: Told("RUNNING", "run resumed"),
    facts.RunSucceeded: lambda _: Told("SUCCEEDED", "run succeeded"),
    facts.RunReverted: lambda _: Told("REVERTED", "run reverted"),
    facts.RunFailed: _run_failed,
    facts.RunCancelled: lambda e: Told("CANCELLED", "run cancelled" + (", all kept" if e.kept else "")),
    facts.RequestAccepted: _accepted,
    facts.RunErased: lambda e: Told("CANCELLED", f"values erased: {e.reason}"),
    facts.RequestRefused: lambda e: Told("FAILED", f"{e.kind} refused: {e.why}"),
    facts.SignalReceived: lambda e: Told("RUNNING", f"signal {e.name} received"),
    facts.RoundStarted: lambda e: Told("RUNNING", f"round {e.round}", quiet=e.round < 2),
    facts.RetryDecided: _decided,
    facts.BranchDecided: _branch,
    facts.TaskSkipped: lambda _: Told("SKIPPED", "skipped"),
    facts.ScopeReverting: lambda _: Told("REVERTING", "reverting"),
    facts.ScopeReset: lambda _: Told("PENDING", "reset", quiet=True),
    facts.TimerFired: lambda _: Told("RUNNING", "timer fired", quiet=True),
    facts.TaskStarted: lambda e: Told("RUNNING", f"{_begun(e)}{_counted(e)}"),
    facts.TaskWaiting: _waiting,
    facts.TaskSucceeded: _succeeded,
    facts.TaskFailed: _failed,
    facts.TaskInterrupted: lambda e: Told("INTERRUPTED", f"{e.phase} interrupted: {e.cause}"),
    facts.TaskHeld: lambda e: Told("INTERRUPTED", f"held: {e.reason}"),
    facts.RevertStarted: lambda e: Told("REVERTING", f"revert {_begun(e)}{_counted(e)}"),
    facts.TaskReverted: lambda e: Told("REVERTED", f"reverted{_by(e.worker)}"),
    facts.RevertFailed: _revert_failed,
    facts.OutcomeIgnored: lambda e: Told("WAITING", f"{e.phase} {e.outcome}{_by(e.worker)}, too late to count"),
}
