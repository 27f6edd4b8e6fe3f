"""taskflow's serial engine with its sqlalchemy persistence: RUNS linear flows of N no-op tasks. Prints JSON.

    size URL RUNS N     bytes per task

Runs in the environment of the peers. Set up as its documentation says: a backend from a connection string, upgraded;
`engines.run(flow, backend=…)` keeps a logbook per flow.
"""

from __future__ import annotations

import json
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[2]))

from taskflow import engines, task  # type: ignore[import-not-found]  # pyright: ignore[reportMissingImports]
from taskflow.patterns import linear_flow  # type: ignore[import-not-found]  # pyright: ignore[reportMissingImports]
from taskflow.persistence import backends  # type: ignore[import-not-found]  # pyright: ignore[reportMissingImports]

from benchmarks.peers.size_kept import measured


class Noop(task.Task):  # type: ignore[misc]
    def execute(self) -> None:
        pass


def run(backend: Any, runs: int, n: int) -> None:
    for _ in range(runs):
        flow = linear_flow.Flow("straight")
        for i in range(n):
            flow.add(Noop(name=f"t{i}"))
        engines.run(flow, engine="serial", backend=backend)


def size(url: str, runs: int, n: int) -> dict[str, Any]:
    backend = backends.fetch({"connection": url.replace("postgresql:", "postgresql+psycopg:")})
    with closing(backend):
        with closing(backend.get_connection()) as connection:
            connection.upgrade()
        run(backend, 1, n)
        return measured(url, runs * n, lambda: run(backend, runs, n))


if __name__ == "__main__":
    print(json.dumps(size(sys.argv[2], int(sys.argv[3]), int(sys.argv[4]))))
