"""flowledger on Postgres, one measurement in a process of its own. Prints JSON.

linear URL N inline|threads     one run of N no-op tasks, one after the other
many URL RUNS N async|threads [THREADS]    RUNS runs of N tasks at once
store URL RUNS N                what `many` appends, by the store alone, all runs in each commit
engine memory:// RUNS N         what `many` does, with the log in memory
crash URL N KEY                 a run that kills its process half way
resume URL N KEY                go on with it
fold URL N                      a log of N tasks: read, verify, decode and fold it
idle URL SECONDS                an app that is open and has nothing to do
"""

from __future__ import annotations

import gc
import json
import os
import signal
import statistics
import sys
import time
from collections.abc import Callable
from typing import Any

from msgspec.structs import replace

from benchmarks.postgres_counting import counting, idle
from flowledger import App, Flow, Settings, linear
from flowledger.adapters import loading
from flowledger.adapters.stores.postgres import PostgresStore
from flowledger.core.evolve import fold
from flowledger.events.store import Append, Appended, NewStream

began_at: dict[int, float] = {}
kill_at = -1


def log_url(url: str) -> str:
    return url.replace("postgresql://", "postgresql+psycopg://")


def build(url: str, *, threads: int | None = None) -> App:
    app = App("bench", settings=Settings(database_url=log_url(url) if "://" in url else url, threads=threads))

    @app.task
    def noop() -> None:
        pass

    @app.task
    async def anoop() -> None:
        pass

    @app.task
    def step(i: int) -> None:
        began_at[i] = time.perf_counter()
        if i == kill_at:
            os.kill(os.getpid(), signal.SIGKILL)

    @app.flow
    def straight(n: int, flavour: str) -> Flow[None]:
        body = anoop if flavour == "async" else noop
        return linear(*[body.bind().named(f"t{i}") for i in range(n)])

    @app.flow
    def steps(n: int) -> Flow[None]:
        return linear(*[step.bind(i).named(f"t{i}") for i in range(n)])

    app.straight, app.steps = straight, steps  # type: ignore[attr-defined]
    return app


def run_linear(url: str, n: int, executor: Any) -> dict[str, Any]:
    app: Any = build(url)
    app.run(app.straight(50, "sync"), executor=executor)
    store = app.runtime.store
    commits, sent = store.commits, store.statements
    with counting(url, n) as figures:
        app.run(app.straight(n, "sync"), executor=executor)
    figures |= {"own_commits": (store.commits - commits) / n, "own_statements": (store.statements - sent) / n}
    app.close()
    return figures


def run_many(url: str, runs: int, n: int, flavour: str, threads: int | None = None) -> dict[str, Any]:
    app: Any = build(url, threads=threads)
    app.run_many([app.straight(n, flavour) for _ in range(50)])
    appender = app.runtime.appender
    latencies = _timed(appender)
    turns, events = appender.commits, appender.events
    with counting(url, runs * n) as figures:
        every = app.run_many([app.straight(n, flavour) for _ in range(runs)])
    assert all(run.state == "SUCCEEDED" for run in every)
    events = appender.events - events
    hundredths = statistics.quantiles(latencies, n=100)
    wall = figures["wall_s"]
    assert wall is not None
    figures |= {
        "p50_ms": hundredths[49] * 1e3, "p99_ms": hundredths[98] * 1e3, "events": events, "event_rate": events / wall,
        "events_per_commit": events / (appender.commits - turns),
    }  # fmt: skip
    app.close()
    return figures


def _timed(appender: Any) -> list[float]:
    """How long each append takes from being asked for to its answer, on the engine's loop."""
    latencies: list[float] = []
    append = appender.append

    def timed(request: Append, done: Callable[[Any], None]) -> None:
        asked = time.perf_counter()

        def answered(result: Any) -> None:
            latencies.append(time.perf_counter() - asked)
            done(result)

        append(request, answered)

    appender.append = timed
    return latencies


def crash(url: str, n: int, key: str) -> dict[str, Any]:
    global kill_at
    kill_at = n // 2
    app: Any = build(url)
    app.run(app.steps(n), key=key, executor="inline")
    raise AssertionError("it ought to have been killed")


def resume(url: str, n: int, key: str) -> dict[str, Any]:
    app: Any = build(url)
    began = time.perf_counter()
    app.run(app.steps(n), key=key, executor="inline")
    total = time.perf_counter() - began
    first = began_at[n // 2] - began
    app.close()
    return {"first_s": first, "total_s": total, "new": len(began_at)}


def run_store(url: str, runs: int, n: int) -> dict[str, Any]:
    """The store with nothing of the engine around it: what its statement costs, heads, checks and all."""
    asked = _appends(runs, n)
    store = PostgresStore.from_url(log_url(url))
    events = 0
    began = 0.0
    for turn in range(len(asked[0])):
        if turn == 1:
            began = time.perf_counter()  # the streams have been made
        batch = [of_run[turn] for of_run in asked]
        results = store.append(batch)
        assert all(isinstance(result, Appended) for result in results), results[0]
        events += sum(len(append.events) for append in batch) if turn else 0
    wall = time.perf_counter() - began
    store.close()
    return {"event_rate": events / wall, "events": events}


def run_engine(url: str, runs: int, n: int) -> dict[str, Any]:
    """The engine with nothing behind it: what the same runs cost with their log in memory."""
    app: Any = build(url)
    app.run_many([app.straight(n, "async") for _ in range(50)])
    events = app.runtime.appender.events
    began = time.perf_counter()
    app.run_many([app.straight(n, "async") for _ in range(runs)])
    wall = time.perf_counter() - began
    events = app.runtime.appender.events - events
    app.close()
    return {"event_rate": events / wall, "events": events}


def _appends(runs: int, n: int) -> list[list[Append]]:
    """What runs in memory have asked to be appended, run by run."""
    memory: Any = build("memory://")
    asked: dict[str, list[Append]] = {}
    append = memory.runtime.appender.append

    def noted(request: Append, done: Callable[[Any], None]) -> None:
        first = request.run_id not in asked
        new = NewStream(app="bench", factory="straight", key=None, inputs_digest="") if first else None
        asked.setdefault(request.run_id, []).append(replace(request, epoch=0, create=new))
        append(request, done)

    memory.runtime.appender.append = noted
    for _ in range(runs):
        memory.run(memory.straight(n, "sync"), executor="inline")
    memory.close()
    return list(asked.values())


def run_fold(url: str, n: int) -> dict[str, Any]:
    """The log is made in memory and then copied, which takes less time."""
    app: Any = build(url)
    store, run_id = app.runtime.store, _copied(app.runtime.store, n)
    stream = store.stream(run_id)
    plan = app.plan(app.straight(n, "sync"))
    began = time.perf_counter()
    loaded = loading.load(app.runtime, app, stream, plan=plan)
    whole = time.perf_counter() - began
    envelopes = loaded.envelopes
    del loaded
    gc.collect()
    began = time.perf_counter()
    fold(plan, envelopes)
    folding = time.perf_counter() - began
    app.close()
    return {"load_rate": len(envelopes) / whole, "fold_rate": len(envelopes) / folding, "events": len(envelopes)}


def _copied(store: Any, n: int) -> str:
    memory: Any = build("memory://")
    run = memory.run(memory.straight(n, "sync"), executor="inline")
    events = memory.runtime.store.read(run.id)
    memory.close()
    new = NewStream(app="bench", factory="straight", key=None, inputs_digest="", tags={}, owner=None)
    for at in range(0, len(events), 2_000):
        last = at + 2_000 >= len(events)
        append = Append(
            run_id=run.id, expected=at, epoch=0, events=events[at : at + 2_000],
            status="SUCCEEDED" if last else "RUNNING", direction="FORWARD", wake_at_us=None,
            create=None if at else new, release=last, payloads=[], plans=[],
        )  # fmt: skip
        result = store.append([append])[0]
        assert not isinstance(result, Exception), result
    return str(run.id)


def run_idle(url: str, seconds: float) -> dict[str, Any]:
    app: Any = build(url)
    app.run(app.straight(1, "sync"))
    time.sleep(5)  # what begins only after a moment has begun
    figures = idle(url, seconds)
    app.close()
    return dict(figures)


if __name__ == "__main__":
    what, where, *rest = sys.argv[1:]
    numbers = [int(argument) if argument.isdigit() else argument for argument in rest]
    measure: dict[str, Callable[..., dict[str, Any]]] = {
        "linear": run_linear, "many": run_many, "crash": crash, "resume": resume, "store": run_store,
        "engine": run_engine, "fold": run_fold, "idle": run_idle,
    }  # fmt: skip
    print(json.dumps(measure[what](where, *numbers)))
