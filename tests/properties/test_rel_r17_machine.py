"""RELIABILITY R17: any sequence of calls, crashes, silences and requests, against the reference model.

hypothesis chooses what happens and when; the world is that of the simulation (one thread, no faults but the chosen
ones), so that what it finds shrinks to a few lines. `make machine` for a night (EXAMPLES=, STEPS=).
"""

from __future__ import annotations

import os
from itertools import count
from pathlib import Path
from random import Random
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    consumes,
    initialize,
    invariant,
    multiple,
    precondition,
    rule,
    run_state_machine_as_test,
)

from flowledger.adapters.stores import open_store
from flowledger.core.engine import run as engine
from flowledger.events.requests import Cancel, Request, Rerun, Resume, Revert, Signal, Suspend
from flowledger.events.store import Mail
from tests.properties.spec import Spec
from tests.properties.strategies import SIGNALS, specs
from tests.simulation.faults import Faults
from tests.simulation.process import Process
from tests.simulation.told import Call, Told
from tests.simulation.world import World

EXAMPLES = int(os.environ.get("FLOWLEDGER_EXAMPLES", "0"))
STEPS = int(os.environ.get("FLOWLEDGER_STEPS", "0"))
LONG = bool(os.environ.get("FLOWLEDGER_TEST_LONG"))
ON_STORES = (40, 30) if LONG else (6, 20)
MOST_RUNS = 3
MOST_PROCESSES = 5

#: In the chosen moments only; else nothing goes wrong, and everything takes up to a tenth of a second.
PEACE = {"slow_s": 0.1}
REQUESTS: list[Request] = [
    Suspend(reason="a pause"), Resume(), Cancel(reason="enough"), Cancel(reason="enough", keep=True), Signal(name="c"),
    Rerun(reason="again"), Revert(reason="not needed"),
]  # fmt: skip


class Machine(RuleBasedStateMachine):
    """The world and what may be done in it. Safety is judged at every step, liveness at the end."""

    runs = Bundle("runs")
    mails = Bundle("mails")

    def __init__(self) -> None:
        super().__init__()
        self.patch = pytest.MonkeyPatch()
        self.patch.setattr(engine, "TURN_S", float("inf"))
        self.world = self.a_world()
        self.world.start_process()
        self.met: set[str] = set()  # runs of which the rules know

    def a_world(self) -> World:
        return World(0, faults=Faults(**PEACE), specs=())

    def a_process(self, n: int) -> Process:
        """One that lives; a new one where none does."""
        alive = self.world.alive or [self.world.start_process()]
        return alive[n % len(alive)]

    # -- calls ----------------------------------------------------------------------------------

    @initialize(target=runs, spec=specs(polls=True, waits=True, people=True, begets=True))
    def first_call(self, spec: Spec) -> Told:
        return self.asked_for(spec, 0)

    @precondition(lambda self: sum(isinstance(told, Call) for told in self.world.runs.values()) < MOST_RUNS)
    @rule(target=runs, spec=specs(polls=True, waits=True, people=True, begets=True), n=st.integers(0, 4))
    def call(self, spec: Spec, n: int) -> Told:
        return self.asked_for(spec, n)

    def asked_for(self, spec: Spec, n: int) -> Told:
        call = self.world.ask_for(spec, self.a_process(n))
        self.met.add(call.key)
        return call

    @rule(told=runs, n=st.integers(0, 4))
    def the_same_call_again(self, told: Told, n: int) -> None:
        if isinstance(told, Call):
            self.a_process(n).drive(told, self.world.app)

    @rule(told=runs, n=st.integers(0, 4))
    def resume(self, told: Told, n: int) -> None:
        if told.witness is not None:
            self.a_process(n).resume(self.world.app, told.witness.run_id)

    @rule(told=runs, n=st.integers(0, 4))
    def revert_what_is_over(self, told: Told, n: int) -> None:
        if told.ended and told.witness is not None:
            self.a_process(n).revert(self.world.app, told.witness.run_id)

    @rule(told=runs, n=st.integers(0, 4), at=st.none() | st.integers(0, 20))
    def run_again_what_is_over(self, told: Told, n: int, at: int | None) -> None:
        if told.ended and told.witness is not None:
            parts = told.witness.parts
            from_ = None if at is None else parts[at % len(parts)]
            self.a_process(n).rerun(self.world.app, told.witness.run_id, from_)

    @rule(told=runs, n=st.integers(0, 4), seed=st.integers(0, 200))
    def fork(self, told: Told, n: int, seed: int) -> None:
        if told.witness is not None:
            self.world.people.fork(told.witness, self.a_process(n), Random(seed))

    @rule(target=runs)
    def meet_children_and_forks(self) -> Any:
        new = [told for key, told in self.world.runs.items() if key not in self.met]
        self.met.update(told.key for told in new)
        return multiple(*new)

    @rule(n=st.integers(0, 4), m=st.integers(0, 2))
    def interrupt(self, n: int, m: int) -> None:
        process = self.a_process(n)
        if process.drivers:
            process.suspend(sorted(process.drivers)[m % len(process.drivers)])

    # -- mail -----------------------------------------------------------------------------------

    @rule(target=mails, told=runs, request=st.sampled_from(REQUESTS))
    def write(self, told: Told, request: Request) -> Any:
        return multiple() if told.witness is None else self.world.people.write(told.witness.run_id, request)

    @rule(target=mails, told=runs, name=st.sampled_from(SIGNALS), fits=st.sampled_from([True, True, True, False]))
    def signal(self, told: Told, name: str, fits: bool) -> Any:
        return (
            multiple() if told.witness is None else self.world.people.send_signal(told.witness.run_id, name, fits=fits)
        )

    @rule(
        target=mails, told=runs, seed=st.integers(0, 50), fits=st.sampled_from([True, True, False]), n=st.integers(0, 4)
    )
    def resolve(self, told: Told, seed: int, fits: bool, n: int) -> Any:
        if told.witness is None:
            return multiple()
        mail = self.world.people.resolve(told.witness, Random(seed), fits=fits)
        self.a_process(n).attend(self.world.app, told.witness.run_id)
        return mail

    @rule(mail=consumes(mails))
    def the_same_mail_again(self, mail: Mail) -> None:
        self.world.store.send([mail])

    # -- what befalls processes -----------------------------------------------------------------

    @precondition(lambda self: len(self.world.alive) < MOST_PROCESSES)
    @rule()
    def another_process(self) -> None:
        self.world.start_process()

    @rule(n=st.integers(0, 4))
    def kill(self, n: int) -> None:
        self.a_process(n).crash("from outside")

    @rule(n=st.integers(0, 4), when=st.sampled_from(["before an append", "after an append"]))
    def kill_at_its_next_append(self, n: int, when: str) -> None:
        self.a_process(n).doom = when

    @rule(n=st.integers(0, 4))
    def stop(self, n: int) -> None:
        self.a_process(n).fate.stand_still()

    @rule(n=st.integers(0, 4))
    def go_on(self, n: int) -> None:
        process = self.a_process(n)
        if process.fate.stands_still:
            process.fate.go_on()

    # -- time -----------------------------------------------------------------------------------

    @rule(steps=st.integers(1, 30))
    def steps(self, steps: int) -> None:
        for _ in range(steps):
            self.world.step()

    @rule(seconds=st.sampled_from([1, 6, 30]))
    def wait(self, seconds: int) -> None:
        self.world.until(self.world.now_us() + seconds * 1_000_000)

    @invariant()
    def nothing_was_found(self) -> None:
        self.world.check()

    def teardown(self) -> None:
        try:
            if not self.world.found:
                for process in self.world.processes:
                    process.doom = ""
                self.world.make_peace()
                self.world.until_all_ended()
        finally:
            self.world.end()
            self.patch.undo()


def told_to(examples: int, steps: int) -> settings:
    return settings(
        max_examples=examples,
        stateful_step_count=steps,
        deadline=None,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much, HealthCheck.data_too_large],
        report_multiple_bugs=False,
    )


TestRelR17Machine = pytest.mark.timeout(300 + 20 * EXAMPLES)(Machine.TestCase)
TestRelR17Machine.settings = told_to(EXAMPLES or 60, STEPS or 30)


@pytest.mark.slow
@pytest.mark.timeout(3600 if LONG else 300)
@pytest.mark.parametrize("kind", ["sqlite", "postgres"])
def test_rel_r17_the_same_on_a_real_store(kind: str, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    # Given a store, in which each example has a world under a name of its own
    url = f"sqlite:///{tmp_path}/log.db" if kind == "sqlite" else str(request.getfixturevalue("postgres_url"))
    store, numbers = open_store(url), count(1)

    class OnStore(Machine):
        def a_world(self) -> World:
            return World(0, faults=Faults(**PEACE), specs=(), store=store, number=next(numbers))

    # When anything is done there in any sequence, then the log is what the model says
    try:
        run_state_machine_as_test(OnStore, settings=told_to(*ON_STORES))
    finally:
        store.close()
