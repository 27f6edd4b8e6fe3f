"""Rule G6: a fork takes over what its source has done, and does the rest itself."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from threading import Event, Thread
from typing import Any

import msgspec
import pytest

from flowledger import (
    App,
    Flow,
    IllegalRequest,
    InputError,
    PlanDiffers,
    Run,
    TaskContext,
    Times,
    graph,
    linear,
    link,
    sleep,
    switch,
    unordered,
)
from flowledger.adapters import forking
from flowledger.adapters.forking import Asked
from flowledger.adapters.history import History
from flowledger.adapters.sources import source_of
from flowledger.core.preview import Preview
from flowledger.core.replay import check, check_complete
from flowledger.events import facts
from flowledger.events.errors import IntegrityError, StoreUnavailable
from flowledger.events.requests import Cancel, encode
from flowledger.events.store import Append, Mail
from flowledger.testing import crash_at
from tests.acceptance.logs import events, log_of, story
from tests.acceptance.mending import Counting, Mending
from tests.agreeing import views_agree


@pytest.fixture(params=["memory", "sqlite", "postgres"])
def world(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Mending]:
    urls = {"memory": "memory://", "sqlite": f"sqlite:///{tmp_path}/log.db"}
    world = Mending(urls.get(request.param) or str(request.getfixturevalue("postgres_url")))
    yield world
    world.app.close()


@pytest.fixture
def w() -> Iterator[Mending]:
    world = Mending()
    yield world
    world.app.close()


def checked(app: App, run: Run[Any], part: Any) -> None:
    """The fork's log is valid and complete, given what its source had (D8)."""
    log = log_of(app, run)
    source = source_of(app.runtime.store, log, goes_on=True)
    plan = app.plan(part)
    check_complete(plan, check(plan, log, moved=dict(source.moved), taken=source.had))
    views_agree(app.runtime.store, log)


def chain(world: Mending, *, on_failure: Any = "stop") -> Any:
    """A flow of two inputs: a takes the first, b the second, c what a made, d comes last."""

    @world.app.flow(on_failure=on_failure)
    def chain(first: str, second: str = "y") -> Flow[str]:
        a = world.make.bind("a", of=first).named("a")
        b = world.make.bind("b", of=second).named("b")
        c = world.make.bind("c", of=a).named("c")
        d = world.make.bind("d").named("d")
        return linear(unordered(a, b, name="both"), c, d, returns=c)

    return chain


# -- what is taken over ---------------------------------------------------------------------------


def test_g6_a_fork_takes_over_what_its_source_has_done_and_does_the_rest_itself(world: Mending) -> None:
    # Given a run that stopped
    world.broken = {"d"}
    flow = chain(world)("x")
    source = world.app.run(flow, check=False, tags={"team": "net"}, executor="inline")
    before = log_of(world.app, source)
    world.said()
    world.broken = set()

    # When it is forked
    preview = source.fork(reason="d is mended", dry_run=True)
    fork = source.fork(reason="d is mended")

    # Then the fork has the results of its source, has run what was missing, and copied no event
    assert preview == Preview(runs_again=("chain/d",), keeps=("chain/both/a", "chain/both/b", "chain/c"))
    assert (fork.state, fork.result, world.said()) == ("SUCCEEDED", "c(a(x))", ["+d"])
    assert fork.results == {
        "chain/both/a": "a(x)", "chain/both/b": "b(y)", "chain/c": "c(a(x))", "chain/d": "d",
    }  # fmt: skip
    assert story(log_of(world.app, fork)) == [
        "RunSubmitted", "RunForked", "RunStarted", "TaskStarted d", "TaskSucceeded d", "RunSucceeded",
    ]  # fmt: skip
    checked(world.app, fork, flow)

    # And it refers to its source, which knows nothing of it
    (forked,) = events(log_of(world.app, fork), facts.RunForked)
    assert (forked.source, forked.version, forked.hash) == (source.id, len(before), before[-1].hash.hex())
    assert forked.reason == "d is mended"
    assert log_of(world.app, source) == before
    assert world.app.stream_of(fork.id).tags == {"team": "net"}


def test_g6_what_is_taken_over_is_not_undone_by_the_fork(w: Mending) -> None:
    # Given a run that stopped, and a fork of it that fails and is undone
    w.broken = {"d"}
    source = w.app.run(chain(w, on_failure="stop")("x"), check=False)
    w.said()
    w.broken = {"d"}
    fork = source.fork(at="chain/c", reason="again")
    assert fork.state == "FAILED"
    fork.revert(reason="give up")

    # Then only what the fork did is undone
    assert (fork.state, w.said()) == ("REVERTED", ["+c", "!d", "-d", "-c"])
    assert source.state == "FAILED"


def test_g6_from_a_part_on_everything_is_new(w: Mending) -> None:
    source = w.app.run(chain(w)("x"))
    w.said()

    fork = source.fork(at="chain/both/a", reason="a was wrong")

    assert w.said() == ["+a", "+c", "+d"]
    assert fork.state == "SUCCEEDED"
    assert [e.inherited for e in events(log_of(w.app, fork), facts.RunForked)] == [("chain/both/b",)]


def test_g6_a_fork_of_a_version_sees_what_was_done_then(w: Mending) -> None:
    # Given a run that succeeded
    flow = chain(w)("x")
    source = w.app.run(flow, executor="inline")
    w.said()
    log = log_of(w.app, source)
    version = next(e.version for e in log if isinstance(e.event, facts.TaskSucceeded) and e.path == "chain/both/b")

    # When it is forked as it stood in its middle
    fork = source.fork(at=version, reason="from there")

    # Then what was done later is new
    assert w.said() == ["+c", "+d"]
    checked(w.app, fork, flow)


def test_g6_what_depends_on_changed_inputs_is_new(world: Mending) -> None:
    # Given a run that succeeded
    flow = chain(world)
    source = world.app.run(flow("x"))
    world.said()

    # When it is forked with another second input
    preview = source.fork(inputs={"second": "Y"}, reason="another y", dry_run=True)
    fork = source.fork(inputs={"second": "Y"}, reason="another y")

    # Then b is new, and what follows it; a, which takes the other input, is not
    assert preview == Preview(runs_again=("chain/both/b", "chain/c", "chain/d"), keeps=("chain/both/a",))
    assert world.said() == ["+b", "+c", "+d"]
    assert fork.results["chain/both/b"] == "b(Y)"
    checked(world.app, fork, flow("x", "Y"))

    # And the same inputs given once more are no change
    same = source.fork(inputs={"first": "x"}, reason="the same", dry_run=True)
    assert same.runs_again == ()


def test_g6_what_is_defined_otherwise_in_todays_code_is_new(tmp_path: Path) -> None:
    # Given a run of an earlier release
    def release(last: str) -> Mending:
        world = Mending(f"sqlite:///{tmp_path}/log.db")

        @world.app.flow
        def line() -> Flow[str]:
            parts = [*world.parts("ab"), world.make.bind(last).named("c"), *world.parts("d")]
            return linear(*parts, returns=parts[2])

        world.flow = line
        return world

    old = release("C")
    source = old.app.run(old.flow())
    old.app.close()

    # When today's code gives the third part something else, which would be refused to a rerun
    new = release("better C")
    with pytest.raises(PlanDiffers):
        new.app.get(source.id).rerun(reason="better", from_="line/c")
    fork = new.app.get(source.id).fork(reason="better")

    # Then a fork runs it, and what follows it
    assert new.said() == ["+better C", "+d"]
    assert fork.result == "better C"
    new.app.close()


def test_g6_what_was_undone_since_is_not_taken_over(w: Mending) -> None:
    # Given a run that was undone, and a version of it in which all was there
    flow = chain(w, on_failure="revert")("x")
    source = w.app.run(flow)
    at = len(log_of(w.app, source))
    source.revert(reason="not needed")
    w.said()

    # When that version is forked
    fork = source.fork(at=at, reason="needed after all")

    # Then all is new
    assert sorted(w.said()) == ["+a", "+b", "+c", "+d"]
    assert fork.state == "SUCCEEDED"


def test_g6_a_live_run_may_be_forked(w: Mending) -> None:
    # Given a run in whose middle somebody else forks it
    forks: list[Run[Any]] = []
    calls: list[str] = []

    def fork() -> None:
        (run,) = w.app.runs()
        forks.append(run.fork(reason="while it runs"))

    @w.app.task
    def waits() -> None:
        calls.append("waits")
        if len(calls) == 1:  # in the run, and not in its fork
            somebody = Thread(target=fork)
            somebody.start()
            somebody.join(20)

    @w.app.flow
    def line() -> Flow[None]:
        return linear(w.part("a"), waits)

    # When both have ended
    source = w.app.run(line())

    # Then the fork had what was done so far, and the run went on
    assert w.said() == ["+a"]
    assert [source.state, *(fork.state for fork in forks)] == ["SUCCEEDED"] * 2
    assert [e.inherited for e in events(log_of(w.app, forks[0]), facts.RunForked)] == [("line/a",)]


def test_g6_a_fork_of_a_fork(world: Mending) -> None:
    # Given a fork, and a large result of its source that has a row of its own
    @world.app.task
    def large(size: int) -> str:
        return "x" * size

    @world.app.flow(on_failure="stop")
    def line(size: int) -> Flow[str]:
        first = large.bind(size)
        return linear(first, *world.parts("ab"), returns=first)

    world.broken = {"a"}
    source = world.app.run(line(100_000), check=False)
    world.broken = {"b"}
    fork = source.fork(reason="a is mended")

    # When it is forked again
    world.broken = set()
    again = fork.fork(reason="b is mended")

    # Then the first one's result is there
    assert (again.state, len(again.result), world.said()) == ("SUCCEEDED", 100_000, ["!a", "+a", "!b", "+b"])
    assert len(world.app.get(again.id).result) == 100_000
    checked(world.app, again, line(100_000))


def test_g6_verdicts_are_taken_over_where_their_source_is(w: Mending) -> None:
    # Given a run with a branch that was taken, and one that was not
    asked: list[bool] = []

    def is_so(answer: bool) -> bool:
        asked.append(answer)
        return answer

    @w.app.flow(on_failure="stop")
    def branched(second: bool) -> Flow[Any]:
        one, two = w.yes.bind(True).named("one"), w.yes.bind(second).named("two")
        taken, skipped, after = w.part("taken"), w.part("skipped"), w.part("after")
        branches = graph(
            one, two, taken, skipped, after,
            link(one, taken, when=is_so), link(two, skipped, when=is_so, depth="neighbors"), link(skipped, after),
            name="branches",
        )  # fmt: skip
        return linear(branches, w.part("z"))

    source = w.app.run(branched(False))
    assert (sorted(asked), w.said()[-2:]) == ([False, True], ["+taken", "+z"])

    # When it is forked from its end on
    fork = source.fork(at="branched/z", reason="again")

    # Then nobody is asked again, and what was skipped is skipped
    assert (sorted(asked), w.said()) == ([False, True], ["+z"])
    checked(w.app, fork, branched(False))

    # When the input of one verdict is another
    fork = source.fork(inputs={"second": True}, reason="the other way")

    # Then that one is asked again, and the other is not
    assert sorted(asked) == [False, True, True]
    assert w.said() == ["?", "+skipped", "+after", "+z"]
    checked(w.app, fork, branched(True))


def test_g6_a_verdict_is_asked_again_where_some_of_what_it_took_along_is_new(w: Mending) -> None:
    # Given a run in which a part said no, and took along what follows it
    @w.app.flow(on_failure="stop")
    def branched() -> Flow[Any]:
        one, skipped, other, after = w.yes.bind(False).named("one"), w.part("skipped"), w.part("other"), w.part("after")
        links = [
            link(one, skipped, when=_so, depth="flow"),
            link(skipped, after),
            link(other, after),
        ]
        return graph(one, skipped, other, after, *links)

    source = w.app.run(branched())
    assert sorted(w.said()) == ["+other", "?"]

    # When it is forked from another part on, which what was taken along waits for
    fork = source.fork(at="branched/other", reason="again")

    # Then it is skipped again
    assert w.said() == ["+other"]
    assert "TaskSkipped after" in story(log_of(w.app, fork))
    assert [e.verdicts for e in events(log_of(w.app, fork), facts.BranchDecided)] == [(("branched/one", False),)]
    checked(w.app, fork, branched())


def _so(answer: bool) -> bool:
    return answer


def test_g6_a_switch_is_taken_over_with_its_case(w: Mending) -> None:
    @w.app.flow
    def ways(which: bool) -> Flow[Any]:
        one = w.yes.bind(which).named("one")
        chosen = switch(one, {True: w.part("t"), False: w.part("f")})
        return linear(one, chosen, w.part("z"), returns=chosen)

    source = w.app.run(ways(True))
    w.said()

    kept = source.fork(at="ways/z", reason="again")
    assert (kept.result, w.said()) == ("t", ["+z"])
    checked(w.app, kept, ways(True))

    other = source.fork(inputs={"which": False}, reason="the other way")
    assert (other.result, w.said()) == ("f", ["?", "+f", "+z"])
    checked(w.app, other, ways(False))


def test_g6_a_retry_that_is_done_is_taken_over_with_its_value(w: Mending) -> None:
    # Given a run with a retried flow whose parts take the retry's value
    values: list[str] = []

    @w.app.task
    def take(round: int) -> int:  # noqa: A002 - the symbol's name
        values.append(f"+{round}")
        return round

    @take.revert
    def give_back(round: int) -> None:  # noqa: A002
        values.append(f"-{round}")

    @w.app.flow(on_failure="stop")
    def line(end: str) -> Flow[Any]:
        scope = linear(take, w.part("b"), name="in", retry=Counting())
        return linear(scope, w.make.bind(end).named("end"))

    def mend(retry: Counting, history: Any) -> str:
        w.broken.clear()
        return "RETRY"

    w.broken = {"b"}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Counting, "on_failure", mend)
        source = w.app.run(line("e"))
    assert values == ["+1", "-1", "+2"]
    w.said()

    # When it is forked after that flow
    fork = source.fork(inputs={"end": "E"}, reason="another end")

    # Then there is no new round, nor when what is taken over has been adopted is its value another
    assert (values, w.said()) == (["+1", "-1", "+2"], ["+E"])
    assert not list(events(log_of(w.app, fork), facts.RoundStarted))
    checked(w.app, fork, line("E"))

    # When it is forked within that flow
    fork = source.fork(at="line/in/b", reason="b was wrong")

    # Then the retry begins afresh, and so does what took its value
    assert values == ["+1", "-1", "+2", "+1"]
    checked(w.app, fork, line("e"))


# -- going on with a fork -------------------------------------------------------------------------


def test_g6_a_fork_runs_again_like_any_run(w: Mending) -> None:
    # Given a fork that stopped
    w.broken = {"d"}
    flow = chain(w)("x")
    source = w.app.run(flow, check=False)
    fork = source.fork(at="chain/c", reason="again")
    assert fork.state == "FAILED"
    w.said()

    # When it is run again, and from a part on that it has taken over
    w.broken = set()
    preview = fork.rerun(reason="mended")
    assert preview == Preview(runs_again=("chain/d",), keeps=("chain/both/a", "chain/both/b", "chain/c"))
    preview = fork.rerun(reason="all of it", from_="chain/both/a")

    # Then it undoes only what it did itself
    assert preview.reverts == ("chain/d", "chain/c")
    assert w.said() == ["+d", "-d", "-c", "+a", "+c", "+d"]
    checked(w.app, fork, flow)


def test_e8_what_a_fork_has_taken_over_has_history(tmp_path: Path) -> None:
    # Given a suspended fork
    def release(name: str) -> Mending:
        world = Mending(f"sqlite:///{tmp_path}/log.db")

        @world.app.task(read_only=True)
        def pause(ctx: TaskContext) -> None:
            world.app.suspend_run(ctx.run_id, reason="a deployment")
            heard = Event()
            while world.app.get(ctx.run_id).state == "RUNNING":  # until it has heard it
                heard.wait(0.005)

        @world.app.flow(on_failure="stop")
        def line() -> Flow[Any]:
            return linear(world.part("a"), world.make.bind(name).named("b"), pause, world.part("z"))

        world.flow = line
        return world

    old = release("b")
    source = old.app.run(old.flow(), check=False)
    fork = source.fork(at="line/pause", reason="again")
    assert fork.state == "SUSPENDED"
    old.app.close()

    # When another release has changed a part it has taken over
    new = release("B")

    # Then it cannot go on, and with the same code it can
    with pytest.raises(PlanDiffers, match="line/b: values was"):
        new.app.get(fork.id).resume()
    new.app.close()
    again = release("b")
    assert again.app.get(fork.id).resume().state == "SUCCEEDED"
    assert again.said() == ["+z"]
    again.app.close()


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
