"""The model led by a log: each event must be a step the model allows, and none may be left when the log ends."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

from flowledger.events import facts
from flowledger.events.envelope import Envelope
from tests.properties.forks import may_adopt, take_over
from tests.properties.kin import Alone, Kin
from tests.properties.model import FINAL, ROOT, Kind, Model, Said, Step
from tests.properties.signals import Sent
from tests.properties.spec import Flow, Spec, tasks

END: dict[type[facts.Event], str] = {
    facts.RunSucceeded: "SUCCEEDED", facts.RunReverted: "REVERTED", facts.RunFailed: "FAILED",
    facts.RunCancelled: "CANCELLED",
}  # fmt: skip


class Divergence(AssertionError):
    """The log did what the model does not allow."""


@dataclass
class Follower:
    """One log against one model."""

    model: Model
    paths: dict[str, str]
    keys: dict[tuple[object, ...], str] = field(default_factory=dict[tuple[object, ...], str])
    limits: dict[str, int] = field(default_factory=dict[str, int])  # when waits for a signal are over
    suspended_us: int = 0  # since when
    #: Task, phase, try and attempt of what was given up because its time was over.
    overdue: set[tuple[str, str, int, int]] = field(default_factory=set[tuple[str, str, int, int]])
    kin: Kin = field(default_factory=Alone)
    undoing: dict[str, int] = field(default_factory=dict[str, int])  # by task: the ends of its run that do not count
    once_more: bool = False  # this log has been followed before
    goes_on: bool = False  # all that was held is resolved: the next event says so
    at: Envelope | None = None

    def take(self, envelope: Envelope) -> None:
        self.at = envelope
        event, name = envelope.event, self.paths.get(envelope.path, "?")
        self._expect(not self.goes_on or isinstance(event, facts.RunResumed), "the run to go on")
        match event:
            case facts.TaskStarted():
                self._started(name, event)
            case facts.TaskWaiting():
                self._waiting(name, event)
            case facts.TimerFired():
                self._expect(self.model.wake(name), "nobody to wait for that time")
                self._on_time(name, event.due)
            case facts.TaskSucceeded() | facts.TaskFailed():
                self._ended(name, event)
            case facts.RevertStarted() | facts.TaskReverted() | facts.RevertFailed():
                self._reverted(name, event)
            case facts.RoundStarted() | facts.RetryDecided() | facts.ScopeReverting() | facts.ScopeReset():
                self._scope(name, event)
            case facts.RunSucceeded() | facts.RunReverted() | facts.RunFailed() | facts.RunCancelled():
                self._enabled("end", ROOT)
                self.model.end()
                self._expect(self.model.status == END[type(event)], f"the run to end {self.model.status}")
            case facts.TaskInterrupted():
                self._interrupted(name, event)
            case facts.OutcomeIgnored():
                # what was given up reports late; and one that has just failed may be given up before that is heard
                given_up = event.failure is not None and event.failure.kind == "timeout"
                overdue = given_up or (name, event.phase, event.try_, event.attempt) in self.overdue
                polled = self.model.atoms[name].state == "POLLING"
                self._expect(polled or overdue, "a poll that drained, or what was given up (D1, C4)")
            case _:
                self._people(name, event)

    def _people(self, name: str, event: facts.Event) -> None:
        """What people ask, and what is left to them; who owns the run is nothing the model knows."""
        match event:
            case facts.RunForked():
                self._forked(event)
            case facts.TaskHeld():
                self._held(name, event)
            case facts.RequestAccepted(kind="resolve"):
                self._resolved(name, event)
            case facts.RequestAccepted() | facts.RunSuspended() | facts.RunResumed():
                self._asked(event)
            case facts.SignalReceived():
                self._received(event, self.version)
            case _:
                pass

    def ended(self) -> None:
        """The log ends here.

        Raises:
            Divergence: the model has more to do.
        """
        if self.model.status == "RUNNING":
            raise Divergence(f"the log ends, the model still has {self.model.enabled()}")

    # -- atoms ----------------------------------------------------------------------------------

    def _started(self, name: str, event: facts.TaskStarted) -> None:
        self._enabled("start", name)
        if self.model.atoms[name].state == "INTERRUPTED":
            self._expect(self.model.may_be_called_again(name), "that not to be called again")
        self.model.start(name)
        atom = self.model.atoms[name]
        self._expect((event.try_, event.attempt) == (atom.try_, atom.attempt), f"try {atom.try_}, {atom.attempt}")
        self._key((name, atom.try_, "execute", atom.known), event.key)

    def _waiting(self, name: str, event: facts.TaskWaiting) -> None:
        atom = self.model.atoms[name]
        if event.attempt == 0:
            self._enabled("start", name)
            self._expect(event.try_ == atom.try_, f"try {atom.try_}")
            self._begins_to_wait(name, event)
        else:
            self._expect(atom.state in ("RUNNING", "POLLING"), "a body that runs")
            atom.state = "POLLING"
            child = self.kin.child(self.path, event.try_)
            self._expect_of_kin(event.child == ("" if child is None else child.run_id), f"to wait for {child}")

    def _ended(self, name: str, event: facts.TaskSucceeded | facts.TaskFailed) -> None:
        model, atom = self.model, self.model.atoms[name]
        if atom.state == "INTERRUPTED":
            self._not_called(name, event)
            return
        if not model.task(name).has_body:
            self._waited(name, event)
            return
        self._expect(atom.state in ("RUNNING", "POLLING"), "a body that runs")
        self._expect((event.try_, event.attempt) == (atom.try_, atom.attempt), f"try {atom.try_}, {atom.attempt}")
        if model.task(name).child is not None:
            self._child_ended(name, event)
            return
        draining = self._drains(name)
        late = self._is_late(name, event)
        self._expect(late or draining or model.ends(name) != "hold", "a person to be asked")
        model.finish(name, late=late)
        if isinstance(event, facts.TaskSucceeded):
            self._expect(atom.state == "SUCCEEDED", f"the body to fail: {atom.state}")
            self._expect(json.loads(bytes(event.result)) == atom.result, f"the result {atom.result!r}")
            return
        self._expect(atom.state in ("AGAIN", "FAILED"), f"the body to succeed: {atom.state}")
        if atom.state == "AGAIN" and not event.again and draining:
            model.fail(name)  # D1: in a scope that drains there is no further attempt, and the log may say so
        self._expect(event.again == (atom.state == "AGAIN"), f"again={not event.again}")
        self._backs_off(name, event.until)

    # -- other runs -----------------------------------------------------------------------------

    def _child_ended(self, name: str, event: facts.TaskSucceeded | facts.TaskFailed) -> None:
        """It ends as the run does that it is (G7)."""
        child = self.kin.child(self.path, event.try_)
        ends = [] if child is None else child.ends
        if isinstance(event, facts.TaskSucceeded):
            result = json.loads(bytes(event.result))
            self._expect_of_kin(("SUCCEEDED", result) in ends, f"its run to have ended so: {ends}")
            self.model.finish_child(name, "SUCCEEDED", result)
            return
        failed = any(end.status != "SUCCEEDED" for end in ends)
        self._expect(event.failure.kind == "child" and not event.again, f"its run to fail it: {event.failure.kind}")
        self._expect_of_kin(failed, f"no failure: {ends}")
        self.model.finish_child(name, "FAILED", None)

    def _begins_to_undo(self, name: str, try_: int) -> None:
        """From now on it counts how its run ends, and how it has ended if it does not live."""
        child = self.kin.child(self.path, try_)
        ends = 0 if child is None else len(child.ends)
        self.undoing[name] = ends - 1 if child is not None and child.is_over else ends

    def _child_undone(self, name: str, event: facts.TaskReverted | facts.RevertFailed) -> None:
        child = self.kin.child(self.path, event.try_)
        ends = [] if child is None else [end.status for end in child.ends[self.undoing[name] :]]
        undone = isinstance(event, facts.TaskReverted)
        if isinstance(event, facts.TaskReverted):
            gone = child is None or not {"REVERTED", "CANCELLED"}.isdisjoint(ends)
            self._expect_of_kin(gone, f"its run to be undone first: {ends}")
        else:
            stuck = child is not None and ("FAILED" in ends or child.is_adopted) and not event.again
            self._expect_of_kin(stuck, f"its run to be undone: {ends}")
        self.model.finish_undoing(name, undone=undone)

    def _expect_of_kin(self, holds: bool, expected: str) -> None:
        """What other runs were then is not known any more where a log is followed once more."""
        self._expect(holds or self.once_more, expected)

    def _forked(self, event: facts.RunForked) -> None:
        """It begins with what the rules say it takes over (G6)."""
        source, taken = self.kin.inherited(event)
        inherited = [self.paths[path] for path in event.inherited]
        self._expect(inherited == taken.tasks, f"these to be taken over: {taken.tasks}")
        self._expect([self.paths[path] for path in event.rounds] == taken.rounds, f"these rounds: {taken.rounds}")
        self._expect(not event.skipped and not event.decided, "no branches")
        self._expect(not event.adopted or may_adopt(source, taken), "that not to be adopted")
        take_over(self.model, source, taken, adopt=event.adopted)

    def _is_late(self, name: str, event: facts.Event) -> bool:
        """Only transactions have a limit here (C8)."""
        if not isinstance(event, facts.TaskFailed | facts.RevertFailed) or event.failure.kind != "timeout":
            return False
        self._expect(self.model.task(name).transactional, "no limit")
        phase = "execute" if isinstance(event, facts.TaskFailed) else "revert"
        self.overdue.add((name, phase, event.try_, event.attempt))
        return True

    def _drains(self, name: str) -> bool:
        return self.model.broken or self.model.failing_around(self.model.parts[name])

    # -- what nobody knows ----------------------------------------------------------------------

    def _held(self, name: str, event: facts.TaskHeld) -> None:
        """The task leaves it to a person: after its process was lost, or by its body (G3)."""
        model, atom = self.model, self.model.atoms[name]
        if atom.state == "INTERRUPTED":
            self._enabled("start", name)
            asks = model.task(name).on_interrupt == "hold" and model.given_up_as(name) == "" and name not in model.said
            self._expect(asks, "nobody to be asked")
        else:
            self._expect(atom.state in ("RUNNING", "POLLING"), f"a body that runs: {atom.state}")
            self._expect(model.ends(name) == "hold" and not self._drains(name), "another end")
        self._expect((event.try_, event.attempt) == (atom.try_, atom.attempt), f"try {atom.try_}, {atom.attempt}")
        model.hold(name)

    def _resolved(self, name: str, event: facts.RequestAccepted) -> None:
        self._expect(name in self.model.held, f"no word on it, but on {self.model.held}")
        assert event.resolution is not None
        self.model.resolve(name, Said(event.resolution, json.loads(bytes(event.result))))
        self.goes_on = not self.model.held

    def _not_called(self, name: str, event: facts.TaskSucceeded | facts.TaskFailed) -> None:
        """What was lost is not tried again: the rules say so, the task, or a person."""
        self._enabled("start", name)
        model, atom = self.model, self.model.atoms[name]
        kind = model.given_up_as(name)
        self._expect(event.try_ == atom.try_, f"try {atom.try_}")
        if isinstance(event, facts.TaskSucceeded):
            self._expect(kind == "no failure", f"no success: {kind}")
            self._expect(json.loads(bytes(event.result)) == atom.result, f"the result {atom.result!r}")
            model.succeed_as_said(name)
        else:
            self._expect((event.failure.kind, event.again) == (kind, False), f"a failure: {kind or 'none'}")
            model.give_up(name)

    # -- sleeps and signals ---------------------------------------------------------------------

    def _begins_to_wait(self, name: str, event: facts.TaskWaiting) -> None:
        task = self.model.task(name)
        self._expect(self.model.atoms[name].state == "PENDING" and not task.has_body, "nothing that waits")
        self._expect(event.signal == task.signal, f"the signal {task.signal!r}")
        if task.sleep_s is not None:
            self.model.wait(name)
            return
        self.model.listen(name)
        self._expect((event.until is None) == (task.timeout_s is None), "another time limit")
        self.limits.pop(name, None)
        if event.until is not None:
            self.limits[name] = event.until

    def _received(self, event: facts.SignalReceived, version: int) -> None:
        """What no wait of this name could take is refused when it comes (F4)."""
        value = json.loads(bytes(event.payload))
        wanted = any(task.signal == event.name for task in tasks(self.model.spec.root))
        self._expect(not wanted or type(value) is int, "that to be refused")
        self.model.signals.came(event.name, Sent(version, value))

    def _waited(self, name: str, event: facts.TaskSucceeded | facts.TaskFailed) -> None:
        """A sleep is over, a signal is taken, or none came in time."""
        self._enabled("start", name)
        model, atom = self.model, self.model.atoms[name]
        self._expect((event.try_, event.attempt) == (atom.try_, 0), f"try {atom.try_}, and no attempt")
        if isinstance(event, facts.TaskFailed):
            self._expect(atom.state == "OVERDUE" and not event.again, f"no time that is over: {atom.state}")
            self._expect(event.failure.kind == "timeout", "a timeout")
            model.fail(name)
        elif model.task(name).signal:
            self._expect(atom.state == "LISTENING", f"nobody who listens: {atom.state}")
            sent = model.hear(name)
            self._expect(event.signal == sent.version, f"the signal that came with event {sent.version}")
            self._expect(json.loads(bytes(event.result)) == sent.value, f"what was sent, {sent.value}")
        else:
            self._expect(atom.state == "SLEPT", f"no sleep that is over: {atom.state}")
            atom.state = "SUCCEEDED"

    def _on_time(self, name: str, due: int) -> None:
        """A time limit does not count suspended time, and nothing is over before its time (F4, G2)."""
        self._expect(due <= self.now_us, f"nothing before {due}")
        self._expect(self.limits.get(name, due) == due, f"the time limit {self.limits.get(name)}")

    # -- requests -------------------------------------------------------------------------------

    def _asked(self, event: facts.RequestAccepted | facts.RunSuspended | facts.RunResumed) -> None:
        model = self.model
        match event:
            case facts.RequestAccepted(kind="suspend"):
                self._expect(model.suspension == "none", "no second request to suspend")
                model.suspension = "asked"
            case facts.RequestAccepted(kind="cancel"):
                self._expect(not model.cancelled and not model.held, "no request to cancel")
                self._expect(not event.keep or not model.goes_back, "nothing to be kept")
                model.cancel(keep=event.keep)
            case facts.RequestAccepted(kind="revert"):
                over = ("SUCCEEDED", "FAILED", "CANCELLED")  # cancelled, and what it did was kept
                self._expect(model.status in over and not model.adopted, f"a run that is over: {model.status}")
                model.reopen()
            case facts.RequestAccepted(kind="rerun"):
                from_ = None if event.from_ is None else self.paths[event.from_]
                self._expect(model.may_rerun(from_), "that rerun to be refused")
                model.rerun(from_)
            case facts.RequestAccepted(kind="fork"):
                self._expect(model.status in FINAL and not model.adopted, "no adoption")
                model.adopted = True
            case facts.RunSuspended():
                self._expect(model.suspension == "asked" and model.calm(), "a body that runs, or no request")
                held = {self.paths[path] for path in event.held}
                self._expect(held == model.held, f"to be held at {model.held}")
                model.suspension = "suspended"
                self.suspended_us = self.now_us
            case facts.RunResumed():
                self._expect(model.suspension != "none" and not model.held, "a run that may go on")
                self.goes_on = False
                if model.suspension == "suspended":
                    away_us = self.now_us - self.suspended_us
                    self.limits = {name: until + away_us for name, until in self.limits.items()}
                model.suspension = "none"
            case _:
                pass

    def _backs_off(self, name: str, until: int | None) -> None:
        """A further attempt waits, if its task says so."""
        again = self.model.atoms[name].state in ("AGAIN", "REVERT_AGAIN")
        expected = again and self.model.task(name).backoff_s > 0
        self._expect((until is not None) == expected, f"back-off={expected}")
        if until is not None:
            self.model.wait(name)

    def _interrupted(self, name: str, event: facts.TaskInterrupted) -> None:
        atom = self.model.atoms[name]
        execute = event.phase == "execute"
        self._expect(atom.state == ("RUNNING" if execute else "REVERTING"), f"a body that runs: {atom.state}")
        count = atom.attempt if execute else atom.revert_attempt
        self._expect((event.try_, event.attempt) == (atom.try_, count), f"try {atom.try_}, {count}")
        self.model.interrupt(name, event.phase)

    def _reverted(self, name: str, event: facts.RevertStarted | facts.TaskReverted | facts.RevertFailed) -> None:
        model, atom = self.model, self.model.atoms[name]
        if isinstance(event, facts.RevertStarted):
            self._enabled("revert", name)
            self._expect(model.start_revert(name), "no call: the task has no revert")
            self._key((name, atom.try_, "revert", atom.reverts_failed), event.key)
            self._begins_to_undo(name, event.try_)
        elif isinstance(event, facts.RevertFailed) and atom.state != "REVERTING" and model.poisoned(name, "revert"):
            self._enabled("revert", name)
            self._expect(not event.again, "a poisoned revert")
            model.poison(name, "revert")
        elif isinstance(event, facts.TaskReverted) and event.attempt == 0:
            self._enabled("revert", name)
            self._expect(not model.start_revert(name), "the revert to be called")
        elif model.task(name).child is not None:
            self._expect(atom.state == "REVERTING", "a revert that runs")
            self._child_undone(name, event)
        else:
            self._expect(atom.state == "REVERTING", "a revert that runs")
            model.finish_revert(name, late=self._is_late(name, event))
            ended = "REVERTED" if isinstance(event, facts.TaskReverted) else "REVERT_AGAIN"
            if isinstance(event, facts.RevertFailed) and not event.again:
                ended = "REVERT_FAILED"
            self._expect(atom.state == ended, f"the revert to end {atom.state}")
            self._backs_off(name, getattr(event, "until", None))
        self._expect((event.try_, event.attempt) == (atom.try_, atom.revert_attempt), f"revert {atom.revert_attempt}")

    # -- scopes ---------------------------------------------------------------------------------

    def _scope(
        self, name: str, event: facts.RoundStarted | facts.RetryDecided | facts.ScopeReverting | facts.ScopeReset
    ) -> None:
        model = self.model
        match event:
            case facts.RoundStarted():
                self._enabled("round", name)
                model.start_round(name)
                self._expect(event.round == json.loads(bytes(event.value)) == model.scopes[name].round, "another round")
            case facts.RetryDecided():
                self._enabled("ask", name)
                failed = [self.paths[failure.path] for failure in event.failures]
                self._expect(failed == model.failed(name), f"the failures {model.failed(name)}")
                answer = model.ask(name)
                self._expect(event.decision == answer, f"the answer {answer}")
            case facts.ScopeReverting():
                self._enabled("revert_scope", name)
                model.revert_scope(name)
            case facts.ScopeReset() if name == ROOT:
                self._enabled("reset", name)
                model.start_over()
            case facts.ScopeReset():
                self._enabled("reset", name)
                model.reset(name)
                self._expect((event.until is not None) == (model.flow(name).backoff_s > 0), "another back-off")
                if event.until is not None:
                    model.wait(name)

    # -- checks ---------------------------------------------------------------------------------

    def _key(self, of: tuple[object, ...], key: str) -> None:
        """C5: a key stands for one (task, try, phase, failures in it), and the other way round."""
        self._expect(self.keys.setdefault(of, key) == key, f"the key of {of}")
        self._expect(len(set(self.keys.values())) == len(self.keys), f"a key of its own for {of}")

    def _enabled(self, kind: Kind, name: str) -> None:
        steps = self.model.enabled()
        self._expect(Step(kind, name) in steps, f"one of {[f'{s.kind} {s.name}' for s in steps]}")

    @property
    def path(self) -> str:
        assert self.at is not None
        return self.at.path

    @property
    def version(self) -> int:
        assert self.at is not None
        return self.at.version

    @property
    def now_us(self) -> int:
        assert self.at is not None
        return self.at.time_us

    def _expect(self, holds: bool, expected: str) -> None:
        if not holds:
            assert self.at is not None
            raise Divergence(f"event {self.at.version} {self.at.type} {self.at.path!r}: the model expects {expected}")


def paths_of(spec: Spec) -> dict[str, str]:
    """Path → name for every part; "" is the run."""
    found: dict[str, str] = {"": ROOT}

    def place(part: Any, prefix: str) -> None:
        path = f"{prefix}/{part.name}" if prefix else part.name
        found[path] = part.name
        for child in part.children if isinstance(part, Flow) else ():
            place(child, path)

    place(spec.root, "")
    return found
