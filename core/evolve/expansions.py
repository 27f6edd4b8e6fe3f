"""The fold of expansions (rules E7, D7): their values are known, and with them the flow in their place."""

from __future__ import annotations

from flowledger.core import flowing, growing
from flowledger.core.plan import Subplan
from flowledger.core.state import State
from flowledger.events import facts
from flowledger.events.errors import InternalError, PlanDiffers

from .stepping import Evolvers, illegal


def _flow_expanded(state: State, number: int, event: facts.FlowExpanded, name: str) -> None:
    node = state.plan.nodes[number]
    if node.expansion is None or node.expanded or number in state.failures:
        now = "no expansion" if node.expansion is None else "EXPANDED" if node.expanded else "FAILED"
        raise illegal(state, node.path, now, name)
    flowing.off_agenda(state, number)
    flowing.touch(state, number)
    if event.error is not None:
        state.failures[number] = event.error
        state.failed.setdefault(node.scope, set()).add(number)
        flowing.fail_scope(state, node.scope)
        return
    growing.grow(state, number, _subplan(state, number, event))
    flowing.go_on(state, number)


def _subplan(state: State, number: int, event: facts.FlowExpanded) -> Subplan:
    """What today's code makes of the recorded values; it must be what was made of them then (E8)."""
    growth, path = state.plan.growth, state.plan.nodes[number].path
    if growth is None or (event.moved is not None and event.moved not in state.moved):
        raise InternalError(f"event {state.version} of {path} cannot be folded without its payload row {event.moved}")
    values = state.moved[event.moved] if event.moved is not None else bytes(event.values)
    if state.vault is not None:
        values = state.vault.revealed(state.vault.opened(values) if event.moved is not None else values, state.moved)
    where = f"event {state.version} FlowExpanded of {path}"
    try:
        subplan = growth.subplan(number, values)
    except Exception as error:
        raise PlanDiffers(f"{where}: of the same values today's code makes no flow: {error}") from error
    if subplan.fingerprint != event.fingerprint:
        raise PlanDiffers(
            f"{where}: of the same values today's code makes another flow",
            was=event.fingerprint, document=subplan.document,
        )  # fmt: skip
    return subplan


EVOLVERS: Evolvers = {facts.FlowExpanded: _flow_expanded}
