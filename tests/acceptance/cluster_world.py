"""What the cluster tests share: a work directory that leaves no process behind, and waiting for a condition."""

from __future__ import annotations

import os
import signal
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from examples.cluster.processes import servers_in

LOOK_EVERY_S = 0.01


def eventually(condition: Callable[[], object], *, within_s: float = 10.0, what: str = "") -> None:
    """Return as soon as the condition holds; fail if it does not in time."""
    give_up_at_s = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < give_up_at_s, f"not within {within_s:g} s: {what or condition}"
        time.sleep(LOOK_EVERY_S)


def processes_per_node(directory: Path) -> dict[str, int]:
    """How many server processes each node has, asked of the operating system."""
    return dict(Counter(process.name for process in servers_in(directory)))


def leftovers(directory: Path) -> list[str]:
    """Every entry of the servers directory, hidden drafts included."""
    servers = directory / "servers"
    return sorted(entry.name for entry in servers.iterdir()) if servers.is_dir() else []


@contextmanager
def no_server_left_behind(directory: Path) -> Iterator[Path]:
    """A work directory whose servers are killed at the end, whatever happened."""
    try:
        yield directory
    finally:
        eventually(lambda: _kill_all(directory) == 0, what="all servers of the test are killed")


def _kill_all(directory: Path) -> int:
    alive = servers_in(directory)
    for process in alive:
        with suppress(ProcessLookupError):
            os.kill(process.pid, signal.SIGKILL)
    return len(alive)
