"""The side connection: presence locks, coalesced NOTIFY, LISTEN, and the one poll of a process (rules A4, B2, B7).

One thread owns it. It sees at once when the connection breaks, and then takes its locks again on the next one. NOTIFY
holds a lock of the whole cluster during its commit, so it stays out of appends and is sent once for many of them.
Notifications are hints: whoever waits is told by a poll, which comes at least once a second and needs no hint.
"""

from __future__ import annotations

import selectors
import socket
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from threading import Condition, Thread, current_thread
from time import monotonic
from typing import Any, Final

import psycopg

from flowledger.adapters.stores.mailbox import newer
from flowledger.events.errors import StoreError, StoreUnavailable

from .connecting import GuardedConnection, Lost
from .database import Link, PostgresDatabase
from .following import BEGINNING, Place
from .statements import Statements
from .wire import original, stored

#: How long appends gather before others are told.
COALESCE_S: Final = 0.02
#: Somebody waits for mail with their hands in their lap: the first is told at once, what follows gathers for so long,
#: or as long as appends do while more than `BUSY_MAIL` come in between.
MAIL_GAP_S: Final = 0.004
BUSY_MAIL: Final = 2
#: While more appends than this come between two hints, the next hint comes so much later.
BUSY_APPENDS: Final = 8
TELL_GAP_S: Final = 0.1
#: Without any hint, somebody who waits looks so often.
POLL_S: Final = 1.0
#: With hints, at most so often; also after how long to look again for what the horizon still hides.
LEAST_GAP_S: Final = 0.005

_TAKE: Final = "SELECT pg_try_advisory_lock(%s)"
_FREE: Final = "SELECT pg_advisory_unlock(%s)"
# A hint need not survive power loss: its commit does not wait for the disk, nor keep the appends from it.
_NOTIFY: Final = "SELECT set_config('synchronous_commit', 'off', true), pg_notify(%s, %s)"
#: What a notification says: there are new events, or there is mail for somebody.
_EVENTS: Final = ""
_MAIL: Final = "mail"


class Side:
    """What a process does beside its appends. ``statements`` counts what went over the side connection."""

    def __init__(self, database: PostgresDatabase, texts: Statements) -> None:
        self.statements = 0
        self._database = database
        self._texts = texts
        self._channel = f"flowledger_{database.schema}"
        self._link = Link(database, self._set_up)
        self._changed = Condition()
        self._thread: Thread | None = None
        self._selector = selectors.DefaultSelector()
        self._bell, self._button = socket.socketpair()
        self._selector.register(self._bell, selectors.EVENT_READ)
        for end in (self._bell, self._button):
            end.setblocking(False)
        self._closed = False
        # Presence
        self._wanted: set[int] = set()
        self._held: set[int] = set()
        # What is wrong, and since when
        self._error: StoreError | None = None
        self._failing_since = 0.0
        # Telling others, and being told
        self._dirty: dict[str, float] = {}  # what to tell, and when
        self._appends = self._appends_told = 0
        self._not_before = float("-inf")  # tell of events
        self._mailed = self._mailed_told = 0
        self._no_mail_before = float("-inf")  # tell of mail
        self._waiting = 0
        self._expecting: dict[str, int] = {}  # who waits for mail
        self._listening = False
        self._hints: set[str] = set()
        self._newest = BEGINNING
        self._mail: dict[str, dict[str, int]] = {}  # by owner and run: the newest, as of the last poll
        self._here: set[str] = set()  # owners who may wait for mail
        self._looked_at: dict[str, float] = {}  # when an owner's mail was last asked for; "": where the log ends
        self._polled_at = self._next_poll = float("-inf")
        self._recheck_s = LEAST_GAP_S

    # -- for everybody --------------------------------------------------------------------------

    def be_present(self, key: int) -> None:
        """Take a presence lock, and keep it over lost connections.

        Raises:
            StoreUnavailable: there is no connection to keep it on.
        """
        with self._changed:
            self._wanted.add(key)
            self._ring()
            self._changed.wait_for(lambda: key in self._held or self._error is not None, 2 * self._limit_s())
            if key not in self._held:
                self._wanted.discard(key)
                raise self._failure()

    def be_absent(self, key: int) -> None:
        """Free a presence lock; if the connection is lost, that frees it."""
        with self._changed:
            if key in self._wanted:
                self._wanted.discard(key)
                self._ring()
                self._changed.wait_for(lambda: key not in self._held, self._limit_s())

    def appended(self) -> None:
        """Something has been committed here: soon tell others, and at once who waits here."""
        self._appends += 1
        self._changed_here(_EVENTS, waited_for=self._waiting > 0)

    def sent(self) -> None:
        """Mail has been sent from here: as for `appended`."""
        self._mailed += 1
        self._changed_here(_MAIL, waited_for=bool(self._expecting))

    def _changed_here(self, what: str, *, waited_for: bool) -> None:
        ring = False
        if what not in self._dirty:
            now = monotonic()
            due = max(now, self._no_mail_before) if what == _MAIL else max(now + COALESCE_S, self._not_before)
            self._dirty[what] = due
            ring = True
        if waited_for and what not in self._hints:
            self._hints.add(what)
            ring = True
        if ring:
            self._ring()

    def wait(self, place: Place, timeout_s: float) -> bool:
        """See `Store.wait`. The answer is at most `POLL_S` old."""
        with self._changed:
            self._waiting += 1
            try:
                self._look(_EVENTS, "")
                self._changed.wait_for(lambda: self._newest > place or self._is_over(), timeout_s)
            finally:
                self._waiting -= 1
            if self._newest > place:
                return True
            if self._is_over():
                raise self._failure()
            return False

    def arrive(self, owner_id: str) -> None:
        """This owner lives in this process: it may wait for mail."""
        self._here.add(owner_id)

    def depart(self, owner_id: str) -> None:
        """It waits no more."""
        with self._changed:
            self._here.discard(owner_id)
            self._looked_at.pop(owner_id, None)
            self._mail.pop(owner_id, None)
            self._changed.notify_all()

    def mail(self, owner_id: str, seen: Mapping[str, int], timeout_s: float) -> dict[str, int]:
        """See `Store.due`. The answer is at most `POLL_S` old."""

        def found() -> dict[str, int]:
            return newer(self._mail.get(owner_id, {}), seen)

        def is_over() -> bool:
            return owner_id not in self._here or self._is_over()

        with self._changed:
            self._expecting[owner_id] = self._expecting.get(owner_id, 0) + 1
            try:
                self._look(_MAIL, owner_id)
                self._changed.wait_for(lambda: is_over() or bool(found()), timeout_s)
            finally:
                self._expecting[owner_id] -= 1
                if not self._expecting[owner_id]:
                    del self._expecting[owner_id]
            if self._is_over():
                raise self._failure()
            return found()

    def _look(self, what: str, whose: str) -> None:
        """See that the last answer is not too old."""
        since = monotonic() - POLL_S

        def looked() -> bool:
            return self._looked_at.get(whose, since) > since or (whose != "" and whose not in self._here)

        if not looked():
            self._hints.add(what)
            self._ring()
            limit_s = self._limit_s() + self._database.location.reconnect_s
            if not self._changed.wait_for(lambda: looked() or self._is_over(), limit_s):
                raise self._failure()

    def close(self) -> None:
        """End the thread and the connection, and with it all presence."""
        with self._changed:
            self._closed = True
            thread = self._thread
            self._changed.notify_all()
            with suppress(OSError):
                self._button.send(b"!")
        if thread is not None and thread is not current_thread():
            thread.join(self._limit_s())
        self._link.close()
        self._selector.close()
        self._bell.close()
        self._button.close()

    def _is_over(self) -> bool:
        """Whether there is no use in waiting any longer."""
        patience_s = self._database.location.reconnect_s
        return self._closed or (self._error is not None and monotonic() - self._failing_since > patience_s)

    def _failure(self) -> StoreError:
        if self._closed:
            return StoreUnavailable(f"{self._database.location.describe()}: the store has been closed")
        if self._error is None:
            return StoreUnavailable(f"{self._database.location.describe()}: the side connection does not answer")
        return type(self._error)(self._error.message, hint=self._error.hint)

    def _limit_s(self) -> float:
        return self._database.location.answer_s

    def _ring(self) -> None:
        """Wake the thread up; make it first if there is none."""
        if self._thread is None:
            self._begin()
        with suppress(OSError):  # full: it has been rung often enough; closed: there is nobody to wake
            self._button.send(b"!")

    def _begin(self) -> None:
        with self._changed:
            if self._thread is None and not self._closed:
                self._thread = Thread(target=self._run, name="flowledger-side", daemon=True)
                self._thread.start()

    # -- on the thread --------------------------------------------------------------------------

    def _run(self) -> None:
        pause_s = 0.02
        while not self._closed:
            try:
                connection = self._link.connection()
                self._made()
                pause_s = 0.02
                self._serve(connection)
            except Lost as lost:
                self._failed(self._database.unavailable(lost.error))
            except psycopg.Error as error:
                self._failed(self._database.unavailable(error))
            except StoreError as error:
                self._failed(error)
            with self._changed:
                self._changed.wait_for(lambda: self._closed, pause_s)
            pause_s = min(pause_s * 2, POLL_S)

    def _set_up(self, connection: GuardedConnection) -> None:
        def heard(notification: psycopg.Notify) -> None:
            if notification.pid != connection.pgconn.backend_pid:
                self._hints.add(notification.payload)

        connection.add_notify_handler(heard)

    def _made(self) -> None:
        with self._changed:
            self._error = None
            self._listening = False
            self._hints |= {_EVENTS, _MAIL}  # nobody knows what has been missed

    def _failed(self, error: StoreError) -> None:
        with self._changed:
            if self._error is None:
                self._failing_since = monotonic()
            self._error = error
            self._held.clear()
            self._changed.notify_all()

    def _serve(self, connection: GuardedConnection) -> None:
        """Do what is due, then sleep until something is, for as long as the connection lasts."""
        socket_of = connection.fileno()
        self._selector.register(socket_of, selectors.EVENT_READ)
        try:
            while not self._closed:
                self._keep_presence()
                self._tell()
                self._poll()
                for key, _ in self._selector.select(self._sleep_s()):
                    if key.fileobj is self._bell:
                        with suppress(BlockingIOError):
                            self._bell.recv(4096)
                    else:
                        self._hear(connection)
            self._tell(last=True)
        finally:
            self._selector.unregister(socket_of)

    def _keep_presence(self) -> None:
        for key in self._wanted - self._held:
            taken = self._execute(_TAKE, key)[0][0]  # not while our own last session is still about
            with self._changed:
                if taken:
                    self._held.add(key)
                    self._changed.notify_all()
        for key in self._held - self._wanted:
            self._execute(_FREE, key)
            with self._changed:
                self._held.discard(key)
                self._changed.notify_all()

    def _tell(self, *, last: bool = False) -> None:
        now = monotonic()
        for what, due in list(self._dirty.items()):
            if last or now >= due:
                del self._dirty[what]
                if what == _EVENTS:
                    busy = self._appends - self._appends_told > BUSY_APPENDS
                    self._appends_told, self._not_before = self._appends, now + TELL_GAP_S if busy else now
                else:
                    busy = self._mailed - self._mailed_told > BUSY_MAIL
                    self._mailed_told, self._no_mail_before = self._mailed, now + (COALESCE_S if busy else MAIL_GAP_S)
                self._execute(_NOTIFY, self._channel, what)

    def _hear(self, connection: GuardedConnection) -> None:
        try:
            connection.pgconn.consume_input()
            while notification := connection.pgconn.notifies():
                if notification.be_pid != connection.pgconn.backend_pid:
                    self._hints.add(notification.extra.decode())
        except psycopg.Error as error:
            self._link.lost(error)
            raise Lost(error) from error

    def _poll(self) -> None:
        """Look where the log ends and who has mail, if somebody waits and it is time: one statement (B7)."""
        expecting = list(self._expecting)
        if not self._waiting and not expecting:
            return
        if not self._listening and not self._database.location.pooled:
            self._execute(f"LISTEN {self._channel}", rows=False)
            self._listening = True
        if self._is_hinted():
            self._hints.clear()
            self._recheck_s = LEAST_GAP_S
            self._next_poll = min(self._next_poll, self._polled_at + LEAST_GAP_S)
        now = monotonic()
        if now < self._next_poll:
            return
        newest, more = self._newest, False
        asks_log = self._waiting > 0
        values = [[stored(owner) for owner in expecting]] if expecting else []
        row = self._execute(self._texts.poll(log=asks_log, mail=bool(expecting)), *values)[0]
        if asks_log:
            generation, xid, position, more = row[:4]
            newest = self._newest if generation is None else Place(generation, int(xid), position)
        with self._changed:
            if more and newest == self._newest:  # somebody's transaction is still open
                self._recheck_s = min(2 * self._recheck_s, POLL_S)
            self._next_poll = now + (self._recheck_s if more else POLL_S)
            self._polled_at = now
            self._newest = newest
            self._mail |= _by_owner(expecting, row[-1] if expecting else ())
            self._looked_at |= dict.fromkeys(expecting + ([""] if asks_log else []), now)
            self._changed.notify_all()

    def _is_hinted(self) -> bool:
        """Whether there may be something new of what somebody waits for."""
        return (self._waiting > 0 and _EVENTS in self._hints) or (bool(self._expecting) and _MAIL in self._hints)

    def _sleep_s(self) -> float | None:
        """Until when nothing is due; None: until the bell rings."""
        now = monotonic()
        due = [POLL_S] if self._wanted != self._held else []
        due += [at - now for at in list(self._dirty.values())]
        if self._waiting or self._expecting:
            next_poll = min(self._next_poll, self._polled_at + LEAST_GAP_S) if self._is_hinted() else self._next_poll
            due.append(next_poll - now)
        return max(0.0, min(due)) if due else None

    def _execute(self, statement: str, *values: object, rows: bool = True) -> list[tuple[Any, ...]]:
        self.statements += 1
        return self._link.execute(statement, *values, rows=rows)


def _by_owner(owners: Iterable[str], found: Iterable[Sequence[str]]) -> dict[str, dict[str, int]]:
    """The newest mail by owner and run, with an entry for each owner who was asked about."""
    mail: dict[str, dict[str, int]] = {owner: {} for owner in owners}
    for owner, run_id, number in found:
        mail[original(owner)][original(run_id)] = int(number)
    return mail
