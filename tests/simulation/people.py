"""What people do in a world, now and then: they pause, cancel, signal, run again, undo, fork, and call once more."""

from __future__ import annotations

from random import Random
from typing import TYPE_CHECKING

from flowledger.adapters.forking import Asked
from flowledger.events import requests
from flowledger.events.facts import Raw, Resolution
from flowledger.events.requests import Cancel, Request, Rerun, Resolve, Resume, Revert, Signal, Suspend
from flowledger.events.store import Mail
from tests.properties.strategies import SIGNALS

from .told import Call, Told

if TYPE_CHECKING:
    from .judge import Witness
    from .process import Process
    from .world import World

PATIENCE_US = 60_000_000  # until a person resumes once more
MOST_FORKS = 2


class People:
    """They may do anything to any run, at any moment, and do it twice."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._forks = 0

    def disturb(self, process: Process) -> None:
        """Called by each process now and then, while it looks around."""
        world, chance = self._world, process.chance
        faults, witnesses = world.faults, world.store.witnesses
        if process.drivers and chance.random() < faults.suspend:
            run_id = chance.choice(sorted(process.drivers))
            world.note(f"somebody suspends {run_id}")
            process.suspend(run_id)
        if chance.random() < faults.mail:
            self._write(chance)
        if chance.random() < faults.signal:
            self._signal(chance)
        if chance.random() < faults.resolve and witnesses:
            witness = chance.choice(witnesses)
            self._perhaps_twice(self.resolve(witness, chance, fits=chance.random() < 0.8), chance)
            process.attend(world.app, witness.run_id)
        for told in list(world.runs.values()):
            if told.is_over and told.wishes and chance.random() < 0.2:
                self.wish(told, process, chance)
        if chance.random() < faults.fork and witnesses:
            self.fork(chance.choice(witnesses), process, chance)
        if chance.random() < faults.again:
            self._call_again(process, chance)

    def _call_again(self, process: Process, chance: Random) -> None:
        call = chance.choice([told for told in self._world.runs.values() if isinstance(told, Call)])
        self._world.note(f"the call of {call.key} is made again in {process.name}")
        process.drive(call, self._world.app)

    # -- mail -----------------------------------------------------------------------------------

    def write(self, run_id: str, request: Request) -> Mail:
        """Somebody asks something of a run by mail."""
        world = self._world
        world.note(f"somebody writes {request.kind} to {run_id}")
        mail = Mail(run_id, f"M{world.number()}", request.kind, requests.encode(request), "somebody")
        world.store.send([mail])
        return mail

    def _write(self, chance: Random) -> None:
        """Any request, to any run; it may come twice (G1)."""
        witnesses = self._world.store.witnesses
        if not witnesses:
            return
        requests: list[Request] = [
            Suspend(reason="simulated"), Resume(), Suspend(reason="simulated"), Resume(),
            Cancel(reason="simulated", keep=chance.random() < 0.3), Signal(name="nobody waits"),
            Rerun(reason="simulated"), Revert(reason="simulated"),
        ]  # fmt: skip
        self._perhaps_twice(self.write(chance.choice(witnesses).run_id, chance.choice(requests)), chance)

    def _signal(self, chance: Random) -> None:
        """Signals, to any run; now and then one that does not fit who waits for it (F4)."""
        witnesses = self._world.store.witnesses
        for _ in range(chance.choice([1, 1, 2, 4]) if witnesses else 0):
            run_id, name = chance.choice(witnesses).run_id, chance.choice(SIGNALS)
            self._perhaps_twice(self.send_signal(run_id, name, fits=chance.random() < 0.9), chance)

    def send_signal(self, run_id: str, name: str, *, fits: bool = True) -> Mail:
        """Somebody sends what is waited for under this name, or something odd."""
        value = str(self._world.number()) if fits else '"odd"'
        return self.write(run_id, Signal(name=name, payload=Raw(value.encode())))

    def resolve(self, witness: Witness, chance: Random, *, fits: bool = True) -> Mail:
        """Somebody says what became of an attempt: of one that is held, where there is one and it ``fits`` (G3)."""
        held, tasks = sorted(witness.held), sorted(witness.tasks) or ["nowhere"]
        path = chance.choice(held if held and fits else tasks)
        resolution: Resolution = chance.choice(["rerun", "failed", "succeeded"])
        value = "null" if resolution != "succeeded" else str(self._world.number()) if fits else '"odd"'
        result = Raw(value.encode())
        return self.write(
            witness.run_id, Resolve(path=path, resolution=resolution, result=result, reason="simulated")
        )  # fmt: skip

    def _perhaps_twice(self, mail: Mail, chance: Random) -> None:
        if chance.random() < 0.5:
            self._world.loop.call_later(chance.random() * 30, self._world.store.send, [mail])

    # -- what is over ---------------------------------------------------------------------------

    def wish(self, told: Told, process: Process, chance: Random) -> None:
        """Somebody wants a run that is over to be run again, all of it or from some part on, undone, or forked."""
        world, witness = self._world, told.witness
        assert witness is not None
        told.wishes -= 1
        told.look_again_us = world.now_us() + PATIENCE_US
        run_id, from_ = witness.run_id, chance.choice([None, *witness.parts])
        chosen = chance.random()
        if chosen < 0.3:
            world.note(f"somebody wants {told.key} undone")
            process.revert(world.app, run_id)
        elif chosen < 0.8:
            world.note(f"somebody wants {told.key} again from {from_ or 'the start'}")
            process.rerun(world.app, run_id, from_)
        else:
            self.fork(witness, process, chance)

    def fork(self, witness: Witness, process: Process, chance: Random) -> None:
        """Somebody wants a run to be gone on with in another one: with other inputs, from some part on, or adopted."""
        world = self._world
        if self._forks >= MOST_FORKS:
            return
        self._forks += 1
        at = chance.choice([None, None, *witness.parts])
        inputs = {name: chance.randrange(3) for name in ("x", "y") if chance.random() < 0.3}
        adopt = witness.is_over and chance.random() < 0.5
        asked = Asked(at=at, inputs=inputs, adopt=adopt, reason=f"wish {world.number()}")
        world.note(f"somebody forks {witness.run_id}: {asked}")
        world.family.asked[asked.reason] = asked
        process.fork(world.app, witness.run_id, asked)
