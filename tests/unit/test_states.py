"""The tables of core.states, and the Automat machines declared from them."""

from __future__ import annotations

from pathlib import Path
from typing import get_args

import pytest
from automat import NoTransition

from flowledger.core import machine
from flowledger.core.states import ATOM, RUN, SCOPE, AtomState, ScopeState, Table, trigger
from flowledger.events import facts
from flowledger.events.failure import Failure
from flowledger.events.store import FINAL

ROOT = Path(__file__).parents[2]
FAILURE = Failure(path="f/a", type="ValueError", message="no")


@pytest.mark.parametrize("name", machine.TABLES)
def test_tables_and_automat_machines_agree_on_every_pair(name: str) -> None:
    # Given a table and the machine declared from it
    table = machine.TABLES[name]
    factory, states = machine.build(table)
    # When each trigger meets each state
    for state in machine.state_names(table):
        for trigger_name in machine.trigger_names(table):
            built = factory(machine.core(), state=states[state])
            expected = table.get(state, {}).get(trigger_name)
            # Then both go to the same state, or both refuse
            if expected is None:
                with pytest.raises(NoTransition):
                    getattr(built, trigger_name)()
            else:
                getattr(built, trigger_name)()
                assert built.__automat_transitioner__._state.name == expected


def test_the_page_of_diagrams_is_up_to_date() -> None:
    assert (ROOT / "docs" / "states.md").read_text() == machine.page(), "run `make docs`"


@pytest.mark.parametrize(("table", "words"), [(ATOM, AtomState), (SCOPE, ScopeState)])
def test_tables_use_the_words_of_the_design_and_no_others(table: Table, words: object) -> None:
    assert set(machine.state_names(table)) == set(get_args(words))


def test_final_states_of_a_run_are_left_by_a_persons_revert_or_rerun_only() -> None:
    left = {now: {name for name, after in RUN[now].items() if after != now} for now in FINAL}
    both = {"RequestAcceptedRevert", "RequestAcceptedRerun"}
    assert left["SUCCEEDED"] == left["FAILED"] == left["CANCELLED"] == both
    assert left["REVERTED"] == {"RequestAcceptedRerun"}
    assert all(after in (now, "RUNNING") for now in FINAL for after in RUN[now].values())


@pytest.mark.parametrize(
    ("event", "name"),
    [
        (facts.TaskStarted(key=""), "TaskStarted"),
        (facts.TaskFailed(failure=FAILURE), "TaskFailed"),
        (facts.TaskFailed(failure=FAILURE, again=True), "TaskFailedAgain"),
        (facts.RevertFailed(failure=FAILURE, again=True), "RevertFailedAgain"),
        (facts.RetryDecided(round=1, decision="RETRY"), "RetryDecidedRetry"),
        (facts.RetryDecided(round=1, decision="REVERT_ALL"), "RetryDecidedRevert"),
        (facts.RetryDecided(round=1, decision="REVERT", error=FAILURE), "RetryErred"),
        (facts.RequestAccepted(request="r", kind="suspend"), "RequestAcceptedSuspend"),
    ],
)
def test_an_event_tells_its_trigger(event: facts.Event, name: str) -> None:
    assert trigger(event) == name
