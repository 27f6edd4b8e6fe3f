"""Dry runs of what is asked of runs: what would be asked, of whom, and whether it would be refused."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .terminal import Terminal, say

if TYPE_CHECKING:
    from flowledger.adapters.history import History
    from flowledger.events.store import Stream


class Wishing:
    """Says what would be asked of a run, or why it would be refused: as far as that can be seen without its driver."""

    def __init__(self, history: History, terminal: Terminal, kind: str) -> None:
        self._history = history
        self._terminal = terminal
        self._kind = kind

    def __call__(self, stream: Stream, what: str, *, path: str | None = None) -> int:
        self._check(stream, path)
        if self._terminal.json:
            fields = {"id": stream.run_id, "request": self._kind, "state": stream.status, "driver": stream.owner}
            self._terminal.document("would ask", fields)
            return 0
        whom = f"process {stream.owner}, which drives it" if stream.owner else "nobody: this process would take it up"
        say(f"would {what} {stream.factory} {stream.run_id}, {stream.status}; to answer: {whom}")
        say("no change made (dry run)")
        return 0

    def _check(self, stream: Stream, path: str | None) -> None:
        from flowledger.adapters.asking import held_at, refused, too_late  # noqa: PLC0415
        from flowledger.events.store import FINAL  # noqa: PLC0415

        if stream.status in FINAL:
            raise too_late(stream.run_id, stream.status, self._kind)
        if self._kind == "suspend" and stream.status not in ("PENDING", "RUNNING"):
            raise refused(stream.run_id, self._kind, f"the run is {stream.status} already")
        held = [atom.path for atom in self._history.view(stream.run_id).held]
        if self._kind == "resume" and held:
            raise held_at(stream.run_id, held)
        if path is not None and path not in held:
            names = f" (held: {', '.join(held)})" if held else ""
            raise refused(stream.run_id, self._kind, f"{path!r} is not held{names}")
