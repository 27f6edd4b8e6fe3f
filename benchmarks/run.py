"""The figures of the speed budget: `python benchmarks/run.py [NAME…] [--short]`.

    flat      CPU per no-op task in memory, 100 to 100,000 tasks, compile included: largest/smallest ≤ 1.5
    taskflow  1,000 linear tasks, by turns with taskflow's serial engine in the same session: ≥ 300 times less CPU
    sqlite    one linear run on SQLite: 1.0 commits per task, ≥ 0.5 of the disk's one-row-commit rate
    expansion 10,000 children over a list that is a result, by turns with 10,000 over a list that is an input: ≤ 1.3
    postgres  the log in Postgres beside its floor, dbos and absurd: linear, 500 runs at once, resume, replay
    idle      statements of processes that have nothing to do: an app, a conductor, the workers of dbos and absurd
    fanout    1,000 tasks side by side, beside the queues of dbos, absurd, procrastinate, and a chord of Celery
    workers   tasks made by other processes through RabbitMQ, beside taskflow and Celery
    conductor one conductor with 1,000 runs under way: memory, events per second, fairness
    jobs      submitting, claiming, from submission to start, projecting
    views     lists of 1,000,000 runs in Postgres: first, filtered and deep pages
    views_sqlite    the same in SQLite
    keeping   a log of 100,000 runs: verified, its views made anew, their lag at half load
    long      one run of 100,000 and of 200,000 events: gone on with after a kill, memory; 1,000 runs at once
    growth    bytes, time and memory against tasks, events and runs, on SQLite: level lines
    size      bytes on disk per task: log and views beside the rows of taskflow and DBOS
    memory    per atom, per waiting run, of a process
    starting  importing, `flowledger --help`
    prefect   one flow of Prefect
    pgbench   what the server does for 1, 8 and 32 clients

JSON lines go to stdout as they come, the table for people to stderr. Everything is measured in fresh processes; ratios
are taken within a round and travel, absolute times do not.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

if __package__ in (None, ""):
    sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks import peers, report
from benchmarks.growth_figures import growth
from benchmarks.long_figures import long
from benchmarks.measuring import HERE, Figure, in_fresh_process, machine, table
from benchmarks.more_figures import fanout, jobs, memory, pgbench, prefect, starting
from benchmarks.postgres_figures import idle, postgres
from benchmarks.stored_figures import keeping, size, views, views_sqlite
from benchmarks.turns import judged
from benchmarks.workers_figures import conductor, workers

SIZES = (100, 1_000, 10_000, 100_000)
PATTERNS = ("linear", "unordered", "graph")


def flat(*, short: bool) -> Iterator[Figure]:
    """CPU per task must not depend on how many there are."""
    rounds, budget = (3, 20_000) if short else (7, 200_000)
    for pattern in PATTERNS:
        samples: dict[int, list[float]] = {n: [] for n in SIZES}
        for _ in range(rounds):  # the sizes by turns, so that a busy spell hits them alike
            for n in SIZES:
                figures = in_fresh_process(HERE / "noop.py", pattern, n, max(1, budget // n))
                samples[n].append(figures["cpu_us"])
        for n in SIZES:
            point = Figure("flat", f"{pattern}, {n:,} tasks", "us CPU/task", samples[n], more={
                "plot": "us of CPU per task against tasks", "series": pattern, "x": n})  # fmt: skip
            if (pattern, n) == ("linear", 1_000):
                point.target = "≤ 25"
                judged(point, most=25)
            yield point
        medians = [sorted(samples[n])[rounds // 2] for n in SIZES]
        spread = max(medians) / min(medians)
        yield Figure("flat", f"{pattern}, largest/smallest", "", [spread], "≤ 1.5", spread <= 1.5)


def taskflow(*, short: bool) -> Iterator[Figure]:
    """The ancestor, side by side."""
    rounds, n, python = 2 if short else 5, 1_000, peers.python()
    ours, theirs, ratios = [], [], []
    for _ in range(rounds):
        mine = in_fresh_process(HERE / "noop.py", "linear", n, 10)["cpu_us"]
        other = in_fresh_process(HERE / "peers" / "taskflow_linear.py", n, python=python)["cpu_us"]
        ours.append(mine)
        theirs.append(other)
        ratios.append(other / mine)
    yield Figure("taskflow", f"flowledger, {n:,} linear tasks", "us CPU/task", ours)
    yield Figure("taskflow", f"taskflow 6.5.0 serial, {n:,} linear tasks", "us CPU/task", theirs)
    yield Figure("taskflow", "taskflow / flowledger", "times", ratios, "≥ 300", min(ratios) >= 300)


def sqlite(*, short: bool) -> Iterator[Figure]:
    """A straight line is one commit per task, and little more than that."""
    rounds = 5 if short else 15
    figures: dict[str, list[float]] = in_fresh_process(HERE / "sqlite_linear.py", HERE, 1_000, rounds)  # type: ignore[assignment]
    shares = [rate / floor for rate, floor in zip(figures["rate"], figures["floor"], strict=True)]
    per_task = figures["commits_per_task"]
    yield Figure("sqlite", "one-row commits", "1/s", figures["floor"])
    yield Figure("sqlite", "tasks of one linear run", "1/s", figures["rate"])
    yield Figure("sqlite", "commits per task", "", per_task, "1.0", max(per_task) <= 1.01)
    share = sorted(shares)[rounds // 2]
    yield Figure("sqlite", "share of the one-row-commit rate", "", shares, "≥ 0.5", share >= 0.5)


def expansion(*, short: bool) -> Iterator[Figure]:
    """Children that come while the run is under way cost what those cost that were there from the start."""
    rounds, sizes = (3, (1_000, 10_000)) if short else (7, (100, 1_000, 10_000, 100_000))
    forms = ("known", "late", "known_flows", "late_flows")
    for n in sizes:
        samples: dict[str, list[float]] = {form: [] for form in forms}
        for _ in range(rounds):
            for form in forms:
                repeats = max(1, 20_000 // n)
                samples[form].append(in_fresh_process(HERE / "expansion.py", form, n, repeats)["cpu_us"])
        for kind, one, other in (("tasks", "known", "late"), ("flows of two", "known_flows", "late_flows")):
            yield Figure("expansion", f"{n:,} {kind}, known", "us CPU/child", samples[one])
            yield Figure("expansion", f"{n:,} {kind}, late", "us CPU/child", samples[other])
            ratios = [late / known for late, known in zip(samples[other], samples[one], strict=True)]
            met = sorted(ratios)[rounds // 2] <= 1.3 if n >= 10_000 else None
            yield Figure(
                "expansion", f"{n:,} {kind}, late / known", "times", ratios, "≤ 1.3" if n >= 10_000 else "", met
            )
    for n in (30, 300) if short else (30, 300, 900):
        passes = [in_fresh_process(HERE / "expansion.py", "loop", n, 900 // n)["cpu_us"] for _ in range(rounds)]
        yield Figure("expansion", f"a loop of {n:,} passes", "us CPU/pass", passes)


BENCHMARKS: dict[str, Callable[..., Iterator[Figure]]] = {
    "flat": flat, "taskflow": taskflow, "sqlite": sqlite, "expansion": expansion, "postgres": postgres,
    "idle": idle, "fanout": fanout, "workers": workers, "conductor": conductor, "jobs": jobs, "views": views,
    "views_sqlite": views_sqlite, "keeping": keeping, "long": long, "growth": growth,
    "size": size, "memory": memory, "starting": starting, "prefect": prefect, "pgbench": pgbench,
}  # fmt: skip
#: What `--short` runs: the main rows.
SHORT = ("flat", "taskflow", "sqlite", "postgres", "idle", "fanout", "starting")


def main() -> int:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("names", nargs="*", metavar="NAME", help=f"which (all): {', '.join(BENCHMARKS)}")
    options.add_argument("--short", action="store_true", help="fewer rounds, and only what has a short form")
    options.add_argument("--record", action="store_true", help="keep the figures, and write docs/benchmarks.md anew")
    chosen = options.parse_args()
    unknown = set(chosen.names) - set(BENCHMARKS)
    if unknown:
        options.error(f"no benchmark {', '.join(sorted(unknown))}: there are {', '.join(BENCHMARKS)}")
    every: list[Figure] = []
    for name in chosen.names or (SHORT if chosen.short else BENCHMARKS):
        every += _measured(name, short=chosen.short, recorded=chosen.record)
    if chosen.record:
        report.write(titles())
    print(table(every), file=sys.stderr)
    return int(any(figure.met is False for figure in every))


def titles() -> dict[str, str]:
    """What each benchmark is about, for the page."""
    return {name: (measure.__doc__ or "").strip() for name, measure in BENCHMARKS.items()}


def _measured(name: str, *, short: bool, recorded: bool) -> list[Figure]:
    about = {**machine(), "short": short, "at": time.strftime("%Y-%m-%d %H:%M")}
    print(json.dumps({"benchmark": "machine", **about}), flush=True)
    figures: list[Figure] = []
    for figure in BENCHMARKS[name](short=short):
        print(figure.as_json(), flush=True)
        figures.append(figure)
    if recorded:
        report.record(name, {**about, "load_after": os.getloadavg()[0]}, figures)
    return figures


if __name__ == "__main__":
    sys.exit(main())
