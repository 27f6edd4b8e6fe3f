"""The page that shows what was measured: `docs/benchmarks.md` and its plots, out of `docs/benchmarks.jsonl`.

Nothing on the page is written by hand. `benchmarks/run.py --record` replaces the lines of the benchmarks it has run,
and calls this.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from benchmarks.measuring import ROOT, Figure
from benchmarks.plotting import Point, chart

RECORD = ROOT / "docs" / "benchmarks.jsonl"
PAGE = ROOT / "docs" / "benchmarks.md"
PLOTS = ROOT / "docs" / "plots"

Line = dict[str, Any]

_HEAD = """# Benchmarks

Made from [benchmarks.jsonl](benchmarks.jsonl) by `benchmarks/report.py`; not written by hand. Where the time goes is on [performance.md](performance.md).

```
make bench-short          # flowledger, the floor, taskflow, dbos, absurd-sdk, celery: the main rows, about ten minutes
make bench                # all of it
make bench-NAME           # one of the sections below
.venv/bin/python benchmarks/run.py NAME --record      # and this page anew
```

Everything compared is measured in the same run, by turns, each measurement in a process of its own; a ratio is taken within a turn, and what is shown is the median with the least and the most.
Ratios travel to other machines, absolute figures do not. The peers are installed from the package index into an environment of their own and set up as their own pages say;
nothing is tuned that a user would not get by default. Commits are transaction ids handed out by the server, statements come from pg_stat_statements; both count everything a process does,
its heartbeat, hints and views included. *floor*: what the server or disk itself can do, through libpq's own blocking call, in the same turn.
"""  # noqa: E501 - a page, not code


def record(name: str, about: Line, figures: Iterable[Figure]) -> None:
    """Put the figures of a benchmark in the place of its former ones."""
    lines = [line for line in read() if line["run"] != name]
    lines.append({"run": name, "about": about})
    lines += [{"run": name, **json.loads(figure.as_json())} for figure in figures]
    RECORD.write_text("".join(json.dumps(line) + "\n" for line in lines))


def read() -> list[Line]:
    """What has been recorded."""
    return [json.loads(line) for line in RECORD.read_text().splitlines()] if RECORD.exists() else []


def write(titles: dict[str, str]) -> None:
    """Write the page and its plots; ``titles`` says what each benchmark is about, in the order of the page."""
    text, plots = page(titles)
    PAGE.write_text(text)
    PLOTS.mkdir(exist_ok=True)
    for file, plot in plots.items():
        (PLOTS / file).write_text(plot)


def page(titles: dict[str, str]) -> tuple[str, dict[str, str]]:
    """The page, and its plots by file name."""
    lines = read()
    plots: dict[str, str] = {}
    names = [name for name in titles if any(line["run"] == name for line in lines)]
    parts = [_HEAD, _judgements([line for line in lines if line.get("target")], names)]
    for name in names:
        own = [line for line in lines if line["run"] == name]
        parts.append(_section(name, titles[name], own, plots))
    return "\n".join(parts), plots


def _judgements(lines: list[Line], names: list[str]) -> str:
    rows = ["## Targets", "", "| | what | target | median | least … most | |", "|---|---|---|---|---|---|"]
    for name in names:
        for line in lines:
            if line["run"] == name and line["met"] is not None:
                mark = "met" if line["met"] else "**missed**"
                rows.append(f"| {line['benchmark']} | {line['name']} | {line['target']} | {_figure(line)} | {mark} |")
    return "\n".join([*rows, ""])


def _section(name: str, title: str, lines: list[Line], plots: dict[str, str]) -> str:
    about = lines[0]["about"]
    rows = [f"## {name}", "", title, "", _machine(about), ""]
    figures = [line for line in lines if "name" in line]
    for plot in dict.fromkeys(line["plot"] for line in figures if line.get("plot")):
        file = f"{name}-{''.join(c if c.isalnum() else '-' for c in plot)}.svg"
        plots[file] = _plotted(plot, figures)
        rows += [f"![{plot}](plots/{file})", ""]
    rows += ["| | figure | median | least … most | turns | target |", "|---|---|---|---|---|---|"]
    rows += [
        f"| {line['benchmark']} | {line['name']} | {_figure(line)} | {line['n']} | {line['target']} |"
        for line in figures
    ]
    return "\n".join([*rows, ""])


def _figure(line: Line) -> str:
    return f"{_number(line['median'])} {line['unit']} | {_number(line['least'])} … {_number(line['most'])}"


def _number(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 1_000 else f"{value:.3g}"


def _machine(about: Line) -> str:
    versions = ", ".join(f"{key} {value}" for key, value in about.items() if key not in _TOLD)
    return (
        f"{about['at']}, {about['cores']} cores, load {about['load']:.1f} before and {about['load_after']:.1f} after, "
        f"{'short, ' if about['short'] else ''}`{about['commit']}`; {versions}."
    )


_TOLD = frozenset({"at", "cores", "load", "load_after", "short", "commit", "machine", "system"})


def _plotted(plot: str, figures: list[Line]) -> str:
    series: dict[str, list[Point]] = {}
    for line in figures:
        if line.get("plot") == plot:
            point = Point(line["x"], line["least"], line["median"], line["most"])
            series.setdefault(line["series"], []).append(point)
    y_label, _, x_label = plot.partition(" against ")
    return chart(plot, x_label, y_label, series)
