"""How it stands with tasks that workers make, in words (rules C1, C3)."""

from __future__ import annotations

from typing import Any

import pytest

from flowledger.events import facts
from flowledger.events.claims import AttemptKey, Claimed, KnownWorker, WorkerRow
from flowledger.projections.remote import Asked, ago, asked
from flowledger.projections.run_view import RunView
from flowledger.projections.why import Evidence, why
from tests.unit.build_log import BEGUN, FIRST, SECOND, app, build
from tests.unit.written_log import RUN_ID, START_US, STEP_US, Story, envelopes, failure

ASKED: list[tuple[str, facts.Event]] = [*BEGUN[:-1], (SECOND, facts.TaskStarted(key="b", queue="builds"))]
NOW_US = START_US + len(ASKED) * STEP_US + 12_000_000


def seen(story: Story) -> RunView:
    view = RunView(RUN_ID, document=app.plan(build()).document)
    return view.extend(envelopes(story))


def worker(**fields: Any) -> KnownWorker:
    row = WorkerRow("W", "rack4", 7, "shop", ("builds",), 4)._replace(**fields)
    return KnownWorker(row, 0, 1.0, 1, lives=True)


def claim(key: AttemptKey | None = None, **fields: Any) -> Claimed:
    plain = Claimed(
        key or AttemptKey(RUN_ID, SECOND, 1, 1), call=0, worker="W", claimed_us=0, seen_s=3.4, ended=False, lives=True,
        cancelled=False, fraction=None, message="",
    )  # fmt: skip
    return plain._replace(**fields)


def only(claims: list[Claimed], workers: list[KnownWorker], story: Story = ASKED) -> Asked:
    [found] = asked(seen(story), claims, workers).values()
    return found


@pytest.mark.parametrize(
    ("claims", "workers", "words"),
    [
        ([], [], "no worker serves queue builds"),
        ([], [worker(queues=("tests",))], "no worker serves queue builds"),
        ([], [worker(state="draining")], "no worker serves queue builds"),
        ([], [worker()], "in the queue, 1 worker serves it"),
        ([], [worker(), worker(id="V")], "in the queue, 2 workers serve it"),
        ([claim()], [worker()], "worker W (rack4, pid 7) makes it, last heard 3 s ago"),
        ([claim(cancelled=True)], [worker()], "makes it, last heard 3 s ago, and is told to stop"),
        ([claim(lives=False, seen_s=300)], [], "worker W is gone, last heard 5 min ago"),
        ([claim(lives=False, ended=True)], [worker()], "worker W (rack4, pid 7) has reported how it ended"),
        ([claim(AttemptKey(RUN_ID, SECOND, 1, 9))], [], "no worker serves queue builds"),  # another attempt's
    ],
)
def test_it_is_said_who_was_asked_and_who_makes_it(
    claims: list[Claimed], workers: list[KnownWorker], words: str
) -> None:
    found = only(claims, workers)
    assert (found.path, found.queue) == (SECOND, "builds")
    assert found.words(NOW_US).startswith("asked of workers on queue builds, 12 s ago; ")
    assert found.words(NOW_US).endswith(words)


def test_a_revert_is_another_attempt_than_what_it_undoes() -> None:
    # Given one that has been made by a worker, and is undone by another
    story: Story = [
        *ASKED,
        (SECOND, facts.TaskFailed(failure=failure(SECOND))),
        (FIRST, facts.RevertStarted(key="c", attempt=2, queue="undo")),
    ]
    claims = [claim(AttemptKey(RUN_ID, FIRST, 1, 2, "revert"), worker="V")]
    # When / Then
    found = only(claims, [], story)
    assert (found.path, found.queue, found.claim) == (FIRST, "undo", claims[0])


def test_what_is_made_here_or_has_ended_is_none_of_it() -> None:
    assert asked(seen(BEGUN), [], [worker()]) == {}
    assert asked(seen([*ASKED, (SECOND, facts.TaskSucceeded())]), [claim()], [worker()]) == {}


def test_why_says_so() -> None:
    # Given
    view, evidence = seen(ASKED), Evidence()
    for envelope in envelopes(ASKED):
        evidence.apply(envelope)
    # When nobody has looked at the claims, and when somebody has
    unseen = why(view, evidence)[1]
    evidence.asked = {SECOND: only([claim()], [worker()]).words(NOW_US)}
    found = why(view, evidence)[1]
    # Then
    assert (unseen.text, unseen.evidence) == (f"{SECOND} is asked of workers on queue builds", (7,))
    assert found.text.endswith("worker W (rack4, pid 7) makes it, last heard 3 s ago")
    assert found.text.startswith(f"{SECOND} is asked of workers on queue builds, 12 s ago; ")


@pytest.mark.parametrize(
    ("seconds", "words"), [(0.4, "0 s ago"), (119, "119 s ago"), (600, "10 min ago"), (10_000, "3 h ago")]
)
def test_long_ago_is_said_roughly(seconds: float, words: str) -> None:
    assert ago(seconds) == words
