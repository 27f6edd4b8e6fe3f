"""RELIABILITY R16: every log of every release can be read, verified and replayed by today's code."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from flowledger.core.replay import check, check_complete
from flowledger.events.facts import RunStarted
from tests.crash import corpus
from tests.crash.compare import envelopes
from tests.golden.record import HERE, History

HISTORIES = sorted(HERE.glob("*/*.json"))


def read(path: Path) -> History:
    return msgspec.json.decode(path.read_bytes(), type=History)


@pytest.mark.parametrize("path", HISTORIES, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_rel_r16_a_golden_history_replays(path: Path) -> None:
    # Given a log as a release wrote it
    history = read(path)
    log = envelopes(history.run_id, history.rows)  # the chain is verified

    # When today's code builds the same flow
    plan = corpus.app.plan(getattr(corpus, history.flow)(), executor="inline")

    # Then it is the plan the run was started with, and each event was due just before it
    assert [e.event.fingerprint for e in log if isinstance(e.event, RunStarted)] == [plan.fingerprint]
    moved = {digest: content.encode() for digest, content in history.moved.items()}
    state = check(plan, log, moved=moved)
    check_complete(plan, state)
    assert state.status == corpus.ENDS[history.flow]


def test_there_is_a_history_of_each_flow_of_the_corpus() -> None:
    assert {path.stem for path in HISTORIES} == set(corpus.ENDS)
