"""What the world knows of each run: one that somebody has called for, a child run, or a fork."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from flowledger import App
from flowledger.core.compiler import rebuild
from flowledger.events import facts
from flowledger.events.store import FINAL
from tests.properties.build import Recorder, build
from tests.properties.spec import Spec

from .judge import Unsafe, Witness

if TYPE_CHECKING:
    from .world import World


class Told:
    """A run: its flow, what its bodies have seen, and its witness once it is in the log."""

    def __init__(self, world: World, key: str, spec: Spec) -> None:
        self.key = key
        self.spec = spec
        self.look_again_us = 0
        self.wishes = world.chance.choice([0, 0, 1, 1, 2, 3])  # how often somebody wants it otherwise when it is over
        self.witness: Witness | None = None
        self.recorder = WatchedRecorder(self, world)
        self.world = world

    def seen(self, run_id: str, submitted: facts.RunSubmitted) -> Witness:
        """It is in the log now."""
        if self.witness is not None:
            raise Unsafe(f"{self.key} has two runs: {self.witness.run_id} and {run_id} (G7, G8)")
        app = self.world.app
        part = rebuild(app, submitted.factory, bytes(submitted.inputs))
        self.witness = Witness(
            run_id, self.spec, app.plan(part), self.recorder, self.world.store.ledger, self.world.family, submitted
        )
        return self.witness

    @property
    def ended(self) -> bool:
        return self.is_over and not self.wishes and self.world.now_us() >= self.look_again_us

    @property
    def is_over(self) -> bool:
        return self.witness is not None and self.witness.state.status in FINAL

    @property
    def standing(self) -> str:
        return f"{self.key} {'not begun' if self.witness is None else self.witness.state.status}"


class Call(Told):
    """One that somebody has called for, and may call for again."""

    def __init__(self, world: World, key: str, spec: Spec) -> None:
        super().__init__(world, key, spec)
        app = App(world.app.name, database_url="memory://")
        self.part = build(spec, app, Recorders(world))
        world.app.include(app, prefix=key)


class Recorders(Recorder):
    """Bodies know the run they are called for, and each run has a recorder."""

    def __init__(self, world: World) -> None:
        super().__init__()
        self._world = world

    def of(self, run_id: str) -> Recorder:
        witness = self._world.store.known(run_id)
        if witness is None:
            self._world.complain(Unsafe(f"a body of {run_id} runs, and its run is not in the log (C1)"))
            return Recorder()
        return witness.recorder


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
        assert self._told.witness is not None
        try:
            self._told.witness.began(name, phase, key, arguments)
        except Unsafe as error:
            self._world.complain(error)
