"""A spec run for real, and everything there is to compare it by."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from flowledger import App
from flowledger.adapters import loading
from flowledger.core import replay
from flowledger.core.decide import decide
from flowledger.core.evolve import apply
from flowledger.core.plan import Plan
from flowledger.core.state import State
from flowledger.events.envelope import Envelope
from tests.properties.build import Recorder, build
from tests.properties.follow import Follower, paths_of
from tests.properties.model import ROOT, Model, Step
from tests.properties.spec import Spec, Task, tasks

KINDS = {
    "Start": "start", "StartRound": "round", "AskRetry": "ask", "RevertScope": "revert_scope", "Revert": "revert",
    "ResetScope": "reset", "End": "end",
}  # fmt: skip


@dataclass
class Ran:
    """A finished run: what its bodies saw, what its log says, what its handle says."""

    spec: Spec
    recorder: Recorder
    plan: Plan
    log: list[Envelope]
    state: str
    results: dict[str, Any]
    failures: tuple[str, ...]


def run(spec: Spec, executor: Literal["inline", "threads"]) -> Ran:
    """Run it to its end in memory."""
    recorder = Recorder()
    app = App("model", database_url="memory://")
    try:
        part = build(spec, app, recorder)
        done = app.run(part, executor=executor, on_failure=spec.on_failure, check=False)
        log = loading.read(app.runtime.store, done.id)
        plan = app.plan(part, executor=executor)
        failures = tuple(failure.path for failure in done.failures)
        return Ran(spec, recorder, plan, log, done.state, dict(done.results), failures)
    finally:
        app.close()


def follow(ran: Ran) -> Model:
    """Lead the model by the log; before each event, `decide` must say exactly what the model says.

    Raises:
        Divergence: the model does not allow an event, or the log ends too early.
    """
    follower = Follower(Model(ran.spec), paths_of(ran.spec))
    state = State(ran.plan)
    try:
        for envelope in ran.log:
            if state.started and envelope.type != "RunClaimed":
                said = decided(ran.plan, state, follower.paths)
                assert said in (None, follower.model.enabled()), envelope
            follower.take(envelope)
            apply(state, envelope)
        follower.ended()
        replay.check_complete(ran.plan, replay.check(ran.plan, ran.log))
    except Exception as error:
        error.add_note("\n".join(f"{e.version} {e.type} {e.path}" for e in ran.log))
        raise
    return follower.model


def decided(plan: Plan, state: State, paths: dict[str, str]) -> list[Step] | None:
    """What the engine's `decide` says, in the model's words, in its order; None where a flow is to be made first: what
    is in it is enabled in the model, which knows it already."""
    actions = decide(plan, state)
    if any(action.kind == "Expand" for action in actions):
        return None
    return [Step(KINDS[action.kind], paths[state.plan.nodes[action.node].path]) for action in actions]  # type: ignore[arg-type]


def assert_bodies_did_what_the_model_did(ran: Ran, model: Model) -> None:
    """Per task: the same calls with the same arguments, in the same order."""
    for task in tasks(ran.spec.root):
        expected = [call for call in model.calls if call.name == task.name]
        assert [call for call in ran.recorder.calls() if call.name == task.name] == expected


def assert_bodies_kept_the_order(ran: Ran, model: Model) -> None:
    """No execute before all that precedes it has succeeded; no revert before all that follows is undone (E1, D4)."""
    last: dict[str, tuple[str, str]] = {}
    for entry in ran.recorder.entries:
        if entry.how == "begin":
            precede, follow_ = _around(model, entry.name)
            if entry.phase == "execute":
                missing = [t.name for t in precede if last.get(t.name) != ("execute", "ok")]
                assert not missing, f"{entry.name} ran before {missing}"
            else:
                undoable = [t for t in follow_ if t.revert is not None and not t.read_only]
                standing = [t.name for t in undoable if last.get(t.name, ("revert", "ok")) != ("revert", "ok")]
                assert not standing, f"{entry.name} was reverted before {standing}"
        last[entry.name] = (entry.phase, entry.how)


def _around(model: Model, name: str) -> tuple[list[Task], list[Task]]:
    """All tasks that come before and after a task, on every level."""
    before: list[Task] = []
    after: list[Task] = []
    part = model.parts[name]
    while True:
        before += [t for p in model.before[part.name] for t in tasks(p)]
        after += [t for p in model.after[part.name] for t in tasks(p)]
        parent = model.parents[part.name]
        if parent is None:
            return before, after
        part = parent


def assert_ended_alike(ran: Ran, model: Model) -> None:
    """Status, states, results, rounds and failures."""
    paths = {name: path for path, name in paths_of(ran.spec).items()}
    assert ran.state == model.status
    for name, atom in model.atoms.items():
        if atom.state == "SUCCEEDED":
            assert ran.results[paths[name]] == atom.result
    failed = [paths[name] for name in model.failed(ROOT)]
    assert list(ran.failures[: len(failed)]) == failed
