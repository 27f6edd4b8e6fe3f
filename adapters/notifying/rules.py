"""Who is told of what: a rule of an app."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal, get_args

from flowledger.events.errors import InputError
from flowledger.projections.tables import check_name

if TYPE_CHECKING:
    from .channels import Channel

Kind = Literal["failed", "needs-human", "stuck", "verify-failed"]
KINDS: Final[tuple[Kind, ...]] = get_args(Kind)


@dataclass(frozen=True)
class Rule:
    """``channel`` is told of these kinds, about runs that fulfil ``query`` (`projections.query`).

    "failed": a run ended badly by itself. "needs-human": a task is held, or a revert failed. "stuck": a live run has
    had no event for ``stuck_after_s`` seconds, and waits for no timer. "verify-failed": a verification found something.

    Raises:
        InputError: a kind, the query or the limit does not fit.
        DefinitionError: the name does not.
    """

    name: str
    channel: Channel
    on: Sequence[Kind] = KINDS
    query: str = ""
    stuck_after_s: float = 3600.0

    def __post_init__(self) -> None:
        check_name(self.name, "notification")
        unknown = [kind for kind in self.on if kind not in KINDS]
        if unknown or isinstance(self.on, str):
            raise InputError(
                f"notification {self.name}: there is no kind {', '.join(unknown) or self.on!r}", field="on",
                expected=", ".join(KINDS), given=str(self.on), hint=f"kinds are {', '.join(KINDS)}",
            )  # fmt: skip
        if not self.stuck_after_s > 0:
            raise InputError(
                f"notification {self.name}: stuck_after_s is a number of seconds above 0", field="stuck_after_s",
                expected="above 0", given=str(self.stuck_after_s),
            )  # fmt: skip
        from flowledger.projections.query import parse  # noqa: PLC0415 - loaded by who has rules

        parse(self.query)
