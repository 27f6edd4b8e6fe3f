"""Forks of runs with secrets: what their tests have in common."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel, Secret, SecretStr

from flowledger import App, Flow, Run, Settings, linear, unordered
from flowledger.adapters.erasing import erase
from flowledger.adapters.keys import new_key
from flowledger.adapters.replaying import replay
from flowledger.adapters.verifying import verify_all
from tests.acceptance.logs import log_of
from tests.agreeing import views_agree

KEY, NEXT_KEY = new_key("k1", "aes"), new_key("k2", "aes")


TOKEN = "tok-4f7a99b1c2d3"


PASSWORD = "hunter2-hunter2"


SMALL = 250  # bytes that a value may have in its event: a session has fewer, a note more


NOTE = "a note that is too long for its event, " * 8


class Login(BaseModel):
    user: str
    password: SecretStr


class Session(BaseModel):
    token: Secret[str]
    user: str


LOGIN = Login(user="ann-1234", password=SecretStr(PASSWORD))


class Shop:
    """A log, and the apps of the processes at it. ``seen``: what bodies were given; ``broken``: the part that fails."""

    def __init__(self, url: str, *, encrypt: bool) -> None:
        self.url, self.encrypt = url, encrypt
        self.seen: list[str] = []
        self.broken = "pack"
        self.apps: list[App] = []
        self.flow: Callable[..., Flow[str]] = self.open()

    @property
    def app(self) -> App:
        """The one that was opened last."""
        return self.apps[-1]

    def open(self, *, keys: str = KEY.line, encrypt: bool | None = None) -> Callable[..., Flow[str]]:
        """As another process: its flow."""
        app = App("shop", settings=Settings(
            database_url=self.url, codec_keys=keys, encrypt_values=self.encrypt if encrypt is None else encrypt,
            payload_inline_bytes=SMALL,
        ))  # fmt: skip
        self.apps.append(app)

        @app.task(provides="session")
        def log_in(login: Login) -> Session:
            self._saw("log_in", login.password.get_secret_value())
            return Session(token=Secret[str](TOKEN), user=login.user)

        @log_in.revert
        def log_out(login: Login, result: Session | None) -> None:
            self.seen.append(f"-{login.password.get_secret_value()} {result and result.token.get_secret_value()}")

        @app.task(provides="note")
        def write(name: str) -> str:
            self._saw("write", name)
            return NOTE + name

        @app.task
        def pack(session: Session, note: str) -> str:
            self._saw("pack", session.token.get_secret_value())
            return f"{note.removeprefix(NOTE)} for {session.user}"

        @app.flow(on_failure="stop")
        def go(login: Login, name: str = "tea") -> Flow[str]:
            return linear(unordered(log_in.bind(login), write.bind(name), name="both"), pack, returns=pack)

        return go

    def _saw(self, part: str, value: str) -> None:
        self.seen.append(value)
        if part == self.broken:
            raise ValueError(f"{part} is broken")

    def stopped(self) -> Run[Any]:
        """A run whose last part has failed; that part is mended now."""
        run = self.app.run(self.flow(LOGIN), executor="inline", check=False)
        assert run.state == "FAILED"
        self.seen.clear()
        self.broken = ""
        return run

    def erased(self, run: Run[Any]) -> None:
        """Erase it, and forget it in this process, too."""
        erase(self.app.runtime.store, self.app.stream_of(run.id), reason="asked for", actor="dpo@here")
        self.app.runtime.vaults.forget(run.id)

    def holds(self, run: Run[Any]) -> None:
        """Its log verifies, is valid under today's code, and views agree about it."""
        runtime = self.app.runtime
        assert verify_all(runtime.store).findings == []
        replayed = replay(runtime, self.app, self.app.stream_of(run.id))
        assert (replayed.error, replayed.erased) == (None, False)
        views_agree(runtime.store, log_of(self.app, run))

    def in_clear(self) -> list[str]:
        """What stands in events and payload rows and should not."""
        store = self.app.runtime.store
        written = bytearray()
        for stream in store.streams(limit=50):
            for envelope in store.read(stream.run_id):
                written += envelope.payload
            for event in log_of(self.app, self.app.get(stream.run_id)):
                for digest in (getattr(event.event, "moved", None), *getattr(event.event, "secrets", ())):
                    written += (digest and store.payload(stream.run_id, digest)) or b""
        never = [PASSWORD, TOKEN, "ann-1234", "tea", NOTE] if self.encrypt else [PASSWORD, TOKEN]
        return [text for text in never if text.encode() in written]


@pytest.fixture(params=["memory", "sqlite", "postgres"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    found = {"memory": f"memory://{tmp_path}", "sqlite": f"sqlite:///{tmp_path}/log.db"}
    return found.get(request.param) or str(request.getfixturevalue("postgres_url"))


@pytest.fixture(params=[False, True], ids=["secrets", "encrypted"])
def shop(request: pytest.FixtureRequest, url: str) -> Iterator[Shop]:
    shop = Shop(url, encrypt=request.param)
    yield shop
    for app in shop.apps:
        app.close()


@pytest.fixture(params=[False, True], ids=["secrets", "encrypted"])
def at_hand(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Shop]:
    """On SQLite only: what does not hang on the store."""
    shop = Shop(f"sqlite:///{tmp_path}/log.db", encrypt=request.param)
    yield shop
    for app in shop.apps:
        app.close()
