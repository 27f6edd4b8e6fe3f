"""What every benchmark shares: figures with their spread, and on which machine they were taken."""

from __future__ import annotations

import json
import os
import platform
import sqlite3
import statistics
import subprocess
import sys
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
ROOT = HERE.parent


@dataclass
class Figure:
    """One measured quantity: its samples in ``unit``, and the ``target`` it is held against."""

    benchmark: str
    name: str
    unit: str
    samples: list[float]
    target: str = ""
    met: bool | None = None
    more: dict[str, Any] = field(default_factory=dict[str, Any])

    @property
    def median(self) -> float:
        return statistics.median(self.samples)

    def as_json(self) -> str:
        return json.dumps(
            {
                "benchmark": self.benchmark, "name": self.name, "unit": self.unit, "median": self.median,
                "least": min(self.samples), "most": max(self.samples), "n": len(self.samples),
                "target": self.target, "met": self.met, **self.more,
            }
        )  # fmt: skip


def machine() -> dict[str, object]:
    """What the figures depend on."""
    return {
        "machine": platform.machine(),
        "cores": os.cpu_count(),
        "load": os.getloadavg()[0],
        "system": platform.release(),
        "python": platform.python_version(),
        "sqlite": sqlite3.sqlite_version,
        "pydantic": version("pydantic"),
        "msgspec": version("msgspec"),
        "sqlalchemy": version("sqlalchemy"),
        "commit": _commit(),
    }


def _commit() -> str:
    asked = subprocess.run(
        ["git", "describe", "--always", "--dirty"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    return asked.stdout.strip()


def in_fresh_process(script: Path, *arguments: object, python: str = sys.executable) -> dict[str, float]:
    """What a script prints as JSON on its last line; a process of its own, so that no measurement warms another."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)} if python == sys.executable else dict(os.environ)
    done = subprocess.run(
        [python, str(script), *map(str, arguments)], capture_output=True, text=True, check=False, env=environment
    )
    if done.returncode:
        raise RuntimeError(f"{script.name} {arguments}: {done.stderr[-2000:]}")
    figures: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return figures


def table(figures: list[Figure]) -> str:
    """The figures for people."""
    rows = [("benchmark", "figure", "median", "least … most", "target", "")]
    for f in figures:
        mark = {None: "", True: "ok", False: "MISSED"}[f.met]
        spread = f"{min(f.samples):,.4g} … {max(f.samples):,.4g}"
        rows.append((f.benchmark, f.name, f"{f.median:,.4g} {f.unit}", spread, f.target, mark))
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
    )
