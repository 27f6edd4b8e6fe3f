"""The outline of a plan: what a reader without the code knows of a run's tree, from the plan's document (rule E8)."""

from __future__ import annotations

from typing import NamedTuple

import msgspec

from flowledger.core.document import Document, DocumentNode, read_document
from flowledger.core.plan import LOSSES


class Place(NamedTuple):
    """A node of the plan as its document shows it. ``parent`` and ``waits_for`` are paths; "" is the run itself.

    ``executions`` is how often a `Times` retry runs the flow, None for other retries and for none. ``losses``: so many
    processes lost in one try park a task (C6).
    """

    path: str
    name: str
    pattern: str
    parent: str
    waits_for: tuple[str, ...] = ()
    retry: str | None = None
    executions: int | None = None
    losses: int = LOSSES


def outline(document: bytes) -> list[Place]:
    """The nodes of a plan in plan order, without the run's own."""
    plan = read_document(document)
    paths = [node.path for node in plan.nodes]
    return [_place(node, paths, plan) for node in plan.nodes if node.path]


def _place(node: DocumentNode, paths: list[str], plan: Document) -> Place:
    executions = None
    if node.retry is not None:
        executions = msgspec.json.decode(node.retry.arguments).get("executions")
    return Place(
        path=node.path,
        name=node.name,
        pattern=node.pattern,
        parent=paths[node.parent],
        waits_for=tuple(paths[number] for number in node.preds),
        retry=node.retry.kind if node.retry else None,
        executions=executions if isinstance(executions, int) else None,
        losses=plan.tasks[node.task].losses if node.task in plan.tasks else LOSSES,
    )


def grown(path: str, *, is_atom: bool) -> list[Place]:
    """The places that a path alone tells of: itself and the flows around it, outermost first."""
    parts = path.split("/")
    places = [Place("/".join(parts[: i + 1]), part, "flow", "/".join(parts[:i])) for i, part in enumerate(parts)]
    if is_atom:
        places[-1] = places[-1]._replace(pattern="task")
    return places
