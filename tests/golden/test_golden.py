"""RELIABILITY R16: every log of every release can be read, verified and replayed by today's code."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from flowledger import Flow
from flowledger.adapters.sources import forked
from flowledger.core.changes import plan_in_force
from flowledger.core.inheriting import had
from flowledger.core.replay import check, check_complete
from tests.crash import corpus
from tests.crash.compare import envelopes
from tests.crash.deeds import DEEDS, RELEASE
from tests.golden.record import HERE, History

HISTORIES = sorted(HERE.glob("*/*.json"))


def read(path: Path) -> History:
    return msgspec.json.decode(path.read_bytes(), type=History)


@pytest.mark.parametrize("path", HISTORIES, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_rel_r16_a_golden_history_replays(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Given a log as a release wrote it
    history = read(path)
    log = envelopes(history.run_id, history.rows)  # the chain is verified

    event = forked(log)
    source = [] if event is None else envelopes(event.source, history.source)

    # When today's code builds the same flow
    build, end = _built(history.flow)
    monkeypatch.setitem(RELEASE, "now", 2)  # the last one that a deployment brought
    plan = corpus.app.plan(build(), executor="inline")

    # Then it is the plan the run was last under, and each event was due just before it
    assert plan_in_force(log) == plan.fingerprint
    moved = {digest: content.encode() for digest, content in history.moved.items()}
    state = check(plan, log, moved=moved, taken=None if event is None else had(source, until=event.version))
    check_complete(plan, state)
    assert state.status == end


def _built(flow: str) -> tuple[Callable[[], Flow[Any]], str]:
    if flow in DEEDS:
        _, build, end = DEEDS[flow]
        return build, end
    return getattr(corpus, flow), corpus.ENDS[flow]


def test_there_is_a_history_of_each_flow_of_the_corpus() -> None:
    """But of those that wait for somebody to write: who records goes through each flow alone."""
    assert {path.stem for path in HISTORIES} == {*corpus.ENDS, *DEEDS} - {*corpus.ASKED}
