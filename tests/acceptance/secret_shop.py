"""A shop whose customers log in: what the tests of secrets have in common."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel, Secret, SecretStr

from flowledger import (
    App,
    Flow,
    Settings,
    linear,
)
from flowledger.adapters.keys import Key, new_key

KEY = new_key("k1", "aes")


TOKEN = "tok-4f7a99b1c2d3"


PASSWORD = "hunter2-hunter2"


class Login(BaseModel):
    user: str
    password: SecretStr


@dataclasses.dataclass
class Session:
    token: Secret[str]
    lifetime_s: int


Make = Callable[..., App]


@pytest.fixture
def new_app(tmp_path: Path) -> Iterator[Make]:
    """Apps on one log: a second one is another process that goes on."""
    opened: list[App] = []

    def make(keys: list[Key] | None = None, **settings: Any) -> App:
        lines = "\n".join(key.line for key in ([KEY] if keys is None else keys)) or None
        url = f"sqlite:///{tmp_path}/log.db"
        opened.append(App("shop", settings=Settings(database_url=url, codec_keys=lines, **settings)))
        return opened[-1]

    yield make
    for app in opened:
        app.close()


def everything_written(tmp_path: Path) -> bytes:
    """Every byte of the database, its write-ahead log included."""
    return b"".join(path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())


def shop(app: App, seen: list[Any]) -> Callable[[Login], Flow[str]]:
    @app.task(provides="session")
    def log_in(login: Login) -> Session:
        seen.append(login.password.get_secret_value())
        return Session(token=Secret[str](TOKEN), lifetime_s=60)

    @app.task
    def buy(session: Session) -> str:
        seen.append(session.token.get_secret_value())
        return f"bought for {session.lifetime_s} s"

    @app.flow(on_failure="stop")
    def go(login: Login) -> Flow[str]:
        return linear(log_in.bind(login), buy, returns=buy)

    return go


LOGIN = Login(user="ann", password=SecretStr(PASSWORD))
