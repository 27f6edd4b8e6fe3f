"""`python -m tests.chaos`: everything that can fail fails, at random, while runs are made; then the oracle judges.

The last line says what was met; the exit code is 1 if anything was lost, doubled, stuck or wrong. The faults and runs
of a seed are the same each time; when exactly they meet is the machine's.
"""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
from collections import Counter
from dataclasses import replace
from pathlib import Path
from time import monotonic
from typing import Any

from .chaos import Course, unleash
from .faults import FAULTS, possible
from .load import SIZES
from .rows import ROWS


def _asked() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument("--row", choices=ROWS, default="all", help="which course")
    parser.add_argument("--long", action="store_true", help="with as many faults as a nightly run has")
    parser.add_argument("--seed", type=int, default=random.randrange(1_000_000))
    parser.add_argument("--keep", type=Path, help="a folder in which the ledger and the processes' log are kept")
    parser.add_argument("--cycles", type=int, help="how many faults, instead")
    parser.add_argument("--runs", type=int, help="at least so many runs, instead")
    parser.add_argument("--faults", help=f"instead, some of: {' '.join(FAULTS)}")
    parser.add_argument("--flows", help=f"instead, some of: {' '.join(SIZES)}")
    return parser.parse_args()


def _course(asked: argparse.Namespace) -> Course:
    course = Course(seed=asked.seed, **ROWS[asked.row].options(long=asked.long))
    instead: dict[str, Any] = {"cycles": asked.cycles, "runs": asked.runs}
    instead |= {name: given.split(",") if (given := getattr(asked, name)) else None for name in ("faults", "flows")}
    return replace(course, **{name: value for name, value in instead.items() if value is not None})


def main() -> int:
    """What the command line asks for."""
    asked = _asked()
    if "wrong-clock" not in possible():
        print("NOT DONE HERE: wrong clocks (R9), without faketime (Debian: the package faketime)", flush=True)
        if asked.row == "R9":
            return 0
    folder: Path = asked.keep or Path(tempfile.mkdtemp(prefix="flowledger-chaos-"))
    folder.mkdir(parents=True, exist_ok=True)
    since = monotonic()
    met = unleash(_course(asked), folder, say=lambda line: print(line, flush=True))
    for line in met.verdict.problems():
        print(line)
    if not met.verdict.is_good:
        print(f"kept: {folder}")
    print("faults: " + ", ".join(f"{name} {n}" for name, n in sorted(Counter(met.faults).items())))
    print(f"chaos {asked.row} seed {asked.seed}: {monotonic() - since:.0f} s, {met.summary()}")
    return 0 if met.verdict.is_good else 1


if __name__ == "__main__":
    sys.exit(main())
