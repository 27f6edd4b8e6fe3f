"""The pytest plugin. Loaded with every pytest of an environment that has flowledger: so it imports nothing before it is
used.

Fixtures: `flow_app` (apps in memory), `virtual_clock` (time that does not have to be waited for), `crash_at`.
"""

from __future__ import annotations

from collections.abc import Generator
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from .memory import InMemory
    from .virtual_clock import VirtualClock


@pytest.fixture
def flow_app(request: pytest.FixtureRequest) -> Generator[InMemory]:
    """Apps in memory: ``flow_app(app)`` is your app, ``flow_app.new()`` an empty one; closed when the test is over."""
    if "virtual_clock" in request.fixturenames:
        request.getfixturevalue("virtual_clock")  # time first: an app keeps the one it was opened in
    from .memory import InMemory  # noqa: PLC0415

    with ExitStack() as stack:
        yield InMemory(stack)


@pytest.fixture
def virtual_clock() -> Generator[VirtualClock]:
    """Apps opened in this test live in virtual time: it jumps to what is due next when nothing else is to be done."""
    from .virtual_clock import VirtualClock  # noqa: PLC0415

    with VirtualClock().installed() as clock:
        yield clock


@pytest.fixture
def crash_at() -> Any:
    """`flowledger.testing.crash_at`."""
    from .crashing import crash_at  # noqa: PLC0415

    return crash_at
