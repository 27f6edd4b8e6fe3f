"""RELIABILITY R22: large values and long flows are kept, verified and read back; what is too large is not written.

What is measured for docs/reliability.md in the long forms: `pytest -s` shows what each process said of itself.
"""

from __future__ import annotations

import os
from collections import Counter
from contextlib import closing
from pathlib import Path

import pytest

from flowledger import App, PayloadTooLarge, Settings
from flowledger.adapters import loading
from flowledger.adapters.stores import open_store
from flowledger.adapters.verifying import verify_all
from flowledger.events import facts
from tests.acceptance.huge_runs import in_own_process, killed
from tests.acceptance.logs import events

MOST_RESIDENT_MIB = 512
LONG = pytest.mark.skipif(not os.environ.get("FLOWLEDGER_TEST_LONG"), reason="long")


@pytest.fixture(params=["sqlite", "postgres"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/log.db"
    return str(request.getfixturevalue("postgres_url"))


@pytest.mark.slow
@pytest.mark.parametrize("size", [2**20, 16_000_000], ids=["1 MB", "16 MB"])
def test_rel_r22_a_large_result_moves_out_and_comes_back(url: str, size: int) -> None:
    # When
    answer = in_own_process("large", url, size)
    # Then
    assert answer["result"] == size
    assert answer["most_resident_mib"] <= MOST_RESIDENT_MIB
    with closing(open_store(url)) as store:
        made = next(events(loading.read(store, answer["run_id"]), facts.TaskSucceeded))
        assert made.moved is not None
        assert verify_all(store).payloads == 1


def test_rel_r22_what_is_too_large_is_a_clean_failure_and_not_written(tmp_path: Path) -> None:
    # Given
    app = App("huge", settings=Settings(database_url=f"sqlite:///{tmp_path}/log.db"))

    @app.task
    def make(size: int) -> str:
        return "x" * size

    # When
    run = app.run(make.bind(16 * 2**20), executor="inline", check=False)
    # Then
    assert (run.state, run.failures[0].kind) == ("REVERTED", "result")
    assert run.failures[0].type.endswith(PayloadTooLarge.__name__)
    assert sum(len(event.payload) for event in app.runtime.store.read(run.id)) < 64 * 1024
    assert (tmp_path / "log.db").stat().st_size < 2**20
    app.close()


@pytest.mark.slow
@pytest.mark.timeout(3_600)
@pytest.mark.parametrize(
    ("tasks", "killed_at"),
    [
        (1_000, 500),
        pytest.param(10_000, 5_000, marks=LONG),
        pytest.param(50_100, 50_050, marks=LONG),
        pytest.param(100_000, 50_050, marks=LONG),
        pytest.param(100_000, 99_900, marks=LONG),
    ],
)
def test_rel_r22_a_long_flow_that_is_killed_goes_on_and_verifies(url: str, tasks: int, killed_at: int) -> None:
    # Given a run whose process was killed when it had about twice as many events
    killed(url, tasks, killed_at)
    with closing(open_store(url)) as store:
        [stream] = store.streams()
        before = stream.version
    # When another process goes on with it
    answer = in_own_process("resume", url, tasks)
    # Then
    print({**answer, "events_before": before})
    assert (answer["run_id"], answer["state"]) == (stream.run_id, "SUCCEEDED")
    assert answer["most_resident_mib"] <= MOST_RESIDENT_MIB
    with closing(open_store(url)) as store:
        whole = Counter(event.type for event in store.read(stream.run_id))
        assert whole["TaskSucceeded"] == tasks
        assert whole["TaskStarted"] == tasks + whole["TaskInterrupted"]
        assert verify_all(store).holds


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_rel_r22_a_thousand_runs_are_under_way_at_once_in_one_process(url: str) -> None:
    # When each of them waits in its middle until all have come that far
    answer = in_own_process("together", url, 1_000)
    # Then
    print({**answer, "results": len(answer["results"])})
    assert answer["results"] == list(range(1_000))
    assert answer["most_resident_mib"] <= MOST_RESIDENT_MIB
    with closing(open_store(url)) as store:
        assert verify_all(store).holds
