"""`why` explains a run with evidence, `diff` compares two, and a moment shows one as it was (B1, H4)."""

from __future__ import annotations

from typing import Any

import pytest

from flowledger.adapters.history import History
from flowledger.adapters.moments import Moment, version_at
from flowledger.adapters.stores.memory import MemoryStore
from flowledger.events import facts
from flowledger.events.errors import InputError
from flowledger.events.store import PlanRow
from flowledger.projections.diff import Difference, Side, compare
from flowledger.projections.run_view import RunView
from flowledger.projections.why import Driver, Evidence, Reason, why
from tests.unit.build_log import BEGUN, DONE, FIRST, LAST, PAIR, ROUND_FAILED, SECOND, app, build
from tests.unit.written_log import RUN_ID, START_US, STEP_US, Story, envelopes, failure, write

Events = list[tuple[str, facts.Event]]
DOCUMENT = app.plan(build()).document
UNTIL = START_US + 99 * STEP_US


def explained(story: Story, driver: Driver | None = None) -> list[Reason]:
    view, evidence = RunView(document=DOCUMENT), Evidence()
    evidence.driver = driver
    for envelope in envelopes(story):
        view.apply(envelope)
        evidence.apply(envelope)
    return why(view, evidence)


def said(story: Story, driver: Driver | None = None) -> list[tuple[str, tuple[int, ...]]]:
    return [(reason.text, reason.evidence) for reason in explained(story, driver)]


def test_why_a_run_waits_to_be_taken_up() -> None:
    assert said(BEGUN[:1]) == [("it waits for somebody to take it up; nobody has yet", (1,))]


def test_why_a_run_goes_on() -> None:
    assert said(BEGUN) == [
        ("it is running, driven by o1", (2,)),
        (f"{SECOND} runs", (7,)),
        (f"{LAST} waits for build/pairs", ()),
    ]


def test_c6_why_says_how_often_a_task_lost_its_process_and_how_often_it_may() -> None:
    lost: Events = [*BEGUN, (SECOND, facts.TaskInterrupted(cause="owner o1 is gone"))]
    assert (f"{SECOND} was cut off (lost 1 of 5 times) and will run again", (8,)) in said(lost)
    again: Events = [*lost, (SECOND, facts.TaskStarted(attempt=2, key="b2"))]
    assert (f"{SECOND} runs (attempt 2, lost 1 of 5 times)", (9,)) in said(again)


def test_why_a_task_waits() -> None:
    failed = facts.TaskFailed(failure=failure(SECOND), again=True, until=UNTIL)
    [_, waits, *_] = explained([*BEGUN, (SECOND, failed)])
    assert waits == Reason(f"{SECOND} failed and is tried again: QuotaError: no quota", (8,), UNTIL)
    [_, polls, *_] = explained([*BEGUN, (SECOND, facts.TaskWaiting(until=UNTIL, polls=2, message="building"))])
    assert polls == Reason(f"{SECOND} is not ready yet after 2 polls: building", (8,), UNTIL)


def test_g7_why_a_parent_waits_names_its_child() -> None:
    waits = facts.TaskWaiting(until=UNTIL, message="its run of pair has not ended", child="01J0CHILD")
    [_, child, *_] = explained([*BEGUN, (SECOND, waits)])
    assert child.text == f"{SECOND} is not ready yet after 1 poll: its run of pair has not ended: 01J0CHILD"


def test_why_a_scope_waits() -> None:
    story: Events = [*BEGUN, *ROUND_FAILED[:-1], (PAIR, facts.ScopeReset(round=1, until=UNTIL))]
    assert Reason(f"{PAIR} was undone and begins again after a back-off: QuotaError: no quota", (14,), UNTIL) in (
        explained(story)
    )


def test_why_a_run_is_suspended_and_who_wanted_it() -> None:
    story: Events = [
        *BEGUN,
        ("", facts.RequestAccepted(request="r", kind="suspend", reason="lunch")),
        ("", facts.RunSuspended()),
    ]
    assert said(story)[:2] == [
        ("it is suspended, and waits for `resume`", (9,)),
        ("me@here asked for it: lunch", (8,)),
    ]


def test_g3_why_a_run_is_held_and_by_whom_it_goes_on() -> None:
    # Given a task whose body wants a person
    held: Events = [*BEGUN, (SECOND, facts.TaskHeld(reason="ask the bank")), ("", facts.RunSuspended(held=(SECOND,)))]
    # Then
    assert said(held)[:2] == [
        ("it is held, and waits for a person to `resolve` it", (9,)),
        (f"{SECOND} is held: ask the bank", (8,)),
    ]
    # When somebody has said what became of it
    resolved = facts.RequestAccepted(request="r", kind="resolve", resolution="rerun")
    story: Events = [*held, (SECOND, resolved), ("", facts.RunResumed())]
    # Then
    assert (f"{SECOND} was cut off and will run again", ()) in said(story)


def test_b2_why_a_run_does_not_go_on_when_its_process_is_gone() -> None:
    # Given
    gone = Driver(False, "the process that drove it is gone (o1); `flowledger resume R` goes on")
    # Then: nothing is said to run
    assert said(BEGUN, gone)[:2] == [
        (f"it is running, but {gone.words}", (2,)),
        (f"{SECOND} ran when its process went", (7,)),
    ]
    assert said(BEGUN[:1], gone) == [(f"it waits to be taken up; {gone.words}", (1,))]
    alive = Driver(True, "o1 (process 7 on h, heard 1 s ago)")
    assert said(BEGUN, alive)[0] == ("it is running, driven by o1 (process 7 on h, heard 1 s ago)", (2,))


def test_why_a_run_failed() -> None:
    story: Events = [
        *BEGUN,
        (SECOND, facts.TaskFailed(failure=failure(SECOND), attempt=3)),
        (PAIR, facts.RetryDecided(round=1, decision="REVERT", failures=(failure(SECOND),))),
        ("", facts.RunFailed(reason="stopped")),
    ]
    assert said(story) == [
        ("it failed, and what it had done is still there (on_failure is stop)", (10,)),
        (f"{SECOND} failed in attempt 3: QuotaError: no quota", (8,)),
        (f"Times of {PAIR} gave up: QuotaError: no quota", (9,)),
    ]


def test_why_a_run_could_not_be_undone() -> None:
    story: Events = [
        *BEGUN,
        (FIRST, facts.RevertStarted(key="c")),
        (FIRST, facts.RevertFailed(failure=failure(FIRST))),
        ("", facts.RunFailed(reason="revert_failed")),
    ]
    assert said(story)[:2] == [
        ("it failed, and 1 of its tasks could not be undone: a person has to", (10,)),
        (f"{FIRST} could not be undone: QuotaError: no quota", (9,)),
    ]


def test_every_piece_of_evidence_is_an_event_of_the_run() -> None:
    whole: Events = [*BEGUN, *ROUND_FAILED, *DONE]
    for length in range(1, len(whole) + 1):
        for reason in explained(whole[:length]):
            assert all(1 <= version <= length for version in reason.evidence)


# -- diff ---------------------------------------------------------------------------------------


def side(story: Story, document: bytes | None = DOCUMENT) -> Side:
    log = envelopes(story)
    return Side(RunView(document=document).extend(log), log)


def difference(first: Story, second: Story) -> Difference:
    return compare(side(first), side(second))


def submitted(**inputs: Any) -> Events:
    import msgspec  # noqa: PLC0415

    event = facts.RunSubmitted(app="shop", factory="build", inputs=facts.Raw(msgspec.json.encode(inputs)))
    return [("", event), *BEGUN[1:]]


def test_a_run_does_not_differ_from_itself_done_again_by_somebody_else() -> None:
    other = [("", facts.RunClaimed(owner="o9", epoch=1)) if p == "" and isinstance(e, facts.RunClaimed) else (p, e)
             for p, e in [*BEGUN, *DONE]]  # fmt: skip
    assert difference([*BEGUN, *DONE], other).equal


def test_inputs_differ_at_their_smallest_parts() -> None:
    a = submitted(cluster={"name": "c", "nodes": [{"size": 1}, {"size": 2}]}, n=1)
    b = submitted(cluster={"name": "c", "nodes": [{"size": 1}, {"size": 3}]}, m=True)
    assert difference(a, b).inputs == [("cluster.nodes[1].size", "2", "3"), ("n", "1", None), ("m", None, "true")]


def test_two_runs_part_where_the_first_did_something_else() -> None:
    # Given
    good: Events = [*BEGUN, *DONE]
    bad: Events = [*BEGUN, (SECOND, facts.TaskFailed(failure=failure(SECOND))), ("", facts.RunFailed(reason="stopped"))]
    # When
    found = difference(good, bad)
    # Then
    assert found.divergence is not None
    assert (found.divergence.path, found.divergence.first.type, found.divergence.second.type) == (  # type: ignore[union-attr]
        SECOND, "TaskSucceeded", "TaskFailed",
    )  # fmt: skip
    assert (SECOND, "SUCCEEDED", "FAILED: QuotaError: no quota") in found.path_taken
    assert (SECOND, "2", None) in found.results
    assert not found.equal


def test_results_and_durations_differ() -> None:
    slow: Events = [*BEGUN, (SECOND, facts.TaskSucceeded(result=facts.Raw(b"22")))]
    found = difference([*BEGUN, DONE[0]], slow)
    assert found.results == [(SECOND, "2", "22")]
    assert (SECOND, STEP_US, STEP_US) in found.paces


def test_two_runs_that_did_the_same_with_other_inputs_part_where_they_first_did() -> None:
    # Given
    def made(inputs: str) -> Events:
        return [*BEGUN[:4], (FIRST, facts.TaskStarted(attempt=1, key="a", inputs=inputs))]

    # When
    found = difference(made("d1"), made("d2")).divergence
    # Then it is said in what they differ
    assert found is not None
    assert (found.path, found.fields) == (FIRST, ("inputs",))


def test_plans_differ_in_what_is_in_them() -> None:
    found = compare(side(BEGUN), side(BEGUN, None))
    assert (LAST, "task", None) in found.plan


# -- as of --------------------------------------------------------------------------------------


@pytest.fixture
def history() -> History:
    store = MemoryStore()
    write(store, [*submitted(n=7)[:1], *BEGUN[1:], *ROUND_FAILED], plan=PlanRow("f", DOCUMENT))
    return History(store)


def test_h4_a_moment_steps_forward_and_back(history: History) -> None:
    moment = Moment(history, RUN_ID, 7)
    assert (moment.version, moment.view.atoms[SECOND].state) == (7, "RUNNING")
    assert moment.forward()
    assert moment.view.atoms[SECOND].state == "FAILED"
    assert moment.back().view.atoms[SECOND].state == "RUNNING"
    while moment.forward():
        pass
    assert moment.version == 14
    assert Moment(history, RUN_ID, 1).back().version == 1
    with pytest.raises(InputError, match="1 to 14"):
        Moment(history, RUN_ID, 15)


def test_h4_symbols_are_those_that_were_known_then(history: History) -> None:
    def names(version: int) -> dict[str, bytes | None]:
        moment = Moment(history, RUN_ID, version)
        return {name: moment.value(known[-1]) for name, known in moment.symbols.items()}

    assert names(1) == {"n": b"7"}
    result = f"result of {FIRST}"
    assert names(6)[result] == b"1"
    assert result not in names(14)  # it was undone


def test_h4_as_of_a_time_is_the_last_event_until_then(history: History) -> None:
    assert version_at(history, RUN_ID, START_US + 3 * STEP_US) == 3
    assert version_at(history, RUN_ID, START_US + 4 * STEP_US - 1) == 3
    assert version_at(history, RUN_ID, 2**60) == 14
    with pytest.raises(InputError):
        version_at(history, RUN_ID, START_US)
