"""One course of chaos: faults one after the other while runs are made, then quiet, then the judgement."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from statistics import median
from time import monotonic

from flowledger.adapters.loading import read
from flowledger.events import facts
from flowledger.events.envelope import Envelope

from .faults import FAULTS
from .ledger import Body
from .load import SIZES, Load
from .oracle import Verdict, judge
from .world import Death, World, world

#: After the last fault all runs must have ended within this time.
SETTLE_S = 180.0
SAY_S = 15.0


@dataclass(frozen=True, kw_only=True)
class Course:
    """What is to happen. ``gap_s``: the longest pause between two faults."""

    seed: int
    cycles: int
    runs: int
    in_flight: int
    faults: Sequence[str]
    flows: Sequence[str]
    width: int | None
    conductors: int
    workers: int
    gap_s: float


@dataclass
class Met:
    """What came of it. ``on_again_s``: from the death of a conductor until each of its runs had another."""

    verdict: Verdict = field(default_factory=Verdict)
    faults: list[str] = field(default_factory=list[str])
    on_again_s: list[float] = field(default_factory=list[float])

    def summary(self) -> str:
        """All of it in one line."""
        said = self.verdict
        again = sorted(self.on_again_s)
        taken = (
            f", taken over after p50 {median(again):.2f} s p99 {again[int(0.99 * (len(again) - 1))]:.2f} s"
            f" of {len(again)}" if again else ""
        )  # fmt: skip
        return (
            f"{len(self.faults)} cycles, {said.runs} runs, {said.attempts} attempts, {said.interrupted} interrupted,"
            f" {said.ignored} late outcomes, {said.parked} parked, {said.claims} claims{taken}:"
            f" lost {len(said.lost)}, doubled {len(said.doubled)}, stuck {len(said.stuck)}, wrong {len(said.wrong)}"
        )


def sum_of(courses: Sequence[Met]) -> Met:
    """All of them as one."""
    whole = Met()
    for met in courses:
        whole.faults += met.faults
        whole.on_again_s += met.on_again_s
        for name, value in vars(met.verdict).items():
            setattr(whole.verdict, name, getattr(whole.verdict, name) + value)
    return whole


def unleash(course: Course, folder: Path, *, say: Callable[[str], None]) -> Met:
    """Run the course in ``folder``, which has its ledger and the processes' log afterwards."""
    met = Met()
    with world(folder, conductors=course.conductors, workers=course.workers, seed=course.seed) as there:
        load = Load(there, flows=list(course.flows), width=course.width)
        try:
            there.fill()
            _harm(course, there, load, met, say)
            _settle(there, load, say)
            _judge(there, load, met)
        finally:
            load.app.close()
    return met


def _harm(course: Course, there: World, load: Load, met: Met, say: Callable[[str], None]) -> None:
    say_at = 0.0
    weights = [FAULTS[name][1] for name in course.faults]
    while len(met.faults) < course.cycles or len(load.orders) < course.runs:
        open_now = load.open()
        if open_now is not None:
            load.submit(course.in_flight - open_now)
        there.wait(there.dice.uniform(0.2 * course.gap_s, course.gap_s))
        if len(met.faults) < course.cycles:
            name = there.dice.choices(course.faults, weights)[0]
            met.faults.append(name)
            FAULTS[name][0](there)
            there.fill()
        if monotonic() >= say_at:
            say_at = monotonic() + SAY_S
            say(f"{len(met.faults)} faults, {len(load.orders)} runs, {open_now} open")


def _settle(there: World, load: Load, say: Callable[[str], None]) -> None:
    """Nothing fails any more: all come to their end, or are stuck."""
    until = monotonic() + SETTLE_S
    while (left := load.open()) != 0 and monotonic() < until:
        there.fill()
        there.wait(0.2)
    say(f"quiet: {left} open")


def _judge(there: World, load: Load, met: Met) -> None:
    begun, ended = (_by_run(said) for said in (there.ledger.begun(), there.ledger.ended()))
    store = load.app.runtime.store
    logs: list[Sequence[Envelope]] = []
    for order in load.orders:
        log = read(store, order.run_id)
        plan = load.app.plan(SIZES[order.factory][0](order.size))
        judge(met.verdict, order.wanted(), plan, log, begun[order.run_id], ended[order.run_id])
        logs.append(log)
    met.on_again_s = on_again(logs, there.deaths, load.pids)


def _by_run(said: dict[Body, int]) -> defaultdict[str, dict[Body, int]]:
    found: defaultdict[str, dict[Body, int]] = defaultdict(dict)
    for body, times in said.items():
        found[body.run_id][body] = times
    return found


def on_again(logs: Sequence[Sequence[Envelope]], deaths: Sequence[Death], pids: Mapping[str, int]) -> list[float]:
    """Seconds from each death until each run that the dead process had was claimed by another. ``pids``: by owner."""
    found: list[float] = []
    dead = {death.pid: death.at_us for death in deaths}
    for log in logs:
        claims = [
            (envelope.time_us, envelope.event.owner) for envelope in log if isinstance(envelope.event, facts.RunClaimed)
        ]
        for (since_us, owner), (until_us, _) in pairwise(claims):
            died_us = dead.get(pids.get(owner, 0))
            if died_us is not None and since_us < died_us < until_us:
                found.append((until_us - died_us) / 1e6)
    return found
