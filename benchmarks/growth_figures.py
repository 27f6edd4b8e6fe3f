"""How time, memory and bytes grow with tasks, runs and the length of the log."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from benchmarks.measuring import HERE, Figure, in_fresh_process

OURS = HERE / "growth_flowledger.py"
#: What the largest may take of the least, per unit, before something grows.
MOST = 1.5


def growth(*, short: bool) -> Iterator[Figure]:
    """Per task, per event, per run, on SQLite, against how many there are: a level line is a straight one in all. One line of no-op tasks: bytes of log and views; its log read, verified and folded; the whole log verified; the views made anew. Runs of two tasks: bytes, and pages of fifty."""  # noqa: E501
    sizes = (100, 1_000, 10_000) if short else (100, 1_000, 10_000, 100_000)
    rounds = 2 if short else 3
    found: dict[str, list[Figure]] = {}
    with tempfile.TemporaryDirectory() as folder:
        for n in sizes:
            for figure in _line(f"sqlite:///{Path(folder) / f'line{n}.db'}", n, rounds):
                found.setdefault(figure.more["plot"] + figure.more["series"], []).append(figure)
                yield figure
        for n in (100, 1_000, 10_000) if short else (100, 1_000, 10_000, 30_000):
            for figure in _many(f"sqlite:///{Path(folder) / f'many{n}.db'}", n, rounds):
                found.setdefault(figure.more["plot"] + figure.more["series"], []).append(figure)
                yield figure
    yield from (_levelled(figures) for figures in found.values())


def _line(url: str, n: int, rounds: int) -> Iterator[Figure]:
    size = in_fresh_process(OURS, "line", url, n)
    for series, name in (("log", "log"), ("log and views", "both")):
        yield _point("B per task against tasks", series, n, [size[name]])
    folds = [in_fresh_process(OURS, "fold", url) for _ in range(rounds)]
    events = int(folds[0]["events"])
    point = partial(_point, "us of CPU per event against events of one run")
    yield point("read, verified, folded", events, [one["us"] for one in folds])
    for series, what in (("chains verified", "verify"), ("views made anew", "project")):
        yield point(series, events, [in_fresh_process(OURS, what, url)["us"] for _ in range(rounds)])
    if n >= 1_000:  # before, the process itself is more than what it reads
        kib = [one["kib"] for one in folds]
        yield _point("KiB resident per event against events of one run", "read and folded", events, kib)


def _many(url: str, n: int, rounds: int) -> Iterator[Figure]:
    size = in_fresh_process(OURS, "many", url, n)
    for series, name in (("log", "log"), ("log and views", "both")):
        yield _point("B per run of two tasks against runs", series, n, [size[name]])
    pages = [in_fresh_process(OURS, "list", url) for _ in range(rounds)]
    for series, name in (("the newest", "newest_ms"), ("of a state and a tag", "found_ms")):
        yield _point("ms per page of fifty against runs", series, n, [one[name] for one in pages])
    verified = [in_fresh_process(OURS, "verify", url)["us"] for _ in range(rounds)]
    yield _point("us of CPU per event verified against runs", "all runs", n, verified)


def _point(plot: str, series: str, x: int, samples: list[float]) -> Figure:
    unit, _, _ = plot.partition(" ")
    _, _, of = plot.partition(" against ")
    more = {"plot": plot, "series": series, "x": x}
    return Figure("growth", f"{plot.partition(' against ')[0]}, {series}: {x:,} {of}", unit, samples, more=more)


def _levelled(figures: list[Figure]) -> Figure:
    """What the largest takes per unit, of what one ten times smaller (or the next) does: what a run, a process, a file
    takes once is spread over the first."""
    larger, smaller = figures[-1], figures[-2]
    ratio = larger.median / smaller.median
    name = f"{larger.more['plot'].partition(' against ')[0]}, {larger.more['series']}: the largest / the one before"
    return Figure("growth", name, "", [ratio], f"≤ {MOST}", ratio <= MOST)
