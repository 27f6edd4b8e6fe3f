"""The run view: a fold of one run's log, for people. What `show`, the live tree and summaries are made of.

It asks nothing of the code that made the run: the plan's document gives the tree, or, where there is none (a run that
was only submitted, a log without its plan), the paths of the events do. It judges nothing: `core.evolve` does.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final, Literal

from flowledger.events import facts
from flowledger.events.envelope import Envelope
from flowledger.events.failure import Failure
from flowledger.events.store import FINAL, Direction, RunStatus

from .nodes import RESULT_KEPT_BYTES, AtomView, FailedRound, FlowView, Resumption
from .run_tree import RunTree

#: A run's status, or REVERTING while it runs backwards.
ShownState = RunStatus | Literal["REVERTING"]


#: The events that name one.
NAMES_PLAN: Final = (facts.RunStarted, facts.PlanChanged, facts.FlowExpanded)


def plan_named(event: facts.Event) -> str | None:
    """The fingerprint of the plan, or of the part of one, that is laid out after this event."""
    if isinstance(event, NAMES_PLAN):
        return event.fingerprint or None
    return None


class RunView(RunTree):
    """The state of one run after the events applied so far. Times are microseconds since the epoch."""

    def __init__(self, run_id: str = "", document: bytes | None = None) -> None:
        super().__init__()
        self.run_id = run_id
        self.app = ""
        self.factory = ""
        self.key: str | None = None
        self.tags: dict[str, str] = {}
        self.fingerprint: str | None = None
        self.forked: facts.RunForked | None = None
        self.adopted_by: str | None = None
        self.status: RunStatus = "PENDING"
        self.direction: Direction = "FORWARD"
        self.owner: str | None = None
        self.version = 0
        self.submitted_us: int | None = None
        self.started_us: int | None = None
        self.ended_us: int | None = None
        self.last_us: int | None = None
        self.reopened_us: int | None = None
        self.asked_to_revert = False  # a person had the run undone after it had ended
        self.fail_reason = ""
        self.resumptions: list[Resumption] = []
        self.claims = 0
        self._taken_over = False
        if document is not None:
            self.use(document)

    # -- the tree -------------------------------------------------------------------------------

    def use(self, document: bytes) -> None:
        """See `RunTree.use`."""
        super().use(document)
        self.take_over()

    def take_over(self) -> None:
        """Show what a fork has from its source (G6), when it is known and the tree is there; once."""
        forked = self.forked
        if forked is None or self._taken_over or not self._planned:
            return
        self._taken_over = True
        for path in forked.inherited:
            if path in self.atoms:
                self.move(path, "SUCCEEDED").inherited = True
        for path in forked.skipped:
            self.skip(path)

    # -- what it says ---------------------------------------------------------------------------

    @property
    def state(self) -> ShownState:
        """The status; REVERTING while a run goes backwards."""
        return "REVERTING" if self.status == "RUNNING" and self.direction == "BACK" else self.status

    @property
    def is_final(self) -> bool:
        """Whether the run has ended (a revert may open it again)."""
        return self.status in FINAL

    @property
    def succeeded(self) -> bool:
        """Whether the run came to what was asked of it: success, or the revert a person asked for."""
        return self.status == ("REVERTED" if self.asked_to_revert else "SUCCEEDED")

    @property
    def progress(self) -> tuple[int, int]:
        """Atoms done and atoms in all; on the way back, atoms reverted and atoms that had been started."""
        if self.direction == "FORWARD":
            return self.root.done, self.root.total
        return self.root.atoms["REVERTED"], self.root.total - self.root.atoms["PENDING"]

    @property
    def held(self) -> list[AtomView]:
        """The atoms that a person has to resolve (G3), in plan order."""
        nodes = self.below("")
        return [node for node in nodes if isinstance(node, AtomView) and node.held and node.state == "INTERRUPTED"]

    @property
    def failures(self) -> list[Failure]:
        """The last failure of every atom that has one in its present try, in plan order."""
        nodes = self.below("")
        return [node.failure for node in nodes if isinstance(node, AtomView) and node.failure]

    def duration_us(self, now_us: int | None = None) -> int | None:
        """From the start (of the revert or rerun, where a person asked for one) to the end, or to ``now_us``."""
        start = self.started_us if self.reopened_us is None else self.reopened_us
        end = self.ended_us if self.ended_us is not None else now_us
        return None if start is None or end is None else max(0, end - start)

    # -- the fold -------------------------------------------------------------------------------

    def apply(self, envelope: Envelope) -> None:
        """Take in the next event."""
        self.run_id = self.run_id or envelope.run_id
        self.version = envelope.version
        self.last_us = envelope.time_us
        fold = _FOLDS.get(type(envelope.event))
        if fold is not None:
            fold(self, envelope.path, envelope.event, envelope.time_us)

    def lay_out(self, event: facts.Event, document: bytes) -> None:
        """Lay out the plan that an event named (`plan_named`), after the event has been applied."""
        if isinstance(event, facts.FlowExpanded):
            self.grow(document)
        else:
            self.use(document)

    def start_over(self, forgotten: Sequence[str] = ()) -> None:
        """A rerun goes forward (G5): kept is what has succeeded, but for what is ``forgotten``, and what was skipped
        after nothing that runs again."""
        self.direction, self.root.phase = "FORWARD", ""
        gone = set(forgotten)
        for node in self.below(""):
            if isinstance(node, FlowView):
                if not node.is_done:
                    node.reset()
            elif (
                node.state not in ("SUCCEEDED", "SKIPPED")
                or (gone and _is_in(node.path, gone))
                or (node.state == "SKIPPED" and self.waits_again(node.path))
            ):
                self.move(node.path, "PENDING").reset()

    def extend(self, envelopes: Iterable[Envelope]) -> RunView:
        """Take in several; returns itself."""
        for envelope in envelopes:
            self.apply(envelope)
        return self


def _is_in(path: str, scopes: set[str]) -> bool:
    """Whether a path is one of these, or inside one."""
    while path and path not in scopes:
        path = path.rpartition("/")[0]
    return bool(path)


# -- the run ------------------------------------------------------------------------------------


def _submitted(view: RunView, path: str, event: facts.RunSubmitted, time_us: int) -> None:
    view.app, view.factory, view.key, view.tags = event.app, event.factory, event.key, dict(event.tags)
    view.submitted_us = time_us


def _forked(view: RunView, path: str, event: facts.RunForked, time_us: int) -> None:
    view.forked = event
    view.take_over()


def _claimed(view: RunView, path: str, event: facts.RunClaimed, time_us: int) -> None:
    view.owner = event.owner
    view.claims += 1
    if view.started_us is not None and not view.is_final and not view.asked_to_revert:
        view.resumptions.append(Resumption(view.version, view.root.done))


def _released(view: RunView, path: str, event: facts.RunReleased, time_us: int) -> None:
    view.owner = None


def _started(view: RunView, path: str, event: facts.RunStarted, time_us: int) -> None:
    view.fingerprint = event.fingerprint
    view.status = "RUNNING"
    view.started_us = time_us


def _plan_changed(view: RunView, path: str, event: facts.PlanChanged, time_us: int) -> None:
    view.fingerprint = event.fingerprint


def _suspended(view: RunView, path: str, event: facts.RunSuspended, time_us: int) -> None:
    view.status = "SUSPENDED"


def _resumed(view: RunView, path: str, event: facts.RunResumed, time_us: int) -> None:
    view.status = "RUNNING"


def _ended(view: RunView, path: str, event: facts.Event, time_us: int) -> None:
    status: dict[type[facts.Event], RunStatus] = {
        facts.RunSucceeded: "SUCCEEDED",
        facts.RunReverted: "REVERTED",
        facts.RunFailed: "FAILED",
        facts.RunCancelled: "CANCELLED",
    }
    view.status = status[type(event)]
    view.fail_reason = event.reason if isinstance(event, facts.RunFailed) else ""
    view.ended_us = time_us
    view.owner = None
    view.root.phase = ""


def _accepted(view: RunView, path: str, event: facts.RequestAccepted, time_us: int) -> None:
    if event.kind == "suspend":
        view.status = "SUSPENDING"
    if event.kind == "resolve" and path in view.atoms:
        view.atoms[path].held = False
    if event.kind == "fork":
        view.adopted_by = event.fork
    if event.kind not in ("revert", "rerun"):
        return
    view.asked_to_revert = event.kind == "revert"
    view.status, view.direction = "RUNNING", "BACK" if view.asked_to_revert else "FORWARD"
    view.reopened_us = time_us
    view.ended_us = None


# -- scopes -------------------------------------------------------------------------------------


def _round_started(view: RunView, path: str, event: facts.RoundStarted, time_us: int) -> None:
    flow = view.flow(path)
    flow.round, flow.phase, flow.until_us = event.round, "", None


def _retry_decided(view: RunView, path: str, event: facts.RetryDecided, time_us: int) -> None:
    flow = view.flow(path)
    failures = event.failures if event.error is None else (*event.failures, event.error)
    flow.failed_rounds.append(FailedRound(event.round, event.decision, failures))
    if event.decision != "RETRY":
        flow.phase = "gave up"


def _scope_reverting(view: RunView, path: str, event: facts.ScopeReverting, time_us: int) -> None:
    if not path:
        view.direction = "BACK"
    view.flow(path).phase = "reverting"


def _scope_reset(view: RunView, path: str, event: facts.ScopeReset, time_us: int) -> None:
    if not path:
        view.start_over(event.forgotten)
        return
    flow = view.flow(path)
    flow.phase, flow.until_us = "waiting", event.until
    for made in sorted(made for made in view.expanded if made.startswith(f"{path}/")):
        view.expanded.discard(made)
        if made in view.flows:  # not in one that is gone already
            view.shrink(made)
    for node in view.below(path):
        if isinstance(node, AtomView):
            view.move(node.path, "PENDING").reset()
        else:
            node.reset()


def _expanded(view: RunView, path: str, event: facts.FlowExpanded, time_us: int) -> None:
    view.flow(path)
    view.shrink(path)
    view.expanded.add(path)


# -- atoms --------------------------------------------------------------------------------------


def _fired(view: RunView, path: str, event: facts.TimerFired, time_us: int) -> None:
    if path in view.atoms:
        view.atoms[path].until_us = None
    else:
        view.flow(path).until_us = None


def _task_started(view: RunView, path: str, event: facts.TaskStarted, time_us: int) -> None:
    atom = view.move(path, "RUNNING")
    atom.try_, atom.attempt = event.try_, event.attempt
    atom.attempts += 1
    atom.started_us = time_us if atom.started_us is None else atom.started_us
    atom.ended_us = atom.until_us = None
    atom.queue, atom.asked_us = event.queue, time_us


def _task_waiting(view: RunView, path: str, event: facts.TaskWaiting, time_us: int) -> None:
    atom = view.move(path, "WAITING")
    atom.until_us, atom.polls = event.until, event.polls
    said = f"{event.message}: {event.child}" if event.child else event.message
    atom.message = f"for signal {event.signal}" if event.signal else said


def _task_succeeded(view: RunView, path: str, event: facts.TaskSucceeded, time_us: int) -> None:
    atom = view.move(path, "SUCCEEDED")
    atom.ended_us, atom.until_us, atom.failure = time_us, None, None
    atom.worker = event.worker
    atom.polls = event.polls or atom.polls
    content = bytes(event.result)
    atom.result = content if event.moved is None and len(content) <= RESULT_KEPT_BYTES else None


def _task_failed(view: RunView, path: str, event: facts.TaskFailed, time_us: int) -> None:
    atom = view.move(path, "WAITING" if event.again else "FAILED")
    atom.failure = event.failure
    atom.failed_attempts.append(event.failure)
    atom.polls = event.polls or atom.polls
    atom.until_us, atom.worker = event.until, event.worker
    atom.ended_us = None if event.again else time_us


def _task_interrupted(view: RunView, path: str, event: facts.TaskInterrupted, time_us: int) -> None:
    atom = view.move(path, "REVERTING" if event.phase == "revert" else "INTERRUPTED")
    atom.interruptions += 1
    atom.lost += 1
    if view.resumptions:
        view.resumptions[-1].interrupted.append(path)


def _task_held(view: RunView, path: str, event: facts.TaskHeld, time_us: int) -> None:
    atom = view.move(path, "INTERRUPTED")
    atom.message, atom.until_us, atom.held = event.reason, None, True
    view.status = "SUSPENDING"


def _revert_started(view: RunView, path: str, event: facts.RevertStarted, time_us: int) -> None:
    atom = view.move(path, "REVERTING")
    atom.revert_attempt, atom.until_us = event.attempt, None
    atom.lost = 0 if event.attempt == 1 else atom.lost
    atom.queue, atom.asked_us = event.queue, time_us


def _task_reverted(view: RunView, path: str, event: facts.TaskReverted, time_us: int) -> None:
    atom = view.move(path, "REVERTED")
    atom.until_us, atom.worker = None, event.worker


def _revert_failed(view: RunView, path: str, event: facts.RevertFailed, time_us: int) -> None:
    atom = view.move(path, "REVERTING" if event.again else "REVERT_FAILED")
    atom.failure, atom.until_us, atom.worker = event.failure, event.until, event.worker
    atom.failed_attempts.append(event.failure)


def _branch_decided(view: RunView, path: str, event: facts.BranchDecided, time_us: int) -> None:
    if event.error is not None and path in view.atoms:
        atom = view.move(path, "FAILED")
        atom.failure, atom.ended_us = event.error, time_us


def _task_skipped(view: RunView, path: str, event: facts.TaskSkipped, time_us: int) -> None:
    view.skip(path)


_FOLDS: Final[dict[type[facts.Event], Callable[[RunView, str, Any, int], None]]] = {
    facts.RunSubmitted: _submitted,
    facts.RunForked: _forked,
    facts.RunClaimed: _claimed,
    facts.RunReleased: _released,
    facts.RunStarted: _started,
    facts.PlanChanged: _plan_changed,
    facts.RunSuspended: _suspended,
    facts.RunResumed: _resumed,
    facts.RunSucceeded: _ended,
    facts.RunReverted: _ended,
    facts.RunFailed: _ended,
    facts.RunCancelled: _ended,
    facts.RequestAccepted: _accepted,
    facts.FlowExpanded: _expanded,
    facts.BranchDecided: _branch_decided,
    facts.TaskSkipped: _task_skipped,
    facts.RoundStarted: _round_started,
    facts.RetryDecided: _retry_decided,
    facts.ScopeReverting: _scope_reverting,
    facts.ScopeReset: _scope_reset,
    facts.TimerFired: _fired,
    facts.TaskStarted: _task_started,
    facts.TaskWaiting: _task_waiting,
    facts.TaskSucceeded: _task_succeeded,
    facts.TaskFailed: _task_failed,
    facts.TaskInterrupted: _task_interrupted,
    facts.TaskHeld: _task_held,
    facts.RevertStarted: _revert_started,
    facts.TaskReverted: _task_reverted,
    facts.RevertFailed: _revert_failed,
}
