"""Measuring by turns: whatever the machine does meanwhile hits all alike, and a ratio is taken within a turn."""

from __future__ import annotations

from collections.abc import Callable
from statistics import median
from typing import Any

from benchmarks import peers
from benchmarks.measuring import Figure, in_fresh_process

Measured = dict[str, Any]
Rounds = dict[str, list[Measured]]
Measure = Callable[..., Measured]


def by_turns(rounds: int, measures: dict[str, Measure]) -> Rounds:
    """Each of them once per round."""
    got: Rounds = {name: [] for name in measures}
    for _ in range(rounds):
        for name, measure in measures.items():
            got[name].append(measure())
    return got


def peer(script: Any, *arguments: object) -> Measured:
    """A measurement in the environment of the peers."""
    return dict(in_fresh_process(script, *arguments, python=peers.python()))


def of(got: Rounds, who: str, what: str) -> list[float]:
    """One quantity of one of them, round by round."""
    return [float(one[what]) for one in got[who]]


def counted(got: list[Measured], what: str) -> list[float]:
    """What only pg_stat_statements knows; raises `LookupError` where the server has it not."""
    found = [float(one[what]) for one in got if one[what] is not None]
    if not found:
        raise LookupError(what)
    return found


def ratio(got: Rounds, who: str, to: str, what: str = "rate", other: str = "rate") -> list[float]:
    """One quantity over another, round by round."""
    return [a / b for a, b in zip(of(got, who, what), of(got, to, other), strict=True)]


def judged(figure: Figure, *, least: float | None = None, most: float | None = None) -> Figure:
    """Whether the median is where it ought to be."""
    found = median(figure.samples)
    if least is not None or most is not None:
        figure.met = (least is None or found >= least) and (most is None or found <= most)
    return figure
