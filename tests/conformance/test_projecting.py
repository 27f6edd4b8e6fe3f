"""Projecting: every event once, whoever projects and dies; rebuilt tables equal the others (rules A4, H1)."""

from __future__ import annotations

import logging
import sqlite3
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from time import monotonic
from typing import Any

import pytest
from msgspec import structs
from msgspec.structs import replace

from flowledger.adapters.ids import new_ulid
from flowledger.adapters.projecting.projector import Projector, rebuild
from flowledger.adapters.projecting.together import Together
from flowledger.adapters.stores import open_store
from flowledger.adapters.stores.views import views_of
from flowledger.events.envelope import Envelope
from flowledger.events.errors import FoldFailed, StoreUnavailable
from flowledger.events.store import Store
from flowledger.projections.history import HISTORY
from flowledger.projections.projection import Projection
from flowledger.projections.rows import Rows
from flowledger.projections.selecting import Select
from flowledger.projections.tables import Table
from flowledger.projections.view_store import ViewStore
from tests.unit.build_log import BEGUN, DONE
from tests.unit.written_log import RUN_ID, write

from .streams import Run, everything, new_stream

SEEN = Table("seen", key={"run_id": str, "version": int}, columns={"times": int})
TOTAL = Table("total", key={"what": str}, columns={"events": int, "late": int})


def count(rows: Rows, envelope: Envelope) -> None:
    """Count every event, and say which came after a later one of its run."""
    seen = rows.at(SEEN, envelope.run_id, envelope.version)
    seen["times"] += 1
    total = rows.at(TOTAL, "all")
    total["events"] += 1
    if envelope.version > 1 and rows.find(SEEN, envelope.run_id, envelope.version - 1) is None:
        total["late"] += 1


COUNTED = Projection("counted", 1, (SEEN, TOTAL), count)

STARTED = b'{"key":"k"}'


def new_run(store: Store, *, run_id: str | None = None, count: int = 1, **fields: Any) -> Run:
    """A run whose events can be opened."""
    run = Run(run_id or new_ulid())
    run.put(store, count, payload=STARTED, create=new_stream(**fields))
    return run


@pytest.fixture
def views(store: Store) -> Iterator[ViewStore]:
    with closing(views_of(store)) as opened:
        yield opened


def caught_up(projector: Projector, store: Store) -> None:
    """On Postgres somebody's open transaction may hide the newest events for a moment (A4)."""
    whole = sum(row.version for row in store.streams(limit=100_000))
    deadline = monotonic() + 60
    while monotonic() < deadline:
        projector.catch_up(within_s=60)
        if projector.slot is not None and projector.slot.mark.events >= whole:
            return
    raise AssertionError("it never catches up")


def times(views: ViewStore) -> dict[tuple[str, int], int]:
    rows = views.select("counted", Select(SEEN, limit=1_000_000))
    return {(row["run_id"], row["version"]): row["times"] for row in rows}


def total(views: ViewStore) -> tuple[int, int]:
    [row] = views.select("counted", Select(TOTAL))
    return row["events"], row["late"]


@pytest.mark.parametrize("limit", [1, 3, 2000])
def test_h1_every_event_is_taken_in_once_in_batches_of_any_size(store: Store, views: ViewStore, limit: int) -> None:
    # Given
    runs = [new_run(store, count=5) for _ in range(4)]
    everything(store)
    # When
    assert Projector(store, views, COUNTED).catch_up(within_s=60, limit=limit)
    # Then
    assert times(views) == {(run.run_id, version): 1 for run in runs for version in range(1, 6)}
    assert total(views) == (20, 0)


def test_h1_who_dies_in_a_batch_has_done_nothing_of_it(store: Store, views: ViewStore) -> None:
    # Given
    new_run(store, count=9)
    everything(store)
    dies = Projection("counted", 1, (SEEN, TOTAL), count)

    def fold(rows: Rows, envelope: Envelope) -> None:
        if envelope.version == 6:
            raise KeyboardInterrupt
        count(rows, envelope)

    object.__setattr__(dies, "fold", fold)
    # When
    projector = Projector(store, views, dies)
    assert projector.step(limit=4) == 4
    with pytest.raises(KeyboardInterrupt):
        projector.step(limit=4)
    # Then
    assert total(views) == (4, 0)
    assert Projector(store, views, COUNTED).catch_up(within_s=60)
    assert total(views) == (9, 0)


def test_h1_two_projectors_take_turns_and_count_nothing_twice(store: Store, elsewhere: Store) -> None:
    # Given
    runs = [new_run(store, count=40) for _ in range(5)]
    everything(store)

    def project(where: Store) -> int:
        with closing(views_of(where)) as views:
            projector = Projector(where, views, COUNTED)
            caught_up(projector, where)
            return projector.events

    # When
    with ThreadPoolExecutor(2) as pool:
        shares = list(pool.map(project, (store, elsewhere)))
    # Then
    assert sum(shares) == 200
    with closing(views_of(store)) as views:
        assert set(times(views).values()) == {1}
        assert total(views) == (len(runs) * 40, 0)


def test_h1_rebuilt_tables_are_byte_equal(store: Store, views: ViewStore) -> None:
    # Given
    write(store, [*BEGUN, *DONE], key="k")
    for _ in range(3):
        new_run(store, count=3, tags={"a": "b"})
    everything(store)
    projector = Projector(store, views, COUNTED)
    projector.catch_up(within_s=60, limit=2)
    before = views.slots()
    incremental = views.digest(COUNTED, before[0])
    # When
    slot = rebuild(store, views, COUNTED, limit=5)
    # Then
    assert views.slots() == [slot]
    assert slot.number == before[0].number + 1
    assert views.digest(COUNTED, slot) == incremental
    # And whoever projected before goes on with the new ones
    new_run(store, count=2)
    everything(store)
    assert projector.step() is None
    assert projector.catch_up(within_s=60)
    assert total(views)[0] == views.slots()[0].mark.events


def test_h1_the_views_are_byte_equal_too(store: Store, views: ViewStore) -> None:
    write(store, [*BEGUN, *DONE], key="k")
    everything(store)
    projector = Projector(store, views, HISTORY)
    projector.catch_up(within_s=60, limit=1)
    incremental = views.digest(HISTORY, views.slots()[0])
    assert views.digest(HISTORY, rebuild(store, views, HISTORY)) == incremental


def test_h1_a_rebuild_that_was_cut_off_goes_on(store: Store, views: ViewStore) -> None:
    # Given
    new_run(store, count=6)
    everything(store)
    Projector(store, views, COUNTED).catch_up(within_s=60)
    half = views.make(COUNTED, number=2, live=False)
    new_run(store, count=1)
    everything(store)
    # When
    slot = rebuild(store, views, COUNTED)
    # Then
    assert slot.number == half.number
    assert total(views) == (7, 0)


def test_a_newer_version_is_read_once_it_has_caught_up(store: Store, views: ViewStore) -> None:
    # Given
    new_run(store, count=6)
    everything(store)
    older = Projector(store, views, COUNTED)
    older.catch_up(within_s=60)
    newer = Projector(store, views, Projection("counted", 2, (SEEN, TOTAL), count))
    # When
    assert newer.step(limit=4) == 4
    # Then
    assert [(s.version, s.live) for s in views.slots()] == [(1, True), (2, False)]
    assert newer.catch_up(within_s=60)
    assert [(s.version, s.live) for s in views.slots()] == [(2, True)]
    # And a process of the release before stands by
    new_run(store, count=1)
    assert Projector(store, views, COUNTED).step() is None


def test_an_event_of_a_newer_release_is_passed_over_and_said(
    store: Store, views: ViewStore, caplog: pytest.LogCaptureFixture
) -> None:
    # Given
    run = new_run(store, count=2)
    request = run.next(1, payload=STARTED)
    unknown = replace(request.events[0], type="FromTheFuture", schema_version=9)
    store.append([structs.replace(request, events=[unknown])])
    everything(store)
    # When
    with caplog.at_level(logging.WARNING, "flowledger.projector"):
        assert Projector(store, views, COUNTED).catch_up(within_s=60)
    # Then
    assert total(views) == (2, 0)
    assert views.slots()[0].mark.events == 3
    assert "FromTheFuture" in caplog.text


def test_a_fold_that_raises_stops_itself_and_no_other(store: Store, views: ViewStore) -> None:
    # Given
    new_run(store, count=3)
    everything(store)

    def broken(rows: Rows, envelope: Envelope) -> None:
        rows.at(TOTAL, "all")["events"] //= 0

    bad = Projection("bad", 1, (TOTAL,), broken)
    # When
    with pytest.raises(FoldFailed, match=r"bad.*ZeroDivisionError.*event 1 "):
        Projector(store, views, bad).step()
    together = Together(store, views, [bad, COUNTED])
    # Then
    assert not together.catch_up(within_s=60)
    assert total(views) == (3, 0)
    assert views.select("bad", Select(TOTAL)) == []


def test_a_column_that_does_not_exist_is_said(store: Store, views: ViewStore) -> None:
    new_run(store)
    everything(store)

    def misspelt(rows: Rows, envelope: Envelope) -> None:
        rows.at(TOTAL, "all")["evens"] = 1

    with pytest.raises(FoldFailed, match="evens"):
        Projector(store, views, Projection("bad", 1, (TOTAL,), misspelt)).step()


def test_behind_says_how_old_what_is_missing_is(store: Store, views: ViewStore) -> None:
    run = new_run(store, run_id=RUN_ID, count=2)
    [first, last] = [met.event for met in everything(store)]
    projector = Projector(store, views, COUNTED)
    assert projector.behind_us(first.time_us + 5_000_000) == 5_000_000
    projector.step(limit=1)
    assert projector.behind_us(last.time_us + 2) == 2
    projector.catch_up(within_s=60)
    assert projector.behind_us(last.time_us + 2) == 0
    assert run.version == 2


def test_a_database_that_fails_within_a_fold_is_not_the_folds_fault(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given
    with closing(open_store(f"sqlite:///{tmp_path}/log.db")) as store, closing(views_of(store)) as views:
        new_run(store, count=3)
        together = Together(store, views, [COUNTED])

        def fails(*_: object) -> None:
            raise sqlite3.OperationalError("disk I/O error")

        # When
        with monkeypatch.context() as patched:
            patched.setattr("flowledger.adapters.stores.views.sqlite._Turn.load", fails)
            with pytest.raises(StoreUnavailable, match="disk"):
                together.round()
        # Then it goes on once the database does
        assert together.catch_up(within_s=60)
        assert total(views) == (3, 0)
