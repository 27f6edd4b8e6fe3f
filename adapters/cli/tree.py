"""The tree of a run as lines of styled words. Pure: the live screen, `show`, `plan` and plain text all print these.

Nothing here is printable yet in the sense of `printable`: whoever puts the words out sees to that.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

from flowledger.projections.nodes import AtomView, FlowView, losses, one_line
from flowledger.projections.run_view import RunView

from .spans import Line, Span
from .words import AGAIN, Look, look, took

Note = Callable[[AtomView], str]
Node = AtomView | FlowView

#: Flows of at most so many tasks, and nothing else, stand in one line of a compact tree.
_IN_ONE_LINE: Final = 4
#: Of a wider flow only the most telling children are drawn.
_WIDEST: Final = 60
_WIDEST_NAME: Final = 28
#: What to leave out first where there is no room: the higher, the sooner.
_DULL: Final = {"SUCCEEDED": 3, "REVERTED": 3, "PENDING": 4}
_REMARK_DULLNESS: Final = 2


@dataclass(slots=True)
class _Row:
    depth: int
    spans: Line
    state: str
    remark: bool = False  # a line under its node, without an icon
    packed: bool = False  # a flow with its tasks: its names make a column of their own
    column: int = 0  # how wide the name is to become


@dataclass(slots=True)
class Drawing:
    """How a tree is to be drawn. ``now_us`` measures what still runs; ``height`` None: as many lines as it takes."""

    now_us: int | None = None
    height: int | None = None
    compact: bool = False
    errors: bool = True
    note: Note = lambda _atom: ""
    marked: Callable[[str], str] = lambda _path: ""
    hidden: Counter[str] = field(default_factory=Counter[str])


def tree(view: RunView, drawing: Drawing | None = None) -> list[Line]:
    """The lines of a run's tree, guides and all."""
    drawing = drawing or Drawing()
    drawing.hidden = Counter()
    rows = list(_rows(view, drawing))
    if drawing.height is not None:
        rows = _folded(rows, drawing.height, drawing.hidden)
    _align(rows)
    lines = _guided(rows)
    if drawing.hidden:
        said = ", ".join(f"{number} {state.lower()}" for state, number in drawing.hidden.items())
        lines.append([Span(f"… not shown: {said}", "dim")])
    return lines


# -- rows ---------------------------------------------------------------------------------------


def _rows(view: RunView, drawing: Drawing) -> Iterator[_Row]:
    """All rows. The root flow has none of its own: it is what the line above the tree speaks of."""
    top = view.root
    only = view.flows.get(top.children[0]) if len(top.children) == 1 else None
    if only is None:
        yield from _children(view, top, 0, drawing)
        return
    yield from (replace(row, depth=-1) for row in _remarks(only, 0, drawing))
    yield from _children(view, only, 0, drawing)


def _melts(view: RunView, flow: FlowView, drawing: Drawing) -> bool:
    """Whether a compact tree shows the children of this flow in its place: the one list among its siblings."""
    siblings = view.flows[flow.place.parent].children
    others = [path for path in siblings if path in view.flows and path != flow.path]
    return drawing.compact and flow.place.pattern == "each" and flow.place.retry is None and not others


def _children(view: RunView, flow: FlowView, depth: int, drawing: Drawing) -> Iterator[_Row]:
    for node in _telling(view, flow, drawing):
        if isinstance(node, AtomView):
            yield from _atom_rows(view, node, depth, drawing)
        elif drawing.compact and _fits_one_line(view, node):
            yield from _packed_rows(view, node, depth, drawing)
        elif _melts(view, node, drawing):
            yield from _children(view, node, depth, drawing)
        else:
            yield _Row(depth, _flow_spans(view, node, drawing), node.state)
            yield from _remarks(node, depth, drawing)
            yield from _children(view, node, depth + 1, drawing)


def _node(view: RunView, path: str) -> Node:
    return view.flows.get(path) or view.atoms[path]


def _telling(view: RunView, flow: FlowView, drawing: Drawing) -> list[Node]:
    nodes = [_node(view, path) for path in flow.children]
    if drawing.height is None or len(nodes) <= _WIDEST:
        return nodes
    order = sorted(range(len(nodes)), key=lambda i: (_DULL.get(nodes[i].state, 0), i))
    drawing.hidden.update(nodes[i].state for i in order[_WIDEST:])
    return [nodes[i] for i in sorted(order[:_WIDEST])]


def _fits_one_line(view: RunView, flow: FlowView) -> bool:
    return 0 < len(flow.children) <= _IN_ONE_LINE and all(path in view.atoms for path in flow.children)


def _flow_spans(view: RunView, flow: FlowView, drawing: Drawing) -> Line:
    icon, style = _flow_look(flow)
    spans = [Span(icon, style), Span(flow.name)]
    if flow.place.retry and drawing.now_us is None and not view.version:
        spans.append(Span(_retry(flow), "dim"))
    elif _tries(flow):
        spans.append(Span(_tries(flow), "yellow"))
    if flow.done and not _fits_one_line(view, flow):
        spans.append(Span(f"{flow.done}/{flow.total}", "dim"))
    if flow.state == "PENDING" and view.version:
        spans += _why_pending(view, flow)
    return spans


def _retry(flow: FlowView) -> str:
    return f"up to {flow.place.executions} tries" if flow.place.executions else f"retry {flow.place.retry}"


def _flow_look(flow: FlowView) -> Look:
    return AGAIN if flow.failed_rounds and flow.state in ("RUNNING", "WAITING") else look(flow.state)


def _tries(flow: FlowView) -> str:
    """The round and its limit (try 2/5), where there has been or is to be more than one."""
    if flow.round < 2:
        return ""
    return f"try {flow.round}" + (f"/{flow.place.executions}" if flow.place.executions else "")


def _why_pending(view: RunView, node: Node) -> Line:
    """Said only of what waits beside things under way: a list of tasks to come needs no reasons."""
    waits = view.waiting_for(node.path)
    if not any(other.state != "PENDING" for other in waits):
        return []
    names = [leaf.name for other in waits for leaf in _unfinished(view, other)]
    more = f" and {len(names) - 2} more" if len(names) > 3 else ""
    return [Span(f"waiting for {', '.join(names[: 2 if more else 3])}{more}", "dim")]


def _unfinished(view: RunView, node: Node) -> list[Node]:
    """The unfinished parts of a flow, or the node itself."""
    if isinstance(node, AtomView):
        return [node]
    parts = [_node(view, path) for path in node.children]
    return [part for part in parts if part.state != "SUCCEEDED"] if len(parts) <= _WIDEST else [node]


def _atom_rows(view: RunView, atom: AtomView, depth: int, drawing: Drawing) -> Iterator[_Row]:
    icon, style = look(atom.state)
    spans = [Span(icon, style), Span(atom.name), *_atom_facts(atom, drawing)]
    if atom.state == "PENDING" and view.version:
        spans += _why_pending(view, atom)
    yield _Row(depth, spans, atom.state)
    for failure in atom.failed_attempts if drawing.errors else ():
        last = failure is atom.failure and atom.state in ("FAILED", "REVERT_FAILED")
        what = "" if last else f"attempt {failure.attempt} "
        yield _Row(depth, [Span(f"{what}✘ {one_line(failure)}", "red")], "WAITING", remark=True)


def _atom_facts(atom: AtomView, drawing: Drawing) -> Line:
    spans: Line = []
    duration = took(atom.duration_us(drawing.now_us))
    if duration:
        spans.append(Span(f"{duration}{_polled(atom)}", "dim"))
    if atom.inherited:
        spans.append(Span("taken over", "dim"))
    held = atom.held and atom.state == "INTERRUPTED"
    if atom.state not in ("SUCCEEDED", "PENDING"):
        word = "held" if held else atom.state.lower().replace("_", " ")
        spans.append(Span(word, look(atom.state).style))
    counted = [f"try {atom.try_}"] if atom.try_ > 1 else []
    counted += [f"attempt {atom.attempt}"] if atom.attempt > 1 else []
    counted += [losses(atom)] if losses(atom) else []
    if counted:
        spans.append(Span(", ".join(counted), "yellow"))
    made = f"by {atom.worker.rpartition(' ')[2]}" if atom.worker and atom.state not in ("RUNNING", "REVERTING") else ""
    notes = (made, atom.message if held else "", drawing.note(atom), drawing.marked(atom.path))
    spans += [Span(text, "dim") for text in notes if text]
    return spans


def _polled(atom: AtomView) -> str:
    return f" ({atom.polls} poll{'s' if atom.polls > 1 else ''})" if atom.polls else ""


def _packed_rows(view: RunView, flow: FlowView, depth: int, drawing: Drawing) -> Iterator[_Row]:
    """A small flow and its tasks in one line."""
    spans = _flow_spans(view, flow, drawing)
    notes: list[str] = []
    for path in flow.children:
        atom = view.atoms[path]
        if atom.state != "PENDING":
            style = "" if atom.state == "SUCCEEDED" else look(atom.state).style
            word = "" if atom.state in ("SUCCEEDED", "RUNNING", "WAITING") else f" {atom.state.lower()}"
            duration = took(atom.duration_us(drawing.now_us))
            polled = "" if flow.failed_rounds else _polled(atom)  # room for the tries
            spans.append(Span(f"{atom.name}{word} {duration}{polled}".rstrip(), style))
            notes += [note] if (note := drawing.note(atom)) else []
    spans += [Span(note, "dim") for note in notes]
    yield _Row(depth, spans, flow.state, packed=True)
    yield from _remarks(flow, depth, drawing)


def _remarks(flow: FlowView, depth: int, drawing: Drawing) -> Iterator[_Row]:
    """One line for each round that failed."""
    for failed in flow.failed_rounds if drawing.errors else ():
        after = {"RETRY": " → reverted", "REVERT": " → gave up", "REVERT_ALL": " → everything is undone"}
        under_way = failed is flow.failed_rounds[-1] and flow.phase == "reverting" and failed.decision == "RETRY"
        answer = " → reverting" if under_way else after[failed.decision]
        reason = failed.brief if drawing.compact else failed.reason
        spans = [Span(f"try {failed.round} ✘ {reason}", "red"), Span(answer, "dim")]
        yield _Row(depth, spans, "WAITING", remark=True)


# -- lines --------------------------------------------------------------------------------------


def _folded(rows: list[_Row], height: int, hidden: Counter[str]) -> list[_Row]:
    """So many rows as fit, the dullest left out; what is left out is counted in ``hidden``."""
    excess = len(rows) - height + (1 if hidden else 0)
    if excess <= 0:
        return rows
    excess += 0 if hidden else 1  # the line that says what is not shown
    dull = sorted(range(len(rows)), key=lambda i: (-_dullness(rows[i]), i))
    out = set(dull[:excess])
    hidden.update(rows[i].state for i in out if not rows[i].remark)
    return [row for i, row in enumerate(rows) if i not in out]


def _dullness(row: _Row) -> int:
    return _REMARK_DULLNESS if row.remark else _DULL.get(row.state, 0)


def _align(rows: Sequence[_Row]) -> None:
    """Bring what follows the names of siblings of one depth to one column."""
    widest: dict[tuple[int, bool], int] = {}
    for row in rows:
        if not row.remark and len(row.spans) > 2:
            column = row.depth, row.packed
            widest[column] = min(_WIDEST_NAME, max(widest.get(column, 0), len(row.spans[1].text)))
    for row in rows:
        row.column = 0 if row.remark else widest.get((row.depth, row.packed), 0)


def _guided(rows: Sequence[_Row]) -> list[Line]:
    """The rows with their guides, drawn from the last to the first: only then is it known who has a younger sibling."""
    later: set[int] = set()  # depths at which a sibling comes further down
    lines: list[Line] = []
    for row in reversed(rows):
        if row.remark:
            guide = "".join("│ " if depth in later else "  " for depth in range(row.depth + 1))
            lines.append([Span(f"{guide}  ", "dim"), *_spaced(row)])
            continue
        guide = "".join("│ " if depth in later else "  " for depth in range(row.depth))
        branch = "├ " if row.depth in later else "└ "
        later = {depth for depth in later if depth < row.depth} | {row.depth}
        lines.append([Span(guide + branch, "dim"), *_spaced(row)])
    lines.reverse()
    return lines


def _spaced(row: _Row) -> Iterator[Span]:
    for i, span in enumerate(row.spans):
        if row.remark:
            yield span
        elif i == 0:
            yield Span(f"{span.text} ", span.style)
        elif i == 1 and len(row.spans) > 2:
            yield Span(f"{span.text:<{row.column}}  ", span.style)
        else:
            yield Span(span.text if i == len(row.spans) - 1 else f"{span.text}  ", span.style)
