"""`python -m tests.simulation SEED`: the world of that seed once more; `--count N`: so many from there on."""

from __future__ import annotations

import argparse
import logging
import os
import subprocess
import sys
from time import monotonic

from tests.simulation.world import SimulationFailed, simulate

SHARE = 250  # seeds per process: what one has found does not keep the others


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


def run_on_all_cores(first: int, count: int) -> int:
    """Shares of them, each in a process of its own; returns how many shares found something."""
    shares = [(n, min(SHARE, first + count - n)) for n in range(first, first + count, SHARE)]
    began, failed = monotonic(), 0
    running: list[subprocess.Popen[bytes]] = []
    for done, (start, size) in enumerate(shares):
        if len(running) >= (os.cpu_count() or 1):
            failed += running.pop(0).wait() != 0
        command = [sys.executable, "-m", "tests.simulation", str(start), "--count", str(size), "--here"]
        running.append(subprocess.Popen(command))
        if done % 40 == 39:
            print(f"{start - first} seeds in {monotonic() - began:.0f} s, {failed} shares with failures", flush=True)
    failed += sum(process.wait() != 0 for process in running)
    print(f"{count} seeds from {first} in {monotonic() - began:.0f} s: {failed or 'no'} failures")
    return failed


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.simulation", description=__doc__)
    parser.add_argument("seed", type=int)
    parser.add_argument("--count", type=int, default=1)
    parser.add_argument("--here", action="store_true", help="all of them in this process")
    asked = parser.parse_args()
    logging.getLogger("flowledger").addHandler(logging.NullHandler())  # what it warns of is what is wanted here
    if asked.here or asked.count == 1:
        return int(run(asked.seed, asked.count) > 0)
    return int(run_on_all_cores(asked.seed, asked.count) > 0)


if __name__ == "__main__":
    sys.exit(main())
