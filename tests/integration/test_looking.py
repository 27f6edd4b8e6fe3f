"""A page of runs is found through the index that leads to the fewest, whatever a database expects (UX: 200 ms).

What a database would rather do shows with rows that are not spread evenly: all runs of a flow are the oldest.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import closing

import pytest

from flowledger.adapters.looking import look
from flowledger.adapters.stores import open_store
from flowledger.adapters.stores.views import views_of
from flowledger.adapters.stores.views.postgres import PostgresViews
from flowledger.adapters.stores.views.sql import Compiler
from flowledger.adapters.stores.views.sqlite import DIALECT, SqliteViews
from flowledger.projections.history import HISTORY
from flowledger.projections.history.tables import RUNS, TAGS
from flowledger.projections.query import parse
from flowledger.projections.rows import Changes
from flowledger.projections.selecting import Select
from flowledger.projections.tables import Row
from flowledger.projections.view_store import ViewStore
from tests.postgres import made, sql
from tests.postgres_server import GIVEN_URL

RARE, FORMER, ALL = 30, 2_000, 6_000


def run_row(number: int) -> Row:
    row = RUNS.new((f"01J{number:023}",))
    flow = "rare" if number < RARE else "former" if number < FORMER else "frequent"
    row.update(app="shop", flow=flow, state="FAILED" if number % 10 == 0 else "SUCCEEDED", actor="me@here")
    return row


@pytest.fixture(scope="module", params=["sqlite", "postgres"])
def views(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ViewStore]:
    """So many runs that a database has a reason to choose."""
    url = f"sqlite:///{tmp_path_factory.mktemp('log')}/log.db"
    if request.param == "postgres":
        database = request.getfixturevalue("postgres_database")
        url = made(f"{database}{'&' if '?' in database else '?'}schema=looking_{os.getpid()}")
    with closing(open_store(url)) as store, closing(views_of(store)) as opened:
        slot = opened.make(HISTORY, number=1, live=True)
        runs, tags = Changes(RUNS), Changes(TAGS)
        for number in range(ALL):
            row = run_row(number)
            runs.rows[row["run_id"],] = row
            tag = TAGS.new(("team", "rare" if number < RARE else "all", row["run_id"]))
            tags.rows[tuple(tag.values())] = tag
        with opened.turn(HISTORY, slot) as turn:
            assert turn is not None
            turn.write([runs, tags])
        if request.param == "postgres":
            for table in ("runs", "tags"):
                sql(url, f"VACUUM ANALYZE {{s}}_views.history_1_{table}")
        yield opened
    if request.param == "postgres" and GIVEN_URL:
        for schema in ("{s}_views", "{s}"):
            sql(url, f"DROP SCHEMA {schema} CASCADE")


class Reading:
    """Reads, and keeps what was asked and how many rows came."""

    def __init__(self, views: ViewStore) -> None:
        self._views = views
        self.asked: list[Select] = []
        self.rows = 0

    def __call__(self, select: Select) -> list[Row]:
        self.asked.append(select)
        rows = self._views.select(HISTORY.name, select)
        self.rows += len(rows)
        return rows


@pytest.mark.parametrize(
    ("query", "found"),
    [("flow:rare state:failed", 3), ("state:failed tag:team=rare", 3), ("tag:team=all flow:rare", 0)],
)
def test_of_several_indexes_the_one_with_the_fewest_runs_leads(views: ViewStore, query: str, found: int) -> None:
    reading = Reading(views)
    rows, upto = look(reading, parse(query).conditions(0), after=None, limit=51, window=5_000)
    assert (len(rows), upto) == (found, None)
    assert reading.rows <= RARE + found + 8  # the rare ones, and the looks at how many there are of each


def test_where_two_indexes_lead_only_what_both_have_is_fetched(views: ViewStore) -> None:
    # Given a query that two indexes answer, neither of them alone, and whose rest nothing fulfils
    reading = Reading(views)
    query = "flow:rare state:failed error~nothing"
    # When
    rows, upto = look(reading, parse(query).conditions(0), after=None, limit=51, window=1_000)
    # Then what is read are ids, and no more of them than the two have in common
    assert (rows, upto) == ([], None)
    assert reading.rows < RARE
    assert any(select.also for select in reading.asked)


def test_a_window_ends_where_it_ends_and_says_where_to_go_on(views: ViewStore) -> None:
    conditions = parse("flow:frequent -state:succeeded error~nothing").conditions(0)
    first = look(Reading(views), conditions, after=None, limit=51, window=500)
    assert (first.rows, first.upto) == ([], f"01J{ALL - 300:023}")
    assert look(Reading(views), conditions, after=first.upto, limit=51, window=12_000) == ([], None)


@pytest.mark.parametrize(
    ("query", "index"),
    [
        ("flow:rare", "runs_by2"), ("flow:former", "runs_by2"), ("state:failed", "runs_by1"),
        ("tag:team=rare", "tags_pkey"), ("key:k", "runs_by4"),
    ],
)  # fmt: skip
def test_a_leading_index_is_read_alone_and_in_order(views: ViewStore, query: str, index: str) -> None:
    # Given a query, also one for a flow that so many runs are of that the newest of it seem to be near the end of all,
    # which a database would rather go through: they are none of the newest two thirds
    reading = Reading(views)
    look(reading, parse(query).conditions(0), after="01J" + "9" * 23, limit=51, window=5_000)
    # When
    plan = plan_of(views, reading.asked[0])
    # Then
    assert index in plan
    assert "Sort" not in plan
    assert "TEMP B-TREE" not in plan


def plan_of(views: ViewStore, select: Select) -> str:
    """What the database does for it."""
    if isinstance(views, SqliteViews):
        compiler = Compiler(DIALECT, HISTORY.name, 1)
        statement = f"EXPLAIN QUERY PLAN {compiler.select(select)}"
        rows = views._reader.execute(statement, compiler.values).fetchall()
        return "\n".join(row[-1] for row in rows).replace("tags USING PRIMARY KEY", "tags USING tags_pkey")
    assert isinstance(views, PostgresViews)
    compiler = Compiler(views._dialect, HISTORY.name, 1)
    return "\n".join(row[0] for row in views._rows(f"EXPLAIN {compiler.select(select)}", *compiler.values))
