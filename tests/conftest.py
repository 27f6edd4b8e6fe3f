"""What every test stands on: an environment without settings, and hypothesis without a stop-watch."""

from __future__ import annotations

import os

import pytest
from hypothesis import settings

pytest_plugins = ["tests.postgres", "tests.brokers", "flowledger.testing.plugin"]

# A loaded machine is slow, not wrong. In CI the examples are the same every time: a change is judged by itself.
settings.register_profile("here", deadline=None)
settings.register_profile("ci", deadline=None, derandomize=True, print_blob=True)
settings.load_profile("ci" if os.environ.get("CI") else "here")


@pytest.fixture(autouse=True)
def _no_settings_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    """A developer's `FLOWLEDGER_DATABASE_URL` must never be what a test writes to."""
    for name in list(os.environ):
        if name.startswith("FLOWLEDGER_"):
            monkeypatch.delenv(name)
