"""What the rules say of signals (F4), for the reference model: what has come, who waits, and who is offered what."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, NamedTuple


class Sent(NamedTuple):
    """A signal as it stands in the log."""

    version: int
    value: Any


@dataclass
class Signals:
    """The oldest is for whoever has waited longest, and is offered to him until he takes it or leaves."""

    here: dict[str, list[Sent]] = field(default_factory=dict[str, list[Sent]])  # by signal: nobody's yet
    waiting: dict[str, list[str]] = field(default_factory=dict[str, list[str]])  # by signal: tasks, offered nothing yet
    offered: dict[str, Sent] = field(default_factory=dict[str, Sent])  # by task

    def came(self, signal: str, sent: Sent) -> None:
        self.here.setdefault(signal, []).append(sent)
        self._offer(signal)

    def listen(self, task: str, signal: str) -> None:
        self.waiting.setdefault(signal, []).append(task)
        self._offer(signal)

    def take(self, task: str) -> Sent:
        return self.offered.pop(task)

    def leave(self, leaving: dict[str, str]) -> None:
        """These tasks wait no more for these signals. What they were offered, and had not taken, is for the next."""
        for task, signal in leaving.items():
            if task in self.waiting.get(signal, ()):
                self.waiting[signal].remove(task)
            if task in self.offered:
                self.here.setdefault(signal, []).append(self.offered.pop(task))
        for signal in dict.fromkeys(leaving.values()):
            self.here.get(signal, []).sort()
            self._offer(signal)

    def _offer(self, signal: str) -> None:
        here, waiting = self.here.get(signal, []), self.waiting.get(signal, [])
        while here and waiting:
            self.offered[waiting.pop(0)] = here.pop(0)
