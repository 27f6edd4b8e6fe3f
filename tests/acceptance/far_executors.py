"""Executors that an app knows by name: what their tests have in common."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from flowledger import App, Settings
from tests.acceptance import named_shop as shop
from tests.acceptance.logs import log_of


@pytest.fixture
def said(tmp_path: Path) -> str:
    return str(tmp_path / "said")


@pytest.fixture
def app() -> Iterator[App]:
    shop.closed.clear()
    shop.clients.clear()
    yield shop.app
    shop.app.close()


def told(app: App, run: Any, kind: type[Any]) -> list[tuple[str, Any]]:
    return [(envelope.path, envelope.event) for envelope in log_of(app, run) if isinstance(envelope.event, kind)]


def replaced(app: App, name: str, executor: Any, settings: Settings | None = None) -> App:
    """The same app with another executor of this name."""
    settings = settings or Settings(database_url="memory://")
    other = App(app.name, settings=settings, executors={name: executor})
    other.include(app)
    shop.other = other  # where other processes could find it
    return other
