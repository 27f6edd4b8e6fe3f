"""What a *no* takes along (rule E6): the node itself, and by depth what follows it."""

from __future__ import annotations

from collections.abc import Sequence

from flowledger.events.facts import Depth

from .plan import RUN, Node

#: Narrowest first: of several *no*s the widest counts.
WIDTH: dict[Depth, int] = {"atom": 0, "neighbors": 1, "flow": 2, "all": 3}


def taken_along(nodes: Sequence[Node], number: int, depth: Depth) -> list[int]:
    """The nodes that are skipped when ``number`` is, itself included; a flow stands for all that is in it."""
    if depth == "atom":
        return [number]
    if depth == "neighbors":
        return [number, *nodes[number].succs]
    found = _following(nodes, number)
    parent = nodes[number].parent
    while depth == "all" and parent != RUN and not nodes[parent].expanded:  # outside nobody knows what is in it (E7)
        found += _following(nodes, parent)[1:]
        parent = nodes[parent].parent
    return found


def _following(nodes: Sequence[Node], number: int) -> list[int]:
    """The node and everything among its siblings that waits for it, directly or not."""
    found, seen = [number], {number}
    for at in found:
        for after in nodes[at].succs:
            if after not in seen:
                seen.add(after)
                found.append(after)
    return found
