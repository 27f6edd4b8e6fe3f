"""A process that does nothing but project: as fast as it can, until it is told to stop."""

from __future__ import annotations

import logging
from collections.abc import Callable
from threading import Event
from typing import Final

from flowledger.events.errors import StoreUnavailable
from flowledger.events.store import Store

from .together import Together

#: How long one wait for news lasts at most, and the pause while another projector is active.
WAIT_S: Final = 1.0
STAND_BY_S: Final = 0.5
#: After the database was away.
PAUSE_S: Final = 1.0

_LOG: Final = logging.getLogger("flowledger.projector")


def follow(store: Store, together: Together, stop: Event, beside: Callable[[], int] | None = None) -> None:
    """Project what comes until ``stop`` is set. A database that is away is waited for.

    ``beside`` is done whenever nothing is left to project, again and again while it says that it did something.
    """
    away = False
    while not stop.is_set():
        try:
            done = together.round()
            if not done.events and beside is not None and beside():
                continue
            if done.waits:
                stop.wait(STAND_BY_S)
            elif not done.events:
                store.wait(together.cursor, timeout_s=WAIT_S)
            away = False
        except StoreUnavailable as error:
            if not away:
                _LOG.warning("waiting for the database: %s", error.message)
            away = True
            stop.wait(PAUSE_S)
