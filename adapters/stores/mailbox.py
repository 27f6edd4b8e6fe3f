"""What stores share about inboxes (G1), and an inbox in memory."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from flowledger.events.store import Inbox, InboxRow, Mail


def newer(newest: Mapping[str, int], seen: Mapping[str, int]) -> dict[str, int]:
    """Of the newest mail by run, what somebody has not seen."""
    return {run_id: number for run_id, number in newest.items() if number > seen.get(run_id, 0)}


class Mailbox:
    """The inbox of one run in memory. Changed only under the store's lock."""

    __slots__ = ("_rows", "requests")

    def __init__(self) -> None:
        self.requests = 0
        self._rows: dict[int, InboxRow] = {}

    @property
    def newest(self) -> int:
        """The number of the newest row, 0 if there is none."""
        return next(reversed(self._rows), 0)

    def put(self, mail: Mail, time_us: int) -> None:
        """Put mail in, unless its id is there already; ``requests`` is raised in any case."""
        self.requests += 1
        if all(row.id != mail.id for row in self._rows.values()):
            self._rows[self.requests] = InboxRow(self.requests, mail.id, mail.kind, mail.content, mail.actor, time_us)

    def answer(self, numbers: Iterable[int]) -> None:
        """These rows have been answered."""
        for number in numbers:
            self._rows.pop(number, None)

    def after(self, number: int) -> Inbox:
        """The inbox as `Store.inbox` gives it."""
        return Inbox(self.requests, [row for row in self._rows.values() if row.number > number])
