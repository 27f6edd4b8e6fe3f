"""What one measurement of growth takes, each in a process of its own. Prints JSON.

line URL TASKS    one run of so many no-op tasks: bytes of log and views per task
fold URL          its log read, its chain verified, its plan built and all of it folded, per event
verify URL        the whole log verified, per event
project URL       the views of the whole log made anew, per event
many URL RUNS     so many runs of two no-op tasks: bytes of log and views per run
list URL          pages of fifty of the list of runs, the newest and those of one state with one tag
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from contextlib import closing
from typing import Any

from benchmarks.long_flowledger import BATCH, most_resident_mib
from benchmarks.size_counting import sizes_of
from flowledger import App, Flow, Settings, linear
from flowledger.adapters import loading
from flowledger.adapters.projecting.projector import Projector, rebuild
from flowledger.adapters.stores import open_store
from flowledger.adapters.stores.views import views_of
from flowledger.adapters.verifying import verify_all
from flowledger.adapters.views import Views
from flowledger.events.store import Append, Appended, NewStream, PlanRow
from flowledger.projections.history import HISTORY

#: Runs that are made at once.
AT_ONCE = 50
PAGES = 40


def build(url: str) -> Any:
    app: Any = App("growth", settings=Settings(database_url=url, views="off"))

    @app.task(read_only=True)
    def noop() -> None:
        pass

    @app.flow
    def straight(n: int) -> Flow[None]:
        return linear(*[noop.bind().named(f"t{i}") for i in range(n)])

    app.straight = straight
    return app


def line(url: str, tasks: int) -> None:
    """Made in memory and then copied, which takes less time."""
    memory, app = build("memory://"), build(url)
    run = memory.run(memory.straight(tasks), executor="inline")
    source, plan = memory.runtime.store, memory.plan(memory.straight(tasks))
    stream, events = source.stream(run.id), source.read(run.id)
    new = NewStream(app=stream.app, factory=stream.factory, key=None, inputs_digest=stream.inputs_digest)
    for first in range(0, len(events), BATCH):
        last = first + BATCH >= len(events)
        append = Append(
            run_id=run.id, expected=first, epoch=0, events=events[first : first + BATCH],
            status="SUCCEEDED" if last else "RUNNING", create=None if first else new,
            plans=() if first else (PlanRow(plan.fingerprint, plan.document),), release=last,
        )  # fmt: skip
        [result] = app.runtime.store.append([append])
        assert isinstance(result, Appended), result
    app.close()
    _sizes(url, tasks)


def many(url: str, runs: int) -> None:
    with closing(build(url)) as app:
        for first in range(0, runs, AT_ONCE):
            batch = [app.straight(2) for _ in range(first, min(first + AT_ONCE, runs))]
            app.run_many(batch, tags={"half": str(first // AT_ONCE % 2)})
    _sizes(url, runs)


def _sizes(url: str, many: int) -> None:
    with closing(open_store(url)) as store, closing(views_of(store)) as views:
        Projector(store, views, HISTORY).catch_up(within_s=600)
    log, seen = sizes_of(url, packed=True)
    answer(log=log / many, views=seen / many, both=(log + seen) / many)


def fold(url: str) -> None:
    with closing(build(url)) as app:
        [stream] = app.runtime.store.streams()
        before = most_resident_mib()
        took_us, loaded = _cpu_us(lambda: loading.load(app.runtime, app, stream))
    events = len(loaded.envelopes)
    answer(us=took_us / events, kib=(most_resident_mib() - before) * 1024 / events, events=events)


def verify(url: str) -> None:
    with closing(open_store(url)) as store:
        took_us, done = _cpu_us(lambda: verify_all(store))
    assert done.holds
    answer(us=took_us / done.events)


def project(url: str) -> None:
    with closing(open_store(url)) as store, closing(views_of(store)) as views:
        took_us, slot = _cpu_us(lambda: rebuild(store, views, HISTORY))
    answer(us=took_us / slot.mark.events)


def pages(url: str) -> None:
    with closing(open_store(url)) as store, Views(store) as views:
        answer(newest_ms=_page_ms(views, ""), found_ms=_page_ms(views, "state:succeeded tag:half=1"))


def _page_ms(views: Views, query: str) -> float:
    views.runs(query)
    began = time.perf_counter()
    for _ in range(PAGES):
        views.runs(query)
    return (time.perf_counter() - began) * 1e3 / PAGES


def _cpu_us(work: Callable[[], Any]) -> tuple[float, Any]:
    began = time.process_time()
    done = work()
    return (time.process_time() - began) * 1e6, done


def answer(**figures: float) -> None:
    print(json.dumps(figures), flush=True)


if __name__ == "__main__":
    what, where, *numbers = sys.argv[1:]
    {"line": line, "many": many, "fold": fold, "verify": verify, "project": project, "list": pages}[what](  # type: ignore[operator]
        where, *map(int, numbers)
    )
