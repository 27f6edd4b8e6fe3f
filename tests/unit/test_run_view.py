"""The run view: what people are told of a run, folded from its events."""

from __future__ import annotations

import pytest

from flowledger import Flow, Times, linear, unordered
from flowledger.events import facts
from flowledger.projections.nodes import AtomView
from flowledger.projections.run_view import RunView
from tests.unit.build_log import BEGUN, DONE, FIRST, LAST, PAIR, ROUND_FAILED, SECOND, app, build, first, second
from tests.unit.written_log import START_US, STEP_US, Story, envelopes, failure


@pytest.fixture(scope="module")
def document() -> bytes:
    return app.plan(build()).document


def seen(story: Story, document: bytes | None) -> RunView:
    return RunView(document=document).extend(envelopes(story))


def test_a_run_that_was_only_submitted_has_no_tree() -> None:
    view = seen(BEGUN[:1], None)
    assert (view.state, view.factory, view.key, view.tags) == ("PENDING", "build", "k", {"team": "a"})
    assert view.progress == (0, 0)
    assert list(view.below("")) == []


def test_it_counts_what_is_done_and_times_what_runs(document: bytes) -> None:
    view = seen(BEGUN, document)
    assert (view.state, view.progress, view.started_us) == ("RUNNING", (1, 3), START_US + 3 * STEP_US)
    assert (view.atoms[FIRST].state, view.atoms[FIRST].duration_us()) == ("SUCCEEDED", STEP_US)
    assert view.atoms[SECOND].state == view.flows[PAIR].state == view.flows["build"].state == "RUNNING"
    assert view.atoms[SECOND].duration_us(START_US + 10 * STEP_US) == 3 * STEP_US
    assert view.atoms[LAST].state == "PENDING"
    assert [node.name for node in view.waiting_for(LAST)] == ["pairs"]


def test_a_run_that_succeeded(document: bytes) -> None:
    view = seen([*BEGUN, *DONE], document)
    assert (view.state, view.succeeded, view.progress) == ("SUCCEEDED", True, (3, 3))
    assert view.duration_us() == 8 * STEP_US
    assert view.atoms[LAST].result == b"3"
    assert view.flows["build"].state == "SUCCEEDED"


def test_d2_a_failed_round_is_kept_with_its_reason_and_its_atoms_begin_anew(document: bytes) -> None:
    # Given a round that failed, When it has been reset
    view = seen([*BEGUN, *ROUND_FAILED], document)
    # Then its atoms are as new, and the scope knows why
    assert {view.atoms[path].state for path in (FIRST, SECOND)} == {"PENDING"}
    pair = view.flows[PAIR]
    assert [(failed.round, failed.reason) for failed in pair.failed_rounds] == [(1, "QuotaError: no quota")]
    assert (pair.state, pair.place.executions, view.failures) == ("WAITING", 3, [])
    # And When the next one starts, Then it is told as such
    again = [(PAIR, facts.RoundStarted(round=2)), (FIRST, facts.TaskStarted(try_=2, key="e"))]
    view = seen([*BEGUN, *ROUND_FAILED, *again], document)
    assert (view.flows[PAIR].round, view.atoms[FIRST].try_, view.atoms[FIRST].attempts) == (2, 2, 2)


def test_an_attempt_that_will_be_repeated_waits_and_is_not_forgotten(document: bytes) -> None:
    again = facts.TaskFailed(failure=failure(SECOND), again=True, until=START_US + 99 * STEP_US)
    view = seen([*BEGUN, (SECOND, again), (SECOND, facts.TaskStarted(attempt=2, key="b2"))], document)
    atom = view.atoms[SECOND]
    assert (atom.state, atom.attempt, atom.until_us) == ("RUNNING", 2, None)
    assert [one.message for one in atom.failed_attempts] == ["no quota"]


def test_f2_a_poll_is_one_attempt_that_waits(document: bytes) -> None:
    view = seen([*BEGUN, (SECOND, facts.TaskWaiting(until=START_US, polls=1, message="booting"))], document)
    assert (view.atoms[SECOND].state, view.atoms[SECOND].polls) == ("WAITING", 1)
    assert view.atoms[SECOND].duration_us(START_US + 9 * STEP_US) == 2 * STEP_US


def test_c3_a_crash_is_told_by_who_took_the_run_up(document: bytes) -> None:
    crash = [
        ("", facts.RunClaimed(owner="o2", epoch=2)),
        (SECOND, facts.TaskInterrupted(cause="owner o1 is gone")),
        (SECOND, facts.TaskStarted(attempt=2, key="b")),
    ]
    view = seen([*BEGUN, *crash], document)
    assert [(r.kept, r.interrupted) for r in view.resumptions] == [(1, [SECOND])]
    assert view.atoms[SECOND].interruptions == 1


def test_c6_lost_processes_are_counted_per_try_and_a_revert_begins_at_none(document: bytes) -> None:
    lost, again = (SECOND, facts.TaskInterrupted(cause="gone")), (SECOND, facts.TaskStarted(attempt=2, key="b"))
    atom = seen([*BEGUN, lost, again, lost], document).atoms[SECOND]
    assert (atom.lost, atom.interruptions, atom.place.losses) == (2, 2, 5)
    # When it is undone, and that is cut off as well
    undone = [(SECOND, facts.RevertStarted(key="r")), (SECOND, facts.TaskInterrupted(phase="revert", cause="gone"))]
    atom = seen([*BEGUN, lost, again, *undone], document).atoms[SECOND]
    assert (atom.lost, atom.interruptions) == (1, 2)
    # And when its scope is reset, Then the next try begins at none
    atom = seen([*BEGUN, lost, again, *ROUND_FAILED], document).atoms[SECOND]
    assert (atom.lost, atom.interruptions) == (0, 1)


def test_g2_suspended_and_resumed(document: bytes) -> None:
    asked = [*BEGUN, ("", facts.RequestAccepted(request="r", kind="suspend"))]
    assert seen(asked, document).state == "SUSPENDING"
    assert seen([*asked, ("", facts.RunSuspended())], document).state == "SUSPENDED"
    assert seen([*asked, ("", facts.RunSuspended()), ("", facts.RunResumed())], document).state == "RUNNING"


def test_g5_a_revert_a_person_asked_for_is_a_success_of_its_own(document: bytes) -> None:
    asked = [*BEGUN, *DONE, ("", facts.RequestAccepted(request="r", kind="revert", reason="over"))]
    view = seen([*asked, ("", facts.ScopeReverting()), (LAST, facts.RevertStarted(key="z"))], document)
    assert (view.state, view.progress) == ("REVERTING", (0, 3))
    reverted = [(path, facts.TaskReverted()) for path in (LAST, SECOND, FIRST)]
    view = seen([*asked, ("", facts.ScopeReverting()), *reverted, ("", facts.RunReverted())], document)
    assert (view.state, view.progress, view.succeeded) == ("REVERTED", (3, 3), True)
    assert view.duration_us() == 5 * STEP_US  # of the revert, not since the day it ran


def test_a_run_that_reverted_by_itself_did_not_succeed_and_says_what_failed(document: bytes) -> None:
    failed = [
        (SECOND, facts.TaskFailed(failure=failure(SECOND))),
        (PAIR, facts.RetryDecided(round=1, decision="REVERT", failures=(failure(SECOND),))),
        ("", facts.ScopeReverting()),
        (SECOND, facts.TaskReverted(attempt=0)),
        (FIRST, facts.TaskReverted()),
        ("", facts.RunReverted()),
    ]
    view = seen([*BEGUN, *failed], document)
    assert (view.state, view.succeeded) == ("REVERTED", False)
    assert [one.path for one in view.failures] == [SECOND]


def test_without_the_plan_the_paths_of_the_events_make_the_tree(document: bytes) -> None:
    view = seen([*BEGUN, *DONE], None)
    assert (view.state, view.progress) == ("SUCCEEDED", (3, 3))
    # And a plan that comes late changes nothing but what had not been heard of
    view.use(document)
    view2 = seen([*BEGUN, *DONE], document)
    assert [node.path for node in view.below("")] == [node.path for node in view2.below("")]
    assert view.atoms[FIRST].place == view2.atoms[FIRST].place


def test_e8_a_log_is_the_same_view_however_it_is_cut(document: bytes) -> None:
    story = [*BEGUN, *ROUND_FAILED, (PAIR, facts.RoundStarted(round=2)), (FIRST, facts.TaskStarted(try_=2, key="e"))]
    whole = seen(story, document)
    for cut in range(len(story)):
        view = RunView(document=document).extend(envelopes(story)[:cut])
        late = view.extend(envelopes(story)[cut:])
        assert _states(late) == _states(whole)
        assert late.root.atoms == whole.root.atoms


def _states(view: RunView) -> list[str]:
    return [f"{node.path} {node.state}" for node in view.below("")]


def test_the_counts_of_every_flow_are_those_of_its_atoms(document: bytes) -> None:
    view = seen([*BEGUN, *ROUND_FAILED, *DONE], document)
    for flow in view.flows.values():
        atoms = [node.state for node in view.below(flow.path) if isinstance(node, AtomView)]
        assert {state: number for state, number in flow.atoms.items() if number} == {s: atoms.count(s) for s in atoms}


@app.flow
def rebuilt() -> Flow[int]:
    pair = linear(first, second, name="pair", retry=Times(3))
    end = first.bind()
    return linear(unordered(pair, name="pairs"), linear(second, end, name="new"), returns=end)


def test_e8_another_plan_lays_out_the_tree_anew_and_keeps_what_has_happened() -> None:
    # Given a run under way, seen under its plan
    view = RunView(document=app.plan(build()).document).extend(envelopes(BEGUN))
    assert view.root.total == 3

    # When it goes on under a plan that has lost what never started, and has more
    document = app.plan(rebuilt()).document.replace(b'"rebuilt', b'"build')
    view.extend(envelopes([*BEGUN, ("", facts.PlanChanged(fingerprint="g"))])[len(BEGUN) :])
    view.use(document)

    # Then the tree is that of the new plan, with the states it had
    assert view.fingerprint == "g"
    assert [node.path for node in view.below("")] == [
        "build", "build/pairs", PAIR, FIRST, SECOND, "build/new", "build/new/second", "build/new/first",
    ]  # fmt: skip
    assert [view.atoms[path].state for path in (FIRST, SECOND)] == ["SUCCEEDED", "RUNNING"]
    assert (view.root.total, view.root.atoms["PENDING"]) == (4, 2)
