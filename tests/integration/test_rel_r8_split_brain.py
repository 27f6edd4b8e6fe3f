"""RELIABILITY R8: an owner that is stopped past its lease, and goes on when another has finished its run.

Pairs of processes play round after round: one drives a run and is stopped, the other takes it up, then the first goes
on; in the next round they change places. `FLOWLEDGER_TEST_R8_ROUNDS=3000` makes them as many on each store.
"""

from __future__ import annotations

import os
import random
import select
import signal
import sqlite3
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from pathlib import Path
from threading import Timer
from time import monotonic, sleep

import pytest

from flowledger import App, Flow, linear
from flowledger.adapters import loading
from flowledger.core.replay import check, check_complete
from flowledger.events import facts
from flowledger.events.store import Store
from tests.postgres_server import die_with_parent

ROUNDS = int(os.environ.get("FLOWLEDGER_TEST_R8_ROUNDS", "30"))
PAIRS = 3
STEPS = 4
STEP_S = 0.1
WAIT_S = 40.0
LEASE = {
    "FLOWLEDGER_LEASE_HEARTBEAT_S": "0.05", "FLOWLEDGER_LEASE_FENCE_S": "0.2", "FLOWLEDGER_LEASE_TAKEOVER_S": "0.4",
}  # fmt: skip
ROOT = Path(__file__).parents[2]

pytestmark = [pytest.mark.crash, pytest.mark.timeout(120 + 10 * ROUNDS)]

app = App("split")


@app.task(read_only=True, losses=1000)  # on a busy machine an owner is too slow for so short a lease again and again
def step(n: int, trace: str) -> int:
    """Says that it runs, and waits for a moment in which it may be stopped."""
    with Path(trace).open("a") as file:
        file.write(f"{os.getpid()} {n}\n")
    sleep(STEP_S)  # the body's own work, not a wait for something
    return n


@app.flow
def steps(trace: str) -> Flow[None]:
    return linear(*[step.bind(n, trace) for n in range(STEPS)])


# -- a process ----------------------------------------------------------------------------------


def main(url: str) -> None:
    """Run, or take up, the run of each line, which is its trace and its key; say how each ended."""
    app.use(database_url=url)
    for line in sys.stdin:
        trace, key = line.split()
        print(driven(trace, key), flush=True)


def driven(trace: str, key: str) -> str:
    """The state the run ended in here, or why it did not."""
    from flowledger import Fenced, RunOwned  # noqa: PLC0415 - only the child needs them

    until = monotonic() + WAIT_S
    while monotonic() < until:
        try:
            run = app.run(steps(trace), key=key, check=False)
            return run.state if run.state == "SUCCEEDED" else f"{run.state}: {run.failures}"
        except Fenced:
            return "fenced"
        except RunOwned:
            sleep(0.02)
    return "owned by another"


class Process:
    """One that drives the runs it is told."""

    def __init__(self, url: str) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.integration.test_rel_r8_split_brain", url], cwd=ROOT,
            env={**os.environ, **LEASE}, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
            preexec_fn=die_with_parent,  # noqa: PLW1509 - it calls nothing that could wait
        )  # fmt: skip

    def drive(self, trace: Path, key: str) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(f"{trace} {key}\n")
        self._process.stdin.flush()

    @property
    def has_ended(self) -> bool:
        """Whether it has said how the run ended that it was told."""
        assert self._process.stdout is not None
        return bool(select.select([self._process.stdout], [], [], 0)[0])

    def ended(self) -> str:
        """How the run that it was told ended."""
        assert self._process.stdout is not None
        too_late = Timer(WAIT_S + 20, self._process.kill)
        too_late.start()
        try:
            return self._process.stdout.readline().strip()
        finally:
            too_late.cancel()

    def stop(self, url: str) -> None:
        """SIGSTOP, but not while it has the lock of a file: nobody can write then until it goes on, or is killed."""
        self._stop()
        while is_locked(url):
            self.go_on()
            sleep(0.003)
            self._stop()

    def _stop(self) -> None:
        """Until it stands still: what it is about when the signal is sent, it still does."""
        self._process.send_signal(signal.SIGSTOP)
        os.waitid(os.P_PID, self._process.pid, os.WSTOPPED)

    def go_on(self) -> None:
        self._process.send_signal(signal.SIGCONT)

    def close(self) -> None:
        self._process.kill()
        self._process.communicate()


@contextmanager
def pair(url: str) -> Iterator[tuple[Process, Process]]:
    both = Process(url), Process(url)
    try:
        yield both
    finally:
        for process in both:
            process.close()


def is_locked(url: str) -> bool:
    if not url.startswith("sqlite:///"):
        return False
    with closing(sqlite3.connect(url.removeprefix("sqlite:///"), timeout=0.1, isolation_level=None)) as connection:
        try:
            connection.execute("BEGIN IMMEDIATE")
        except sqlite3.OperationalError:
            return True
        connection.execute("ROLLBACK")
    return False


# -- the rounds ---------------------------------------------------------------------------------


def until(condition: Callable[[], bool]) -> None:
    deadline = monotonic() + WAIT_S
    while not condition():
        assert monotonic() < deadline
        sleep(0.005)


def lines(trace: Path) -> list[str]:
    return trace.read_text().splitlines() if trace.exists() else []


def split(url: str, first: Process, second: Process, trace: Path, dice: random.Random) -> str:
    """Stop the owner in one of its steps, let another finish, let the first go on: how the first ended.

    "" if it ended before it was stopped: on a busy machine no heartbeat may have succeeded in time, or it was late.
    """
    first.drive(trace, trace.name)
    stop_after = dice.randrange(STEPS)
    until(lambda: len(lines(trace)) > stop_after or first.has_ended)
    if stop_after < STEPS - 1:
        sleep(dice.uniform(0, 1.5 * STEP_S))  # so that it is met in the body, and in what comes between two
    first.stop(url)
    was_under_way = not first.has_ended
    try:
        finish(second, trace)
    finally:
        first.go_on()
    end = first.ended()
    return end if was_under_way else ""


def finish(second: Process, trace: Path) -> None:
    """It may be too slow for its lease, too; then it takes the run up once more."""
    end = "fenced"
    while end == "fenced":
        second.drive(trace, trace.name)
        end = second.ended()
    assert end == "SUCCEEDED", trace.name


def play(url: str, folder: Path, rounds: int) -> None:
    """Rounds of one pair."""
    dice, played = random.Random(folder.name), 0
    folder.mkdir()
    with pair(url) as (one, other), closing(App("split", database_url=url)) as judge:
        judge.include(app)
        for n in range(10 * rounds):
            # Given an owner that is stopped past its lease, and another that finishes the run
            trace = folder / f"{folder.name}-{n}"
            # When the first goes on
            end = split(url, *((one, other) if n % 2 else (other, one)), trace, dice)
            # Then it ends as fenced, and each step has one outcome
            owners = owners_of_what_is_not_doubled(judge, trace)
            assert end in ("fenced", "") or (end, owners) == ("SUCCEEDED", 1), trace.name
            assert end != "fenced" or owners > 1
            played += end == "fenced"
            if played == rounds:
                return
    raise AssertionError(f"{folder.name}: only {played} of {rounds} rounds could be played")


def owners_of_what_is_not_doubled(judge: App, trace: Path) -> int:
    """How many owners the run had, each step of which has one outcome."""
    store: Store = judge.runtime.store
    stream = store.find(app="split", factory="steps", key=trace.name)
    assert stream is not None
    log = loading.read(store, stream.run_id)
    plan = judge.plan(steps(str(trace)))
    check_complete(plan, check(plan, log))
    outcomes = Counter(e.path for e in log if isinstance(e.event, facts.TaskSucceeded | facts.TaskFailed))
    assert set(outcomes.values()) == {1}
    assert len(outcomes) == STEPS
    return len([e for e in log if isinstance(e.event, facts.RunClaimed)])


@pytest.mark.parametrize("where", ["sqlite", "postgres"])
def test_rel_r8_a_stopped_owner_that_goes_on_is_fenced_and_nothing_is_doubled(
    where: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    shared = "" if where == "sqlite" else str(request.getfixturevalue("postgres_url"))
    with ThreadPoolExecutor(PAIRS) as pool:
        pairs = [f"pair-{number}" for number in range(PAIRS)]
        urls = [shared or f"sqlite:///{tmp_path}/{name}.db" for name in pairs]
        playing = [
            pool.submit(play, url, tmp_path / name, ROUNDS // PAIRS) for name, url in zip(pairs, urls, strict=True)
        ]
        for one in playing:
            one.result()


if __name__ == "__main__":
    main(*sys.argv[1:])
