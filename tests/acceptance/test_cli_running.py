"""`plan`, `run`, `resume`, `revert`: driving an app's flows from a shell."""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.acceptance.cluster_world import eventually
from tests.acceptance.command_line import Command, environment, flowledger, start
from tests.nursery import Piped

__all__ = ["flowledger"]

APP = ("--app", "shop_app:app")
ORDER = ("--set", "order.item=tea")


@pytest.fixture(autouse=True)
def _shop(tmp_path: Path) -> None:
    shutil.copy(Path(__file__).with_name("shop.py"), tmp_path / "shop_app.py")


# -- plan ---------------------------------------------------------------------------------------


def test_plan_shows_what_would_be_done_and_writes_nothing(flowledger: Command, tmp_path: Path) -> None:
    said = flowledger("plan", "buy", *APP, *ORDER)
    assert said.code == 0
    assert "reserve" in said.out
    assert "2 tasks, 1 without revert:" in said.out
    assert said.out.rstrip().endswith("buy/pay")
    assert not (tmp_path / "flowledger.db").exists()
    document = flowledger("plan", "buy", *APP, *ORDER, "--json").json
    assert (document["schema"], document["flow"], document["without_revert"]) == (1, "buy", ["buy/pay"])


def test_plan_without_inputs_says_which_it_needs(flowledger: Command, tmp_path: Path) -> None:
    said = flowledger("plan", "slow", *APP)
    assert said.code == 2
    assert "order (Order), file (str)" in said.err
    assert "Traceback" not in said.err


def test_help_of_a_flow_lists_its_inputs_with_types(flowledger: Command, tmp_path: Path) -> None:
    said = flowledger("run", "buy", "--help", *APP)
    assert said.code == 0
    assert "order.item    string" in said.out
    assert "order.number  integer  [default: 1]" in said.out


def test_a_factory_that_is_not_pure_is_found_out(flowledger: Command, tmp_path: Path) -> None:
    said = flowledger("plan", "impure", *APP, *ORDER)
    assert said.code == 2
    assert "FL113" in said.err


# -- finding the app ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("argv", "environment", "project"),
    [
        (["--app", "shop_app:app"], {}, ""),
        (["--app", "shop_app"], {}, ""),
        ([], {"FLOWLEDGER_APP": "shop_app:app"}, ""),
        ([], {}, '[tool.flowledger]\napp = "shop_app:app"\n'),
    ],
)
def test_the_app_is_found(
    flowledger: Command,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    argv: list[str],
    environment: dict[str, str],
    project: str,
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    (tmp_path / "pyproject.toml").write_text(project, encoding="utf-8")
    assert flowledger("plan", "buy", *ORDER, *argv).code == 0


@pytest.mark.parametrize("spec", [None, "nowhere:app", "shop_app:nothing", "shop_app:Order", "broken:app"])
def test_an_app_that_is_not_there_says_how_to_name_one(flowledger: Command, tmp_path: Path, spec: str | None) -> None:
    (tmp_path / "broken.py").write_text("1 / 0", encoding="utf-8")
    said = flowledger("plan", "buy", *(["--app", spec] if spec else []))
    assert said.code == 2
    assert "FL111" in said.err
    assert "hint:" in said.err
    assert "Traceback" not in said.err


def test_an_unknown_flow_names_the_near_one(flowledger: Command, tmp_path: Path) -> None:
    said = flowledger("run", "by", *APP)
    assert said.code == 2
    assert "did you mean buy?" in said.err


# -- run ----------------------------------------------------------------------------------------


def test_run_tells_what_happens_line_by_line_and_ends_with_the_result(flowledger: Command, tmp_path: Path) -> None:
    said = flowledger("run", "buy", *APP, *ORDER, "--tag", "team=a")
    assert said.code == 0
    assert "reserve  started" in said.out
    assert "✔ SUCCEEDED  2 tasks" in said.out
    assert '"paid 1 tea"' in said.out
    assert "flowledger.db" in said.err
    assert flowledger("ls", "--json").json["items"][0]["tags"] == {"team": "a"}


def test_run_as_json_is_one_document(flowledger: Command, tmp_path: Path) -> None:
    (tmp_path / "in.yaml").write_text("order: {item: tea, number: 3}\n", encoding="utf-8")
    document = flowledger("run", "buy", *APP, "--input", "in.yaml", "--json").json
    assert (document["schema"], document["state"], document["result"]) == (1, "SUCCEEDED", "paid 3 tea")


def test_a_run_that_does_not_succeed_exits_with_1_and_says_why(flowledger: Command, tmp_path: Path) -> None:
    said = flowledger("run", "buy", *APP, "--set", "order.item=nothing")
    assert said.code == 1
    assert "↺ REVERTED" in said.out
    assert "ValueError: there is no such thing" in said.out
    assert (tmp_path / "given_back").exists()


@pytest.mark.parametrize(
    ("inputs", "says"),
    [
        (["--set", "order.item=tea", "--set", "order.number=many"], "order.number"),
        (["--set", "order=5"], "order"),
        ([*ORDER, "--set", "oder=5"], "order"),
    ],
)
def test_a_wrong_input_says_which_and_writes_nothing(
    flowledger: Command, tmp_path: Path, inputs: list[str], says: str
) -> None:
    said = flowledger("run", "buy", *APP, *inputs)
    assert said.code == 2
    assert says in said.err
    assert "Traceback" not in said.err
    assert not (tmp_path / "flowledger.db").exists()


def test_g8_the_same_key_runs_nothing_twice_and_other_inputs_are_refused(flowledger: Command, tmp_path: Path) -> None:
    first = flowledger("run", "buy", *APP, *ORDER, "--key", "k", "--json").json
    again = flowledger("run", "buy", *APP, *ORDER, "--key", "k", "--json")
    assert (again.json["id"], again.json["events"]) == (first["id"], first["events"])
    assert "nothing is run" in again.err
    other = flowledger("run", "buy", *APP, "--set", "order.item=salt", "--key", "k")
    assert other.code == 4
    assert "FL405" in other.err


# -- ^C -----------------------------------------------------------------------------------------


@contextmanager
def waiting(cwd: Path, *argv: str) -> Iterator[Piped]:
    """A run in whose middle a task waits for a file."""
    process = start("run", "slow", *APP, *ORDER, "--set", "file=go", "--key", "k", *argv, cwd=cwd)
    try:
        eventually((cwd / "go.started").exists, within_s=60)
        yield process
    finally:
        process.close()


def test_b5_the_first_interrupt_suspends_and_the_run_can_be_resumed(flowledger: Command, tmp_path: Path) -> None:
    # Given a run in the middle of a task
    with waiting(tmp_path) as process:
        # When ^C is pressed and the task comes to its end
        process.send_signal(signal.SIGINT)
        assert "suspending" in process.stderr.readline()
        eventually(lambda: flowledger("show", "k", "--json").json["state"] == "SUSPENDING", within_s=60)
        (tmp_path / "go").touch()
        out, err = process.communicate(timeout=30)
    # Then it is suspended, and says how to go on
    assert process.returncode == 130
    assert "SUSPENDED" in out
    assert "resume" in err
    assert flowledger("show", "k", "--json").json["state"] == "SUSPENDED"
    # And When it is resumed, Then it goes on where it was
    said = flowledger("resume", "k", *APP)
    assert said.code == 0, said.err
    assert "SUCCEEDED" in said.out
    assert "reserve  started" not in said.out


def test_b5_the_second_interrupt_exits_at_once_and_writes_nothing(flowledger: Command, tmp_path: Path) -> None:
    with waiting(tmp_path) as process:
        process.send_signal(signal.SIGINT)
        process.stderr.readline()
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=30) == 130
        assert "the run is not lost" in process.stderr.read()
    document = flowledger("show", "k", "--json").json
    assert document["state"] in ("RUNNING", "SUSPENDING")
    # And the run goes on when it is asked to
    (tmp_path / "go").touch()
    said = flowledger("resume", "k", *APP, "--json")
    assert (said.code, said.json["state"]) == (0, "SUCCEEDED")


def test_a_killed_run_is_resumed_by_hand(flowledger: Command, tmp_path: Path) -> None:
    with waiting(tmp_path) as process:
        process.kill()
        process.wait(timeout=30)
    (tmp_path / "go").touch()
    said = flowledger("resume", "k", *APP)
    assert said.code == 0
    assert "↻ resumed at task 2 of 3: 1 result kept, wait_for cut off" in said.out


def test_b1_a_run_that_somebody_drives_is_not_taken_away(flowledger: Command, tmp_path: Path) -> None:
    with waiting(tmp_path):
        said = flowledger("resume", "k", *APP)
        assert said.code == 4
        assert "FL407" in said.err


# -- revert -------------------------------------------------------------------------------------


@pytest.fixture
def bought(flowledger: Command) -> Command:
    """A run that has succeeded, key k."""
    assert flowledger("run", "buy", *APP, *ORDER, "--key", "k").code == 0
    return flowledger


def test_a_dry_run_lists_what_would_be_undone_in_order_and_changes_nothing(bought: Command) -> None:
    said = bought("revert", "k", *APP, "--dry-run")
    assert said.code == 0
    assert [line.split()[1] for line in said.out.splitlines()] == ["buy/pay", "buy/reserve"]
    assert "no change made" in said.err
    assert bought("show", "k", "--json").json["state"] == "SUCCEEDED"


def test_a_revert_without_a_reason_is_refused(bought: Command) -> None:
    said = bought("revert", "k", *APP, "--yes")
    assert said.code == 2
    assert "--reason" in said.err
    assert bought("show", "k", "--json").json["state"] == "SUCCEEDED"


def test_g5_a_revert_undoes_what_stands_and_its_reason_is_kept(bought: Command) -> None:
    said = bought("revert", "k", *APP, "--reason", "changed my mind")
    assert (said.code, Path("given_back").read_text(encoding="utf-8")) == (0, "tea")
    assert "↺ REVERTED" in said.out
    assert "changed my mind" in bought("events", "k", "--type", "RequestAccepted").out
    again = bought("revert", "k", *APP, "--reason", "twice")
    assert again.code == 4
    assert "FL402" in again.err


def test_one_run_that_is_refused_does_not_keep_the_others_from_it(bought: Command) -> None:
    bought("run", "buy", *APP, *ORDER, "--key", "two")
    bought("revert", "k", *APP, "--reason", "x")
    said = bought("revert", "k", "two", *APP, "--reason", "x")
    assert said.code == 4
    assert bought("show", "two", "--json").json["state"] == "REVERTED"


def test_resuming_what_has_ended_says_so(bought: Command) -> None:
    said = bought("resume", "k", *APP)
    assert said.code == 0
    assert "nothing to resume" in said.err


def test_nothing_is_touched_unless_all_runs_are_found(bought: Command) -> None:
    assert bought("revert", "k", "nothing", *APP, "--reason", "x").code == 3
    assert bought("show", "k", "--json").json["state"] == "SUCCEEDED"


def test_a_program_written_by_demo_runs(flowledger: Command) -> None:
    assert flowledger("demo", "--write", "hello.py").code == 0
    done = subprocess.run(
        [sys.executable, "hello.py"], env=environment(), capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout == "HELLO, WORLD!\n"
    assert flowledger("show", "@last", "--json").json["key"] == "first"
    assert flowledger("demo", "--write", "hello.py").code == 2
