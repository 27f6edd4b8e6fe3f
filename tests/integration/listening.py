"""A channel that keeps what it is told, and a run to be told of."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from flowledger.adapters.notifying.channels import NotDelivered
from flowledger.events import facts
from tests.unit.build_log import BEGUN, SECOND
from tests.unit.written_log import Story, failure

FAILED: Story = [
    *BEGUN, (SECOND, facts.TaskFailed(failure=failure(SECOND))), ("", facts.RunFailed(reason="stopped")),
]  # fmt: skip


@dataclass
class Listening:
    """A channel that keeps what it is given, and fails as often as it is told to."""

    got: list[dict[str, Any]] = field(default_factory=list)
    failing: int = 0
    again: bool = True

    def send(self, notice: Any, *, now_s: int) -> None:
        if self.failing:
            self.failing -= 1
            raise NotDelivered("nobody at home", again=self.again)
        self.got.append(dict(notice))

    def describe(self) -> str:
        return "a list"
