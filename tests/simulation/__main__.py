"""`python -m tests.simulation SEED`: the world of that seed once more; `--count N`: so many from there on.

Many seeds are done in shares, each in a process of its own, and what is done is written down: whoever stops it and
starts it again goes on where it was. Worlds of other code prove nothing, so each state of the code has its own list.
"""

from __future__ import annotations

import argparse
import logging
import os
import subprocess
import sys
from hashlib import sha256
from pathlib import Path
from time import monotonic

from tests.simulation.world import SimulationFailed, simulate

SHARE = 250  # seeds per process: what one has found does not keep the others
ROOT = Path(__file__).parents[2]
DONE = ROOT / ".simulated"
SIMULATED = ("events", "core", "adapters", "flowledger", "tests/properties", "tests/simulation")


def run(first: int, count: int) -> int:
    """The worlds of these seeds, one after the other; returns how many failed."""
    failed = 0
    for seed in range(first, first + count):
        try:
            digest = simulate(seed)
        except SimulationFailed as error:
            failed += 1
            print(error, flush=True)
        else:
            if count == 1:
                print(f"seed {seed}: all is well, log {digest}")
    return failed


class Ledger:
    """The shares that are done with this state of the code, one a line: first seed, seeds, whether all was well."""

    def __init__(self, file: Path) -> None:
        self._file = file
        file.parent.mkdir(exist_ok=True)
        lines = [line.split() for line in file.read_text().splitlines()] if file.exists() else []
        self.well = {(int(line[0]), int(line[1])) for line in lines if line[2] == "well"}

    def write(self, share: tuple[int, int], *, well: bool) -> None:
        with self._file.open("a") as file:
            file.write(f"{share[0]} {share[1]} {'well' if well else 'failed'}\n")


def code() -> str:
    """A digest of all that has a say in what a world does."""
    total = sha256()
    for folder in SIMULATED:
        for file in sorted((ROOT / folder).rglob("*.py")):
            total.update(file.relative_to(ROOT).as_posix().encode() + b"\0" + file.read_bytes())
    return total.hexdigest()[:12]


def run_in_shares(first: int, count: int, processes: int, ledger: Ledger) -> int:
    """What is not done yet of them, each share in a process of its own; returns how many shares found something."""
    shares = [(n, min(SHARE, first + count - n)) for n in range(first, first + count, SHARE)]
    todo = [share for share in shares if share not in ledger.well]
    if len(todo) < len(shares):
        print(f"{len(shares) - len(todo)} of {len(shares)} shares were done before", flush=True)
    began, failed, ended = monotonic(), 0, 0
    running: list[tuple[tuple[int, int], subprocess.Popen[bytes]]] = []
    while todo or running:
        if todo and len(running) < processes:
            share = todo.pop(0)
            command = [sys.executable, "-m", "tests.simulation", str(share[0]), "--count", str(share[1]), "--here"]
            running.append((share, subprocess.Popen(command)))
            continue
        share, process = running.pop(0)
        well = process.wait() == 0
        ledger.write(share, well=well)
        ended, failed = ended + share[1], failed + (not well)
        if ended % (40 * SHARE) == 0:
            print(f"{ended} seeds in {monotonic() - began:.0f} s, {failed} shares with failures", flush=True)
    print(f"{ended} seeds in {monotonic() - began:.0f} s: {failed or 'no'} failures")
    return failed


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.simulation", description=__doc__)
    parser.add_argument("seed", type=int)
    parser.add_argument("--count", type=int, default=1)
    parser.add_argument("--processes", type=int, default=os.cpu_count() or 1, help="so many at once")
    parser.add_argument("--here", action="store_true", help="all of them in this process")
    asked = parser.parse_args()
    logging.getLogger("flowledger").addHandler(logging.NullHandler())  # what it warns of is what is wanted here
    if asked.here or asked.count == 1:
        return int(run(asked.seed, asked.count) > 0)
    ledger = Ledger(DONE / code())
    return int(run_in_shares(asked.seed, asked.count, asked.processes, ledger) > 0)


if __name__ == "__main__":
    sys.exit(main())
