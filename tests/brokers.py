"""Fixtures for brokers: by name in `pytest_plugins`.

`rabbitmq_url`, `redis_url` and `memory_broker_url` are each empty, and no other test's; `broker_url` is one of them
after the other. Who wants to kill a RabbitMQ takes `rabbitmq_node` of `tests.broker_servers`.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from itertools import count
from pathlib import Path
from urllib.parse import quote

import pytest
from kombu.transport import memory

from flowledger.adapters.keys import Key, new_key
from tests.broker_servers import GIVEN_URL, RABBITMQ_MISSING, make_places, rabbitmq, redis, redis_server
from tests.broker_servers import __file__ as program
from tests.postgres_server import Shared

NewUrl = Callable[[], str]
#: Virtual hosts that are made in one go: it takes as long as making one.
_AT_ONCE = 20


class _Places:
    """URLs of virtual hosts that nobody has used."""

    def __init__(self, folder: Path, port: int) -> None:
        self._folder = folder
        self._port = port
        self._numbers = count(1)
        self._free: list[str] = []

    def new(self) -> str:
        if not self._free:
            self._free = [f"t{os.getpid()}_{next(self._numbers)}" for _ in range(_AT_ONCE)]
            make_places(self._folder, self._free)
        return f"amqp://guest:guest@127.0.0.1:{self._port}/{quote(self._free.pop())}"


@pytest.fixture(scope="session")
def new_rabbitmq_url(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[NewUrl]:
    """Name brokers that nobody has used before, on the RabbitMQ of the session."""
    if GIVEN_URL:
        yield lambda: str(GIVEN_URL)
        return
    need_rabbitmq()
    worker = getattr(request.config, "workerinput", None)
    folder = tmp_path_factory.getbasetemp()
    if worker:
        session, watched, lock = worker["testrunuid"], os.getppid(), folder.parent / "rabbitmq.lock"
    else:
        session, watched, lock = str(os.getpid()), os.getpid(), folder / "rabbitmq.lock"
    server = Shared(session, watched, lock, kind="mq", program=program)
    port = server.enter()
    try:
        yield _Places(server.folder, port).new
    finally:
        server.leave()


@pytest.fixture
def rabbitmq_url(new_rabbitmq_url: NewUrl) -> str:
    """A RabbitMQ without a queue."""
    return new_rabbitmq_url()


def need_redis() -> None:
    """Skip where there is none."""
    if redis() is None or find_spec("redis") is None:
        pytest.skip("no Redis: install redis-server (as root `make test` does it), and the dev extra")


def need_rabbitmq() -> None:
    """Skip where none can be started."""
    if rabbitmq() is None:
        pytest.skip(RABBITMQ_MISSING)


@pytest.fixture
def redis_url() -> Iterator[str]:
    """A Redis without a key."""
    need_redis()
    with redis_server() as server:
        yield server.url


@pytest.fixture
def memory_broker_url() -> Iterator[str]:
    """A broker within this process."""
    memory.Channel.queues.clear()
    yield "memory://"
    memory.Channel.queues.clear()


@pytest.fixture(params=["memory", "rabbitmq", "redis"])
def broker_url(request: pytest.FixtureRequest) -> str:
    """One broker of each kind."""
    names = {"memory": "memory_broker_url", "rabbitmq": "rabbitmq_url", "redis": "redis_url"}
    return str(request.getfixturevalue(names[request.param]))


@pytest.fixture(scope="session")
def message_key() -> Key:
    """A key to sign messages with."""
    return new_key("tests", "hmac")
