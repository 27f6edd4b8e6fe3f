"""The oracle: a model of what may become of a run whatever fails, and what its log and its bodies say became of it.

A run may end in one way only, the one of an undisturbed run; or be parked, if one of its tasks met as many losses in a
try as it may have (C6). Each attempt has one start, written before its body begins, and one outcome; a body begins once
per attempt.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

from flowledger.core.plan import Plan
from flowledger.core.replay import check, check_complete
from flowledger.core.state import State
from flowledger.events import facts
from flowledger.events.envelope import Envelope
from flowledger.events.errors import FlowledgerError
from flowledger.events.store import FINAL

from .ledger import Body

_Attempt = tuple[str, str, int, int]  # path, phase, try, attempt


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """How an undisturbed run ends: its status, and the ``result`` (as JSON) of the task at ``path``."""

    run_id: str
    status: str
    path: str = ""
    result: bytes = b""


@dataclass
class Verdict:
    """What is wrong, a line each, and what was met."""

    lost: list[str] = field(default_factory=list[str])
    doubled: list[str] = field(default_factory=list[str])
    stuck: list[str] = field(default_factory=list[str])
    wrong: list[str] = field(default_factory=list[str])
    runs: int = 0
    attempts: int = 0
    interrupted: int = 0
    ignored: int = 0
    parked: int = 0
    claims: int = 0

    @property
    def is_good(self) -> bool:
        return not (self.lost or self.doubled or self.stuck or self.wrong)

    def problems(self) -> Iterable[str]:
        """All that is wrong."""
        for word in ("lost", "doubled", "stuck", "wrong"):
            yield from (f"{word}: {line}" for line in getattr(self, word))


def judge(
    verdict: Verdict, wanted: Wanted, plan: Plan, log: Sequence[Envelope], begun: Mapping[Body, int],
    ended: Mapping[Body, int],
) -> None:  # fmt: skip
    """Add what is to be said of one run. ``begun`` and ``ended``: of its bodies."""
    verdict.runs += 1
    if not log:
        verdict.lost.append(f"{wanted.run_id}: was acknowledged, and is not there")
        return
    _attempts(verdict, wanted.run_id, log)
    _bodies(verdict, log, begun, ended)
    _owners(verdict, wanted.run_id, log)
    try:
        state = check(plan, log)
        if state.status not in FINAL:
            last = log[-1]
            verdict.stuck.append(f"{wanted.run_id} is {state.status} after {last.path} {type(last.event).__name__}")
            return
        check_complete(plan, state)
    except FlowledgerError as error:
        verdict.wrong.append(f"{wanted.run_id}: {error}")
        return
    _end(verdict, wanted, log, state)


def _attempts(verdict: Verdict, run_id: str, log: Sequence[Envelope]) -> None:
    """Each attempt has one start and one outcome, or was lost; of a try the first known outcome wins, also that of an
    attempt that had been taken for lost: then a later attempt may have none (C4)."""
    starts, known, lost = Counter[_Attempt](), Counter[_Attempt](), Counter[_Attempt]()
    for envelope in log:
        event, path = envelope.event, envelope.path
        match event:
            case facts.TaskStarted():
                starts[path, "execute", event.try_, event.attempt] += 1
            case facts.RevertStarted():
                starts[path, "revert", event.try_, event.attempt] += 1
            case facts.TaskSucceeded() if event.attempt:  # a sleep has none
                known[path, "execute", event.try_, event.attempt] += 1
            case facts.TaskFailed() if event.failure.kind != "poison":
                known[path, "execute", event.try_, event.attempt] += 1
            case facts.TaskReverted() if event.attempt:
                known[path, "revert", event.try_, event.attempt] += 1
            case facts.RevertFailed() if event.failure.kind != "poison":
                known[path, "revert", event.try_, event.attempt] += 1
            case facts.TaskInterrupted():
                at = (path, event.phase, event.try_, event.attempt)
                lost[at] += 1
                if at in known:
                    verdict.doubled.append(f"{run_id} {at}: lost, after its outcome was known")
            case facts.OutcomeIgnored():
                verdict.ignored += 1
            case _:
                pass
    verdict.attempts += len(starts)
    verdict.interrupted += sum(lost.values())
    verdict.doubled += [f"{run_id} {at}: {n} starts" for at, n in starts.items() if n > 1]
    verdict.doubled += [f"{run_id} {at}: {n} outcomes" for at, n in known.items() if n > 1]
    verdict.doubled += [f"{run_id} {at}: lost {n} times" for at, n in lost.items() if n > 1]
    verdict.wrong += [f"{run_id} {at}: an outcome of what was not begun" for at in {*known, *lost} if at not in starts]
    if isinstance(log[-1].event, (facts.RunSucceeded, facts.RunReverted, facts.RunFailed, facts.RunCancelled)):
        settled = {at[:3] for at in known}
        verdict.lost += [
            f"{run_id} {at}: begun, and no outcome"
            for at in starts
            if at not in known and at not in lost and at[:3] not in settled
        ]


def _bodies(verdict: Verdict, log: Sequence[Envelope], begun: Mapping[Body, int], ended: Mapping[Body, int]) -> None:
    written: dict[tuple[str, str, int, int], Body] = {}
    for envelope in log:
        event = envelope.event
        if isinstance(event, (facts.TaskStarted, facts.RevertStarted)):
            phase = "execute" if isinstance(event, facts.TaskStarted) else "revert"
            body = Body(envelope.run_id, envelope.path, phase, event.key, event.attempt)
            written[envelope.path, phase, event.try_, event.attempt] = body
    known = set(written.values())
    verdict.doubled += [f"{body}: its body began {n} times" for body, n in begun.items() if n > 1]
    verdict.wrong += [f"{body}: its body began, and no start is written" for body in begun if body not in known]
    for envelope in log:
        event = envelope.event
        if isinstance(event, facts.TaskSucceeded):
            phase = "execute"
        elif isinstance(event, facts.TaskReverted) and event.attempt:
            phase = "revert"
        else:
            continue
        done = written.get((envelope.path, phase, event.try_, event.attempt))
        if done is not None and done not in ended and _has_body(envelope.path):
            verdict.wrong.append(f"{done}: recorded as done, and its body never ended")


def _has_body(path: str) -> bool:
    return not path.endswith("/sleep")


def _owners(verdict: Verdict, run_id: str, log: Sequence[Envelope]) -> None:
    epochs = [envelope.event.epoch for envelope in log if isinstance(envelope.event, facts.RunClaimed)]
    verdict.claims += len(epochs)
    if any(later <= earlier for earlier, later in pairwise(epochs)):
        verdict.wrong.append(f"{run_id}: its owners came in no order: {epochs}")


def is_parked(verdict: Verdict, run_id: str, log: Sequence[Envelope], plan: Plan) -> bool:
    """Whether a task was parked: one that has lost as many processes in a try as it may, no other, and at once (C6)."""
    lost = Counter[tuple[str, str, int]](
        (e.path, e.event.phase, e.event.try_) for e in log if isinstance(e.event, facts.TaskInterrupted)
    )
    parked = {
        (e.path, "execute" if isinstance(e.event, facts.TaskFailed) else "revert", e.event.try_)
        for e in log
        if isinstance(e.event, (facts.TaskFailed, facts.RevertFailed)) and e.event.failure.kind == "poison"
    }
    for at in {*parked, *lost}:
        task = plan.nodes[plan.by_path[at[0]]].task
        assert task is not None
        if (at in parked and lost[at] < task.losses) or lost[at] > task.losses:
            verdict.wrong.append(f"{run_id} {at}: {lost[at]} losses of {task.losses}, parked: {at in parked}")
    return bool(parked)


def _end(verdict: Verdict, wanted: Wanted, log: Sequence[Envelope], state: State) -> None:
    if is_parked(verdict, wanted.run_id, log, state.plan):
        verdict.parked += 1
        return
    results = [bytes(e.event.result) for e in log if e.path == wanted.path and isinstance(e.event, facts.TaskSucceeded)]
    if state.status != wanted.status:
        failures = [
            f"{e.path}: {e.event.failure}" for e in log if isinstance(e.event, (facts.TaskFailed, facts.RevertFailed))
        ]
        verdict.wrong.append(f"{wanted.run_id} is {state.status}, and was to be {wanted.status}: {failures[:2]}")
    elif wanted.path and results != [wanted.result]:
        verdict.wrong.append(f"{wanted.run_id}: {wanted.path} made {results}, and was to make {wanted.result!r} once")
