"""Rule G6: what a fork adopts is its own to undo, and no longer its source's; what is refused, and what people see."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest

from flowledger import (
    Flow,
    IllegalRequest,
    InputError,
    Times,
    linear,
    sleep,
    unordered,
)
from flowledger.adapters import forking
from flowledger.adapters.forking import Asked
from flowledger.adapters.history import History
from flowledger.adapters.sources import source_of
from flowledger.events import facts
from flowledger.events.errors import IntegrityError, StoreUnavailable
from flowledger.events.requests import Cancel, encode
from flowledger.events.store import Append, Mail
from flowledger.testing import crash_at
from tests.acceptance.forking import chain, checked
from tests.acceptance.logs import events, log_of, story
from tests.acceptance.mending import Mending, w, world

__all__ = ["w", "world"]


# -- adoption -------------------------------------------------------------------------------------


def test_g6_an_adopted_source_is_the_forks_to_undo(world: Mending) -> None:
    # Given a stopped run, and a fork that adopts what it did
    world.broken = {"d"}
    flow = chain(world)("x")
    source = world.app.run(flow, check=False)
    world.broken = set()
    fork = source.fork(adopt=True, reason="it goes on there")
    assert fork.state == "SUCCEEDED"
    world.said()

    # When somebody wants the source undone, run again, or adopted again
    for refused in (
        lambda: source.revert(reason="undo"),
        lambda: source.rerun(reason="again"),
        lambda: source.revert(reason="undo", dry_run=True),
        lambda: source.fork(adopt=True, reason="me too"),
    ):
        with pytest.raises(IllegalRequest, match=fork.id):
            refused()

    # Then it says who answers for it; it may still be forked
    (accepted,) = events(log_of(world.app, source), facts.RequestAccepted)
    assert (accepted.kind, accepted.fork, accepted.reason) == ("fork", fork.id, "it goes on there")
    assert source.state == "FAILED"
    assert world.app.stream_of(source.id).owner is None
    assert source.fork(reason="once more", dry_run=True).keeps

    # And the fork undoes it, in the order of D4
    fork.revert(reason="not needed")
    said = world.said()
    assert said[:2] == ["-d", "-c"]
    assert sorted(said[2:]) == ["-a", "-b"]
    assert world.app.get(fork.id).state == "REVERTED"
    checked(world.app, fork, flow)


def test_g6_a_fork_that_fails_undoes_what_it_has_adopted(w: Mending) -> None:
    # Given a run that kept what it did, and sleeps and flows without parts between
    @w.app.flow(on_failure="stop")
    def line() -> Flow[Any]:
        inner = linear(w.part("b"), unordered(name="nothing"), w.part("c"), name="in", retry=Times(1))
        return linear(w.part("a"), sleep(0).named("nap"), inner, w.part("d"))

    w.broken = {"d"}
    source = w.app.run(line(), check=False)
    w.said()

    # When a fork adopts it, fails as well, and is undone
    fork = source.fork(adopt=True, reason="again")
    assert fork.state == "FAILED"
    fork.revert(reason="give up")

    # Then all goes, the latest first
    assert (fork.state, w.said()) == ("REVERTED", ["!d", "-d", "-c", "-b", "-a"])
    checked(w.app, fork, line())


def test_g6_an_adoption_that_would_leave_something_standing_is_refused(w: Mending) -> None:
    source = w.app.run(chain(w)("x"))
    before = log_of(w.app, source)

    with pytest.raises(IllegalRequest, match="chain/c") as refused:
        source.fork(at="chain/c", adopt=True, reason="from there")

    assert "rerun --from" in refused.value.hint
    assert log_of(w.app, source) == before
    assert w.app.stream_of(source.id).owner is None


def test_g6_a_child_run_can_be_taken_over_but_not_adopted(w: Mending) -> None:
    # Given a run that stopped after a child run
    @w.app.flow
    def inner(name: str) -> Flow[str]:
        part = w.make.bind(name)
        return linear(part, returns=part)

    @w.app.flow(on_failure="stop")
    def outer() -> Flow[str]:
        child = inner.child("a").named("child")
        return linear(child, w.part("b"), returns=child)

    w.broken = {"b"}
    source = w.app.run(outer(), check=False)
    w.broken = set()
    w.said()

    # When it is forked, and to be adopted
    fork = source.fork(reason="mended")
    with pytest.raises(IllegalRequest, match="outer/child"):
        source.fork(adopt=True, reason="mended")

    # Then the fork has the child's result, and the child is undone with its parent
    assert (fork.result, w.said()) == ("a", ["+b"])
    source.revert(reason="give up")
    assert "-a" in w.said()


def test_g6_what_a_rerun_has_reset_is_not_taken_over_though_it_was_never_begun_again(tmp_path: Path) -> None:
    # Given a fork that has taken over what its source did, of which some was to run again, one after the other
    w = Mending(f"sqlite:///{tmp_path}/log.db")
    flow = chain(w)("x")
    source = w.app.run(flow, executor="inline")
    fork = source.fork(at="chain/d", reason="d was wrong")
    with crash_at(w.app, facts.ScopeReset):
        fork.rerun(from_="chain/both", reason="a and b were wrong")
    w.said()
    # And which was cancelled, with everything kept, when only the first had begun
    w.app.runtime.store.send([Mail(fork.id, "a letter", "cancel", encode(Cancel(reason="no", keep=True)), "somebody")])
    cancelled = fork.resume()
    assert "TaskStarted b" not in story(log_of(w.app, cancelled))
    assert (cancelled.state, cancelled.results) == ("CANCELLED", {})
    checked(w.app, cancelled, flow)

    # When that is forked
    again = cancelled.fork(reason="go on")

    # Then what was to run again is new
    assert [e.inherited for e in events(log_of(w.app, again), facts.RunForked)] == [()]
    assert (again.state, w.said()) == ("SUCCEEDED", ["+a", "+b", "+c", "+d"])
    w.app.close()


def test_g6_an_expansion_is_made_anew_in_a_fork(w: Mending) -> None:
    # Given a run that stopped after it had grown
    @w.app.task(read_only=True)
    def names(count: int) -> list[str]:
        return [chr(ord("a") + n) for n in range(count)]

    @w.app.flow(on_failure="stop")
    def grown(count: int) -> Flow[Any]:
        found = names.bind(count)
        many = w.make.each(found).named("many")
        return linear(found, many, w.part("z"), returns=many)

    w.broken = {"z"}
    source = w.app.run(grown(2), check=False)
    w.broken = set()
    w.said()

    # When it is forked
    fork = source.fork(reason="mended")

    # Then what has grown grows again, from what was taken over
    assert (fork.state, fork.result) == ("SUCCEEDED", ["a", "b"])
    assert [e.inherited for e in events(log_of(w.app, fork), facts.RunForked)] == [("grown/names",)]
    assert sorted(w.said()) == ["+a", "+b", "+z"]


def test_g6_only_what_a_run_that_is_over_did_can_be_adopted(w: Mending) -> None:
    seen: list[str] = []

    @w.app.task
    def asks() -> None:
        with pytest.raises(IllegalRequest, match="can be adopted"):
            next(iter(w.app.runs())).fork(adopt=True, reason="too early")
        seen.append("refused")

    @w.app.flow
    def line() -> Flow[None]:
        return linear(asks)

    w.app.run(line())

    assert seen == ["refused"]


def test_g6_source_and_fork_agree_on_an_adoption_or_there_is_none(w: Mending, monkeypatch: pytest.MonkeyPatch) -> None:
    # Given a run, and a store in which somebody is quicker at its log
    w.broken = {"d"}
    source = w.app.run(chain(w)("x"), check=False)
    store = w.app.runtime.store
    real = store.append

    def slower(batch: Any) -> Any:
        late = [a if a.create or len(batch) < 2 else _fenced(a) for a in batch]
        return real(late)

    monkeypatch.setattr(store, "append", slower)

    # When a fork is to adopt it
    with pytest.raises(Exception, match="epoch"):
        source.fork(adopt=True, reason="again")
    monkeypatch.undo()

    # Then the source is free, and what was made of the fork says why it does not go on
    assert not list(events(log_of(w.app, source), facts.RequestAccepted))
    fork = next(run for run in w.app.runs() if run.id != source.id)
    store.release(fork.id, epoch=1)
    with pytest.raises(IllegalRequest, match="did not take effect"):
        fork.resume()
    w.broken = set()
    assert source.fork(adopt=True, reason="again").state == "SUCCEEDED"


def test_g6_what_was_undone_can_be_adopted_and_read_after_that(world: Mending) -> None:
    # Given a run that has been undone
    world.broken = {"d"}
    source = world.app.run(chain(world, on_failure="revert")("x"), check=False)
    world.broken = set()
    # When a fork is to answer for it
    fork = source.fork(adopt=True, reason="once more")
    # Then the source says so, in a log that can be read
    assert (source.state, fork.state) == ("REVERTED", "SUCCEEDED")
    assert [e.fork for e in events(log_of(world.app, source), facts.RequestAccepted)] == [fork.id]
    with pytest.raises(IllegalRequest, match="has adopted"):
        source.rerun(reason="me too")


def test_g6_a_source_that_was_undone_since_somebody_looked_is_adopted_as_it_is(world: Mending) -> None:
    # Given somebody who has looked at a run before it was undone
    app = world.app
    source = app.run(chain(world)("x"))
    as_it_was = app.stream_of(source.id)
    source.revert(reason="not needed")
    world.said()
    # When that one has a fork adopt it
    asked = Asked(adopt=True, reason="go on there")
    fork = app.runtime.call(forking.fork(app.runtime, app, as_it_was, asked)).result(30)
    # Then nothing is taken over, for nothing stands, and the row of the source says what its log does
    assert fork.state.status == "SUCCEEDED"
    assert world.said() == ["+a", "+b", "+c", "+d"]
    assert app.stream_of(source.id).status == app.get(source.id).state == "REVERTED"


def test_g6_an_adoption_that_was_stored_and_not_heard_of_leaves_neither_run_with_the_process(
    w: Mending, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given a store whose answer is lost
    w.broken = {"d"}
    source = w.app.run(chain(w)("x"), check=False)
    w.broken = set()
    store = w.app.runtime.store
    real = store.append

    def unheard(batch: Any) -> Any:
        results = real(batch)
        if len(batch) == 2:
            raise StoreUnavailable("the answer is lost")
        return results

    monkeypatch.setattr(store, "append", unheard)
    # When a fork is to adopt what the run did
    with pytest.raises(StoreUnavailable):
        source.fork(adopt=True, reason="again")
    # Then the fork can be taken up, and has adopted it
    fork = next(run for run in w.app.runs() if run.id != source.id)
    assert fork.resume().state == "SUCCEEDED"
    assert w.app.stream_of(source.id).owner is None
    with pytest.raises(IllegalRequest, match=fork.id):
        source.revert(reason="it is not mine any more")


def _fenced(append: Append) -> Append:
    return msgspec.structs.replace(append, epoch=append.epoch - 1)


# -- refused --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"reason": " "}, "reason"),
        ({"at": "chain/x", "reason": "r"}, "no part 'chain/x'"),
        ({"at": 99, "reason": "r"}, "no event 99"),
        ({"at": 0, "reason": "r"}, "no event 0"),
        ({"inputs": {"third": 1}, "reason": "r"}, "no input `third`"),
        ({"inputs": {"first": ["x"]}, "reason": "r"}, "`first`"),
    ],
)
def test_g6_a_fork_that_is_asked_for_wrongly_is_refused(w: Mending, asked: dict[str, Any], said: str) -> None:
    source = w.app.run(chain(w)("x"))

    with pytest.raises(InputError, match=said):
        source.fork(**asked)

    assert len(list(w.app.runs())) == 1


def test_g6_a_run_is_not_forked_before_it_started(w: Mending) -> None:
    source = w.app.run(chain(w)("x"))

    with pytest.raises(IllegalRequest, match="had not started"):
        source.fork(at=1, reason="too early")


def test_g6_a_fork_whose_source_is_not_what_it_was_is_not_gone_on_with(w: Mending) -> None:
    # Given the log of a fork
    w.broken = {"d"}
    source = w.app.run(chain(w)("x"), check=False)
    log = log_of(w.app, source.fork(reason="again"))
    (forked,) = events(log, facts.RunForked)

    # When it speaks of a source with another history
    other = msgspec.structs.replace(
        log[1], event=facts.RunForked(source=forked.source, version=forked.version, hash="00" * 32)
    )
    with pytest.raises(IntegrityError, match="not what it was"):
        source_of(w.app.runtime.store, [log[0], other, *log[2:]])


# -- what people see ------------------------------------------------------------------------------


def test_g6_a_view_shows_what_was_taken_over(w: Mending) -> None:
    w.broken = {"d"}
    source = w.app.run(chain(w)("x"), check=False)
    fork = source.fork(reason="again")

    view = History(w.app.runtime.store).view(fork.id)

    assert view.forked is not None
    assert view.forked.source == source.id
    assert [(atom.state, atom.inherited) for atom in view.atoms.values()] == [("SUCCEEDED", True)] * 3 + [
        ("FAILED", False)
    ]
    assert view.progress == (3, 4)
