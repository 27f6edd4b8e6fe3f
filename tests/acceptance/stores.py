"""The stores that a test is done on, each empty."""

from __future__ import annotations

from pathlib import Path

import pytest

from flowledger.adapters.ids import new_ulid

#: For ``@pytest.fixture(params=ALL)``.
ALL = ("memory", "sqlite", "postgres")


def url_of(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of the store that the fixture's parameter names."""
    if request.param == "postgres":
        return str(request.getfixturevalue("postgres_url"))
    return f"sqlite:///{tmp_path}/log.db" if request.param == "sqlite" else f"memory://{new_ulid()}"
