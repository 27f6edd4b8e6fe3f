"""The figures of a log in Postgres, beside their floor and beside dbos and absurd: `benchmarks/run.py postgres`.

Everything is measured by turns on one server, each in a process of its own; a ratio is taken within a round.
"""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from importlib.metadata import version
from typing import Any

from benchmarks import peers
from benchmarks.measuring import HERE, ROOT, Figure, in_fresh_process
from benchmarks.postgres_server import Server, server
from benchmarks.turns import Measured, Rounds, by_turns, counted, judged, of, peer, ratio

OURS = HERE / "postgres_flowledger.py"
MORE = HERE / "postgres_more.py"
FLOOR = HERE / "postgres_floor.py"
DBOS = HERE / "peers" / "dbos_steps.py"
ABSURD = HERE / "peers" / "absurd_steps.py"


def postgres(*, short: bool) -> Iterator[Figure]:
    """The log in Postgres, beside its floor, dbos and absurd-sdk: one line, 500 runs at once, resume, replay."""
    with server() as running:
        in_fresh_process(ABSURD, "setup", running.url("absurd"), python=peers.python())
        yield Figure("postgres", "server", "version", [float(running.version.split()[0])], more=_versions())
        yield from linear(running, rounds=3 if short else 9)
        yield from slow_disk(running, rounds=3 if short else 7)
        yield from many(running, rounds=2 if short else 5)
        yield from resume(running, rounds=2 if short else 5)
        yield from fold(running, sizes=(1_000,) if short else (1_000, 100_000), rounds=2 if short else 3)


def linear(on: Server, *, rounds: int, n: int = 1_000) -> Iterator[Figure]:
    """One run, one task after the other."""
    got = by_turns(rounds, {
        "floor": partial(in_fresh_process, FLOOR, "commits", on.url("floor"), n),
        "ours": partial(in_fresh_process, OURS, "linear", on.url("flow"), n, "inline"),
        "ours, threads": partial(in_fresh_process, OURS, "linear", on.url("flow"), n, "threads"),
        "absurd": partial(peer, ABSURD, "linear", on.url("absurd"), n),
        "dbos": partial(peer, DBOS, "linear", on.url("dbos"), n),
    })  # fmt: skip
    figure = partial(Figure, "pg linear")
    yield figure("one-row commits", "1/s", of(got, "floor", "rate"))
    for name in ("ours", "ours, threads", "absurd", "dbos"):
        yield from _costs(figure, name, got[name])
    yield judged(figure("ours: appends committed per task", "", of(got, "ours", "own_commits"), "1.0"), most=1.005)
    yield judged(
        figure("ours: statements per task, of appends", "", of(got, "ours", "own_statements"), "≤ 1.1"), most=1.1
    )
    yield judged(figure("ours / one-row commits", "", ratio(got, "ours", "floor"), "≥ 0.5"), least=0.5)
    yield judged(figure("threads / one-row commits", "", ratio(got, "ours, threads", "floor")))
    yield judged(figure("ours / absurd", "times", ratio(got, "ours", "absurd"), "≥ 2"), least=2)
    yield judged(figure("ours / dbos", "times", ratio(got, "ours", "dbos"), "≥ 5"), least=5)


def slow_disk(on: Server, *, rounds: int, n: int = 300) -> Iterator[Figure]:
    """The same where `commit_delay` makes a commit take 2 ms more."""
    got = by_turns(rounds, {
        "floor": partial(in_fresh_process, FLOOR, "commits", on.url("floor_slow"), n),
        "ours": partial(in_fresh_process, OURS, "linear", on.url("flow_slow"), n, "inline"),
    })  # fmt: skip
    figure = partial(Figure, "pg linear, 2 ms disk")
    yield figure("one-row commits", "1/s", of(got, "floor", "rate"))
    yield from _costs(figure, "ours", got["ours"])
    yield judged(figure("ours / one-row commits", "", ratio(got, "ours", "floor"), "≥ 0.85"), least=0.85)


def many(on: Server, *, rounds: int, runs: int = 500, n: int = 10) -> Iterator[Figure]:
    """Many runs at once in one process. Thread bodies: as many threads as the setting gives, and with 64."""
    events = runs * (2 * n + 4)
    ours = partial(in_fresh_process, OURS, "many", on.url("many"), runs, n)
    got = by_turns(rounds, {
        "async": partial(ours, "async"),
        "bare rows": partial(in_fresh_process, FLOOR, "batches", on.url("many"), events, 1_000),
        "store alone": partial(in_fresh_process, OURS, "store", on.url("many"), runs, n),
        "engine alone": partial(in_fresh_process, OURS, "engine", "memory://", runs, n),
        "threads": partial(ours, "threads"),
        "64 threads": partial(ours, "threads", 64),
        "absurd": partial(peer, ABSURD, "many", on.url("absurd"), runs, n),
        "dbos": partial(peer, DBOS, "many", on.url("dbos"), runs, n),
    })  # fmt: skip
    figure = partial(Figure, "pg many")
    yield figure("bare rows, 1,000 to a commit", "events/s", of(got, "bare rows", "rate"))
    yield figure("store alone, same appends, 500 to a commit", "events/s", of(got, "store alone", "event_rate"))
    yield figure("engine alone, the log in memory", "events/s", of(got, "engine alone", "event_rate"))
    for name in ("async", "threads", "64 threads"):
        yield from _costs(figure, f"ours, {name}", got[name], commits="< 0.1", most=0.1)
        yield figure(f"ours, {name}: append p50", "ms", of(got, name, "p50_ms"))
        yield figure(f"ours, {name}: append p99", "ms", of(got, name, "p99_ms"))
        yield figure(f"ours, {name}: events per commit", "", of(got, name, "events_per_commit"))
    for name in ("absurd", "dbos"):
        yield from _costs(figure, name, got[name])
    per_event = ratio(got, "async", "store alone", "event_rate", "event_rate")
    yield judged(
        figure("ours, async / bare rows", "", ratio(got, "async", "bare rows", "event_rate"), "≥ 0.5"), least=0.5
    )
    yield figure("ours, async / store alone", "", per_event)
    yield figure("engine alone / bare rows: the most there can be", "", ratio(
        got, "engine alone", "bare rows", "event_rate", "rate"))  # fmt: skip
    yield figure("ours, async / engine and store one after the other", "", [
        one * (1 / engine + 1 / store) for one, engine, store in zip(
            of(got, "async", "event_rate"), of(got, "engine alone", "event_rate"),
            of(got, "store alone", "event_rate"), strict=True)])  # fmt: skip
    for name in ("async", "threads"):
        yield judged(figure(f"ours, {name} / absurd", "times", ratio(got, name, "absurd"), "≥ 7"), least=7)
        yield judged(figure(f"ours, {name} / dbos", "times", ratio(got, name, "dbos"), "≥ 15"), least=15)


def resume(on: Server, *, rounds: int, n: int = 1_000) -> Iterator[Figure]:
    """A run is killed half way (SIGKILL), then gone on with. Absurd waits for its lease, 120 s by default: left out."""
    got: Rounds = {"ours": [], "dbos": []}
    for turn in range(rounds):
        for name, script, python in (("ours", OURS, sys.executable), ("dbos", DBOS, peers.python())):
            database = "resume" if name == "ours" else "dbos"
            arguments = (on.url(database), n, f"killed {turn}")
            _killed(script, python, *arguments)
            got[name].append(in_fresh_process(script, "resume", *arguments, python=python))
    figure = partial(Figure, "pg resume")
    yield judged(figure("ours: to the first new task", "s", of(got, "ours", "first_s"), "≤ 0.1"), most=0.1)
    yield figure("ours: to the end", "s", of(got, "ours", "total_s"))
    yield figure("dbos: to the first new step", "s", of(got, "dbos", "first_s"))
    yield figure("dbos: to the end", "s", of(got, "dbos", "total_s"))


def fold(on: Server, *, sizes: tuple[int, ...], rounds: int) -> Iterator[Figure]:
    """How fast a log comes back: read from the server, chain verified, decoded, folded; and the fold alone."""
    for n in sizes:
        got = by_turns(rounds, {"ours": partial(in_fresh_process, OURS, "fold", on.url("resume"), n)})
        events = f"{got['ours'][0]['events']:,} events"
        loads = Figure("pg replay", f"{events}: read to folded", "events/s", of(got, "ours", "load_rate"), "≥ 50,000")
        yield judged(loads, least=50_000)
        yield Figure("pg replay", f"{events}: fold alone", "events/s", of(got, "ours", "fold_rate"))


def idle(*, short: bool) -> Iterator[Figure]:
    """Statements per second of a process that has nothing to do, all at the same time: an app that is open, a conductor that waits for jobs, and the peers' workers."""  # noqa: E501
    with server() as on:
        in_fresh_process(ABSURD, "setup", on.url("absurd"), python=peers.python())
        yield from _idle(on, seconds=20 if short else 60)


def _idle(on: Server, *, seconds: int) -> Iterator[Figure]:
    if not on.counts_statements:
        return
    asked = {
        "ours": partial(in_fresh_process, OURS, "idle", on.url("idle"), seconds),
        "ours, a conductor": partial(in_fresh_process, MORE, "idle", on.url("conductor"), seconds),
        "absurd": partial(peer, ABSURD, "idle", on.url("absurd"), seconds),
        "dbos": partial(peer, DBOS, "idle", on.url("dbos"), seconds),
    }
    with ThreadPoolExecutor(len(asked)) as pool:
        found = {name: pool.submit(ask) for name, ask in asked.items()}
    for name, measured in found.items():
        figure = Figure("idle", f"{name}: statements", "1/s", [measured.result()["per_s"]])
        if name.startswith("ours"):
            figure.target = "≤ 1"
            figure = judged(figure, most=1)
        yield figure


def _versions() -> dict[str, str]:
    """Of what else takes part."""
    pinned = dict(line.split("==") for line in peers.REQUIREMENTS.read_text().split())
    return {"psycopg": version("psycopg"), "dbos": pinned["dbos"], "absurd-sdk": pinned["absurd-sdk"]}


# -- measuring ----------------------------------------------------------------------------------


def _killed(script: Any, python: str, *arguments: object) -> None:
    """Run a script that ends itself by SIGKILL."""
    died = subprocess.run(
        [python, str(script), "crash", *map(str, arguments)], capture_output=True, check=False,
        env={"PYTHONPATH": str(ROOT)} if python == sys.executable else None,
    )  # fmt: skip
    assert died.returncode == -signal.SIGKILL, died.stderr[-2000:]


# -- figures ------------------------------------------------------------------------------------


def _costs(
    figure: Callable[..., Figure], who: str, got: list[Measured], *, commits: str = "", most: float | None = None
) -> Iterator[Figure]:
    """What a task has cost, whoever ran it."""
    yield figure(f"{who}: tasks", "1/s", [one["rate"] for one in got])
    yield figure(f"{who}: client CPU per task", "ms", [one["cpu_ms"] for one in got])
    committed = figure(f"{who}: commits per task", "", [one["commits"] for one in got], commits)
    yield committed if most is None else judged(committed, most=most)
    with suppress(LookupError):
        yield figure(f"{who}: statements per task", "", counted(got, "statements"))
    yield figure(f"{who}: WAL per task", "B", [one["wal_bytes"] for one in got])
    yield figure(f"{who}: tables and indexes per task", "B", [one["bytes"] for one in got])
