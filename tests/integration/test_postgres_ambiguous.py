"""Appends whose answer is cut off: the store looks before it says or sends anything (rule A3, RELIABILITY R3)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import get_args

import pytest

from flowledger.adapters.stores import open_store
from flowledger.adapters.stores.postgres import PostgresStore, locate
from flowledger.events.chain import verified
from flowledger.events.errors import Fenced, StoreUnavailable, VersionConflict
from flowledger.events.store import Appended, Claim, Store
from tests.conformance.streams import Run, everything, joined, new_run, new_stream
from tests.cutting_proxy import CuttingProxy, Where, cutting
from tests.postgres import through

WHERE = get_args(Where)
#: In every event of these tests, and in nothing else that is said to the server.
WORD = b"TaskStarted"


@pytest.fixture
def proxy(postgres_url: str) -> Iterator[CuttingProxy]:
    with cutting(locate(postgres_url).url.port or 5432) as made:
        yield made


@pytest.fixture
def store(postgres_url: str, proxy: CuttingProxy) -> Iterator[PostgresStore]:
    opened = PostgresStore.from_url(through(proxy.port, postgres_url))
    yield opened
    opened.close()


@pytest.fixture
def beside(postgres_url: str) -> Iterator[Store]:
    """The same log, not through the proxy."""
    opened = open_store(postgres_url)
    yield opened
    opened.close()


@pytest.mark.parametrize("where", WHERE)
def test_a3_an_append_that_is_cut_is_settled_before_it_is_answered(
    store: PostgresStore, proxy: CuttingProxy, where: Where
) -> None:
    # Given
    run, other = new_run(store), new_run(store)
    # When
    proxy.cut(WORD, where)
    results = store.append([other.next(3), Run("nobody").next(), run.next(2)])
    # Then
    assert proxy.cuts == 1
    assert [type(result) for result in results] == [Appended, VersionConflict, Appended]
    assert [len(store.read(r.run_id)) for r in (run, other)] == [3, 4]


@pytest.mark.parametrize("where", WHERE)
def test_a3_a_creation_that_is_cut_is_settled_too(store: PostgresStore, proxy: CuttingProxy, where: Where) -> None:
    # Given
    new_run(store)
    request = Run("R1").next(create=new_stream(key="k"))
    # When
    proxy.cut(WORD, where)
    # Then
    assert store.append([request]) == [Appended(1)]
    assert len(store.read("R1")) == 1


def test_a3_what_did_not_arrive_is_not_sent_again_after_another_writer(
    store: PostgresStore, proxy: CuttingProxy, beside: Store
) -> None:
    # Given: while our request is lost, somebody else appends
    me, you = joined(beside), joined(beside)
    run = new_run(store, owner=me.id)
    proxy.cut(WORD, "request")
    rival = Run(run.run_id, 2, run.version, run.head)
    sent = store._writer._send

    def overtaken(requests: object) -> set[str]:
        try:
            return sent(requests)  # type: ignore[arg-type]
        finally:
            if rival.version == 1:
                assert isinstance(beside.claim(run.run_id, you.id, takeover_s=-1), Claim)
                rival.put(beside, actor="rival")

    store._writer._send = overtaken  # type: ignore[method-assign]
    # When
    [result] = store.append([run.next(actor="me")])
    # Then
    assert isinstance(result, Fenced)
    assert [event.actor for event in beside.read(run.run_id, after_version=1)] == ["rival"]


def test_rel_r3_300_ambiguous_commits_lose_nothing_and_double_nothing(
    store: PostgresStore, proxy: CuttingProxy
) -> None:
    # Given
    runs = [new_run(store) for _ in range(6)]
    # When: every append is cut, each time at another place
    for n in range(300):
        batch = [runs[n % 6]] if n % 2 else [runs[n % 6], runs[(n + 3) % 6]]
        proxy.cut(WORD, WHERE[n % 3])
        requests = [run.next(1 + n % 3) for run in batch]
        assert store.append(requests) == [Appended(request.events[-1].version) for request in requests]
        for run, request in zip(batch, requests, strict=True):
            run.appended(request)
    # Then
    assert proxy.cuts == 300
    for run in runs:
        assert [e.hash for e in verified(run.run_id, store.read(run.run_id))][-1] == run.head
        assert len(store.read(run.run_id)) == run.version
    assert len(everything(store)) == sum(run.version for run in runs)


def test_rel_r3_a_caller_that_sends_again_after_unavailable_doubles_nothing(
    postgres_url: str, proxy: CuttingProxy, beside: Store
) -> None:
    # Given a store that gives up at once
    store = PostgresStore.from_url(through(proxy.port, postgres_url, reconnect_s=0.001))
    run = new_run(store)
    gave_up = 0
    # When
    for n in range(30):
        request = run.next()
        proxy.cut(WORD, WHERE[n % 3])
        while True:
            try:
                assert store.append([request]) == [Appended(run.version + 1)]
                break
            except StoreUnavailable:
                gave_up += 1
        run.appended(request)
    # Then
    assert proxy.cuts == 30
    assert gave_up
    assert [e.hash for e in verified(run.run_id, beside.read(run.run_id))][-1] == run.head
    store.close()


@pytest.mark.parametrize("where", WHERE)
def test_b1_a_claim_that_is_cut_is_granted_once_or_not_at_all(
    store: PostgresStore, proxy: CuttingProxy, beside: Store, where: Where
) -> None:
    # Given
    run, me = new_run(store), joined(store)
    store.read(run.run_id)
    proxy.cut(b"SET owner", where)
    # When
    try:
        claim = store.claim(run.run_id, me.id, takeover_s=20)
    except StoreUnavailable:
        claim = store.claim(run.run_id, me.id, takeover_s=20)
    # Then
    assert proxy.cuts == 1
    assert claim == Claim(1, 1, run.head)
    row = beside.stream(run.run_id)
    assert row is not None
    assert (row.owner, row.epoch) == (me.id, 1)
