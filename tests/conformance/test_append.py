"""What an append does, and when it is refused (rules A1 to A3, A7, G8)."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from msgspec.structs import replace

from flowledger.adapters.ids import new_ulid
from flowledger.events.envelope import StoredEvent
from flowledger.events.errors import Fenced, InternalError, KeyTaken, StoreError, VersionConflict
from flowledger.events.store import Append, Appended, Claim, PlanRow, Store, Stream

from .streams import NOW_US, Run, everything, joined, new_run, new_stream, payload_row


def test_what_is_appended_is_read_back_byte_for_byte(store: Store, elsewhere: Store) -> None:
    # Given
    run = new_run(store)
    # When
    second = run.put(store, 3, payload=b'{"n": 1e16,  "s": "\\u0000"}')
    # Then
    assert store.read(run.run_id, after_version=1) == second.events
    assert elsewhere.read(run.run_id, after_version=1) == second.events
    assert all(type(event) is StoredEvent for event in store.read(run.run_id))


def test_a7_the_stream_row_says_what_the_last_append_said(store: Store) -> None:
    # Given
    run = new_run(store, key="k", tags={"team": "net", "ü": "✓"}, queue="q", priority=3)
    # When
    run.put(store, 2, status="SUSPENDING", direction="BACK", wake_at_us=77)
    # Then
    assert store.stream(run.run_id) == Stream(
        run_id=run.run_id, app="shop", factory="order", key="k", inputs_digest="d0", tags={"team": "net", "ü": "✓"},
        queue="q", priority=3, status="SUSPENDING", direction="BACK", wake_at_us=77, owner=None, epoch=0, requests=0,
        version=3, head_hash=run.head, created_us=NOW_US + 1,
    )  # fmt: skip
    # When the timer is gone / Then so is its time
    run.put(store)
    row = store.stream(run.run_id)
    assert row is not None
    assert (row.wake_at_us, row.direction) == (None, "FORWARD")


@pytest.mark.parametrize("wrong", [{"expected": 1}, {"expected": 3}], ids=["behind", "ahead"])
def test_a3_an_append_that_expects_another_version_is_refused(store: Store, wrong: dict[str, Any]) -> None:
    # Given a run at version 2
    run = new_run(store, count=2)
    # When somebody appends who has not seen that
    stranger = Run(run.run_id, version=wrong["expected"])
    [result] = store.append([stranger.next()])
    # Then
    assert isinstance(result, VersionConflict)
    assert "is at version 2" in str(result)
    assert len(store.read(run.run_id)) == 2


def test_a3_an_append_to_a_run_that_does_not_exist_is_refused(store: Store) -> None:
    [result] = store.append([Run(new_ulid()).next()])
    assert isinstance(result, VersionConflict)
    assert not everything(store)


def test_a3_an_append_under_another_epoch_is_fenced(store: Store) -> None:
    # Given: owner one has lost the run to two
    one, two = joined(store), joined(store)
    run = new_run(store, owner=one.id)
    store.leave(one.id)
    store.claim(run.run_id, two.id, takeover_s=20)
    # When
    [result] = store.append([run.next()])
    # Then: even though its version is right
    assert isinstance(result, Fenced)
    assert len(store.read(run.run_id)) == 1


def test_a3_two_writers_of_one_version_one_wins(store: Store, elsewhere: Store) -> None:
    # Given
    run = new_run(store)
    rivals = [run.next(actor=f"writer-{n}") for n in range(8)]
    # When
    with ThreadPoolExecutor(8) as pool:
        stores = [store, elsewhere] * 4
        results = [r[0] for r in pool.map(lambda s, request: s.append([request]), stores, rivals)]
    # Then
    assert sorted(type(result).__name__ for result in results) == ["Appended"] + 7 * ["VersionConflict"]
    assert [e.actor for e in store.read(run.run_id, after_version=1)] == [
        rival.events[0].actor for rival, result in zip(rivals, results, strict=True) if isinstance(result, Appended)
    ]


def test_a3_an_append_sent_again_after_it_arrived_is_not_refused_and_not_doubled(store: Store) -> None:
    # Given: the answer to this append was lost
    run = new_run(store)
    request = run.next(2)
    store.append([request])
    # When
    again = store.append([request])
    # Then
    assert again == [Appended(3)]
    assert len(store.read(run.run_id)) == 3


def test_a3_a_creation_sent_again_after_it_arrived_is_not_refused_and_not_doubled(store: Store) -> None:
    # Given
    request = Run(new_ulid()).next(create=new_stream(key="k"))
    store.append([request])
    # When / Then
    assert store.append([request]) == [Appended(1)]
    assert len(everything(store)) == 1


def test_a3_a_refused_run_leaves_no_trace_and_does_not_disturb_the_others(store: Store) -> None:
    # Given one run per way of being refused, between two that are fine
    owner = joined(store)
    behind, owned, first, last = new_run(store), new_run(store, owner=owner.id), new_run(store), new_run(store)
    new_run(store, key="taken")
    before = len(everything(store))
    content = payload_row(b"never stored")
    refused = {
        "VersionConflict": Run(behind.run_id, version=5).next(2, payloads=[content]),
        "Fenced": replace(owned.next(2), epoch=7),
        "KeyTaken": Run(new_ulid()).next(create=new_stream(key="taken")),
    }
    batch = [first.next(2), *refused.values(), last.next()]
    # When
    results = store.append(batch)
    # Then
    assert [type(result).__name__ for result in results] == ["Appended", *refused, "Appended"]
    assert len(everything(store)) == before + 3
    assert store.payload(behind.run_id, content.digest) is None
    assert store.stream(refused["KeyTaken"].run_id) is None
    row = store.stream(behind.run_id)
    assert row is not None
    assert (row.version, row.head_hash) == (1, behind.head)


def test_g7_a_run_is_begotten_only_while_its_parent_is_at_the_epoch(store: Store, elsewhere: Store) -> None:
    # Given a run that has been claimed by another process since
    before, after = joined(store), joined(elsewhere)
    parent = new_run(store, owner=before.id)
    child = Run(new_ulid())
    claim = elsewhere.claim(parent.run_id, after.id, takeover_s=-1)
    assert isinstance(claim, Claim)
    # When the one that has lost it begets a run in its name, with others in the same batch
    other = Run(new_ulid())
    late = child.next(create=new_stream(key="c", parent=parent.run_id, parent_epoch=parent.epoch))
    begotten, made = store.append([late, other.next(create=new_stream())])
    # Then it is fenced, and leaves no trace
    assert isinstance(begotten, Fenced)
    assert made == Appended(1)
    assert store.stream(child.run_id) is None
    assert elsewhere.find(app="shop", factory="order", key="c") is None
    # And the one that has the run begets it
    kept = child.next(create=new_stream(key="c", parent=parent.run_id, parent_epoch=claim.epoch))
    assert elsewhere.append([kept]) == [Appended(1)]
    # And it is there when it is sent again
    assert elsewhere.append([kept]) == [Appended(1)]


def test_g7_a_run_whose_parent_does_not_exist_is_not_begotten(store: Store) -> None:
    child = Run(new_ulid())
    [result] = store.append([child.next(create=new_stream(parent="nobody", parent_epoch=1))])
    assert isinstance(result, Fenced)


def test_g8_a_key_is_taken_once_per_app_and_factory(store: Store) -> None:
    # Given
    holder = new_run(store, key="c-42")
    # When
    [result] = store.append([Run(new_ulid()).next(create=new_stream(key="c-42"))])
    # Then
    assert isinstance(result, KeyTaken)
    assert result.run_id == holder.run_id
    new_run(store, key="c-42", factory="refund")
    new_run(store, key="c-42", app="depot")
    new_run(store, key=None)
    new_run(store, key=None)


def test_g8_of_two_creations_in_one_batch_the_first_has_the_key(store: Store) -> None:
    # Given
    first, second = (Run(new_ulid()).next(create=new_stream(key="k")) for _ in range(2))
    # When
    results = store.append([first, second])
    # Then
    assert results[0] == Appended(1)
    assert isinstance(results[1], KeyTaken)
    assert results[1].run_id == first.run_id


def test_a_run_is_created_once(store: Store) -> None:
    # Given
    run = new_run(store)
    # When
    [result] = store.append([Run(run.run_id).next(create=new_stream(), actor="another")])
    # Then
    assert isinstance(result, VersionConflict)


def test_a2_a_run_stands_once_in_a_batch(store: Store) -> None:
    # Given
    run = new_run(store)
    # When / Then
    with pytest.raises(InternalError, match="twice"):
        store.append([run.next(), run.next()])
    assert len(store.read(run.run_id)) == 1


def _without_first(request: Append) -> Append:
    return replace(request, events=request.events[1:])


def _without_any(request: Append) -> Append:
    return replace(request, events=[])


@pytest.mark.parametrize("broken", [_without_first, _without_any])
def test_events_that_do_not_follow_are_refused_before_anything_is_written(store: Store, broken: Any) -> None:
    run, fine = new_run(store), new_run(store)
    with pytest.raises(InternalError):
        store.append([fine.next(), broken(run.next(3))])
    assert len(everything(store)) == 2


def test_release_gives_the_run_up_with_the_append(store: Store) -> None:
    # Given
    one, two = joined(store), joined(store)
    run = new_run(store, owner=one.id)
    # When
    run.put(store, release=True, status="SUSPENDED")
    # Then
    row = store.stream(run.run_id)
    assert row is not None
    assert (row.owner, row.epoch) == (None, 1)
    assert store.claim(run.run_id, two.id, takeover_s=20) == (2, 2, run.head)


def test_a8_payloads_and_plans_come_with_the_events_and_are_kept_once(store: Store) -> None:
    # Given
    run, other = new_run(store), new_run(store)
    content = payload_row(b"\x00\xff" * 50_000)
    # When: the same value comes a second time
    for _ in range(2):
        run.put(store, payloads=[content, content], plans=[PlanRow("f1", b"{plan}"), PlanRow("f3", b"{part}")])
    other.put(store, plans=[PlanRow("f1", b"{plan}")])
    # Then
    assert store.payload(run.run_id, content.digest) == content.content
    assert store.payload(other.run_id, content.digest) is None
    assert (store.plan("f1"), store.plan("f3")) == (b"{plan}", b"{part}")
    assert store.plan("f2") is None


def test_an_empty_batch_is_nothing(store: Store) -> None:
    assert store.append([]) == []


def test_a_refusal_is_a_value_with_a_code(store: Store) -> None:
    [result] = store.append([Run("nobody").next()])
    assert isinstance(result, StoreError)
    assert result.code == "FL602"
