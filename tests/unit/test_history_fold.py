"""The fold behind the views says what the run view says, after every event of every golden history (rule H1)."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from flowledger.core.evolve import apply
from flowledger.core.plan import Plan
from flowledger.core.state import State
from flowledger.events import facts
from flowledger.events.envelope import Envelope
from flowledger.projections.history import HISTORY
from flowledger.projections.history.tables import ATTEMPTS, AUDIT, EXECUTE, FAILURES, REVERT, RUNS, STATISTICS, TAGS
from flowledger.projections.rows import Rows
from flowledger.projections.run_view import RunView
from flowledger.projections.tables import Row, Table
from tests.crash import corpus, seats
from tests.crash.compare import envelopes as opened
from tests.crash.deeds import DEEDS, RELEASE
from tests.golden.record import HERE, History
from tests.unit.build_log import BEGUN, DONE, FIRST, LAST, PAIR, ROUND_FAILED, SECOND, app, build
from tests.unit.written_log import RUN_ID, START_US, STEP_US, Story, envelopes, failure

HISTORIES = sorted(HERE.glob("*/*.json"))


def folded(log: list[Envelope], document: bytes | None) -> Rows:
    """The rows after these events."""
    rows = Rows(HISTORY.tables, lambda _: document)
    for envelope in log:
        HISTORY.fold(rows, envelope)
    return rows


def documents(plan: Plan, log: list[Envelope]) -> dict[str, bytes]:
    """The documents that a store has of what the expansions in a log have become."""
    found: dict[str, bytes] = {}
    if plan.growth is not None:
        state = State(plan)
        for envelope in log:
            event, growth = envelope.event, state.plan.growth
            if isinstance(event, facts.FlowExpanded) and event.error is None and growth is not None:
                subplan = growth.subplan(state.plan.by_path[envelope.path], bytes(event.values))
                found[subplan.fingerprint] = subplan.document
            apply(state, envelope)
    return found


def every(rows: Rows, table: Table) -> list[Row]:
    return rows.under(table)


def told(story: Story) -> Rows:
    return folded(envelopes(story), app.plan(build()).document)


def run_of(rows: Rows) -> Row:
    [run] = every(rows, RUNS)
    return run


@pytest.mark.parametrize("path", HISTORIES, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_h1_runs_say_what_the_run_view_says_at_every_version(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Given
    history = msgspec.json.decode(path.read_bytes(), type=History)
    monkeypatch.setitem(RELEASE, "now", 2)
    build = DEEDS[history.flow][1] if history.flow in DEEDS else seats.factory(history.flow)
    plan = corpus.app.plan(build(), executor="inline")
    document, log = plan.document, opened(history.run_id, history.rows)
    parts = documents(plan, log)
    rows, view = Rows(HISTORY.tables, lambda plan: parts.get(plan, document)), RunView(document=document)
    for envelope in log:
        # When
        HISTORY.fold(rows, envelope)
        view.apply(envelope)
        if isinstance(envelope.event, facts.FlowExpanded) and envelope.event.fingerprint:
            view.lay_out(envelope.event, parts[envelope.event.fingerprint])
        # Then
        run = run_of(rows)
        at = f"after event {envelope.version} {envelope.type} {envelope.path}"
        assert (run["state"], run["version"], run["direction"]) == (view.state, view.version, view.direction), at
        assert (run["flow"], run["owner"], run["ended_us"]) == (view.factory, view.owner, view.ended_us), at
        if view.started_us is not None:
            assert (run["done"], run["tasks"]) == (view.root.done, view.root.total), at


@pytest.mark.parametrize("path", HISTORIES, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_h1_attempts_are_all_that_were_started(path: Path) -> None:
    # Given
    history = msgspec.json.decode(path.read_bytes(), type=History)
    log = opened(history.run_id, history.rows)
    # When
    rows = folded(log, None)
    # Then
    executed = [a for a in every(rows, ATTEMPTS) if a["phase"] == EXECUTE]
    started = [e.version for e in log if isinstance(e.event, facts.TaskStarted)]
    bodiless = [a["started"] for a in executed if a["started"] not in started]  # waits, and what failed before its body
    assert sorted(a["started"] for a in executed) == sorted([*started, *bodiless])
    assert all(a["attempt"] == 0 or a["started"] == a["ended"] for a in executed if a["started"] in bodiless)
    reverts = [e.version for e in log if isinstance(e.event, facts.RevertStarted)]
    assert sorted(a["started"] for a in every(rows, ATTEMPTS) if a["phase"] == REVERT) == reverts
    assert run_of(rows)["attempts"] == len(started) + len(reverts)


def test_a_run_keeps_its_tags_key_and_who_submitted_it() -> None:
    rows = told(BEGUN)
    run = run_of(rows)
    assert (run["key"], run["tags"], run["actor"], run["submitted_us"]) == (
        "k", '{"team":"a"}', "me@here", START_US + STEP_US,
    )  # fmt: skip
    assert every(rows, TAGS) == [{"name": "team", "value": "a", "run_id": RUN_ID}]


def test_a_failure_that_holds_is_shown_until_its_scope_is_reset() -> None:
    # Given
    failing: list[tuple[str, facts.Event]] = [*BEGUN, ROUND_FAILED[0]]
    # When
    run = run_of(told(failing))
    # Then
    assert (run["failed_at"], run["error"]) == (SECOND, "QuotaError: no quota")
    again = run_of(told([*failing, *ROUND_FAILED[1:]]))
    assert (again["failed_at"], again["error"], again["failure"], again["done"]) == (None, None, None, 0)


def test_failures_that_differ_in_numbers_and_ids_are_one() -> None:
    # Given
    messages = ["node 'a-1' has 3 of 5", "node 'b-22' has 17 of 5", "node 'c' is gone"]
    story: list[tuple[str, facts.Event]] = [*BEGUN]
    for attempt, message in enumerate(messages, start=1):
        story += [(SECOND, facts.TaskFailed(failure=failure(SECOND, message), attempt=attempt, again=True))]
    # When
    found = every(told(story), FAILURES)
    # Then
    assert sorted((f["count"], f["message"]) for f in found) == [(1, "node … is gone"), (2, "node … has … of …")]
    assert {f["task"] for f in found} == {"second"}
    assert max(f["last_version"] for f in found) == len(story)


def test_the_audit_says_who_did_what_and_why_and_nothing_of_the_engine() -> None:
    story: Story = [
        *BEGUN,
        ("", facts.RunClaimed(owner="o2", epoch=2)),
        ("", facts.RequestAccepted(request="r", kind="suspend", reason="lunch")),
        ("", facts.RunSuspended()),
        ("", facts.RunResumed()),
        ("", facts.RequestRefused(request="q", kind="revert", why="it runs", reason="in a hurry")),
    ]
    acts = [(a["what"], a["reason"], a["note"], a["actor"]) for a in every(told(story), AUDIT)]
    assert acts == [
        ("submit", "", "key k", "me@here"),
        ("take over", "", "owner o2, epoch 2", "me@here"),
        ("suspend", "lunch", "", "me@here"),
        ("resume", "", "", "me@here"),
        ("revert", "in a hurry", "refused: it runs", "me@here"),
    ]


def test_statistics_count_by_task_and_by_flow() -> None:
    rows = told([*BEGUN, *ROUND_FAILED, (PAIR, facts.RoundStarted(round=2)), *retried(), *DONE])
    counts = {s["task"]: s for s in every(rows, STATISTICS)}
    assert (counts["second"]["succeeded"], counts["second"]["failed"]) == (1, 1)
    assert (counts["first"]["succeeded"], counts["first"]["reverted"]) == (2, 1)
    assert (counts[""]["succeeded"], counts[""]["failed"]) == (1, 0)
    assert counts["last"]["total_us"] == STEP_US


def retried() -> Story:
    return [
        (FIRST, facts.TaskStarted(key="a", try_=2)),
        (FIRST, facts.TaskSucceeded(result=facts.Raw(b"1"), try_=2)),
        (SECOND, facts.TaskStarted(key="b", try_=2)),
    ]


def test_an_event_nobody_folds_moves_the_version_and_nothing_else() -> None:
    before = run_of(told(BEGUN))
    after = run_of(told([*BEGUN, (LAST, facts.OutcomeIgnored(outcome="failed"))]))
    assert after == {**before, "version": before["version"] + 1, "updated_us": before["updated_us"] + STEP_US}


def test_an_attempt_is_the_workers_once_it_has_said_how_it_ended() -> None:
    # Given
    story: Story = [
        ("", facts.RunSubmitted(app="shop", factory="order")),
        ("order/a", facts.TaskStarted(key="k", queue="builds")),
    ]
    [asked] = every(folded(envelopes(story), None), ATTEMPTS)
    # When
    [made] = every(folded(envelopes([*story, ("order/a", facts.TaskSucceeded(worker="W 7@rack4"))]), None), ATTEMPTS)
    # Then
    assert (asked["actor"], made["actor"]) == ("me@here", "W 7@rack4")
