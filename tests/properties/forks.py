"""What the rules say of forks (G6), for the reference model: what one takes over, and what it may adopt."""

from __future__ import annotations

from typing import Any, NamedTuple

from tests.properties.model import FINAL, ROOT, Atom, Model, Scope
from tests.properties.spec import Task


class Taken(NamedTuple):
    """Tasks that are done with their results, and retries that are done with their value."""

    tasks: list[str]
    rounds: list[str]


def taken_over(source: Model, inputs: dict[str, Any], at: str | None) -> Taken:
    """What a run with these inputs can take over from one as it is now; ``at``: the part from which on all is new."""
    changed = {name for name, value in inputs.items() if source.inputs[name] != value}
    new = [name for name, atom in source.atoms.items() if atom.state != "SUCCEEDED" or _takes(source, name, changed)]
    whole, partly = source.reached_at_all(new if at is None else [*new, at])
    reached = whole | partly
    return Taken(
        [name for name in source.atoms if name not in whole],
        [name for name, scope in source.scopes.items() if name not in (ROOT, *reached) and scope.state == "RUNNING"],
    )


def _takes(source: Model, name: str, changed: set[str]) -> bool:
    return not changed.isdisjoint(source.task(name).takes)


def may_adopt(source: Model, taken: Taken) -> bool:
    """Whether all that stands in the source and can be undone would be the fork's, and the fork could undo it."""
    standing = [task for task in map(source.task, source.atoms) if _is_done_and_stands(source, task)]
    left = any(task.name not in taken.tasks and _has_revert(task) for task in standing)
    children = any(task.name in taken.tasks and task.child is not None for task in standing)
    return source.status in FINAL and not source.adopted and not left and not children


def _is_done_and_stands(source: Model, task: Task) -> bool:
    """What failed counts as cleaned up by hand."""
    return source.atoms[task.name].state == "SUCCEEDED" and source.stands(task)


def _has_revert(task: Task) -> bool:
    return task.revert is not None and not task.read_only


def take_over(fork: Model, source: Model, taken: Taken, *, adopt: bool) -> None:
    """Begin with this. What is not adopted stays the source's to undo."""
    for name in taken.tasks:
        theirs = source.atoms[name]
        lent = not (adopt and source.stands(source.task(name)))
        fork.atoms[name] = Atom("SUCCEEDED", result=theirs.result, arguments=theirs.arguments, lent=lent)
    for name in taken.rounds:
        fork.scopes[name] = Scope("RUNNING", 1, source.scopes[name].value)
