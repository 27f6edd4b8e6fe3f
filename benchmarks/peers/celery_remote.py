"""Celery through RabbitMQ with late acks, results in Redis (a chord needs that). Prints JSON.

    fanout BROKER REDIS N WORKERS     a chord of N no-op tasks and a join
    linear BROKER REDIS N WORKERS     a chain of N no-op tasks

Each worker process has as many threads as those it is compared with. Runs in the environment of the peers.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

from celery import Celery, chain, chord  # type: ignore[import-not-found]  # pyright: ignore[reportMissingImports]

BROKER = os.environ.get("BENCH_BROKER") or sys.argv[2]
REDIS = os.environ.get("BENCH_REDIS") or sys.argv[3]
THREADS = 8
app = Celery("celery_remote", broker=BROKER, backend=REDIS)
app.conf.update(task_default_queue="flowledger-bench-late", task_acks_late=True, result_expires=300)


@app.task(name="noop")  # type: ignore[untyped-decorator]
def noop() -> int:
    return 1


@app.task(name="joined")  # type: ignore[untyped-decorator]
def joined(ones: list[int]) -> int:
    return sum(ones)


def measure(kind: str, n: int, count: int) -> dict[str, float]:
    celery = Path(sys.executable).with_name("celery")
    argv = [celery, "-A", "celery_remote", "worker", "--loglevel", "ERROR", "-P", "threads", "-c", str(THREADS)]
    workers = [
        subprocess.Popen([*argv, "-n", f"bench{i}"], cwd=Path(__file__).parent, stdout=subprocess.DEVNULL,
                         stderr=subprocess.DEVNULL, env={**os.environ, "BENCH_BROKER": BROKER, "BENCH_REDIS": REDIS})
        for i in range(count)
    ]  # fmt: skip
    try:
        assert chord(noop.s() for _ in range(50))(joined.s()).get(timeout=60) == 50
        while len(app.control.ping(timeout=1)) < count:
            pass
        began = time.perf_counter()
        if kind == "fanout":
            assert chord(noop.s() for _ in range(n))(joined.s()).get(timeout=300) == n
        else:
            chain(noop.si() for _ in range(n))().get(timeout=300)
        took = time.perf_counter() - began
    finally:
        for process in workers:
            process.terminate()
        for process in workers:
            process.wait(30)
        app.control.purge()
    return {"rate": n / took, "ms": took / n * 1e3}


if __name__ == "__main__":
    print(json.dumps(measure(sys.argv[1], int(sys.argv[4]), int(sys.argv[5]))))
