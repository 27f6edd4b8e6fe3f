"""What the fold remembers of attempts that workers make, told as stories (rules C1, C3, C4)."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from flowledger.core.decide import suspended
from flowledger.events import facts
from flowledger.events.facts import Event
from flowledger.events.failure import Failure

from .test_evolve import Story as Told
from .test_evolve import line, parallel

FAILURE = Failure(path="line/a", type="ValueError", message="no")


class Story(Told):
    """A run of which workers make parts."""

    def ask(self, path: str, queue: str = "builds", *, attempt: int = 1) -> Story:
        self.tell(path, facts.TaskStarted(key="", attempt=attempt, queue=queue))
        return self

    def ask_back(self, path: str, queue: str = "builds", *, attempt: int = 1) -> Story:
        self.tell(path, facts.RevertStarted(key="", attempt=attempt, queue=queue))
        return self

    def undoing(self) -> Story:
        """The run goes back, with *a* standing."""
        self.done("a").start("b").fail("b").tell("", facts.ScopeReverting()).undone("b")
        return self

    @property
    def remote(self) -> dict[str, str]:
        """Path → queue."""
        names = {number: self.plan.nodes[number].path.removeprefix(f"{self.root}/") for number in self.state.remote}
        return {names[number]: queue for number, queue in self.state.remote.items()}

    def runs(self, path: str) -> bool:
        return self.plan.by_path[f"{self.root}/{path}"] in self.state.running


def test_c1_what_workers_were_asked_for_runs_and_it_is_known_on_which_queue() -> None:
    # When
    story = Story(parallel()).ask("both/a", "builds").ask("both/b", "")
    # Then
    assert story.remote == {"both/a": "builds"}
    assert story.runs("both/a")
    assert story.runs("both/b")
    assert story.state_of("both/a") == "RUNNING"


ENDINGS: dict[str, Event] = {
    "succeeded": facts.TaskSucceeded(worker="W 7@host"),
    "failed": facts.TaskFailed(failure=FAILURE),
    "failed, again": facts.TaskFailed(failure=FAILURE, again=True),
    "failed, later again": facts.TaskFailed(failure=FAILURE, again=True, until=9),
    "not ready": facts.TaskWaiting(until=9),
    "lost": facts.TaskInterrupted(cause="worker W is gone"),
    "held": facts.TaskHeld(reason="look"),
}


@pytest.mark.parametrize("ending", ENDINGS.values(), ids=ENDINGS)
def test_c1_whatever_it_ends_with_nobody_is_asked_any_more(ending: Event) -> None:
    # Given
    story = Story(line()).ask("a")
    # When
    story.tell("a", ending)
    # Then
    assert story.remote == {}
    assert not story.runs("a")


def test_c1_the_next_attempt_may_be_asked_of_others_or_made_here() -> None:
    # Given
    again = facts.TaskFailed(failure=FAILURE, again=True)
    story = Story(line()).ask("a", "small")
    # When / Then
    story.tell("a", again)
    assert story.ask("a", "large", attempt=2).remote == {"a": "large"}
    story.tell("a", facts.TaskFailed(failure=FAILURE, attempt=2, again=True))
    assert story.ask("a", "", attempt=3).remote == {}
    assert story.runs("a")


def test_c3_a_new_owner_leaves_it_as_it_is() -> None:
    # Given
    story = Story(parallel()).ask("both/a")
    story.start("both/b")
    # When its process is gone: of what lived there it says so, of the other it does not
    story.tell("", facts.RunClaimed(owner="heir", epoch=2)).tell("both/b", facts.TaskInterrupted(cause="gone"))
    # Then
    assert story.remote == {"both/a": "builds"}
    assert story.state_of("both/a") == "RUNNING"


def test_c4_the_success_of_an_earlier_attempt_ends_the_one_under_way() -> None:
    # Given one that was taken for lost
    story = Story(line()).ask("a")
    story.tell("a", facts.TaskInterrupted(cause="worker W is gone"))
    story.ask("a", attempt=2)
    # When
    story.tell("a", facts.TaskSucceeded(attempt=1, worker="W 7@host"))
    # Then
    assert story.remote == {}
    assert (story.state_of("a"), story.enabled) == ("SUCCEEDED", ["Start b"])


def test_c4_an_outcome_that_is_ignored_ends_nothing() -> None:
    # Given
    story = Story(line()).ask("a")
    # When
    story.tell("a", facts.OutcomeIgnored(outcome="failed", worker="W 7@host"))
    # Then
    assert story.remote == {"a": "builds"}
    assert story.runs("a")


def test_d1_a_scope_is_drained_only_when_workers_have_said_how_it_ended() -> None:
    # Given one that fails beside one that a worker makes
    story = Story(parallel()).ask("both/a").start("both/b")
    story.fail("both/b")
    assert story.enabled == []
    # When
    story.tell("both/a", facts.TaskFailed(failure=FAILURE))
    # Then
    assert story.enabled != []


def test_g2_a_run_is_suspended_only_when_no_worker_makes_a_part_of_it() -> None:
    # Given
    story = Story(line()).ask("a")
    story.tell("", facts.RequestAccepted(request="r", kind="suspend", reason="night"))
    assert not suspended(story.state)
    # When
    story.tell("a", facts.TaskSucceeded())
    # Then
    assert suspended(story.state)


BACK: dict[str, tuple[Event, Callable[[Story], bool]]] = {
    "reverted": (facts.TaskReverted(worker="W 7@host"), lambda story: story.state_of("a") == "REVERTED"),
    "failed": (facts.RevertFailed(failure=FAILURE), lambda story: story.state_of("a") == "REVERT_FAILED"),
    "failed, again": (facts.RevertFailed(failure=FAILURE, again=True), lambda story: "Revert a" in story.enabled),
    "lost": (facts.TaskInterrupted(cause="gone", phase="revert"), lambda story: "Revert a" in story.enabled),
}


@pytest.mark.parametrize(("ending", "then"), BACK.values(), ids=BACK)
def test_d4_reverts_are_asked_of_workers_likewise(ending: Event, then: Callable[[Story], bool]) -> None:
    # Given
    story = Story(line()).undoing().ask_back("a", "undo")
    assert story.remote == {"a": "undo"}
    # When
    story.tell("a", ending)
    # Then
    assert story.remote == {}
    assert then(story)
