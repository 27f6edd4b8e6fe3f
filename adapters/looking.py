"""Going through runs, the newest first, in looks that are bounded whatever the log and the query are like.

An index that has the ids of runs in their order *leads*: those in one state, of one flow, with one tag and its value.
It is read alone, some ids at a time, and then only the rows of these ids are held against the query; where a second
index has not many more of them, only the ids that both have. Left to itself a database expects matches to be spread
evenly, walks through all runs in order because a page should soon be full, and meets none for a million rows.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Final, NamedTuple

from flowledger.projections import query as language
from flowledger.projections.history.tables import RUNS, TAGS
from flowledger.projections.selecting import Compares, Condition, InTable, IsIn, Select
from flowledger.projections.tables import Row, Table, Value

Read = Callable[[Select], list[Row]]

#: Ids that are held against the query at once: at first, and then.
_FIRST: Final = 200
_THEN: Final = 2_000
#: A run whose row has to be fetched counts for so many.
_FETCHED: Final = 2
#: Reading so many ids from another index costs less than looking at one row.
_CHEAPER: Final = 5
#: So many values a leading condition has at most; each is an index to read.
_VALUES: Final = 8
#: Comes after every id.
_LAST: Final = "~"
#: Which leads where several are as good: what is likely to have the fewest runs.
_ORDER: Final = ("key", "failure", "value", "flow", "state")


class Look(NamedTuple):
    """Rows of runs, and the last run that was looked at; None: there are no more."""

    rows: list[Row]
    upto: str | None


@dataclass(frozen=True, slots=True)
class Lead:
    """A condition that an index answers: ``column`` has one of some values, where ``fixed`` holds."""

    condition: Condition
    table: Table
    column: str
    values: tuple[Value, ...]
    fixed: tuple[Condition, ...] = ()

    def ids(self, read: Read, after: str | None, limit: int) -> list[str]:
        """The next ``limit`` runs that are older than ``after``."""
        found = [row["run_id"] for value in self.values for row in read(self._next(value, after, limit=limit))]
        return sorted(found, reverse=True)[:limit]

    def reach(self, read: Read, after: str | None, window: int) -> str:
        """How far back ``window`` of its runs go; "": they are fewer."""
        far = [read(self._next(value, after, limit=1, skip=window)) for value in self.values]
        return max((row["run_id"] for rows in far for row in rows), default="")

    def between(self, upto: str, after: str | None) -> Select:
        """Its runs from ``upto`` on that are older than ``after``, all of them; for one value."""
        older = (Compares("run_id", ">=", upto), Compares("run_id", "<", after or _LAST))
        return Select(self.table, (*self.fixed, IsIn(self.column, self.values), *older), columns=("run_id",))

    def _next(self, value: Value, after: str | None, *, limit: int, skip: int = 0) -> Select:
        # Not as `column = value`: then the order by it would be dropped, and any index by run_id would do.
        return Select(
            self.table, (*self.fixed, Compares(self.column, ">=", value)), order=(self.column, "run_id"),  # type: ignore[arg-type]
            descending=True, after=(value, after or _LAST), limit=limit, skip=skip, columns=("run_id",),
        )  # fmt: skip


def look(read: Read, conditions: Sequence[Condition], *, after: str | None, limit: int, window: int) -> Look:
    """Up to ``limit`` runs older than ``after`` that fulfil the conditions, among ``window`` of them."""
    if not conditions:
        return Look(read(_newest((), after, limit)), None)
    leads = [lead for condition in conditions if (lead := _lead(condition)) is not None]
    if not leads:
        return _through_all(read, conditions, after=after, limit=limit, window=window)
    if len(leads) > 1:
        leads = _sparsest_first(leads, read, after, window)
    return _led(read, leads, conditions, after=after, limit=limit, window=window)


def _through_all(
    read: Read, conditions: Sequence[Condition], *, after: str | None, limit: int, window: int
) -> Look:  # fmt: skip
    far = read(Select(RUNS, _older(after), ("run_id",), descending=True, limit=1, skip=window, columns=("run_id",)))
    upto = far[0]["run_id"] if far else None
    since = () if upto is None else (Compares("run_id", ">=", upto),)
    return Look(read(_newest((*conditions, *since), after, limit)), upto)


def _led(
    read: Read, leads: Sequence[Lead], conditions: Sequence[Condition], *, after: str | None, limit: int, window: int
) -> Look:  # fmt: skip
    # A run may leave its state between the two reads; a tag it keeps.
    rest = tuple(c for c in conditions if c is not leads[0].condition or leads[0].table is RUNS)
    rows: list[Row] = []
    chunk = _FIRST
    while window and len(rows) < limit:
        chunk = min(chunk, window)
        common = _common(read, leads, after, chunk)
        ids, upto = common or _alone(read, leads[0], after, chunk)
        if ids:
            rows += read(_newest((IsIn("run_id", tuple(ids)), *rest), None, limit - len(rows)))
        if upto is None:
            return Look(rows, None)
        window = max(0, window - chunk * (1 if common else _FETCHED))
        after, chunk = upto, _THEN
    return Look(rows, after)


def _alone(read: Read, lead: Lead, after: str | None, many: int) -> tuple[list[str], str | None]:
    """The next runs of a lead, and the last of them; None: there are no more."""
    ids = lead.ids(read, after, many)
    return ids, ids[-1] if len(ids) == many else None


def _common(read: Read, leads: Sequence[Lead], after: str | None, many: int) -> tuple[list[str], str | None] | None:
    """Of the next runs of the first lead those that others have, too; None: these have far more there."""
    singles = [lead for lead in leads if len(lead.values) == 1]
    if len(singles) < 2 or singles[0] is not leads[0]:
        return None
    upto = leads[0].reach(read, after, many - 1)
    others = [lead for lead in singles[1:] if lead.reach(read, after, _CHEAPER * many) <= upto]
    if not others:
        return None
    first, *more = (lead.between(upto, after) for lead in (leads[0], *others))
    found = read(replace(first, order=("run_id",), descending=True, limit=many, also=tuple(more)))
    return [row["run_id"] for row in found], upto or None


def _newest(where: tuple[Condition, ...], after: str | None, limit: int) -> Select:
    return Select(RUNS, (*where, *_older(after)), order=("run_id",), descending=True, limit=limit)


def _older(after: str | None) -> tuple[Condition, ...]:
    return () if after is None else (Compares("run_id", "<", after),)


# -- what leads ---------------------------------------------------------------------------------


def _lead(condition: Condition) -> Lead | None:
    if isinstance(condition, IsIn) and condition.column in language.INDEXED and len(condition.values) <= _VALUES:
        return Lead(condition, RUNS, condition.column, condition.values)
    if isinstance(condition, InTable) and condition.table is TAGS:
        match condition.conditions:
            case (IsIn("name", (_,)) as name, IsIn("value", (value,))):
                return Lead(condition, TAGS, "value", (value,), (name,))
            case _:
                pass
    return None


def _sparsest_first(leads: Sequence[Lead], read: Read, after: str | None, window: int) -> list[Lead]:
    """First the one whose runs go back the furthest, or are over first: it has the fewest to go through."""
    ranked: list[tuple[str, int, int]] = []
    for many in (_FIRST, window):
        ranked = sorted(
            (lead.reach(read, after, many), _ORDER.index(lead.column), n) for n, lead in enumerate(leads)
        )  # fmt: skip
        if not ranked[0][0]:
            break
    return [leads[n] for _, _, n in ranked]
