"""Getting an attempt ready: its resources, its arguments, its key; and what stands in its way (rules C5, C9, D7)."""

from __future__ import annotations

from collections.abc import Sequence

from flowledger.core import decide as deciding
from flowledger.core.plan import RUN, Binding, Call, FromResource, Node, TaskSpec, crosses, is_named
from flowledger.core.values import key_of
from flowledger.events.facts import Phase
from flowledger.events.failure import Failure

from .active import ActiveRun
from .attempt import Attempt, failure_of
from .begetting import ChildAttempt
from .settling import fail, fail_revert
from .transacting import TransactionalAttempt


def task_of(node: Node) -> TaskSpec:
    """What the atom's task is to the engine."""
    assert node.task is not None
    return node.task


def fit(run: ActiveRun, node: Node, bindings: Sequence[Binding], lane: str) -> bool:
    """Whether the atom's resources and its executor are there; if not, they are on their way (or could not be made:
    ``run.unfit``)."""
    found = run.services.lanes.get(lane)
    if found is None:
        run.unfit[node.number] = _no_place(node, lane)
        return False
    if found.making is not None and not found.making.is_made:
        if node.number not in run.unfit:
            run.acquire(node, found.made)
        return False
    if not bindings or crosses(lane):
        return True  # resources are made where the body runs
    names = [binding.name for binding in bindings if isinstance(binding, FromResource)]
    if not names or run.services.resources.has(names, run.run_id):
        return True
    if node.number not in run.unfit:
        run.acquire(node, lambda: run.services.resources.acquire(names, run.run_id))
    return False


def _no_place(node: Node, lane: str) -> Failure:
    if is_named(lane):
        message = f"{node.path} asks for executor={lane!r}, and the app of this process has none of that name"
        return Failure(path=node.path, type="UnknownExecutor", message=message, kind="resource")
    message = f"{node.path} is made by workers, and this process has no broker to ask them through"
    return Failure(path=node.path, type="BrokerUnavailable", message=message, kind="resource")


def fail_before_body(run: ActiveRun, node: Node, failure: Failure) -> bool:
    """The atom's body could not begin (C9)."""
    if run.plan.nodes[node.number].task is not None:
        fail(run, node, failure, final=deciding.is_final_failure(run.plan, run.state, node.number, failure))
    return True


def next_attempt(
    run: ActiveRun, node: Node, phase: Phase, call: Call, bindings: tuple[Binding, ...], *, goes_on: bool = False
) -> Attempt | None:
    """The next attempt (``goes_on``: the present one), with its arguments; None if they could not be made, which has
    been recorded."""
    state, number = run.state, node.number
    count = state.attempts[number] if phase == "execute" else state.revert_attempts.get(number, 0)
    key = key_of(run.run_id, state, node, phase)
    try_, count = state.tries[number], count if goes_on else count + 1
    attempt: Attempt
    if node.task is not None and node.task.child:
        executor = None if state.submitted is None else state.submitted.executor
        attempt = ChildAttempt(
            run, node, phase, call, try_, count, key, run.services.children, executor, run.drafts.epoch
        )  # fmt: skip
    elif call.connection is None:
        attempt = Attempt(run, node, phase, call, try_, count, key)
    else:
        attempt = TransactionalAttempt(run, node, phase, call, try_, count, key, run.services.transactions, run.vault)
    return attempt if not bindings or _has_arguments(run, attempt, bindings) else None


def _has_arguments(run: ActiveRun, attempt: Attempt, bindings: tuple[Binding, ...]) -> bool:
    node = attempt.node
    try:
        _give_arguments(run, attempt, bindings)
    except Exception as error:  # noqa: BLE001 - any user type's validator (D7)
        run.exceptions[node.path] = error
        failure = failure_of(error, path=node.path, kind="arguments")
        if attempt.phase == "execute":
            fail(run, node, failure, final=True)
        else:
            fail_revert(run, node, failure, attempt=attempt.attempt, final=True)
        return False
    return True


def _give_arguments(run: ActiveRun, attempt: Attempt, bindings: tuple[Binding, ...]) -> None:
    node, values, reverts = attempt.node, run.values, attempt.phase == "revert"
    scope = run.state.revert_scope.get(node.number, RUN)

    def failures() -> tuple[Failure, ...]:
        return deciding.round_failures(run.state, scope)

    if crosses(attempt.lane):
        attempt.packed = values.packed(bindings, values.packed_outcome_of(node, failures) if reverts else None)
    else:
        outcome = values.outcome_of(node, failures) if reverts else None
        attempt.arguments = values.arguments(bindings, lambda: attempt.context, outcome)


def drained_poll_runs(run: ActiveRun) -> bool:
    """A poll that drained while its body ran (the log cannot know): its scope waits for that body (C7)."""
    return any(run.state.states[number] == "INTERRUPTED" for number in run.live)
