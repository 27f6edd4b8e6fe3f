"""The tables of `core.states` as Automat machines: legality a second time, and the diagrams in the docs.

The fold uses the tables (a transition of an Automat machine costs some forty times a dict look-up). A test feeds every
pair of state and trigger to both and wants the same answer.
"""

from __future__ import annotations

from typing import Any, Protocol, cast

from automat import TypeMachineBuilder

from .states import ATOM, RUN, RUN_SCOPE, SCOPE, Table

TABLES: dict[str, Table] = {"atom": ATOM, "scope": SCOPE, "run_scope": RUN_SCOPE, "run": RUN}


def state_names(table: Table) -> list[str]:
    """All states of a table, the initial one first, the rest as first met."""
    names: dict[str, None] = {}
    for state, moves in table.items():
        names[state] = None
        names.update(dict.fromkeys(moves.values()))
    return list(names)


def trigger_names(table: Table) -> list[str]:
    """All triggers of a table, as first met."""
    return list(dict.fromkeys(name for moves in table.values() for name in moves))


class _Core:
    """The machine's object: knows nothing."""


def build(table: Table) -> Any:
    """An Automat machine factory for a table: one input method per trigger; call it with a core and ``state=``.

    Returns the factory and the states by name: ``factory, states = build(ATOM)``.
    """
    names = trigger_names(table)
    inputs: Any = type("Triggers", (cast("Any", Protocol),), {name: _input(name) for name in names})
    builder: Any = TypeMachineBuilder(inputs, _Core)
    states = {name: builder.state(name) for name in state_names(table)}
    for state, moves in table.items():
        for name, after in moves.items():
            states[state].upon(getattr(inputs, name)).to(states[after]).returns(None)
    return builder.build(), states


def _input(name: str) -> Any:
    def method(self: Any) -> None: ...

    method.__name__ = name
    method.__qualname__ = name
    return method


def core() -> object:
    """What a machine of `build` is made with."""
    return _Core()


def mermaid(table: Table) -> str:
    """The table as a Mermaid state diagram; triggers between the same two states share an arrow."""
    lines = ["stateDiagram-v2", f"    [*] --> {next(iter(table))}"]
    for state, moves in table.items():
        arrows: dict[str, list[str]] = {}
        for name, after in moves.items():
            arrows.setdefault(after, []).append(name)
        lines += [f"    {state} --> {after}: {', '.join(names)}" for after, names in arrows.items()]
    return "\n".join(lines) + "\n"


_TITLES = {
    "atom": "An atom",
    "scope": "A scope (a flow with a retry)",
    "run_scope": "The run as the outermost scope",
    "run": "The run's status",
}


def page() -> str:
    """The Markdown page with all diagrams (`docs/states.md`)."""
    parts = [
        "# States",
        "Generated from the tables in `core/states.py` by `make docs`; a test says when it is out of date.",
        "Triggers are events by name; those in lower case follow, in the fold, from an event next door.",
    ]
    parts += [f"## {_TITLES[name]}\n\n```mermaid\n{mermaid(table)}```" for name, table in TABLES.items()]
    return "\n\n".join(parts) + "\n"
