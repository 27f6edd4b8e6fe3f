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
        from flowledger.adapters.asking import refused, too_late, word_wanted  # noqa: PLC0415
        from flowledger.events.errors import IllegalRequest  # noqa: PLC0415
        from flowledger.events.store import FINAL  # noqa: PLC0415

        if stream.status in FINAL:
            raise too_late(stream.run_id, stream.status, self._kind)
        held = [atom.path for atom in self._history.view(stream.run_id).held] if self._kind == "resume" else []
        if held:
            raise IllegalRequest(
                f"run {stream.run_id} is held at {', '.join(held)}", hint=word_wanted(stream.run_id, held[0])
            )
        if self._kind == "suspend" and stream.status not in ("PENDING", "RUNNING"):
            raise refused(stream.run_id, self._kind, f"the run is {stream.status} already")
        if path is not None:
            held = [atom.path for atom in self._history.view(stream.run_id).held]
            if path not in held:
                names = f" (held: {', '.join(held)})" if held else ""
                raise refused(stream.run_id, self._kind, f"{path!r} is not held{names}")
