"""`rerun`, `fork` and `definitions` as a shell would call them."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.acceptance.command_line import Command, Said, flowledger

__all__ = ["flowledger"]


class Shell:
    """A working directory with a log, and the app of `workshop`."""

    def __init__(self, command: Command, place: Path, url: str, patch: pytest.MonkeyPatch) -> None:
        self.place = place
        self._command = command
        self._url = url
        self._patch = patch

    def __call__(self, *argv: object, code: str = "", app: str = "tests.acceptance.workshop:app") -> Said:
        """Say a command; ``code`` is what has been deployed."""
        self._patch.setenv("WORKSHOP_CODE", code)
        return self._command("--app", app, "--database-url", self._url, *argv)

    def breaks(self, *names: str) -> None:
        """From now on these parts fail."""
        (self.place / "broken").write_text(" ".join(names))

    def done(self) -> str:
        """What the bodies did since this was asked last."""
        file = self.place / "done"
        done = file.read_text().strip() if file.exists() else ""
        file.write_text("")
        return done

    def pauses(self) -> None:
        """From now on runs are suspended half-way."""
        (self.place / "pause").touch()

    def goes_on(self) -> None:
        """No more."""
        (self.place / "pause").unlink()


@pytest.fixture(params=["sqlite", "postgres"])
def shell(
    request: pytest.FixtureRequest, flowledger: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Shell:
    if request.param == "sqlite":
        return Shell(flowledger, tmp_path, f"sqlite:///{tmp_path}/log.db", monkeypatch)
    return Shell(flowledger, tmp_path, str(request.getfixturevalue("postgres_url")), monkeypatch)


@pytest.fixture
def sqlite_shell(flowledger: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Shell:
    return Shell(flowledger, tmp_path, f"sqlite:///{tmp_path}/log.db", monkeypatch)


def test_g5_rerun_from_the_shell(shell: Shell) -> None:
    # Given a run that stopped
    shell.breaks("glue")
    assert shell("run", "build", "--set", "table.legs=3").code == 1
    assert shell.done() == "saw turn glue"

    # When somebody looks at what a rerun would do
    dry = shell("rerun", "@last", "--dry-run")

    # Then it says so, and nothing happens
    assert dry.code == 0
    assert [line.split()[-1] for line in dry.out.splitlines()] == ["build/glue"]
    assert "would run 1 task, keep 3 results" in dry.err
    assert "no change made" in dry.err
    assert shell("rerun", "@last", "--dry-run", "--json").json["runs_again"] == ["build/glue"]
    assert shell.done() == ""

    # When nobody says why
    assert shell("rerun", "@last").code == 2

    # When it is mended, and run again
    shell.breaks()
    again = shell("rerun", "@last", "--reason", "new glue", "--json")

    # Then it goes through, and the log says why
    assert again.code == 0
    assert (again.json["state"], shell.done()) == ("SUCCEEDED", "glue")
    assert "rerun accepted: new glue" in shell("events", "@last").out

    # When it is run again from a part on
    dry = shell("rerun", "@last", "--from", "build/turn", "--dry-run")
    assert [line.split()[-1] for line in dry.out.splitlines()][:3] == ["build/glue", "build/rest", "build/turn"]
    assert shell("rerun", "@last", "--from", "build/turn", "--reason", "other legs").code == 0

    # Then what was after it is undone first
    assert shell.done() == "unglue unturn turn glue"
    assert shell("rerun", "@last", "--from", "build/leg", "--reason", "x").code == 2
    refused = shell("rerun", "@last", "--reason", "x")
    assert refused.code == 4
    assert "--from PATH" in refused.err


def test_g6_fork_from_the_shell(shell: Shell) -> None:
    # Given a run that succeeded
    made = shell("run", "build", "--set", "table.legs=3", "--json").json
    shell.done()

    # When somebody looks at what a fork with other legs would do
    dry = shell("fork", "@last", "--set", "table.legs=4", "--dry-run", "--json")

    # Then what depends on them is new, and nothing else
    assert dry.json["keeps"] == ["build/saw"]
    assert dry.json["runs_again"] == ["build/turn", "build/rest", "build/glue"]
    assert dry.json["reverts"] == []

    # When it is made
    forked = shell("fork", made["id"], "--set", "table.legs=4", "--reason", "it wobbles", "--json")

    # Then it is a run of its own, which says where it is from
    assert forked.code == 0, forked.err
    assert forked.json["id"] != made["id"]
    assert forked.json["forked_from"] == {"run": made["id"], "version": made["events"]}
    assert [node["inherited"] for node in forked.json["nodes"] if node["kind"] == "task"] == [True, False, False, False]
    assert shell.done() == "turn glue"
    assert "taken over" in shell("show", forked.json["id"]).out
    assert "forked from run" in shell("events", forked.json["id"]).out

    # When a part or a version is named, or nothing that is there
    assert shell("fork", made["id"], "--at", "build/glue", "--dry-run", "--json").json["runs_again"] == ["build/glue"]
    assert shell("fork", made["id"], "--at", "6", "--dry-run", "--json").json["keeps"] == ["build/saw"]
    assert shell("fork", made["id"], "--at", "build/nails", "--dry-run").code == 2
    assert shell("fork", made["id"], "--set", "tables=1", "--dry-run").code == 2
    assert shell("fork", made["id"]).code == 2


def test_g6_adoption_from_the_shell(shell: Shell) -> None:
    # Given a stopped run, and a fork that adopts what it did
    shell.breaks("glue")
    source = shell("run", "build", "--set", "table.legs=3", "--json").json["id"]
    shell.breaks()
    fork = shell("fork", source, "--adopt", "--reason", "goes on there", "--json").json
    shell.done()

    # When the source is to be undone
    refused = shell("revert", source, "--reason", "undo")

    # Then it says whose that is
    assert refused.code == 4
    assert fork["id"] in refused.err
    assert shell("show", source, "--json").json["adopted_by"] == fork["id"]
    assert shell("revert", fork["id"], "--reason", "undo", "--json").json["state"] == "REVERTED"
    assert shell.done() == "unglue unturn unsaw"


def test_e8_definitions_check_says_whether_live_runs_could_go_on(shell: Shell) -> None:
    # Given a run that waits, and one that has ended
    shell("run", "build", "--set", "table.legs=3")
    shell.pauses()
    waiting = shell("run", "build", "--set", "table.legs=3", "--json").json["id"]
    events = shell("events", waiting, "--json").out

    # When the code is the same
    same = shell("definitions", "check")
    assert (same.code, same.out.split()[3:]) == (0, ["same", "plan"])
    assert "1 run not ended; none could not go on" in same.err

    # When it has something more at its end
    more = shell("definitions", "check", "--json", code="more")
    (finding,) = more.json["items"]
    assert (more.code, finding["verdict"], finding["id"]) == (0, "accepted", waiting)
    assert "+ build/sign" in finding["lines"]

    # When it has lost a part that has run
    gone = shell("definitions", "check", code="gone")
    assert gone.code == 7
    assert "REFUSED FL404" in gone.out
    assert "- build/saw" in gone.out

    # Then nothing was written, and the run goes on under the code that it may
    assert shell("events", waiting, "--json").out == events
    shell.goes_on()
    assert shell("resume", waiting, code="gone").code == 4
    resumed = shell("resume", waiting, "--json", code="more")
    assert (resumed.code, resumed.json["state"]) == (0, "SUCCEEDED")
    assert "goes on under another plan" in shell("events", waiting).out
    assert shell("definitions", "check").err.splitlines()[-1].startswith("0 runs")


def test_definitions_ls_lists_what_can_be_run_and_how_much_of_it_is_live(shell: Shell) -> None:
    shell.pauses()
    shell("run", "build", "--set", "table.legs=3")

    listed = shell("definitions", "ls", "--json")

    rows = {row["name"]: row for row in listed.json["items"]}
    assert rows["build"] == {"name": "build", "kind": "flow", "inputs": {"table": "Table", "colour": "str"}, "live": 1}
    assert (rows["saw"]["kind"], rows["saw"]["live"]) == ("task", 0)
    assert "build\tflow\ttable: Table, colour: str\t1" in shell("definitions", "ls").out


def test_definitions_check_finds_a_factory_that_is_not_pure(sqlite_shell: Shell) -> None:
    # Given a suspended run of a factory that looks at a clock
    (sqlite_shell.place / "impure_app.py").write_text(_IMPURE)
    suspended = sqlite_shell("run", "line", app="impure_app:app")
    assert suspended.code == 130, suspended.err

    # When the definitions are checked
    checked = sqlite_shell("definitions", "check", app="impure_app:app")

    # Then that is said, before the run cannot be resumed
    assert checked.code == 7
    assert "FL113" in checked.out


def test_definitions_check_says_that_a_flow_is_gone(sqlite_shell: Shell) -> None:
    # Given a suspended run of a flow that today's code has not
    (sqlite_shell.place / "before_app.py").write_text(_IMPURE)
    (sqlite_shell.place / "after_app.py").write_text(_IMPURE.replace("def line", "def other"))
    sqlite_shell("run", "line", app="before_app:app")

    # When the definitions are checked and listed
    checked = sqlite_shell("definitions", "check", "--json", app="after_app:app")
    listed = sqlite_shell("definitions", "ls", app="after_app:app")

    # Then both say so
    assert checked.code == 7
    assert [item["code"] for item in checked.json["items"]] == ["FL114"]
    assert "line\tnot in this code\t\t1" in listed.out


_IMPURE = """
import itertools

from flowledger import App, Flow, TaskContext, linear

app = App("impure")
calls = itertools.count()


@app.task(read_only=True)
def pause(ctx: TaskContext) -> None:
    app.suspend_run(ctx.run_id, reason="test")


@app.task(read_only=True)
def step() -> None: ...


@app.flow
def line() -> Flow[None]:
    return linear(pause, step.bind().named(f"step-{next(calls)}"))
"""
