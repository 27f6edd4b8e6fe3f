"""One Postgres server for a whole benchmark: ours and the peers' databases side by side, fsync on, nothing kept.

The server's binaries are the system's if they have pg_stat_statements (which counts statements), else those that the
tests use; `FLOWLEDGER_TEST_POSTGRES_BIN` names others.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg

#: A database for each, so that none meets the other's rows, nor folds them into views. Those that end in _slow emulate
#: a disk that takes 2 ms.
LOGS = ("flow", "many", "resume", "idle", "conductor", "more", "views", "keeping", "long", "size", "flow_slow")
DATABASES = (*LOGS, "floor", "dbos", "absurd", "procrastinate", "taskflow", "floor_slow")
_STATISTICS = "/usr/share/postgresql/{}/extension/pg_stat_statements.control"
#: No checkpoint comes in between: it would make one of the measured pay for the pages of another.
_SETTINGS = ("shared_buffers=256MB", "max_wal_size=8GB", "checkpoint_timeout=1h", "fsync=on", "max_connections=100")


@dataclass(frozen=True)
class Server:
    """A running server."""

    port: int
    version: str
    counts_statements: bool

    def url(self, database: str) -> str:
        """How libpq is told."""
        return f"postgresql://postgres@127.0.0.1:{self.port}/{database}"


@contextmanager
def server() -> Iterator[Server]:
    """Start a server of its own in a temporary folder, with an empty database for each of `DATABASES`."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: int(path.parent.name), reverse=True)
    chosen = [path for path in found if Path(_STATISTICS.format(path.parent.name)).exists()]
    if chosen:
        os.environ.setdefault("FLOWLEDGER_TEST_POSTGRES_BIN", str(chosen[0]))
    from tests.postgres_server import GIVEN_BINARIES, cluster  # noqa: PLC0415 - reads the environment

    counts = bool(chosen) and str(chosen[0]) == GIVEN_BINARIES
    settings = (*_SETTINGS, *(["shared_preload_libraries=pg_stat_statements"] if counts else []))
    with cluster(settings=settings) as running:
        with psycopg.connect(running.url().replace("+psycopg", ""), autocommit=True) as connection:
            _furnish(connection, counts)
            version = str(connection.execute("SHOW server_version").fetchone()[0])  # type: ignore[index]
        made = Server(running.port, version, counts)
        _make_logs(made)
        yield made


def _furnish(connection: psycopg.Connection[Any], counts: bool) -> None:
    if counts:
        connection.execute("CREATE EXTENSION pg_stat_statements")
    for database in DATABASES:
        connection.execute(f"CREATE DATABASE {database}")
        if database.endswith("_slow"):
            connection.execute(f"ALTER DATABASE {database} SET commit_delay = 2000")
            connection.execute(f"ALTER DATABASE {database} SET commit_siblings = 0")


def _make_logs(made: Server) -> None:
    from flowledger.adapters.stores.postgres import locate, upgrading  # noqa: PLC0415

    for database in LOGS:
        url = made.url(database).replace("postgresql:", "postgresql+psycopg:")
        upgrading.upgrade(locate(url), actor="bench", make_roles=False)
