"""Somebody who may drop triggers changes what is in a log's database, by SQL."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

from tests.postgres import sql

GUARDED = ("events", "payloads", "plans", "seals", "sealed_heads")


def in_sqlite(path: Path) -> Callable[[str], None]:
    """Changes the log in this file: ``{s}.`` before a table, several statements with ``;`` between."""

    def change(statement: str) -> None:
        with closing(sqlite3.connect(path, isolation_level=None)) as connection:
            for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'").fetchall():
                connection.execute(f"DROP TRIGGER {name}")
            connection.executescript(statement.replace("{s}.", "").replace("E'\\\\x", "x'").replace("'::bytea", "'"))

    return change


def in_postgres(url: str) -> Callable[[str], None]:
    """The same in Postgres."""

    def change(statement: str) -> None:
        for table in GUARDED:
            sql(url, f"ALTER TABLE {{s}}.{table} DISABLE TRIGGER ALL")
        for each in statement.split(";"):
            sql(url, each.replace("{{", "{").replace("{", "{{").replace("}", "}}").replace("{{s}}", "{s}"))

    return change
