"""Actions to events: what `decide` enables is performed, each action answered with its consequence (D8)."""

from __future__ import annotations

from collections.abc import Callable

from flowledger.core import decide as deciding
from flowledger.core.actions import CONTROL, Action

from .active import ActiveRun
from .branches import ask_branch, skip
from .expanding import expand
from .scopes import ask_retry, end, reset_scope, revert_scope, start_round
from .starting import poll, start
from .undoing import revert


def perform_all(run: ActiveRun) -> None:
    """Perform what is enabled and has room, always the first in plan order, until nothing more can be performed.

    An inline body has the loop to itself, so it also has the log to itself: nothing else is performed until it has
    ended. Thus the log of an inline run is the one that its states alone determine, also after a crash (D8).
    """
    if run.polls_due and run.state.status == "RUNNING" and run.giving_up is None:
        poll(run)
    agenda = run.state.agenda
    while agenda.entries and run.inline.free and (_perform(run, run.room) or _perform(run, _room_for_all(run))):
        pass


def _perform(run: ActiveRun, room: Callable[[str], int]) -> bool:
    """Perform the first enabled actions, up to one that may have enabled others; False if none could be performed.

    What an action enables may come before what was enabled already, so `decide` is asked again after each that does
    more than start a body. Otherwise the order in the log would depend on where a turn began.
    """
    performed = False
    for action in deciding.decide(run.plan, run.state, room):
        if _PERFORM[action.kind](run, action):
            performed = True
            if action.node not in run.live or not run.inline.free:
                break
    return performed


def _room_for_all(run: ActiveRun) -> Callable[[str], int]:
    """For when the first of the control lane must wait, for a poll that drained while its body runs."""
    return lambda lane: len(run.state.agenda) if lane == CONTROL else run.room(lane)


_PERFORM: dict[str, Callable[[ActiveRun, Action], bool]] = {
    "Start": start,
    "StartRound": start_round,
    "AskRetry": ask_retry,
    "RevertScope": revert_scope,
    "Revert": revert,
    "ResetScope": reset_scope,
    "AskBranch": ask_branch,
    "Skip": skip,
    "Expand": expand,
    "End": end,
}
