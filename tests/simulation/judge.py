"""Safety: what must be true after every step, whatever goes wrong. The judge sees the log as the store has it."""

from __future__ import annotations

from typing import Any

from flowledger.core import replay
from flowledger.core.evolve import apply
from flowledger.core.plan import Plan
from flowledger.core.state import State
from flowledger.events import facts
from flowledger.events.chain import GENESIS, verified
from flowledger.events.codec import opened
from flowledger.events.envelope import Envelope, StoredEvent
from flowledger.events.store import FINAL, Append
from flowledger.events.transactions import OutcomeKey
from tests.properties.build import Recorder
from tests.properties.follow import END, Follower, paths_of
from tests.properties.kin import End
from tests.properties.model import Model
from tests.properties.running import decided
from tests.properties.spec import Spec

from .family import Family, Relatives, inputs_of
from .ledger import Ledger


class Unsafe(AssertionError):
    """Something happened that may never happen."""


class Witness:
    """One run as the log has it: each event held against the reference model, the rules, and the chain."""

    def __init__(
        self, run_id: str, spec: Spec, plan: Plan, recorder: Recorder, ledger: Ledger, family: Family,
        submitted: facts.RunSubmitted,
    ) -> None:  # fmt: skip
        self.run_id = run_id
        self.submitted = submitted
        self.ends: list[End] = []  # people may run again, or undo, what is over
        self.begun: dict[tuple[str, int], tuple[Any, ...]] = {}  # by path and try: what tasks were started with
        self._spec = spec
        self._family = family
        self.plan = plan
        self.recorder = recorder
        self.ledger = ledger
        self.state = State(plan)
        self.log: list[Envelope] = []
        self.durable: dict[tuple[str, str], tuple[Any, ...]] = {}  # (phase, key) → the arguments it must be given
        self._follower = self._new_follower()
        self._head = GENESIS
        self._epoch = 0
        self._answered: set[str] = set()
        self._said: set[str] = set()  # tasks of which a person has said that they succeeded
        self.settled: set[OutcomeKey] = set()

    def _new_follower(self) -> Follower:
        kin = Relatives(self._family, self.submitted, self.run_id)
        return Follower(Model(self._spec, inputs=inputs_of(self.submitted)), paths_of(self._spec), kin=kin)

    @property
    def model(self) -> Model:
        return self._follower.model

    def model_at(self, version: int) -> Model:
        """The model as it was when the log had so many events."""
        if version == len(self.log):
            return self.model
        follower = self._new_follower()
        follower.once_more = True
        for envelope in self.log[:version]:
            follower.take(envelope)
        return follower.model

    def name_of(self, path: str) -> str:
        """What the spec calls this part."""
        return self._follower.paths[path]

    @property
    def spec(self) -> Spec:
        return self._spec

    @property
    def is_over(self) -> bool:
        return self.state.status in FINAL

    @property
    def is_adopted(self) -> bool:
        """Whether a fork answers for what it has done."""
        return self.model.adopted

    @property
    def held(self) -> list[str]:
        """The paths at which a person must say what became of an attempt."""
        if not self.model.held:
            return []
        return [path for path, name in self._follower.paths.items() if name in self.model.held]

    @property
    def parts(self) -> list[str]:
        """The paths of all parts."""
        return [path for path in self._follower.paths if path]

    @property
    def tasks(self) -> list[str]:
        """The paths of all tasks."""
        return [path for path, name in self._follower.paths.items() if name in self.model.atoms]

    def stored(self, request: Append) -> None:
        """The store took these events."""
        if self.state.status in FINAL and not _answers(request):
            raise Unsafe(f"an append to a run that is {self.state.status}")
        if request.epoch < self._epoch:
            raise Unsafe(f"an append under epoch {request.epoch} after one under {self._epoch}")
        self._epoch = request.epoch
        for stored in verified(self.run_id, request.events, previous=self._head, after_version=len(self.log)):
            self._take(stored)
        if request.status != self.state.status:
            raise Unsafe(f"the stream row says {request.status}, the log {self.state.status}")

    def _take(self, stored: StoredEvent) -> None:
        (envelope,) = opened(self.run_id, (stored,))
        self._head = stored.hash
        if self.log and envelope.time_us < self.log[-1].time_us:
            raise Unsafe(f"time goes back at event {envelope.version} (F1)")
        self.log.append(envelope)
        if self.state.started and not isinstance(envelope.event, facts.RunClaimed):
            ours, theirs = decided(self.plan, self.state, self._follower.paths), self.model.enabled()
            if ours != theirs:
                raise Unsafe(f"before event {envelope.version} decide says {ours}, the model {theirs}")
        if isinstance(envelope.event, facts.RunForked):
            self.state.taken = self._family.had(envelope.event)
        self._said = {name for name, said in self.model.said.items() if said.resolution == "succeeded"}
        self._follower.take(envelope)
        apply(self.state, envelope)
        self._note(envelope)

    def _note(self, envelope: Envelope) -> None:
        """C1: a body runs only after its start is durable, with the arguments it was started with. G1: one answer."""
        event = envelope.event
        if isinstance(event, facts.RequestAccepted | facts.RequestRefused | facts.SignalReceived):
            if event.request in self._answered:
                raise Unsafe(f"request {event.request} was answered twice (G1)")
            self._answered.add(event.request)
        if isinstance(event, facts.TaskSucceeded | facts.TaskReverted) and event.attempt:
            self._committed(envelope.path, event)
        if type(event) in END:
            self.ends.append(End(self.model.status, self.model.value(self._spec.root.name)))
        if isinstance(event, facts.TaskStarted | facts.RevertStarted):
            name = self._follower.paths[envelope.path]
            atom = self.model.atoms[name]
            if isinstance(event, facts.TaskStarted):
                self.recorder.attempt(name, event.key)
                self.durable["execute", event.key] = atom.arguments
                self.begun[envelope.path, event.try_] = atom.arguments
            else:
                self.recorder.revert(name, event.key)
                self.durable["revert", event.key] = (*atom.arguments, atom.result)

    def _committed(self, path: str, event: facts.TaskSucceeded | facts.TaskReverted) -> None:
        """C8: what a transaction wrote is there, once, when its outcome is in the log."""
        phase: facts.Phase = "execute" if isinstance(event, facts.TaskSucceeded) else "revert"
        name, key = self._follower.paths[path], OutcomeKey(self.run_id, path, event.try_, phase)
        if self.model.task(name).transactional and (phase == "revert" or name not in self._said):
            self.settled.add(key)
            if len(self.ledger.written.get(key, [])) != 1:
                raise Unsafe(f"{phase} of {name} in try {event.try_} wrote {self.ledger.written.get(key)} (C8)")

    def told(self, name: str, outcome: str) -> None:
        """C8: what its revert is told of a transaction is true."""
        path = next(path for path, known in self._follower.paths.items() if known == name)
        key = OutcomeKey(self.run_id, path, self.model.atoms[name].try_, "execute")
        if self.model.task(name).transactional and outcome == "failed" and self.ledger.written.get(key):
            raise Unsafe(f"the revert of {name} was told that nothing of it is there (C8)")

    def began(self, name: str, phase: str, key: str, arguments: tuple[Any, ...]) -> None:
        """A body begins, in whatever process."""
        if (phase, key) not in self.durable:
            raise Unsafe(f"{phase} of {name} ran without a durable start (C1)")
        if self.durable[phase, key] != arguments:
            raise Unsafe(f"{phase} of {name} was given {arguments}, not {self.durable[phase, key]} (D4)")

    def acknowledged(self, request: Append, version: int) -> None:
        """A process was told that its append is durable."""
        last = request.events[-1]
        if version < last.version or self.log[last.version - 1].hash != last.hash:
            raise Unsafe(f"event {last.version} was acknowledged and is not in the log (A3)")

    def over(self) -> None:
        """The run has ended, and the world is at peace: the whole log is a valid one, and nothing is left to do."""
        self._follower.ended()
        polled = {(e.path, e.event.try_) for e in self.log if isinstance(e.event, facts.TaskWaiting)}
        lost = {key for key in self.ledger.written if key.run_id == self.run_id} - self.settled
        # a poll that drained while its body ran may have committed: it is undone (D1)
        lost = {key for key in lost if key.phase == "revert" or (key.path, key.try_) not in polled}
        if lost:
            raise Unsafe(f"what was committed is not in the log: {sorted(lost)} (C8)")
        replay.check_complete(self.plan, replay.check(self.plan, self.log, taken=self.state.taken))
        self._adopted_for_good()
        if self.model.status != self.state.status:
            raise Unsafe(f"the run is {self.state.status}, the model {self.model.status}")

    def _adopted_for_good(self) -> None:
        """G6: a source knows who has adopted it, and whoever has not adopted anything undoes nothing of it."""
        forked = next((e.event for e in self.log[:2] if isinstance(e.event, facts.RunForked)), None)
        if forked is not None and forked.adopted:
            source = self._family.witnesses[forked.source]
            if source.state.adopted_by != self.run_id:
                raise Unsafe(f"{self.run_id} has adopted {source.run_id}, which knows nothing of it (G6)")
        if self.state.adopted_by and self.state.adopted_by not in self._family.witnesses:
            raise Unsafe(f"{self.run_id} was adopted by nobody (G6)")


def _answers(request: Append) -> bool:
    """An append to a run that is over: it answers somebody, also one who was answered before, or it opens the run
    again (G5)."""
    first = next((event.type for event in request.events if event.type != "RunClaimed"), "")
    return first in ("RequestRefused", "RequestAccepted") or (first == "" and bool(request.answers))
