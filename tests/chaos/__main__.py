"""`python -m tests.chaos`: everything that can fail fails, at random, while runs are made; then the oracle judges.

The last line says what was met; the exit code is 1 if anything was lost, doubled, stuck or wrong. The faults and runs
of a seed are the same each time; when exactly they meet is the machine's.
"""

from __future__ import annotations

import argparse
import random
import shutil
import sys
import tempfile
from collections import Counter
from dataclasses import replace
from pathlib import Path
from time import monotonic
from typing import Any

from .chaos import Course, Met, sum_of, unleash
from .faults import FAULTS, possible
from .load import SIZES
from .rows import ROWS


def _asked() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument("--row", choices=[*ROWS, "each"], nargs="+", default=["all"], help="which courses")
    parser.add_argument("--long", action="store_true", help="with as many faults as a nightly run has")
    parser.add_argument("--seed", type=int, default=random.randrange(1_000_000))
    parser.add_argument("--keep", type=Path, help="a folder in which the ledger and the processes' log are kept")
    parser.add_argument("--cycles", type=int, help="how many faults, instead")
    parser.add_argument("--runs", type=int, help="at least so many runs, instead")
    parser.add_argument("--faults", help=f"instead, some of: {' '.join(FAULTS)}")
    parser.add_argument("--flows", help=f"instead, some of: {' '.join(SIZES)}")
    return parser.parse_args()


def _course(row: str, asked: argparse.Namespace) -> Course:
    course = ROWS[row].course(asked.seed, long=asked.long)
    instead: dict[str, Any] = {"cycles": asked.cycles, "runs": asked.runs}
    instead |= {name: given.split(",") if (given := getattr(asked, name)) else None for name in ("faults", "flows")}
    return replace(course, **{name: value for name, value in instead.items() if value is not None})


def _one(row: str, asked: argparse.Namespace) -> Met:
    """One course, and what came of it."""
    folder: Path = asked.keep or Path(tempfile.mkdtemp(prefix="flowledger-chaos-"))
    folder.mkdir(parents=True, exist_ok=True)
    since = monotonic()
    met = unleash(_course(row, asked), folder, say=lambda line: print(f"  {line}", flush=True))
    for line in met.verdict.problems():
        print(line)
    if not met.verdict.is_good:
        print(f"kept: {folder}")
    elif not asked.keep:
        shutil.rmtree(folder, ignore_errors=True)
    print("  faults: " + ", ".join(f"{name} {n}" for name, n in sorted(Counter(met.faults).items())))
    print(f"chaos {row} seed {asked.seed}: {monotonic() - since:.0f} s, {met.summary()}", flush=True)
    return met


def main() -> int:
    """What the command line asks for."""
    asked = _asked()
    rows = list(ROWS) if "each" in asked.row else asked.row
    if "wrong-clock" not in possible():
        print("NOT DONE HERE: wrong clocks (R9), without faketime (Debian: the package faketime)", flush=True)
        rows = [row for row in rows if row != "R9"]
    all_met = [_one(row, asked) for row in rows]
    if len(all_met) > 1:
        print(f"chaos, {len(all_met)} courses: {sum_of(all_met).summary()}")
    return 0 if all(met.verdict.is_good for met in all_met) else 1


if __name__ == "__main__":
    sys.exit(main())
