"""The nodes of a run view: what has become of each atom, each flow, and each failed round of a retry."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Final, Literal

from flowledger.core.states import AtomState
from flowledger.events.facts import Decision
from flowledger.events.failure import Failure

from .outline import Place

#: How much of a result a view keeps, in bytes of JSON; longer ones are left to who reads the events.
RESULT_KEPT_BYTES: Final = 2000

ScopePhase = Literal["", "reverting", "waiting", "gave up"]


def one_line(failure: Failure) -> str:
    """A failure in one line: the exception's own name and the first line of its message."""
    name = failure.type.rpartition(".")[2]
    first = failure.message.strip().partition("\n")[0]
    return f"{name}: {first}" if first else name


def losses(atom: AtomView) -> str:
    """How often it has lost the process that made it, of how many times that park it (C6); "" where it matters not."""
    counts = atom.lost and atom.state in ("INTERRUPTED", "RUNNING", "WAITING", "REVERTING")
    return f"lost {atom.lost} of {atom.place.losses} times" if counts else ""


@dataclass(slots=True)
class AtomView:
    """One atom. Times are microseconds since the epoch; ``started_us`` is the first start in this try.

    ``attempt`` counts the starts in this try, ``attempts`` all of them; ``result`` is JSON where it is short.
    ``revert_attempt`` counts the revert's starts; ``interruptions`` are all there were, ``lost`` those of this try,
    or of its revert, which is what `Place.losses` bounds; ``failure`` is the last one of this try. ``queue`` is where
    workers were asked for the attempt under way, at ``asked_us``; ``worker`` is who made the last one, where that was a
    worker.
    """

    place: Place
    state: AtomState = "PENDING"
    try_: int = 1
    attempt: int = 0
    attempts: int = 0
    polls: int = 0
    message: str = ""
    started_us: int | None = None
    ended_us: int | None = None
    until_us: int | None = None
    revert_attempt: int = 0
    interruptions: int = 0
    lost: int = 0
    failure: Failure | None = None
    failed_attempts: list[Failure] = field(default_factory=list[Failure])
    result: bytes | None = None
    inherited: bool = False  # its result is from the run this one is a fork of
    queue: str = ""
    asked_us: int = 0
    worker: str = ""
    held: bool = False  # a person has to say what became of it (G3); ``message`` says why

    @property
    def path(self) -> str:
        """Where the atom stands in the plan."""
        return self.place.path

    @property
    def name(self) -> str:
        """The last part of the path."""
        return self.place.name

    @property
    def failed(self) -> str:
        """The last failure of this try in one line; "" if there is none."""
        return one_line(self.failure) if self.failure else ""

    def duration_us(self, now_us: int | None = None) -> int | None:
        """From the first start in this try to the outcome, or to ``now_us`` while there is none."""
        end = self.ended_us if self.ended_us is not None else now_us
        return None if self.started_us is None or end is None else max(0, end - self.started_us)

    @property
    def is_done(self) -> bool:
        """Whether what comes after it may go on."""
        return self.state in ("SUCCEEDED", "SKIPPED")

    def reset(self) -> None:
        """Forget this try: a round of its scope is over."""
        if self.attempt or self.failure:
            self.try_ += 1
        self.attempt = self.polls = self.revert_attempt = self.lost = 0
        self.started_us = self.ended_us = self.until_us = None
        self.failure = self.result = None
        self.queue = self.worker = ""
        self.inherited = self.held = False
        self.failed_attempts = []
        self.message = ""


@dataclass(frozen=True, slots=True)
class FailedRound:
    """A round of a retry that ended badly: what the retry answered, and why it was asked."""

    round: int
    decision: Decision
    failures: tuple[Failure, ...]

    @property
    def reason(self) -> str:
        """The first failure in one line, and how many more there are."""
        return self._first([one_line(failure) for failure in self.failures])

    @property
    def brief(self) -> str:
        """The reason without the exception's name, where its message says enough."""
        return self._first([failure.message.strip().partition("\n")[0] or failure.type for failure in self.failures])

    def _first(self, reasons: list[str]) -> str:
        first, *more = reasons or [""]
        return f"{first} (and {len(more)} more)" if more else first


@dataclass(slots=True)
class FlowView:
    """One flow; ``atoms`` counts the states of all atoms in it, at any depth. ``round`` is 0 before the first."""

    place: Place
    children: list[str] = field(default_factory=list[str])
    atoms: Counter[str] = field(default_factory=Counter[str])
    round: int = 0
    phase: ScopePhase = ""
    until_us: int | None = None
    failed_rounds: list[FailedRound] = field(default_factory=list[FailedRound])

    @property
    def path(self) -> str:
        """Where the flow stands in the plan; "" is the run itself."""
        return self.place.path

    @property
    def name(self) -> str:
        """The last part of the path."""
        return self.place.name

    @property
    def total(self) -> int:
        """How many atoms are in it."""
        return self.atoms.total()

    @property
    def done(self) -> int:
        """How many of them are done: succeeded (and still standing) or skipped."""
        return self.atoms["SUCCEEDED"] + self.atoms["SKIPPED"]

    @property
    def is_done(self) -> bool:
        """Whether what comes after it may go on."""
        return self.done == self.total

    @property
    def state(self) -> AtomState:
        """What to show for the flow as a whole: the most telling state of its atoms."""
        if self.phase == "reverting" and not self.atoms["REVERT_FAILED"]:
            return "REVERTING"
        for state in _TELLING:
            if self.atoms[state]:
                return state
        if self.phase == "waiting":
            return "WAITING"
        if self.total and self.atoms["SKIPPED"] == self.total:
            return "SKIPPED"
        if self.total and self.done == self.total:
            return "SUCCEEDED"
        if self.atoms["REVERTED"]:
            return "REVERTED"
        return "RUNNING" if self.atoms["SUCCEEDED"] else "PENDING"

    def reset(self) -> None:
        """As it was before its first round (a scope further out was reset)."""
        self.round = 0
        self.phase = ""
        self.until_us = None
        self.failed_rounds = []


_TELLING: Final[tuple[AtomState, ...]] = (
    "REVERT_FAILED", "REVERTING", "FAILED", "RUNNING", "INTERRUPTED", "WAITING",
)  # fmt: skip


@dataclass(slots=True)
class Resumption:
    """A later owner took the run up: at ``version``, with ``kept`` results, after the ``interrupted`` paths."""

    version: int
    kept: int
    interrupted: list[str] = field(default_factory=list[str])
