"""Runs under way all the time, and all that was acknowledged of them: what a server is to keep, whatever befalls it."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from threading import Event
from time import monotonic, sleep

from flowledger import App, Flow, Run, linear
from flowledger.adapters import loading
from flowledger.core.replay import check, check_complete
from flowledger.events.envelope import Envelope
from flowledger.events.errors import Fenced, RunOwned, StoreError

RUNS, STEPS = 6, 12

app = App("killed")


@app.task(read_only=True)
def step(n: int) -> int:
    sleep(0.02)  # the body's own work
    return n


@app.flow
def steps(n: int) -> Flow[None]:
    return linear(*[step.bind(n * STEPS + k) for k in range(STEPS)])


class Load:
    """Runs one after the other in several threads, each called again until it has ended; what was acknowledged."""

    def __init__(self) -> None:
        self.stop = Event()
        self.acknowledged: dict[tuple[str, int], bytes] = {}
        self.last = monotonic()
        self.ended: list[str] = []

    def observe(self, envelopes: list[Envelope]) -> None:
        self.acknowledged.update({(e.run_id, e.version): e.hash for e in envelopes})
        self.last = monotonic()

    def work(self, n: int) -> None:
        count = 0
        while not self.stop.is_set() or not count:
            self.ended.append(self._one(f"{n}-{count}", n).id)
            count += 1

    def _one(self, key: str, n: int) -> Run[None]:
        until = monotonic() + 60
        while True:
            try:
                run = app.execute(steps(n), key=key, observe=lambda es: self.observe(list(es)))
            except (StoreError, Fenced, RunOwned):
                if monotonic() > until:
                    raise
                sleep(0.1)
            else:
                assert run.state == "SUCCEEDED"
                return run


@contextmanager
def under_way() -> Iterator[Load]:
    """The load, going on until the block ends; then all its runs come to their ends."""
    load = Load()
    with ThreadPoolExecutor(RUNS) as pool:
        working = [pool.submit(load.work, n) for n in range(RUNS)]
        try:
            yield load
        finally:
            load.stop.set()
        for worker in working:
            worker.result(90)


def until_it_goes_on(load: Load, since: float) -> float:
    """Wait for the next acknowledged event; how long that took."""
    while load.last <= since:
        assert monotonic() < since + 60
        sleep(0.005)
    return load.last - since


def lost(load: Load) -> dict[tuple[str, int], bytes]:
    """What was acknowledged and is not in the logs, which must be valid ones of runs that have ended."""
    kept: dict[tuple[str, int], bytes] = {}
    for run_id in load.ended:
        log = loading.read(app.runtime.store, run_id)
        kept.update({(run_id, e.version): e.hash for e in log})
        plan = app.plan(steps(_of(log)))
        check_complete(plan, check(plan, log))
    return {at: digest for at, digest in load.acknowledged.items() if kept.get(at) != digest}


def _of(log: list[Envelope]) -> int:
    submitted = log[0].event
    return int(bytes(getattr(submitted, "inputs", b"{}")).decode().split(":")[1].rstrip("}"))
