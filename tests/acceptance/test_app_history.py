"""`app.history` and an app's own projections."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from flowledger import App, Flow, linear
from flowledger.events.envelope import Envelope
from flowledger.events.errors import DefinitionError, DuplicateName, InputError
from flowledger.events.facts import RunSubmitted, RunSucceeded
from flowledger.projections.rows import Rows
from flowledger.projections.tables import Table
from tests.acceptance.stores import ALL, url_of

shop = App("shop")


@shop.task
def pay(amount: int) -> int:
    if amount < 0:
        raise ValueError(f"no negative amounts: {amount}")
    return amount


@shop.flow
def order(amount: int) -> Flow[int]:
    return linear(pay, returns=pay)


@pytest.fixture(params=ALL)
def app(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[App]:
    app = App("counter", database_url=url_of(request, tmp_path))
    app.include(shop)
    yield app
    app.close()


def run(app: App, amount: int, **tags: str) -> str:
    return app.run(order(amount), tags=tags, check=False).id


def test_runs_of_an_app_are_found_by_a_query(app: App) -> None:
    # Given runs that went through, and one that did not
    run(app, 1)
    run(app, 2)
    bad = run(app, -5)
    # Then a query finds those it holds for, the newest first, as many as are wanted
    assert [found.id for found in app.runs("state:reverted")] == [bad]
    assert [found.result for found in app.runs("state:succeeded", limit=1)] == [2]
    with pytest.raises(InputError):
        list(app.runs("nothing:known"))


def test_history_knows_at_once_what_has_just_happened(app: App) -> None:
    # When
    good, bad = run(app, 5, team="a"), run(app, -5)
    # Then
    assert [r.id for r in app.history.runs().items] == [bad, good]
    [failed] = app.history.runs("state:reverted").items
    assert (failed.id, failed.flow, failed.done, failed.tasks, failed.failed_at) == (bad, "order", 0, 1, "order/pay")
    assert [r.id for r in app.history.runs("tag:team=a state:succeeded").items] == [good]
    assert [a.state for a in app.history.attempts(bad).items] == ["FAILED"]
    assert [s.kind for s in app.history.timeline(good)] == ["queued", "run", "execute"]
    assert [(a.run_id, a.what) for a in app.history.audit().items] == [(bad, "submit"), (good, "submit")]
    assert app.history.failures()[0].message == "no negative amounts: -…"
    assert {(f.task, f.succeeded, f.failed) for f in app.history.statistics()} == {("", 1, 0), ("pay", 1, 1)}
    assert app.history.behind_us == 0


def test_an_app_has_projections_of_its_own(app: App) -> None:
    # Given
    spent = Table("spent", key={"team": str}, columns={"orders": int, "done": int})
    teams = Table("teams", key={"run_id": str}, columns={"team": str})

    @app.projection(spent, teams)
    def spending(rows: Rows, envelope: Envelope) -> None:
        event = envelope.event
        if isinstance(event, RunSubmitted):
            team = rows.at(teams, envelope.run_id)["team"] = event.tags.get("team", "-")
            rows.at(spent, team)["orders"] += 1
        elif isinstance(event, RunSucceeded):
            rows.at(spent, rows.at(teams, envelope.run_id)["team"])["done"] += 1

    # When
    run(app, 1, team="a")
    run(app, 2, team="a")
    run(app, -1, team="b")
    # Then
    assert app.history.rows("spending", "spent") == [
        {"team": "a", "orders": 2, "done": 2},
        {"team": "b", "orders": 1, "done": 0},
    ]
    assert app.history.rows("spending", spent, after=("a",), limit=1)[0]["team"] == "b"
    with pytest.raises(InputError, match="spendings"):
        app.history.rows("spendings", spent)
    with pytest.raises(DefinitionError, match="spend"):
        app.history.rows("spending", "spend")


def test_a_projection_is_checked_where_it_is_written() -> None:
    app = App("shop", database_url="memory://")
    table = Table("t", key={"k": str})

    @app.projection(table)
    def first(rows: Rows, envelope: Envelope) -> None: ...

    with pytest.raises(DuplicateName):
        app.projection(table, name="first")(first)
    with pytest.raises(DuplicateName):
        app.projection(table, name="history")(first)
    wrongs: list[dict[str, Any]] = [{"name": "No"}, {"name": "x" * 31}, {"version": 0}]
    for wrong in wrongs:
        with pytest.raises(DefinitionError):
            app.projection(table, **wrong)(first)
    with pytest.raises(DefinitionError):
        app.projection(name="empty")(first)


@pytest.mark.parametrize(
    "table",
    [
        {"name": "T", "key": {"k": str}},
        {"name": "t", "key": {}},
        {"name": "t", "key": {"k": str | None}},
        {"name": "t", "key": {"k": str}, "columns": {"c": list}},
        {"name": "t", "key": {"k": str}, "columns": {"c": int | str}},
        {"name": "t", "key": {"k": str}, "columns": {"k": int}},
        {"name": "t", "key": {"k": str}, "columns": {'c" text; --': int}},
        {"name": "t", "key": {"k": str}, "indexes": (("c",),)},
    ],
)
def test_a_table_is_checked_where_it_is_written(table: dict[str, object]) -> None:
    with pytest.raises(DefinitionError):
        Table(**table)  # type: ignore[arg-type]
