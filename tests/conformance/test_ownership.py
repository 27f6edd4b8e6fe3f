"""Who owns a run, and when somebody else may (rules B1, B2)."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest

from flowledger.adapters.ids import new_ulid
from flowledger.events.errors import Fenced
from flowledger.events.store import Appended, Claim, Held, Store

from .streams import Run, joined, new_run


def test_b1_a_run_without_an_owner_is_claimed_under_the_next_epoch(store: Store) -> None:
    # Given
    run, me = new_run(store, count=2), joined(store)
    # When
    claim = store.claim(run.run_id, me.id, takeover_s=20)
    # Then
    assert claim == Claim(epoch=1, version=2, head_hash=run.head)
    row = store.stream(run.run_id)
    assert row is not None
    assert (row.owner, row.epoch) == (me.id, 1)
    run.epoch = 1
    run.put(store)


def test_b1_a_run_created_with_an_owner_is_at_epoch_one(store: Store, elsewhere: Store) -> None:
    # Given
    me, you = joined(store, host="h1"), joined(elsewhere)
    run = new_run(store, owner=me.id)
    # When
    held = elsewhere.claim(run.run_id, you.id, takeover_s=20)
    # Then
    assert isinstance(held, Held)
    assert held[:3] == (me.id, "h1", 4711)
    assert 0 <= held.seen_s < 20
    run.put(store)


def test_b1_nobody_takes_over_from_itself(store: Store) -> None:
    # Given
    me = joined(store)
    run = new_run(store, owner=me.id)
    # When / Then: not even when it would count as dead
    assert isinstance(store.claim(run.run_id, me.id, takeover_s=-1), Held)
    store.leave(me.id)
    assert isinstance(store.claim(run.run_id, me.id, takeover_s=20), Held)


def test_b2_who_drives_a_run_is_told_as_long_as_it_lives(store: Store, elsewhere: Store) -> None:
    # Given
    me = joined(store, host="h1")
    run = new_run(store, owner=me.id)
    # Then
    driver = elsewhere.driver(run.run_id)
    assert driver is not None
    assert driver[:3] == (me.id, "h1", 4711)
    assert 0 <= driver.seen_s < 20
    # When it has left, and of a run that nobody owns, and of one that is not there
    store.leave(me.id)
    # Then
    assert elsewhere.driver(run.run_id) is None
    assert elsewhere.driver(new_run(store).run_id) is None
    assert elsewhere.driver(new_ulid()) is None


def test_there_is_no_claim_on_a_run_that_does_not_exist(store: Store) -> None:
    assert store.claim(new_ulid(), joined(store).id, takeover_s=20) is None


@pytest.mark.parametrize("dies_by", ["leaving", "silence", "never joining"])
def test_b2_a_dead_owner_is_taken_over_from_and_fenced(store: Store, elsewhere: Store, dies_by: str) -> None:
    # Given
    owner_id = new_ulid() if dies_by == "never joining" else joined(store).id
    run, me = new_run(store, owner=owner_id), joined(elsewhere)
    if dies_by == "leaving":
        store.leave(owner_id)
    # When
    claim = elsewhere.claim(run.run_id, me.id, takeover_s=-1 if dies_by == "silence" else 20)
    # Then
    assert claim == Claim(epoch=2, version=1, head_hash=run.head)
    [late] = store.append([run.next()])
    assert isinstance(late, Fenced)
    assert elsewhere.append([Run(run.run_id, 2, run.version, run.head).next()]) == [Appended(2)]


def test_b1_of_many_claimers_one_wins(store: Store, elsewhere: Store) -> None:
    # Given
    run = new_run(store)
    owners = [joined(s).id for s in [store, elsewhere] * 4]
    # When
    with ThreadPoolExecutor(8) as pool:
        stores = [store, elsewhere] * 4
        results = list(pool.map(lambda s, owner: s.claim(run.run_id, owner, takeover_s=20), stores, owners))
    # Then
    assert sorted(type(result).__name__ for result in results) == ["Claim"] + 7 * ["Held"]


def test_release_frees_the_run_only_under_its_epoch(store: Store) -> None:
    # Given
    one, two, three = joined(store), joined(store), joined(store)
    run = new_run(store)
    assert isinstance(store.claim(run.run_id, one.id, takeover_s=20), Claim)
    store.release(run.run_id, epoch=1)
    assert isinstance(store.claim(run.run_id, two.id, takeover_s=20), Claim)
    # When: the first one releases a second time, late
    store.release(run.run_id, epoch=1)
    # Then
    assert isinstance(store.claim(run.run_id, three.id, takeover_s=20), Held)


def test_b2_a_beat_says_the_time_and_makes_the_owner_seen(store: Store) -> None:
    # Given
    me, you = joined(store), joined(store)
    run = new_run(store, owner=me.id)
    # When
    before, seen_us, after = store.now_us(), store.beat(me.id), store.now_us()
    # Then
    assert before <= seen_us <= after
    held = store.claim(run.run_id, you.id, takeover_s=20)
    assert isinstance(held, Held)
    assert held.seen_s <= (store.now_us() - seen_us) / 1e6


def test_b2_a_beat_without_a_row_is_fenced(store: Store) -> None:
    # Given
    me = joined(store)
    store.leave(me.id)
    # When / Then
    with pytest.raises(Fenced, match=me.id):
        store.beat(me.id)


def test_leaving_twice_is_leaving_once(store: Store) -> None:
    me = joined(store)
    store.leave(me.id)
    store.leave(me.id)
