"""Bodies in processes of their own (rules B6, C6, C7, D1)."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from pydantic import SecretStr

from flowledger import App, Flow, RunReverted, linear
from flowledger.events import facts
from flowledger.events.errors import NotImportable
from tests.acceptance import named_shop as shop
from tests.acceptance.logs import events, log_of

pytestmark = pytest.mark.slow


@pytest.fixture
def said(tmp_path: Path) -> str:
    return str(tmp_path / "said")


@pytest.fixture
def app() -> Iterator[App]:
    yield shop.app
    shop.app.close()


def test_b6_a_body_runs_in_another_process_with_resources_of_its_own(app: App, said: str) -> None:
    # When
    run = app.run(shop.send(3, said), executor="processes")
    # Then
    assert run.result == "express 4"
    parcel = run.results["send/pack"]
    assert isinstance(parcel, shop.Parcel)
    assert parcel.made_in != os.getpid()


def test_b6_a_revert_runs_there_too_with_what_its_execute_had_and_made(app: App, said: str) -> None:
    # When
    run = app.run(shop.send_back(3, said), executor="processes", check=False)
    # Then
    assert run.state == "REVERTED"
    verb, size, *message, pid = Path(said).read_text().split()
    assert (verb, size, " ".join(message)) == ("unpack", "4", "nobody home")
    assert int(pid) != os.getpid()


def test_b6_a_run_may_say_so_for_all_its_sync_bodies(app: App, said: str) -> None:
    with pytest.raises(RunReverted, match="nobody home"):
        app.run(shop.refuse.bind(said), executor="processes")


def test_c6_a_process_that_dies_costs_its_own_attempt_only(app: App, said: str) -> None:
    # When a body ends its process once, beside another
    run = app.run(shop.dies_beside(said), executor="processes")
    # Then
    log = log_of(app, run)
    assert [event.cause for event in events(log, facts.TaskInterrupted)] == ["its process ended with -9"]
    assert len(list(events(log, facts.TaskStarted, "dies"))) == 2
    assert len(list(events(log, facts.TaskStarted, "pack"))) == 1


def test_c6_the_third_death_in_one_try_parks_the_atom(app: App, said: str) -> None:
    # When
    run = app.run(shop.dies.bind(99, said), executor="processes", check=False)
    # Then
    assert run.failures[0].kind == "poison"
    assert len(Path(said).read_text().splitlines()) == 3


def test_c7_a_body_whose_time_is_over_is_killed(app: App, said: str) -> None:
    # When
    run = app.run(shop.oversleeps.bind(said), executor="processes", check=False)
    # Then
    assert run.failures[0].kind == "timeout"
    with pytest.raises(ProcessLookupError):
        os.kill(int(Path(said).read_text()), 0)


def test_d1_a_body_is_told_that_its_scope_fails(app: App, said: str) -> None:
    # When
    run = app.run(shop.sides(said, "processes"), check=False)
    # Then
    assert run.state == "REVERTED"
    assert Path(said).read_text() == "saw it"


def test_b6_an_app_that_nobody_else_could_import_is_refused_with_what_to_do() -> None:
    # Given
    hidden = App("hidden", database_url="memory://")

    @hidden.task(executor="processes")
    def work() -> None: ...

    @hidden.flow
    def only() -> Flow[None]:
        return linear(work)

    # When / Then
    with pytest.raises(NotImportable, match="hidden"):
        hidden.run(only())
    assert list(hidden.runs()) == []
    hidden.close()


@pytest.mark.parametrize("how", ["raise", "return"])
def test_rel_s10_secrets_cross_to_the_other_process_and_not_into_the_log(app: App, said: str, how: str) -> None:
    # Given a body that lets out what it was given, at the place where a message is cut
    login = shop.Login(user="ann", password=SecretStr("hunter2-hunter2"))
    # When
    run = app.run(shop.enter_and_tell(login, how, said), executor="processes", check=False)
    # Then the revert has what execute had and made
    assert run.state == "REVERTED"
    assert Path(said).read_text() == "hunter2-hunter2: token of hunter2-hunter2"
    # And the log has nothing of it
    store = app.runtime.store
    log = b"".join(event.payload for event in store.read(run.id))
    assert b"hunter2" not in log
    assert b"token of" not in log
    assert run.failures[0].kind == ("result" if how == "return" else "error")


def test_b6_a_script_that_runs_when_it_is_imported_is_told_so_and_starts_no_child_of_a_child(tmp_path: Path) -> None:
    # Given a script without `if __name__ == "__main__":`
    script = tmp_path / "bare.py"
    script.write_text(
        "from flowledger import App\n"
        "app = App('bare', database_url='memory://')\n"
        "@app.task(read_only=True, executor='processes')\n"
        "def one() -> int:\n"
        "    return 1\n"
        "print(app.run(one.bind(), check=False).state)\n"
    )
    # When
    ended = subprocess.run([sys.executable, script], capture_output=True, text=True, timeout=90, check=False)
    # Then it comes to an end, and says what to do
    assert (ended.returncode, ended.stdout) == (0, "REVERTED\n"), ended.stderr
    assert "bare uses the app bare while another process imports it" in ended.stderr
    assert 'if __name__ == "__main__":' in ended.stderr
