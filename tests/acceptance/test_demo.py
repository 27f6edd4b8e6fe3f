"""The demo: provisioned, killed, resumed, undone, with real processes, as `make demo` does it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from examples.cluster.processes import servers_in
from flowledger.adapters.cli.hello import HELLO
from flowledger.adapters.history import History
from tests.acceptance.cluster_world import eventually
from tests.acceptance.command_line import CHECKOUT, Said, run, start

pytestmark = pytest.mark.timeout(180)


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Path]:
    """A directory for the demo; whatever a failed test leaves running in it is ended."""
    yield tmp_path / "demo"
    for process in servers_in(tmp_path / "demo"):
        os.kill(process.pid, signal.SIGKILL)


def demo(place: Path, *argv: str) -> Said:
    return run("demo", *argv, cwd=place.parent, CLUSTER_DIR=str(place), CI="1", timeout_s=120)


def url(place: Path) -> str:
    return f"sqlite:///{place / 'flowledger.db'}"


def test_the_demo_ends_in_something_to_do_and_leaves_the_cluster_up(place: Path) -> None:
    # When the demo is run
    said = demo(place)
    # Then it says what it came to, within a screen under the last line of the tree, and the cluster is up
    assert said.code == 0, said.err
    assert "5 nodes, 5 peers confirmed each by HTTP, node-3 took 3 tries" in said.out
    assert "chain verified" in said.out
    assert "try:" in said.out
    assert "\x1b" not in said.out
    assert len(servers_in(place)) == 5
    # And When it is run again, Then it shows what stands and starts nothing
    pids = [process.pid for process in servers_in(place)]
    again = demo(place)
    assert again.code == 0
    assert "there is a cluster already" in again.out
    assert [process.pid for process in servers_in(place)] == pids
    assert len(again.out.splitlines()) + len(again.err.splitlines()) < 24
    # And When it is cleaned, Then no process is left, nor the directory
    cleaned = demo(place, "--clean")
    assert cleaned.code == 0, cleaned.err
    assert "✔ no server process is left" in cleaned.out
    assert servers_in(place) == []
    assert not place.exists()


@pytest.mark.crash
def test_the_demo_is_killed_and_resumed_and_says_so(place: Path) -> None:
    # When the demo is killed half way and resumed
    said = demo(place, "--crash")
    # Then it says what the log held, what was kept, and that nothing is doubled
    assert said.code == 0, said.err
    assert "✘ kill -9" in said.out
    assert "↻ resumed at task" in said.out
    assert "5 nodes, 5 peers confirmed each by HTTP, node-3 took 3 tries" in said.out
    assert sorted(process.name for process in servers_in(place)) == [f"node-{n}" for n in range(1, 6)]
    # And When that is tried on a cluster that stands, Then it is taken down first
    again = demo(place, "--crash", "--json")
    assert again.code == 0, again.err
    assert again.json["state"] == "SUCCEEDED"
    assert len(again.json["resumptions"]) == 1
    assert len(servers_in(place)) == 5
    assert demo(place, "--clean").code == 0


@pytest.mark.crash
def test_clean_takes_down_what_a_killed_demo_has_left(place: Path) -> None:
    # Given a demo that was killed in the middle
    process = start("demo", cwd=place.parent, CLUSTER_DIR=str(place), CI="1")
    try:
        eventually(lambda: len(servers_in(place)) >= 2, within_s=60)
    finally:
        process.close()
    # When it is cleaned
    said = demo(place, "--clean")
    # Then nothing is left of it
    assert said.code == 0, said.err
    assert "was left behind" in said.err
    assert servers_in(place) == []
    assert not place.exists()


def test_clean_says_so_where_there_is_nothing(place: Path) -> None:
    said = demo(place, "--clean")
    assert said.code == 0
    assert "✔ no server process is left" in said.out
    assert not place.exists()


def test_clean_touches_nothing_that_is_not_the_demos(place: Path) -> None:
    place.mkdir()
    (place / "thesis.txt").write_text("mine", encoding="utf-8")
    assert demo(place, "--clean").code == 0
    assert (place / "thesis.txt").exists()


def test_processes_without_a_log_are_named_and_not_hidden(place: Path) -> None:
    home = place / "servers" / "node-9"
    home.mkdir(parents=True)
    program = CHECKOUT / "examples" / "cluster" / "server.py"
    server = subprocess.Popen(
        [sys.executable, str(program), "--dir", str(home), "--name", "node-9", "--id", "node-9-x", "--port", "0"]
    )
    try:
        eventually(lambda: len(servers_in(place)) == 1)
        said = demo(place, "--clean")
        assert said.code == 1
        assert f"node-9 (pid {server.pid})" in said.out
        assert home.exists()
    finally:
        server.kill()
        server.wait()


def test_after_a_revert_the_demo_starts_a_new_run(place: Path) -> None:
    assert demo(place).code == 0
    app = ("--app", "examples.cluster.flows:app", "--database-url", url(place))
    reverted = run("revert", "@last", "--reason", "done", *app, cwd=CHECKOUT, CLUSTER_DIR=str(place))
    assert reverted.code == 0, reverted.err
    assert servers_in(place) == []
    assert demo(place).code == 0
    with History.at(url(place)) as history:
        assert [stream.key for stream in history.runs()] == ["demo-2", "demo"]
    assert demo(place, "--clean").code == 0


def test_the_first_program_is_the_one_in_the_readme() -> None:
    assert HELLO in (CHECKOUT / "README.md").read_text(encoding="utf-8")
