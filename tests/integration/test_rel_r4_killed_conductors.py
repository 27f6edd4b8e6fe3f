"""R4: conductors are killed at random times while flows are in flight: nothing lost, nothing doubled, nothing stuck.

The oracle is a file to which each body appends a line when it has run, and the log. A body may run again after its
process was killed in it (at least once); its outcome is in the log exactly once, and each flow ends with the result
that an undisturbed run has. Time to go on: from a kill until the next event of a run that the dead process owned.
"""

from __future__ import annotations

import os
import random
import statistics
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from threading import Event
from time import monotonic

import pytest

from flowledger import App, Run
from flowledger.events import facts
from tests.acceptance import board_shop
from tests.acceptance.command_line import environment
from tests.acceptance.logs import events, log_of
from tests.nursery import Child, nursery
from tests.postgres_server import wait_until

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]

KILLS = int(os.environ.get("FLOWLEDGER_TEST_R4_KILLS", "30"))
CONDUCTORS = 4
FLOWS = 50  # in flight
WAIT_S = 120.0


@pytest.fixture
def app(postgres_url: str) -> Iterator[App]:
    found = App("board_shop", database_url=postgres_url)
    found.include(board_shop.app)
    with closing(found):
        yield found


def test_rel_r4_killed_conductors_lose_double_and_strand_nothing(app: App, postgres_url: str, tmp_path: Path) -> None:
    # Given flows in flight on several conductors
    said = tmp_path / "said.txt"
    more = {
        "FLOWLEDGER_APP": "tests.acceptance.board_shop:app", "FLOWLEDGER_DATABASE_URL": postgres_url,
        "BOARD_SHOP_SAID": str(said), "FLOWLEDGER_LOG_LEVEL": "ERROR",
    }  # fmt: skip
    dice, pause = random.Random(4), Event()

    def conductor() -> Child:
        log = tmp_path / "log"
        return nursery().start("conductor", "--max-runs", 16, cwd=tmp_path, log=log, environment=environment(**more))

    processes = {process.pid: process for process in [conductor() for _ in range(CONDUCTORS)]}
    runs: list[Run[str]] = []
    # When one after the other is killed, and another takes its place
    on_again_s: list[float] = []
    for _ in range(KILLS):
        runs += _more(app, len(runs))
        pause.wait(dice.uniform(0.2, 0.6))
        victim, owned = _victim(app, dice, set(processes))
        process = processes.pop(victim)
        process.kill()
        process.wait()
        replacement = conductor()
        processes[replacement.pid] = replacement
        on_again_s.append(_on_again(app, owned))
    wait_until(lambda: not app.runtime.store.board.jobs(limit=1), "some have not ended", within_s=WAIT_S)
    for process in processes.values():
        process.kill()
        process.wait()
    # Then all have come to what an undisturbed run comes to, each outcome once
    for number, run in enumerate(runs):
        assert run.result == f"i{number}"
        log = log_of(app, run)
        outcomes = [envelope.path for envelope in log if isinstance(envelope.event, facts.TaskSucceeded)]
        assert sorted(outcomes) == sorted(set(outcomes))
        starts, lost = (len(list(events(log, kind))) for kind in (facts.TaskStarted, facts.TaskInterrupted))
        assert starts == len(outcomes) + lost
    assert interrupted_of(app, runs) > KILLS
    _report(on_again_s, interrupted_of(app, runs), len(runs))


def _more(app: App, since: int) -> list[Run[str]]:
    """So many runs that enough are in flight; ``since``: how many there have been."""
    missing = FLOWS - len(app.runtime.store.board.jobs(limit=1000))
    return [app.submit(board_shop.slowly(f"i{since + n}")) for n in range(missing)]


def _victim(app: App, dice: random.Random, living: set[int]) -> tuple[int, dict[str, int]]:
    """A process that has runs, and these with their epochs."""
    pause = Event()
    until = monotonic() + WAIT_S
    while monotonic() < until:
        owned = [job for job in app.runtime.store.board.jobs(limit=1000) if job.pid in living]
        if owned:
            pid = dice.choice(owned).pid or 0
            return pid, {job.run_id: job.epoch for job in owned if job.pid == pid}
        pause.wait(0.02)
    raise AssertionError("no conductor took a job")


def _on_again(app: App, owned: dict[str, int]) -> float:
    """How long it takes until one of these runs has another owner (or has ended: it was nearly done)."""
    killed, pause = monotonic(), Event()
    while monotonic() < killed + WAIT_S:
        for run_id, epoch in owned.items():
            stream = app.runtime.store.stream(run_id)
            if stream is None or stream.epoch > epoch or stream.status == "SUCCEEDED":
                return monotonic() - killed
        pause.wait(0.01)
    raise AssertionError("runs of a killed conductor were not taken over")


def interrupted_of(app: App, runs: list[Run[str]]) -> int:
    """How many attempts were lost: a kill that meets none proves nothing."""
    return sum(len(list(events(log_of(app, run), facts.TaskInterrupted))) for run in runs)


def _report(on_again_s: list[float], interrupted: int, runs: int) -> None:
    kills = f"{len(on_again_s)} kills, {runs} runs: 0 lost, doubled or stuck"
    again = f"on again after p50 {statistics.median(on_again_s):.2f} s, most {max(on_again_s):.2f} s"
    print(f"\nR4: {kills}; {interrupted} attempts interrupted, {again}")
