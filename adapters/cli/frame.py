"""A run on one screen: the line with the bar, the tree under it, and the words when it is over."""

from __future__ import annotations

from flowledger.projections.nodes import one_line
from flowledger.projections.run_view import RunView

from .spans import Line, Span
from .tree import Drawing, tree
from .words import count, look, took, watch

_BAR = 24
#: So many of the tasks that were interrupted are named.
_LOST = 3


def header(view: RunView, *, name: str, now_us: int | None, bar: bool = True) -> Line:
    """``create_cluster  01JD7Q  ▶ RUNNING  11/16 ━━━━━╸━━  0:04``."""
    done, total = view.progress
    icon, style = look(view.state)
    spans = [Span(view.factory or "run", "bold"), Span(f"  {name}  "), Span(f"{icon} {view.state}", style)]
    if total:
        spans.append(Span(f"  {done}/{total}"))
        spans += _bar(done, total, style) if bar else []
    spans.append(Span(f"  {watch(view.duration_us(now_us))}", "dim"))
    return spans


def _bar(done: int, total: int, style: str) -> Line:
    full = _BAR * done // total
    if full == _BAR:
        return [Span(" " + "━" * _BAR, style)]
    return [Span(" " + "━" * full + "╸", style), Span("━" * (_BAR - full - 1), "dim")]


def frame(view: RunView, drawing: Drawing, *, name: str, height: int) -> list[Line]:
    """A whole screen of at most ``height`` lines."""
    drawing.height = height - 1
    return [header(view, name=name, now_us=drawing.now_us), *tree(view, drawing)]


def ended(view: RunView) -> Line:
    """``✔ SUCCEEDED  16 tasks in 4.2s, 58 events``."""
    icon, style = look(view.state)
    done, total = view.progress
    undone = view.direction == "BACK"
    tasks = f"{count(total, 'task')}" if done == total else f"{done} of {count(total, 'task')}"
    what = f"{tasks} reverted" if undone else tasks
    return [
        Span(f"{icon} {view.state}", style),
        Span(f"  {what} in {took(view.duration_us(view.last_us))}, {count(view.version, 'event')}"),
    ]


def resumed(view: RunView) -> list[Line]:
    """One line for each time the run was taken up again."""
    lines: list[Line] = []
    for again in view.resumptions:
        lost = [path.partition("/")[2] or path for path in again.interrupted]
        lost = lost if len(lost) <= _LOST else [*lost[: _LOST - 1], f"{len(lost) - _LOST + 1} more"]
        cut = f", {' and '.join(lost)} cut off" if lost else ""
        words = f"↻ resumed at task {min(again.kept + 1, view.root.total)} of {view.root.total}"
        lines.append([Span(words, "yellow"), Span(f": {count(again.kept, 'result')} kept{cut}")])
    return lines


def failures(view: RunView) -> list[Line]:
    """What went wrong, each with where it was raised."""
    lines: list[Line] = []
    for failure in view.failures:
        attempt = f" (attempt {failure.attempt})" if failure.attempt > 1 else ""
        lines.append([Span("✘ ", "bold red"), Span(failure.path, "bold"), Span(f"{attempt}  {one_line(failure)}")])
        lines += [[Span(f"    {line}", "dim")] for line in _raised_at(failure.traceback)]
    return lines


def _raised_at(traceback: str) -> list[str]:
    """The last frame of a traceback: the file with the line's number, and the line. What follows is the message."""
    lines = [line.strip() for line in traceback.split("\n")]
    last = max((n for n, line in enumerate(lines) if line.startswith('File "')), default=None)
    return [] if last is None else [line for line in lines[last : last + 2] if line.strip("^~ ")]
