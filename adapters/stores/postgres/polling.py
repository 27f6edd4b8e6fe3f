"""What a process waits for, and the one statement a second that asks for all of it (rule B7).

Whoever waits is told by the poll. Hints (what has happened here, and what others notify of) only make the next one come
sooner; one that nobody waits for is kept for who will.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from threading import Condition
from time import monotonic
from typing import Any, Final, Protocol

from flowledger.adapters.stores.mailbox import newer
from flowledger.events.board import Offer

from .following import BEGINNING, Place
from .line import Line
from .ready import asked
from .statements import Statements
from .wire import original, stored

#: Without any hint, somebody who waits for events or mail looks so often.
POLL_S: Final = 1.0
#: And where jobs are all that is waited for: with a heartbeat in five seconds, and whatever else comes up now and then,
#: a conductor that has nothing to do makes less than one statement a second.
JOBS_POLL_S: Final = 1.3
#: With hints, at most so often; also after how long to look again for what the horizon still hides.
LEAST_GAP_S: Final = 0.005

#: What there may be news of, as notifications say it: events, mail for somebody, jobs for somebody.
EVENTS: Final = ""
MAIL: Final = "mail"
JOBS: Final = "jobs"


class Ask(Protocol):
    """Executes one statement with named values."""

    def __call__(self, statement: str, *, named: Mapping[str, object]) -> list[tuple[Any, ...]]: ...


class _Seeker:
    """One wait for a job: an answer counts if it was asked for after the wait began."""

    def __init__(self, owner_id: str, offer: Offer, but: Sequence[str]) -> None:
        self.found = False
        self.answered_at = float("-inf")
        self._asked = (owner_id, offer, but)

    def asked(self, n: int, held: Iterable[int]) -> dict[str, object]:
        return asked(*self._asked, n=f"_{n}", held=held)


class Polling:
    """Who waits for what.

    Args:
        line: how the connection is doing that `poll` is made on.
        texts: what is asked.
        held: the presence locks that this connection has.
        ring: wakes the thread up that calls `due_s` and `poll`.
    """

    def __init__(self, line: Line, texts: Statements, held: Iterable[int], ring: Callable[[], None]) -> None:
        self._line = line
        self._changed: Condition = line.changed
        self._texts = texts
        self._held = held
        self._ring = ring
        self._waiting = 0
        self._newest = BEGINNING
        self._expecting: dict[str, int] = {}  # who waits for mail
        self._mail: dict[str, dict[str, int]] = {}  # by owner and run: the newest, as of the last poll
        self._here: set[str] = set()  # owners who may wait
        self._seekers: list[_Seeker] = []
        self._looked_at: dict[str, float] = {}  # when an owner's mail was last asked for; "": where the log ends
        self._hints: set[str] = set()
        self._polled_at = float("-inf")
        self._is_hidden = False  # whether the horizon hides events
        self._recheck_s = LEAST_GAP_S

    # -- for everybody --------------------------------------------------------------------------

    def events(self, place: Place, timeout_s: float) -> bool:
        """See `Store.wait`. The answer is at most `POLL_S` old."""
        with self._changed:
            self._waiting += 1
            try:
                self._look(EVENTS, "")
                self._changed.wait_for(lambda: self._newest > place or self._line.is_over(), timeout_s)
            finally:
                self._waiting -= 1
            if self._newest > place:
                return True
            if self._line.is_over():
                raise self._line.failure()
            return False

    def mail(self, owner_id: str, seen: Mapping[str, int], timeout_s: float) -> dict[str, int]:
        """See `Store.due`. The answer is at most `POLL_S` old."""

        def found() -> dict[str, int]:
            return newer(self._mail.get(owner_id, {}), seen)

        def is_over() -> bool:
            return owner_id not in self._here or self._line.is_over()

        with self._changed:
            self._expecting[owner_id] = self._expecting.get(owner_id, 0) + 1
            try:
                self._look(MAIL, owner_id)
                self._changed.wait_for(lambda: is_over() or bool(found()), timeout_s)
            finally:
                self._expecting[owner_id] -= 1
                if not self._expecting[owner_id]:
                    del self._expecting[owner_id]
            if self._line.is_over():
                raise self._line.failure()
            return found()

    def job(self, owner_id: str, offer: Offer, but: Sequence[str], timeout_s: float) -> bool:
        """See `Board.wait`. No answer from before will do: what it told of may have been claimed since."""
        seeker = _Seeker(owner_id, offer, but)

        def is_over() -> bool:
            return seeker.found or owner_id not in self._here or self._line.is_over()

        def is_told() -> bool:
            return seeker.answered_at > monotonic() - 2 * JOBS_POLL_S

        with self._changed:
            self._seekers.append(seeker)
            if timeout_s <= JOBS_POLL_S:
                self._hints.add(JOBS)
            self._ring()
            try:
                self._changed.wait_for(is_over, timeout_s)
                self._changed.wait_for(lambda: is_told() or is_over(), self._line.patience_s)
            finally:
                self._seekers.remove(seeker)
            if owner_id in self._here and not is_told():
                raise self._line.failure()
            return seeker.found

    def arrive(self, owner_id: str) -> None:
        """This owner lives in this process: it may wait for mail and jobs."""
        self._here.add(owner_id)

    def depart(self, owner_id: str) -> None:
        """It waits no more."""
        with self._changed:
            self._here.discard(owner_id)
            self._looked_at.pop(owner_id, None)
            self._mail.pop(owner_id, None)
            self._changed.notify_all()

    def hint(self, *of: str) -> None:
        """There may be news of these."""
        self._hints.update(of)

    def happened(self, what: str) -> bool:
        """Something has happened here; whether that is new to somebody who waits for it."""
        is_new = self._is_waited_for(what) and what not in self._hints
        self._hints.add(what)
        return is_new

    def _look(self, what: str, whose: str) -> None:
        """See that the last answer is not too old."""
        since = monotonic() - POLL_S

        def looked() -> bool:
            return self._looked_at.get(whose, since) > since or (whose != "" and whose not in self._here)

        if not looked():
            self._hints.add(what)
        self._ring()
        if not self._changed.wait_for(lambda: looked() or self._line.is_over(), self._line.patience_s):
            raise self._line.failure()

    # -- on the thread --------------------------------------------------------------------------

    def is_wanted(self) -> bool:
        """Whether anybody waits."""
        return self._waiting > 0 or bool(self._expecting) or bool(self._seekers)

    def due_s(self) -> float | None:
        """In how many seconds the next poll is due; None: nobody waits."""
        if not self.is_wanted():
            return None
        gap_s = POLL_S if self._waiting or self._expecting else JOBS_POLL_S
        if self._waiting and self._is_hidden:
            gap_s = min(gap_s, self._recheck_s)
        if any(self._is_waited_for(what) for what in tuple(self._hints)):
            gap_s = LEAST_GAP_S
        return self._polled_at + gap_s - monotonic()

    def poll(self, ask: Ask) -> None:
        """Ask for all that is waited for, in one statement (B7). Called when it is due."""
        with self._changed:
            expecting, seekers, asks_log = list(self._expecting), list(self._seekers), self._waiting > 0
            answered = {what for what in (EVENTS, MAIL, JOBS) if self._is_waited_for(what)}
            if answered & self._hints:
                self._recheck_s = LEAST_GAP_S
            self._hints.difference_update(answered)  # what comes from now on is for the next one
        now = monotonic()
        named: dict[str, object] = {"owners": [stored(owner) for owner in expecting]} if expecting else {}
        for n, seeker in enumerate(seekers):
            named |= seeker.asked(n, self._held)
        row = ask(self._texts.poll(log=asks_log, mail=bool(expecting), offers=len(seekers)), named=named)[0]
        with self._changed:
            self._polled_at = now
            if asks_log:
                self._met_log(*row[:4])
                self._looked_at[""] = now
            self._mail |= _by_owner(expecting, row[4 * asks_log] if expecting else ())
            self._looked_at |= dict.fromkeys(expecting, now)
            for seeker, found in zip(seekers, row[len(row) - len(seekers) :], strict=True):
                seeker.found, seeker.answered_at = found, now
            self._changed.notify_all()

    def _met_log(self, generation: int | None, xid: str, position: int, more: bool) -> None:
        newest = self._newest if generation is None else Place(generation, int(xid), position)
        if more and newest == self._newest:  # somebody's transaction is still open
            self._recheck_s = min(2 * self._recheck_s, POLL_S)
        self._newest, self._is_hidden = newest, more

    def _is_waited_for(self, what: str) -> bool:
        if what == JOBS:
            return bool(self._seekers)
        return bool(self._expecting) if what == MAIL else self._waiting > 0


def _by_owner(owners: Iterable[str], found: Iterable[Sequence[str]]) -> dict[str, dict[str, int]]:
    """The newest mail by owner and run, with an entry for each owner who was asked about."""
    mail: dict[str, dict[str, int]] = {owner: {} for owner in owners}
    for owner, run_id, number in found:
        mail[original(owner)][original(run_id)] = int(number)
    return mail
