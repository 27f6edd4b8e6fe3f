"""The part of an app that looks back: its projections, and the views of its log."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import timedelta
from threading import Lock
from typing import TYPE_CHECKING

from flowledger.events.errors import DuplicateName
from flowledger.events.store import Store
from flowledger.projections.history import HISTORY
from flowledger.projections.projection import Fold, Projection
from flowledger.projections.tables import Table

from .listened import Listened
from .notifying.rules import KINDS, Kind, Rule

if TYPE_CHECKING:
    from .notifying.channels import Channel
    from .views import Views


class Viewed(Listened):
    """A registry whose runs can be looked back at."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self._own: list[Projection] = []
        self.notifications: list[Rule] = []
        self._views: Views | None = None
        self._views_lock = Lock()

    @property
    def projections(self) -> list[Projection]:
        """The built-in projection and this app's own."""
        return [HISTORY, *self._own]

    def projection(self, *tables: Table, version: int = 1, name: str | None = None) -> Callable[[Fold], Fold]:
        """Decorate a function that folds the log into tables of one's own; it is given back unchanged.

        It is called once for each event of the log, of all apps in it, in the order of the log, with the rows to change
        and the event's envelope. It is pure: no clock, no I/O. Raise ``version`` with every change of it: the tables
        are then made anew from the whole log. `Views.rows` reads them.

        Raises:
            DefinitionError: a name does not fit, there is no table.
            DuplicateName: the app has a projection of this name.
        """

        def register(fold: Fold) -> Fold:
            called = name or fold.__name__
            if any(known.name == called for known in self.projections):
                raise DuplicateName(f"app {self.name} has a projection {called!r} already", hint="say another name=")
            self._own.append(Projection(called, version, tables, fold))
            return fold

        return register

    def notify(
        self,
        channel: Channel,
        *,
        name: str,
        on: Sequence[Kind] = KINDS,
        query: str = "",
        stuck_after: float | timedelta = 3600,
    ) -> None:
        """Have somebody told of this app's runs: `Webhook`, `Email` or `Command`.

        ``on`` says of what ("failed", "needs-human", "stuck", "verify-failed"), ``query`` of which runs. A rule that is
        new tells of the last hour too; from then on nothing is missed: what happened while nobody sent is sent later,
        in order, at least once. Conductors of the app send, and `flowledger projector --app …`.

        Raises:
            InputError, DefinitionError: the rule does not fit.
            DuplicateName: the app has a rule of this name.
        """
        stuck_after_s = stuck_after.total_seconds() if isinstance(stuck_after, timedelta) else float(stuck_after)
        if any(rule.name == name for rule in self.notifications):
            raise DuplicateName(f"app {self.name} has a notification {name!r} already", hint="say another name=")
        self.notifications.append(Rule(name, channel, on, query, stuck_after_s))

    def _viewing(self, store: Store) -> Views:
        """The views of a store, opened once."""
        from .views import Views  # noqa: PLC0415 - loaded by who looks back

        with self._views_lock:
            if self._views is not None and self._views.store is not store:
                self._views.close()
                self._views = None
            if self._views is None:
                self._views = Views(store, self.projections)
            return self._views

    def _close_views(self) -> None:
        with self._views_lock:
            views, self._views = self._views, None
        if views is not None:
            views.close()
