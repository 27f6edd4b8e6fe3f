"""Mail for runs: who sends it, who meets it, and what it stands against (rules B7, C2, G1)."""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from threading import Barrier

import pytest

from flowledger.adapters.ids import new_ulid
from flowledger.events.errors import Fenced, InboxNotEmpty
from flowledger.events.store import (
    FINAL,
    Appended,
    Claim,
    Due,
    Inbox,
    InboxRow,
    Mail,
    NotSent,
    Owner,
    RunStatus,
    Sent,
    Store,
)

from .streams import Run, joined, new_run, new_stream

LONG_S = 30.0  # longer than anything takes that works


def mail(run: Run | str, id_: str = "", kind: str = "suspend", content: bytes = b'{"reason": "x"}', *,
         actor: str = "ada@host", live: bool = False) -> Mail:  # fmt: skip
    """Mail for a run, with an id that nobody has used unless it is given."""
    return Mail(run.run_id if isinstance(run, Run) else run, id_ or new_ulid(), kind, content, actor, live)


def requests_of(store: Store, run: Run) -> int:
    row = store.stream(run.run_id)
    assert row is not None
    return row.requests


def numbers(inbox: Inbox) -> list[int]:
    return [row.number for row in inbox.rows]


def expecting(store: Store, owner: Owner, seen: Mapping[str, int] | None = None) -> Future[Due]:
    """`Store.due` in a thread of its own, with much time."""
    pool = ThreadPoolExecutor(1)
    future = pool.submit(store.due, owner.id, seen=dict(seen or {}), timeout_s=LONG_S)
    pool.shutdown(wait=False)
    return future


# -- sending and reading ------------------------------------------------------------------------


def test_g1_what_is_sent_is_read_back_in_order_and_raises_the_count(store: Store, elsewhere: Store) -> None:
    # Given
    run, other = new_run(store), new_run(store)
    before_us = store.now_us()
    # When
    first, second = mail(run, "a\0b", content=b'{"n": 1e16}'), mail(run, kind="signal", actor="über@host\x01")
    results = [*store.send([first]), *elsewhere.send([second, mail(other)])]
    # Then
    assert results == [Sent("RUNNING", None)] * 3
    requests, rows = store.inbox(run.run_id)
    assert requests == requests_of(store, run) == 2
    assert [row[:5] for row in rows] == [(n, m.id, m.kind, m.content, m.actor) for n, m in ((1, first), (2, second))]
    assert all(type(row) is InboxRow and before_us <= row.time_us <= store.now_us() for row in rows)
    # and from a number on
    assert numbers(elsewhere.inbox(run.run_id, after=1)) == [2]
    assert elsewhere.inbox(run.run_id, after=2) == Inbox(2, [])


def test_an_inbox_without_mail_is_empty(store: Store) -> None:
    assert store.inbox(new_run(store).run_id) == Inbox(0, [])
    assert store.inbox(new_ulid()) == Inbox(0, [])
    assert store.send([]) == []


def test_mail_to_nobody_is_not_sent(store: Store) -> None:
    # Given
    run = new_run(store)
    # When / Then: the rest of the batch is
    assert store.send([mail(new_ulid()), mail(run)]) == [NotSent(None), Sent("RUNNING", None)]
    assert requests_of(store, run) == 1


def test_the_answer_says_who_owns_the_run(store: Store) -> None:
    me = joined(store)
    assert store.send([mail(new_run(store, owner=me.id))]) == [Sent("RUNNING", me.id)]


def test_g1_the_same_id_again_is_the_same_mail(store: Store, elsewhere: Store) -> None:
    # Given
    run = new_run(store)
    once = mail(run, "r1")
    # When
    results = [*store.send([once]), *elsewhere.send([once, once, mail(run, "r2")])]
    # Then
    assert results == [Sent("RUNNING", None)] * 4
    assert [row.id for row in store.inbox(run.run_id).rows] == ["r1", "r2"]


def test_g1_the_same_id_for_two_runs_is_two_mails(store: Store) -> None:
    one, two = new_run(store), new_run(store)
    store.send([mail(one, "r"), mail(two, "r")])
    assert [len(store.inbox(run.run_id).rows) for run in (one, two)] == [1, 1]


@pytest.mark.parametrize("status", sorted(FINAL))
def test_f4_mail_for_live_runs_is_not_sent_to_a_final_one(store: Store, status: RunStatus) -> None:
    # Given
    run = new_run(store)
    run.put(store, status=status)
    # When / Then
    assert store.send([mail(run, live=True)]) == [NotSent(status)]
    assert store.inbox(run.run_id) == Inbox(0, [])
    # Mail for any run is
    assert store.send([mail(run)]) == [Sent(status, None)]
    assert store.inbox(run.run_id).requests == 1


def test_many_senders_at_once_lose_nothing(store: Store, elsewhere: Store) -> None:
    # Given
    one, two = new_run(store), new_run(store)
    barrier = Barrier(8)

    def send(n: int) -> None:
        barrier.wait()
        for round_ in range(5):
            ids = [f"{n}-{round_}", "same"]
            runs = (one, two) if n % 2 else (two, one)
            (store, elsewhere)[n % 2].send([mail(run, id_) for run in runs for id_ in ids])

    # When
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(send, range(8)))
    # Then
    for run in (one, two):
        requests, rows = store.inbox(run.run_id)
        assert sorted(row.id for row in rows) == sorted([*(f"{n}-{r}" for n in range(8) for r in range(5)), "same"])
        assert requests == requests_of(store, run) == 80
        assert numbers(Inbox(0, rows)) == sorted({row.number for row in rows})


# -- answering ----------------------------------------------------------------------------------


def test_c2_an_append_takes_out_what_it_answers(store: Store, elsewhere: Store) -> None:
    # Given
    run, other = new_run(store), new_run(store)
    store.send([mail(run), mail(run), mail(run), mail(other)])
    # When
    run.put(elsewhere, answers=[1, 3])
    # Then
    assert numbers(store.inbox(run.run_id)) == [2]
    assert numbers(store.inbox(other.run_id)) == [1]
    assert requests_of(store, run) == 3


def test_c2_an_append_that_is_refused_takes_nothing_out(store: Store) -> None:
    # Given
    run, fine = new_run(store), new_run(store)
    store.send([mail(run), mail(fine)])
    # When
    stranger = Run(run.run_id, epoch=7, version=1, head=run.head)
    refused, accepted = store.append([stranger.next(answers=[1]), fine.next(answers=[1])])
    # Then
    assert isinstance(refused, Fenced)
    assert accepted == Appended(2)
    assert numbers(store.inbox(run.run_id)) == [1]
    assert numbers(store.inbox(fine.run_id)) == []


def test_c2_answers_ride_with_any_append(store: Store) -> None:
    # Given: two runs in one batch, one of them long, one new
    run, long = new_run(store), new_run(store)
    store.send([mail(run), mail(long), mail(long)])
    fresh = Run(new_ulid())
    # When
    batch = [run.next(answers=[1]), long.next(30, answers=[1, 2]), fresh.next(create=new_stream())]
    # Then
    assert store.append(batch) == [Appended(2), Appended(31), Appended(1)]
    assert [numbers(store.inbox(r.run_id)) for r in (run, long)] == [[], []]


def test_an_answered_id_may_be_sent_again_and_is_the_readers_to_know(store: Store) -> None:
    # Given
    run = new_run(store)
    store.send([mail(run, "r1")])
    run.put(store, answers=[1])
    # When: the answer to the sender was lost
    store.send([mail(run, "r1")])
    # Then
    assert [(row.number, row.id) for row in store.inbox(run.run_id).rows] == [(2, "r1")]


# -- the end of a run ---------------------------------------------------------------------------


@pytest.mark.parametrize("count", [1, 30], ids=["short", "long"])
@pytest.mark.parametrize("together", [False, True], ids=["alone", "together"])
def test_g1_a_run_does_not_end_over_mail_it_has_not_seen(store: Store, together: bool, count: int) -> None:
    # Given
    run, other = new_run(store), new_run(store)
    store.send([mail(run)])
    batch = [run.next(count, status="SUCCEEDED", seen=0)] + ([other.next(seen=0)] if together else [])
    # When
    refused, *rest = store.append(batch)
    # Then
    assert isinstance(refused, InboxNotEmpty)
    assert rest == [Appended(2)] * together
    row = store.stream(run.run_id)
    assert row is not None
    assert (row.status, row.version) == ("RUNNING", 1)
    # When it has been seen
    run.put(store, count, status="SUCCEEDED", seen=1, answers=[1])
    # Then
    assert store.inbox(run.run_id) == Inbox(1, [])


def test_g1_what_arrived_is_not_refused_when_it_comes_again(store: Store) -> None:
    # Given an end whose answer was lost, and mail since
    run = new_run(store)
    end = run.put(store, status="SUCCEEDED", seen=0)
    store.send([mail(run)])
    # When / Then
    assert store.append([end]) == [Appended(2)]


def test_g1_an_append_behind_is_a_conflict_whatever_mail_there_is(store: Store) -> None:
    # Given
    run = new_run(store)
    late = run.next(seen=0, actor="late")
    run.put(store)
    store.send([mail(run)])
    # When
    [refused] = store.append([late])
    # Then
    assert type(refused).__name__ == "VersionConflict"


def test_g1_end_and_request_do_not_miss_each_other(store: Store, elsewhere: Store) -> None:
    # Given / When: both at once, many times
    for _ in range(20):
        run, barrier = new_run(store), Barrier(2)

        def ends(run: Run = run, barrier: Barrier = barrier) -> bool:
            barrier.wait()
            return isinstance(store.append([run.next(status="SUCCEEDED", seen=0)])[0], Appended)

        def sends(run: Run = run, barrier: Barrier = barrier) -> bool:
            barrier.wait()
            return isinstance(elsewhere.send([mail(run, live=True)])[0], Sent)

        with ThreadPoolExecutor(2) as pool:
            ended, sent = pool.submit(ends), pool.submit(sends)
        # Then: the run has ended, or it has mail
        assert ended.result() is not sent.result()


# -- waiting for mail ---------------------------------------------------------------------------


def test_b7_an_owner_is_told_of_mail_for_its_runs_and_no_others(store: Store, elsewhere: Store) -> None:
    # Given
    me, you = joined(store), joined(elsewhere)
    mine, yours, nobodys = new_run(store, owner=me.id), new_run(store, owner=you.id), new_run(store)
    # When
    store.send([mail(mine), mail(yours), mail(nobodys), mail(mine)])
    # Then
    assert store.due(me.id, seen={}, timeout_s=LONG_S) == Due({mine.run_id: 2})
    assert elsewhere.due(you.id, seen={}, timeout_s=LONG_S) == Due({yours.run_id: 1})


def test_b7_without_mail_the_time_goes_by(store: Store) -> None:
    me = joined(store)
    run = new_run(store, owner=me.id)
    assert store.due(me.id, seen={}, timeout_s=0) == Due({})
    store.send([mail(run)])
    assert store.due(me.id, seen={run.run_id: 1}, timeout_s=0.05) == Due({})
    assert store.due(me.id, seen={new_ulid(): 1}, timeout_s=LONG_S) == Due({run.run_id: 1})


@pytest.mark.parametrize("where", ["here", "elsewhere"])
def test_b7_who_waits_is_woken_by_mail(store: Store, elsewhere: Store, where: str) -> None:
    # Given
    me = joined(store)
    run, seen = new_run(store, owner=me.id), dict[str, int]()
    sender = store if where == "here" else elsewhere
    for number in (1, 2, 3):
        waiting = expecting(store, me, seen)
        # When
        sender.send([mail(run)])
        # Then
        assert waiting.result(LONG_S) == Due({run.run_id: number})
        seen[run.run_id] = number


def test_b7_what_is_claimed_brings_its_mail(store: Store, elsewhere: Store) -> None:
    # Given mail to a run that nobody owns
    me = joined(store)
    run = new_run(store)
    elsewhere.send([mail(run)])
    waiting = expecting(store, me)
    # When
    assert isinstance(store.claim(run.run_id, me.id, takeover_s=20), Claim)
    # Then
    assert waiting.result(LONG_S) == Due({run.run_id: 1})


def test_b7_who_leaves_waits_no_more(store: Store) -> None:
    # Given
    me, you = joined(store), joined(store)
    waiting = [expecting(store, owner) for owner in (me, you)]
    # When
    store.leave(me.id)
    # Then
    assert waiting[0].result(LONG_S / 2) == Due({})
    assert not waiting[1].done()
    assert store.due(me.id, seen={}, timeout_s=LONG_S) == Due({})
    store.leave(you.id)
    assert waiting[1].result(LONG_S / 2) == Due({})
