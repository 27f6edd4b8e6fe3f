"""Runs of examples/cluster in processes of their own, so that they can be killed (-9) like real ones."""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from multiprocessing import get_context
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from typing import Any

from examples.cluster.__main__ import main
from examples.cluster.cloud import Cloud
from examples.cluster.models import Cluster
from flowledger.adapters.stores import sqlite  # noqa: F401 - heavy, and wanted by every driver: imported before the fork
from tests.acceptance.cluster_world import eventually, leftovers, no_server_left_behind, processes_per_node

CHECKOUT = Path(__file__).parents[2]
RUN_TIMEOUT_S = 60

# Drivers are forked from a process that has done the imports: a kill meets the run, and twenty runs take a minute less.
_DRIVERS = get_context("forkserver")
_DRIVERS.set_forkserver_preload([__name__])


@dataclass(frozen=True)
class Driver:
    """A process that drives a run."""

    process: ForkServerProcess
    printed: Path

    def kill(self) -> bool:
        """Kill it (-9); False if it had ended before."""
        self.process.kill()
        self.process.join(RUN_TIMEOUT_S)
        return self.process.exitcode == -9

    def end(self) -> tuple[int | None, str]:
        """Wait for its end: exit code, and what it printed and complained about."""
        self.process.join(RUN_TIMEOUT_S)
        return self.process.exitcode, self.printed.read_text()


@dataclass
class World:
    """One work directory with its servers and its log."""

    directory: Path
    drivers: list[Driver] = field(default_factory=list)

    def start(self, cluster: Cluster, *, key: str = "c-1") -> Driver:
        """Begin to drive the run of this key, or go on with it."""
        printed = self.directory / f"driver-{len(self.drivers)}.log"
        argv = [str(self._described(cluster)), "--key", key]
        process = _DRIVERS.Process(target=_drive, args=(self._environment(), argv, str(printed)))
        process.start()
        driver = Driver(process, printed)
        self.drivers.append(driver)
        return driver

    def run(self, cluster: Cluster, *, key: str = "c-1") -> tuple[int | None, str]:
        """Drive the run of this key to its end: exit code, and what was printed."""
        return self.start(cluster, key=key).end()

    def run_as_users_do(self, cluster: Cluster, *, key: str = "c-1") -> tuple[int | None, str]:
        """As `run`, by ``python -m examples.cluster`` from scratch."""
        return self.python("-m", "examples.cluster", str(self._described(cluster)), "--key", key)

    def python(self, *argv: str) -> tuple[int, str]:
        """Run Python on this world, in the checkout: exit code, and what was printed and complained about."""
        ended = subprocess.run(
            [sys.executable, *argv],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            cwd=CHECKOUT,
            env=os.environ | self._environment(),
            timeout=RUN_TIMEOUT_S,
            check=False,
        )
        return ended.returncode, ended.stdout

    def _described(self, cluster: Cluster) -> Path:
        described = self.directory / f"cluster-{len(self.drivers)}.json"  # nobody reads it while it is written
        described.write_text(json.dumps({"cluster": cluster.model_dump()}), encoding="utf-8")
        return described

    def _environment(self) -> dict[str, str]:
        return {"CLUSTER_DIR": str(self.directory), "FLOWLEDGER_DATABASE_URL": f"sqlite:///{self.log_file}"}

    # -- what happened --------------------------------------------------------------------------

    @property
    def log_file(self) -> Path:
        return self.directory / "flowledger.db"

    @property
    def cloud(self) -> Cloud:
        return Cloud(self.directory)

    def run_states(self) -> list[str]:
        """The status of every run in the log, oldest first."""
        return [status for (status,) in self._ask("SELECT status FROM streams ORDER BY created_us")]

    def events(self, type_: str, path_like: str = "%") -> Counter[str]:
        """How many events of a type there are, by path."""
        asked = "SELECT path FROM events WHERE type = ? AND path LIKE ?"
        return Counter(path for (path,) in self._ask(asked, type_, path_like))

    def events_so_far(self) -> int:
        """How many events there are; 0 also while there is no log yet."""
        try:
            return int(self._ask("SELECT count(*) FROM events")[0][0])
        except sqlite3.OperationalError:
            return 0

    def _ask(self, statement: str, *values: str) -> list[tuple[Any, ...]]:
        with closing(sqlite3.connect(f"file:{self.log_file}?mode=ro", uri=True)) as connection:
            return connection.execute(statement, values).fetchall()

    # -- what must hold -------------------------------------------------------------------------

    def expect_whole(self, cluster: Cluster) -> None:
        """Every node has exactly one process, and each has confirmed all the others."""
        names = sorted(node.name for node in cluster.nodes)
        wanted = dict.fromkeys(names, 1)
        eventually(lambda: processes_per_node(self.directory) == wanted, what=f"one process each: {names}")
        assert leftovers(self.directory) == names
        cloud = self.cloud
        assert [sorted(cloud.peers(server_id)) for server_id in cloud.standing()] == [names] * len(names)

    def expect_nothing(self) -> None:
        """No process and no directory is left."""
        eventually(lambda: processes_per_node(self.directory) == {}, what="no process is left")
        assert leftovers(self.directory) == []


@contextmanager
def new_world(directory: Path) -> Iterator[World]:
    """A world without drivers and servers at its end, whatever happened."""
    with no_server_left_behind(directory):
        world = World(directory)
        try:
            yield world
        finally:
            for driver in world.drivers:
                driver.kill()


def _drive(environment: dict[str, str], argv: list[str], printed: str) -> None:
    os.environ.update(environment)
    out = os.open(printed, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(out, 1)
    os.dup2(out, 2)
    sys.exit(main(argv))
