"""flowledger on Postgres, beyond one line and many: one measurement in a process of its own. Prints JSON.

fanout URL N async|sync      one run of N tasks side by side
board URL N                  N jobs submitted one after the other, then claimed in batches by one process
latency URL N                from submitting to the start of the first body, with a conductor in another process
idle URL SECONDS             a conductor in another process that has nothing to do
views URL RUNS N             a log of RUNS runs of N tasks folded into views by a projector that has nothing else to do
waiting URL RUNS             what a run costs that waits in a durable sleep
resident URL N               what a process has resident after a run of N tasks
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from threading import Thread
from typing import Any

from benchmarks.postgres_counting import counting, idle
from flowledger import App, Flow, Settings, linear, sleep, unordered
from flowledger.events.board import Offer
from flowledger.events.store import Owner


def log_url(url: str) -> str:
    return url.replace("postgresql://", "postgresql+psycopg://")


app = App("bench-more", settings=Settings(database_url=log_url(os.environ.get("BENCH_URL", sys.argv[2]))))


@app.task
def noop() -> None:
    pass


@app.task
async def anoop() -> None:
    pass


@app.flow
def fan(n: int, flavour: str) -> Flow[Any]:
    body = anoop if flavour == "async" else noop
    return unordered(*[body.bind().named(f"t{i}") for i in range(n)])


@app.flow
def straight(n: int) -> Flow[None]:
    return linear(*[noop.bind().named(f"t{i}") for i in range(n)])


@app.flow
def rests() -> Flow[None]:
    return linear(noop, sleep(3600))


def fanout(url: str, n: int, flavour: str) -> dict[str, Any]:
    app.run(fan(300, flavour))
    with counting(url, n) as figures:
        app.run(fan(n, flavour))
    return dict(figures)


def board(_url: str, n: int) -> dict[str, Any]:
    began = time.perf_counter()
    for _ in range(n):
        app.submit(straight(1), queue="bench-claims")
    submitted = time.perf_counter() - began
    store = app.runtime.store
    store.join(Owner(id="bench", host="here", pid=os.getpid(), app=app.name))
    offer = Offer(app=app.name, factories=["straight"], queues=("bench-claims",), takeover_s=20)
    claimed = 0
    began = time.perf_counter()
    while found := store.board.claim("bench", offer, limit=50):
        claimed += len(found)
    took = time.perf_counter() - began
    store.leave("bench")
    assert claimed == n, claimed
    return {"submit_rate": n / submitted, "claim_rate": n / took}


@contextmanager
def conducting(url: str) -> Iterator[None]:
    """With a conductor in another process, which has driven a job."""
    conductor = subprocess.Popen(
        [Path(sys.executable).with_name("flowledger"), "conductor", "--app", "benchmarks.postgres_more:app"],
        env={**os.environ, "BENCH_URL": url}, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        app.submit(straight(1)).wait(60)
        yield
    finally:
        conductor.terminate()
        with suppress(subprocess.TimeoutExpired):
            conductor.wait(20)


def latency(url: str, n: int) -> dict[str, Any]:
    import statistics  # noqa: PLC0415 - what is resident is measured here, too

    taken: list[float] = []
    with conducting(url):
        for _ in range(n):
            run = app.submit(straight(1))
            run.wait(60)
            times = {event.type: event.time_us for event in app.runtime.store.read(run.id)}
            taken.append((times["TaskStarted"] - times["RunSubmitted"]) / 1e3)
    return {"p50_ms": statistics.median(taken), "most_ms": max(taken)}


def idle_conductor(url: str, seconds: float) -> dict[str, Any]:
    with conducting(url):
        app.close()  # whose own beats are not to be counted
        time.sleep(10)  # its last run's mail is waited for a little longer, and what it has is said once more
        return dict(idle(url, seconds))


def views(_url: str, runs: int, n: int) -> dict[str, Any]:
    from flowledger.adapters.projecting.together import Together  # noqa: PLC0415
    from flowledger.projections.history import HISTORY  # noqa: PLC0415

    together = Together.over(app.runtime.store, [HISTORY])
    together.catch_up(within_s=600)
    app.run_many([straight(n) for _ in range(runs)])
    before, began = together.events, time.perf_counter()
    together.catch_up(within_s=600)
    took = time.perf_counter() - began
    together.close()
    return {"rate": (together.events - before) / took, "events": together.events - before}


def waiting(_url: str, runs: int) -> dict[str, Any]:
    app.run(straight(10))
    runtime = app.runtime
    before = resident_bytes()
    run_all = partial(app.run_many, (rests() for _ in range(runs)), at_once=runs)
    Thread(target=run_all, daemon=True).start()
    while len(runtime.drivers) < runs or any(not driver.state.due for driver in list(runtime.drivers.values())):
        time.sleep(0.05)
    taken = resident_bytes() - before
    print(json.dumps({"bytes": taken / runs}), flush=True)
    os._exit(0)  # they sleep for an hour


def resident(_url: str, n: int) -> dict[str, Any]:
    app.run(straight(n))
    return {"MiB": resident_bytes() / 2**20}


def resident_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


if __name__ == "__main__":
    what, where, *rest = sys.argv[1:]
    numbers = [int(argument) if argument.isdigit() else argument for argument in rest]
    measure: dict[str, Callable[..., dict[str, Any]]] = {
        "fanout": fanout, "board": board, "latency": latency, "idle": idle_conductor, "views": views,
        "waiting": waiting, "resident": resident,
    }  # fmt: skip
    print(json.dumps(measure[what](where, *numbers)))
    app.close()
