"""Appending and gathering the answers: what the tests of the appender have in common."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from flowledger.adapters import appender as module
from flowledger.adapters.stores.sqlite import SqliteStore
from flowledger.events.store import Append, AppendResult, Store
from tests.conformance.streams import Run, new_run


@pytest.fixture
def sqlite(tmp_path: Path) -> Iterator[SqliteStore]:
    store = SqliteStore(tmp_path / "log.db")
    yield store
    store.close()


def appended(appender: module.Appender, request: Append) -> asyncio.Future[AppendResult]:
    """Append; the future has the result. It fails if there is a second one."""
    answer: asyncio.Future[AppendResult] = asyncio.get_running_loop().create_future()
    appender.append(request, answer.set_result)
    return answer


async def gathered(answers: Sequence[asyncio.Future[AppendResult]]) -> list[AppendResult]:
    return list(await asyncio.wait_for(asyncio.gather(*answers), 30))


def runs_in(store: Store, count: int) -> list[Run]:
    return [new_run(store) for _ in range(count)]
