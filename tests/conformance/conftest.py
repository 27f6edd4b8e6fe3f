"""The stores that must behave alike. A new one is one line here."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from flowledger.adapters.ids import new_ulid
from flowledger.adapters.stores import open_store
from flowledger.events.store import Store

#: How to name a store that nobody has used before. Opened twice under one name it is one log, met by two processes.
NEW_URL: dict[str, Callable[[pytest.FixtureRequest, Path], str]] = {
    "memory": lambda _, __: f"memory://{new_ulid()}",
    "sqlite": lambda _, folder: f"sqlite:///{folder}/log.db",
    "postgres": lambda request, _: str(request.getfixturevalue("postgres_url")),
}
if os.environ.get("FLOWLEDGER_TEST_LONG"):
    NEW_URL["pgbouncer"] = lambda request, _: str(request.getfixturevalue("pooled_url"))


@pytest.fixture(params=NEW_URL)
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return NEW_URL[request.param](request, tmp_path)


@pytest.fixture
def store(url: str) -> Iterator[Store]:
    opened = open_store(url)
    yield opened
    opened.close()


@pytest.fixture
def elsewhere(url: str, store: Store) -> Iterator[Store]:
    """The same log through another store object, as another process would have it."""
    opened = open_store(url)
    yield opened
    opened.close()
