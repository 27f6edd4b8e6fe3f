"""Asking predicates, and skipping what they decided against (rule E6)."""

from __future__ import annotations

import inspect

from flowledger.core.actions import Action
from flowledger.core.branching import WIDTH
from flowledger.events import facts

from .active import ActiveRun
from .attempt import failure_of


def ask_branch(run: ActiveRun, action: Action) -> bool:
    """Ask all predicates of a node that have to be asked."""
    node = run.plan.nodes[action.node]
    verdicts: list[tuple[str, bool]] = []
    against: list[facts.Depth] = []
    for condition in node.conditions:
        if condition.before is not None and run.values.is_skipped(condition.before):
            continue  # an edge from a skipped part is not asked and counts as yes
        try:
            yes = _answer(condition.ask(**run.values.arguments(condition.arguments, _no_context, None)))
        except Exception as error:  # noqa: BLE001 - the predicate is the user's code (D7)
            run.exceptions[node.path] = error
            run.draft(node.number, facts.BranchDecided(error=failure_of(error, path=node.path, kind="predicate")))
            return True
        verdicts.append(("" if condition.before is None else run.plan.nodes[condition.before].path, yes))
        if not yes:
            against.append(condition.depth)
    widest = max(against, key=WIDTH.__getitem__, default=None)
    run.draft(node.number, facts.BranchDecided(verdicts=tuple(verdicts), no=widest))
    return True


def _answer(said: object) -> bool:
    if not inspect.isawaitable(said):
        return bool(said)
    if inspect.iscoroutine(said):
        said.close()  # or Python warns of it, too
    raise TypeError("the predicate is async: what it says would always count as a yes")


def _no_context() -> None:
    """A predicate is no attempt and has no context."""


def skip(run: ActiveRun, action: Action) -> bool:
    """The node does not run in this round."""
    run.draft(action.node, facts.TaskSkipped())
    return True
