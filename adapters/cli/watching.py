"""Watching a run: on a screen a tree that is redrawn, else a line for each thing that happens."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from threading import Lock
from types import TracebackType
from typing import TYPE_CHECKING, Self

from flowledger.events.envelope import Envelope
from flowledger.projections.run_view import RunView, plan_named

from .frame import frame, header
from .spans import Line, Span
from .telling import told
from .terminal import Terminal, rich_text, text_of
from .tree import Drawing, Note
from .words import watch

if TYPE_CHECKING:
    from rich.console import Group
    from rich.live import Live

_FRAMES_PER_S = 8
#: A plan by its fingerprint.
Plans = Callable[[str], bytes | None]


def no_note(_atom: object) -> str:
    """Nothing to add to an atom."""
    return ""


class Watch:
    """Takes a run's events from any thread (`observe`) and shows them; use it as a context around the run.

    ``name`` makes the run's id short; ``plans`` finds the tree's document; ``taken`` lines are spoken for;
    events up to version ``told`` are old and not told again; a ``transient`` tree is taken off the screen at the end.
    """

    def __init__(
        self,
        terminal: Terminal,
        plans: Plans,
        *,
        name: Callable[[str], str] = str,
        note: Note = no_note,
        taken: int = 0,
        silent: bool = False,
        told: int = 0,
        transient: bool = False,
    ) -> None:
        self.view = RunView()
        self._terminal = terminal
        self._plans = plans
        self._name = name
        self._short = ""
        self._note = note
        self._taken = taken
        self._lock = Lock()
        self._live = self._new_live(transient) if terminal.live and not silent else None
        self._silent = silent
        self._told = told

    def __enter__(self) -> Self:
        if self._live is not None:
            self._live.start(refresh=True)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._live is not None:
            self._live.stop()

    def observe(self, envelopes: Sequence[Envelope]) -> None:
        """Take in events that are durable."""
        with self._lock:
            for envelope in envelopes:
                self._take(envelope)

    def _take(self, envelope: Envelope) -> None:
        if envelope.version <= self.view.version:
            return  # seen already, before a resume read it back
        first = not self.view.version
        self.view.apply(envelope)
        fingerprint = plan_named(envelope.event)
        document = None if fingerprint is None else self._plans(fingerprint)
        if document is not None:
            self.view.lay_out(envelope.event, document)
        if first:
            self._short = self._name(self.view.run_id)
        if self._live is None and not self._silent and envelope.version > self._told:
            self._tell(envelope)

    # -- lines ----------------------------------------------------------------------------------

    def _tell(self, envelope: Envelope) -> None:
        story = told(envelope)
        if story.quiet:
            return
        since_us = envelope.time_us - (self.view.submitted_us or envelope.time_us)
        icon, style = story.look
        where = envelope.path.partition("/")[2] or envelope.path
        spans = [Span(f"{watch(since_us)}.{since_us // 1000 % 1000:03} ", "dim"), Span(f"{icon} ", style)]
        spans.append(Span(f"{where}  " if where else ""))
        line = [*spans, Span(story.text)]
        print(text_of(line), file=self._terminal.screen, flush=True)

    # -- a screen -------------------------------------------------------------------------------

    def _new_live(self, transient: bool) -> Live:
        from rich.live import Live  # noqa: PLC0415 - only who draws pays for it

        self._console = self._terminal.console(self._terminal.screen)
        return Live(
            get_renderable=self._frame,
            console=self._console,
            refresh_per_second=_FRAMES_PER_S,
            vertical_overflow="crop",
            transient=transient,
        )

    def _frame(self) -> Group:
        from rich.console import Group  # noqa: PLC0415

        return Group(*(rich_text(line) for line in self.lines(max(6, self._console.height - 1 - self._taken))))

    def lines(self, height: int) -> list[Line]:
        """The present screen, in at most ``height`` lines."""
        with self._lock:
            drawing = Drawing(now_us=time.time_ns() // 1000, compact=True, note=self._note)
            if not self.view.version:
                return [[Span("starting …", "dim")]]
            return frame(self.view, drawing, name=self._short, height=height)

    def header(self) -> Line:
        """The line with the state, as it is now."""
        with self._lock:
            return header(self.view, name=self._short, now_us=None)
