"""Views come by themselves: beside embedded runs, by `flowledger projector`, and they can be made anew."""

from __future__ import annotations

import signal
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from time import monotonic, sleep

import pytest

from flowledger import App, Flow, linear
from flowledger.adapters.projecting import embedded
from flowledger.adapters.stores import open_store
from flowledger.adapters.stores.views import views_of
from flowledger.events.errors import ViewsMissing
from flowledger.events.store import Store
from flowledger.projections.history import HISTORY
from flowledger.projections.history.tables import RUNS
from flowledger.projections.selecting import Select
from flowledger.projections.tables import Row
from tests.acceptance.command_line import Command, flowledger, start
from tests.unit.build_log import BEGUN, DONE
from tests.unit.written_log import write

__all__ = ["flowledger"]

OTHER_ID = "01J0000000000000000000000B"


def until(done: Callable[[], bool], *, within_s: float = 60) -> None:
    deadline = monotonic() + within_s
    while not done():
        assert monotonic() < deadline
        sleep(0.02)


def runs(store: Store) -> list[Row]:
    with closing(views_of(store)) as views:
        try:
            return views.select("history", Select(RUNS, order=("run_id",)))
        except ViewsMissing:
            return []


@pytest.fixture
def store(flowledger: Command) -> Store:
    """The default log of the working directory, with one run that succeeded."""
    store = open_store("sqlite:///flowledger.db")
    write(store, [*BEGUN, *DONE], key="first")
    return store


def app_at(url: str) -> App:
    app = App("shop", database_url=url)

    @app.task
    def one() -> int:
        return 1

    @app.flow
    def build() -> Flow[int]:
        return linear(one, returns=one)

    app.build = build  # type: ignore[attr-defined]
    return app


@pytest.mark.parametrize("url", ["sqlite", "postgres"])
def test_h1_a_process_that_drives_runs_keeps_the_views_up_to_date(
    url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    # Given
    monkeypatch.setattr(embedded, "FIRST_S", 0.01)
    monkeypatch.setattr(embedded, "LOOK_S", 0.01)
    where = f"sqlite:///{tmp_path}/log.db" if url == "sqlite" else request.getfixturevalue("postgres_url")
    app = app_at(where)
    # When
    done = [app.run(app.build()).id for _ in range(3)]  # type: ignore[attr-defined]
    # Then
    until(lambda: [r["state"] for r in runs(app.runtime.store)] == ["SUCCEEDED"] * 3)
    assert [r["run_id"] for r in runs(app.runtime.store)] == sorted(done)
    app.close()


def test_a_process_that_lives_shortly_makes_no_views(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embedded, "FIRST_S", 3600.0)
    app = app_at(f"sqlite:///{tmp_path}/log.db")
    app.run(app.build())  # type: ignore[attr-defined]
    app.close()
    assert not (tmp_path / "log.db-views").exists()


def test_views_off_leaves_them_to_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FLOWLEDGER_VIEWS", "off")
    monkeypatch.setattr(embedded, "FIRST_S", 0.0)
    app = app_at(f"sqlite:///{tmp_path}/log.db")
    for _ in range(20):
        app.run(app.build())  # type: ignore[attr-defined]
    app.close()
    assert not (tmp_path / "log.db-views").exists()


def test_a_place_where_no_views_can_be_kept_disturbs_no_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Given
    (tmp_path / "log.db-views").mkdir()
    monkeypatch.setattr(embedded, "FIRST_S", 0.0)
    monkeypatch.setattr(embedded, "PAUSE_S", 0.0)
    app = app_at(f"sqlite:///{tmp_path}/log.db")
    # When / Then
    assert [app.run(app.build()).result for _ in range(20)] == [1] * 20  # type: ignore[attr-defined]
    app.close()


@pytest.mark.usefixtures("store")
def test_projector_once_catches_up_and_ends(flowledger: Command) -> None:
    said = flowledger("projector", "--once")
    assert said.code == 0
    assert "took in 11 events" in said.err
    assert "took in 0 events" in flowledger("projector", "--once").err


def test_projector_follows_until_it_is_told_to_stop(store: Store, tmp_path: Path) -> None:
    # Given
    process = start("projector", cwd=tmp_path)
    try:
        until(lambda: len(runs(store)) == 1)
        # When
        write(store, BEGUN, run_id=OTHER_ID, status="RUNNING")
        until(lambda: len(runs(store)) == 2)
        process.send_signal(signal.SIGTERM)
        # Then
        _, err = process.communicate(timeout=60)
    finally:
        process.close()
    assert process.returncode == 0
    assert "took in" in err


def test_projections_say_how_far_they_are(flowledger: Command, store: Store) -> None:
    assert flowledger("projections", "ls").table == []
    flowledger("projector", "--once")
    [[name, version, state, events, up_to, behind]] = flowledger("projections", "ls").table
    assert (name, version, state, events, behind) == ("history", str(HISTORY.version), "read", "11", "nothing")
    assert up_to.startswith("2023-11-14T22:13:21")
    write(store, BEGUN, run_id=OTHER_ID, status="RUNNING")
    [item] = flowledger("projections", "status", "--json").json["items"]
    assert item["behind_s"] > 0
    assert item["tables"]["runs"] == 1
    assert "runs\t1" in flowledger("projections", "status").out


@pytest.mark.usefixtures("store")
def test_h1_rebuild_makes_equal_tables(flowledger: Command) -> None:
    flowledger("projector", "--once")
    said = flowledger("projections", "rebuild", "history", "--compare")
    assert said.code == 0
    assert "byte for byte" in said.out
    assert flowledger("projections", "rebuild", "--json").json["events"] == 11


@pytest.mark.usefixtures("store")
def test_h1_rebuild_says_where_somebody_has_changed_a_view(flowledger: Command) -> None:
    # Given
    flowledger("projector", "--once")
    with closing(sqlite3.connect("flowledger.db-views")) as connection, connection:
        connection.execute("UPDATE history_1_runs SET state = 'FAILED'")
    # When
    said = flowledger("projections", "rebuild", "--compare")
    # Then
    assert said.code == 6
    assert "DIFFER" in said.out
    assert flowledger("projections", "rebuild", "--compare").code == 0


@pytest.mark.usefixtures("store")
def test_a_projection_that_is_not_there_is_said(flowledger: Command) -> None:
    said = flowledger("projections", "rebuild", "histroy")
    assert said.code == 2
    assert "history" in said.err


def test_views_of_another_log_are_made_anew(flowledger: Command, store: Store) -> None:
    # Given
    flowledger("projector", "--once")
    store.close()
    for file in Path().glob("flowledger.db*"):
        if file.is_file() and "views" not in file.name:
            file.unlink()
    # When
    other = open_store("sqlite:///flowledger.db")
    write(other, BEGUN, run_id=OTHER_ID, status="RUNNING")
    said = flowledger("projector", "--once")
    # Then
    assert said.code == 0
    assert [row["run_id"] for row in runs(other)] == [OTHER_ID]
    other.close()


@pytest.mark.usefixtures("store")
def test_a_damaged_file_of_views_may_be_deleted(flowledger: Command) -> None:
    Path("flowledger.db-views").write_bytes(b"no database " * 1000)
    said = flowledger("projector", "--once")
    assert said.code == 5
    assert "may be deleted" in said.err
    Path("flowledger.db-views").unlink()
    assert flowledger("projector", "--once").code == 0
