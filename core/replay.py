"""Is a recorded run still a run of today's code? (D8, E8)

A log is *valid* if each consequence in it was enabled just before it, with the same input digest, and nothing enabled
is missing at the end. `check` folds the log as the engine does and asks `decide` before each event. A log with a
`PlanChanged` is checked under the last plan from its first event on: no plan is accepted under which it is not valid.
"""

from __future__ import annotations

from collections.abc import Iterable

from flowledger.events import facts
from flowledger.events.envelope import Envelope
from flowledger.events.errors import Nondeterminism, PlanDiffers
from flowledger.events.facts import Event
from flowledger.events.failure import Failure
from flowledger.events.store import FINAL

from .actions import Kind
from .decide import decide, ending, held_paths, round_failures, suspended
from .evolve import evolve
from .inheriting import Had
from .plan import RUN, Plan
from .state import State
from .stored import Result
from .values import Values
from .vault import Vault

_SHOWN = 5  # of what was due, in a message

# What an event must have been enabled as. Events that are not here are nobody's consequence: outcomes, timers, people.
_CONSEQUENCES: dict[type[Event], Kind] = {
    facts.RoundStarted: "StartRound",
    facts.ScopeReverting: "RevertScope",
    facts.ScopeReset: "ResetScope",
    facts.TaskStarted: "Start",
    facts.RevertStarted: "Revert",
    facts.BranchDecided: "AskBranch",
    facts.TaskSkipped: "Skip",
    facts.FlowExpanded: "Expand",
    facts.RunSucceeded: "End",
    facts.RunReverted: "End",
    facts.RunFailed: "End",
    facts.RunCancelled: "End",
}


def check(
    plan: Plan,
    envelopes: Iterable[Envelope],
    *,
    moved: dict[str, bytes] | None = None,
    taken: Had | None = None,
    vault: Vault | None = None,
) -> State:
    """Fold a log, checking that each event was due. Returns the state it leads to. Makes no call to user code.

    ``moved``: contents of payload rows by digest; ``taken``: what its source had, of a fork (G6).

    Raises:
        Nondeterminism: at the first event that was not; ``version`` names it.
    """
    state = State(plan, moved, vault)
    state.taken = taken
    values = Values(state, moved=moved or {}, resource=lambda name: None, vault=vault)
    in_force = plan.fingerprint
    for envelope in envelopes:
        try:
            in_force = _step(plan, state, envelope, values, in_force)
        except Nondeterminism as error:
            error.path, error.expected = envelope.path, _due(state)
            raise
    return state


def _step(plan: Plan, state: State, envelope: Envelope, values: Values, in_force: str) -> str:
    """Check one event and fold it; the plan in force after it."""
    number = state.plan.by_path.get(envelope.path)
    if number is None:
        raise Nondeterminism(
            f"event {envelope.version} {envelope.type}: the plan has no {envelope.path!r}", version=envelope.version
        )
    match envelope.event:
        case facts.RunStarted() | facts.PlanChanged():
            in_force = envelope.event.fingerprint
        case facts.RunSucceeded() if in_force != plan.fingerprint and _is_done_but_for_new_parts(state):
            pass
        case _:
            _check_due(plan, state, number, envelope, values)
    try:
        evolve(state, number, envelope.event, envelope.time_us)
    except PlanDiffers as error:
        raise Nondeterminism(error.message, version=envelope.version) from error
    return in_force


def _due(state: State) -> tuple[str, ...]:
    """What is enabled, the first few, for people."""
    shown = [f"{action.kind} {state.plan.nodes[action.node].path or 'the run'}" for action in state.agenda]
    return (*shown[:_SHOWN], "…") if len(shown) > _SHOWN else tuple(shown)


def check_complete(plan: Plan, state: State) -> None:
    """Raise `Nondeterminism` if a run that is final left something enabled undone, or a body running."""
    if state.status in FINAL and (state.running or len(state.agenda)):
        left = [(action.kind, state.plan.nodes[action.node].path) for action in state.agenda]
        raise Nondeterminism(
            f"the log ends, but there is more to do: {left or sorted(state.running)}", version=state.version
        )


def _check_due(plan: Plan, state: State, number: int, envelope: Envelope, values: Values) -> None:
    event = envelope.event
    _check_enabled(state, number, envelope)
    match event:
        case facts.TaskStarted():
            digest = values.digest(state.plan.nodes[number])
            if digest != event.inputs:
                raise _not_due(state, envelope, f"its inputs digest is {digest}, recorded {event.inputs}")
        case facts.FlowExpanded(error=None) if _given(state, event) != values.expansion(state.plan.nodes[number]):
            raise _not_due(state, envelope, "its values are not the recorded ones")
        case facts.RetryDecided():
            if _by_path(event.failures) != _by_path(failures := round_failures(state, number)):
                raise _not_due(state, envelope, f"the round's failures are {[f.path for f in failures]}")
        case facts.RunSucceeded() | facts.RunReverted() | facts.RunFailed() | facts.RunCancelled():
            if event != (expected := ending(plan, state)):
                raise _not_due(state, envelope, f"the run ends with {type(expected).__name__}")
        case facts.RunSuspended() | facts.RunResumed():
            _check_status(state, envelope)
        case facts.TaskSucceeded():
            _check_given(state, number, envelope, event)
        case _:
            pass


def _check_enabled(state: State, number: int, envelope: Envelope) -> None:
    kind = _CONSEQUENCES.get(type(envelope.event)) or _conditional(state, number, envelope.event)
    enabled = state.agenda.kind(number)
    if kind is not None and (enabled != kind or state.status not in ("RUNNING", "SUSPENDING")):
        raise _not_due(state, envelope, f"{kind} was not enabled there (enabled: {enabled or 'nothing'})")


def _check_status(state: State, envelope: Envelope) -> None:
    """A run is suspended when somebody has asked and nothing runs, and not resumed while it is held (G2, G3)."""
    held = held_paths(state)
    if isinstance(envelope.event, facts.RunResumed):
        if held:
            raise _not_due(state, envelope, f"it is held at {', '.join(held)}")
    elif not suspended(state):
        raise _not_due(state, envelope, "bodies are still running, or nobody asked")
    elif getattr(envelope.event, "held", held) != held:
        raise _not_due(state, envelope, f"what is held is {list(held)}")


def _check_given(state: State, number: int, envelope: Envelope, event: facts.TaskSucceeded) -> None:
    """A result that no body returned: the signal that was the oldest (F4), or what a person has said (G3)."""
    offered, resolved = state.offered.get(number), state.resolved.get(number)
    if event.signal != (None if offered is None else offered.version):
        raise _not_due(state, envelope, f"the signal to take is {offered and offered.version}")
    given = offered.payload if offered is not None else resolved and resolved.result
    if given is not None and given != Result(event.result, event.moved):
        raise _not_due(state, envelope, "its result is not the one that was given")


def _is_done_but_for_new_parts(state: State) -> bool:
    """Whether all that is left to do is what has never had a turn: a plan accepted later may have more in it (E8)."""
    touched = {child for children in state.touched.values() for child in children}
    left = {action.node for action in state.agenda}
    return state.states[RUN] == "RUNNING" and not (state.running or state.due or left & touched)


def _given(state: State, event: facts.FlowExpanded) -> bytes | None:
    """The values an expansion was made of, as recorded."""
    return bytes(event.values) if event.moved is None else state.moved.get(event.moved)


def _conditional(state: State, number: int, event: Event) -> Kind | None:
    """Events that are a consequence only in some states of their node."""
    now = state.states[number]
    match event:
        case facts.RetryDecided():
            return "AskRetry" if now == "DRAINING" else "StartRound"
        case facts.TaskReverted(attempt=0):
            return "Revert"
        case facts.TaskWaiting() if now == "PENDING":
            return "Start"
        case facts.TaskSucceeded() | facts.TaskFailed() if now == "WAITING" and state.attempts[number] == 0:
            return "Start"
        case facts.TaskSucceeded() | facts.TaskFailed() | facts.TaskHeld() if now in ("PENDING", "INTERRUPTED"):
            return "Start"
        case facts.RevertFailed() if number not in state.running:
            return "Revert"
        case _:
            return None


def _by_path(failures: tuple[Failure, ...]) -> list[Failure]:
    """In an order that a plan which has the same parts in another order shares."""
    return sorted(failures, key=lambda failure: failure.path)


def _not_due(state: State, envelope: Envelope, why: str) -> Nondeterminism:
    where = envelope.path or "the run"
    return Nondeterminism(
        f"event {envelope.version} {envelope.type} of {where} was not due: {why}", version=envelope.version
    )


def decisions(plan: Plan, state: State) -> list[tuple[str, str]]:
    """What `decide` says, by path: for comparing two folds."""
    return [(action.kind, state.plan.nodes[action.node].path) for action in decide(plan, state)]
