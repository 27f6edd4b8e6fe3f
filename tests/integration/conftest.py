"""What the tests of the log in Postgres stand on: a log of their own, opened once here and once as elsewhere."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from flowledger.adapters.stores.postgres import PostgresStore


@pytest.fixture
def store(postgres_url: str) -> Iterator[PostgresStore]:
    opened = PostgresStore.from_url(postgres_url)
    yield opened
    opened.close()


@pytest.fixture
def elsewhere(postgres_url: str) -> Iterator[PostgresStore]:
    opened = PostgresStore.from_url(postgres_url)
    yield opened
    opened.close()
