"""A run that dies in its middle, as `kill -9` would have it: `python -m tests.acceptance.half_way URL`.

`Half` is such a log from the outside: crash it, change it, look at its rows, resume it with the same or another plan.
"""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
from pathlib import Path
from typing import Any

from flowledger import App, Flow, Run, linear
from flowledger.adapters.failpoint import EXIT_CODE, VARIABLE

KEY = "half"
ROOT = Path(__file__).parents[2]


class HalfWorld:
    """The app as one process has it. ``extra``: today's code has one more task; ``size``: bytes of each result."""

    def __init__(self, path: Path, *, extra: bool = False, size: int = 1) -> None:
        self.done: list[str] = []
        self.app = App("half", database_url=f"sqlite:///{path}")
        done = self.done

        @self.app.task
        def first() -> None:
            done.append("first")

        @self.app.task
        def between() -> None:
            done.append("between")

        @self.app.task
        def step(i: int) -> str:
            done.append(f"step-{i}")
            return "z" * size

        @step.revert
        def unstep(i: int) -> None:
            done.append(f"unstep-{i}")

        @self.app.flow
        def line(n: int) -> Flow[None]:
            before: list[Any] = [between.bind(), first.bind()] if extra else [first.bind()]
            return linear(*before, *[step.bind(i).named(f"step-{i}") for i in range(n)])

        self._line = line

    def resume(self, *, n: int = 3) -> Run[None]:
        """The same call that began it."""
        return self.app.run(self._line(n), key=KEY, executor="inline")


class Half:
    """A log file, from outside."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._worlds: list[HalfWorld] = []

    def world(self, *, extra: bool = False, size: int = 1) -> HalfWorld:
        """A process that comes back to it."""
        self._worlds.append(HalfWorld(self.path, extra=extra, size=size))
        return self._worlds[-1]

    def close(self) -> None:
        """End all of them."""
        for world in self._worlds:
            world.app.close()

    def crash(self, point: str = "append.after_commit:3") -> None:
        """Run in another process, which dies at this point of its third append."""
        died = subprocess.run(
            [sys.executable, "-m", "tests.acceptance.half_way", str(self.path)],
            cwd=ROOT, env={**os.environ, VARIABLE: point}, capture_output=True, check=False,
        )  # fmt: skip
        assert died.returncode == EXIT_CODE, died.stderr.decode()

    def rows(self) -> list[tuple[Any, ...]]:
        """All events, as they are stored."""
        with sqlite3.connect(self.path) as connection:
            return connection.execute("SELECT * FROM events ORDER BY run_id, version").fetchall()

    def change_a_byte(self) -> int:
        """Make one letter of an event another, past the triggers; returns its version."""
        with sqlite3.connect(self.path) as connection:
            for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'").fetchall():
                connection.execute(f'DROP TRIGGER "{name}"')
            version, payload = connection.execute(
                "SELECT version, payload FROM events WHERE type = 'TaskStarted' ORDER BY version LIMIT 1"
            ).fetchone()
            raw = payload.encode() if isinstance(payload, str) else payload
            changed = raw.replace(b'"key":"', b'"key":"0', 1)[: len(raw)]
            changed = raw[:-2] + (b"0" if raw[-2:-1] != b"0" else b"1") + raw[-1:] if changed == raw else changed
            connection.execute(
                "UPDATE events SET payload = ? WHERE version = ?",
                (changed.decode() if isinstance(payload, str) else changed, version),
            )
        return int(version)


if __name__ == "__main__":
    HalfWorld(Path(sys.argv[1])).resume()
