"""Random flows, and people who run them again, undo them and fork them at random (G5, G6): whatever they do, the log is
valid, nothing that is kept runs again, and in the end everything can be undone."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from flowledger import App, IllegalRequest, Run, Settings
from flowledger.adapters.erasing import erase
from flowledger.adapters.sources import read, source_of
from flowledger.core.plan import Plan
from flowledger.core.preview import Preview
from flowledger.core.replay import check, check_complete
from flowledger.core.state import State
from flowledger.events import facts
from flowledger.events.envelope import Envelope
from tests.properties.build import Recorder, build
from tests.properties.model import Model
from tests.properties.running import Ran, assert_bodies_kept_the_order
from tests.properties.spec import Spec
from tests.properties.strategies import specs
from tests.properties.test_model import examples, pytestmark

__all__ = ["pytestmark"]

MOST_RERUNS = 40  # no script of failures is longer

#: What somebody does: rerun, rerun from the n-th part on, or revert.
Act = tuple[str, int]
acts = st.lists(st.tuples(st.sampled_from(["rerun", "from", "from", "revert"]), st.integers(0, 40)), max_size=4)


class Again:
    """One run, and what has been done with it."""

    def __init__(self, spec: Spec, *, encrypted: bool = False) -> None:
        self.spec = spec
        self.recorder = Recorder()
        self.app = App("again", settings=Settings(database_url="memory://", encrypt_values=encrypted))
        self.part = build(spec, self.app, self.recorder)
        self.plan: Plan = self.app.plan(self.part, executor="inline")
        self.paths = [node.path for node in self.plan.nodes if node.path]
        self.run: Run[Any] = self.app.run(
            self.part, executor="inline", on_failure=spec.on_failure, check=False, key="again"
        )

    def act(self, act: Act) -> None:
        """Do it; a refusal changes nothing."""
        kind, number = act
        before = read(self.app.runtime.store, self.run.id)
        try:
            if kind == "revert":
                preview = self.run.revert(reason="r")
            else:
                from_ = self.paths[number % len(self.paths)] if kind == "from" else None
                preview = self.run.rerun(reason="r", from_=from_)
        except IllegalRequest:
            assert read(self.app.runtime.store, self.run.id) == before
            assert self.app.stream_of(self.run.id).owner is None
            return
        if kind != "revert":
            self.was_kept(preview, read(self.app.runtime.store, self.run.id)[len(before) :])

    def was_kept(self, preview: Preview, log: list[Envelope]) -> None:
        """What was kept did not run before it was undone, for another reason, or its flow began another round: of that
        all runs again, also what a fork had only taken over, and does not undo (D2, G6)."""
        kept = set(preview.keeps)
        for envelope in log:
            match envelope.event:
                case facts.TaskReverted() | facts.RevertStarted():
                    kept.discard(envelope.path)
                case facts.ScopeReset():
                    kept = {path for path in kept if not f"{path}/".startswith(f"{envelope.path}/")}
                case facts.TaskStarted():
                    assert envelope.path not in kept, f"{envelope.path} was kept, and ran again"
                case _:
                    pass

    def checked(self, run: Run[Any]) -> State:
        """The log is valid and complete (D8), given what its source had."""
        log = read(self.app.runtime.store, run.id)
        source, loaded = source_of(self.app.runtime.store, log), self.app.load_run(run.id)
        state = check(self.plan, log, moved=loaded.moved, taken=source.had, vault=loaded.vault)
        check_complete(self.plan, state)
        assert not state.running
        assert state.again is state.undo is None
        return state

    def undo(self, run: Run[Any]) -> None:
        """Undo all of it, however often a revert fails; then nothing stands."""
        for _ in range(MOST_RERUNS):
            if run.state not in ("SUCCEEDED", "FAILED"):
                break
            run.revert(reason="undo")
        assert run.state == "REVERTED"
        state = self.checked(run)
        assert not any(state.standing)
        assert not any(state.standing_succs)


@examples(60)
@given(specs(), acts)
def test_g5_a_run_may_be_run_again_and_undone_in_any_order(spec: Spec, acts: list[Act]) -> None:
    # Given a run that has ended
    again = Again(spec)
    try:
        # When people do with it what they like
        for act in acts:
            again.act(act)
            again.checked(again.run)

        # And run it again until it goes through
        for _ in range(MOST_RERUNS):
            if again.run.state == "SUCCEEDED":
                break
            again.act(("rerun", 0))
        again.checked(again.run)

        # Then every body kept the order, and all of it can be undone
        ran = Ran(spec, again.recorder, again.plan, [], "", {}, ())
        assert_bodies_kept_the_order(ran, Model(spec))
        again.undo(again.run)
    finally:
        again.app.close()


@examples(60)
@given(specs(reverts_fail=False), st.integers(0, 40), st.booleans(), st.booleans(), st.booleans())
def test_g6_a_fork_does_what_is_missing_and_undoes_what_is_its_own(
    spec: Spec, at: int, adopt: bool, from_a_part: bool, encrypted: bool
) -> None:
    # Given a run that has ended, and a fork of it
    again = Again(spec, encrypted=encrypted)
    try:
        path = again.paths[at % len(again.paths)] if from_a_part else None
        try:
            preview = again.run.fork(at=path, adopt=adopt, reason="r", dry_run=True)
        except IllegalRequest:
            return  # it would leave something standing
        fork = again.run.fork(at=path, adopt=adopt, reason="r")

        # (and the key of that run is gone, if it had one)
        if encrypted:
            store = again.app.runtime.store
            erase(store, again.app.stream_of(again.run.id), reason="r", actor="somebody")

        # Then its log is valid, and it has run only what it said
        again.checked(fork)
        log = read(again.app.runtime.store, fork.id)
        again.was_kept(preview, log)
        undone = {e.path for e in log if isinstance(e.event, facts.RevertStarted)}
        started = {e.path for e in log if isinstance(e.event, facts.TaskStarted)}
        assert adopt or undone <= started, "it undid what it had only taken over"

        # And it can be run again and undone like any run, with what it has adopted
        for _ in range(MOST_RERUNS):
            if fork.state == "SUCCEEDED":
                break
            try:
                fork.rerun(reason="r")
            except IllegalRequest:
                break
            again.checked(fork)
        again.undo(fork)
    finally:
        again.app.close()
