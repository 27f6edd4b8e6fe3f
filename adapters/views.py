"""The views of a log, for readers: `app.history`, and what the command line lists.

Reading first takes in what nobody has projected yet, for `CATCH_UP_S` at most; `Views.behind_us` says what is missing
then. No query grows with the log: each looks at a bounded number of rows and says where to go on.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from contextlib import suppress
from typing import Any, Final, Self

from flowledger.events.errors import InputError, StoreError
from flowledger.events.store import Store
from flowledger.projections import query as language
from flowledger.projections.history import HISTORY
from flowledger.projections.history.records import (
    AttemptRecord,
    AuditRecord,
    FailureGroup,
    Figures,
    Page,
    RunRecord,
    attempt_record,
    audit_record,
    failure_group,
    run_record,
)
from flowledger.projections.history.tables import ATTEMPTS, AUDIT, FAILURES, RUNS, STATISTICS
from flowledger.projections.projection import Projection
from flowledger.projections.selecting import Compares, Condition, IsIn, Select
from flowledger.projections.statistics import HOUR_US, counts, percentile
from flowledger.projections.tables import Row, Table
from flowledger.projections.timeline import Span, timeline
from flowledger.projections.view_store import ViewStore

from .history import History
from .looking import look
from .moments import Moment, version_at
from .projecting.together import Together
from .stores.views import views_of

#: How long reading may take in what is missing.
CATCH_UP_S: Final = 2.0
#: So many runs one look goes through at most: all there are, or those to which an index leads.
WINDOW: Final = 5_000
#: The most that one page holds.
LONGEST_PAGE: Final = 10_000
RUN_ID_LENGTH: Final = 26
#: Figures are summed from at most so many rows.
_FIGURE_ROWS: Final = 200_000

_SUMMED: Final = ("succeeded", "failed", "again", "interrupted", "reverted", "revert_failed", "cancelled", "total_us")


class Views:
    """Queries over the views of one log. ``close`` it, or use it as a context.

    Raises (all methods):
        StoreUnavailable: the database cannot be reached.
        ViewsMissing: nobody has made the views yet, and this reader may not.
    """

    def __init__(self, store: Store, projections: Sequence[Projection] = (HISTORY,)) -> None:
        self.store = store
        self._projections = {projection.name: projection for projection in projections}
        self._views: ViewStore = views_of(store)
        self._together = Together(store, self._views, projections)
        self.behind_us = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Free connections; the store stays open."""
        self._views.close()

    def catch_up(self, *, within_s: float = CATCH_UP_S) -> bool:
        """Take in what is missing, if this reader may. True: nothing is missing.

        ``behind_us`` then says for how long the oldest missing event has been in the log, in microseconds.
        """
        done = False
        with suppress(StoreError):  # only those who may write views can; the others read what is there
            done = self._together.catch_up(within_s=within_s)
        self.behind_us = 0
        if not done:
            with suppress(StoreError):
                self.behind_us = self._together.projectors[0].behind_us(self.store.now_us())
        return done

    # -- runs -----------------------------------------------------------------------------------

    def runs(self, query: str = "", *, limit: int = 50, after: str | None = None) -> Page[RunRecord]:
        """Runs, the newest first: those that fulfil the query (`projections.query`), ``limit`` of them at most.

        Raises:
            InputError: the query is not one; the message says where.
        """
        parsed = language.parse(query)
        conditions = parsed.conditions(self.store.now_us())
        if after is not None and len(after) != RUN_ID_LENGTH:
            raise _no_place(after)
        self.catch_up()
        limit = _page_length(limit)
        rows, upto = look(self._select, conditions, after=after, limit=limit + 1, window=WINDOW)
        records = [run_record(row) for row in rows[:limit]]
        return Page(records, records[-1].id if len(rows) > limit else upto)

    def each_run(self, query: str = "", *, limit: int | None = None) -> Iterator[RunRecord]:
        """`runs` page by page, all of them or ``limit``."""
        after: str | None = None
        left = limit
        while left is None or left > 0:
            page = self.runs(query, limit=200 if left is None else min(200, left), after=after)
            yield from page.items
            left = None if left is None else left - len(page.items)
            after = page.next
            if after is None:
                return

    def run(self, run_id: str) -> RunRecord | None:
        """One run by its id."""
        self.catch_up()
        rows = self._select(Select(RUNS, (IsIn("run_id", (run_id,)),), limit=1))
        return run_record(rows[0]) if rows else None

    # -- attempts -------------------------------------------------------------------------------

    def attempts(
        self, run_id: str, *, path: str | None = None, states: Sequence[str] = (), limit: int = 1000,
        after: str | None = None,
    ) -> Page[AttemptRecord]:  # fmt: skip
        """The attempts of a run, by path, try and number; only of one atom, only in some states."""
        self.catch_up()
        where: list[Condition] = [IsIn("run_id", (run_id,))]
        if path is not None:
            where.append(IsIn("path", (path,)))
        if states:
            where.append(IsIn("state", tuple(states)))
        return self._page(
            ATTEMPTS, where, ("run_id", "path", "try", "phase", "attempt"), limit, after, attempt_record
        )  # fmt: skip

    def timeline(self, run_id: str) -> list[Span]:
        """The spans of a run: attempts, waits, back-offs, rounds, pauses. Read from its log, which is verified.

        Raises:
            Tampered, IntegrityError, SchemaTooNew: the log cannot be read.
        """
        return timeline(History(self.store).envelopes(run_id))

    def as_of(self, run_id: str, *, version: int | None = None, time_us: int | None = None) -> Moment:
        """A run as it stood after an event, or at a time (microseconds, store time): its state, atoms and symbols.

        `Moment.forward` and `Moment.back` go on from there. By version it is exact, by time as exact as event times.

        Raises:
            InputError: the run has no such event, or had not been submitted then.
        """
        history = History(self.store)
        if version is None:
            version = version_at(history, run_id, self.store.now_us() if time_us is None else time_us)
        return Moment(history, run_id, version)

    # -- what people did ------------------------------------------------------------------------

    def audit(
        self, *, run_id: str | None = None, actor: str | None = None, since_us: int | None = None, limit: int = 100,
        after: str | None = None,
    ) -> Page[AuditRecord]:  # fmt: skip
        """Who did what and why, the newest first; only to one run, only by one actor, only since a time."""
        self.catch_up()
        where: list[Condition] = []
        if run_id is not None:
            where.append(IsIn("run_id", (run_id,)))
        if actor is not None:
            where.append(IsIn("actor", (actor,)))
        if since_us is not None:
            where.append(Compares("time_us", ">=", since_us))
        order = ("run_id", "version") if run_id is not None else ("time_us", "run_id", "version")
        return self._page(AUDIT, where, order, limit, after, audit_record, descending=True)

    # -- figures --------------------------------------------------------------------------------

    def failures(self, *, flow: str | None = None, limit: int = 50) -> list[FailureGroup]:
        """Failures by what is the same about them, the most frequent first. There are as many as there are kinds."""
        self.catch_up()
        where = () if flow is None else (IsIn("flow", (flow,)),)
        rows = self._select(Select(FAILURES, where, order=("app", "flow", "failure"), limit=LONGEST_PAGE))
        groups = sorted(map(failure_group, rows), key=lambda group: (-group.count, -group.last_us, group.failure))
        return groups[:limit]

    def statistics(
        self, *, flow: str | None = None, task: str | None = None, since_us: int | None = None
    ) -> list[Figures]:
        """Counts, rates and percentiles of each flow (``task`` "") and its tasks: all, or since a time, to the hour."""
        self.catch_up()
        now_us = self.store.now_us()
        wanted = {"flow": flow, "task": task}
        where: list[Condition] = [IsIn(name, (value,)) for name, value in wanted.items() if value is not None]
        first = None if since_us is None else since_us // HOUR_US
        if first is not None:
            where.append(Compares("hour", ">=", first))
        counted = self._select(Select(STATISTICS, tuple(where), limit=_FIGURE_ROWS))
        buckets: dict[tuple[str, str, str], Counter[int]] = defaultdict(Counter)
        sums: dict[tuple[str, str, str], Counter[str]] = defaultdict(Counter)
        oldest: dict[tuple[str, str, str], int] = {}
        for row in counted:
            key = (row["app"], row["flow"], row["task"])
            sums[key].update({name: row[name] for name in _SUMMED})
            buckets[key].update(counts(row["took"]))
            oldest[key] = min(oldest.get(key, row["hour"]), row["hour"])
        this_hour = now_us // HOUR_US
        return [
            _figures(key, sums[key], buckets[key], hours=this_hour - (oldest[key] if first is None else first) + 1)
            for key in sorted(sums)
        ]

    # -- an app's own ---------------------------------------------------------------------------

    def rows(
        self,
        projection: str | Projection,
        table: str | Table,
        *,
        limit: int = 1000,
        after: tuple[Any, ...] | None = None,
    ) -> list[Row]:
        """Rows of a projection's table in the order of their keys, from behind the key ``after``.

        Raises:
            InputError: there is no such projection or table.
        """
        name = projection if isinstance(projection, str) else projection.name
        known = self._projections.get(name)
        if known is None:
            raise InputError(
                f"there is no projection {name!r}", field="projection", given=name,
                expected=", ".join(self._projections), hint=f"known are {', '.join(self._projections)}",
            )  # fmt: skip
        asked = known.table(table if isinstance(table, str) else table.name)
        self.catch_up()
        return self._views.select(name, Select(asked, order=asked.key_names, after=after, limit=_page_length(limit)))

    # -- inside ---------------------------------------------------------------------------------

    def _select(self, select: Select) -> list[Row]:
        return self._views.select(HISTORY.name, select)

    def _page(
        self, table: Table, where: Sequence[Condition], order: tuple[str, ...], limit: int, after: str | None,
        record: Any, *, descending: bool = False,
    ) -> Page[Any]:  # fmt: skip
        limit = _page_length(limit)
        place = None if after is None else _place(table, order, after)
        rows = self._select(
            Select(table, tuple(where), order=order, descending=descending, after=place, limit=limit + 1)
        )
        more = len(rows) > limit
        found = rows[:limit]
        return Page([record(row) for row in found], _cursor(order, found[-1]) if more else None)


def open_views(store: Store) -> ViewStore:
    """Where the views of a log are kept; to be closed by who asks."""
    return views_of(store)


def _figures(key: tuple[str, str, str], sums: Counter[str], buckets: Counter[int], *, hours: int) -> Figures:
    app, flow, task = key
    total_us = sums.pop("total_us", 0)
    succeeded = sums["succeeded"]
    return Figures(
        app=app, flow=flow, task=task, hours=hours, **sums,
        mean_us=total_us // succeeded if succeeded else None,
        p50_us=percentile(buckets, 0.5), p90_us=percentile(buckets, 0.9), p99_us=percentile(buckets, 0.99),
    )  # fmt: skip


def _page_length(limit: int) -> int:
    if not 1 <= limit <= LONGEST_PAGE:
        raise InputError(
            f"limit {limit}: a page holds 1 to {LONGEST_PAGE:,}", field="limit", expected=f"1 to {LONGEST_PAGE}",
            given=str(limit),
        )  # fmt: skip
    return limit


def _cursor(order: tuple[str, ...], row: Row) -> str:
    """Where a page ends, to be handed back as it is."""
    return "\x1f".join(str(row[name]) for name in order)


def _place(table: Table, order: tuple[str, ...], after: str) -> tuple[Any, ...]:
    types = {column.name: column.type for column in table.every}
    parts = after.split("\x1f")
    try:
        return tuple(types[name](part) for name, part in zip(order, parts, strict=True))
    except ValueError as error:
        raise _no_place(after) from error


def _no_place(after: str) -> InputError:
    return InputError(
        f"{after!r} is not where a page of this list ended", field="after", given=after,
        hint="give what the page before said comes next, as it is; without one the list begins anew",
    )  # fmt: skip
