"""The job board: who is given which run (rules B1, B3)."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import pytest

from flowledger.events.board import Claimed, Conductor, Offer
from flowledger.events.errors import Fenced
from flowledger.events.store import Appended, Claim, Mail, Store

from .streams import Run, joined, new_run

OFFER = Offer(app="shop", factories=("order",), queues=("shop",), takeover_s=20)
FAR_US = 4_000_000_000_000_000


def job(store: Store, **fields: Any) -> Run:
    """A run that waits for an owner."""
    return new_run(store, **{"queue": "shop", **fields})


def taken(store: Store, owner_id: str, *, limit: int = 100, offer: Offer = OFFER, but: Sequence[str] = ()) -> list[str]:
    return [run_id for run_id, _ in store.board.claim(owner_id, offer, limit=limit, but=but)]


def saying(owner_id: str, **fields: object) -> Conductor:
    said = Conductor(
        owner=owner_id, host="", pid=0, app="", factories=("order",), queues=("shop",), runs=0, max_runs=10,
        draining=False, seen_s=0.0,
    )  # fmt: skip
    return replace(said, **fields)  # type: ignore[arg-type]


# -- claiming -----------------------------------------------------------------------------------


def test_b1_a_job_is_claimed_under_the_next_epoch_and_once(store: Store, elsewhere: Store) -> None:
    # Given
    waiting, me, you = job(store), joined(store), joined(elsewhere)
    # When
    claimed = store.board.claim(me.id, OFFER, limit=10)
    # Then
    assert [run_id for run_id, _ in claimed] == [waiting.run_id]
    assert claimed[0].claim == (1, 1, waiting.head)
    assert taken(elsewhere, you.id) == taken(store, me.id) == []
    waiting.epoch = 1
    waiting.put(store)


def test_b1_higher_priority_first_then_oldest_and_no_more_than_asked_for(store: Store) -> None:
    # Given
    me = joined(store)
    low, first, second, high = (job(store, priority=p) for p in (-1, 0, 0, 7))
    # When
    claimed = [*taken(store, me.id, limit=3), *taken(store, me.id, limit=3)]
    # Then
    assert claimed == [high.run_id, *sorted([first.run_id, second.run_id]), low.run_id]


@pytest.mark.parametrize(
    "fields", [{"queue": None}, {"queue": "other"}, {"app": "bank"}, {"factory": "refund"}], ids=lambda f: next(iter(f))
)
def test_b3_what_was_not_offered_is_left_alone(store: Store, fields: dict[str, object]) -> None:
    # Given
    job(store, **fields)
    # When / Then
    assert taken(store, joined(store).id) == []


def test_b3_several_queues_and_factories(store: Store) -> None:
    # Given
    runs = {job(store, queue="a").run_id, job(store, queue="b", factory="refund").run_id}
    # When
    offer = replace(OFFER, queues=("a", "b"), factories=("refund", "order"))
    # Then
    assert set(taken(store, joined(store).id, offer=offer)) == runs


def test_b3_runs_that_are_named_are_left_for_others(store: Store) -> None:
    # Given
    me, one, other = joined(store), job(store), job(store)
    # When / Then
    assert taken(store, me.id, but=[one.run_id]) == [other.run_id]


@pytest.mark.parametrize("status", ["SUSPENDED", "SUCCEEDED", "REVERTED", "FAILED", "CANCELLED"])
def test_b1_a_run_that_is_over_or_suspended_is_no_job(store: Store, status: str) -> None:
    # Given
    me, run = joined(store), job(store)
    run.put(store, status=status)
    # When / Then
    assert taken(store, me.id) == []


def test_a7_a_run_that_waits_for_a_time_is_claimed_when_it_has_come(store: Store) -> None:
    # Given one whose time has come and one whose has not
    me, due, ahead = joined(store), job(store), job(store)
    due.put(store, wake_at_us=store.now_us() - 1)
    ahead.put(store, wake_at_us=FAR_US)
    # When / Then
    assert taken(store, me.id) == [due.run_id]


def test_g1_a_suspended_run_whose_time_is_past_has_mail_and_is_a_job(store: Store) -> None:
    # Given
    me, run = joined(store), job(store)
    run.put(store, status="SUSPENDED", wake_at_us=store.now_us() - 1)
    # When / Then
    assert taken(store, me.id) == [run.run_id]


@pytest.mark.parametrize("status", ["SUSPENDED", "FAILED", "RUNNING"])
def test_g1_mail_makes_a_job_that_nobody_owns_claimable(store: Store, status: str) -> None:
    # Given a run that stands still, or waits for a time far ahead
    me, run = joined(store), job(store)
    run.put(store, status=status, wake_at_us=FAR_US if status == "RUNNING" else None)
    assert taken(store, me.id) == []
    # When
    store.send([Mail(run.run_id, "m1", "resume", b"{}", "ada@host")])
    # Then
    assert taken(store, me.id) == [run.run_id]


@pytest.mark.parametrize("dies_by", ["leaving", "silence"])
def test_b1_a_dead_conductors_jobs_are_taken_over_and_it_is_fenced(
    store: Store, elsewhere: Store, dies_by: str
) -> None:
    # Given
    me, you = joined(store), joined(elsewhere)
    run = job(store)
    assert taken(store, me.id) == [run.run_id]
    run.epoch = 1
    assert taken(elsewhere, you.id) == []
    # When
    if dies_by == "leaving":
        store.leave(me.id)
        store.beat(you.id)
    offer = OFFER if dies_by == "leaving" else replace(OFFER, takeover_s=-1)
    claimed = elsewhere.board.claim(you.id, offer, limit=10)
    # Then
    assert [(run_id, claim.epoch) for run_id, claim in claimed] == [(run.run_id, 2)]
    assert isinstance(store.append([run.next()])[0], Fenced)


def test_b1_nobody_takes_over_from_itself(store: Store) -> None:
    # Given
    me = joined(store)
    job(store)
    assert len(taken(store, me.id)) == 1
    # When / Then: not even when it would count as dead
    assert taken(store, me.id, offer=replace(OFFER, takeover_s=-1)) == []


def test_b1_many_conductors_at_once_take_each_job_once(store: Store, elsewhere: Store) -> None:
    # Given
    owners = [joined(store).id for _ in range(8)]
    runs = [job(store, priority=n % 3).run_id for n in range(60)]
    # When
    with ThreadPoolExecutor(8) as pool:

        def take_some(n: int) -> list[str]:
            found: list[str] = []
            while some := taken((store, elsewhere)[n % 2], owners[n], limit=4):
                found += some
            return found

        claimed = [run_id for found in pool.map(take_some, range(8)) for run_id in found]
    claimed += taken(store, owners[0])
    # Then
    assert sorted(claimed) == sorted(runs)


def test_an_owner_keeps_what_it_knows_of_and_lets_go_of_the_rest(store: Store) -> None:
    # Given an owner that never heard that it was given one of its jobs
    me, you = joined(store), joined(store)
    known, unknown = job(store), job(store)
    embedded = new_run(store, owner=me.id)
    assert len(taken(store, me.id)) == 2
    # When
    let_go = store.board.keep(me.id, [known.run_id])
    # Then
    assert let_go == 1
    assert taken(store, you.id) == [unknown.run_id]
    embedded.put(store)


# -- waiting ------------------------------------------------------------------------------------


def finds(store: Store, owner_id: str, *, timeout_s: float = 30, offer: Offer = OFFER, but: Sequence[str] = ()) -> bool:
    return store.board.wait(owner_id, offer, timeout_s=timeout_s, but=but)


@contextmanager
def waiting(store: Store, owner_id: str, offer: Offer = OFFER) -> Iterator[Future[bool]]:
    """Somebody who has looked, found nothing, and looks out for longer than any test takes."""
    assert not finds(store, owner_id, timeout_s=0, offer=offer)
    with ThreadPoolExecutor(1) as pool:
        yield pool.submit(finds, store, owner_id, offer=offer)


def submitted(store: Store, elsewhere: Store) -> None:
    job(store)


def mailed(store: Store, elsewhere: Store) -> None:
    run = job(store)
    run.put(store, status="SUSPENDED")
    elsewhere.send([Mail(run.run_id, "m1", "resume", b"{}", "ada@host")])


def put_back(store: Store, elsewhere: Store) -> None:
    run = job(store)
    store.board.note(run.run_id, "trashed", reason="wrong tenant", actor="ada@host")
    store.board.forget(run.run_id)


def of_somebody(store: Store) -> tuple[Run, str]:
    """A run, and the living owner it has."""
    owner_id = joined(store).id
    return new_run(store, owner=owner_id, queue="shop"), owner_id


def freed(store: Store, elsewhere: Store) -> None:
    assert store.board.free(of_somebody(store)[0].run_id)


def let_go(store: Store, elsewhere: Store) -> None:
    assert store.board.keep(of_somebody(store)[1], []) == 1


def released(store: Store, elsewhere: Store) -> None:
    store.release(of_somebody(store)[0].run_id, epoch=1)


def given_up(store: Store, elsewhere: Store) -> None:
    of_somebody(store)[0].put(store, release=True)


def left(store: Store, elsewhere: Store) -> None:
    store.leave(of_somebody(store)[1])


def coming_due(store: Store, elsewhere: Store) -> None:
    run, _ = of_somebody(store)
    run.put(store, release=True, wake_at_us=store.now_us() + 300_000)


@pytest.mark.parametrize("where", ["here", "elsewhere"])
@pytest.mark.parametrize(
    "comes",
    [submitted, mailed, put_back, freed, let_go, released, given_up, left, coming_due],
    ids=lambda f: f.__name__,
)
def test_b7_who_waits_for_a_job_is_told_when_there_is_one(
    store: Store, elsewhere: Store, comes: Callable[[Store, Store], None], where: str
) -> None:
    # Given
    me = joined(store)
    with waiting(store, me.id) as found:
        # When
        comes(*((store, elsewhere) if where == "here" else (elsewhere, store)))
        # Then it is one that can be claimed
        assert found.result()
    assert len(taken(store, me.id)) == 1
    assert not finds(store, me.id, timeout_s=0)


def test_b2_who_waits_for_a_job_is_told_when_an_owner_has_been_silent_for_too_long(store: Store) -> None:
    # Given an owner that does not beat
    me, run = joined(store), of_somebody(store)[0]
    offer = replace(OFFER, takeover_s=0.5)
    # When / Then
    assert finds(store, me.id, offer=offer)
    assert taken(store, me.id, offer=offer) == [run.run_id]


@pytest.mark.parametrize(
    "fields", [{"queue": None}, {"queue": "other"}, {"app": "bank"}, {"factory": "refund"}], ids=lambda f: next(iter(f))
)
def test_b3_nobody_is_told_of_what_was_not_offered(store: Store, fields: dict[str, object]) -> None:
    # Given
    me = joined(store)
    job(store, **fields)
    # When / Then
    assert not finds(store, me.id, timeout_s=0)
    assert not finds(store, me.id, timeout_s=0.1)


def test_nobody_is_told_of_what_a_claim_would_not_take(store: Store) -> None:
    # Given a job that is moved aside, one to be left to others, one of my own, one whose time has not come
    me, aside, named, mine, ahead = joined(store), job(store), job(store), job(store), job(store)
    ahead.put(store, wake_at_us=FAR_US)
    store.board.note(aside.run_id, "trashed", reason="wrong tenant", actor="ada@host")
    assert taken(store, me.id, but=[named.run_id]) == [mine.run_id]
    # When / Then
    assert not finds(store, me.id, timeout_s=0.1, but=[named.run_id], offer=replace(OFFER, takeover_s=-1))
    assert finds(store, me.id)


def test_two_who_wait_are_told_each_of_its_own(store: Store) -> None:
    # Given
    shop, bank = joined(store), joined(store)
    with waiting(store, shop.id) as of_shop, waiting(store, bank.id, replace(OFFER, app="bank")) as of_bank:
        # When / Then
        job(store, app="bank")
        assert of_bank.result()
        assert not of_shop.done()
        job(store)
        assert of_shop.result()


def test_who_leaves_waits_no_more(store: Store) -> None:
    # Given
    me = joined(store)
    with waiting(store, me.id) as found:
        # When
        store.leave(me.id)
        # Then
        assert not found.result(10)


# -- looking ------------------------------------------------------------------------------------


def test_the_board_shows_what_waits_who_has_it_and_since_when(store: Store) -> None:
    # Given
    me, waiting, owned, over = joined(store, host="h1"), job(store, key="k1", priority=3), job(store), job(store)
    new_run(store)
    over.put(store, status="SUCCEEDED")
    store.board.claim(me.id, OFFER, limit=1, but=[waiting.run_id])
    # When
    jobs = {shown.run_id: shown for shown in store.board.jobs(app="shop")}
    # Then
    assert set(jobs) == {waiting.run_id, owned.run_id}
    assert (jobs[waiting.run_id].key, jobs[waiting.run_id].priority, jobs[waiting.run_id].owner) == ("k1", 3, None)
    assert (jobs[owned.run_id].owner, jobs[owned.run_id].host, jobs[owned.run_id].epoch) == (me.id, "h1", 1)
    assert 0 <= (jobs[owned.run_id].seen_s or 0) < 20
    assert store.board.jobs(app="bank") == []
    assert [shown.run_id for shown in store.board.jobs(after=min(jobs), limit=1)] == [max(jobs)]
    shown = store.board.job(over.run_id)
    assert shown is not None
    assert shown.status == "SUCCEEDED"


def test_conductors_are_shown_while_they_have_a_row(store: Store, elsewhere: Store) -> None:
    # Given
    me, you = joined(store, host="h1"), joined(elsewhere)
    store.board.say(saying(me.id, runs=1))
    elsewhere.board.say(saying(you.id))
    # When
    store.board.say(saying(me.id, runs=4, draining=True))
    elsewhere.leave(you.id)
    # Then
    (shown,) = store.board.conductors()
    assert (shown.owner, shown.host, shown.app, shown.runs, shown.draining) == (me.id, "h1", "shop", 4, True)
    assert (shown.factories, shown.queues) == (("order",), ("shop",))


# -- what people and conductors say --------------------------------------------------------------


def test_a_trashed_job_is_not_given_to_anybody_until_it_is_put_back(store: Store) -> None:
    # Given
    me, run = joined(store), job(store)
    store.board.note(run.run_id, "trashed", reason="wrong tenant", actor="ada@host")
    # When / Then
    assert taken(store, me.id) == []
    (shown,) = store.board.jobs()
    assert shown.note is not None
    assert (shown.note.remark, shown.note.reason, shown.note.actor) == ("trashed", "wrong tenant", "ada@host")
    store.board.forget(run.run_id)
    assert taken(store, me.id) == [run.run_id]


def test_a_remark_that_is_repeated_is_counted(store: Store) -> None:
    # Given
    run = job(store)
    for reason in ("no such flow", "no such flow", "another plan"):
        # When
        store.board.note(run.run_id, "refused", reason=reason, actor="c1")
    store.board.note(run.run_id, "refused", reason="another plan", actor="c2")
    # Then: a refused job is still a job
    shown = store.board.job(run.run_id)
    assert shown is not None
    assert shown.note is not None
    assert (shown.note.reason, shown.note.times, shown.note.actor) == ("another plan", 2, "c2")
    assert taken(store, joined(store).id) == [run.run_id]


def test_a_job_freed_from_its_owner_is_anybodys_and_the_owner_is_fenced(store: Store) -> None:
    # Given
    me, you, run = joined(store), joined(store), job(store)
    assert not store.board.free(run.run_id)
    assert taken(store, me.id) == [run.run_id]
    run.epoch = 1
    # When
    assert store.board.free(run.run_id)
    # Then
    assert isinstance(store.append([run.next()])[0], Fenced)
    assert store.board.claim(you.id, OFFER, limit=1) == [Claimed(run.run_id, Claim(3, 1, run.head))]
    run.epoch = 3
    assert store.append([run.next()]) == [Appended(2)]
