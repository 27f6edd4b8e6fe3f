"""A world from a seed: engines, their clock, their executors and the store in one thread, and faults at every step.

First everything may go wrong: processes are killed at an append or stand still, requests and answers are late, lost or
come twice, people suspend runs and make the same call again. After each step the judge looks (`judge`). Then the faults
stop, and every run must come to its end, as the reference model says.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from hashlib import sha256
from random import Random
from typing import cast

from flowledger import App
from flowledger.core.engine import run as engine
from flowledger.events import facts
from flowledger.events.codec import opened
from flowledger.events.envelope import StoredEvent
from flowledger.events.store import Store
from tests.properties.spec import Spec

from .family import Family
from .faults import Faults
from .flows import random_spec
from .judge import Unsafe, Witness
from .people import PATIENCE_US, People
from .process import Process
from .scheduler import ProcessLoop, Scheduler
from .stores import InMemory, Real
from .told import Call, Told

START_US = 2_000_000_000_000_000
TROUBLED_S = 120.0  # how long the faults go on
MOST_STEPS = 200_000
MOST_CRASHES = 12
NUMBERS = 1_000_000  # ids that each world has to give, where many share a store
SHOWN = 40  # of what happened, in a message


class SimulationFailed(AssertionError):
    """What a seed has found; the message says how to see it again."""


class World:
    """Some runs, some processes, one store. `live` lets it happen."""

    def __init__(
        self, seed: int, *, faults: Faults | None = None, specs: Sequence[Spec] | None = None,
        store: Store | None = None, number: int = 0,
    ) -> None:  # fmt: skip
        """``store``: a real one, in which worlds of other numbers may have been."""
        self.seed = seed
        self.chance = Random(f"{seed} world")
        self.scheduler = Scheduler(START_US)
        self.loop = ProcessLoop(self.scheduler)  # the world's own: what needs no process
        self.faults = faults or Faults.drawn(self.chance)
        self.app = App(f"model-{number}" if number else "model", database_url="memory://")
        self.store: InMemory | Real = InMemory(self) if store is None else Real(self, store)
        self.people = People(self)
        self.family = Family()
        self.story: deque[str] = deque(maxlen=SHOWN)
        self.processes: list[Process] = []
        self.found = False  # something is wrong, and what comes after means nothing
        self._numbers = number * NUMBERS
        self._crashes = 0
        self._complaint: BaseException | None = None
        self.conducted = specs is None and self.chance.random() < 0.3  # runs are submitted, for whoever looks for jobs
        drawn = [random_spec(self.chance) for _ in range(self.chance.choice([1, 1, 2, 3]))] if specs is None else specs
        self.runs: dict[str, Told] = {}
        for spec in drawn:
            self._call(spec)

    # -- what its parts ask ---------------------------------------------------------------------

    def now_us(self) -> int:
        return self.scheduler.now_us

    def number(self) -> int:
        self._numbers += 1
        return self._numbers

    def note(self, what: str) -> None:
        self.story.append(f"{(self.now_us() - START_US) / 1e6:10.3f} s  {what}")

    def new_witness(self, run_id: str, first: Sequence[StoredEvent]) -> Witness:
        """A run is in the log that was not: somebody has called for it, it is the child of another, or a fork."""
        submitted, forked = (envelope.event for envelope in opened(run_id, (first[0], first[min(1, len(first) - 1)])))
        assert isinstance(submitted, facts.RunSubmitted)
        told = self._of(submitted, forked)
        self.runs[told.key] = told
        witness = told.seen(run_id, submitted)
        self.family.add(witness)
        return witness

    def _of(self, submitted: facts.RunSubmitted, forked: facts.Event) -> Told:
        known = self.runs.get(submitted.key or "")
        if known is not None:
            return known
        if isinstance(forked, facts.RunForked):
            return Told(self, forked.reason, self.family.witnesses[forked.source].spec)
        if submitted.parent is None:
            raise Unsafe(f"nobody has called for {submitted.key}")
        above = self.family.witnesses[submitted.parent.run]
        child = above.model.task(above.name_of(submitted.parent.path)).child
        assert child is not None
        return Told(self, submitted.key or "", child)

    def complain(self, error: BaseException) -> None:
        """Something was found where it cannot be raised: in a body. It is raised after the step."""
        self._complaint = self._complaint or error

    def check(self) -> None:
        if self._complaint is not None:
            raise self._complaint

    def may_crash(self) -> bool:
        return self._crashes < MOST_CRASHES

    # -- processes ------------------------------------------------------------------------------

    def start_process(self) -> Process:
        process = Process(self, f"process-{len(self.processes) + 1}")
        self.processes.append(process)
        return process

    def replace(self, old: Process) -> None:
        """One that was fenced, or is gone, has a successor."""
        self._crashes += 1
        old.fate.call_later(60.0, old.fate.die)
        self.start_process()

    @property
    def alive(self) -> list[Process]:
        return [p for p in self.processes if not p.is_dead and not p.beating.fenced]

    def disturb(self, process: Process) -> None:
        """Called by each process now and then, while it looks around."""
        if process.chance.random() < self.faults.stand_still:
            self._stop(process, process.chance.choice([1.0, 10.0, 25.0, 60.0]))
        self.people.disturb(process)

    def ask_for(self, spec: Spec, process: Process) -> Call:
        """Somebody asks for another run."""
        call = self._call(spec)
        process.drive(call, self.app)
        return call

    def _call(self, spec: Spec) -> Call:
        key = f"run-{len(self.runs) + 1}"
        call = self.runs[key] = Call(self, key, spec)
        return call

    def _stop(self, process: Process, for_s: float) -> None:
        self.note(f"{process.name} stands still for {for_s:g} s")
        process.fate.stand_still()
        self.loop.call_later(for_s, self._go_on, process)

    def _go_on(self, process: Process) -> None:
        if process.fate.stands_still and not process.is_dead:
            self.note(f"{process.name} goes on")
            process.fate.go_on()

    # -- its course -----------------------------------------------------------------------------

    def live(self) -> str:
        """From beginning to end; returns a digest of all that came to be in the log.

        Raises:
            SimulationFailed: something was not safe, or a run did not end after the faults had stopped.
        """
        try:
            self._live()
        except Exception as error:
            raise SimulationFailed(self._told(error)) from error
        finally:
            self.end()
        return self.digest()

    def _live(self) -> None:
        for _ in range(self.chance.choice([1, 2, 3])):
            self.start_process()
        for told in self.runs.values():
            self.loop.call_later(self.chance.random() * 20, self._begin, cast("Call", told))
        self.until(START_US + round(TROUBLED_S * 1e6))
        self.make_peace()
        self.until_all_ended()

    def _begin(self, call: Call) -> None:
        self.chance.choice(self.alive or [self.start_process()]).drive(call, self.app)

    def step(self) -> bool:
        """One thing happens, and is judged. False if nothing is to come."""
        if self.scheduler.steps > MOST_STEPS:
            raise Unsafe(f"no end after {MOST_STEPS} steps")
        try:
            more = self.scheduler.step()
            self.check()
        except BaseException:
            self.found = True
            raise
        if not self.alive and self.faults.crash_at_append:
            self.replace(self.processes[-1])
        return more

    def until(self, time_us: int) -> None:
        """Let so much time pass, unless everything has ended."""
        self.loop.call_later((time_us - self.now_us()) / 1e6, int)
        while self.now_us() < time_us and not self.all_ended and self.step():
            pass

    def make_peace(self) -> None:
        """The faults stop: whoever stands still goes on, and somebody is there to take up what is left."""
        self.note("the faults stop")
        self.faults = Faults.none()
        for process in self.processes:
            self._go_on(process)
        self.start_process()
        for told in list(self.runs.values()):
            if told.witness is None and isinstance(told, Call):
                self._begin(told)

    def until_all_ended(self) -> None:
        """Liveness: every run comes to its end, and each suspended one does once it is resumed."""
        until_us = self.now_us() + round(86_400 * 1e6)
        while not self.all_ended:
            runs = list(self.runs.values())
            self._see_to(runs[self.scheduler.steps % len(runs)])
            if self.now_us() > until_us or not self.step():
                raise Unsafe(f"no end a day after the faults have stopped: {[t.standing for t in self.runs.values()]}")
        for told in self.runs.values():
            assert told.witness is not None
            told.witness.over()

    def _see_to(self, told: Told) -> None:
        """A person does what a run waits for: resumes it, again if one who stood still had it suspended once more;
        says what became of what is held; sends what is listened for."""
        witness = told.witness
        if witness is None or self.now_us() < told.look_again_us:
            return
        if told.is_over and told.wishes:
            self.people.wish(told, self.alive[-1], self.chance)
        elif witness.held:  # also where whoever drove it is gone before it was suspended
            self.people.resolve(witness, self.chance)
            self.alive[-1].attend(self.app, witness.run_id)
        elif witness.state.status == "SUSPENDED":
            self.alive[-1].resume(self.app, witness.run_id)
        elif witness.model.suspension == "none" and (signal := next(witness.model.listened_for, "")):
            self.people.send_signal(witness.run_id, signal)
        else:
            return
        told.look_again_us = self.now_us() + PATIENCE_US
        self.loop.call_later(PATIENCE_US / 1e6, int)

    @property
    def all_ended(self) -> bool:
        return all(told.ended for told in self.runs.values())

    def end(self) -> None:
        for process in self.processes:
            process.fate.die()
        if isinstance(self.store, Real):
            self.store.leave_all()

    def digest(self) -> str:
        total = sha256()
        for witness in self.store.witnesses:
            for envelope in witness.log:
                total.update(envelope.hash)
        return total.hexdigest()

    def _told(self, error: BaseException) -> str:
        specs = "\n".join(f"  {told.standing}: {told.spec!r}" for told in self.runs.values())
        logs = "\n".join(
            f"  {witness.run_id}: " + ", ".join(f"{e.type} {e.path}".strip() for e in witness.log[-15:])
            for witness in self.store.witnesses
        )
        return (
            f"seed {self.seed}: {type(error).__name__}: {error}\n"
            f"see it again: python -m tests.simulation {self.seed}\n{specs}\n{self.faults!r}\n"
            + "\n".join(self.story)
            + f"\nthe last events:\n{logs}"
        )


def simulate(seed: int) -> str:
    """Let the world of this seed live; returns the digest of its log."""
    before, engine.TURN_S = engine.TURN_S, float("inf")  # the length of a turn is real time: it would make a difference
    try:
        return World(seed).live()
    finally:
        engine.TURN_S = before
