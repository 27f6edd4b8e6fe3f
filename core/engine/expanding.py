"""Expansions performed: the values are there, the user's factory is called, its flow takes its place (rules E7, D7)."""

from __future__ import annotations

from flowledger.core.actions import Action
from flowledger.core.plan import Node, Subplan
from flowledger.events import facts
from flowledger.events.errors import PayloadTooLarge
from flowledger.events.store import PlanRow

from .active import ActiveRun
from .attempt import failure_of


def expand(run: ActiveRun, action: Action) -> bool:
    """Make what the expansion waits for, or say why it cannot be made."""
    node = run.plan.nodes[action.node]
    try:
        values, subplan = _made(run, node)
    except Exception as error:  # noqa: BLE001 - the factory is the user's code (D7)
        run.exceptions[node.path] = error
        run.draft(node.number, facts.FlowExpanded(error=failure_of(error, path=node.path, kind="expansion")))
        return True
    run.drafts.keep_plan(PlanRow(subplan.fingerprint, subplan.document))
    event = facts.FlowExpanded(
        values=facts.Raw(values),
        fingerprint=subplan.fingerprint,
        children=len(subplan.root.children),
    )
    run.draft(node.number, event)
    return True


def _made(run: ActiveRun, node: Node) -> tuple[bytes, Subplan]:
    values = run.values.expansion(node)
    if len(values) > run.max_bytes:
        raise PayloadTooLarge(f"{node.path}: its values have {len(values):,} bytes, the limit is {run.max_bytes:,}")
    growth = run.plan.growth
    assert growth is not None
    return values, growth.subplan(node.number, run.vault.revealed(values, run.moved))
