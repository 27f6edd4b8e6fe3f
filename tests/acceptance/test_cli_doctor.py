"""`doctor` and `config show`: what keeps runs from going on, and what is set (API §3, §6; rule H2)."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from flowledger import App, Flow, linear
from flowledger.adapters.stores import open_store
from flowledger.adapters.stores.sqlite import SqliteStore
from flowledger.events.store import START, Append, Appended, Hidden, NewStream, Owner
from tests.acceptance.command_line import Command, Said, flowledger
from tests.unit.build_log import BEGUN
from tests.unit.written_log import RUN_ID, START_US, rows

__all__ = ["flowledger"]

OTHER_ID = "01J0000000000000000000000B"


def found(said: Said) -> dict[str, list[dict[str, Any]]]:
    """What a `doctor --json` found, by what it is about."""
    by: dict[str, list[dict[str, Any]]] = {}
    for each in said.json["items"]:
        by.setdefault(each["about"], []).append(each)
    return by


def wait(run_id: str, *, queue: str | None = None, owner: str | None = None) -> None:
    """A run of the default log that has begun, and has not ended."""
    stream = NewStream(app="shop", factory="build", key=None, inputs_digest="", queue=queue, owner=owner)
    with closing(open_store("sqlite:///flowledger.db")) as store:
        if owner is not None:
            store.join(Owner(id=owner, host="here", pid=4711, app="shop"))
        (appended,) = store.append([Append(run_id=run_id, expected=0, epoch=0, events=rows(BEGUN, run_id),
                                           status="RUNNING", direction="FORWARD", create=stream)])  # fmt: skip
    assert isinstance(appended, Appended)


def test_where_there_is_no_log_yet_nothing_is_bad_and_none_is_made(flowledger: Command) -> None:
    said = flowledger("doctor")
    assert said.code == 0
    assert "there is no log in it yet" in said.out
    assert not Path("flowledger.db").exists()


def test_a_log_whose_runs_have_ended_is_good(flowledger: Command) -> None:
    # Given
    app = App("shop", database_url="sqlite:///flowledger.db")

    @app.task
    def pay() -> None: ...

    @app.flow
    def order() -> Flow[None]:
        return linear(pay)

    app.run(order())
    assert app.history.runs().items  # who reads views makes them
    app.close()
    # When
    said = flowledger("doctor", "--json")
    # Then
    assert (said.code, said.json["good"]) == (0, True)
    verdicts = {about: {each["verdict"] for each in several} for about, several in found(said).items()}
    assert verdicts == {
        "database": {"ok"}, "transactions": {"ok"}, "views": {"ok"}, "conductors": {"note"}, "jobs": {"ok"},
        "embedded runs": {"ok"}, "workers": {"ok"}, "seals": {"note"}, "broker": {"ok"},
    }  # fmt: skip


def test_b3_runs_that_nobody_serves_or_drives_are_named_with_what_to_do(flowledger: Command) -> None:
    # Given a job that no conductor takes, and a run whose process has gone without a word
    wait(RUN_ID, queue="builds")
    wait(OTHER_ID, owner="01J000000000000000000000OW")
    # When
    said = flowledger("doctor", "--json")
    # Then
    assert (said.code, said.json["good"]) == (4, False)
    (job,), (embedded,) = found(said)["jobs"], found(said)["embedded runs"]
    assert (job["verdict"], embedded["verdict"]) == ("bad", "bad")
    assert job["said"] == f"run {RUN_ID}: no live conductor takes shop/build from the queue builds"
    assert "flowledger conductor --queue builds" in job["hint"]
    assert embedded["said"].startswith(f"run {OTHER_ID}: the process that drove it is gone")
    assert embedded["hint"] == f"`flowledger resume {OTHER_ID}` goes on"
    plain = flowledger("doctor")
    assert plain.code == 4
    assert f"✘ BAD  jobs          run {RUN_ID}" in plain.out


def test_h2_who_holds_back_what_is_in_the_log_is_named(flowledger: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    # Given a transaction that somebody has left open, somewhere in the cluster
    wait(RUN_ID)
    by = "process 7 (nightly import) in the database books"
    monkeypatch.setattr(SqliteStore, "hidden", lambda _store: Hidden(START_US, START, by))
    # When
    said = flowledger("doctor", "--json")
    # Then
    (bad,) = found(said)["transactions"]
    assert (said.code, bad["verdict"], bad["said"].endswith(by)) == (4, "bad", True)


def test_a_database_of_a_newer_release_is_not_looked_into(flowledger: Command) -> None:
    # Given
    wait(RUN_ID)
    with closing(sqlite3.connect("flowledger.db", isolation_level=None)) as connection:
        connection.execute("PRAGMA user_version = 9999")
        connection.execute("UPDATE meta SET value = '9999' WHERE name LIKE '%version%'")
    # When
    said = flowledger("doctor")
    # Then it is refused as everywhere
    assert said.code == 5
    assert "FL605" in said.err


def test_a_broker_that_cannot_be_reached_is_bad(flowledger: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    # Given
    monkeypatch.setenv("FLOWLEDGER_BROKER_URL", "amqp://guest:hunter2@127.0.0.1:1//")
    # When
    said = flowledger("doctor", "--json")
    # Then
    (broker,) = found(said)["broker"]
    assert (said.code, broker["verdict"]) == (4, "bad")
    assert "cannot be reached" in broker["said"]
    assert "hunter2" not in said.out + said.err


def test_config_show_says_where_each_value_comes_from_and_shows_no_secret(
    flowledger: Command, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    # Given values from every place
    monkeypatch.setenv("FLOWLEDGER_BROKER_URL", "amqps://me:hunter/2@2@mq/vhost")
    monkeypatch.setenv("FLOWLEDGER_SIGNING_KEYS", "k1=hmac:hunter2")
    (tmp_path / "threads").write_text("3\n", encoding="utf-8")
    monkeypatch.setenv("FLOWLEDGER_THREADS_FILE", str(tmp_path / "threads"))
    (tmp_path / "pyproject.toml").write_text('[tool.flowledger]\napp = "shop.flows:app"\n', encoding="utf-8")
    url = "postgresql+psycopg://me:hunter2@db.example/orders?sslpassword=hunter2&sslmode=require"
    # When
    said = flowledger("config", "show", "--database-url", url)
    # Then
    assert said.code == 0
    shown = {name: (value, origin) for name, value, origin in said.table}
    assert shown["DATABASE_URL"] == (
        "postgresql+psycopg://me:…@db.example/orders?sslpassword=…&sslmode=require", "option"
    )  # fmt: skip
    assert shown["SIGNING_KEYS"] == ("(1 set, not shown)", "FLOWLEDGER_SIGNING_KEYS")
    assert shown["THREADS"] == ("3", "FLOWLEDGER_THREADS_FILE")
    assert shown["APP"] == ("shop.flows:app", "pyproject.toml")
    assert shown["STORE_OUTAGE_S"] == ("30.0", "default")
    assert "hunter" not in said.out + said.err
    # And as JSON
    document = flowledger("config", "show", "--json").json["settings"]
    assert document["threads"] == {"value": 3, "from": "FLOWLEDGER_THREADS_FILE"}
