"""`flowledger suspend|resume|cancel|resolve|signal`, also from another process (rules G1 to G4, F4; API §5)."""

from __future__ import annotations

import os
import signal as signals
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from flowledger.adapters.stores import open_store
from flowledger.events.store import Stream
from tests.nursery import Piped, nursery

from .asked import until
from .command_line import CHECKOUT, Command, Said
from .command_line import flowledger as flowledger  # noqa: PLC0414 - a fixture

APP = """
import os
from pathlib import Path
from flowledger import App, Flow, Hold, Signal, linear, sleep

app = App("far")
number = Signal("number", int)
done = Path(os.environ["DONE"])


def note(what: str) -> None:
    with done.open("a") as file:
        file.write(what + "\\n")


@app.task
def make() -> None:
    note("+make")


@make.revert
def unmake() -> None:
    note("-make")


@app.task(on_interrupt="hold")
def once() -> int:
    note("+once")
    if os.environ.get("DIE"):
        os.kill(os.getpid(), 9)
    return 1


@once.revert
def un_once(result: int | None) -> None:
    note(f"-once {result}")


@app.task(provides="took")
def takes(n: int) -> int:
    note(f"took {n}")
    return n


@app.flow
def waits() -> Flow[int]:
    value = number.wait()
    last = takes.bind(value)
    return linear(make, value, last, returns=last)


@app.flow
def held() -> Flow[int]:
    one = once.bind()
    last = takes.bind(one)
    return linear(make, one, last, returns=last)
"""


class Far:
    """An app in a folder of its own, a log, and processes that drive its runs."""

    def __init__(self, folder: Path, url: str) -> None:
        self.folder = folder
        self.url = url
        self.done = folder / "done"
        self.processes: list[Piped] = []
        self.store = open_store(url)
        (folder / "far.py").write_text(APP)

    def environment(self, **more: str) -> dict[str, str]:
        path = os.pathsep.join([str(CHECKOUT), str(self.folder)])
        return {
            **os.environ, "PYTHONPATH": path, "DONE": str(self.done), "FLOWLEDGER_DATABASE_URL": self.url,
            "FLOWLEDGER_APP": "far:app", "PYTHONUNBUFFERED": "1", **more,
        }  # fmt: skip

    def start(self, *arguments: str, **more: str) -> Piped:
        """A process that drives."""
        process = nursery().pipe(*arguments, "--plain", cwd=self.folder, environment=self.environment(**more))
        self.processes.append(process)
        return process

    def call(self, *arguments: str) -> Said:
        """A process that asks, and ends."""
        process = nursery().pipe(*arguments, cwd=self.folder, environment=self.environment())
        out, err = process.communicate(timeout=60)
        return Said(process.wait(), out, err)

    def stream(self) -> Stream | None:
        """The one run there is."""
        return next(iter(self.store.streams(limit=1)), None)

    def types(self) -> list[str]:
        """Its events."""
        stream = self.stream()
        return [] if stream is None else [e.type for e in self.store.read(stream.run_id)]

    def await_event(self, type_: str) -> None:
        until(lambda: type_ in self.types(), f"no {type_}")

    def what(self) -> list[str]:
        return self.done.read_text().splitlines() if self.done.exists() else []


@pytest.fixture(params=["sqlite", "postgres"])
def far(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Far]:
    urls: dict[str, Callable[[], Any]] = {
        "sqlite": lambda: f"sqlite:///{tmp_path}/far.db",
        "postgres": lambda: request.getfixturevalue("postgres_url"),
    }
    world = Far(tmp_path, str(urls[request.param]()))
    yield world
    for process in world.processes:
        process.close()
    world.store.close()


def test_g1_requests_are_answered_by_the_process_that_drives(far: Far) -> None:
    # Given
    driver = far.start("run", "waits", "--key", "k")
    far.await_event("TaskWaiting")
    # When a signal comes that does not fit, from elsewhere and without any app
    refused = far.call("signal", "k", "number", '"many"')
    # Then
    assert (refused.code, "valid integer" in refused.err) == (4, True)
    # When one does
    sent = far.call("signal", "k", "number", "7", "--json")
    assert sent.code == 0
    assert sent.json["accepted"]
    # Then the process that drives goes on
    _, err = driver.communicate(timeout=30)
    assert driver.returncode == 0, err
    assert far.what() == ["+make", "took 7"]


def test_g2_suspended_from_elsewhere_and_resumed_here(far: Far) -> None:
    # Given
    driver = far.start("run", "waits", "--key", "k")
    far.await_event("TaskWaiting")
    # When
    assert far.call("suspend", "k", "--reason", "a deployment").code == 0
    # Then
    driver.communicate(timeout=30)
    assert driver.returncode == 130
    # When a second one comes: nobody drives the run
    again = far.call("suspend", "k", "--reason", "again")
    assert (again.code, "SUSPENDED already" in again.err) == (4, True)
    # When it is resumed, and gets what it waits for
    other = far.start("resume", "k")
    far.await_event("RunResumed")
    assert far.call("signal", "k", "number", "3").code == 0
    other.communicate(timeout=30)
    assert other.returncode == 0


def test_g4_a_cancel_is_carried_out_by_who_asks_when_the_owner_is_killed(far: Far) -> None:
    # Given a run whose process is killed with a request in its inbox
    driver = far.start("run", "waits", "--key", "k")
    far.await_event("TaskWaiting")
    os.kill(driver.pid, signals.SIGSTOP)
    asked = far.start("cancel", "k", "--reason", "wrong", "--yes")
    until(lambda: (stream := far.stream()) is not None and stream.requests == 1)
    os.kill(driver.pid, signals.SIGKILL)
    # When / Then: whoever asked takes the run up
    _, err = asked.communicate(timeout=60)
    assert asked.returncode == 0, err
    stream = far.stream()
    assert stream is not None
    assert stream.status == "CANCELLED"
    assert far.what() == ["+make", "-make"]
    assert far.types().count("RequestAccepted") == 1


def test_g1_a_request_outlives_its_owner_and_its_sender(far: Far) -> None:
    # Given both are killed between request and answer
    driver = far.start("run", "waits", "--key", "k")
    far.await_event("TaskWaiting")
    os.kill(driver.pid, signals.SIGSTOP)
    asked = far.start("suspend", "k", "--reason", "wrong")
    until(lambda: (stream := far.stream()) is not None and stream.requests == 1)
    asked.kill()
    os.kill(driver.pid, signals.SIGKILL)
    # When the run is run again
    again = far.start("run", "waits", "--key", "k")
    again.communicate(timeout=60)
    # Then it is suspended, as was asked
    assert again.returncode == 130
    assert far.types()[-2:] == ["RequestAccepted", "RunSuspended"]


def test_g3_an_attempt_that_was_lost_is_held_until_somebody_says_what_became_of_it(far: Far) -> None:
    # Given a process that dies in the middle of a task that must not run twice unseen
    dead = far.start("run", "held", "--key", "k", DIE="1")
    dead.communicate(timeout=30)
    assert dead.returncode == -9
    # Then it is not said to run, and what goes on with it is
    for verb in ("why", "show"):
        assert "the process that drove it is gone" in far.call(verb, "k").out
    [_, ran, *_] = far.call("why", "k", "--json").json["reasons"]
    assert ran["text"] == "held/once ran when its process went"
    # When
    again = far.start("run", "held", "--key", "k")
    _, err = again.communicate(timeout=60)
    # Then
    assert again.returncode == 130, err
    assert far.what() == ["+make", "+once"]
    assert "resolve" in err.splitlines()[-1]
    assert "waits for a person to `resolve` it" in far.call("why", "k").out
    [once] = [line for line in far.call("show", "k").out.splitlines() if "! once" in line]
    assert "held" in once.split()
    refused = far.call("resume", "k")
    assert (refused.code, "held at held/once" in refused.err, "resolve" in refused.err) == (4, True, True)
    for words in (("resolve", "k", "held/make", "--as", "rerun"), ("suspend", "k")):
        not_so = far.call(*words, "--dry-run")
        assert (not_so.code, "refused" in not_so.err, not_so.out) == (4, True, "")
    not_so = far.call("resume", "k", "--dry-run")
    assert (not_so.code, "held at held/once" in not_so.err, "resolve" in not_so.err) == (4, True, True)
    dry = far.call("resolve", "k", "held/once", "--as", "succeeded=5", "--dry-run")
    assert (dry.code, "dry run" in dry.err) == (0, True)
    said = far.call("signal", "k", "number", "1", "--dry-run", "--json").json
    assert (said["kind"], said["request"], said["state"], said["driver"]) == ("would ask", "signal", "SUSPENDED", None)
    # When
    resolved = far.call("resolve", "k", "held/once", "--as", "succeeded=5", "--reason", "I looked")
    # Then
    assert resolved.code == 0, resolved.err
    assert far.what() == ["+make", "+once", "took 5"]


def test_g3_resolved_as_failed_it_is_undone(far: Far) -> None:
    # Given
    far.start("run", "held", "--key", "k", DIE="1").communicate(timeout=30)
    far.start("run", "held", "--key", "k").communicate(timeout=60)
    # When
    resolved = far.call("resolve", "k", "held/once", "--as", "failed", "--reason", "I looked")
    # Then
    assert resolved.code == 1
    assert far.what() == ["+make", "+once", "-once None", "-make"]


# -- what is refused ----------------------------------------------------------------------------


@pytest.fixture
def ended(flowledger: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Command:
    """A folder with a run that has ended."""
    (tmp_path / "far.py").write_text(APP)
    monkeypatch.setenv("DONE", str(tmp_path / "done"))
    monkeypatch.setenv("FLOWLEDGER_APP", "far:app")
    monkeypatch.delitem(sys.modules, "far", raising=False)
    assert flowledger("run", "held", "--key", "k").code == 0
    return flowledger


@pytest.mark.parametrize(
    "arguments",
    [
        ("suspend", "k", "--reason", "r"), ("cancel", "k", "--reason", "r"), ("signal", "k", "number", "1"),
        ("resolve", "k", "held/once", "--as", "rerun", "--reason", "r"),
    ],
    ids=lambda arguments: arguments[0],
)  # fmt: skip
def test_a_run_that_is_over_takes_no_requests(ended: Command, arguments: tuple[str, ...]) -> None:
    for how in ((), ("--dry-run",), ("--yes",)):  # and a dry run says so, too
        said = ended(*arguments, *how)
        assert (said.code, "SUCCEEDED" in said.err, "FL403" in said.err, "hint:" in said.err) == (4, True, True, True)


def test_what_is_not_said_right_is_usage(ended: Command) -> None:
    assert ended("suspend", "k").code == 2  # no reason
    assert ended("cancel", "k").code == 2
    assert ended("resolve", "k", "held/once", "--as", "gone", "--reason", "r").code == 2
    assert ended("signal", "nobody", "number", "1").code == 3


def test_a_dry_run_of_a_cancel_lists_what_would_be_undone(far: Far) -> None:
    # Given
    driver = far.start("run", "waits", "--key", "k")
    far.await_event("TaskWaiting")
    # When
    said = far.call("cancel", "k", "--dry-run")
    # Then
    assert said.code == 0, said.err
    assert "waits/make" in said.out
    stream = far.stream()
    assert stream is not None
    assert (stream.requests, driver.poll()) == (0, None)
