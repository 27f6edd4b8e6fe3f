"""Rule E8: code that changes under a run. What has history must be unchanged; what has not may change freely."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from flowledger import App, Flow, PlanDiffers, Settings, TaskContext, Times, graph, linear, link, sleep, unordered
from flowledger.adapters.checking import check_live
from flowledger.adapters.keys import new_key
from flowledger.events import facts
from flowledger.events.facts import PlanChanged, RunStarted
from tests.acceptance.logs import events, log_of, story
from tests.acceptance.releases import Build, Release

Deploy = Callable[[Build], Release]


@pytest.fixture(params=["sqlite", "postgres"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/log.db"
    return str(request.getfixturevalue("postgres_url"))


@pytest.fixture
def deploy(url: str) -> Iterator[Deploy]:
    """Deploy the next release; those before it have ended."""
    releases: list[Release] = []

    def next_release(build: Build) -> Release:
        for release in releases:
            release.app.close()
        releases.append(Release(url, build))
        return releases[-1]

    yield next_release
    for release in releases:
        release.app.close()


# -- accepted -------------------------------------------------------------------------------------


def test_e8_what_never_started_may_change_freely_and_the_log_says_so(deploy: Deploy) -> None:
    # Given a run of a, b, c, d that is suspended after a
    old = deploy(lambda r: linear(r.part("a"), r.pause, *r.parts("bcd")))
    run = old.go()
    assert run.state == "SUSPENDED"

    # When a release goes on with it that has lost b, bound c anew, and gained x and y
    new = deploy(lambda r: linear(r.part("a"), r.pause, r.make.bind("C").named("c"), r.part("d"), *r.parts("xy")))
    again = new.go()

    # Then it is the same run, and does what the new release says
    assert (again.id, again.state) == (run.id, "SUCCEEDED")
    assert new.done == ["+C", "+d", "+x", "+y"]

    # And its new owner has recorded the new plan, which is kept, and under which the whole log is valid
    log = log_of(new.app, again)
    (started,), (changed,) = events(log, RunStarted), events(log, PlanChanged)
    assert changed.fingerprint == new.plan().fingerprint != started.fingerprint
    assert new.app.runtime.store.plan(changed.fingerprint) is not None
    assert story(log)[story(log).index("RunSuspended") :][:3] == ["RunSuspended", "PlanChanged", "RunResumed"]
    assert new.checked(again).status == "SUCCEEDED"


def test_e8_a_plan_may_change_again_and_again(deploy: Deploy) -> None:
    # Given a run that each release pauses after its own part
    runs = [deploy(_pausing(names)).go() for names in ("a", "ab", "abc")]

    # When the last one has no pause at the end
    last = deploy(lambda r: linear(*_paused(r, "abc"), r.part("d")))
    ended = last.go()

    # Then each change is in the log, and the log is valid under the last plan
    assert {run.id for run in runs} == {ended.id}
    assert ended.state == "SUCCEEDED"
    assert last.done == ["+d"]
    assert len(list(events(log_of(last.app, ended), PlanChanged))) == 3
    last.checked(ended)


def _pausing(names: str) -> Build:
    return lambda release: linear(*_paused(release, names), release.part("z"))


def _paused(release: Release, names: str) -> Iterator[Any]:
    for name in names:
        yield release.part(name)
        yield release.pause.bind().named(f"pause-{name}")


def test_e8_the_same_plan_is_not_recorded_twice(deploy: Deploy) -> None:
    def build(release: Release) -> Flow[Any]:
        return linear(release.part("a"), release.pause, release.part("b"))

    deploy(build).go()
    new = deploy(build)

    run = new.go()

    assert not list(events(log_of(new.app, run), PlanChanged))


def test_e8_parts_in_another_order_are_a_change_that_is_accepted(deploy: Deploy) -> None:
    # Given parts side by side, one of which has failed in a round of its scope
    def build(names: str) -> Build:
        def built(release: Release) -> Flow[Any]:
            parts = {name: release.part(name) for name in "ab"} | {"x": release.breaks.bind("x").named("x")}
            failing = unordered(*[parts[name] for name in names], name="side", retry=Times(1))
            return linear(release.pause, failing)

        return built

    deploy(build("abx")).go()

    # When the next release has them in another order
    new = deploy(build("xba"))
    run = new.go()

    # Then that is a change like any other
    assert run.state == "REVERTED"
    assert len(list(events(log_of(new.app, run), PlanChanged))) == 1
    new.checked(run)


def test_e8_a_round_under_way_takes_in_what_a_release_adds_to_it(deploy: Deploy) -> None:
    # Given a retried flow, suspended in its first round
    deploy(lambda r: linear(linear(r.part("a"), r.pause, name="in", retry=Times(2)), r.part("z"))).go()

    # When the release after it adds a part that fails to the end of the scope
    def build(release: Release) -> Flow[Any]:
        scope = linear(release.part("a"), release.pause, release.breaks.bind("x"), name="in", retry=Times(2))
        return linear(scope, release.part("z"))

    new = deploy(build)
    run = new.go()
    while run.state == "SUSPENDED":  # the second round pauses again
        run = new.go()

    # Then the retry was asked about it, and both rounds were undone
    assert run.state == "REVERTED"
    assert new.done == ["!x", "-a", "+a", "!x", "-a"]
    new.checked(run)


def test_e8_a_revert_under_way_goes_on_under_the_plan_that_is_accepted(deploy: Deploy) -> None:
    # Given a run that failed and is suspended on its way back
    run = deploy(lambda r: linear(r.part("a"), r.halts, r.breaks.bind("x"), r.part("never"))).go()
    assert run.state == "SUSPENDED"

    # When the next release has something else after the part that failed
    new = deploy(lambda r: linear(r.part("a"), r.halts, r.breaks.bind("x"), *r.parts("yz")))
    again = new.go()

    # Then the rest is undone, and nothing else is done
    assert again.state == "REVERTED"
    assert new.done == ["-a"]
    new.checked(again)


# -- refused --------------------------------------------------------------------------------------


def _yes(asked: bool) -> bool:
    return asked


def branch(release: Release, depth: Any) -> Flow[Any]:
    """A branch that says no, a pause after it, and something to come."""
    asked, skipped = release.says.bind(False).named("asked"), release.part("skipped")
    branched = graph(asked, skipped, link(asked, skipped, when=_yes, depth=depth), name="branched")
    return linear(branched, release.pause, release.part("z"))


REFUSED: dict[str, tuple[Build, Build, str]] = {
    "a part that ran is gone": (
        lambda r: linear(r.part("a"), r.pause, r.part("b")),
        lambda r: linear(r.pause, r.part("b")),
        "- deploy/a",
    ),
    "a part that ran has another name": (
        lambda r: linear(r.part("a"), r.pause, r.part("z")),
        lambda r: linear(r.part("a").named("other"), r.pause, r.part("z")),
        "- deploy/a",
    ),
    "a part that ran is another task": (
        lambda r: linear(r.part("a"), r.pause, r.part("z")),
        lambda r: linear(r.says.bind(True).named("a"), r.pause, r.part("z")),
        "~ deploy/a: task was",
    ),
    "a part that ran was given something else": (
        lambda r: linear(r.part("a"), r.pause, r.part("z")),
        lambda r: linear(r.make.bind("A").named("a"), r.pause, r.part("z")),
        "~ deploy/a: values was",
    ),
    "a part that ran is bound to another": (
        lambda r: linear(a := r.part("a"), r.part("b"), r.make.bind(a).named("x"), r.pause, r.part("z")),
        lambda r: linear(r.part("a"), b := r.part("b"), r.make.bind(b).named("x"), r.pause, r.part("z")),
        "~ deploy/x: values was",
    ),
    "something new stands before what ran": (
        lambda r: linear(r.part("a"), r.pause, r.part("z")),
        lambda r: linear(r.part("new"), r.part("a"), r.pause, r.part("z")),
        "~ deploy/a: predecessors was",
    ),
    "something new stands in what was waited for": (
        lambda r: linear(unordered(*r.parts("ab"), name="both"), r.pause, r.part("c")),
        lambda r: linear(unordered(*r.parts("abx"), name="both"), r.pause, r.part("c")),
        "TaskStarted of deploy/pause was not due",
    ),
    "a flow around what ran waits for something new": (
        lambda r: linear(linear(r.part("a"), r.pause, r.part("z"), name="in")),
        lambda r: linear(r.part("new"), linear(r.part("a"), r.pause, r.part("z"), name="in")),
        "~ deploy/in: predecessors was",
    ),
    "a retry around what ran is gone": (
        lambda r: linear(linear(r.part("a"), r.pause, r.part("z"), name="in", retry=Times(2))),
        lambda r: linear(linear(r.part("a"), r.pause, r.part("z"), name="in")),
        "~ deploy/in: retry was",
    ),
    "a retry around what ran is new": (
        lambda r: linear(linear(r.part("a"), r.pause, r.part("z"), name="in")),
        lambda r: linear(linear(r.part("a"), r.pause, r.part("z"), name="in", retry=Times(2))),
        "~ deploy/in: retry was",
    ),
    "a retry around what ran has other arguments": (
        lambda r: linear(linear(r.part("a"), r.pause, r.part("z"), name="in", retry=Times(2))),
        lambda r: linear(linear(r.part("a"), r.pause, r.part("z"), name="in", retry=Times(3))),
        "~ deploy/in: retry was",
    ),
    "a part that was skipped is gone": (
        lambda r: branch(r, "atom"),
        lambda r: linear(graph(r.says.bind(False).named("asked"), name="branched"), r.pause, r.part("z")),
        "- deploy/branched/skipped",
    ),
    "a verdict that was given takes along something else": (
        lambda r: branch(r, "atom"),
        lambda r: branch(r, "neighbors"),
        "~ deploy/branched/skipped: conditions was",
    ),
    "a sleep that is under way is gone": (
        lambda r: unordered(sleep(1).named("nap"), linear(r.pause, r.part("z"), name="halt")),
        lambda r: unordered(linear(r.pause, r.part("z"), name="halt")),
        "- deploy/nap",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_e8_a_change_to_what_has_history_is_refused_with_a_diff(case: str, deploy: Deploy) -> None:
    # Given a run that is suspended
    before, after, said = REFUSED[case]
    old = deploy(before)
    run = old.go()
    assert run.state == "SUSPENDED"
    length = len(log_of(old.app, run))

    # When a release comes that has changed what has history
    new = deploy(after)
    with pytest.raises(PlanDiffers) as refused:
        new.go()

    # Then it is refused, says what, and nothing was run or written
    assert said in str(refused.value)
    assert new.done == []
    assert len(log_of(new.app, run)) == length
    assert new.app.stream_of(run.id).owner is None

    # And the code that began it can still go on
    assert deploy(before).go().state in ("SUCCEEDED", "SUSPENDED")


def test_e8_the_diff_tells_what_is_in_the_way_from_what_is_not(deploy: Deploy) -> None:
    # Given a run of a, then b
    deploy(lambda r: linear(r.part("a"), r.pause, r.part("b"))).go()

    # When the next release has changed both
    new = deploy(lambda r: linear(r.make.bind("A").named("a"), r.pause, r.part("c")))
    with pytest.raises(PlanDiffers) as refused:
        new.go()

    # Then the message says which of it is the matter
    in_the_way, free = str(refused.value).split("what has not started yet differs, too:")
    assert "~ deploy/a: values was" in in_the_way
    assert "deploy/b" not in in_the_way
    assert "- deploy/b" in free
    assert "+ deploy/c" in free


def test_taskflow_47_the_failed_task_was_removed_from_the_flow(deploy: Deploy) -> None:
    """Differs on purpose: taskflow forgets the task and undoes the rest; what it may have done is then nobody's."""

    # Given a run with a failed part, suspended on its way back
    def build(release: Release) -> Flow[Any]:
        return linear(release.part("a"), release.halts, release.breaks.bind("x").named("x"))

    run = deploy(build).go()
    assert run.state == "SUSPENDED"

    # When a release comes from which that part was removed
    new = deploy(lambda r: linear(r.part("a"), r.halts))

    # Then it may not go on: only the code that has the part can undo it
    with pytest.raises(PlanDiffers, match="- deploy/x"):
        new.go()
    again = deploy(build)
    ended = again.go()
    assert ended.state == "REVERTED"
    assert again.done == ["-a"]
    assert [failure.message for failure in ended.failures] == ["x"]


# -- runs that are over ---------------------------------------------------------------------------


def test_e8_what_a_run_came_to_can_be_read_as_long_as_its_parts_are_there(deploy: Deploy) -> None:
    # Given a run that is over
    def old(release: Release) -> Flow[Any]:
        both = unordered(*release.parts("ab"), name="both")
        return linear(both, release.part("c"), returns=both)

    run = deploy(old).go()
    assert run.result == ["a", "b"]

    # When a later release has more parts, at the end and in between
    def more(release: Release) -> Flow[Any]:
        both = unordered(*release.parts("abx"), name="both")
        return linear(both, *release.parts("cd"), returns=both)

    new = deploy(more)

    # Then the run still says what it came to, and nothing is written
    assert new.go().result == ["a", "b"]
    assert new.app.get(run.id).results == {"deploy/both/a": "a", "deploy/both/b": "b", "deploy/c": "c"}
    assert new.done == []
    assert not list(events(log_of(new.app, run), PlanChanged))


def test_e8_a_run_that_returned_something_is_not_read_under_a_plan_that_returns_something_else(deploy: Deploy) -> None:
    def build(which: int) -> Build:
        def built(release: Release) -> Flow[Any]:
            parts = release.parts("ab")
            return linear(*parts, returns=parts[which])

        return built

    deploy(build(0)).go()
    new = deploy(build(1))

    with pytest.raises(PlanDiffers, match="returns was"):
        new.go().result  # noqa: B018


def test_e8_a_run_that_is_over_is_undone_under_a_plan_that_has_grown(deploy: Deploy) -> None:
    # Given a run that succeeded
    run = deploy(lambda r: linear(*r.parts("ab"))).go()

    # When it is reverted by a release that has more parts after it
    new = deploy(lambda r: linear(*r.parts("abc")))
    undone = new.app.revert_run(run.id, reason="not needed")

    # Then what it did is undone, and the log is valid under the plan that was recorded
    assert undone.state == "REVERTED"
    assert new.done == ["-b", "-a"]
    assert len(list(events(log_of(new.app, undone), PlanChanged))) == 1
    new.checked(undone)


def test_e8_a_run_that_is_over_is_not_undone_where_something_new_stands_in_between(deploy: Deploy) -> None:
    run = deploy(lambda r: linear(unordered(r.part("a"), name="first"), r.part("b"))).go()
    new = deploy(lambda r: linear(unordered(*r.parts("ax"), name="first"), r.part("b")))

    with pytest.raises(PlanDiffers, match="was not due"):
        new.app.revert_run(run.id, reason="not needed")

    assert new.done == []
    assert new.app.stream_of(run.id).status == "SUCCEEDED"


def test_e8_a_run_that_failed_before_anything_is_gone_on_with_under_any_plan(deploy: Deploy) -> None:
    # Given a run of which nothing but the pause has history
    deploy(lambda r: linear(r.pause, *r.parts("ab"))).go()

    # When everything else is another
    new = deploy(lambda r: linear(r.pause, linear(*r.parts("xy"), name="in", retry=Times(2))))
    run = new.go()

    assert run.state == "SUCCEEDED"
    assert new.done == ["+x", "+y"]
    assert isinstance(log_of(new.app, run)[-1].event, facts.RunSucceeded)


# -- seen beforehand ------------------------------------------------------------------------------


def test_e8_a_run_with_secrets_is_looked_at_as_well(tmp_path: Path) -> None:
    # Given a suspended run with a secret input
    settings = Settings(database_url=f"sqlite:///{tmp_path}/log.db", codec_keys=new_key("k1", "aes").line)
    app = App("secrets", settings=settings)

    @app.task(read_only=True)
    def pause(token: SecretStr, ctx: TaskContext) -> None:
        app.suspend_run(ctx.run_id, reason="a deployment")

    @app.task(read_only=True)
    def after() -> None: ...

    @app.flow
    def line(token: SecretStr) -> Flow[None]:
        return linear(pause.bind(token), after)

    run = app.run(line(SecretStr("token")), check=False)
    assert run.state == "SUSPENDED"

    # When somebody asks whether it could go on
    findings = list(check_live(app.runtime, app))
    app.close()

    # Then it is read in clear, and it could
    assert [(finding.stream.run_id, finding.verdict) for finding in findings] == [(run.id, "same")]
