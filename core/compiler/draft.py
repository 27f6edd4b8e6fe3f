"""A plan in the making, and what the steps of the compiler hand to each other.

Nodes are numbered in declaration order, so the nodes inside a flow are the numbers up to its ``end``: whether a part
stands somewhere inside a flow is a comparison, and nothing in the compiler ever searches a list of siblings.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from flowledger.core.parts import Atom, Flow, Part
from flowledger.core.plan import Node
from flowledger.core.registry import Registry
from flowledger.core.source import Place

Executor = Literal["inline", "threads"]  # where sync bodies run; inline: the async ones too


@dataclass(slots=True)
class Draft:
    """``parts[n]`` is what node ``n`` was made from (None: the run), ``atoms[n]`` the same where it is a task."""

    registry: Registry
    executor: Executor | None
    nodes: list[Node]
    parts: list[Part[Any] | None] = field(default_factory=list[Part[Any] | None])
    atoms: list[Atom[Any] | None] = field(default_factory=list[Atom[Any] | None])
    ends: list[int] = field(default_factory=list[int])  # first number after a node and all inside it
    wanted: set[int] = field(default_factory=set[int])  # ids of parts something refers to
    placed: Mapping[int, list[int]] = field(default_factory=dict[int, list[int]])  # of these: where they stand
    annotations: dict[int, Any] = field(default_factory=dict[int, Any])  # result types of flows
    symbols: dict[int, dict[str, Any]] = field(default_factory=dict[int, dict[str, Any]])  # exports of flows

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
        ends, nodes = self.ends, self.nodes
        while not one <= other < ends[one]:
            one = nodes[one].parent
        return one
