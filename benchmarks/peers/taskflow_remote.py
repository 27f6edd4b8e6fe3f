"""taskflow's worker-based engine through RabbitMQ, in memory otherwise. Prints JSON.

    fanout BROKER N WORKERS     N no-op tasks side by side, and a join
    linear BROKER N WORKERS     N no-op tasks one after the other
    work BROKER TOPIC           what each of its worker processes does

Runs in the environment of the peers.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))  # the workers find the tasks by this module's name

from taskflow import engines, task  # type: ignore[import-not-found]  # pyright: ignore[reportMissingImports]
from taskflow.engines.worker_based import (  # type: ignore[import-not-found]  # pyright: ignore[reportMissingImports]
    worker,
)
from taskflow.patterns import (  # type: ignore[import-not-found]  # pyright: ignore[reportMissingImports]
    linear_flow,
    unordered_flow,
)

EXCHANGE, THREADS = "flowledger-bench-taskflow", 8


class Noop(task.Task):  # type: ignore[misc]
    def execute(self) -> int:
        return 1


class Joined(task.Task):  # type: ignore[misc]
    def execute(self, **ones: int) -> int:
        return sum(ones.values())


def work(broker: str, topic: str) -> None:
    worker.Worker(
        exchange=EXCHANGE, topic=topic, url=broker, tasks=["taskflow_remote:Noop", "taskflow_remote:Joined"],
        threads_count=THREADS,
    ).run(display_banner=False)  # fmt: skip


def fan(n: int) -> linear_flow.Flow:
    side = unordered_flow.Flow("side").add(*[Noop(name=f"t{i}", provides=f"one{i}") for i in range(n)])
    return linear_flow.Flow("fan").add(side, Joined(requires=[f"one{i}" for i in range(n)], provides="sum"))


def straight(n: int) -> linear_flow.Flow:
    return linear_flow.Flow("straight").add(*[Noop(name=f"t{i}") for i in range(n)])


def run(flow: linear_flow.Flow, broker: str, topics: list[str]) -> dict[str, int]:
    found: dict[str, int] = engines.run(
        flow, engine="worker-based", exchange=EXCHANGE, topics=topics, url=broker, transition_timeout=120
    )
    return found


def measure(kind: str, broker: str, n: int, count: int) -> dict[str, float]:
    from taskflow_remote import fan, straight  # type: ignore[import-not-found]  # noqa: PLC0415 - under the workers' name

    topics = [f"bench-{i}" for i in range(count)]
    workers = [subprocess.Popen([sys.executable, __file__, "work", broker, topic]) for topic in topics]
    try:
        run(fan(20), broker, topics)
        began = time.perf_counter()
        found = run(fan(n) if kind == "fanout" else straight(n), broker, topics)
        took = time.perf_counter() - began
        assert kind != "fanout" or found["sum"] == n
    finally:
        for process in workers:
            process.kill()
    return {"rate": n / took, "ms": took / n * 1e3}


if __name__ == "__main__":
    if sys.argv[1] == "work":
        work(sys.argv[2], sys.argv[3])
    else:
        print(json.dumps(measure(sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4]))))
