"""`ls`, `show`, `events`: reading a log that somebody else has written, as an operator would at 3 a.m."""

from __future__ import annotations

import json
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from flowledger.adapters.stores import open_store
from flowledger.events import facts
from flowledger.events.store import PlanRow, Store
from tests.acceptance.command_line import Command, environment, flowledger, run
from tests.unit.build_log import BEGUN, DONE, FIRST, PAIR, SECOND, app, build
from tests.unit.written_log import RUN_ID, Story, failure, write

__all__ = ["flowledger"]

OTHER_ID = "01J0000000000000000000000B"
FAILED: Story = [
    *BEGUN,
    (SECOND, facts.TaskFailed(failure=failure(SECOND, message="bad \x1b[31mred\u202e"))),
    (PAIR, facts.RetryDecided(round=1, decision="REVERT", failures=(failure(SECOND),))),
    ("", facts.RunFailed(reason="stopped")),
]


@pytest.fixture
def store(flowledger: Command) -> Iterator[Store]:
    """The default log of the working directory, with one run that succeeded and a later one that failed."""
    store = open_store("sqlite:///flowledger.db")
    plan = PlanRow("f", app.plan(build()).document)
    write(store, [*BEGUN, *DONE], key="first", plan=plan)
    write(store, FAILED, run_id=OTHER_ID, key="second", status="FAILED", plan=plan)
    yield store
    store.close()


pytestmark = pytest.mark.usefixtures("store")


def test_ls_lists_the_newest_first_and_says_which_file_it_read(flowledger: Command) -> None:
    said = flowledger("ls")
    assert said.code == 0
    assert [row[:4] for row in said.table] == [
        ["✘ FAILED", "build", OTHER_ID, "k"],  # as the events say, whatever stands in the stream's row
        ["✔ SUCCEEDED", "build", RUN_ID, "k"],
    ]
    assert str(Path("flowledger.db").absolute()) in said.err


def test_ls_filters_by_state_flow_and_number(flowledger: Command) -> None:
    assert [row[2] for row in flowledger("ls", "--state", "failed").table] == [OTHER_ID]
    assert flowledger("ls", "--flow", "other").table == []
    assert [row[2] for row in flowledger("ls", "--limit", "1").table] == [OTHER_ID]
    said = flowledger("ls", "--state", "faild")
    assert said.code == 2
    assert "did you mean failed?" in said.err


def test_ls_as_json_is_one_document_with_a_schema(flowledger: Command) -> None:
    document = flowledger("ls", "--json").json
    assert (document["schema"], document["kind"]) == (1, "runs")
    assert [item["id"] for item in document["items"]] == [OTHER_ID, RUN_ID]


def test_without_a_log_nothing_is_listed_and_no_file_is_made(flowledger: Command) -> None:
    url = "sqlite:///elsewhere.db"
    said = flowledger("ls", "--database-url", url)
    assert (said.code, said.table) == (0, [])
    assert "elsewhere.db" in said.err
    assert flowledger("show", "@last", "--database-url", url).code == 3
    assert not Path("elsewhere.db").exists()


@pytest.mark.parametrize("reference", [RUN_ID, RUN_ID.lower(), "first"])
def test_a_run_is_found_by_id_or_key(flowledger: Command, reference: str) -> None:
    assert flowledger("show", reference, "--json").json["id"] == RUN_ID


def test_a_run_is_found_by_the_beginning_of_its_id_and_by_being_the_last(flowledger: Command, store: Store) -> None:
    write(store, BEGUN, run_id="02J0000000000000000000000A", key=None, status="RUNNING")
    assert flowledger("show", "02j", "--json").json["id"].startswith("02J")
    assert flowledger("show", "@last", "--json").json["id"].startswith("02J")


def test_a_beginning_that_several_have_names_them(flowledger: Command) -> None:
    said = flowledger("show", "01J")
    assert said.code == 2
    assert RUN_ID in said.err
    assert OTHER_ID in said.err


def test_what_is_not_there_exits_with_3_and_says_what_is(flowledger: Command) -> None:
    said = flowledger("show", "nothing")
    assert said.code == 3
    assert "FL401" in said.err
    assert RUN_ID in said.err
    assert "Traceback" not in said.err


def test_show_draws_the_tree_with_failures_and_their_place(flowledger: Command) -> None:
    said = flowledger("show", "second")
    assert "✘ FAILED" in said.out
    assert "first   0.1s" in said.out
    assert 'File "flows.py", line 7' in said.out
    assert "chain verified" in said.out


def test_nothing_harmful_reaches_the_terminal(flowledger: Command) -> None:
    for said in (
        flowledger("show", "second"),
        flowledger("events", "second"),
        flowledger("events", "second", "--json"),
    ):
        assert "\x1b" not in said.out
        assert "\u202e" not in said.out
        assert "[31mred" in said.out


def test_h4_show_as_of_a_version_is_exact(flowledger: Command) -> None:
    document = flowledger("show", "first", "--at", "6", "--json").json
    assert (document["state"], document["events"], document["progress"]) == ("RUNNING", 6, {"done": 1, "total": 3})
    assert flowledger("show", "first", "--at", "99").code == 2
    assert "as of event 6" in flowledger("show", "first", "--at", "6").out


def test_events_lists_what_happened_and_can_be_narrowed(flowledger: Command) -> None:
    rows = flowledger("events", "first").table
    assert [row[0] for row in rows] == [str(version) for version in range(1, len(rows) + 1)]
    assert [row[2] for row in flowledger("events", "first", "--type", "TaskStarted").table] == ["TaskStarted"] * 3
    assert {row[3] for row in flowledger("events", "first", "--path", PAIR).table} == {PAIR, FIRST, SECOND}
    said = flowledger("events", "first", "--type", "TaskStart")
    assert said.code == 2
    assert "TaskStarted" in said.err


def test_events_as_json_is_one_document_per_line(flowledger: Command) -> None:
    lines = [json.loads(line) for line in flowledger("events", "first", "--json").out.splitlines()]
    assert [line["version"] for line in lines] == list(range(1, 12))
    assert {(line["schema"], line["kind"]) for line in lines} == {(1, "event")}
    assert lines[4]["event"] == {"key": "a"}
    assert len(lines[0]["hash"]) == 64


def test_following_a_run_ends_when_it_has_ended(flowledger: Command) -> None:
    assert flowledger("events", "first", "-f").table[-1][2] == "RunSucceeded"
    assert "SUCCEEDED" in flowledger("show", "first", "-f").out


def test_a8_a_changed_byte_is_named_and_exits_with_6(flowledger: Command, store: Store) -> None:
    store.close()
    with closing(sqlite3.connect("flowledger.db")) as connection:  # as somebody who owns the file could
        for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'").fetchall():
            connection.execute(f"DROP TRIGGER {name}")
        connection.execute("UPDATE events SET payload = ? WHERE run_id = ? AND version = 6", (b'{"result":7}', RUN_ID))
        connection.commit()
    said = flowledger("events", "first")
    assert said.code == 6
    assert "event 6" in said.err
    assert [row[0] for row in said.table] == ["1", "2", "3", "4", "5"]  # what is intact is shown


def test_a_log_that_is_no_database_exits_with_5(flowledger: Command) -> None:
    Path("broken.db").write_text("this is no database, whatever its name says " * 50, encoding="utf-8")
    said = flowledger("ls", "--database-url", "sqlite:///broken.db")
    assert said.code == 5
    assert "broken.db" in said.err


def test_the_log_is_named_before_or_after_the_verb_or_by_the_environment(
    flowledger: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = f"sqlite:///{Path('flowledger.db').absolute()}"
    monkeypatch.setenv("FLOWLEDGER_DATABASE_URL", "sqlite:///nowhere.db")
    assert flowledger("ls").table == []
    assert len(flowledger("--database-url", url, "ls").table) == 2
    assert len(flowledger("ls", "--database-url", url).table) == 2
    monkeypatch.setenv("FLOWLEDGER_DATABASE_URL", url)
    assert len(flowledger("ls").table) == 2


def test_a_wrong_setting_exits_with_2_and_an_unknown_one_warns(
    flowledger: Command, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("FLOWLEDGER_THREADS", "many")
    said = flowledger("ls")
    assert said.code == 2
    assert "FLOWLEDGER_THREADS" in said.err
    said = run("ls", cwd=tmp_path, FLOWLEDGER_TREADS="3")
    assert said.code == 0
    assert "FLOWLEDGER_TREADS" in said.err
    assert "FLOWLEDGER_THREADS" in said.err


def test_reading_never_imports_the_app(tmp_path: Path) -> None:
    (tmp_path / "evil.py").write_text("raise SystemExit('imported')", encoding="utf-8")
    for verb in (["ls"], ["show", "first"], ["events", "first"]):
        said = run(*verb, cwd=tmp_path, FLOWLEDGER_APP="evil:app")
        assert said.code == 0, said.err


def test_a_reader_who_has_seen_enough_ends_it_quietly(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "flowledger", "events", "first"]
    process = subprocess.Popen(
        command, cwd=tmp_path, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    process.stdout.close()  # before it has written anything
    assert process.stderr is not None
    said = process.stderr.read()
    process.stderr.close()
    assert process.wait(timeout=30) == 0
    assert "Traceback" not in said
