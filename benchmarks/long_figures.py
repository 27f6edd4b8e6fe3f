"""The figures of what is huge: runs of very many events, and very many runs at once."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from functools import partial

from benchmarks.measuring import HERE, Figure, in_fresh_process
from benchmarks.postgres_server import server
from benchmarks.turns import judged

OURS = HERE / "long_flowledger.py"
MOST_MIB = 512


def long(*, short: bool) -> Iterator[Figure]:
    """One line of tasks whose process died near its end or in its middle, gone on with by another: from calling `run` to the first new body, compiling the flow included; the log read, its chain verified and folded; 1,000 runs that wait for each other in one process. Resident: the most that the process had. The logs are made in memory and copied."""  # noqa: E501
    rounds = 2 if short else 3
    cases = ((10_000, "near its end"),) if short else (
        (100_000, "near its end"), (100_000, "half way"), (200_000, "near its end"))  # fmt: skip
    for events, where in cases:
        tasks = events // 2 + 100 if where == "near its end" else events
        with server() as on:
            yield from _long("postgres", _ours(on.url("long")), rounds, events, where, tasks)
        with tempfile.TemporaryDirectory() as folder:
            yield from _long("sqlite", f"sqlite:///{folder}/log.db", rounds, events, where, tasks)
    with server() as on:
        yield _together("postgres", _ours(on.url("many")))
    with tempfile.TemporaryDirectory() as folder:
        yield _together("sqlite", f"sqlite:///{folder}/log.db")


def _long(store: str, url: str, rounds: int, events: int, where: str, tasks: int) -> Iterator[Figure]:
    in_fresh_process(OURS, "lay", url, tasks, events // 2)
    replays = [in_fresh_process(OURS, "replay", url, tasks) for _ in range(rounds)]
    resumes = [in_fresh_process(OURS, "go_on", url, tasks) for _ in range(rounds)]
    figure = partial(Figure, f"long, {store}")
    name = f"{events:,} events, {where}"
    first = figure(f"{name}: to the first new task", "s", [one["first_s"] for one in resumes])
    if events <= 100_000:  # R22
        first.target = "≤ 5"
        judged(first, most=5)
    yield first
    yield figure(f"{name}: CPU of that process until then", "s", [one["cpu_s"] for one in resumes])
    yield judged(figure(f"{name}: read to folded", "s", [one["replay_s"] for one in replays], "≤ 4"), most=4)
    resident = [one["most_mib"] for one in resumes]
    yield judged(figure(f"{name}: resident", "MiB", resident, f"≤ {MOST_MIB}"), most=MOST_MIB)


def _together(store: str, url: str, runs: int = 1_000) -> Figure:
    most = [in_fresh_process(OURS, "together", url, runs)["most_mib"]]
    name = f"{runs:,} runs at once: resident"
    return judged(Figure(f"long, {store}", name, "MiB", most, f"≤ {MOST_MIB}"), most=MOST_MIB)


def _ours(url: str) -> str:
    return url.replace("postgresql:", "postgresql+psycopg:")
