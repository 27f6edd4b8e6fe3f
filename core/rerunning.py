"""What a rerun would do to a run that is over (G5): which parts run again, and which are undone first."""

from __future__ import annotations

from typing import NamedTuple

from flowledger.events.errors import IllegalRequest, InputError
from flowledger.events.store import FINAL, RunStatus

from .following import reached
from .names import did_you_mean
from .plan import RUN, Node
from .state import State


class Rerun(NamedTuple):
    """``again``: nodes that are as at the start, in their next try. ``undo``: those of them that are undone first.
    ``standing_in_the_way``: atoms that have succeeded and come after one that runs again, though nobody named them."""

    again: set[int]
    undo: set[int]
    standing_in_the_way: list[int]


def choose(state: State, from_: str | None) -> Rerun:
    """Everything that has not succeeded, with what follows it; and what is named, with what follows that."""
    plan = state.plan
    named = set[int]() if from_ is None else reached(plan, [plan.by_path[from_]]).whole
    again = reached(plan, [*unfinished(state), *named]).whole
    return Rerun(
        again,
        {number for number in named if plan.nodes[number].is_atom and state.standing[number]},
        sorted(n for n in again - named if state.states[n] == "SUCCEEDED"),
    )


def unfinished(state: State) -> list[int]:
    """The atoms that have neither succeeded nor been skipped, and what has not been expanded, in plan order."""
    found: list[int] = []
    stack = [RUN]
    while stack:
        node = state.plan.nodes[stack.pop()]
        if node.number in state.skipped:
            continue
        if _is_work(node) and state.states[node.number] != "SUCCEEDED":
            found.append(node.number)
        stack.extend(reversed(node.children))
    return found


def forgotten(state: State) -> tuple[str, ...]:
    """The paths of what a rerun that goes forward now resets though it is done, or was skipped: what was undone first
    has told so, this has not (G6)."""
    nodes, states = state.plan.nodes, state.states
    return tuple(
        nodes[number].path
        for number in sorted(state.again or ())
        if number in state.skipped or (nodes[number].is_atom and states[number] == "SUCCEEDED")
    )


def _is_work(node: Node) -> bool:
    """Whether something is done there: an atom, or an expansion that has not been made (E7)."""
    return node.is_atom or (node.expansion is not None and not node.expanded)


def check_rerun(run_id: str, state: State, from_: str | None) -> None:
    """Refuse a rerun that cannot be (G5).

    Raises:
        InputError: there is no such part.
        IllegalRequest: the run's status does not allow it, or what it did stands in the way.
    """
    check_over(run_id, state.status, "run again")
    if not state.started:
        raise IllegalRequest(f"run {run_id} was never started", hint="begin a new run")
    check_duty(run_id, state, "rerun")
    if from_ is not None and (not from_ or from_ not in state.plan.by_path):
        raise InputError(
            f"run {run_id} has no part {from_!r}", field="from", expected="the path of a part", given=from_,
            hint=did_you_mean(from_, list(state.plan.by_path)) or f"`flowledger show {run_id}` shows its parts",
        )  # fmt: skip
    chosen = choose(state, from_)
    if not any(_is_work(state.plan.nodes[number]) for number in chosen.again):
        raise IllegalRequest(
            f"all parts of run {run_id} have succeeded: there is nothing to run again",
            hint="name the part from which on to run again: --from PATH",
        )
    if chosen.standing_in_the_way:
        _refuse(run_id, state, chosen)


def check_revert(run_id: str, state: State) -> None:
    """Refuse a revert of a run that is not over, or of which nothing stands (G5).

    Raises:
        IllegalRequest: the run's status does not allow it, or another run has to undo what this one did.
    """
    check_over(run_id, state.status, "be reverted")
    check_duty(run_id, state, "revert")
    if state.status == "REVERTED" or (state.status == "CANCELLED" and not state.standing[RUN]):
        raise IllegalRequest(f"run {run_id} is {state.status}", hint="everything it did has been undone already")


def check_over(run_id: str, status: RunStatus, what: str) -> None:
    """Refuse what only a run that is over can do.

    Raises:
        IllegalRequest: it is not.
    """
    if status not in FINAL:
        hint = "resume or cancel it first" if status == "SUSPENDED" else "wait until it has ended, or cancel it"
        raise IllegalRequest(f"run {run_id} is {status}: only a run that is over can {what}", hint=hint)


def check_duty(run_id: str, state: State, kind: str) -> None:
    """Refuse what would change what another run has to answer for (G6).

    Raises:
        IllegalRequest: a fork has adopted what this run did.
    """
    if state.adopted_by:
        raise IllegalRequest(
            f"run {run_id} cannot be asked for a {kind}: run {state.adopted_by} has adopted what it did",
            hint=f"ask that run: `flowledger {kind} {state.adopted_by}`",
        )


def _refuse(run_id: str, state: State, chosen: Rerun) -> None:
    plan = state.plan
    after = chosen.standing_in_the_way[0]
    cause = next(n for n in unfinished(state) if after in reached(plan, [n]).whole)
    raise IllegalRequest(
        f"run {run_id}: {plan.nodes[after].path} has succeeded, but depends on {plan.nodes[cause].path}, "
        "which would run again",
        hint=f"--from {plan.nodes[cause].path} undoes first what comes after it",
    )
