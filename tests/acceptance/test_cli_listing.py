"""`ls QUERY`, `attempts`, `audit`: what the views answer, as an operator asks it."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from flowledger.adapters.stores import open_store
from flowledger.adapters.stores.views import views_of
from flowledger.events import facts
from flowledger.events.store import PlanRow, Store
from flowledger.projections.history import HISTORY
from flowledger.projections.history.records import run_record
from flowledger.projections.history.tables import RUNS
from flowledger.projections.selecting import Select
from tests.acceptance.command_line import Command, environment, flowledger
from tests.unit.build_log import BEGUN, DONE, FIRST, PAIR, SECOND, app, build
from tests.unit.written_log import RUN_ID, Story, failure, write

__all__ = ["flowledger"]

OTHER_ID = "01J0000000000000000000000B"
FAILED: Story = [
    *BEGUN,
    (SECOND, facts.TaskFailed(failure=failure(SECOND, message="bad \x1b[31mred\u202e"))),
    (PAIR, facts.RetryDecided(round=1, decision="REVERT", failures=(failure(SECOND),))),
    ("", facts.RunFailed(reason="stopped")),
    ("", facts.RequestRefused(request="r", kind="revert", why="not now\x1b[0m", reason="tidy\tup")),
]


@pytest.fixture
def store(flowledger: Command) -> Iterator[Store]:
    """The default log of the working directory, with one run that succeeded and a later one that failed."""
    store = open_store("sqlite:///flowledger.db")
    plan = PlanRow("f", app.plan(build()).document)
    write(store, [*BEGUN, *DONE], plan=plan)
    write(store, FAILED, run_id=OTHER_ID, status="FAILED", plan=plan)
    yield store
    store.close()


pytestmark = pytest.mark.usefixtures("store")


def ids(flowledger: Command, *argv: str) -> list[str]:
    said = flowledger("ls", *argv)
    assert said.code == 0, said.err
    return [row[2] for row in said.table]


def test_ls_answers_queries_quoted_or_not(flowledger: Command) -> None:
    assert ids(flowledger, "state:failed") == [OTHER_ID]
    assert ids(flowledger, "state:final -state:failed") == [RUN_ID]
    assert ids(flowledger, "state:final", "-state:failed") == [RUN_ID]
    assert ids(flowledger, "-hello", "flow:b*", "--limit", "1") == [OTHER_ID]
    assert ids(flowledger, "tag:team=a", 'error~"red"') == [OTHER_ID]
    assert ids(flowledger, "--state", "failed", "--flow", "build") == [OTHER_ID]
    assert ids(flowledger, "--since", "2h") == []
    assert ids(flowledger, "--since", "2023-11-14") == [OTHER_ID, RUN_ID]


def test_ls_says_what_failed_where(flowledger: Command) -> None:
    [[state, flow, run_id, key, started, took, tasks, failed_at, error]] = flowledger("ls", "state:failed").table
    assert (state, flow, run_id, key) == ("✘ FAILED", "build", OTHER_ID, "k")
    assert (started, took, tasks, failed_at) == ("2023-11-14 22:13:20Z", "0.7s", "1/3", SECOND)
    assert error == "QuotaError: bad \\x1b[31mred\\u202e"


@pytest.mark.parametrize("argv", [["sate:failed"], ["--limt", "5"], ["state:failed -"], ['error~"x'], ["--state", "x"]])
def test_ls_refuses_what_it_does_not_understand(flowledger: Command, argv: list[str]) -> None:
    said = flowledger("ls", *argv)
    assert said.code == 2
    assert "Traceback" not in said.err
    assert said.out == ""


def test_ls_goes_on_after_a_page(flowledger: Command) -> None:
    first = flowledger("ls", "--limit", "1", "--json").json
    assert [item["id"] for item in first["items"]] == [OTHER_ID] == [first["next"]]
    second = flowledger("ls", "--limit", "1", "--after", first["next"], "--json").json
    assert ([item["id"] for item in second["items"]], second["next"]) == ([RUN_ID], None)


def test_ls_reads_what_nobody_has_projected_yet_and_then_what_comes(flowledger: Command, store: Store) -> None:
    assert not Path("flowledger.db-views").exists()
    assert len(ids(flowledger)) == 2
    write(store, BEGUN, run_id="02J0000000000000000000000A", status="RUNNING")
    assert ids(flowledger, "state:running") == ["02J0000000000000000000000A"]


def test_attempts_lists_each_start(flowledger: Command) -> None:
    said = flowledger("attempts", OTHER_ID)
    assert said.code == 0
    assert [row[:5] for row in said.table] == [
        ["5", FIRST, "1", "1", "✔ SUCCEEDED"],
        ["7", SECOND, "1", "1", "✘ FAILED"],
    ]
    assert [row[1] for row in flowledger("attempts", OTHER_ID, "--failed").table] == [SECOND]
    assert [row[1] for row in flowledger("attempts", OTHER_ID, "--path", FIRST).table] == [FIRST]
    assert len(flowledger("attempts", OTHER_ID, "--limit", "1").table) == 1


def test_attempts_full_shows_results_and_tracebacks_from_the_log(flowledger: Command) -> None:
    told = flowledger("attempts", OTHER_ID, "--full")
    assert "result: 1" in told.out
    assert 'File "flows.py", line 7' in told.out
    items = flowledger("attempts", OTHER_ID, "--full", "--json").json["items"]
    assert items[0]["result"] == 1
    assert "flows.py" in items[1]["failure"]["traceback"]
    assert "result" not in flowledger("attempts", OTHER_ID, "--json").json["items"][0]


def test_audit_says_who_did_what_and_why(flowledger: Command) -> None:
    rows = flowledger("audit").table
    assert [(row[1], row[2], row[4]) for row in rows] == [
        ("me@here", "revert", OTHER_ID), ("me@here", "submit", OTHER_ID), ("me@here", "submit", RUN_ID),
    ]  # fmt: skip
    assert rows[0][6:] == ["tidy\\tup", "refused: not now\\x1b[0m"]
    assert len(flowledger("audit", RUN_ID).table) == 1
    assert flowledger("audit", "--actor", "nobody").table == []
    [act, *_] = flowledger("audit", "--json").json["items"]
    assert (act["what"], act["reason"], act["event"]) == ("revert", "tidy\tup", 11)


@pytest.mark.parametrize("verb", [["ls"], ["attempts", OTHER_ID], ["attempts", OTHER_ID, "--full"], ["audit"]])
@pytest.mark.parametrize("how", [[], ["--json"]])
def test_rel_s5_nothing_harmful_reaches_the_terminal(flowledger: Command, verb: list[str], how: list[str]) -> None:
    said = flowledger(*verb, *how)
    assert said.code == 0
    assert "\x1b" not in said.out
    assert "\u202e" not in said.out


WORDS = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=30)


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(verb=st.sampled_from(["ls", "attempts", "audit", "why", "diff"]), words=st.lists(WORDS, max_size=3))
def test_rel_s5_whatever_is_typed_ends_without_a_traceback(flowledger: Command, verb: str, words: list[str]) -> None:
    said = flowledger(verb, *words)
    assert said.code in (0, 2, 3)
    assert "Traceback" not in said.err
    assert "\x1b" not in said.out + said.err


def test_why_says_what_happened_with_evidence(flowledger: Command) -> None:
    said = flowledger("why", OTHER_ID)
    assert said.code == 0
    assert "it failed, and what it had done is still there (on_failure is stop)  [10]" in said.out
    assert f"{SECOND} failed: QuotaError: bad \\x1b[31mred\\u202e  [8]" in said.out
    assert "Times of build/pairs/pair gave up" in said.out
    [first, *_] = flowledger("why", OTHER_ID, "--json").json["reasons"]
    assert (first["events"], first["depth"]) == ([10], 0)


def test_diff_compares_two_runs_and_ends_with_1_where_they_differ(flowledger: Command) -> None:
    said = flowledger("diff", RUN_ID, OTHER_ID)
    assert said.code == 1
    assert f"they part first at {SECOND}" in said.out
    assert "A [8] TaskSucceeded" in said.out
    document = flowledger("diff", RUN_ID, OTHER_ID, "--json").json
    assert document["divergence"]["b"]["type"] == "TaskFailed"
    same = flowledger("diff", RUN_ID, RUN_ID)
    assert (same.code, "they did the same" in same.out) == (0, True)
    assert flowledger("diff", RUN_ID, "nobody").code == 3


def test_h4_show_goes_back_in_time(flowledger: Command) -> None:
    said = flowledger("show", RUN_ID, "--at", "2023-11-14T22:13:20.75Z")
    assert "as of event 7" in said.out
    assert "--at 6 is one event before; --at 8 one after" in said.err
    nodes = flowledger("show", RUN_ID, "--at", "7", "--json").json["nodes"]
    assert {node["path"]: node["state"] for node in nodes}[SECOND] == "RUNNING"
    assert flowledger("show", RUN_ID, "--at", "1h", "--json").json["state"] == "SUCCEEDED"
    for wrong in ("12", "0", "-1", "yesterday", "2020-01-01"):
        assert flowledger("show", RUN_ID, "--at", wrong).code == 2


def test_h4_show_lists_the_symbols_that_were_known(flowledger: Command) -> None:
    assert flowledger("show", RUN_ID, "--at", "6", "--symbols").table == [[f"result of {FIRST}", FIRST, "6", "1"]]
    items = flowledger("show", RUN_ID, "--symbols", "--json").json["items"]
    assert [(item["event"], item["value"]) for item in items] == [(6, 1), (8, 2), (10, 3)]


def test_json_is_one_document_that_names_its_schema(flowledger: Command) -> None:
    for argv in (["ls"], ["attempts", RUN_ID], ["audit"]):
        document = json.loads(flowledger(*argv, "--json").out)
        assert document["schema"] == 1


def test_a_record_is_made_of_every_column(store: Store, flowledger: Command) -> None:
    flowledger("ls")
    with closing(views_of(store)) as views:
        [row, *_] = views.select(HISTORY.name, Select(RUNS))
    assert run_record(row).tags == {"team": "a"}


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_writes_what_a_shell_needs(flowledger: Command, shell: str) -> None:
    said = flowledger("completion", shell)
    assert said.code == 0
    assert "_FLOWLEDGER_COMPLETE" in said.out
    assert flowledger("completion", "tcsh").code == 2


def test_bash_completes_verbs(tmp_path: Path) -> None:
    environment_ = environment(_FLOWLEDGER_COMPLETE="complete_bash", COMP_WORDS="flowledger proj", COMP_CWORD="1")
    program = "from flowledger.adapters.cli import main; import sys; sys.argv = ['flowledger']; main()"
    done = subprocess.run(
        [sys.executable, "-c", program], env=environment_, cwd=tmp_path, capture_output=True, text=True, check=False,
        timeout=60,
    )  # fmt: skip
    assert {"projections", "projector"} <= set(done.stdout.split())
