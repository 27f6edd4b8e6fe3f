"""The fold of a plan that grows (rule E7): an expansion's nodes come in, and are dropped by the reset of its round.

Part of `evolve`: nothing here is called from anywhere else but the fold. What is paid is paid per node that comes or
goes; the rest of the plan is not looked at.
"""

from __future__ import annotations

from flowledger.events.errors import InternalError

from .plan import Growth, Node, Plan, Subplan
from .state import State

_NOTHING: list[int] = []


def grow(state: State, number: int, subplan: Subplan) -> None:
    """The subplan takes the place of the node. An atom whose path was there before goes on counting its tries (C5)."""
    plan, nodes = state.plan, subplan.nodes
    by_path, order = plan.by_path, plan.order
    assert order is not None
    first = len(plan.nodes)
    state.enter(nodes, [_try(state, node) for node in nodes])
    _growth(plan).attach(subplan)
    plan.unexpanded[number] = plan.nodes[number]
    plan.nodes[number] = subplan.root
    plan.nodes += nodes
    plan.inside[number] = range(first, first + len(nodes))
    by_path.update([(node.path, node.number) for node in nodes])
    place = order[number]
    order += [(*place, index) for index in range(1, len(nodes) + 1)]
    state.open_children[number] = len(subplan.root.children)


def drop(state: State, number: int) -> None:
    """The node is as it was before it was expanded; what was in it has been reset and is not there any more."""
    plan = state.plan
    _growth(plan).detach(number)
    plan.nodes[number] = plan.unexpanded.pop(number)
    for inside in plan.inside.pop(number):
        _retire(plan.nodes[inside])
    state.open_children[number] = 0


def _try(state: State, node: Node) -> int:
    before = state.plan.by_path.get(node.path)
    return 1 if before is None else state.tries[before]


def _retire(node: Node) -> None:
    """Its number and path stay: a body that outlived its time may still come back (C4). What takes room goes."""
    node.arguments = node.revert_arguments = node.retry_arguments = ()
    node.preds = node.succs = ()
    node.children = _NOTHING


def _growth(plan: Plan) -> Growth:
    if plan.growth is None:
        raise InternalError(f"the plan of {plan.factory} has no expansions")
    return plan.growth
