"""The figures of what is kept: lists of very many runs, and how much room a task takes on disk."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.measuring import HERE, Figure, in_fresh_process
from benchmarks.postgres_server import server
from benchmarks.turns import by_turns, of, peer, ratio

TASKFLOW = HERE / "peers" / "taskflow_kept.py"
DBOS = HERE / "peers" / "dbos_steps.py"
OURS = HERE / "size_flowledger.py"
LISTS = "generate,project,list,size"
KEEPING = "generate,project,verify,rebuild,lag"


def views(*, short: bool) -> Iterator[Figure]:
    """Lists of 1,000,000 runs in Postgres (short: 100,000) and of 100,000 in SQLite, written through the store and projected: pages of 50, three rounds of 20 requests each, every request for another flow, tag, key and place. Deep: from ten places all over the list."""  # noqa: E501
    many = 100_000 if short else 1_000_000
    with server() as on:
        yield from _of_views("postgres", _ours(on.url("views")), many, LISTS)
    with tempfile.TemporaryDirectory() as folder:
        yield from _of_views("sqlite", f"sqlite:///{folder}/log.db", 100_000, LISTS)


def views_sqlite(*, short: bool) -> Iterator[Figure]:
    """The same lists of 1,000,000 runs in SQLite (short: 100,000)."""
    with tempfile.TemporaryDirectory() as folder:
        yield from _of_views("sqlite", f"sqlite:///{folder}/log.db", 100_000 if short else 1_000_000, LISTS)


def keeping(*, short: bool) -> Iterator[Figure]:
    """A log of 100,000 runs (short: 10,000): its chains verified, its views made anew; and how long an event takes from its append to the commit of the views while events come half as fast as they can be folded. Writer and projector share one process there."""  # noqa: E501
    runs = 10_000 if short else 100_000
    with server() as on:
        yield from _of_views("postgres", _ours(on.url("keeping")), runs, KEEPING)
    with tempfile.TemporaryDirectory() as folder:
        yield from _of_views("sqlite", f"sqlite:///{folder}/log.db", runs, KEEPING)


def _of_views(where: str, url: str, runs: int, parts: str) -> Iterator[Figure]:
    found: Any = in_fresh_process(HERE / "views_figures.py", url, "--runs", runs, "--parts", parts, "--json")
    for each in found["figures"]:
        figure = Figure(**each)
        figure.benchmark = f"{where}, {runs:,} runs"
        yield figure


def size(*, short: bool) -> Iterator[Figure]:
    """Bytes on disk per no-op task, of flows of ten tasks in a line, indexes included: our log and our views beside the rows of taskflow's persistence (sqlalchemy) and of DBOS, by turns. As it lies there, and packed: after VACUUM (FULL)."""  # noqa: E501
    rounds, runs, n = 2 if short else 3, 30, 10
    with server() as on, tempfile.TemporaryDirectory() as folder:
        got = by_turns(rounds, {
            "ours": partial(in_fresh_process, OURS, _ours(on.url("size")), runs, n),
            "taskflow": partial(peer, TASKFLOW, "size", on.url("taskflow"), runs, n),
            "dbos": partial(peer, DBOS, "size", on.url("dbos"), runs, n),
        })  # fmt: skip
        yield from _sizes("postgres", got)
        files = Path(folder)
        got = by_turns(rounds, {
            "ours": partial(in_fresh_process, OURS, f"sqlite:///{files}/ours.db", runs, n),
            "taskflow": partial(peer, TASKFLOW, "size", f"sqlite:///{files}/taskflow.db", runs, n),
            "dbos": partial(peer, DBOS, "size", f"sqlite:///{files}/dbos.db", runs, n),
        })  # fmt: skip
        yield from _sizes("sqlite", got)


def _ours(url: str) -> str:
    return url.replace("postgresql:", "postgresql+psycopg:")


def _sizes(where: str, got: dict[str, list[dict[str, Any]]]) -> Iterator[Figure]:
    figure = partial(Figure, f"size, {where}")
    for how in ("lies", "packed"):
        said = "as it lies" if how == "lies" else "packed"
        yield figure(f"ours, log: {said}", "B/task", of(got, "ours", f"log_{how}"))
        yield figure(f"ours, views: {said}", "B/task", of(got, "ours", f"views_{how}"))
        yield figure(f"ours, log and views: {said}", "B/task", of(got, "ours", how))
        for name in ("taskflow", "dbos"):
            yield figure(f"{name}: {said}", "B/task", of(got, name, how))
    for name in ("taskflow", "dbos"):
        yield figure(f"{name} / ours, log and views: packed", "times", ratio(got, name, "ours", "packed", "packed"))
