"""The courses that have a name: one per row of the reliability bar, all faults at once, and the joins."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from .chaos import Course
from .faults import possible
from .load import SIZES

__all__ = ["ROWS", "Row"]


@dataclass(frozen=True, kw_only=True)
class Row:
    """What a course of this name is made of. ``short`` and ``long``: how many faults."""

    faults: Sequence[str]
    short: int
    long: int
    flows: Sequence[str] = tuple(SIZES)
    width: int | None = None
    runs: tuple[int, int] = (0, 0)
    conductors: int = 3
    workers: int = 3
    in_flight: int = 60
    gap_s: float = 1.0

    def course(self, seed: int, *, long: bool = False) -> Course:
        """What is to happen."""
        return Course(
            seed=seed, faults=self.faults, cycles=self.long if long else self.short, flows=self.flows, width=self.width,
            runs=self.runs[long], conductors=self.conductors, workers=self.workers, in_flight=self.in_flight,
            gap_s=self.gap_s,
        )  # fmt: skip


ROWS: dict[str, Row] = {
    "all": Row(faults=possible(), short=40, long=1000),
    "R4": Row(faults=["kill-conductor"], short=30, long=1000, conductors=4, gap_s=0.5),
    "takeover": Row(faults=["kill-conductor"], short=5, long=60, gap_s=8.0),
    "R5": Row(faults=["kill-worker"], short=30, long=1000, workers=4, gap_s=0.5),
    "R6": Row(faults=["kill-backend", "kill-postmaster"], short=13, long=300),
    "R7": Row(faults=["kill-broker"], short=2, long=40),
    "R8": Row(faults=["stop-conductor"], short=6, long=100),
    "R9": Row(faults=["wrong-clock"], short=6, long=60, gap_s=5.0),
    "R11": Row(faults=["cut", "half-open", "silence", "slow"], short=12, long=200),
    "R12": Row(faults=["mischief"], short=20, long=1000, gap_s=0.3),
    "joins": Row(
        faults=["kill-worker"], short=4, long=100, flows=["fan"], width=50, runs=(20, 1000), conductors=1, workers=4,
        in_flight=20, gap_s=8.0,
    ),
}  # fmt: skip
