"""Why a run is where it is, in plain words, each statement with the events that prove it (`flowledger why`)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import NamedTuple

from flowledger.events import facts
from flowledger.events.envelope import Envelope

from .nodes import AtomView, FlowView, losses, one_line
from .run_view import RunView

#: So many of the same kind are named; then it is said how many more there are.
NAMED = 5


class Reason(NamedTuple):
    """One statement. ``evidence`` are versions of events of the run; ``until_us`` when what is waited for is due.

    ``depth`` 0 says what is the case, 1 what led to it.
    """

    text: str
    evidence: tuple[int, ...] = ()
    until_us: int | None = None
    depth: int = 1


class Driver(NamedTuple):
    """Who drives the run, as the store says just now; ``words`` go on after "it is running," or ", but"."""

    lives: bool
    words: str


class Evidence:
    """Where in the log things were said last: by path and type of event."""

    def __init__(self) -> None:
        self._last: dict[tuple[str, str], Envelope] = {}
        self.begun_at = 0  # the version at which a person opened the run again, or 0
        self.failed: list[Envelope] = []  # what failed for good since then
        #: By path, how it stands with tasks that workers make (`projections.remote`), as far as somebody has looked.
        self.asked: Mapping[str, str] = {}
        self.driver: Driver | None = None  # likewise

    def apply(self, envelope: Envelope) -> None:
        """Take in the next event."""
        event = envelope.event
        self._last[envelope.path, envelope.type] = envelope
        if isinstance(event, facts.RequestAccepted):
            self._last["", f"request {event.kind}"] = envelope
            if event.kind in ("revert", "rerun"):
                self.begun_at, self.failed = envelope.version, []
        elif isinstance(event, facts.TaskFailed | facts.RevertFailed) and not event.again:
            self.failed.append(envelope)
        elif isinstance(event, facts.ScopeReset):
            self.failed = [e for e in self.failed if not _is_in(e.path, envelope.path)]

    def last(self, path: str, *types: str) -> Envelope | None:
        """The last event at this path of one of these types."""
        found = [self._last[path, kind] for kind in types if (path, kind) in self._last]
        return max(found, key=lambda envelope: envelope.version, default=None)

    def at(self, path: str, *types: str) -> tuple[int, ...]:
        """Its version, if there is one."""
        found = self.last(path, *types)
        return () if found is None else (found.version,)


def why(view: RunView, evidence: Evidence) -> list[Reason]:
    """What is the case, then what led to it. ``view`` and ``evidence`` have seen the same events."""
    tell = {
        "PENDING": _pending,
        "SUSPENDED": _suspended,
        "SUSPENDING": _suspending,
        "SUCCEEDED": _succeeded,
        "REVERTED": _gone_wrong,
        "FAILED": _gone_wrong,
        "CANCELLED": _gone_wrong,
    }.get(view.status, _running)
    return list(tell(view, evidence))


# -- not running --------------------------------------------------------------------------------


def _pending(view: RunView, evidence: Evidence) -> Iterator[Reason]:
    owner, driver = evidence.last("", "RunClaimed"), evidence.driver
    if driver is not None and not driver.lives:
        yield Reason(f"it waits to be taken up; {driver.words}", evidence.at("", "RunSubmitted"), depth=0)
    elif view.owner is None or owner is None:
        yield Reason("it waits for somebody to take it up; nobody has yet", evidence.at("", "RunSubmitted"), depth=0)
    else:
        yield Reason(f"{view.owner} has taken it up and is about to start it", (owner.version,), depth=0)


def _suspended(view: RunView, evidence: Evidence) -> Iterator[Reason]:
    asked = evidence.last("", "request suspend")
    held = view.held
    what = "it is held, and waits for a person to `resolve` it" if held else "it is suspended, and waits for `resume`"
    yield Reason(what, evidence.at("", "RunSuspended"), depth=0)
    yield from _some([_held(atom, evidence) for atom in held], "more are held")
    if asked is not None and isinstance(asked.event, facts.RequestAccepted):
        why_ = f": {asked.event.reason}" if asked.event.reason else ""
        yield Reason(f"{asked.actor} asked for it{why_}", (asked.version,))
    yield from _waiting(view, evidence)


def _suspending(view: RunView, evidence: Evidence) -> Iterator[Reason]:
    held = tuple(version for atom in view.held for version in evidence.at(atom.path, "TaskHeld"))
    why_, driver = evidence.at("", "request suspend") or held, evidence.driver
    gone = f", but {driver.words}" if driver is not None and not driver.lives else ""
    yield Reason(f"it will be suspended once what runs has ended{gone}", why_, depth=0)
    yield from _some([_held(atom, evidence) for atom in view.held], "more are held")
    yield from _alive(view, evidence)


def _held(atom: AtomView, evidence: Evidence) -> Reason:
    why_ = f": {atom.message}" if atom.message else ""
    return Reason(f"{atom.path} is held{why_}", evidence.at(atom.path, "TaskHeld"))


def _succeeded(view: RunView, evidence: Evidence) -> Iterator[Reason]:
    done, total = view.progress
    yield Reason(f"it has succeeded: {done} of {total} tasks are done", evidence.at("", "RunSucceeded"), depth=0)


# -- running ------------------------------------------------------------------------------------


def _running(view: RunView, evidence: Evidence) -> Iterator[Reason]:
    backwards = view.direction == "BACK"
    what = "it is being undone" if backwards else "it is running"
    driver = evidence.driver
    if driver is not None and not driver.lives:
        yield Reason(f"{what}, but {driver.words}", evidence.at("", "RunReleased", "RunClaimed"), depth=0)
    elif view.owner is None:
        yield Reason(
            f"{what}, but nobody drives it now: `resume` goes on", evidence.at("", "RunReleased", "RunClaimed"), depth=0
        )
    else:
        who = view.owner if driver is None else driver.words
        yield Reason(f"{what}, driven by {who}", evidence.at("", "RunClaimed"), depth=0)
    if backwards:
        yield from _led_to_undoing(view, evidence)
    found = [*_alive(view, evidence), *_waiting(view, evidence)]
    yield from found
    if not found and not backwards:
        yield Reason("nothing runs and nothing waits: what comes next is about to start", (view.version,))
    yield from _blocked(view)


def _alive(view: RunView, evidence: Evidence) -> Iterator[Reason]:
    """Bodies that run."""
    lines = [
        Reason(
            f"{atom.path} {_doing(atom, evidence)}",
            evidence.at(atom.path, "RevertStarted" if atom.state == "REVERTING" else "TaskStarted"),
        )
        for atom in view.atoms.values()
        if atom.state in ("RUNNING", "REVERTING")
    ]
    lines += [
        Reason(f"{atom.path} was cut off{_counted(atom)} and will run again", evidence.at(atom.path, "TaskInterrupted"))
        for atom in view.atoms.values()
        if atom.state == "INTERRUPTED" and not atom.held
    ]
    yield from _some(lines, "more run")


def _waiting(view: RunView, evidence: Evidence) -> Iterator[Reason]:
    """Back-offs, polls, timers, and whatever else waits."""
    lines: list[Reason] = []
    for atom in view.atoms.values():
        if atom.state == "WAITING":
            said = evidence.last(atom.path, "TaskFailed", "TaskWaiting")
            failed = said is not None and isinstance(said.event, facts.TaskFailed)
            text = f"{atom.path} failed{_counted(atom)} and is tried again: {atom.failed}" if failed else (
                f"{atom.path} is not ready yet{_polls(atom)}" + (f": {atom.message}" if atom.message else "")
            )  # fmt: skip
            lines.append(Reason(text, () if said is None else (said.version,), atom.until_us))
    for flow in view.flows.values():
        if flow.phase == "waiting" and not view.is_final:
            last = flow.failed_rounds[-1].reason if flow.failed_rounds else ""
            text = f"{flow.path} was undone and begins again after a back-off" + (f": {last}" if last else "")
            lines.append(Reason(text, evidence.at(flow.path, "ScopeReset"), flow.until_us))
    yield from _some(lines, "more wait")


def _blocked(view: RunView) -> Iterator[Reason]:
    """What cannot start yet."""
    lines: list[Reason] = []
    for node in view.below(""):
        if node.state == "PENDING" and not (isinstance(node, FlowView) and not node.children and node.total):
            before = [each for each in view.waiting_for(node.path) if each.state != "SKIPPED"]
            if before and (not node.place.parent or view.flows[node.place.parent].state != "PENDING"):
                names = ", ".join(each.path for each in before[:NAMED])
                lines.append(Reason(f"{node.path} waits for {names}"))
    yield from _some(lines, "more wait for others")


# -- gone wrong ---------------------------------------------------------------------------------


def _gone_wrong(view: RunView, evidence: Evidence) -> Iterator[Reason]:
    end = evidence.at("", "RunReverted", "RunFailed", "RunCancelled")
    asked = evidence.last("", "request revert", "request cancel")
    if view.status == "REVERTED":
        yield Reason("all it had done has been undone", end, depth=0)
    elif view.status == "CANCELLED":
        yield Reason("it was cancelled", end, depth=0)
    elif view.fail_reason == "stopped":
        yield Reason("it failed, and what it had done is still there (on_failure is stop)", end, depth=0)
    else:
        standing = sum(atom.state == "REVERT_FAILED" for atom in view.atoms.values())
        yield Reason(f"it failed, and {standing} of its tasks could not be undone: a person has to", end, depth=0)
    if asked is not None and asked.version >= evidence.begun_at and isinstance(asked.event, facts.RequestAccepted):
        yield Reason(f"{asked.actor} asked for it: {asked.event.reason or 'no reason given'}", (asked.version,))
    yield from _led_to_undoing(view, evidence)


def _led_to_undoing(view: RunView, evidence: Evidence) -> Iterator[Reason]:
    """The failures, and what the retries around them answered."""
    lines: list[Reason] = []
    for envelope in evidence.failed:
        event = envelope.event
        assert isinstance(event, facts.TaskFailed | facts.RevertFailed)
        what = "could not be undone" if isinstance(event, facts.RevertFailed) else "failed"
        lines.append(
            Reason(f"{envelope.path} {what}{_attempts(event)}: {one_line(event.failure)}", (envelope.version,))
        )
    yield from _some(lines, "more failed")
    for flow in view.flows.values():
        for failed in flow.failed_rounds[-1:]:
            retry = flow.place.retry or "its retry"
            where = flow.path or "the run"
            answer = {"RETRY": "said to try again", "REVERT": "gave up", "REVERT_ALL": "had everything undone"}
            rounds = f" after {failed.round} rounds" if failed.round > 1 else ""
            yield Reason(
                f"{retry} of {where} {answer[failed.decision]}{rounds}: {failed.reason}",
                evidence.at(flow.path, "RetryDecided"),
            )


# -- words --------------------------------------------------------------------------------------


def _some(lines: list[Reason], more: str) -> Iterator[Reason]:
    yield from lines[:NAMED]
    if len(lines) > NAMED:
        yield Reason(f"… and {len(lines) - NAMED} {more}")


def _doing(atom: AtomView, evidence: Evidence) -> str:
    """What a body does, or, of one that is made elsewhere, how it stands there."""
    back = atom.state == "REVERTING"
    if not atom.queue:
        if evidence.driver is not None and not evidence.driver.lives:
            return f"{'was being reverted' if back else 'ran'} when its process went{_counted(atom)}"
        return f"{'is being reverted' if back else 'runs'}{_counted(atom)}"
    standing = evidence.asked.get(atom.path, f"asked of workers on queue {atom.queue}")
    return f"{'has its revert' if back else 'is'} {standing}{_counted(atom)}"


def _counted(atom: AtomView) -> str:
    parts = [f"try {atom.try_}"] if atom.try_ > 1 else []
    parts += [f"attempt {atom.attempt}"] if atom.attempt > 1 else []
    parts += [losses(atom)] if losses(atom) else []
    return f" ({', '.join(parts)})" if parts else ""


def _attempts(event: facts.TaskFailed | facts.RevertFailed) -> str:
    return f" in attempt {event.attempt}" if event.attempt > 1 else ""


def _polls(atom: AtomView) -> str:
    return f" after {atom.polls} poll{'s' if atom.polls > 1 else ''}" if atom.polls else ""


def _is_in(path: str, scope: str) -> bool:
    return not scope or path == scope or path.startswith(f"{scope}/")
