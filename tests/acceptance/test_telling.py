"""Conductors tell whom the app wants told: of their own runs and of all others (docs/notifications.md)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from threading import Event
from typing import Any

import pytest

from flowledger import App, Flow, Settings, linear
from flowledger.adapters.notifying import telling
from flowledger.adapters.projecting import embedded
from flowledger.adapters.settings import Notices
from tests.acceptance.stores import ALL, url_of

WAIT_S = 60.0


@dataclass
class Heard:
    """A channel that keeps what it is given."""

    got: list[dict[str, Any]] = field(default_factory=list)

    def send(self, notice: Any, *, now_s: int) -> None:
        self.got.append(dict(notice))

    def describe(self) -> str:
        return "a list"

    @property
    def told(self) -> list[tuple[str, str]]:
        return [(notice["kind"], notice["key"]) for notice in self.got]


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Looks follow each other at once: what is tested is that there are some."""
    for module, name in ((telling, "LOOK_S"), (embedded, "FIRST_S"), (embedded, "LOOK_S"), (embedded, "STAND_BY_S")):
        monkeypatch.setattr(module, name, 0.02)


@pytest.fixture(params=ALL)
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return url_of(request, tmp_path)


def shop(url: str, channel: Heard | None = None, **settings: Any) -> App:
    app = App("shop", settings=Settings(database_url=url, **settings))

    @app.task
    def buy(item: str) -> None:
        if item == "nothing":
            raise ValueError("sold out")

    @app.flow(on_failure="stop")
    def order(item: str) -> Flow[None]:
        return linear(buy.bind(item))

    if channel is not None:
        app.notify(channel, name="ops", on=("failed",))
    app.order = order  # type: ignore[attr-defined]
    return app


@contextmanager
def conducted(*apps: App) -> Iterator[None]:
    with ExitStack() as stack:
        for app in apps:
            stack.callback(app.close)
            conducting = app.conducting()
            conducting.start()
            stack.callback(conducting.join)
            stack.callback(conducting.drain)
        yield


def until(holds: Callable[[], bool]) -> None:
    pause = Event()
    for _ in range(int(WAIT_S / 0.02)):
        if holds():
            return
        pause.wait(0.02)
    raise AssertionError("it never came to hold")


def order(app: App, item: str) -> Any:
    return app.order(item)  # type: ignore[attr-defined]


def test_a_conductor_tells_of_the_runs_it_drives(url: str) -> None:
    heard = Heard()
    app = shop(url, heard)
    with conducted(app):
        for item in ("tea", "nothing"):
            app.submit(order(app, item), key=item)
        until(lambda: bool(heard.got))
    assert heard.told == [("failed", "nothing")]


@pytest.mark.parametrize("url", ["sqlite", "postgres"], indirect=True)
def test_a_conductor_with_nothing_to_do_tells_of_what_other_processes_run(url: str) -> None:
    # Given a conductor, and another process that drives a run by itself and keeps no views
    heard = Heard()
    other = shop(url, views="off")
    with conducted(shop(url, heard)):
        # When
        other.run(order(other, "nothing"), key="by itself", check=False)
        # Then
        until(lambda: bool(heard.got))
    other.close()
    assert heard.told == [("failed", "by itself")]


@pytest.mark.parametrize("url", ["sqlite", "postgres"], indirect=True)
def test_of_several_conductors_one_tells_at_a_time_and_another_goes_on(url: str) -> None:
    # Given
    first, second = Heard(), Heard()
    one, other = shop(url, first), shop(url, second)
    keys = [f"k{n}" for n in range(6)]
    with conducted(other):
        with conducted(one):
            for key in keys[:3]:
                other.submit(order(other, "nothing"), key=key)
            until(lambda: len(first.got) + len(second.got) >= 3)
        # When one of them is gone
        for key in keys[3:]:
            other.submit(order(other, "nothing"), key=key)
        until(lambda: len(first.got) + len(second.got) >= 6)
    # Then each was told once
    assert sorted(notice["key"] for notice in first.got + second.got) == keys


@pytest.mark.parametrize(("notices", "told"), [("auto", 1), ("off", 0)])
@pytest.mark.parametrize("url", ["sqlite"], indirect=True)
def test_a_conductor_may_be_told_to_tell_nobody(url: str, notices: Notices, told: int) -> None:
    # Given a conductor, and after it one that tells as others do
    heard, later = Heard(), Heard()
    app = shop(url, heard, notices=notices)
    with conducted(app):
        run = app.submit(order(app, "nothing"), key="a")
        until(lambda: run.state == "FAILED")
        until(lambda: not told or bool(heard.got))
    with conducted(shop(url, later)):
        until(lambda: len(heard.got) + len(later.got) == 1)
    assert len(heard.got) == told
