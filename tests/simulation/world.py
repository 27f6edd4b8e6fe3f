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
from typing import Any

from flowledger import App
from flowledger.adapters.stores.memory import MemoryStore
from flowledger.core.engine import run as engine
from flowledger.events import requests
from flowledger.events.facts import OnFailure, Raw, Resolution
from flowledger.events.requests import Cancel, Request, Rerun, Resolve, Resume, Revert, Signal, Suspend
from flowledger.events.store import FINAL, Append, Appended, AppendResult, Mail
from tests.properties.build import Recorder, build
from tests.properties.spec import Spec
from tests.properties.strategies import SIGNALS

from .faults import Faults
from .flows import random_spec
from .judge import Unsafe, Witness
from .ledger import Ledger
from .process import Process
from .scheduler import ProcessLoop, Scheduler

START_US = 2_000_000_000_000_000
TROUBLED_S = 120.0  # how long the faults go on
MOST_STEPS = 200_000
PATIENCE_US = 60_000_000  # until a person resumes once more
MOST_CRASHES = 12
SHOWN = 40  # of what happened, in a message


class SimulationFailed(AssertionError):
    """What a seed has found; the message says how to see it again."""


class WatchedStore(MemoryStore):
    """The store, in simulated time, with a witness for each run."""

    def __init__(self, world: World) -> None:
        super().__init__()
        self.ledger = Ledger()
        self._world = world
        self._witnesses: dict[str, Witness] = {}

    def now_us(self) -> int:
        return self._world.now_us()

    def append(self, batch: Sequence[Append]) -> list[AppendResult]:
        before = [len(self._log)]
        results = super().append(batch)
        for request, result in zip(batch, results, strict=True):
            if isinstance(result, Appended) and len(self._log) > before[0]:
                self.witness(request.run_id, request).stored(request)
        return results

    def witness(self, run_id: str, request: Append | None = None) -> Witness:
        found = self._witnesses.get(run_id)
        if found is None:
            assert request is not None
            assert request.create is not None
            found = self._witnesses[run_id] = self._world.new_witness(run_id, request.create.key or "")
        return found

    @property
    def witnesses(self) -> Sequence[Witness]:
        return list(self._witnesses.values())


class World:
    """Some runs, some processes, one store. `live` lets it happen."""

    def __init__(self, seed: int, *, faults: Faults | None = None, specs: Sequence[Spec] | None = None) -> None:
        self.seed = seed
        self.chance = Random(f"{seed} world")
        self.scheduler = Scheduler(START_US)
        self.loop = ProcessLoop(self.scheduler)  # the world's own: what needs no process
        self.faults = faults or Faults.drawn(self.chance)
        self.app = App("model", database_url="memory://")
        self.store = WatchedStore(self)
        self.story: deque[str] = deque(maxlen=SHOWN)
        self.processes: list[Process] = []
        self.found = False  # something is wrong, and what comes after means nothing
        self._numbers = 0
        self._crashes = 0
        self._complaint: BaseException | None = None
        drawn = [random_spec(self.chance) for _ in range(self.chance.choice([1, 1, 2, 3]))] if specs is None else specs
        self.runs = {f"run-{n}": Told(self, f"run-{n}", spec) for n, spec in enumerate(drawn, 1)}

    # -- what its parts ask ---------------------------------------------------------------------

    def now_us(self) -> int:
        return self.scheduler.now_us

    def number(self) -> int:
        self._numbers += 1
        return self._numbers

    def note(self, what: str) -> None:
        self.story.append(f"{(self.now_us() - START_US) / 1e6:10.3f} s  {what}")

    def on_failure(self, key: str) -> OnFailure:
        return self.runs[key].spec.on_failure

    def new_witness(self, run_id: str, key: str) -> Witness:
        return self.runs[key].seen(run_id)

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
        faults, chance = self.faults, process.chance
        if chance.random() < faults.stand_still:
            self._stop(process, chance.choice([1.0, 10.0, 25.0, 60.0]))
        if process.drivers and chance.random() < faults.suspend:
            run_id = chance.choice(sorted(process.drivers))
            self.note(f"somebody suspends {run_id}")
            process.suspend(run_id)
        if chance.random() < faults.mail:
            self._write(chance)
        if chance.random() < faults.signal:
            self._signal(chance)
        if chance.random() < faults.resolve and self.store.witnesses:
            witness = chance.choice(self.store.witnesses)
            self._perhaps_twice(self.resolve(witness, chance, fits=chance.random() < 0.8), chance)
            process.attend(self.app, witness.run_id)
        for told in self.runs.values():
            if told.is_over and told.wishes and chance.random() < 0.2:
                self._wish(told, process, chance)
        if chance.random() < faults.again:
            told = self.runs[chance.choice(sorted(self.runs))]
            self.note(f"the call of {told.key} is made again in {process.name}")
            process.drive(told.part, self.app, told.key)

    def ask_for(self, spec: Spec, process: Process) -> Told:
        """Somebody asks for another run."""
        told = self.runs[f"run-{len(self.runs) + 1}"] = Told(self, f"run-{len(self.runs) + 1}", spec)
        process.drive(told.part, self.app, told.key)
        return told

    def write(self, run_id: str, request: Request) -> Mail:
        """Somebody asks something of a run by mail."""
        self.note(f"somebody writes {request.kind} to {run_id}")
        mail = Mail(run_id, f"M{self.number()}", request.kind, requests.encode(request), "somebody")
        self.store.send([mail])
        return mail

    def _write(self, chance: Random) -> None:
        """Any request, to any run; it may come twice (G1)."""
        if not self.store.witnesses:
            return
        requests: list[Request] = [
            Suspend(reason="simulated"), Resume(), Suspend(reason="simulated"), Resume(),
            Cancel(reason="simulated", keep=chance.random() < 0.3), Signal(name="nobody waits"),
            Rerun(reason="simulated"), Revert(reason="simulated"),
        ]  # fmt: skip
        self._perhaps_twice(self.write(chance.choice(self.store.witnesses).run_id, chance.choice(requests)), chance)

    def _signal(self, chance: Random) -> None:
        """Signals, to any run; now and then one that does not fit who waits for it (F4)."""
        for _ in range(chance.choice([1, 1, 2, 4]) if self.store.witnesses else 0):
            run_id, name = chance.choice(self.store.witnesses).run_id, chance.choice(SIGNALS)
            self._perhaps_twice(self.send_signal(run_id, name, fits=chance.random() < 0.9), chance)

    def send_signal(self, run_id: str, name: str, *, fits: bool = True) -> Mail:
        value = str(self.number()) if fits else '"odd"'
        return self.write(run_id, Signal(name=name, payload=Raw(value.encode())))

    def resolve(self, witness: Witness, chance: Random, *, fits: bool = True) -> Mail:
        """Somebody says what became of an attempt: of one that is held, where there is one and it ``fits`` (G3)."""
        held, tasks = sorted(witness.held), sorted(witness.tasks) or ["nowhere"]
        path = chance.choice(held if held and fits else tasks)
        resolution: Resolution = chance.choice(["rerun", "failed", "succeeded"])
        value = "null" if resolution != "succeeded" else str(self.number()) if fits else '"odd"'
        result = Raw(value.encode())
        return self.write(
            witness.run_id, Resolve(path=path, resolution=resolution, result=result, reason="simulated")
        )  # fmt: skip

    def _wish(self, told: Told, process: Process, chance: Random) -> None:
        """Somebody wants a run that is over to be run again, all of it or from some part on, or undone (G5)."""
        assert told.witness is not None
        told.wishes -= 1
        told.look_again_us = self.now_us() + PATIENCE_US
        run_id, from_ = told.witness.run_id, chance.choice([None, *told.witness.parts])
        if chance.random() < 0.3:
            self.note(f"somebody wants {told.key} undone")
            process.revert(self.app, run_id)
        else:
            self.note(f"somebody wants {told.key} again from {from_ or 'the start'}")
            process.rerun(self.app, run_id, from_)

    def _perhaps_twice(self, mail: Mail, chance: Random) -> None:
        if chance.random() < 0.5:
            self.loop.call_later(chance.random() * 30, self.store.send, [mail])

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
            self.loop.call_later(self.chance.random() * 20, self._begin, told)
        self.until(START_US + round(TROUBLED_S * 1e6))
        self.make_peace()
        self.until_all_ended()

    def _begin(self, told: Told) -> None:
        process = self.chance.choice(self.alive or [self.start_process()])
        process.drive(told.part, self.app, told.key)

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
        for told in self.runs.values():
            if told.witness is None:
                self._begin(told)

    def until_all_ended(self) -> None:
        """Liveness: every run comes to its end, and each suspended one does once it is resumed."""
        until_us = self.now_us() + round(86_400 * 1e6)
        while not self.all_ended:
            for told in self.runs.values():
                self._see_to(told)
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
            self._wish(told, self.alive[-1], self.chance)
        elif witness.held:  # also where whoever drove it is gone before it was suspended
            self.resolve(witness, self.chance)
            self.alive[-1].attend(self.app, witness.run_id)
        elif witness.state.status == "SUSPENDED":
            self.alive[-1].resume(self.app, witness.run_id)
        elif witness.model.suspension == "none" and (signal := next(witness.model.listened_for, "")):
            self.send_signal(witness.run_id, signal)
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

    def digest(self) -> str:
        total = sha256()
        for event in self.store._log:
            total.update(event.hash)
        return total.hexdigest()

    def _told(self, error: BaseException) -> str:
        specs = "\n".join(f"  {told.key}: {told.spec!r}" for told in self.runs.values())
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


class Told:
    """A run somebody asked for: its flow, what its bodies have seen, and its witness once it is in the log."""

    def __init__(self, world: World, key: str, spec: Spec) -> None:
        self.key = key
        self.spec = spec
        self.look_again_us = 0
        self.wishes = world.chance.choice([0, 0, 1, 1, 2, 3])  # how often somebody wants it otherwise when it is over
        self.witness: Witness | None = None
        self.recorder = WatchedRecorder(self, world)
        app = App("model", database_url="memory://")
        self.part = build(spec, app, self.recorder)
        world.app.include(app, prefix=key)
        self._world = world

    def seen(self, run_id: str) -> Witness:
        if self.witness is not None:
            raise Unsafe(f"{self.key} has two runs: {self.witness.run_id} and {run_id} (G8)")
        self.witness = Witness(
            run_id, self.spec, self._world.app.plan(self.part), self.recorder, self._world.store.ledger
        )
        return self.witness

    @property
    def ended(self) -> bool:
        return self.is_over and not self.wishes and self._world.now_us() >= self.look_again_us

    @property
    def is_over(self) -> bool:
        return self.witness is not None and self.witness.state.status in FINAL

    @property
    def standing(self) -> str:
        return f"{self.key} {'not begun' if self.witness is None else self.witness.state.status}"


class WatchedRecorder(Recorder):
    """Asks the witness whenever a body begins."""

    def __init__(self, told: Told, world: World) -> None:
        super().__init__()
        self._told = told
        self._world = world

    def told(self, name: str, outcome: str) -> None:
        assert self._told.witness is not None
        try:
            self._told.witness.told(name, outcome)
        except Unsafe as error:
            self._world.complain(error)

    def begin(self, name: str, phase: Any, arguments: tuple[Any, ...], key: str) -> None:
        super().begin(name, phase, arguments, key)
        if self._told.witness is None:
            self._world.complain(Unsafe(f"{name} runs and its run is not in the log (C1)"))
            return
        try:
            self._told.witness.began(name, phase, key, arguments)
        except Unsafe as error:
            self._world.complain(error)


def simulate(seed: int) -> str:
    """Let the world of this seed live; returns the digest of its log."""
    before, engine.TURN_S = engine.TURN_S, float("inf")  # the length of a turn is real time: it would make a difference
    try:
        return World(seed).live()
    finally:
        engine.TURN_S = before
