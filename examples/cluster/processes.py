"""Which servers run, asked of the operating system: neither the log nor a pid file is believed.

``python -m examples.cluster.processes [DIR]`` prints one line per process and exits with 1 if there is any.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

DEFAULT_DIR = "demo"


@dataclass(frozen=True, kw_only=True)
class ServerProcess:
    """A live process of server.py."""

    pid: int
    name: str
    server_id: str


def work_dir() -> Path:
    """Where the cluster lives: ``$CLUSTER_DIR``, else ``demo`` in the working directory."""
    return Path(os.environ.get("CLUSTER_DIR") or DEFAULT_DIR)


def servers_in(directory: Path) -> list[ServerProcess]:
    """The live server processes of a work directory, by name. Zombies do not count: they have no command line."""
    servers_dir = re.escape(str((directory / "servers").resolve()))
    ours = re.compile(rf"server\.py --dir {servers_dir}/\S+ --name (?P<name>\S+) --id (?P<id>\S+) ")
    found = [(pid, ours.search(command)) for pid, command in _commands()]
    alive = [ServerProcess(pid=pid, name=hit["name"], server_id=hit["id"]) for pid, hit in found if hit]
    return sorted(alive, key=lambda process: (process.name, process.pid))


def _commands() -> Iterator[tuple[int, str]]:
    return _commands_from_proc() if Path("/proc/self/cmdline").exists() else _commands_from_ps()


def _commands_from_proc() -> Iterator[tuple[int, str]]:
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal():
            try:
                argv = (entry / "cmdline").read_bytes()
            except OSError:  # it ended while we looked
                continue
            yield int(entry.name), argv.replace(b"\0", b" ").decode(errors="replace")


def _commands_from_ps() -> Iterator[tuple[int, str]]:
    listed = subprocess.run(["ps", "-axww", "-o", "pid=,command="], capture_output=True, text=True, check=True)
    for line in listed.stdout.splitlines():
        pid, _, command = line.strip().partition(" ")
        yield int(pid), f"{command} "


def main(argv: list[str]) -> int:
    directory = Path(argv[0]) if argv else work_dir()
    alive = servers_in(directory)
    for process in alive:
        print(f"{process.name}  pid {process.pid}  {process.server_id}")
    print(f"{len(alive)} server processes of {directory / 'servers'}", file=sys.stderr)
    return 1 if alive else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
