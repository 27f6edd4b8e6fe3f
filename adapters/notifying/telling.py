"""The sender inside a process that drives runs: a thread of its own, which no run waits for.

Any number of processes may have one. A rule is taken by one of them at a time (`sender`), the others stand by; where
the one that has it dies, another goes on within a minute. The views it reads are kept by the process's own projector,
which then also takes in what other processes append, or by whoever else projects.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from contextlib import suppress
from threading import Event, Thread, current_thread
from typing import Final

from flowledger.adapters.stores.views import views_of
from flowledger.events.errors import FlowledgerError
from flowledger.events.store import Store
from flowledger.projections.view_store import ViewStore

from .channels import TIMEOUT_S
from .rules import Rule
from .sender import Sender

#: From one look to the next where nothing is heard of: for what is stuck, and what is tried again.
LOOK_S: Final = 5.0
#: After an error.
PAUSE_S: Final = 10.0

_LOG: Final = logging.getLogger("flowledger.notifying")


class Telling:
    """Sends the notices of an app while its process drives runs. Begun by `start`.

    Args:
        store: the log.
        app: the name of the app.
        rules: who is told of what.
        watch: has the views kept up to date also with what others append, and is given what to call when they were.
    """

    def __init__(
        self, store: Store, app: str, rules: Sequence[Rule], *, watch: Callable[[Callable[[], None]], None]
    ) -> None:
        self._store = store
        self._app = app
        self._rules = rules
        self._watch = watch
        self._stop = Event()
        self._bell = Event()
        self._thread = Thread(target=self._run, name="flowledger-telling", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._watch(self._bell.set)
        self._thread.start()

    def close(self) -> None:
        """Stop after the notice under way; what is left is sent by others, or later."""
        self._stop.set()
        self._bell.set()
        if self._thread.is_alive() and self._thread is not current_thread():
            self._thread.join(TIMEOUT_S)

    def _run(self) -> None:
        views: ViewStore | None = None
        sender: Sender | None = None
        away = False
        while not self._stop.is_set():
            try:
                views = views or views_of(self._store)
                sender = sender or Sender(self._store, views, self._app, self._rules)
                while not self._stop.is_set() and sender.round():
                    pass
                away = False
            except FlowledgerError as error:
                if not (away or self._stop.is_set()):
                    _LOG.warning("nobody is told from here for now: %s", error.message)
                away = True
            self._sleep(PAUSE_S if away else LOOK_S)
        if views is not None:
            with suppress(Exception):
                views.close()

    def _sleep(self, longest_s: float) -> None:
        self._bell.wait(longest_s)
        if not self._stop.is_set():
            self._bell.clear()
