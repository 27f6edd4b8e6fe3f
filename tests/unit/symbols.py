"""Parts that give and take symbols: what the tests of their wiring have in common."""

from __future__ import annotations

from typing import Any

from flowledger.core.compiler import compile as compile_part
from flowledger.core.parts import Flow, Part
from flowledger.core.patterns import linear
from flowledger.core.plan import FromInput, FromNode, FromResource, FromRound, Given, Plan
from flowledger.core.registry import Registry

app = Registry("app")


@app.task(provides="x")
def give() -> int:
    return 1


@app.task(provides="x")
def give_too() -> int:
    return 2


@app.task(provides="y")
def other() -> int:
    return 3


@app.task
def take(x: int) -> int:
    return x


@app.task
def noop() -> None: ...


def plan_of(part: Part[Any], **inputs: int) -> Plan:
    """The plan of a flow called `f` with this part in it, and these inputs."""
    registry = Registry("test")
    registry.include(app)

    if inputs:

        @registry.flow
        def f(x: int) -> Flow[Any]:
            return part if isinstance(part, Flow) else linear(part)

        return compile_part(f(**inputs), registry)

    @registry.flow(name="f")
    def bare() -> Flow[Any]:
        return part if isinstance(part, Flow) else linear(part)

    return compile_part(bare(), registry)


def source(plan: Plan, path: str, argument: str = "x") -> object:
    """Where an argument comes from: a path, an input, …"""
    node = plan.nodes[plan.by_path[path]]
    for binding in node.arguments:
        if binding.argument == argument:
            match binding:
                case FromNode():
                    item = "" if binding.item is None else f"[{binding.item}]"
                    return plan.nodes[binding.node].path + item
                case FromInput():
                    return f"input {binding.name}"
                case FromRound():
                    return f"retry {plan.nodes[binding.scope].path}"
                case Given():
                    return binding.content
                case FromResource():
                    return f"resource {binding.name}"
                case _:
                    return binding
    return None


def edges(plan: Plan) -> set[tuple[str, str]]:
    return {(plan.nodes[p].path, n.path) for n in plan.nodes for p in n.preds}
