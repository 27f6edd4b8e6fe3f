"""Where a log in Postgres is, as it is said to people: with all that finds it, and without what is secret."""

from __future__ import annotations

import pytest

from flowledger.adapters.stores.postgres import locate


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("postgresql+psycopg://me:hunter2@db/ops?sslmode=require", "postgresql+psycopg://me@db/ops?schema=flowledger"),
        (
            "postgresql+psycopg://me:hunter2@/ops?host=db1:5432&host=db2:5432&target_session_attrs=read-write&schema=a",
            "postgresql+psycopg://me@/ops?host=db1:5432&host=db2:5432&schema=a",
        ),
    ],
    ids=["one host", "several"],
)
def test_a_place_is_described_with_its_hosts_and_without_its_password(url: str, said: str) -> None:
    assert locate(url).describe() == said
