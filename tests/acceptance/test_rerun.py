"""Rule G5: a run that is over runs again what has not succeeded."""

from __future__ import annotations

from typing import Any

import pytest

from flowledger import Flow, IllegalRequest, Times, graph, linear, link, sleep, switch, unordered
from flowledger.core.preview import Preview
from flowledger.events import facts
from tests.acceptance.logs import events, log_of, story
from tests.acceptance.mending import Counting, Mending, stopped, w, world

__all__ = ["w", "world"]


def test_g5_a_rerun_resets_what_has_not_succeeded_and_keeps_the_rest(world: Mending) -> None:
    # Given a run that stopped at its third part, with everything kept
    world.broken = {"c"}
    flow = stopped(world, *world.parts("abcd"))
    run = world.app.run(flow, check=False)
    assert (run.state, world.said()) == ("FAILED", ["+a", "+b", "!c"])

    # When what was in the way is mended, and somebody asks for a rerun
    world.broken = set()
    preview = run.rerun(reason="the disk was full")

    # Then the third part ran again in its next try, under another key, and what came after it; nothing was undone
    assert preview == Preview(runs_again=("line/c", "line/d"), keeps=("line/a", "line/b"))
    assert world.said() == ["+c", "+d"]
    assert (run.state, run.result) == ("SUCCEEDED", "d")
    log = log_of(world.app, run)
    assert [event.try_ for event in events(log, facts.TaskStarted)] == [1, 1, 1, 2, 1]
    assert len(set(world.keys["c"])) == 2

    # And the log says who asked, and is valid
    (accepted,) = events(log, facts.RequestAccepted)
    assert (accepted.kind, accepted.reason) == ("rerun", "the disk was full")
    assert story(log)[-7:] == [
        "RequestAccepted", "ScopeReset", "TaskStarted c", "TaskSucceeded c", "TaskStarted d", "TaskSucceeded d",
        "RunSucceeded",
    ]  # fmt: skip
    world.checked(run, flow)


def test_g5_a_run_that_was_undone_runs_again_from_the_beginning(w: Mending) -> None:
    # Given a run that failed and was undone
    w.broken = {"c"}

    @w.app.flow
    def line() -> Flow[Any]:
        return linear(*w.parts("abcd"))

    run = w.app.run(line(), check=False)
    assert (run.state, w.said()) == ("REVERTED", ["+a", "+b", "!c", "-c", "-b", "-a"])

    # When it runs again
    w.broken = set()
    preview = run.rerun(reason="mended")

    # Then all of it does
    assert preview.runs_again == ("line/a", "line/b", "line/c", "line/d")
    assert (preview.keeps, preview.reverts) == ((), ())
    assert (run.state, w.said()) == ("SUCCEEDED", ["+a", "+b", "+c", "+d"])
    w.checked(run, line())


def test_g5_what_a_rerun_could_not_undo_before_runs_again_and_what_stands_is_kept(w: Mending) -> None:
    # Given a run whose revert failed half-way
    w.broken = {"d", "-b"}

    @w.app.flow
    def line() -> Flow[Any]:
        return linear(*w.parts("abcd"))

    run = w.app.run(line(), check=False)
    assert (run.state, w.said()) == ("FAILED", ["+a", "+b", "+c", "!d", "-d", "-c"])

    # When it runs again
    w.broken = set()
    preview = run.rerun(reason="cleaned up by hand")

    # Then the part that could not be undone does, too, as somebody has cleaned up after it
    assert preview == Preview(runs_again=("line/b", "line/c", "line/d"), keeps=("line/a",))
    assert (run.state, w.said()) == ("SUCCEEDED", ["+b", "+c", "+d"])
    w.checked(run, line())


def test_g5_a_rerun_that_fails_again_is_resolved_like_any_run(w: Mending) -> None:
    # Given a stopped run with a part that is kept
    w.broken = {"b"}
    flow = stopped(w, *w.parts("abc"))
    run = w.app.run(flow, check=False)

    # When it is run again and again
    for _ in range(2):
        run.rerun(reason="try again")
        assert run.state == "FAILED"
    w.broken = {"c"}
    run.rerun(reason="b is mended")

    # Then each time it stops where it fails
    assert run.state == "FAILED"
    assert w.said() == ["+a", "!b", "!b", "!b", "+b", "!c"]
    w.checked(run, flow)

    # And a revert undoes all that stands, also what was kept, in the order of D4
    run.revert(reason="give up")
    assert (run.state, w.said()) == ("REVERTED", ["-c", "-b", "-a"])
    w.checked(run, flow)


def test_g5_a_rerun_of_a_run_that_reverts_undoes_what_was_kept_when_it_fails(w: Mending) -> None:
    # Given a run, part of which could not be undone, so that what is before it still stands
    w.broken = {"c", "-b"}

    @w.app.flow
    def line() -> Flow[Any]:
        return linear(unordered(*w.parts("xy"), name="side"), *w.parts("abc"))

    run = w.app.run(line(), check=False)
    ends = [run.state]
    w.said()

    # When it runs again and fails again
    w.broken = {"c"}
    run.rerun(reason="cleaned up by hand")

    # Then it is undone with what it had kept
    assert [*ends, run.state] == ["FAILED", "REVERTED"]
    said = w.said()
    assert said[:5] == ["+b", "!c", "-c", "-b", "-a"]
    assert sorted(said[5:]) == ["-x", "-y"]
    w.checked(run, line())


def test_g5_retries_start_afresh(w: Mending) -> None:
    # Given a run whose retry has used up its rounds, and kept what the last one made
    w.broken = {"b"}
    scope = linear(*w.parts("ab"), name="in", retry=Times(2))
    flow = stopped(w, scope, w.part("z"))
    run = w.app.run(flow, check=False)
    assert (run.state, w.said()) == ("FAILED", ["+a", "!b", "-b", "-a", "+a", "!b"])

    # When it runs again, and fails once more
    w.broken = {"b"}
    run.rerun(reason="again")

    # Then the retry has two rounds again; the first one keeps what had succeeded, and undoes it for the second
    assert (run.state, w.said()) == ("FAILED", ["!b", "-b", "-a", "+a", "!b"])
    assert [e.round for e in events(log_of(w.app, run), facts.RoundStarted)] == [1, 2, 1, 2]
    w.checked(run, flow)

    # When it is mended
    w.broken = set()
    run.rerun(reason="again")

    # Then it goes through
    assert (run.state, w.said()) == ("SUCCEEDED", ["+b", "+z"])
    w.checked(run, flow)


def test_g5_a_retry_that_is_done_is_kept_with_its_rounds(w: Mending) -> None:
    # Given a run whose retried flow is done, and that stopped after it
    w.broken = {"z"}

    @w.app.task
    def take(round: int) -> int:  # noqa: A002 - the symbol's name
        return round

    flow = stopped(w, linear(take, name="in", retry=Counting()), w.part("z"))
    run = w.app.run(flow, check=False)

    # When it runs again
    w.broken = set()
    preview = run.rerun(reason="again")

    # Then the flow is kept, though its part takes the retry's value: there is no new round
    assert preview.keeps == ("line/in/take",)
    assert len(list(events(log_of(w.app, run), facts.RoundStarted))) == 1
    w.checked(run, flow)


def test_g5_what_took_the_value_of_a_retry_that_starts_afresh_is_not_kept(w: Mending) -> None:
    # Given a part that has succeeded with the value of a retry whose scope did not
    w.broken = {"z"}
    undone: list[int] = []

    @w.app.task
    def take(round: int) -> int:  # noqa: A002
        return round

    @take.revert
    def give_back(round: int) -> None:  # noqa: A002
        undone.append(round)

    flow = stopped(w, linear(take, w.part("z"), name="in", retry=Counting()))
    run = w.app.run(flow, check=False)
    assert (run.state, undone) == ("FAILED", [1])

    # When somebody asks for a rerun
    w.broken = set()
    with pytest.raises(IllegalRequest, match="line/in/take has succeeded, but depends on line/in/z") as refused:
        run.rerun(reason="again")

    # Then it is refused, for the value would be another; named, it is undone first, with the value it had
    assert refused.value.hint == "--from line/in/z undoes first what comes after it"
    preview = run.rerun(reason="again", from_="line/in/z")
    assert preview.reverts == ("line/in/z", "line/in/take")
    assert preview.runs_again == ("line/in/take", "line/in/z")
    assert (run.state, undone) == ("SUCCEEDED", [1, 2])
    w.checked(run, flow)


def test_g5_verdicts_are_kept_where_their_source_is(w: Mending) -> None:
    # Given a run that stopped after one branch was taken and another was not
    w.broken = {"z"}
    asked: list[str] = []

    def is_so(answer: bool) -> bool:
        asked.append("asked")
        return answer

    first, second = w.yes.bind(True).named("first"), w.yes.bind(False).named("second")
    taken, skipped, z = w.part("taken"), w.part("skipped"), w.part("z")
    branched = graph(
        first, second, taken, skipped, z,
        link(first, taken, when=is_so), link(second, skipped, when=is_so, depth="atom"),
        link(taken, z), link(skipped, z),
    )  # fmt: skip
    flow = stopped(w, branched)
    run = w.app.run(flow, check=False)
    assert (run.state, len(asked)) == ("FAILED", 2)

    # When it runs again
    w.broken = set()
    preview = run.rerun(reason="again")

    # Then nobody is asked again, and what was skipped stays so
    assert preview.runs_again == ("line/graph/z",)
    assert (run.state, len(asked)) == ("SUCCEEDED", 2)
    w.checked(run, flow)

    # When the source of a verdict runs again
    preview = run.rerun(reason="ask again", from_="line/graph/second")

    # Then it is asked again, the other is not
    assert preview.runs_again == ("line/graph/second", "line/graph/skipped", "line/graph/z")
    assert preview.keeps == ("line/graph/first", "line/graph/taken")
    assert (run.state, len(asked)) == ("SUCCEEDED", 3)
    assert story(log_of(w.app, run)).count("TaskSkipped skipped") == 2
    w.checked(run, flow)


def test_g5_a_switch_is_asked_again_with_what_it_looks_at(w: Mending) -> None:
    # Given a run that took one of two ways
    way = w.yes.bind(True).named("way")
    flow = stopped(w, way, switch(way, {True: w.part("a"), False: w.part("b")}), w.part("z"))
    run = w.app.run(flow)
    assert w.said() == ["?", "+a", "+z"]

    # When it runs again from after the switch, and from before it
    run.rerun(reason="the end only", from_="line/z")
    after = w.said()
    run.rerun(reason="all", from_="line/way")

    # Then only the second time anybody chose
    assert after == ["-z", "+z"]
    assert w.said() == ["-z", "-a", "?", "+a", "+z"]
    assert len(list(events(log_of(w.app, run), facts.BranchDecided))) == 4
    w.checked(run, flow)


def test_g5_from_a_part_on_what_stands_is_undone_first_then_run_again(world: Mending) -> None:
    # Given a run that succeeded
    @world.app.flow
    def line() -> Flow[Any]:
        a = world.part("a")
        return linear(a, unordered(world.part("b"), world.part("c"), name="both"), world.part("d", of=a))

    run = world.app.run(line())
    world.said()

    # When somebody has it run again from a part in its middle
    dry = run.rerun(reason="b was wrong", from_="line/both/b", dry_run=True)
    preview = run.rerun(reason="b was wrong", from_="line/both/b")

    # Then that part and all after it are undone, what stands beside it is not, and then they run again
    assert preview == dry == Preview(
        runs_again=("line/both/b", "line/d"), keeps=("line/a", "line/both/c"), reverts=("line/d", "line/both/b")
    )  # fmt: skip
    assert (run.state, world.said()) == ("SUCCEEDED", ["-d", "-b", "+b", "+d"])
    log = log_of(world.app, run)
    assert [e.from_ for e in events(log, facts.RequestAccepted)] == ["line/both/b"]
    assert story(log).count("ScopeReverting") == 1
    world.checked(run, line())

    # And a flow may be named as well as an atom
    assert run.rerun(reason="both", from_="line/both").reverts[0] == "line/d"
    assert sorted(world.said()[1:3]) == ["-b", "-c"]
    world.checked(run, line())


def test_g5_what_failed_elsewhere_is_not_undone_by_a_rerun_from_a_part_on(w: Mending) -> None:
    # Given a stopped run with a failed part on one side
    w.broken = {"x"}
    sides = unordered(linear(*w.parts("ab"), name="good"), linear(w.part("x"), name="bad"), name="sides")
    flow = stopped(w, sides)
    run = w.app.run(flow, check=False, executor="inline")
    assert (run.state, w.said()) == ("FAILED", ["+a", "+b", "!x"])

    # When it is run again from a part on the other side
    w.broken = set()
    run.rerun(reason="b was wrong", from_="line/sides/good/b")

    # Then only that side is undone
    assert (run.state, w.said()) == ("SUCCEEDED", ["-b", "+b", "+x"])
    w.checked(run, flow)


def test_g5_a_revert_that_fails_ends_a_rerun_with_what_stands(w: Mending) -> None:
    # Given a run that succeeded, and a part that cannot be undone
    flow = stopped(w, *w.parts("abc"))
    run = w.app.run(flow)
    w.said()
    w.broken = {"-b"}

    # When it is to run again from before that part
    run.rerun(reason="again", from_="line/a")

    # Then it has failed, and nothing has run
    assert (run.state, w.said()) == ("FAILED", ["-c"])
    assert [e.reason for e in events(log_of(w.app, run), facts.RunFailed)] == ["revert_failed"]
    w.checked(run, flow)

    # And when somebody has cleaned up, it runs again what is not there
    w.broken = set()
    run.rerun(reason="cleaned up")
    assert (run.state, w.said()) == ("SUCCEEDED", ["+b", "+c"])
    w.checked(run, flow)


def test_g5_a_sleep_that_is_over_is_kept(w: Mending) -> None:
    w.broken = {"b"}
    flow = stopped(w, w.part("a"), sleep(0).named("nap"), w.part("b"))
    run = w.app.run(flow, check=False)
    w.broken = {"b"}

    preview = run.rerun(reason="again")

    assert preview.keeps == ("line/a", "line/nap")
    run.revert(reason="give up")
    assert w.said() == ["+a", "!b", "!b", "-b", "-a"]
    w.checked(run, flow)


def test_g5_a_part_without_atoms_keeps_its_place_in_the_order_of_reverts(w: Mending) -> None:
    # Given a stopped scope in which nothing stands between two parts that do
    w.broken = {"c"}
    scope = linear(w.part("a"), unordered(name="nothing"), w.part("b"), w.part("c"), name="in", retry=Times(1))
    flow = stopped(w, scope)
    run = w.app.run(flow, check=False)

    # When it is run again, and undone before its round has begun, or after
    run.rerun(reason="again")
    run.revert(reason="give up")

    # Then b goes before a
    assert w.said() == ["+a", "+b", "!c", "!c", "-c", "-b", "-a"]
    w.checked(run, flow)


def test_g5_a_kept_retry_without_atoms_begins_anew_when_the_flow_around_it_is_tried_again(w: Mending) -> None:
    # Given a stopped scope that holds another, in which there is nothing
    w.broken = {"b"}
    scope = linear(w.part("a"), unordered(name="nothing", retry=Times(1)), w.part("b"), name="in", retry=Times(2))
    flow = stopped(w, scope)
    run = w.app.run(flow, check=False)
    rounds = [e.round for e in events(log_of(w.app, run), facts.RoundStarted) if e.round]

    # When it runs again, and is tried once more
    run.rerun(reason="again")

    # Then the inner scope is kept in the first round, and has one of its own in the second
    log = log_of(w.app, run)
    assert len(list(events(log, facts.RoundStarted))) == len(rounds) + 3
    assert [e.path for e in log if e.type == "RoundStarted"][-3:] == ["line/in", "line/in", "line/in/nothing"]
    w.checked(run, flow)
