"""Runs that wait, in one process: `python benchmarks/waiting.py [RUNS] [URL]`. One JSON object on stdout.

Each run sleeps until a time that is the same for all but a spread of some seconds, then does one no-op task. Measured:
what a waiting run takes of memory, and how long after its due time its timer's event is written (p50, p99, most).
"""

from __future__ import annotations

import json
import statistics
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from threading import Thread
from time import monotonic
from time import sleep as pause

if __package__ in (None, ""):
    sys.path.insert(0, str(Path(__file__).parents[1]))

from flowledger import App, Flow, linear, sleep
from flowledger.adapters import loading
from flowledger.events.facts import TimerFired

RUNS = int(sys.argv[1]) if len(sys.argv) > 1 else 10_000
URL = sys.argv[2] if len(sys.argv) > 2 else "memory://"
#: So long the process has to take them all up before the first is due, per run; and over so long they come due.
PREPARE_S = RUNS * 0.006 + 2
SPREAD_S = 10.0

app = App("waiting", database_url=URL)


@app.task(read_only=True)
async def noop() -> None: ...


@app.flow
def later(n: int, until: datetime) -> Flow[None]:
    return linear(sleep(until), noop)


def resident_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096


def main() -> None:
    app.run(noop.bind())  # what is made once is made
    before = resident_bytes()
    first = datetime.now(UTC) + timedelta(seconds=PREPARE_S)
    parts = [later(n, first + timedelta(seconds=SPREAD_S * n / RUNS)) for n in range(RUNS)]
    waiting: list[int] = []
    until = monotonic() + PREPARE_S - 0.5

    def look() -> None:
        pause(max(0.0, until - monotonic()))
        waiting.append(resident_bytes())

    looker = Thread(target=look)
    looker.start()
    runs = app.run_many(parts, at_once=RUNS)
    looker.join()
    store = app.runtime.store
    late = sorted(
        (envelope.time_us - envelope.event.due) / 1e3
        for run in runs
        for envelope in loading.read(store, run.id)
        if isinstance(envelope.event, TimerFired)
    )
    started_late = sum(1 for ms in late if ms > 1_000 * SPREAD_S)
    print(
        json.dumps(
            {
                "runs": RUNS, "url": URL.partition(":")[0], "kib_per_waiting_run": (waiting[0] - before) / RUNS / 1024,
                "late_ms_p50": statistics.median(late), "late_ms_p99": late[int(0.99 * len(late))],
                "late_ms_most": late[-1], "not_taken_up_in_time": started_late,
                "succeeded": sum(run.state == "SUCCEEDED" for run in runs),
            }
        )
    )  # fmt: skip
    app.close()


if __name__ == "__main__":
    main()
