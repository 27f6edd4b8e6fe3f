"""Outcomes that workers have put into the run's inbox (rules C2 to C4), settled by the append that answers them."""

from __future__ import annotations

from logging import getLogger

import msgspec

from flowledger.core.flowing import may_start
from flowledger.core.plan import Call, Node
from flowledger.core.portable import Told, bound_to, told_of
from flowledger.core.undoing import revert_lane
from flowledger.events.errors import FlowledgerError
from flowledger.events.facts import Phase, Progress

from . import settling
from .active import ActiveRun
from .answering import Asked
from .attempt import PROGRESS_CHARS, Attempt, Lost, Outcome, Returned
from .attempting import next_attempt
from .crossing import outcome_of

#: What a worker says of itself is cut to this.
WORKER_CHARS = 200

_LOG = getLogger("flowledger.engine")


def hear_outcome(run: ActiveRun, asked: Asked) -> None:
    """A worker says how an attempt ended. What cannot be read, or is of no attempt there is, is left out, and said."""
    try:
        told = told_of(asked.content)
    except msgspec.MsgspecError as error:
        _LOG.warning("run %s: mail %s of %s is no outcome: %s", run.run_id, asked.id, asked.actor, error)
        return
    number = run.plan.by_path.get(told.path)
    node = None if number is None else run.plan.nodes[number]
    call = None if node is None else _call(node, told.phase)
    if node is None or call is None:
        _LOG.warning("run %s: an outcome of %s, which is no task of it", run.run_id, told.path)
        return
    run.worker = told.worker[:WORKER_CHARS]
    try:
        _settle(run, node, call, told, _outcome(run, told))
    finally:
        run.worker = ""  # what comes next is nobody's but this process's


def _outcome(run: ActiveRun, told: Told) -> Outcome:
    """What the reply says; one that cannot be read is a lost attempt."""
    content = bytes(told.reply)
    try:
        if run.services.workers is not None:
            content = run.services.workers.opened(content, bound_to(run.run_id, told))
    except FlowledgerError as error:
        return Lost(f"its outcome cannot be read: {error.message}")
    return outcome_of(content)


def _settle(run: ActiveRun, node: Node, call: Call, told: Told, outcome: Outcome) -> None:
    number = node.number
    attempt = run.live.get(number)
    is_its_own = attempt is not None and (attempt.phase, attempt.try_, attempt.attempt) == _of(told)
    if not is_its_own and not _is_open(run, node, told, outcome):
        settling.ignore(run, _stand_in(run, node, call, told), outcome)
        return
    if attempt is not None:
        dismiss(run, attempt, wanted=is_its_own)
    if told.fraction is not None and told.phase == "execute":
        run.said[number] = Progress(fraction=told.fraction, message=told.message[:PROGRESS_CHARS])
    if isinstance(outcome, Returned) and told.phase == "execute":
        settling.succeed(run, number, outcome.content, try_=told.try_, attempt=told.attempt)
        return
    run.live[number] = settled = attempt if is_its_own and attempt else _stand_in(run, node, call, told)
    settling.settle(run, settled, outcome)


def dismiss(run: ActiveRun, attempt: Attempt, *, wanted: bool) -> None:
    """Its outcome is here, or (not ``wanted`` any more) that of another attempt."""
    attempt.no_limit()
    if not wanted:
        run.services.lanes[attempt.lane].executor.cancel(attempt)
    del run.live[attempt.node.number]
    if attempt in run.starting:
        run.starting.remove(attempt)
    run.slots(attempt.lane).give()


def _is_open(run: ActiveRun, node: Node, told: Told, outcome: Outcome) -> bool:
    """Whether an outcome that nobody here waits for counts all the same (C4).

    A poll that an owner which is gone had asked for; or the success of an earlier attempt of the try that is open: what
    was taken for lost was not.
    """
    state, number = run.state, node.number
    if told.phase != "execute" or told.try_ != state.tries[number] or told.attempt > state.attempts[number]:
        return False
    now = state.states[number]
    if told.attempt == state.attempts[number] and now == "WAITING" and number not in run.live:
        wait = state.due.get(number)
        return wait is not None and wait.why == "poll"
    return isinstance(outcome, Returned) and now in ("RUNNING", "INTERRUPTED") and may_start(state, node.scope)


def ask_again(run: ActiveRun, number: int) -> None:
    """Workers were asked for this attempt by an owner that is gone: it goes on, and its outcome comes here (C3)."""
    node, state = run.plan.nodes[number], run.state
    phase: Phase = "revert" if state.states[number] == "REVERTING" else "execute"
    call = _call(node, phase)
    assert call is not None
    bindings = node.arguments if phase == "execute" else node.revert_arguments
    lane = node.lane if phase == "execute" else revert_lane(node)
    if not run.take_slot(lane, in_hand=False):
        raise AssertionError(lane)  # there are enough for all attempts there are
    attempt = next_attempt(run, node, phase, call, bindings, goes_on=True)
    if attempt is None:
        run.slots(lane).give()
    else:
        run.start_when_durable(attempt)


def _call(node: Node, phase: Phase) -> Call | None:
    if node.task is None:
        return None
    return node.task.execute if phase == "execute" else node.task.revert


def _of(told: Told) -> tuple[Phase, int, int]:
    return told.phase, told.try_, told.attempt


def _stand_in(run: ActiveRun, node: Node, call: Call, told: Told) -> Attempt:
    """The attempt that an outcome tells of, as far as it takes to write the outcome down."""
    return Attempt(run, node, told.phase, call, told.try_, told.attempt, "")
