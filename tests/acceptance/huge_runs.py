"""Huge runs, each in a process of its own, which says how much it had resident: `python -m tests.acceptance.huge_runs`.

kill URL TASKS AT       ten lines side by side, of so many tasks in all, killed in the body that begins as number AT
resume URL TASKS        goes on with them
together URL RUNS       so many runs, each of which waits in its middle until all are there
large URL SIZE          a result of so many characters that the next task takes
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import subprocess
import sys
import time
from itertools import count
from pathlib import Path
from typing import Any

from flowledger import App, Flow, Run, linear, unordered

KEY = "huge"
LINES = 10
ROOT = Path(__file__).parents[2]


class HugeWorld:
    """The app as one process has it. ``dies_at``: the body that kills it; ``gathering``: so many wait together."""

    def __init__(self, url: str, *, dies_at: int = 0, gathering: int = 0) -> None:
        self.app = App("huge", database_url=url)
        self.first_at = 0.0
        begun, there, all_there = count(1), count(1), asyncio.Event()

        @self.app.task
        def step(i: int) -> int:
            number = next(begun)
            if number == 1:
                self.first_at = time.perf_counter()
            if number == dies_at:
                os.kill(os.getpid(), signal.SIGKILL)
            return i

        @self.app.task
        async def meet() -> None:
            if next(there) == gathering:
                all_there.set()
            await all_there.wait()

        @self.app.task
        def make(size: int) -> str:
            return "x" * size

        @self.app.task
        def measure(text: str) -> int:
            return len(text)

        @self.app.flow
        def line(n: int) -> Flow[int]:
            last = step.bind(n)
            return linear(*(step.bind(i) for i in range(1, n)), last, returns=last)

        @self.app.flow
        def lines(n: int) -> Flow[Any]:
            return unordered(*(line(n // LINES).named(f"line-{i}") for i in range(LINES)))

        @self.app.flow
        def met(i: int) -> Flow[int]:
            after = step.bind(i)
            return linear(step.bind(0), meet.bind(), after, returns=after)

        @self.app.flow
        def large(size: int) -> Flow[int]:
            made = make.bind(size)
            measured = measure.bind(made)
            return linear(made, measured, returns=measured)

        self.lines, self.met, self.large = lines, met, large


def kill(url: str, tasks: int, at: int) -> dict[str, Any]:
    world = HugeWorld(url, dies_at=at)
    world.app.run(world.lines(tasks), key=KEY)
    raise AssertionError("it ought to have been killed")


def resume(url: str, tasks: int) -> dict[str, Any]:
    world = HugeWorld(url)
    began = time.perf_counter()
    run: Run[Any] = world.app.run(world.lines(tasks), key=KEY)
    return {"run_id": run.id, "state": run.state, "goes_on_after_s": world.first_at - began}


def together(url: str, runs: int) -> dict[str, Any]:
    world = HugeWorld(url, gathering=runs)
    every = world.app.run_many([world.met(i) for i in range(runs)], at_once=runs)
    return {"results": [run.result for run in every]}


def large(url: str, size: int) -> dict[str, Any]:
    world = HugeWorld(url)
    run = world.app.run(world.large(size), executor="inline")
    return {"run_id": run.id, "result": run.result}


def most_resident_mib() -> float:
    """Of this program alone: what `getrusage` says includes the process that started it."""
    found = re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())
    assert found is not None
    return int(found[1]) / 1024


def in_own_process(what: str, *arguments: object) -> dict[str, Any]:
    """What one of them answers."""
    done = _started(what, *arguments)
    assert done.returncode == 0, done.stderr[-2000:]
    answer: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return answer


def killed(*arguments: object) -> None:
    """Begin, and be killed."""
    done = _started("kill", *arguments)
    assert done.returncode == -signal.SIGKILL, done.stderr[-2000:]


def _started(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "tests.acceptance.huge_runs", *map(str, arguments)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


if __name__ == "__main__":
    name, where, *rest = sys.argv[1:]
    answered = {"kill": kill, "resume": resume, "together": together, "large": large}[name](where, *map(int, rest))  # type: ignore[operator]
    print(json.dumps({**answered, "most_resident_mib": most_resident_mib()}))
