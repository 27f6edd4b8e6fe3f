"""The figures beside one line and many runs: fan-out, jobs and views, memory, starting, growth of memory, pgbench."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks import peers
from benchmarks.measuring import HERE, ROOT, Figure, in_fresh_process
from benchmarks.postgres_server import Server, server
from benchmarks.turns import Measured, by_turns, judged, of, peer, ratio

MORE = HERE / "postgres_more.py"
PEERS = HERE / "peers"
REDIS = os.environ.get("FLOWLEDGER_BENCH_REDIS", "redis://127.0.0.1:6379/13")


def fanout(*, short: bool) -> Iterator[Figure]:
    """A thousand no-op tasks side by side: in one run of ours, as jobs of a queue, as a chord (Celery on Redis, which keeps nothing; its database is `FLOWLEDGER_BENCH_REDIS`). Ours runs them in its own process."""  # noqa: E501
    n = 1_000
    with server() as on:
        in_fresh_process(PEERS / "absurd_steps.py", "setup", on.url("absurd"), python=peers.python())
        got = by_turns(2 if short else 5, {
            "async": partial(in_fresh_process, MORE, "fanout", on.url("flow"), n, "async"),
            "threads": partial(in_fresh_process, MORE, "fanout", on.url("flow"), n, "sync"),
            "absurd": partial(peer, PEERS / "absurd_steps.py", "many", on.url("absurd"), n, 1),
            "dbos": partial(peer, PEERS / "dbos_steps.py", "fanout", on.url("dbos"), n),
            "procrastinate": partial(peer, PEERS / "procrastinate_jobs.py", "fanout", on.url("procrastinate"), n),
            "celery": partial(peer, PEERS / "celery_chord.py", "fanout", REDIS, n),
        })  # fmt: skip
    figure = partial(Figure, "fan-out")
    for name in got:
        who = f"ours, {name}" if name in ("async", "threads") else name
        yield figure(f"{who}: tasks", "1/s", of(got, name, "rate"))
    yield figure("ours, threads: commits per task", "", of(got, "threads", "commits"))
    yield figure("ours, threads: client CPU per task", "ms", of(got, "threads", "cpu_ms"))
    yield judged(figure("ours, threads / dbos", "times", ratio(got, "threads", "dbos"), "≥ 10"), least=10)
    yield judged(figure("ours, threads / celery", "times", ratio(got, "threads", "celery"), "≥ 5"), least=5)
    for name in ("absurd", "procrastinate"):
        yield figure(f"ours, threads / {name}", "times", ratio(got, "threads", name))


def jobs(*, short: bool) -> Iterator[Figure]:
    """The job board, and views: submitting, claiming in batches of 50, from a submission to the first body with a conductor in another process, and a projector that has nothing else to do."""  # noqa: E501
    rounds = 2 if short else 3
    with server() as on:
        ask = partial(in_fresh_process, MORE)
        got = by_turns(rounds, {
            "board": partial(ask, "board", on.url("more"), 500),
            "latency": partial(ask, "latency", on.url("more"), 20),
            "views": partial(ask, "views", on.url("more"), 100, 20),
        })  # fmt: skip
    figure = partial(Figure, "jobs")
    yield figure("submitted one after the other", "1/s", of(got, "board", "submit_rate"))
    yield figure("claimed", "1/s", of(got, "board", "claim_rate"))
    yield figure("from submission to the first start: p50", "ms", of(got, "latency", "p50_ms"))
    yield figure("from submission to the first start: most", "ms", of(got, "latency", "most_ms"))
    yield judged(figure("views: events folded", "1/s", of(got, "views", "rate"), "≥ 10,000"), least=10_000)


def memory(*, short: bool) -> Iterator[Figure]:
    """What is resident: per waiting run, after 1,000 tasks on Postgres; and what a plan and its state take per atom (tracemalloc)."""  # noqa: E501
    figure = partial(Figure, "memory")
    for n in (100, 1_000, 10_000) if short else (100, 1_000, 10_000, 100_000):
        found = in_fresh_process(HERE / "atoms.py", "linear", n)
        kib = [found["bytes_per_atom"] / 1024]
        point = figure(f"linear, {n:,} tasks: plan and state per atom, half way", "KiB", kib, "≤ 1.5", more={
            "plot": "KiB per atom against atoms", "series": "plan and state", "x": n})  # fmt: skip
        yield judged(point, most=1.5)
    with server() as on:
        resident = [in_fresh_process(MORE, "resident", on.url("more"), 1_000)["MiB"] for _ in range(3)]
        waiting = [in_fresh_process(MORE, "waiting", on.url("more"), 10_000)["bytes"] / 1024 for _ in range(3)]
    yield judged(figure("resident after 1,000 tasks on Postgres", "MiB", resident, "< 70"), most=70)
    yield judged(figure("resident per waiting run, of 10,000", "KiB", waiting, "≤ 20"), most=20)


def starting(*, short: bool) -> Iterator[Figure]:
    """What it takes to begin: CPU time of a process that imports the package, that asks for help; packages installed without extras."""  # noqa: E501
    rounds, figure = 5 if short else 15, partial(Figure, "starting")
    program = Path(sys.executable).with_name("flowledger")
    bare = _cpu_ms(rounds, [sys.executable, "-c", "pass"])
    imported = _cpu_ms(rounds, [sys.executable, "-c", "import flowledger"])
    used = _cpu_ms(rounds, [sys.executable, "-c", "from flowledger import App, linear; App('x')"])
    helped = _cpu_ms(rounds, [str(program), "--help"])
    yield figure("python -c pass", "ms", bare)
    yield judged(figure("import flowledger", "ms", imported, "≤ 150"), most=150)
    yield figure("an App", "ms", used)
    yield judged(figure("flowledger --help", "ms", helped, "≤ 250"), most=250)


def _cpu_ms(rounds: int, command: list[str]) -> list[float]:
    taken: list[float] = []
    for _ in range(rounds + 1):
        before = os.times()
        subprocess.run(command, check=True, capture_output=True, cwd=ROOT)
        after = os.times()
        used = after.children_user + after.children_system - before.children_user - before.children_system
        taken.append(used * 1e3)
    return taken[1:]


def prefect(*, short: bool) -> Iterator[Figure]:
    """Prefect, one task after the other in one flow, on the server it starts by itself (SQLite), beside ours on SQLite."""  # noqa: E501
    ours, theirs = [], []
    for _ in range(1 if short else 3):
        theirs.append(peer(PEERS / "prefect_tasks.py", "linear", 100))
        found: Any = in_fresh_process(HERE / "sqlite_linear.py", HERE, 1_000, 1)
        ours.append({"rate": found["rate"][0]})
    got: dict[str, list[Measured]] = {"ours": ours, "prefect": theirs}
    yield Figure("prefect", "ours on SQLite: tasks", "1/s", of(got, "ours", "rate"))
    yield Figure("prefect", "prefect: tasks", "1/s", of(got, "prefect", "rate"))
    yield Figure("prefect", "prefect: client CPU per task", "ms", of(got, "prefect", "cpu_ms"))
    yield Figure("prefect", "ours / prefect", "times", ratio(got, "ours", "prefect"))


def pgbench(*, short: bool) -> Iterator[Figure]:
    """The server's own benchmark: an INSERT of one event-sized row per transaction, at 1, 8 and 32 clients."""
    with server() as on:
        for clients in (1, 8, 32):
            rates = [_pgbench(on, clients, 3 if short else 10) for _ in range(2 if short else 3)]
            yield Figure("pgbench", f"{clients} clients", "1/s", rates, more={
                "plot": "one-row commits per second against clients", "series": "pgbench", "x": clients})  # fmt: skip


def _pgbench(on: Server, clients: int, seconds: int) -> float:
    table = "CREATE TABLE IF NOT EXISTS bench (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, payload bytea)"
    subprocess.run(["psql", "-q", on.url("floor"), "-c", table], check=True, capture_output=True)
    script = HERE / "insert.sql"
    command = ["pgbench", "-n", "-M", "prepared", "-c", clients, "-j", 2, "-T", seconds, "-f", script, on.url("floor")]
    ran = subprocess.run([str(part) for part in command], check=True, capture_output=True, text=True)
    found = re.search(r"tps = ([0-9.]+)", ran.stdout)
    assert found is not None, ran.stdout
    return float(found[1])
