"""taskflow's serial engine in memory: one linear flow of n no-op tasks, compile included. Prints JSON.

Runs in the environment of the peers (`benchmarks/peers/__init__.py`), which has no flowledger.
"""

from __future__ import annotations

import json
import sys
import time

from taskflow import engines, task  # type: ignore[import-not-found]  # pyright: ignore[reportMissingImports]
from taskflow.patterns import linear_flow  # type: ignore[import-not-found]  # pyright: ignore[reportMissingImports]


class Noop(task.Task):  # type: ignore[misc]
    def execute(self) -> None:
        pass


def run(n: int) -> None:
    flow = linear_flow.Flow("straight")
    for i in range(n):
        flow.add(Noop(name=f"t{i}"))
    engines.run(flow, engine="serial")


def main(n: int) -> None:
    run(5)
    cpu, wall = time.process_time(), time.perf_counter()
    run(n)
    cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
    print(json.dumps({"cpu_us": cpu / n * 1e6, "wall_us": wall / n * 1e6, "cpu_s": cpu, "wall_s": wall}))


if __name__ == "__main__":
    main(int(sys.argv[1]))
