"""A plan in the making, and what the steps of the compiler hand to each other.

Nodes are numbered in declaration order, so the nodes inside a flow are the numbers up to its ``end``: whether a part
stands somewhere inside a flow is a comparison, and nothing in the compiler ever searches a list of siblings. What is in
an expansion (E7) has numbers of its own, one after the other, wherever the expansion stands.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from flowledger.core.definition import FactoryDefinition, TaskDefinition
from flowledger.core.parts import Atom, Flow, Part
from flowledger.core.plan import RUN, Node
from flowledger.core.registry import Registry
from flowledger.core.source import Place


@dataclass(slots=True)
class Draft:
    """``parts[n]`` is what node ``n`` was made from (None: the run), ``atoms[n]`` the same where it is a task.

    ``executor`` is where all sync bodies of the run are wanted; "inline": the async ones, too.
    """

    registry: Registry
    executor: str | None
    nodes: list[Node]
    parts: list[Part[Any] | None] = field(default_factory=list[Part[Any] | None])
    atoms: list[Atom[Any] | None] = field(default_factory=list[Atom[Any] | None])
    ends: list[int] = field(default_factory=list[int])  # first number after a node and all inside it
    wanted: set[int] = field(default_factory=set[int])  # ids of parts something refers to
    placed: dict[int, list[int]] = field(default_factory=dict[int, list[int]])  # of these: where they stand
    annotations: dict[int, Any] = field(default_factory=dict[int, Any])  # result types of flows
    symbols: dict[int, dict[str, Any]] = field(default_factory=dict[int, dict[str, Any]])  # exports of flows
    blocks: dict[int, tuple[int, int]] = field(default_factory=dict[int, tuple[int, int]])  # what is in an expanded one

    def definition_of(self, number: int) -> TaskDefinition | FactoryDefinition | None:
        """What asks for the arguments of a node: its task, or the task or factory of an expansion."""
        atom, part = self.atoms[number], self.parts[number]
        if atom is not None:
            return atom.definition
        return part.late.of if isinstance(part, Flow) and part.late is not None else None

    def inside(self, flow: int) -> tuple[int, int]:
        """The first number inside a flow, and the first after it."""
        return self.blocks.get(flow) or (flow + 1, self.ends[flow])

    def place_of(self, number: int) -> Place:
        """The user's line that placed a node."""
        atom, part = self.atoms[number], self.parts[number]
        if atom is not None:
            return atom.place
        assert isinstance(part, Flow)
        return part.calls[0].place if part.calls else part.place

    def child_towards(self, flow: int, inside: int) -> int:
        """The child of ``flow`` that is ``inside`` or holds it."""
        nodes = self.nodes
        while nodes[inside].parent != flow:
            inside = nodes[inside].parent
        return inside

    def common_flow(self, one: int, other: int) -> int:
        """The nearest node around both."""
        nodes, around = self.nodes, {other}
        while other != RUN:
            other = nodes[other].parent
            around.add(other)
        while one not in around:
            one = nodes[one].parent
        return one
