"""Rule G6: a fork takes over what its source has done, and does the rest itself."""

from __future__ import annotations

from pathlib import Path
from threading import Event, Thread
from typing import Any

import pytest

from flowledger import (
    Flow,
    PlanDiffers,
    Run,
    TaskContext,
    graph,
    linear,
    link,
    switch,
)
from flowledger.core.preview import Preview
from flowledger.events import facts
from tests.acceptance.forking import chain, checked
from tests.acceptance.logs import events, log_of, story
from tests.acceptance.mending import Counting, Mending, w, world

__all__ = ["w", "world"]


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

    # And what it has taken over is known by name as of every event from the plan on (H4)
    started, *_, last = (e.version for e in log_of(world.app, fork) if e.type in ("RunStarted", "RunSucceeded"))
    begun, at_the_end = (world.app.history.as_of(fork.id, version=version) for version in (started, last))
    known = {name: [(begun.value(each), each.version) for each in several] for name, several in begun.symbols.items()}
    assert known["result of chain/c"] == [(b'"c(a(x))"', 2)]
    assert known.keys() <= at_the_end.symbols.keys()
    assert "result of chain/c" not in world.app.history.as_of(fork.id, version=2).symbols

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
