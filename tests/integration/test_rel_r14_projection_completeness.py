"""RELIABILITY R14: eight writers, slow transactions among them, and projectors that take turns: nothing is skipped,
nothing is taken in twice, and rebuilt tables are byte-equal. The long form: `make completeness`."""

from __future__ import annotations

import os
import random
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from functools import partial
from pathlib import Path
from threading import Event, Thread
from time import monotonic, sleep
from typing import TypeVar

import pytest

from flowledger.adapters.ids import new_ulid
from flowledger.adapters.projecting.projector import Projector, rebuild
from flowledger.adapters.stores import open_store
from flowledger.adapters.stores.views import views_of
from flowledger.events import facts
from flowledger.events.envelope import Envelope
from flowledger.events.errors import StoreUnavailable
from flowledger.events.store import Append, Appended, NewStream, Store
from flowledger.projections.history import HISTORY
from flowledger.projections.projection import Projection
from flowledger.projections.rows import Rows
from flowledger.projections.selecting import Compares, Not, Select
from flowledger.projections.tables import Table
from tests.postgres import connect
from tests.unit.build_log import BEGUN, DONE, FIRST, PAIR, ROUND_FAILED, SECOND
from tests.unit.written_log import rows as rows_of

T = TypeVar("T")

WRITERS = 8
EVENTS = int(os.environ.get("FLOWLEDGER_TEST_R14_EVENTS", "5000"))
LONG = EVENTS > 5_000
STORY: list[tuple[str, facts.Event]] = [
    *BEGUN, *ROUND_FAILED, (PAIR, facts.RoundStarted(round=2)),
    (FIRST, facts.TaskStarted(key="a", try_=2)), (FIRST, facts.TaskSucceeded(try_=2)),
    (SECOND, facts.TaskStarted(key="b", try_=2)), (SECOND, facts.TaskSucceeded(try_=2)), *DONE[1:],
]  # fmt: skip
RUNS_AT_ONCE = 10

SEEN = Table("seen", key={"run_id": str}, columns={"version": int, "events": int, "wrong": int})


def count(rows: Rows, envelope: Envelope) -> None:
    """Every run's events must come once each, in order, without a gap."""
    seen = rows.at(SEEN, envelope.run_id)
    seen["wrong"] += envelope.version != seen["version"] + 1
    seen["version"] = envelope.version
    seen["events"] += 1


COUNTED = Projection("counted", 1, (SEEN,), count)


def write(url: str, seed: int) -> int:
    """Runs side by side, each append a few events of some of them; how many events were written."""
    chance = random.Random(seed)
    written = 0
    with closing(open_store(url)) as store:
        while written < EVENTS // WRITERS:
            runs = {run_id: rows_of(STORY, run_id) for run_id in (new_ulid() for _ in range(RUNS_AT_ONCE))}
            versions = dict.fromkeys(runs, 0)
            while versions:
                batch = [_some(run_id, runs[run_id], versions, chance) for run_id in _few(list(versions), chance)]
                assert all(isinstance(done, Appended) for done in _patiently(partial(store.append, batch)))
                for request in batch:
                    written += len(request.events)
                    versions[request.run_id] = request.events[-1].version
                    if versions[request.run_id] == len(STORY):
                        del versions[request.run_id]
    return written


def _patiently(action: Callable[[], T]) -> T:
    """Again where a file was locked for too long: with eleven at one file somebody may have to wait for very long.

    An append that had arrived says so (A3), and a batch that was not committed has not happened.
    """
    while True:
        try:
            return action()
        except StoreUnavailable as error:
            if "locked" not in str(error):
                raise


def _few(run_ids: list[str], chance: random.Random) -> list[str]:
    return chance.sample(run_ids, chance.randint(1, len(run_ids)))


def _some(run_id: str, events: list, versions: dict[str, int], chance: random.Random) -> Append:  # type: ignore[type-arg]
    version = versions[run_id]
    stream = NewStream(app="shop", factory="build", key=None, inputs_digest="") if not version else None
    return Append(
        run_id=run_id, expected=version, epoch=0, events=events[version : version + chance.randint(1, 5)],
        status="RUNNING", create=stream,
    )  # fmt: skip


@pytest.fixture
def slow_transactions(request: pytest.FixtureRequest) -> Iterator[None]:
    """On Postgres somebody's writing transactions stay open for a while, and hold the horizon back."""
    if request.node.callspec.params["where"] != "postgres":
        yield
        return
    url, stop = request.getfixturevalue("postgres_url"), Event()

    def dawdle(seed: int) -> None:
        chance = random.Random(seed)
        with connect(url) as connection:
            while not stop.is_set():
                with connection.transaction():
                    connection.execute("SELECT pg_current_xact_id()")
                    stop.wait(chance.uniform(0.005, 0.05))

    threads = [Thread(target=dawdle, args=(seed,)) for seed in range(3)]
    for thread in threads:
        thread.start()
    yield
    stop.set()
    for thread in threads:
        thread.join()


def follow(url: str, projection: Projection, written: Event, whole: list[int]) -> int:
    """Project until everything that was written is in the tables; how many events this projector took in."""
    with closing(open_store(url)) as store, closing(views_of(store)) as views:
        projector = Projector(store, views, projection)
        deadline = monotonic() + (3600 if LONG else 100)
        while monotonic() < deadline:
            done = _patiently(lambda: projector.step(limit=300))
            if done is None:
                sleep(0.01)
            elif not done and written.is_set() and _events(store, views_of, projection) >= whole[0]:
                return projector.events
    raise AssertionError("the projector never got to the end")


def _events(store: Store, views_of_: object, projection: Projection) -> int:
    with closing(views_of(store)) as views:
        return next(slot.mark.events for slot in views.slots() if slot.projection == projection.name)


@pytest.mark.timeout(7200 if LONG else 240)
@pytest.mark.parametrize("where", ["sqlite", "postgres"])
@pytest.mark.usefixtures("slow_transactions")
def test_rel_r14_nothing_is_skipped_and_nothing_is_taken_in_twice(
    where: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    # Given
    url = request.getfixturevalue("postgres_url") if where == "postgres" else f"sqlite:///{tmp_path}/log.db"
    open_store(url).close()
    written, whole = Event(), [0]
    with ThreadPoolExecutor(WRITERS + 3) as pool:
        # When eight write, and two projectors of one projection and one of another follow
        shares = [pool.submit(follow, url, COUNTED, written, whole) for _ in range(2)]
        views_share = pool.submit(follow, url, HISTORY, written, whole)
        try:
            whole[0] = sum(pool.map(write, [url] * WRITERS, range(WRITERS)))
        finally:
            written.set()
        # Then
        assert sum(share.result() for share in shares) == whole[0] == views_share.result()
    with closing(open_store(url)) as store, closing(views_of(store)) as views:
        complete = (Compares("version", ">=", len(STORY)), Compares("events", "<=", len(STORY)))
        for condition in complete:
            assert views.select("counted", Select(SEEN, (Not(condition),), limit=5)) == []
        assert views.select("counted", Select(SEEN, (Compares("wrong", ">", 0),), limit=5)) == []
        for projection in (COUNTED, HISTORY):
            live = next(slot for slot in views.slots() if slot.projection == projection.name)
            before = views.digest(projection, live)
            assert live.mark.events == whole[0] >= EVENTS
            assert views.digest(projection, rebuild(store, views, projection)) == before
