"""What does not stay as it is when something is done again: the thing itself and all that follows it (G5, G6)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from .plan import RUN, Binding, FromNode, FromRound, Node, Plan


class Reached(NamedTuple):
    """``whole``: nodes with all that is in them; ``partly``: flows in which something is reached, but not all."""

    whole: set[int]
    partly: set[int]

    def holds(self, number: int) -> bool:
        """Whether the node is reached, or something in it."""
        return number in self.whole or number in self.partly


def reached(plan: Plan, seeds: Iterable[int]) -> Reached:
    """The seeds, what is in them, what comes after them, however far out, and what takes the value of a retry that
    has any of this in its scope: its rounds are counted anew, so its value may be another."""
    nodes, found = plan.nodes, Reached(set(), set())
    takers = _takers(nodes)
    stack = [(seed, True) for seed in seeds]
    while stack:
        number, whole = stack.pop()
        if number == RUN or number in found.whole or (not whole and number in found.partly):
            continue
        node = nodes[number]
        (found.whole if whole else found.partly).add(number)
        if whole:
            stack += [(child, True) for child in node.children]
        if node.retry is not None:
            stack += [(taker, True) for taker in takers.get(number, ())]
        stack += [(after, True) for after in node.succs]
        stack.append((node.parent, False))
    found.partly.difference_update(found.whole)
    return found


def sources(node: Node) -> Iterable[int]:
    """The nodes whose results, and the scopes whose values, the node's predicates look at."""
    for condition in node.conditions:
        if condition.before is not None:
            yield condition.before
        for binding in condition.arguments:
            if isinstance(binding, FromNode):
                yield binding.node
            elif isinstance(binding, FromRound):
                yield binding.scope


def _takers(nodes: list[Node]) -> dict[int, list[int]]:
    """By scope: the nodes that take the value of its retry."""
    takers: dict[int, list[int]] = {}
    for node in nodes:
        for binding in bindings(node):
            if isinstance(binding, FromRound):
                takers.setdefault(binding.scope, []).append(node.number)
    return takers


def bindings(node: Node) -> Iterable[Binding]:
    """All that a node takes: as arguments, in its revert, in its retry, in its predicates."""
    yield from node.arguments
    yield from node.revert_arguments
    yield from node.retry_arguments
    for condition in node.conditions:
        yield from condition.arguments
