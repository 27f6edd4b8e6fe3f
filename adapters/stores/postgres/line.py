"""How the side connection is doing: what its thread knows, and what those go by who wait for what it brings."""

from __future__ import annotations

from threading import Condition
from time import monotonic

from flowledger.events.errors import StoreError, StoreUnavailable

from .location import Location


class Line:
    """``changed`` guards it, and all that is waited for on it."""

    def __init__(self, location: Location) -> None:
        self.changed = Condition()
        self.closed = False
        self.error: StoreError | None = None
        self._location = location
        self._failing_since = 0.0

    @property
    def answer_s(self) -> float:
        """How long an answer may take."""
        return self._location.answer_s

    @property
    def patience_s(self) -> float:
        """How long an answer may take where the connection has to be made again first."""
        return self._location.answer_s + self._location.reconnect_s

    def works(self) -> None:
        """There is a connection. Under the lock."""
        self.error = None

    def failed(self, error: StoreError) -> None:
        """There is none. Under the lock."""
        if self.error is None:
            self._failing_since = monotonic()
        self.error = error
        self.changed.notify_all()

    def is_over(self) -> bool:
        """Whether there is no use in waiting any longer."""
        patience_s = self._location.reconnect_s
        return self.closed or (self.error is not None and monotonic() - self._failing_since > patience_s)

    def failure(self) -> StoreError:
        """The error for who has waited in vain."""
        if self.closed:
            return StoreUnavailable(f"{self._location.describe()}: the store has been closed")
        if self.error is None:
            return StoreUnavailable(f"{self._location.describe()}: the side connection does not answer")
        return type(self.error)(self.error.message, hint=self.error.hint)
