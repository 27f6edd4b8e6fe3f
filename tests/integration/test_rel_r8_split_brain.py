"""RELIABILITY R8: an owner that is stopped past its lease, and goes on when another has finished its run."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from time import monotonic, sleep

import pytest

from flowledger import App, Flow, linear
from flowledger.adapters import loading
from flowledger.core.replay import check, check_complete
from flowledger.events import facts
from flowledger.events.store import Store

LONG = bool(os.environ.get("FLOWLEDGER_TEST_LONG"))
ROUNDS = 60 if LONG else 3
STEPS = 4
FENCED, OWNED = 17, 18
LEASE = {
    "FLOWLEDGER_LEASE_HEARTBEAT_S": "0.05", "FLOWLEDGER_LEASE_FENCE_S": "0.2", "FLOWLEDGER_LEASE_TAKEOVER_S": "0.4",
}  # fmt: skip
ROOT = Path(__file__).parents[2]

pytestmark = [pytest.mark.crash, pytest.mark.timeout(1200 if LONG else 120)]

app = App("split")


@app.task(read_only=True)
def step(n: int, trace: str) -> int:
    """Says that it runs, and waits for a moment in which it may be stopped."""
    with Path(trace).open("a") as file:
        file.write(f"{os.getpid()} {n}\n")
    sleep(0.1)  # the body's own work, not a wait for something
    return n


@app.flow
def steps(trace: str) -> Flow[None]:
    return linear(*[step.bind(n, trace) for n in range(STEPS)])


def main(url: str, trace: str, key: str) -> int:
    """One process: run, or take up, the same call."""
    from flowledger import Fenced, RunOwned  # noqa: PLC0415 - only the child needs them

    app.use(database_url=url)
    until = monotonic() + 30
    while monotonic() < until:
        try:
            return 0 if app.run(steps(trace), key=key, check=False).state == "SUCCEEDED" else 1
        except Fenced:
            return FENCED
        except RunOwned:
            sleep(0.02)
    return OWNED


def started(url: str, trace: Path, key: str) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "tests.integration.test_rel_r8_split_brain", url, str(trace), key]
    return subprocess.Popen(command, cwd=ROOT, env={**os.environ, **LEASE})


def until(condition: Callable[[], bool]) -> None:
    deadline = monotonic() + 30
    while not condition():
        assert monotonic() < deadline
        sleep(0.005)


def lines(trace: Path) -> list[str]:
    return trace.read_text().splitlines() if trace.exists() else []


def stop(process: subprocess.Popen[bytes], url: str) -> None:
    """SIGSTOP, but not while it has the lock of a file: nobody can write then until it goes on, or is killed."""
    process.send_signal(signal.SIGSTOP)
    while is_locked(url):
        process.send_signal(signal.SIGCONT)
        sleep(0.003)
        process.send_signal(signal.SIGSTOP)


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


def split(url: str, trace: Path, key: str, stop_after: int) -> tuple[int, int]:
    """Stop the owner in its n-th step, let another finish, let the first go on: how both ended."""
    first = started(url, trace, key)
    until(lambda: len(lines(trace)) > stop_after)
    stop(first, url)
    second = started(url, trace, key)
    try:
        code = second.wait(40)
    finally:
        first.send_signal(signal.SIGCONT)
    return first.wait(40), code


def assert_nothing_is_doubled(store: Store, trace: Path, key: str) -> None:
    stream = store.find(app="split", factory="steps", key=key)
    assert stream is not None
    log = loading.read(store, stream.run_id)
    plan = app.plan(steps(str(trace)))
    check_complete(plan, check(plan, log))
    outcomes = Counter(e.path for e in log if isinstance(e.event, facts.TaskSucceeded | facts.TaskFailed))
    assert set(outcomes.values()) == {1}
    assert len(outcomes) == STEPS
    assert len([e for e in log if isinstance(e.event, facts.RunClaimed)]) == 2


@pytest.mark.parametrize("where", ["sqlite", "postgres"])
def test_rel_r8_a_stopped_owner_that_goes_on_is_fenced_and_nothing_is_doubled(
    where: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    url = f"sqlite:///{tmp_path}/log.db" if where == "sqlite" else str(request.getfixturevalue("postgres_url"))
    app.close()
    app.use(database_url=url)
    for n in range(ROUNDS):
        # Given an owner that is stopped past its lease in the middle of a step, and another that finishes the run
        trace, key = tmp_path / f"trace-{n}", f"round-{n}"
        # When the first goes on
        codes = split(url, trace, key, n % STEPS)
        # Then it ends as fenced, and each step has one outcome
        assert codes == (FENCED, 0), f"round {n}"
        assert_nothing_is_doubled(app.runtime.store, trace, key)
    app.close()


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
