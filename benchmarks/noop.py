"""One measurement in a process of its own: runs of n no-op tasks, in memory, one body at a time, compile included.

Prints the CPU time per task (all threads of the process) as JSON. Arguments: pattern, n, repeats.
"""

from __future__ import annotations

import json
import sys
import time
from typing import Any

from flowledger import App, Flow, graph, linear, link, unordered

app = App("bench", database_url="memory://")


@app.task(read_only=True)
def noop() -> None:
    pass


def parts(n: int) -> list[Any]:
    return [noop.bind().named(f"t{i}") for i in range(n)]


@app.flow
def straight(n: int) -> Flow[None]:
    return linear(*parts(n))


@app.flow
def fan(n: int) -> Flow[list[None]]:
    return unordered(*parts(n))


@app.flow
def net(n: int) -> Flow[None]:
    """Ten chains side by side, each joined with the next at every tenth step."""
    made = parts(n)
    links = [link(made[i - 10], made[i]) for i in range(10, n)]
    links += [link(made[i - 9], made[i]) for i in range(10, n, 10)]
    return graph(*made, *links)


FLOWS = {"linear": straight, "unordered": fan, "graph": net}


def main(pattern: str, n: int, repeats: int) -> None:
    factory = FLOWS[pattern]
    app.run(factory(10), executor="inline")  # imports, threads, the first of everything
    cpu, wall = time.process_time(), time.perf_counter()
    for _ in range(repeats):
        app.run(factory(n), executor="inline")
    cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
    tasks = n * repeats
    print(json.dumps({"cpu_us": cpu / tasks * 1e6, "wall_us": wall / tasks * 1e6, "cpu_s": cpu, "wall_s": wall}))


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
