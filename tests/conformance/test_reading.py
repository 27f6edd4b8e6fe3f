"""Reading: streams, the global log and its cursor (A4), wake-ups, rows."""

from __future__ import annotations

from collections import defaultdict
from concurrent.futures import ThreadPoolExecutor
from time import monotonic

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from flowledger.adapters.ids import new_ulid
from flowledger.events.chain import verified
from flowledger.events.errors import InputError
from flowledger.events.store import START, Cursor, Followed, Store

from .streams import everything, new_run

WRITERS = 8
EVENTS_PER_WRITER = 25


def test_a_stream_is_read_in_pages(store: Store) -> None:
    # Given
    run = new_run(store, count=7)
    new_run(store, count=3)
    # When / Then
    assert [e.version for e in store.read(run.run_id)] == [1, 2, 3, 4, 5, 6, 7]
    assert [e.version for e in store.read(run.run_id, after_version=2, limit=3)] == [3, 4, 5]
    assert store.read(run.run_id, after_version=7) == []
    assert store.read("nobody") == []


def test_a4_the_global_log_is_read_on_from_a_cursor(store: Store) -> None:
    # Given
    runs = [new_run(store, count=3) for _ in range(3)]
    # When
    whole = everything(store)
    # Then
    assert [(f.run_id, f.event.version) for f in whole] == [(r.run_id, v) for r in runs for v in (1, 2, 3)]
    assert everything(store, page=2) == whole
    for n, met in enumerate(whole):
        assert store.read_all(met.cursor) == whole[n + 1 :]


def test_a4_a_cursor_of_another_kind_is_refused(store: Store) -> None:
    with pytest.raises(InputError, match="not a cursor"):
        store.read_all(Cursor("(3,7)"))


def test_a4_a_follower_sees_every_event_once_and_in_order_while_eight_threads_write(
    store: Store, elsewhere: Store
) -> None:
    def write(_: int) -> str:
        run = new_run(store)
        for _ in range(EVENTS_PER_WRITER - 1):
            run.put(store)
        return run.run_id

    def follow() -> list[Followed]:
        seen: list[Followed] = []
        cursor = START
        deadline = monotonic() + 60
        while len(seen) < WRITERS * EVENTS_PER_WRITER and monotonic() < deadline:
            elsewhere.wait(cursor, timeout_s=1)
            met = elsewhere.read_all(cursor, limit=7)
            seen.extend(met)
            cursor = met[-1].cursor if met else cursor
        return seen

    # When
    with ThreadPoolExecutor(WRITERS + 1) as pool:
        follower = pool.submit(follow)
        runs = list(pool.map(write, range(WRITERS)))
        seen = follower.result()
    # Then
    versions: dict[str, list[int]] = defaultdict(list)
    for met in seen:
        versions[met.run_id].append(met.event.version)
    assert versions == {run_id: list(range(1, EVENTS_PER_WRITER + 1)) for run_id in runs}
    assert seen == everything(store)


def test_wait_ends_at_once_where_there_is_something(store: Store) -> None:
    new_run(store)
    began = monotonic()
    assert store.wait(START, timeout_s=30)
    assert monotonic() - began < 5


def test_wait_ends_without_when_the_time_is_over(store: Store) -> None:
    new_run(store)
    [met] = everything(store)
    assert not store.wait(met.cursor, timeout_s=0.05)
    assert not store.wait(met.cursor, timeout_s=0)


@pytest.mark.parametrize("where", ["store", "elsewhere"])
def test_wait_wakes_up_when_somebody_appends(store: Store, elsewhere: Store, where: str) -> None:
    # Given
    writer = {"store": store, "elsewhere": elsewhere}[where]
    began = monotonic()
    with ThreadPoolExecutor(1) as pool:
        # When
        waiting = pool.submit(store.wait, START, timeout_s=30)
        new_run(writer)
        # Then
        assert waiting.result()
    assert monotonic() - began < 5


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    rows=st.lists(
        st.tuples(st.binary(max_size=200), st.text(max_size=12), st.text(max_size=12)), min_size=1, max_size=6
    )
)
def test_a8_the_chain_verifies_over_what_is_read_back(store: Store, rows: list[tuple[bytes, str, str]]) -> None:
    # Given: any bytes, any text: NUL, combining marks, right-to-left, what is not a character
    run = new_run(store)
    # When
    for payload, path, actor in rows:
        run.put(store, payload=payload, path=path, actor=actor)
    # Then
    assert len(list(verified(run.run_id, store.read(run.run_id)))) == len(rows) + 1


@pytest.mark.parametrize("text", ["a\0b", "\0", "é\u0301\u200f\U0001f9ff", "\uffff\ufffe", "x" * 10_000, "'; --"])
def test_a8_strange_text_and_large_payloads_are_kept_as_they_are(store: Store, text: str) -> None:
    # Given
    payload = text.encode() * 100
    # When
    run = new_run(store, key=text, tags={text: text})
    run.put(store, payload=payload, path=text, actor=text)
    # Then
    event = store.read(run.run_id)[1]
    assert (event.path, event.actor, event.payload) == (text, text, payload)
    assert list(verified(run.run_id, store.read(run.run_id)))
    row = store.find(app="shop", factory="order", key=text)
    assert row is not None
    assert (row.key, row.tags) == (text, {text: text})


def test_find_goes_by_the_whole_key(store: Store) -> None:
    # Given
    run = new_run(store, key="k", factory="order")
    new_run(store, key="k", factory="refund")
    # When / Then
    found = store.find(app="shop", factory="order", key="k")
    assert found is not None
    assert found.run_id == run.run_id
    assert store.find(app="depot", factory="order", key="k") is None
    assert store.stream("nobody") is None


def test_streams_are_listed_newest_first_and_in_pages(store: Store) -> None:
    # Given
    runs = [new_run(store).run_id for _ in range(5)]
    newest_first = runs[::-1]
    # When / Then
    assert [row.run_id for row in store.streams()] == newest_first
    assert [row.run_id for row in store.streams(limit=2)] == newest_first[:2]
    assert [row.run_id for row in store.streams(limit=2, before=newest_first[1])] == newest_first[2:4]


def test_streams_are_filtered(store: Store) -> None:
    # Given
    a = new_run(store, run_id="AAA1", key="k", factory="order")
    b = new_run(store, run_id="AAB2", key="k", factory="refund", app="depot")
    c = new_run(store, run_id="ABC3", factory="refund")
    a.put(store, status="SUCCEEDED")
    c.put(store, status="FAILED")

    def found(**filters: object) -> list[str]:
        return [row.run_id for row in store.streams(**filters)]  # type: ignore[arg-type]

    # When / Then
    assert found(prefix="AA") == [b.run_id, a.run_id]
    assert found(prefix="aa") == []
    assert found(prefix="AA%") == []
    assert found(prefix="") == found() == [c.run_id, b.run_id, a.run_id]
    assert found(app="shop") == [c.run_id, a.run_id]
    assert found(key="k") == [b.run_id, a.run_id]
    assert found(factory="refund", app="shop") == [c.run_id]
    assert found(statuses=["SUCCEEDED", "FAILED"]) == [c.run_id, a.run_id]
    assert found(statuses=["SUSPENDED"]) == []


def test_what_was_read_does_not_change_later(store: Store) -> None:
    # Given
    run = new_run(store)
    events, row = store.read(run.run_id), store.stream(run.run_id)
    # When
    run.put(store)
    # Then
    assert len(events) == 1
    assert row is not None
    assert row.version == 1


def test_ids_made_one_after_the_other_sort_that_way() -> None:
    ids = [new_ulid() for _ in range(1000)]
    assert ids == sorted(set(ids))
    assert {len(i) for i in ids} == {26}
