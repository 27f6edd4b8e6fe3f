"""Figures of one log and its views: projecting, lag, lists of many runs, verifying, rebuilding, size.

    python benchmarks/views_figures.py sqlite:////tmp/views.db --runs 1000000 --parts generate,project,list,size
    python benchmarks/views_figures.py postgresql+psycopg://…  --runs 100000 --parts generate,project,verify,rebuild,lag

`benchmarks/run.py views` (make bench-views) does it on a Postgres of its own, with a million runs, and on SQLite.

Runs are written through the real store, 500 to an append: one of a plan of three tasks in ten fails. ``list`` asks for
pages of 50 runs, each time of another flow, tag, key and place. ``verify`` goes through all chains, ``rebuild`` makes
the views anew. ``lag``, the last, adds to the log at half the rate at which ``project`` took events in, and measures
from an event's append to its commit in the views.
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import asdict
from threading import Event, Thread

from benchmarks.measuring import Figure, table
from benchmarks.size_counting import sizes_of
from flowledger import App, Flow, linear
from flowledger.adapters.ids import new_ulid
from flowledger.adapters.projecting.projector import Projector, rebuild
from flowledger.adapters.stores import open_store
from flowledger.adapters.stores.views import views_of
from flowledger.adapters.verifying import verify_all
from flowledger.adapters.views import Views
from flowledger.events import chain, codec, facts
from flowledger.events.envelope import StoredEvent
from flowledger.events.failure import Failure
from flowledger.events.store import Append, Appended, NewStream, PlanRow, Store
from flowledger.projections.history import HISTORY
from flowledger.projections.history.tables import RUNS
from flowledger.projections.selecting import Select

RUNS_PER_APPEND = 500
ROUNDS, TIMES, PLACES = 3, 20, 10
LAG_S = 20
#: What people ask for: by what it is called, with places for a flow, a tag's value, a key. Some find nothing, and go
#: through as many runs as one look may.
QUERIES = {
    "all": "", "one state": "state:failed", "one flow": "flow:flow_{flow}", "one tag": "tag:tenant=t{tenant}",
    "one key": "key:k{key}", "state and flow": "state:failed flow:flow_{flow}",
    "flow and tag": "flow:flow_{flow} tag:tenant=t{tenant}", "tag, and words in the error":
    "tag:tenant=t{tenant} error~node-{key}", "words in the error, which nothing has": "error~nothing-{key}",
    "without a tag, since yesterday": "-tag:tenant=t{tenant} started:<1d", "longer than an hour": "took:>1h",
}  # fmt: skip

app = App("bench", database_url="memory://")


@app.task(read_only=True)
def one() -> int:
    return 1


@app.flow
def three() -> Flow[None]:
    return linear(one.named("first"), one.named("second"), one.named("third"))


PLAN = app.plan(three())
PLAN_ROW = PlanRow(PLAN.fingerprint, PLAN.document)


def story(number: int, *, tasks: int) -> Iterator[tuple[str, facts.Event]]:
    """What happens in a run."""
    yield (
        "",
        facts.RunSubmitted(
            app="bench", factory=f"flow_{number % 20}", key=f"k{number}", tags={"tenant": f"t{number % 100}"}
        ),
    )
    yield "", facts.RunStarted(fingerprint=PLAN.fingerprint)
    failing = number % 10 == 0
    for n in range(max(tasks, failing)):
        path = f"three/{('first', 'second', 'third')[n % 3]}"
        yield path, facts.TaskStarted(key=f"{number}-{n}", try_=n // 3 + 1)
        if failing and n == max(tasks, 1) - 1:
            failure = Failure(path=path, type="shop.QuotaError", message=f"no quota for node-{number}", attempt=1)
            yield path, facts.TaskFailed(failure=failure, try_=n // 3 + 1)
        else:
            yield path, facts.TaskSucceeded(result=facts.Raw(b"1"), try_=n // 3 + 1)
    yield "", facts.RunFailed(reason="stopped") if failing else facts.RunSucceeded()


def run_of(number: int, *, tasks: int) -> Append:
    run_id = new_ulid()
    previous, events = chain.GENESIS, list[StoredEvent]()
    now_us = time.time_ns() // 1000
    for version, (path, event) in enumerate(story(number, tasks=tasks), start=1):
        kind, content, at_us = type(event).__name__, codec.encode(event), now_us + version
        previous = chain.link(
            previous, run_id.encode(), version, kind, event.schema_version, path, at_us, "me@bench", content
        )
        events.append(StoredEvent(version, kind, event.schema_version, path, at_us, "me@bench", content, previous))
    stream = NewStream(
        app="bench",
        factory=f"flow_{number % 20}",
        key=f"k{number}",
        inputs_digest="",
        tags={"tenant": f"t{number % 100}"},
    )
    return Append(
        run_id=run_id, expected=0, epoch=0, events=events, status="FAILED" if number % 10 == 0 else "SUCCEEDED",
        create=stream, plans=(PLAN_ROW,) if number < RUNS_PER_APPEND else (),
    )  # fmt: skip


def generate(store: Store, runs: int, tasks: int) -> Figure:
    began = time.perf_counter()
    events = 0
    for first in range(0, runs, RUNS_PER_APPEND):
        batch = [run_of(n, tasks=tasks) for n in range(first, min(first + RUNS_PER_APPEND, runs))]
        assert all(isinstance(done, Appended) for done in store.append(batch))
        events += sum(len(each.events) for each in batch)
    took_s = time.perf_counter() - began
    return Figure("views", "events written through the store", "events/s", [events / took_s], more={"events": events})


def project(store: Store) -> list[Figure]:
    with closing(views_of(store)) as views:
        projector = Projector(store, views, HISTORY)
        began, cpu = time.perf_counter(), time.process_time()
        while projector.step():
            pass
        took_s, cpu_s = time.perf_counter() - began, time.process_time() - cpu
    rate = projector.events / took_s
    return [
        Figure("views", "projector", "events/s", [rate], "≥ 10,000", rate >= 10_000, {"events": projector.events}),
        Figure("views", "projector, CPU of this process", "us/event", [cpu_s / max(1, projector.events) * 1e6]),
    ]


def lag(url: str, rate: float, seconds: float) -> Figure:
    """From an append to the commit that has its last event in the views."""
    writer, reader = open_store(url), open_store(url)
    stop, appended, lags = Event(), list[tuple[str, float]](), list[float]()

    def follow() -> None:
        with closing(views_of(reader)) as views:
            projector = Projector(reader, views, HISTORY)
            while not stop.is_set():
                if not projector.step():
                    slot = projector.slot
                    reader.wait(slot.mark.cursor if slot else "", timeout_s=0.5)  # type: ignore[arg-type]
                    continue
                now, slot = time.perf_counter(), projector.slot
                seen = slot.mark.run_id if slot else ""
                while appended:
                    run_id, at = appended[0]
                    if run_id > seen:
                        break
                    lags.append(now - at)
                    appended.pop(0)

    thread = Thread(target=follow)
    thread.start()
    began, number, written = time.perf_counter(), 10_000_000, 0
    while (elapsed := time.perf_counter() - began) < seconds:
        if written >= rate * elapsed:
            time.sleep(0.001)
            continue
        batch = [run_of(number + n, tasks=3) for n in range(10)]
        number += 10
        assert all(isinstance(done, Appended) for done in writer.append(batch))
        written += sum(len(each.events) for each in batch)
        appended.extend((each.run_id, time.perf_counter()) for each in batch)
    time.sleep(2)
    stop.set()
    thread.join()
    writer.close()
    reader.close()
    ordered = sorted(lags)
    p99 = ordered[int(0.99 * (len(ordered) - 1))] * 1000
    return Figure(
        "views", f"lag at {written / seconds:,.0f} events/s, p99", "ms", [p99], "< 1,000", p99 < 1000,
        {"p50_ms": statistics.median(ordered) * 1000, "samples": len(ordered)},
    )  # fmt: skip


def lists(store: Store) -> Iterator[Figure]:
    """The first page of each query, and one from deep inside the list; all by turns."""
    with Views(store) as views:
        views.catch_up(within_s=3600)
        places = _places(store)
        chance = random.Random(7)
        took: dict[tuple[str, str], list[list[float]]] = {}
        for _ in range(ROUNDS):
            for name, query in QUERIES.items():
                for where, afters in (("first page", [None]), ("deep page", places)):
                    asked = [(_asked(query, chance), chance.choice(afters)) for _ in range(TIMES)]
                    took.setdefault((name, where), []).append([_page_ms(views, *each) for each in asked])
    for (name, where), rounds in took.items():
        yield Figure("views", f"{name}, {where}: p50", "ms", [statistics.median(each) for each in rounds])
        p95 = [sorted(each)[int(0.95 * (len(each) - 1))] for each in rounds]
        yield Figure("views", f"{name}, {where}: p95", "ms", p95, "≤ 200", statistics.median(p95) <= 200)


def _asked(query: str, chance: random.Random) -> str:
    return query.format(flow=chance.randrange(20), tenant=chance.randrange(100), key=chance.randrange(100_000))


def _page_ms(views: Views, query: str, after: str | None) -> float:
    began = time.perf_counter()
    views.runs(query, limit=50, after=after)
    return (time.perf_counter() - began) * 1000


def _places(store: Store) -> list[str]:
    """Runs from all over the list."""
    with closing(views_of(store)) as views:
        slot = next(slot for slot in views.slots() if slot.live and slot.projection == HISTORY.name)
        whole = views.count(slot, RUNS)
        return [
            views.select(HISTORY.name, Select(
                RUNS, order=("run_id",), descending=True, columns=("run_id",), limit=1, skip=whole * n // (PLACES + 1)
            ))[0]["run_id"]
            for n in range(1, PLACES + 1)
        ]  # fmt: skip


def rebuilt(store: Store) -> Figure:
    with closing(views_of(store)) as views:
        began = time.perf_counter()
        slot = rebuild(store, views, HISTORY)
        took_s = time.perf_counter() - began
    return Figure("views", "rebuild", "events/s", [slot.mark.events / took_s], more={"events": slot.mark.events})


def verified(store: Store) -> Figure:
    rates: list[float] = []
    for _ in range(ROUNDS):
        began = time.perf_counter()
        done = verify_all(store)
        rates.append(done.events / (time.perf_counter() - began))
        assert done.holds
    return Figure("views", "verify --all", "events/s", rates)


def sizes(url: str, store: Store, tasks: int) -> Iterator[Figure]:
    if url.startswith("sqlite:///"):
        store.close()  # what is in the write-ahead log comes into the file
    for name, size in zip(("log", "views"), sizes_of(url), strict=True):
        yield Figure("views", f"{name} on disk, per task", "B", [size / tasks])


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("url")
    parser.add_argument("--runs", type=int, default=100_000)
    parser.add_argument("--tasks", type=int, default=3)
    parser.add_argument("--rate", type=float, help="events per second of `lag` (half of what was projected)")
    parser.add_argument("--parts", default="generate,project,list,rebuild,size")
    parser.add_argument("--json", action="store_true", help="all figures as one line of JSON, at the end")
    arguments = parser.parse_args()
    store = open_store(arguments.url)
    figures: list[Figure] = []
    for part in arguments.parts.split(","):
        match part:
            case "generate":
                figures.append(generate(store, arguments.runs, arguments.tasks))
            case "project":
                figures += project(store)
            case "lag":
                half = [figure.median / 2 for figure in figures if figure.name == "projector"]
                figures.append(lag(arguments.url, arguments.rate or half[0], LAG_S))
            case "verify":
                figures.append(verified(store))
            case "list":
                figures += lists(store)
            case "rebuild":
                figures.append(rebuilt(store))
            case "size":
                figures += sizes(arguments.url, store, arguments.runs * arguments.tasks)
            case _:
                parser.error(f"no part {part}")
        print(f"{part}: {figures[-1].as_json()}", file=sys.stderr, flush=True)
    store.close()
    if arguments.json:
        print(json.dumps({"figures": [asdict(figure) for figure in figures]}))
    else:
        print(table(figures))


if __name__ == "__main__":
    main()
