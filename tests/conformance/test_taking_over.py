"""A person takes a run away from an owner, on every store (rules B1 to B3)."""

from __future__ import annotations

from typing import Any

import pytest

from flowledger.adapters.taking_over import take_over
from flowledger.events.chain import verified
from flowledger.events.errors import Fenced, IllegalRequest, InputError, RunOwned
from flowledger.events.store import Claim, Store, Stream

from .streams import Run, joined, new_run
from .test_board import OFFER

#: Everybody that was ever heard lives, and nobody does.
ALIVE, DEAD = 20.0, -1.0


def stream(store: Store, run: Run) -> Stream:
    found = store.stream(run.run_id)
    assert found is not None
    return found


def taken(store: Store, run: Run, *, fresh_s: float = DEAD, **more: Any) -> bool:
    wanted: dict[str, Any] = {"reason": "it hangs", "actor": "ada@host", "fresh_s": fresh_s} | more
    return take_over(store, stream(store, run), **wanted)


def test_b1_a_run_taken_from_its_owner_says_so_and_the_owner_is_fenced(store: Store, elsewhere: Store) -> None:
    # Given
    me, you = joined(store), joined(store)
    run = new_run(store, owner=me.id)
    # When
    assert taken(elsewhere, run)
    # Then it is in the log, chained to what was there, with who and why
    rows = store.read(run.run_id, limit=10)
    assert len(list(verified(run.run_id, rows))) == 2
    [_, told] = rows
    assert (told.type, told.actor) == ("RunReleased", "ada@host")
    assert b"it hangs" in told.payload
    assert me.id.encode() in told.payload
    # And the old owner can append nothing, while the next goes on after it
    assert isinstance(store.append([run.next()])[0], Fenced)
    row = stream(store, run)
    assert (row.owner, row.status, row.version) == (None, "RUNNING", 2)
    assert store.claim(run.run_id, you.id, takeover_s=20) == Claim(3, 2, told.hash)


def test_b2_a_run_of_an_owner_that_was_heard_just_now_is_taken_only_by_force(store: Store, elsewhere: Store) -> None:
    # Given
    me = joined(store, host="h1")
    run = new_run(store, owner=me.id)
    # When / Then
    with pytest.raises(RunOwned, match="process 4711 on h1, which was heard 0 s ago"):
        taken(elsewhere, run, fresh_s=ALIVE)
    run.put(store)
    assert taken(elsewhere, run, fresh_s=ALIVE, force=True)
    assert isinstance(store.append([run.next()])[0], Fenced)


def test_b2_a_run_of_an_owner_that_is_gone_needs_no_force(store: Store) -> None:
    # Given
    me = joined(store)
    run = new_run(store, owner=me.id)
    store.leave(me.id)
    # When / Then
    assert taken(store, run, fresh_s=ALIVE)


def test_b3_a_job_that_is_taken_is_on_the_board_again_whatever_it_waits_for(store: Store) -> None:
    # Given one that waits for a time far ahead, at an owner that is taken for dead
    me, you, run = joined(store), joined(store), new_run(store, queue="shop")
    [claimed] = store.board.claim(me.id, OFFER, limit=1)
    run.epoch = claimed.claim.epoch
    run.put(store, wake_at_us=4_000_000_000_000_000)
    # When
    assert taken(store, run)
    # Then
    assert [run_id for run_id, _ in store.board.claim(you.id, OFFER, limit=10)] == [run.run_id]
    shown = store.board.job(run.run_id)
    assert shown is not None
    assert shown.note is not None
    assert (shown.note.remark, shown.note.reason, shown.note.actor) == ("released", "it hangs", "ada@host")


def test_b1_what_nobody_has_is_not_taken_and_nothing_is_written(store: Store) -> None:
    # Given
    run = new_run(store)
    # When / Then
    assert not taken(store, run)
    assert stream(store, run).version == 1


def test_a_takeover_needs_a_reason_and_a_run_that_goes_on(store: Store) -> None:
    # Given
    run, over = new_run(store, owner=joined(store).id), new_run(store)
    over.put(store, status="SUSPENDED")
    # When / Then
    with pytest.raises(InputError, match="needs a reason"):
        taken(store, run, reason=" ")
    with pytest.raises(IllegalRequest, match="SUSPENDED"):
        taken(store, over)
    assert stream(store, run).epoch == 1
