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
from flowledger.core.compiler import compile as compile_part
from flowledger.core.compiler import rebuild
from flowledger.core.inheriting import had
from flowledger.core.replay import check, check_complete
from flowledger.events import facts
from tests.crash import corpus, seats
from tests.crash.compare import envelopes
from tests.crash.deeds import DEEDS, RELEASE
from tests.golden.record import HERE, RECORDED, History

HISTORIES = sorted(HERE.glob("*/*.json"))


def read(path: Path) -> History:
    return msgspec.json.decode(path.read_bytes(), type=History)


WITH_CHILDREN = [path for path in HISTORIES if read(path).children]
#: In what the child run of each of these ends.
CHILD_ENDS = {"with_child": "SUCCEEDED", "child_undone": "REVERTED", "child_fails": "REVERTED"}


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
    moved = {digest: content.encode("latin-1") for digest, content in history.moved.items()}
    state = check(plan, log, moved=moved, taken=None if event is None else had(source, until=event.version))
    check_complete(plan, state)
    assert state.status == end


@pytest.mark.parametrize("path", WITH_CHILDREN, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_rel_r16_g7_the_golden_history_of_a_child_run_replays(path: Path) -> None:
    # Given the logs of a run and of its child, as a release wrote them
    history = read(path)
    (child,) = history.children
    log = envelopes(child.run_id, child.rows)
    submitted = log[0].event
    assert isinstance(submitted, facts.RunSubmitted)

    # When today's code builds the child's flow from the inputs that its parent gave it
    part = rebuild(corpus.app, submitted.factory, bytes(submitted.inputs))
    plan = compile_part(part, corpus.app, executor=submitted.executor)

    # Then each event was due just before it, and parent and child name each other
    state = check(plan, log)
    check_complete(plan, state)
    assert state.status == CHILD_ENDS[history.flow]
    assert submitted.parent is not None
    assert submitted.parent.run == history.run_id
    waited = [e.event.child for e in envelopes(history.run_id, history.rows) if isinstance(e.event, facts.TaskWaiting)]
    assert waited == [child.run_id]


def _built(flow: str) -> tuple[Callable[[], Flow[Any]], str]:
    if flow in DEEDS:
        _, build, end = DEEDS[flow]
        return build, end
    return seats.factory(flow), (corpus.ALL_ENDS | seats.ENDS)[flow]


def test_there_is_a_history_of_each_flow_of_the_corpus() -> None:
    assert {path.stem for path in HISTORIES} == RECORDED
    assert {path.stem for path in WITH_CHILDREN} == {*CHILD_ENDS}
