"""Fixtures for logs in Postgres: `from tests.postgres import …` in a conftest, or by name in `pytest_plugins`."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import count

import psycopg
import pytest
from psycopg.sql import SQL, Identifier
from sqlalchemy import make_url

from flowledger.adapters.stores.postgres import locate, upgrading
from tests.postgres_server import GIVEN_URL, Shared, binaries, pgbouncer, pooler

NewUrl = Callable[[], str]


def connect(url: str) -> psycopg.Connection:
    """A connection of a stranger, without our ways."""
    location = locate(url)
    return psycopg.connect(
        host=location.url.host, port=location.url.port, user=location.url.username, password=location.url.password,
        dbname=location.url.database, autocommit=True,
    )  # fmt: skip


def through(port: int, url: str, **options: object) -> str:
    """The URL by way of another port of this machine, with more options."""
    parsed = make_url(url).set(host="127.0.0.1", port=port)
    more = {name: str(value) for name, value in options.items()}
    return parsed.update_query_dict(more).render_as_string(hide_password=False)


def sql(url: str, statement: str, *values: object) -> list[tuple[object, ...]]:
    """Run one statement; ``{s}`` in it is the schema."""
    with connect(url) as connection:
        cursor = connection.execute(statement.format(s=locate(url).schema), values or None)  # pyright: ignore[reportArgumentType]
        return cursor.fetchall() if cursor.description else []


def made(url: str) -> str:
    """The URL, after `flowledger db upgrade`; without roles, which belong to the whole cluster."""
    upgrading.upgrade(locate(url), actor="tests", make_roles=False)
    return url


@pytest.fixture(scope="session")
def postgres_database(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of a database for this process: on the server that is given, or on the session's own."""
    if GIVEN_URL:
        yield GIVEN_URL
        return
    if binaries() is None:
        pytest.skip("no Postgres: install the dev extra, or set FLOWLEDGER_TEST_DATABASE_URL")
    worker = getattr(request.config, "workerinput", None)
    folder = tmp_path_factory.getbasetemp()
    if worker:
        server = Shared(worker["testrunuid"], os.getppid(), folder.parent / "postgres.lock")
    else:
        server = Shared(str(os.getpid()), os.getpid(), folder / "postgres.lock")
    port = server.enter()
    try:
        name = f"tests_{os.getpid()}"
        with psycopg.connect(host="127.0.0.1", port=port, user="postgres", autocommit=True) as connection:
            connection.execute(SQL("CREATE DATABASE {}").format(Identifier(name)))
        yield f"postgresql+psycopg://postgres@127.0.0.1:{port}/{name}"
    finally:
        server.leave()


@contextmanager
def another_database(url: str, name: str, options: str = "") -> Iterator[str]:
    """A new database on the same server. It is dropped only where that is somebody else's: dropping waits for a
    checkpoint, on a busy disk for many seconds, and is a transaction that holds back every follower of every log."""
    with connect(url) as connection:
        connection.execute(f"CREATE DATABASE {name} {options}".encode())
        yield make_url(url).set(database=name).render_as_string(hide_password=False)
        if GIVEN_URL:
            connection.execute(f"DROP DATABASE {name} WITH (FORCE)".encode())


_numbers = count(1)


@pytest.fixture
def new_postgres_schema(postgres_database: str) -> Iterator[NewUrl]:
    """Name schemas that nobody has used before; where the server is somebody else's, they are dropped at the end."""
    named: list[str] = []

    def new() -> str:
        separator = "&" if "?" in postgres_database else "?"
        named.append(f"{postgres_database}{separator}schema=t{os.getpid()}_{next(_numbers)}")
        return named[-1]

    yield new
    if GIVEN_URL:
        for url in named:
            sql(url, "DROP SCHEMA IF EXISTS {s} CASCADE")


@pytest.fixture
def postgres_url(new_postgres_schema: NewUrl) -> str:
    """A log of one's own in Postgres, empty."""
    return made(new_postgres_schema())


@pytest.fixture
def pooled_url(postgres_url: str) -> Iterator[str]:
    """The same behind a pgbouncer in transaction mode, if there is one."""
    if pgbouncer() is None:
        pytest.skip("pgbouncer is not installed")
    url = locate(postgres_url).url
    server = {"host": url.host, "port": url.port, "user": url.username, "password": url.password}
    with pooler(" ".join(f"{name}={value}" for name, value in server.items() if value)) as port:
        yield through(port, postgres_url, pooler="transaction")
