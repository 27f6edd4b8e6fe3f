"""The side connection: presence locks, coalesced NOTIFY, LISTEN, and the one poll of a process (rules A4, B2, B7).

One thread owns it. It sees at once when the connection breaks, and then takes its locks again on the next one. NOTIFY
holds a lock of the whole cluster during its commit, so it stays out of appends and is sent once for many of them.
Notifications are hints: whoever waits is told by a poll (`polling`), which needs none.
"""

from __future__ import annotations

import selectors
import socket
from collections.abc import Mapping
from contextlib import suppress
from threading import Condition, Thread, current_thread
from time import monotonic
from typing import Any, Final

import psycopg

from flowledger.events.errors import StoreError

from .connecting import GuardedConnection, Lost
from .database import Link, PostgresDatabase
from .line import Line
from .polling import EVENTS, JOBS, MAIL, Polling
from .statements import Statements

#: How long appends gather before others are told.
COALESCE_S: Final = 0.02
#: Somebody waits for mail with their hands in their lap: the first is told at once, what follows gathers for so long,
#: or as long as appends do while more than `BUSY_MAIL` come in between.
MAIL_GAP_S: Final = 0.004
BUSY_MAIL: Final = 2
#: While more appends than this come between two hints, the next hint comes so much later.
BUSY_APPENDS: Final = 8
TELL_GAP_S: Final = 0.1
#: Between two attempts to connect, at most, and to take a presence lock.
AGAIN_S: Final = 1.0

_TAKE: Final = "SELECT pg_try_advisory_lock(%s)"
_FREE: Final = "SELECT pg_advisory_unlock(%s)"
# A hint need not survive power loss: its commit does not wait for the disk, nor keep the appends from it.
_NOTIFY: Final = (
    "SELECT set_config('synchronous_commit', 'off', true), pg_notify(%s, what) FROM unnest(%s::text[]) AS what"
)


class Side:
    """What a process does beside its appends; who waits does so in ``polling``.

    ``statements`` counts what went over the side connection.
    """

    def __init__(self, database: PostgresDatabase, texts: Statements) -> None:
        self.statements = 0
        self._database = database
        self._texts = texts
        self._channel = f"flowledger_{database.schema}"
        self._link = Link(database, self._set_up)
        self._line = Line(database.location)
        self._changed: Condition = self._line.changed
        self._thread: Thread | None = None
        self._selector = selectors.DefaultSelector()
        self._bell, self._button = socket.socketpair()
        self._selector.register(self._bell, selectors.EVENT_READ)
        for end in (self._bell, self._button):
            end.setblocking(False)
        # Presence
        self._wanted: set[int] = set()
        self._held: set[int] = set()
        self.polling = Polling(self._line, texts, self._held, self._ring)
        # Telling others, and being told
        self._dirty: dict[str, float] = {}  # what to tell, and when
        self._appends = self._appends_told = 0
        self._mailed = self._mailed_told = 0
        self._not_before: dict[str, float] = dict.fromkeys((EVENTS, MAIL, JOBS), float("-inf"))  # tell of them
        self._listening = False

    # -- for everybody --------------------------------------------------------------------------

    def be_present(self, key: int) -> None:
        """Take a presence lock, and keep it over lost connections.

        Raises:
            StoreUnavailable: there is no connection to keep it on.
        """
        with self._changed:
            self._wanted.add(key)
            self._ring()
            self._changed.wait_for(lambda: key in self._held or self._line.error is not None, 2 * self._line.answer_s)
            if key not in self._held:
                self._wanted.discard(key)
                raise self._line.failure()

    def be_absent(self, key: int) -> None:
        """Free a presence lock; if the connection is lost, that frees it."""
        with self._changed:
            if key in self._wanted:
                self._wanted.discard(key)
                self._ring()
                self._changed.wait_for(lambda: key not in self._held, self._line.answer_s)

    def appended(self, *, jobs: bool) -> None:
        """Something has been committed here: soon tell others, and at once who waits here.

        ``jobs``: there may be a new job among it.
        """
        self._appends += 1
        self._changed_here(EVENTS)
        if jobs:
            self._changed_here(JOBS)

    def sent(self, *, to_nobody: bool) -> None:
        """Mail has been sent from here: as for `appended`. ``to_nobody``: also to a run without owner, now a job."""
        self._mailed += 1
        self._changed_here(MAIL)
        if to_nobody:
            self._changed_here(JOBS)

    def jobs_came(self) -> None:
        """There may be a new job, without an append: as for `appended`."""
        self._changed_here(JOBS)

    def _changed_here(self, what: str) -> None:
        ring = self.polling.happened(what)
        if what not in self._dirty:
            at_once = what == MAIL
            self._dirty[what] = max(monotonic() + (0.0 if at_once else COALESCE_S), self._not_before[what])
            ring = True
        if ring:
            self._ring()

    def close(self) -> None:
        """End the thread and the connection, and with it all presence."""
        with self._changed:
            self._line.closed = True
            thread = self._thread
            self._changed.notify_all()
            with suppress(OSError):
                self._button.send(b"!")
        if thread is not None and thread is not current_thread():
            thread.join(self._line.answer_s)
        self._link.close()
        self._selector.close()
        self._bell.close()
        self._button.close()

    def _ring(self) -> None:
        """Wake the thread up; make it first if there is none."""
        if self._thread is None:
            self._begin()
        with suppress(OSError):  # full: it has been rung often enough; closed: there is nobody to wake
            self._button.send(b"!")

    def _begin(self) -> None:
        with self._changed:
            if self._thread is None and not self._line.closed:
                self._thread = Thread(target=self._run, name="flowledger-side", daemon=True)
                self._thread.start()

    # -- on the thread --------------------------------------------------------------------------

    def _run(self) -> None:
        pause_s = 0.02
        while not self._line.closed:
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
                self._changed.wait_for(lambda: self._line.closed, pause_s)
            pause_s = min(pause_s * 2, AGAIN_S)

    def _set_up(self, connection: GuardedConnection) -> None:
        def heard(notification: psycopg.Notify) -> None:
            if notification.pid != connection.pgconn.backend_pid:
                self.polling.hint(notification.payload)

        connection.add_notify_handler(heard)

    def _made(self) -> None:
        with self._changed:
            self._line.works()
            self._listening = False
            self.polling.hint(EVENTS, MAIL, JOBS)  # nobody knows what has been missed

    def _failed(self, error: StoreError) -> None:
        with self._changed:
            self._held.clear()
            self._line.failed(error)

    def _serve(self, connection: GuardedConnection) -> None:
        """Do what is due, then sleep until something is, for as long as the connection lasts."""
        socket_of = connection.fileno()
        self._selector.register(socket_of, selectors.EVENT_READ)
        try:
            while not self._line.closed:
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
        due = [what for what, at in list(self._dirty.items()) if last or now >= at]
        for what in due:
            del self._dirty[what]
        if EVENTS in due:
            busy = self._appends - self._appends_told > BUSY_APPENDS
            self._appends_told, self._not_before[EVENTS] = self._appends, now + TELL_GAP_S if busy else now
        if MAIL in due:
            busy = self._mailed - self._mailed_told > BUSY_MAIL
            self._mailed_told, self._not_before[MAIL] = self._mailed, now + (COALESCE_S if busy else MAIL_GAP_S)
        if due:
            self._execute(_NOTIFY, self._channel, due)

    def _hear(self, connection: GuardedConnection) -> None:
        try:
            connection.pgconn.consume_input()
            while notification := connection.pgconn.notifies():
                if notification.be_pid != connection.pgconn.backend_pid:
                    self.polling.hint(notification.extra.decode())
        except psycopg.Error as error:
            self._link.lost(error)
            raise Lost(error) from error

    def _poll(self) -> None:
        """Look what there is for who waits, if it is time; before the first look, see that hints come."""
        due_s = self.polling.due_s()
        if due_s is None:
            return
        if not self._listening and not self._database.location.pooled:
            self._execute(f"LISTEN {self._channel}", rows=False)
            self._listening = True
        if due_s <= 0:
            self.polling.poll(self._execute)

    def _sleep_s(self) -> float | None:
        """Until when nothing is due; None: until the bell rings."""
        now = monotonic()
        due = [AGAIN_S] if self._wanted != self._held else []
        due += [at - now for at in list(self._dirty.values())]
        next_poll_s = self.polling.due_s()
        due += [] if next_poll_s is None else [next_poll_s]
        return max(0.0, min(due)) if due else None

    def _execute(
        self, statement: str, *values: object, named: Mapping[str, object] | None = None, rows: bool = True
    ) -> list[tuple[Any, ...]]:
        self.statements += 1
        return self._link.execute(statement, *values, named=named, rows=rows)
