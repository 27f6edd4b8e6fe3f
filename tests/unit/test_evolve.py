"""The fold and decide, told as stories: given these events, these actions are enabled (SEMANTICS D)."""

from __future__ import annotations

import pytest
from sqlalchemy import Connection

from flowledger import App, Flow, Signal, Times, graph, linear, link, unordered
from flowledger.core.compiler import compile as compile_part
from flowledger.core.decide import decide, waits
from flowledger.core.evolve import ended, evolve
from flowledger.core.parts import Part
from flowledger.core.replay import decisions
from flowledger.core.state import State
from flowledger.core.values import key_of
from flowledger.events import facts
from flowledger.events.errors import Nondeterminism
from flowledger.events.facts import Event
from flowledger.events.failure import Failure, FailureKind

app = App("stories", database_url="memory://")


@app.task
def a() -> None: ...


@a.revert
def undo_a() -> None: ...


@app.task
def b() -> None: ...


@b.revert
def undo_b() -> None: ...


@app.task
def c() -> None: ...


@c.revert
def undo_c() -> None: ...


@app.task
def d() -> None: ...


@app.flow
def line() -> Flow[None]:
    return linear(a, b, c)


@app.flow
def retried() -> Flow[None]:
    return linear(a, linear(b, c, name="inner", retry=Times(2)), d)


@app.flow
def parallel() -> Flow[None]:
    return linear(unordered(a, b, name="both"), c)


@app.flow
def two_scopes() -> Flow[list[None]]:
    return unordered(linear(a, name="one", retry=Times(2)), linear(b, name="two", retry=Times(2)))


@app.flow
def diamond() -> Flow[None]:
    return graph(a, b, c, d, link(a, b), link(a, c), link(b, d), link(c, d))


go = Signal("go", int)


@app.flow
def listeners() -> Flow[list[object]]:
    late, early, *outside = (go.wait().named(name) for name in ("late", "early", "third", "fourth"))
    return unordered(unordered(late, early, a, name="in", retry=Times(2)), *outside)


@app.task(transactional=True)
def book(connection: Connection) -> None: ...


@app.flow
def booking() -> Flow[list[None]]:
    return unordered(book, a)


class Story:
    """A run without an engine: events are told, decisions are read."""

    def __init__(self, part: Part[object]) -> None:
        self.plan = compile_part(part, app)
        self.state = State(self.plan)
        self.root = self.plan.nodes[1].path
        self.tell("", facts.RunSubmitted(app="stories", factory=self.root))
        self.tell("", facts.RunStarted(fingerprint=self.plan.fingerprint))

    def tell(self, path: str, event: Event) -> Story:
        where = path if path in self.plan.by_path else f"{self.root}/{path}"
        evolve(self.state, self.plan.by_path[where], event, self.state.time_us + 1)
        return self

    def start(self, path: str) -> Story:
        number = self.plan.by_path[f"{self.root}/{path}"]
        attempt = self.state.attempts[number] + 1
        return self.tell(path, facts.TaskStarted(try_=self.state.tries[number], attempt=attempt, key=""))

    def done(self, path: str) -> Story:
        return self.start(path).tell(path, facts.TaskSucceeded())

    def fail(self, path: str, *, again: bool = False, until: int | None = None) -> Story:
        failure = Failure(path=path, type="ValueError", message="no")
        return self.tell(path, facts.TaskFailed(failure=failure, again=again, until=until))

    def undone(self, path: str) -> Story:
        return self.tell(path, facts.RevertStarted(key="")).tell(path, facts.TaskReverted())

    @property
    def enabled(self) -> list[str]:
        return [
            f"{kind} {path.removeprefix(self.root).lstrip('/')}".strip()
            for kind, path in decisions(self.plan, self.state)
        ]

    @property
    def offered(self) -> dict[str, str]:
        """By path: the signal that a wait may take."""
        offered = self.state.offered.items()
        return {self.plan.nodes[n].path.removeprefix(f"{self.root}/"): signal.request for n, signal in offered}

    def key_of_revert(self, path: str) -> str:
        """The idempotency key of its next revert (C5)."""
        return key_of("run", self.state, self.plan.nodes[self.plan.by_path[f"{self.root}/{path}"]], "revert")

    def how_ended(self, path: str) -> str:
        """What the revert of an atom would be told of its execute."""
        return ended(self.state, self.plan.by_path[f"{self.root}/{path}"])

    def state_of(self, path: str) -> str:
        return self.state.states[self.plan.by_path[f"{self.root}/{path}"]]


def test_a_line_starts_one_atom_after_the_other_and_then_ends() -> None:
    story = Story(line())
    assert story.enabled == ["Start a"]
    assert story.done("a").enabled == ["Start b"]
    assert story.done("b").done("c").enabled == ["End"]


def test_a_join_starts_once_after_all_its_branches() -> None:
    story = Story(diamond()).done("a")
    assert story.enabled == ["Start b", "Start c"]
    assert story.done("c").enabled == ["Start b"]
    assert story.done("b").enabled == ["Start d"]


def test_e1_what_follows_a_flow_waits_for_all_of_it() -> None:
    story = Story(parallel())
    assert story.enabled == ["Start both/a", "Start both/b"]
    assert story.done("both/a").enabled == ["Start both/b"]
    assert story.done("both/b").enabled == ["Start c"]


def test_d1_nothing_starts_in_a_failing_scope_and_running_bodies_finish() -> None:
    # Given two bodies that run
    story = Story(parallel()).start("both/a").start("both/b")
    # When one fails
    story.fail("both/a")
    # Then nothing is enabled until the other has ended, and then the run is undone
    assert story.enabled == []
    assert story.tell("both/b", facts.TaskSucceeded()).enabled == ["RevertScope"]


def test_d1_a_waiting_atom_of_a_failing_scope_ends_at_once() -> None:
    # Given an atom that waits for its back-off beside one that runs
    story = Story(parallel()).start("both/a").fail("both/a", again=True, until=99).start("both/b")
    assert [wait.until_us for wait in waits(story.state)] == [99]
    # When the other fails for good
    story.fail("both/b")
    # Then it waits no more, and will be undone
    assert story.state_of("both/a") == "INTERRUPTED"
    assert waits(story.state) == []
    assert story.tell("", facts.ScopeReverting()).enabled == ["Revert both/a", "Revert both/b"]


def test_d1_scopes_that_are_not_failing_go_on() -> None:
    story = Story(two_scopes()).tell("one", facts.RoundStarted(round=1)).tell("two", facts.RoundStarted(round=1))
    story.start("one/a").fail("one/a")
    assert story.enabled == ["AskRetry one", "Start two/b"]


def test_f4_what_a_failing_scope_gives_back_goes_the_oldest_to_whoever_has_waited_longest() -> None:
    # Given two waits in a scope that were offered signals and have not taken them, and two that wait outside
    story = Story(listeners()).tell("in", facts.RoundStarted(round=1)).start("in/a")
    for name in ("in/early", "in/late", "third", "fourth"):
        story.tell(name, facts.TaskWaiting(attempt=0, polls=0, signal="go"))
    for request in ("one", "two"):
        story.tell("", facts.SignalReceived(request=request, name="go"))
    assert story.offered == {"in/early": "one", "in/late": "two"}
    # When the scope fails
    story.fail("in/a")
    # Then the oldest is for the one that has waited longest, in whatever order the waits in the scope have ended
    assert story.offered == {"third": "one", "fourth": "two"}


def test_d2_a_retry_reverts_resets_and_starts_the_next_round() -> None:
    story = Story(retried()).done("a").tell("inner", facts.RoundStarted(round=1)).done("inner/b").start("inner/c")
    assert story.fail("inner/c").enabled == ["AskRetry inner"]
    story.tell("inner", facts.RetryDecided(round=1, decision="RETRY"))
    assert story.enabled == ["RevertScope inner"]
    # D4: the provider stands until its consumer is undone
    assert story.tell("inner", facts.ScopeReverting(round=1)).enabled == ["Revert inner/c"]
    assert story.undone("inner/c").enabled == ["Revert inner/b"]
    assert story.undone("inner/b").enabled == ["ResetScope inner"]
    assert story.tell("inner", facts.ScopeReset(round=1)).enabled == ["StartRound inner"]
    story.tell("inner", facts.RoundStarted(round=2))
    assert story.enabled == ["Start inner/b"]
    assert story.state.tries[story.plan.by_path["retried/inner/b"]] == 2


def test_d2_one_revert_over_the_widest_scope_once_the_retry_gives_up() -> None:
    story = Story(retried()).done("a").tell("inner", facts.RoundStarted(round=1)).done("inner/b").start("inner/c")
    story.fail("inner/c").tell("inner", facts.RetryDecided(round=1, decision="REVERT"))
    assert story.enabled == ["RevertScope"]
    assert story.tell("", facts.ScopeReverting()).enabled == ["Revert inner/c"]
    story.undone("inner/c").undone("inner/b")
    assert story.enabled == ["Revert a"]
    assert story.undone("a").enabled == ["End"]


def test_a_scope_with_a_back_off_waits_for_its_timer() -> None:
    story = Story(two_scopes()).tell("one", facts.RoundStarted(round=1)).start("one/a").fail("one/a")
    story.tell("one", facts.RetryDecided(round=1, decision="RETRY", backoff_s=1)).tell(
        "one", facts.ScopeReverting(round=1)
    )
    story.undone("one/a").tell("one", facts.ScopeReset(round=1, until=77))
    assert [(wait.until_us, wait.why) for wait in waits(story.state)] == [(77, "backoff")]
    assert "StartRound one" not in story.enabled
    assert "StartRound one" in story.tell("one", facts.TimerFired(due=77)).enabled


def test_d5_after_a_failed_revert_the_rest_is_undone_where_it_can_and_the_run_ends_failed() -> None:
    # Given a revert of two parallel atoms and the one before... c comes after both
    story = Story(parallel()).done("both/a").done("both/b").start("c").fail("c").tell("", facts.ScopeReverting())
    story.undone("c")
    assert story.enabled == ["Revert both/a", "Revert both/b"]
    # When one of the reverts fails for good
    failure = Failure(path="a", type="OSError", message="stuck")
    story.tell("both/a", facts.RevertStarted(key="")).tell("both/a", facts.RevertFailed(failure=failure))
    # Then the other is still undone, and the run ends
    assert story.enabled == ["Revert both/b"]
    assert story.undone("both/b").enabled == ["End"]
    assert story.state.broken


def test_d3_a_stopped_run_keeps_everything() -> None:
    plan = compile_part(line(), app)
    story = Story(line())
    story.state = State(plan)
    story.tell("", facts.RunSubmitted(app="stories", factory="line"))
    story.tell("", facts.RunStarted(fingerprint="", on_failure="stop")).done("a").start("b").fail("b")
    assert story.enabled == ["End"]
    assert story.state_of("a") == "SUCCEEDED"


def test_g2_a_suspending_run_starts_nothing_and_can_still_end() -> None:
    story = Story(line()).done("a").start("b").tell("", facts.RequestAccepted(request="r", kind="suspend"))
    assert story.enabled == []
    story.tell("b", facts.TaskSucceeded()).tell("", facts.RunSuspended()).tell("", facts.RunResumed())
    assert story.enabled == ["Start c"]
    story.start("c").tell("", facts.RequestAccepted(request="r", kind="suspend")).tell("c", facts.TaskSucceeded())
    assert story.enabled == ["End"]


def test_g5_the_revert_of_a_finished_run_undoes_all_that_stands() -> None:
    story = Story(line()).done("a").done("b").done("c").tell("", facts.RunSucceeded())
    assert story.enabled == []
    story.tell("", facts.RequestAccepted(request="r", kind="revert"))
    assert story.enabled == ["RevertScope"]
    story.tell("", facts.ScopeReverting()).undone("c").undone("b").undone("a")
    assert story.enabled == ["End"]
    assert story.tell("", facts.RunReverted()).state.status == "REVERTED"


def test_c9_an_atom_that_failed_before_its_body_ran_is_not_reverted() -> None:
    story = Story(line()).done("a")
    story.fail("b").tell("", facts.ScopeReverting())
    assert story.enabled == ["Revert a"]


@pytest.mark.parametrize(
    ("path", "event"),
    [
        ("a", facts.TaskSucceeded()),
        ("a", facts.TaskReverted()),
        ("a", facts.TimerFired(due=1)),
        ("", facts.RunResumed()),
        ("", facts.ScopeReset(round=1)),
    ],
)
def test_an_illegal_event_is_an_error_that_names_atom_state_and_event(path: str, event: Event) -> None:
    story = Story(line())
    with pytest.raises(Nondeterminism) as caught:
        story.tell(path, event)
    assert type(event).__name__ in str(caught.value)
    assert "PENDING" in str(caught.value) or "RUNNING" in str(caught.value)


def test_decide_costs_what_is_asked_for_not_the_size_of_the_plan() -> None:
    # Given a thousand ready atoms
    @app.flow(name="wide")
    def wide() -> Flow[list[None]]:
        return unordered(*[a.bind() for _ in range(1_000)])

    story = Story(wide())
    # When there is room for two
    actions = decide(story.plan, story.state, lambda lane: 2)
    # Then two come, the first in plan order
    assert [action.node for action in actions] == [2, 3]


def test_g3_nothing_is_held_any_more_in_a_run_that_is_over() -> None:
    # Given an atom that waits for a person's word beside one that runs
    story = Story(parallel()).start("both/a").start("both/b").tell("both/a", facts.TaskHeld())
    # When that fails, and with it the run
    story.fail("both/b").tell("", facts.RunFailed(reason="stopped"))
    # Then a rerun or a revert will not be held by it
    assert story.state.held == {}


def test_c5_the_key_of_a_revert_stays_until_it_is_known_what_one_did() -> None:
    # Given a run that is undone
    story = Story(line()).done("a").start("b").fail("b").tell("", facts.ScopeReverting())
    first = story.key_of_revert("a")

    def reverts(kind: FailureKind, *, again: bool) -> str:
        failure = Failure(path="line/a", type="E", message="no", kind=kind)
        story.tell("a", facts.RevertStarted(key="")).tell("a", facts.RevertFailed(failure=failure, again=again))
        return story.key_of_revert("a")

    # When reverts are over time, the key is the same; when one fails, it is another
    assert reverts("timeout", again=True) == first
    second = reverts("error", again=True)
    assert second != first
    # When it is given up because processes were lost, and a person asks once more, it is still that
    assert reverts("poison", again=False) == second
    story.tell("", facts.RunFailed(reason="revert_failed"))
    story.tell("", facts.RequestAccepted(request="q", kind="revert", reason="r")).tell("", facts.ScopeReverting())
    assert story.key_of_revert("a") == second


def test_c8_a_poll_that_drained_may_have_committed_what_it_wrote() -> None:
    # Given a transactional task whose body is called again and again until it is ready, beside one that fails
    story = Story(booking()).start("book").tell("book", facts.TaskWaiting(until=99)).start("a").fail("a")
    # When it drains, perhaps while its body runs: then nobody knows whether that was committed
    assert story.how_ended("book") == "unknown"
    # Unlike one that was declared lost
    lost = Story(booking()).start("book").tell("book", facts.TaskInterrupted(cause="gone"))
    assert lost.how_ended("book") == "failed"
