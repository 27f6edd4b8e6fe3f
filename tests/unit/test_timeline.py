"""The timeline of a run: a bar for each attempt, wait, back-off, round and pause (B2)."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from flowledger.events import facts
from flowledger.projections.timeline import Span, timeline
from tests.crash.compare import envelopes as opened
from tests.golden.record import HERE, History
from tests.unit.build_log import BEGUN, DONE, FIRST, PAIR, ROUND_FAILED, SECOND
from tests.unit.written_log import START_US, STEP_US, Story, envelopes, failure

HISTORIES = sorted(HERE.glob("*/*.json"))


def spans(story: Story) -> list[tuple[str, str, int, int | None, str]]:
    """Kind, path, and from which event to which, counted in events; how it ended."""
    return [_short(span) for span in timeline(envelopes(story))]


def _short(span: Span) -> tuple[str, str, int, int | None, str]:
    begin = (span.started_us - START_US) // STEP_US
    end = None if span.ended_us is None else (span.ended_us - START_US) // STEP_US
    return span.kind, span.path, begin, end, span.state


def test_a_run_that_succeeds_is_queued_then_runs() -> None:
    assert spans([*BEGUN, *DONE]) == [
        ("queued", "", 1, 3, ""),
        ("run", "", 3, 11, "SUCCEEDED"),
        ("round", PAIR, 4, 11, "SUCCEEDED"),
        ("execute", FIRST, 5, 6, "SUCCEEDED"),
        ("execute", SECOND, 7, 8, "SUCCEEDED"),
        ("execute", "build/last", 9, 10, "SUCCEEDED"),
    ]


def test_a_failed_round_is_undone() -> None:
    found = spans([*BEGUN, *ROUND_FAILED])
    assert ("execute", SECOND, 7, 8, "FAILED") in found
    assert ("round", PAIR, 4, 9, "RETRY") in found
    assert ("reverting", PAIR, 10, 14, "REVERTED") in found
    assert ("revert", FIRST, 12, 13, "REVERTED") in found


def test_waits_and_back_offs_are_bars_of_their_own() -> None:
    until = START_US + 99 * STEP_US
    story: Story = [
        *BEGUN,
        (SECOND, facts.TaskWaiting(until=until, polls=1, message="not yet")),
        (SECOND, facts.TaskFailed(failure=failure(SECOND), again=True, until=until)),
        (SECOND, facts.TimerFired(due=until)),
        (SECOND, facts.TaskStarted(key="b", attempt=2)),
    ]
    assert spans(story)[-4:] == [
        ("execute", SECOND, 7, 9, "FAILED"),
        ("poll", SECOND, 8, 9, ""),
        ("back-off", SECOND, 9, 11, ""),
        ("execute", SECOND, 11, None, ""),
    ]


def test_a_pause_and_a_dead_owner_are_seen() -> None:
    story: Story = [
        *BEGUN,
        ("", facts.RunClaimed(owner="o2", epoch=2)),
        (SECOND, facts.TaskInterrupted(cause="owner o1 is gone")),
        ("", facts.RunSuspended()),
        ("", facts.RunClaimed(owner="o3", epoch=3)),
        ("", facts.RunResumed()),
    ]
    found = spans(story)
    assert ("nobody", "", 7, 8, "") in found
    assert ("execute", SECOND, 7, 9, "INTERRUPTED") in found
    assert ("suspended", "", 10, 12, "") in found
    assert sum(kind == "nobody" for kind, *_ in found) == 1


@pytest.mark.parametrize("path", HISTORIES, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_every_bar_of_a_run_that_is_over_has_an_end(path: Path) -> None:
    history = msgspec.json.decode(path.read_bytes(), type=History)
    log = opened(history.run_id, history.rows)
    found = timeline(log)
    assert all(span.ended_us is not None and span.ended_us >= span.started_us for span in found)
    started = sum(isinstance(e.event, facts.TaskStarted) for e in log)
    assert sum(span.kind == "execute" for span in found) == started


def test_an_attempt_says_which_worker_made_it() -> None:
    made = facts.TaskSucceeded(result=facts.Raw(b"2"), worker="W 7@rack4")
    found = timeline(envelopes([*BEGUN, (SECOND, made)]))
    assert [(span.path, span.worker) for span in found if span.kind == "execute"] == [
        (FIRST, ""),
        (SECOND, "W 7@rack4"),
    ]
