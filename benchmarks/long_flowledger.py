"""One run with very many events, each measurement in a process of its own. Prints JSON.

lay URL TASKS AT        the log of a line of so many tasks, cut off in the one with this number
go_on URL TASKS         go on with it, as far as its first new body
replay URL TASKS        read it, verify its chain, decode and fold it
together URL RUNS       so many runs, each of which waits in its middle until all are there
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import sys
import time
from itertools import count
from pathlib import Path
from typing import Any

from flowledger import App, Flow, linear
from flowledger.adapters import loading
from flowledger.events.store import Append, Appended, NewStream, PlanRow

KEY = "long"
BATCH = 2_000
began = 0.0


def build(url: str, *, gathering: int = 0) -> Any:
    app: Any = App("long", database_url=url)
    there, all_there = count(1), asyncio.Event()

    @app.task(losses=1_000)  # each round loses it once more
    def step(i: int) -> None:
        if began:
            answer(first_s=time.perf_counter() - began, cpu_s=time.process_time())
            os._exit(0)

    @app.task
    async def meet() -> None:
        if next(there) == gathering:
            all_there.set()
        await all_there.wait()

    @app.flow
    def steps(n: int) -> Flow[None]:
        return linear(*[step.bind(i).named(f"t{i}") for i in range(n)])

    @app.flow
    def met(i: int) -> Flow[None]:
        return linear(step.bind(i), meet, step.bind(i).named("after"))

    app.steps, app.met = steps, met
    return app


def lay(url: str, tasks: int, at: int) -> None:
    """Made in memory and then copied, which takes less time."""
    memory, app = build("memory://"), build(url)
    run = memory.run(memory.steps(tasks), executor="inline", key=KEY)
    source, store = memory.runtime.store, app.runtime.store
    stream, plan = source.stream(run.id), memory.plan(memory.steps(tasks))
    events = source.read(run.id)[: 3 + 2 * at + 1]
    new = NewStream(app=stream.app, factory=stream.factory, key=stream.key, inputs_digest=stream.inputs_digest)
    for first in range(0, len(events), BATCH):
        append = Append(
            run_id=run.id, expected=first, epoch=0, events=events[first : first + BATCH], status="RUNNING",
            create=None if first else new, plans=() if first else (PlanRow(plan.fingerprint, plan.document),),
            release=first + BATCH >= len(events),
        )  # fmt: skip
        [result] = store.append([append])
        assert isinstance(result, Appended), result
    answer(events=len(events))


def go_on(url: str, tasks: int) -> None:
    global began
    app = build(url)
    began = time.perf_counter()
    app.run(app.steps(tasks), key=KEY, executor="inline")
    raise AssertionError("nothing was left to do")


def replay(url: str, tasks: int) -> None:
    app = build(url)
    [stream] = app.runtime.store.streams()
    plan = app.plan(app.steps(tasks))
    start = time.perf_counter()
    loaded = loading.load(app.runtime, app, stream, plan=plan)
    answer(replay_s=time.perf_counter() - start, events=len(loaded.envelopes))


def together(url: str, runs: int) -> None:
    app = build(url, gathering=runs)
    every = app.run_many([app.met(i) for i in range(runs)], at_once=runs)
    assert all(run.state == "SUCCEEDED" for run in every)
    answer()


def answer(**figures: float) -> None:
    print(json.dumps({**figures, "most_mib": most_resident_mib()}), flush=True)


def most_resident_mib() -> float:
    """Of this program alone: what `getrusage` says includes the process that started it."""
    found = re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())
    assert found is not None
    return int(found[1]) / 1024


if __name__ == "__main__":
    what, where, *numbers = sys.argv[1:]
    {"lay": lay, "go_on": go_on, "replay": replay, "together": together}[what](where, *map(int, numbers))  # type: ignore[operator]
