"""A reference model of a run, from docs/semantics.md alone (C3, C5, C6, C9, D, E1, F4, G), not from the engine.

It works on the tree of a `Spec`, knows no plan, no log and no time, and asks the tree again at every step. `enabled`
says which steps are allowed now; the steps are the facts a run may record. Two drivers use it:

- `predict` takes the first enabled step in plan order each time: what the inline executor must do, exactly (D8);
- `follow.follow` takes the steps a log recorded: each must be enabled, and none may be left at the end.

What depends on the schedule, and is therefore left to the log: which siblings had started, and which polls and further
attempts had been made, when a scope began to drain; what was interrupted, and when somebody asked for something.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

from tests.properties.signals import Sent, Signals
from tests.properties.spec import INPUTS, Ends, Flow, Part, Spec, Task, tasks, value_of, walk

ROOT = ""  # the run's own scope
MOST_INTERRUPTIONS = 3  # in one try (C6, D5)

Kind = Literal["round", "start", "ask", "revert_scope", "revert", "reset", "end"]
AtomState = Literal[
    "PENDING", "RUNNING", "POLLING", "AGAIN", "SUCCEEDED", "FAILED",
    "REVERTING", "REVERT_AGAIN", "REVERTED", "REVERT_FAILED", "INTERRUPTED",
    "BACKOFF", "REVERT_BACKOFF", "SLEEPING", "SLEPT", "LISTENING", "OVERDUE", "DRAINED",
]  # fmt: skip
ScopeState = Literal["PENDING", "RUNNING", "FAILING", "DECIDED", "REVERTING", "GAVE_UP", "BACKOFF", "AGAIN"]


FINAL = ("SUCCEEDED", "FAILED", "REVERTED", "CANCELLED")
MAY_START = ("PENDING", "AGAIN", "INTERRUPTED", "SLEPT", "OVERDUE")
UNTOUCHED = ("PENDING", "REVERTED")  # there is nothing to undo, nor after a sleep or a wait
NOT_TO_REVERT = (*UNTOUCHED, "RUNNING", "REVERTING", "REVERT_BACKOFF", "REVERT_FAILED")


class Step(NamedTuple):
    """One enabled step: what, and for which part (`ROOT`: the run)."""

    kind: Kind
    name: str


class Said(NamedTuple):
    """A person's word on an attempt that was held (G3)."""

    resolution: Literal["rerun", "failed", "succeeded"]
    value: Any = None


class Call(NamedTuple):
    """A body was called: ``arguments`` are what it was given."""

    name: str
    phase: Literal["execute", "revert"]
    arguments: tuple[Any, ...]


@dataclass
class Atom:
    """Where a task stands. ``attempts`` and ``reverts`` count over the whole run, ``attempt`` within the try."""

    state: AtomState = "PENDING"
    try_: int = 1
    attempt: int = 0
    failures: int = 0  # in this try
    known: int = 0  # of these failures, those of which it is known what the body did (C5)
    late: bool = False  # the last attempt was over its time: the next one is the same call
    failed: bool = False  # for good, in this round
    interruptions: int = 0  # in this try
    attempts: int = 0  # one that is made again after an interruption is the same
    revert_attempt: int = 0
    revert_failures: int = 0  # in this try
    revert_interruptions: int = 0  # in this try
    reverts_failed: int = 0  # that is known, in this try, also when somebody asked once more (C5)
    revert_void: bool = False  # the last one was interrupted
    reverts: int = 0  # one that is made again after an interruption is the same
    result: Any = None
    arguments: tuple[Any, ...] = ()
    lent: bool = False  # taken over from another run, which is the one to undo it (G6)


@dataclass
class Scope:
    """Where a retry scope, or the run, stands."""

    state: ScopeState = "PENDING"
    round: int = 0
    value: Any = 0  # of the retry, in this round


@dataclass
class Model:
    """The state of one run, and the rules."""

    spec: Spec
    status: str = "RUNNING"
    atoms: dict[str, Atom] = field(default_factory=dict[str, Atom])
    scopes: dict[str, Scope] = field(default_factory=dict[str, Scope])
    calls: list[Call] = field(default_factory=list[Call])
    broken: bool = False  # a revert has failed for good (D5)
    suspension: Literal["none", "asked", "suspended"] = "none"
    unwanted: bool = False  # it was over, and is undone on request (G5)
    cancelled: Literal["", "revert", "keep"] = ""  # somebody has given the run up (G4)
    signals: Signals = field(default_factory=Signals)
    held: set[str] = field(default_factory=set[str])  # tasks of which a person must say what became of them (G3)
    again: set[str] | None = None  # parts that a rerun resets, until it goes forward (G5)
    undo: set[str] = field(default_factory=set[str])  # tasks that it undoes first
    said: dict[str, Said] = field(default_factory=dict[str, "Said"])  # what one has said
    inputs: dict[str, Any] = field(default_factory=lambda: dict.fromkeys(INPUTS, 0))
    adopted: bool = False  # a fork answers for what it has done (G6)

    def __post_init__(self) -> None:
        self.parts: dict[str, Part] = {}
        self.parents: dict[str, Flow | None] = {self.spec.root.name: None}
        self.order: dict[str, int] = {ROOT: 0}
        self.scopes[ROOT] = Scope("RUNNING", 1)
        for part in walk(self.spec.root):
            self.parts[part.name] = part
            self.order[part.name] = len(self.order)
            if isinstance(part, Task):
                self.atoms[part.name] = Atom()
                continue
            self.parents.update({child.name: part for child in part.children})
            if part.retry is not None:
                self.scopes[part.name] = Scope()

        self.before = {name: self._before(part) for name, part in self.parts.items()}
        self.after = {name: self._after(part) for name, part in self.parts.items()}

    # -- the tree -------------------------------------------------------------------------------

    def _before(self, part: Part) -> list[Part]:
        """The siblings that must be done before it, transitively (E1: only siblings are joined)."""
        parent = self.parents[part.name]
        if parent is None or parent.pattern == "unordered":
            return []
        index = [child.name for child in parent.children].index(part.name)
        if parent.pattern == "linear":
            return list(parent.children[:index])
        found, todo = set[int](), [index]
        while todo:
            after = todo.pop()
            new = {b for b, a in parent.links if a == after} - found
            found |= new
            todo += new
        return [parent.children[i] for i in sorted(found)]

    def _after(self, part: Part) -> list[Part]:
        """The siblings that wait for it, transitively."""
        parent = self.parents[part.name]
        siblings = () if parent is None else parent.children
        return [p for p in siblings if part.name in {b.name for b in self.before[p.name]}]

    def scopes_around(self, part: Part) -> Iterator[str]:
        """The retry scopes around a part, nearest first, the run last. A flow with a retry is not around itself."""
        parent = self.parents[part.name]
        while parent is not None:
            if parent.retry is not None:
                yield parent.name
            parent = self.parents[parent.name]
        yield ROOT

    def inside(self, scope: str) -> Part:
        """All that belongs to a scope."""
        return self.spec.root if scope == ROOT else self.parts[scope]

    # -- what is true now -----------------------------------------------------------------------

    def done(self, part: Part) -> bool:
        if isinstance(part, Task):
            return self.atoms[part.name].state == "SUCCEEDED"
        running = part.retry is None or self.scopes[part.name].state == "RUNNING"
        return running and all(self.done(child) for child in part.children)

    def may_start(self, part: Part) -> bool:
        """What precedes it is done, on every level, and no scope around it fails (D1)."""
        if self.broken or not all(self.done(p) for p in self.before[part.name]):
            return False
        parent = self.parents[part.name]
        if parent is None:
            return self.scopes[ROOT].state == "RUNNING"
        if parent.retry is not None and self.scopes[parent.name].state != "RUNNING":
            return False
        return self.may_start(parent)

    def busy(self, part: Part) -> bool:
        """A body of it runs, or a revert begun inside it is not complete (D1: what is under way finishes)."""
        if any(self.atoms[t.name].state in ("RUNNING", "REVERTING", "REVERT_BACKOFF") for t in tasks(part)):
            return True
        reverting = [p for p in walk(part) if p.name in self.scopes and self.scopes[p.name].state == "REVERTING"]
        return any(self.may_revert(t) for scope in reverting for t in tasks(scope))

    def standing(self, part: Part) -> bool:
        """Something in it has been started in this try and is not undone."""
        return any(self.stands(t) for t in tasks(part))

    def stands(self, task: Task) -> bool:
        """It has been started in this try and is not undone, and it is this run that must undo it."""
        atom = self.atoms[task.name]
        return atom.state not in UNTOUCHED and task.has_body and not atom.lent

    def failed(self, scope: str) -> list[str]:
        """The tasks that have failed for good in the scope's present round, in plan order (D2)."""
        return [t.name for t in tasks(self.inside(scope)) if self.atoms[t.name].failed]

    def failing_around(self, part: Part) -> bool:
        return any(self.scopes[name].state != "RUNNING" for name in self.scopes_around(part))

    def may_revert(self, task: Task) -> bool:
        """Its scope is being reverted and all that came after it there is undone (D4)."""
        if self.atoms[task.name].state in NOT_TO_REVERT or not self.stands(task):
            return False
        regions = [name for name in self.scopes_around(task) if self.scopes[name].state == "REVERTING"]
        if not regions or (self.again is not None and task.name not in self.undo):
            return False
        part: Part | None = task
        while part is not None and part.name != regions[-1]:
            if any(self.standing(p) for p in self.after[part.name]):
                return False
            part = self.parents[part.name]
        return True

    # -- the steps ------------------------------------------------------------------------------

    def enabled(self) -> list[Step]:
        """All that may happen next, in plan order; what bodies now running will do is not among it."""
        if self.status != "RUNNING" or self.suspension == "suspended":
            return []
        if self.suspension == "asked":  # nothing more is begun; a run that has nothing left to do may end
            return [step for step in self._steps() if step.kind == "end"]
        return self._steps()

    def _steps(self) -> list[Step]:
        steps = [Step("start", n) for n, a in self.atoms.items() if self._is_due(n, a) and self._ready(n)]
        steps += [Step("revert", t.name) for t in tasks(self.spec.root) if self.may_revert(t)]
        for name, scope in self.scopes.items():
            steps += self._root_steps(scope, steps) if name == ROOT else self._scope_steps(name, scope)
        return sorted(steps, key=lambda step: self.order[step.name])

    def _is_due(self, name: str, atom: Atom) -> bool:
        return atom.state in MAY_START or (atom.state == "LISTENING" and name in self.signals.offered)

    def _ready(self, name: str) -> bool:
        return self.may_start(self.parts[name])

    def _scope_steps(self, name: str, scope: Scope) -> list[Step]:
        part = self.parts[name]
        if scope.state == "PENDING":
            return [Step("round", name)] if self.may_start(part) else []
        if self.busy(part) or self.failing_around(part) or self.broken:
            return []
        if scope.state == "FAILING":
            return [Step("ask", name)]
        if scope.state == "REVERTING":
            return [] if self.standing(part) else [Step("reset", name)]
        return [Step("revert_scope", name)] if scope.state == "DECIDED" else []

    def _root_steps(self, scope: Scope, others: list[Step]) -> list[Step]:
        root = self.spec.root
        if self.busy(root):
            return []
        if self.broken:
            return [] if any(step.kind == "revert" for step in others) else [Step("end", ROOT)]
        if scope.state == "RUNNING":
            return [Step("end", ROOT)] if self.done(root) else []
        if scope.state == "AGAIN":
            return [Step("revert_scope" if self.undo else "reset", ROOT)]
        if self.again is not None:
            return [] if any(self.standing(self.parts[name]) for name in self.undo) else [Step("reset", ROOT)]
        if scope.state == "FAILING":
            return [Step("end" if self.keeps else "revert_scope", ROOT)]
        return [] if self.standing(root) else [Step("end", ROOT)]

    # -- taking them ----------------------------------------------------------------------------

    def take(self, step: Step) -> None:
        """Take a step; the body it may call is then running."""
        match step:
            case Step("end", _):
                self.end()
            case Step("round", name):
                self.start_round(name)
            case Step("start", name):
                self.start(name)
            case Step("ask", name):
                self.ask(name)
            case Step("revert_scope", name):
                self.revert_scope(name)
            case Step("revert", name):
                self.start_revert(name)
            case Step(_, name):
                self.reset(name) if name else self.start_over()

    def start_round(self, name: str) -> None:
        scope = self.scopes[name]
        scope.state, scope.round = "RUNNING", scope.round + 1
        scope.value = scope.round

    def start(self, name: str) -> None:
        task, atom = self.task(name), self.atoms[name]
        again = atom.state == "INTERRUPTED" or atom.late  # with the same key: to the world it is the same call (C5)
        self.said.pop(name, None)
        atom.late = False
        atom.state, atom.attempt, atom.attempts = "RUNNING", atom.attempt + 1, atom.attempts + (not again)
        atom.arguments = tuple(self.value(taken) for taken in task.takes)
        if not again:
            self.calls.append(Call(name, "execute", atom.arguments))

    def finish(self, name: str, *, late: bool = False) -> None:
        """The running body ends as its script says (no more polls), or its time is over, and nothing of it is there."""
        task, atom = self.task(name), self.atoms[name]
        ends = "raise" if late else self.ends(name)
        atom.late, atom.known = late, atom.known + (not late)
        if ends == "ok":
            atom.state, atom.result = "SUCCEEDED", value_of(name, atom.attempts - 1, atom.arguments)
            return
        atom.failures += 1
        if ends == "raise" and atom.failures < task.attempts:
            atom.state = "AGAIN"
        else:
            self.fail(name)

    def finish_child(self, name: str, end: str, value: Any) -> None:
        """The run that is this task has ended; what it did is known, and it is not begun again in this try (G7)."""
        atom = self.atoms[name]
        if end == "SUCCEEDED":
            atom.state, atom.result = "SUCCEEDED", value
            return
        atom.failures, atom.known = atom.failures + 1, atom.known + 1
        self.fail(name)

    def ends(self, name: str) -> Ends:
        """How the body that runs will end."""
        return self.task(name).attempt(self.atoms[name].attempts - 1).ends

    def fail(self, name: str) -> None:
        """The task has failed for good: its nearest retry scope fails (D1)."""
        self.atoms[name].state, self.atoms[name].failed = "FAILED", True
        self._failing(next(self.scopes_around(self.parts[name])))

    def interrupt(self, name: str, phase: Literal["execute", "revert"]) -> None:
        """The process in which its body ran is gone: nobody knows how far it came, and it is called again (C3, D5)."""
        atom = self.atoms[name]
        if phase == "execute":
            atom.state, atom.interruptions = "INTERRUPTED", atom.interruptions + 1
        else:
            atom.state, atom.revert_interruptions, atom.revert_void = (
                "REVERT_AGAIN",
                atom.revert_interruptions + 1,
                True,
            )

    def poisoned(self, name: str, phase: Literal["execute", "revert"]) -> bool:
        """It has lost three processes in this try: it is not called again, it has failed (C6, D5). What a child run has
        done is never unknown."""
        atom = self.atoms[name]
        if self.task(name).child is not None:
            return False
        if phase == "execute":
            return atom.state == "INTERRUPTED" and atom.interruptions >= MOST_INTERRUPTIONS
        return atom.revert_interruptions >= MOST_INTERRUPTIONS

    # -- what nobody knows (C6, G3) -------------------------------------------------------------

    def may_be_called_again(self, name: str) -> bool:
        """Whether an attempt that was lost, or left to a person, is made once more."""
        rerun = name in self.said or self.task(name).on_interrupt == "rerun"
        return self.given_up_as(name) == "" and rerun and name not in self.held

    def given_up_as(self, name: str) -> str:
        """As what kind of failure it is given up instead."""
        said = self.said.get(name)
        if said is not None and said.resolution != "rerun":
            return "resolved" if said.resolution == "failed" else "no failure"
        if self.poisoned(name, "execute"):
            return "poison"
        return "interrupted" if said is None and self.task(name).on_interrupt == "fail" else ""

    def hold(self, name: str) -> None:
        """A person must say what became of it; the run is suspended as soon as nothing runs."""
        self.atoms[name].state = "INTERRUPTED"
        self.held.add(name)
        if self.suspension == "none":
            self.suspension = "asked"

    def resolve(self, name: str, said: Said) -> None:
        """One has: it goes on with that when the run does, or is undone as what it was said to be."""
        self.held.remove(name)
        self.said[name] = said
        if said.resolution == "succeeded":
            self.atoms[name].result = said.value

    def succeed_as_said(self, name: str) -> None:
        self.atoms[name].state = "SUCCEEDED"
        del self.said[name]

    def give_up(self, name: str) -> None:
        self.said.pop(name, None)
        self.poison(name, "execute")

    def poison(self, name: str, phase: Literal["execute", "revert"]) -> None:
        """Fail it instead of calling it."""
        if phase == "execute":
            self.atoms[name].failures += 1
            self.fail(name)
        else:
            self.atoms[name].state = "REVERT_FAILED"
            self._break()

    def cancel(self, *, keep: bool) -> None:
        """Somebody gives the run up: the root fails, and is not asked; what is being undone goes on (G4)."""
        self.cancelled = "keep" if keep else "revert"
        if self.again is not None:  # what a rerun was to undo becomes all that stands
            self.again, self.undo = None, set()
            self._revive(self.atoms)
            if self.scopes[ROOT].state == "AGAIN":
                self.scopes[ROOT].state = "FAILING"
        self._failing(ROOT)

    @property
    def goes_back(self) -> bool:
        """Whether the run itself is being undone, or is about to be (G4)."""
        return self.unwanted or self.scopes[ROOT].state == "REVERTING"

    @property
    def keeps(self) -> bool:
        """What a failure of the root leaves standing (D3, G4)."""
        if self.unwanted:
            return False
        return self.cancelled == "keep" if self.cancelled else self.spec.on_failure == "stop"

    def reopen(self) -> None:
        """Somebody wants a run undone that is over (G5)."""
        self.status, self.broken, self.cancelled, self.unwanted = "RUNNING", False, "", True
        self.suspension = "none"  # an end that came before it was suspended
        self.scopes[ROOT].state = "FAILING"
        self._revive(self.atoms)

    # -- a rerun (G5) ---------------------------------------------------------------------------

    def rerun(self, from_: str | None) -> None:
        """Somebody wants a run that is over to run again: what has not succeeded, and what is named."""
        self.again, self.undo, _ = self.chosen(from_)
        self.status, self.broken, self.cancelled, self.unwanted, self.suspension = "RUNNING", False, "", False, "none"
        self.scopes[ROOT].state = "AGAIN"
        self._revive(self.undo)

    def chosen(self, from_: str | None) -> tuple[set[str], set[str], set[str]]:
        """What is reset, what is undone before, and what has succeeded and would have to follow what has not."""
        named = set[str]() if from_ is None else self.reached([from_])
        again = named | self.reached([name for name, atom in self.atoms.items() if atom.state != "SUCCEEDED"])
        undo = {name for name in named & {*self.atoms} if self.stands(self.task(name))}
        in_the_way = {name for name in again - named if name in self.atoms and self.atoms[name].state == "SUCCEEDED"}
        return again, undo, in_the_way

    def may_rerun(self, from_: str | None) -> bool:
        again, _, in_the_way = self.chosen(from_)
        fits = self.status in FINAL and not self.adopted and not in_the_way
        return fits and any(name in self.atoms for name in again)

    def reached(self, seeds: list[str]) -> set[str]:
        """These parts, what is in them, all that comes after, and what takes the value of a retry begun afresh."""
        return self.reached_at_all(seeds)[0]

    def reached_at_all(self, seeds: list[str]) -> tuple[set[str], set[str]]:
        """The same, and the flows of which something is reached, but not all."""
        whole, partly, todo = set[str](), set[str](), [(name, True) for name in seeds]
        while todo:
            name, all_of_it = todo.pop()
            if name in whole or (name in partly and not all_of_it):
                continue
            (whole if all_of_it else partly).add(name)
            part, parent = self.parts[name], self.parents[name]
            if isinstance(part, Flow):
                todo += [(child.name, True) for child in part.children if all_of_it]
                todo += [(task.name, True) for task in tasks(self.spec.root) if f"retry:{name}" in task.takes]
            todo += [(after.name, True) for after in self.after[name]]
            todo += [] if parent is None else [(parent.name, False)]
        return whole, partly - whole

    def start_over(self) -> None:
        """What is kept is done; all else is as at the start, and so is each retry with something in it that runs."""
        again = self.again or set()
        for name, scope in list(self.scopes.items()):
            if name != ROOT and any(part.name in again for part in walk(self.parts[name])):
                scope.state, scope.round = "PENDING", 0
        for name in again & {*self.atoms}:
            self._fresh(name)
        self.scopes[ROOT].state = "RUNNING"
        self.again, self.undo = None, set()

    def _revive(self, names: Iterable[str]) -> None:
        """Reverts that had failed for good may be tried again, as often as at first."""
        for name in names:
            atom = self.atoms[name]
            if atom.state == "REVERT_FAILED":
                atom.state, atom.revert_attempt, atom.revert_failures = "REVERT_AGAIN", 0, 0
                atom.revert_interruptions = 0  # if nobody knows what the last one did, the next is the same call (C5)

    def calm(self) -> bool:
        """No body runs, as far as the log says (G2: suspend waits for running bodies, not for waiting ones)."""
        return not any(atom.state in ("RUNNING", "REVERTING") for atom in self.atoms.values())

    def ask(self, name: str) -> str:
        """The scope's ``Times(n)`` answers (D2, D6)."""
        scope, flow = self.scopes[name], self.parts[name]
        assert isinstance(flow, Flow)
        assert flow.retry is not None
        if scope.round < flow.retry:
            scope.state = "DECIDED"
            return "RETRY"
        scope.state = "GAVE_UP"
        self._failing(ROOT if flow.revert_all else next(self.scopes_around(flow)))
        return "REVERT_ALL" if flow.revert_all else "REVERT"

    def _failing(self, name: str) -> None:
        if self.scopes[name].state in ("RUNNING", "PENDING"):
            self.scopes[name].state = "FAILING"
            self._drain(self.inside(name))

    def revert_scope(self, name: str) -> None:
        self.scopes[name].state = "REVERTING"

    def start_revert(self, name: str) -> bool:
        """Begin to undo a task; False where it has no revert, and is undone at once."""
        task, atom = self.task(name), self.atoms[name]
        if task.revert is None or task.read_only:
            atom.state = "REVERTED"
            return False
        again, atom.revert_void = atom.revert_void, False
        atom.state, atom.revert_attempt = "REVERTING", atom.revert_attempt + 1
        if not again:
            atom.reverts += 1
            self.calls.append(Call(name, "revert", (*atom.arguments, atom.result)))
        return True

    def finish_revert(self, name: str, *, late: bool = False) -> None:
        """The running revert ends as its script says, or its time is over (D5)."""
        task, atom = self.task(name), self.atoms[name]
        if not late and not task.revert_raises(atom.reverts - 1):
            atom.state = "REVERTED"
            return
        atom.reverts_failed, atom.revert_void = atom.reverts_failed + (not late), late
        if atom.revert_failures + 1 < task.revert_attempts:
            atom.state, atom.revert_failures = "REVERT_AGAIN", atom.revert_failures + 1
        else:
            atom.state = "REVERT_FAILED"
            self._break()

    def finish_undoing(self, name: str, *, undone: bool) -> None:
        """The run that is this task is undone, or cannot be: then a person must look at it first (G7)."""
        atom = self.atoms[name]
        if undone:
            atom.state = "REVERTED"
            return
        atom.reverts_failed, atom.revert_failures = atom.reverts_failed + 1, atom.revert_failures + 1
        atom.state, atom.revert_void = "REVERT_FAILED", False
        self._break()

    def _break(self) -> None:
        """A revert has failed for good: nothing more is begun, wherever (D5)."""
        self.broken = True
        self._drain(self.spec.root)

    # -- waiting --------------------------------------------------------------------------------

    def listen(self, name: str) -> None:
        """A wait for a signal begins; it may be offered one at once (F4)."""
        self.atoms[name].state = "LISTENING"
        self.signals.listen(name, self.task(name).signal)

    @property
    def listened_for(self) -> Iterator[str]:
        """The signals for which somebody waits who was not offered one."""
        return (signal for signal, waiting in self.signals.waiting.items() if waiting)

    def hear(self, name: str) -> Sent:
        """It takes what it was offered; a signal is taken once, whatever becomes of the round."""
        atom, sent = self.atoms[name], self.signals.take(name)
        atom.state, atom.result = "SUCCEEDED", sent.value
        return sent

    def _drain(self, part: Part) -> None:
        """Who waits in a scope that fails does so no more (D1)."""
        ended = [task for task in tasks(part) if self.atoms[task.name].state in ("LISTENING", "OVERDUE", "SLEEPING")]
        for task in ended:
            self.atoms[task.name].state = "DRAINED"
        self.signals.leave({task.name: task.signal for task in ended if task.signal})

    def wait(self, name: str) -> None:
        """What comes next, a further attempt or another round, waits for its time; a sleep begins."""
        if name in self.scopes:
            self.scopes[name].state = "BACKOFF"
        else:
            atom = self.atoms[name]
            atom.state = {"PENDING": "SLEEPING", "AGAIN": "BACKOFF", "REVERT_AGAIN": "REVERT_BACKOFF"}[atom.state]  # type: ignore[assignment]

    def wake(self, name: str) -> bool:
        """Its time has come; False if it did not wait."""
        if name in self.scopes:
            waited = self.scopes[name].state == "BACKOFF"
            self.scopes[name].state = "PENDING" if waited else self.scopes[name].state
            return waited
        atom = self.atoms[name]
        woken = {"SLEEPING": "SLEPT", "BACKOFF": "AGAIN", "REVERT_BACKOFF": "REVERT_AGAIN"}.get(atom.state)
        if atom.state == "LISTENING":  # what came in time is taken
            woken = "LISTENING" if name in self.signals.offered else "OVERDUE"
            if woken == "OVERDUE":
                self.signals.leave({name: self.task(name).signal})
        atom.state = woken or atom.state  # type: ignore[assignment]
        return woken is not None

    def reset(self, name: str) -> None:
        """What ran in the scope is as if it never had, in its next try; inner retries start afresh (D6)."""
        self.scopes[name].state = "PENDING"
        for part in walk(self.parts[name]):
            if isinstance(part, Task):
                self._fresh(part.name)
            elif part.retry is not None and part.name != name:
                self.scopes[part.name] = Scope()

    def _fresh(self, name: str) -> None:
        atom = self.atoms[name]
        next_try = atom.try_ + (atom.state != "PENDING")
        self.atoms[name] = Atom(try_=next_try, attempts=atom.attempts, reverts=atom.reverts)
        self.said.pop(name, None)

    def end(self) -> None:
        self.again, self.undo = None, set()
        for scope in self.scopes.values():  # a revert that was not completed is over, too (D5)
            scope.state = "GAVE_UP" if scope.state == "REVERTING" and scope is not self.scopes[ROOT] else scope.state
        self.held.clear()  # nobody has to say anything of a run that is over
        if self.broken:
            self.status = "FAILED"
        elif self.cancelled:
            self.status = "CANCELLED"
        elif self.scopes[ROOT].state == "FAILING" and self.keeps:
            self.status = "FAILED"
        else:
            self.status = "SUCCEEDED" if self.scopes[ROOT].state == "RUNNING" else "REVERTED"

    # -- values ---------------------------------------------------------------------------------

    def value(self, name: str) -> Any:
        """The result of a part, or the value of a retry's round."""
        if name.startswith("retry:"):
            return self.scopes[name.removeprefix("retry:")].value
        if name in INPUTS:
            return self.inputs[name]
        part = self.parts[name]
        if isinstance(part, Task):
            return self.atoms[name].result
        return [self.value(child.name) for child in part.children] if part.pattern == "unordered" else None

    def sleeps(self, name: str) -> bool:
        return self.task(name).sleep_s is not None

    def flow(self, name: str) -> Flow:
        flow = self.parts[name]
        assert isinstance(flow, Flow)
        return flow

    def task(self, name: str) -> Task:
        task = self.parts[name]
        assert isinstance(task, Task)
        return task


def predict(spec: Spec) -> Model:
    """The run of a spec that does one thing at a time: what the inline executor must do, exactly.

    Always the first enabled step in plan order; if it calls a body, that body ends before anything else is done.
    """
    model = Model(spec)
    while model.status == "RUNNING":
        step = model.enabled()[0]
        model.take(step)
        if step.kind == "start":
            model.finish(step.name)
        elif model.atoms.get(step.name, Atom()).state == "REVERTING":
            model.finish_revert(step.name)
    return model
