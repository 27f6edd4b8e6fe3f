"""flowledger with workers in other processes, through RabbitMQ: one measurement in a process of its own. Prints JSON.

fanout URL BROKER N WORKERS     one run of N tasks side by side, and a join
linear URL BROKER N WORKERS     one run of N tasks one after the other
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from flowledger import App, Flow, Settings, linear, unordered
from flowledger.adapters.keys import Key

THREADS = 8  # per worker process
KEY = Key("bench", "hmac", bytes(32)).line


def _settings() -> Settings:
    url, broker = os.environ.get("BENCH_URL") or sys.argv[2], os.environ.get("BENCH_BROKER") or sys.argv[3]
    return Settings(database_url=url.replace("postgresql://", "postgresql+psycopg://"), broker_url=broker,
                    signing_keys=KEY, views="off")  # fmt: skip


app = App("bench-workers", settings=_settings())


@app.task(queue="bench")
def noop() -> int:
    return 1


@app.task(queue="bench")
def joined(ones: list[int]) -> int:
    return sum(ones)


@app.flow
def fan(n: int) -> Flow[int]:
    all_ = unordered(*[noop.bind().named(f"t{i}") for i in range(n)])
    join = joined.bind(all_)
    return linear(all_, join, returns=join)


@app.flow
def straight(n: int) -> Flow[None]:
    return linear(*[noop.bind().named(f"t{i}") for i in range(n)])


@contextmanager
def workers(count: int) -> Iterator[None]:
    """So many worker processes, all of them known."""
    flowledger = Path(sys.executable).with_name("flowledger")
    argv = [flowledger, "worker", "--app", "benchmarks.workers_flowledger:app", "--concurrency", str(THREADS)]
    started = [
        subprocess.Popen(argv, env={**os.environ, "BENCH_URL": sys.argv[2], "BENCH_BROKER": sys.argv[3]},
                         stdout=subprocess.DEVNULL)
        for _ in range(count)
    ]  # fmt: skip
    try:
        while sum(known.lives for known in app.runtime.store.claims.workers()) < count:
            time.sleep(0.05)
        yield
    finally:
        for process in started:
            process.terminate()
        for process in started:
            process.wait(30)


def measure(kind: str, n: int, count: int) -> dict[str, Any]:
    with workers(count):
        assert app.run(fan(50)).result == 50
        part: Any = fan(n) if kind == "fanout" else straight(n)
        cpu, began = time.process_time(), time.perf_counter()
        run = app.run(part)
        took, cpu = time.perf_counter() - began, time.process_time() - cpu
        assert kind != "fanout" or run.result == n
    app.close()
    return {"rate": n / took, "ms": took / n * 1e3, "cpu_ms": cpu / n * 1e3}


if __name__ == "__main__":
    print(json.dumps(measure(sys.argv[1], int(sys.argv[4]), int(sys.argv[5]))))
