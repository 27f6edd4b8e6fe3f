"""RELIABILITY R1 and R2: a run that dies at any append and is resumed by the same call ends like one that never died.

The short form is part of every test run; `make crash` tries each point of each append of each flow.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import msgspec
import pytest

from flowledger.core.replay import check, check_complete
from flowledger.events import facts
from flowledger.events.envelope import Envelope
from tests.crash import corpus, points, seats
from tests.crash.compare import by_path, comparable, envelopes
from tests.crash.corpus import ALL_ENDS, ENDS, PARENTS_ENDS
from tests.crash.deeds import DEEDS
from tests.crash.job import Choice, Executor, Job, Outcome, Point
from tests.nursery import nursery

pytestmark = [pytest.mark.crash, pytest.mark.timeout(1200 if points.LONG else 120)]

ROOT = Path(__file__).parents[2]
DRIVER = "tests.crash.driver"
FLOWS = sorted(ENDS)
#: Of each kind one, in every test run; `make crash` tries all of them.
OF_EACH_KIND = [
    "cancelled", "fan_out", "grown_retried", "heard", "looped", "polling", "retried_inside", "revert_tries",
    "suspended",
]  # fmt: skip
#: What these do depends on no schedule, so threads may run them.
PARALLEL = ["diamond", "fan_out", "gathered", "grown", "nested"]


def logged(flow: str, executor: Executor, outcome: Outcome) -> list[Envelope]:
    """The log: its chain is verified, and replay finds it valid and complete (D8)."""
    log = envelopes(outcome.run_id, outcome.rows)
    plan = corpus.app.plan(seats.factory(flow)(), executor=executor)
    moved = {digest: content.encode("latin-1") for digest, content in outcome.moved.items()}
    check_complete(plan, check(plan, log, moved=moved))
    return log


def assert_bodies_follow_the_log(log: list[Envelope], outcome: Outcome, source: Sequence[Envelope] = ()) -> None:
    """C1: what ran was durably started before (also in the ``source`` of a fork); C5: until an outcome is known, the
    key stays the same."""
    started = {
        (envelope.path, phase, event.attempt, event.key)
        for envelope in [*source, *log]
        if isinstance(event := envelope.event, facts.TaskStarted | facts.RevertStarted)
        for phase in ["revert" if isinstance(event, facts.RevertStarted) else "execute"]
    }
    root = next(envelope.path for envelope in log if envelope.path).partition("/")[0]
    for line in outcome.trace:
        phase, path, attempt, key = line.split()
        if path.partition("/")[0] != root:
            continue  # of a child run, which has a log of its own
        assert (path, phase, int(attempt), key) in started, f"{line} ran without a durable start"
    keys: dict[tuple[str, str, int], str] = {}
    for envelope in log:
        event = envelope.event
        if isinstance(event, facts.TaskInterrupted):
            keys[envelope.path, event.phase, event.try_] = _key_of(log, envelope.path, event)
        elif isinstance(event, facts.TaskStarted | facts.RevertStarted):
            phase = "revert" if isinstance(event, facts.RevertStarted) else "execute"
            expected = keys.pop((envelope.path, phase, event.try_), event.key)
            assert event.key == expected, f"{envelope.path}: an interrupted attempt runs again under another key"


def _key_of(log: list[Envelope], path: str, interrupted: facts.TaskInterrupted) -> str:
    start = facts.TaskStarted if interrupted.phase == "execute" else facts.RevertStarted
    return next(
        e.event.key
        for e in log
        if e.path == path
        and isinstance(e.event, start)
        and (e.event.try_, e.event.attempt) == (interrupted.try_, interrupted.attempt)
    )


def crashed(
    flow: str, executor: Executor, choice: Choice, database_url: str = ""
) -> tuple[Outcome, list[tuple[Point, Outcome]]]:
    """The run that nobody disturbs, and what came of each point."""
    place = "/dev/shm" if Path("/dev/shm").is_dir() else None
    with TemporaryDirectory(prefix="flowledger-crash-", dir=place) as directory:
        job = msgspec.json.encode(Job(flow, executor, choice, directory, database_url))
        driver = nursery(DRIVER).pipe(cwd=ROOT, environment=os.environ, program=DRIVER, given=job)
        out, err = driver.communicate()
    assert driver.returncode == 0, err
    first, *rest = out.rstrip("\n").split("\n")  # nothing else ends a line: bytes stand in it as characters
    whole = msgspec.json.decode(first, type=Outcome)
    assert whole.state == (DEEDS[flow][2] if flow in DEEDS else (ALL_ENDS | seats.ENDS)[flow])
    return whole, [msgspec.json.decode(line, type=tuple[Point, Outcome]) for line in rest]


@pytest.mark.parametrize("flow", FLOWS)
def test_rel_r1_crash_around_appends(flow: str) -> None:
    assert_ends_like_one_that_never_died(flow, "boundaries")


@pytest.mark.parametrize("flow", FLOWS if points.LONG else OF_EACH_KIND)
def test_rel_r2_crash_inside_appends(flow: str) -> None:
    assert_ends_like_one_that_never_died(flow, "inside")


@pytest.mark.parametrize("choice", ["boundaries", "inside"])
@pytest.mark.parametrize("flow", FLOWS if points.LONG else OF_EACH_KIND)
def test_rel_r1_r2_crash_around_and_inside_appends_on_postgres(flow: str, choice: Choice, postgres_url: str) -> None:
    assert_ends_like_one_that_never_died(flow, choice, postgres_url)


@pytest.mark.parametrize("choice", ["boundaries", "inside"])
@pytest.mark.parametrize("flow", sorted(PARENTS_ENDS))
def test_rel_r1_r2_g7_crash_of_a_run_and_its_child(flow: str, choice: Choice) -> None:
    assert_ends_like_one_that_never_died(flow, choice, alone=False)


@pytest.mark.parametrize("choice", ["boundaries", "inside"])
@pytest.mark.parametrize("flow", sorted(PARENTS_ENDS) if points.LONG else ["child_undone"])
def test_rel_r1_r2_g7_crash_of_a_run_and_its_child_on_postgres(flow: str, choice: Choice, postgres_url: str) -> None:
    assert_ends_like_one_that_never_died(flow, choice, postgres_url, alone=False)


@pytest.mark.parametrize("choice", ["boundaries", "inside"])
@pytest.mark.parametrize("flow", sorted(seats.ENDS))
def test_rel_r1_r2_c8_crash_around_tasks_whose_writes_and_outcome_are_one_commit(flow: str, choice: Choice) -> None:
    assert_ends_like_one_that_never_died(flow, choice)


@pytest.mark.parametrize("choice", ["boundaries", "inside"] if points.LONG else ["boundaries"])
@pytest.mark.parametrize("flow", sorted(seats.ENDS) if points.LONG else ["seated_undone"])
def test_rel_r1_r2_c8_crash_around_tasks_whose_writes_and_outcome_are_one_commit_on_postgres(
    flow: str, choice: Choice, postgres_url: str
) -> None:
    assert_ends_like_one_that_never_died(flow, choice, postgres_url)


def assert_ends_like_one_that_never_died(
    flow: str, choice: Choice, database_url: str = "", *, alone: bool = True
) -> None:
    """``alone``: no other run may share a commit, so that each has its number."""
    # Given the run that nobody disturbs
    whole, outcomes = crashed(flow, "inline", choice, database_url)
    expected = comparable(logged(flow, "inline", whole))

    # When the process dies before, after (R1) or inside (R2) its appends, and the same call resumes
    for point, outcome in outcomes:
        # Then end, results and log are the same, but for what the crash and the resume wrote
        assert outcome.died or not alone, f"{point} was not reached"
        assert (outcome.state, outcome.results) == (whole.state, whole.results), point
        log = logged(flow, "inline", outcome)
        assert comparable(log) == expected, point
        assert_bodies_follow_the_log(log, outcome)


@pytest.mark.parametrize("flow", PARALLEL)
def test_rel_r1_crash_while_bodies_run_in_threads(flow: str) -> None:
    # Given the run that nobody disturbs, its bodies in threads
    whole, outcomes = crashed(flow, "threads", "few")
    expected = by_path(logged(flow, "threads", whole))

    # When the process dies while several bodies may be running
    for point, outcome in outcomes:
        # Then end and results are the same, and so is what each atom and scope did
        assert (outcome.state, outcome.results) == (whole.state, whole.results), point
        log = logged(flow, "threads", outcome)
        assert by_path(log) == expected, point
        assert_bodies_follow_the_log(log, outcome)
