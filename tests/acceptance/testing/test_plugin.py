"""The pytest plugin as its users meet it: found by pytest itself, and costing nothing where it is not used."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from datetime import timedelta
from pathlib import Path

import pytest

import flowledger.testing
from flowledger import App, Flow, linear, sleep
from flowledger.adapters import stores
from flowledger.testing import InMemory, VirtualClock, in_background, in_memory
from tests.acceptance.logs import log_of

ROOT = Path(__file__).parents[3]

USERS_TESTS = """
from datetime import timedelta

from flowledger import App, Flow, linear, sleep

app = App("shop")  # its settings say: a file in the working directory
charged = []

@app.resource
def bank():
    raise AssertionError("no test calls a bank")

@app.task
def charge(order: str, bank: list) -> str:
    bank.append(order)
    return f"charged {order}"

@app.task
def ship(order: str) -> str:
    return f"shipped {order}"

@app.flow
def sell(order: str) -> Flow[str]:
    return linear(charge, sleep(timedelta(days=14)).named("right-of-return"), ship, returns=ship)

def test_sell(flow_app, virtual_clock, crash_at):
    shop = flow_app(app)
    began = virtual_clock.now
    with bank.override(charged):
        with crash_at(shop, "TaskSucceeded", "charge") as crash:
            shop.run(sell("book"), key="book")
        run = shop.run(sell("book"), key="book")
    assert run.id == crash.run_id
    assert run.result == "shipped book"
    assert charged == ["book"]
    assert virtual_clock.now - began == timedelta(days=14)

def test_another(flow_app):
    assert list(flow_app(app).runs()) == []
    assert list(flow_app.new().runs()) == []
"""


@pytest.fixture
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel of this checkout, as a place to import from."""
    out = tmp_path_factory.mktemp("dist")
    command = [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", str(out)]
    subprocess.run(command, cwd=ROOT, capture_output=True, check=True)
    with zipfile.ZipFile(next(out.glob("*.whl"))) as wheel:
        wheel.extractall(out / "site")
    return out / "site"


def pytest_in(place: Path, site: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(site)}
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *arguments]
    return subprocess.run(command, cwd=place, env=environment, capture_output=True, text=True, check=False)


def test_an_installed_wheel_brings_the_fixtures(site: Path, tmp_path: Path) -> None:
    # Given a project with tests, and nothing but the wheel
    (tmp_path / "test_shop.py").write_text(USERS_TESTS)

    # When its tests run
    done = pytest_in(tmp_path, site, "-W", "error")

    # Then they have the fixtures, pass, and leave no file behind
    assert done.returncode == 0, done.stdout + done.stderr
    assert "2 passed" in done.stdout
    assert [path.name for path in tmp_path.iterdir() if path.name != "__pycache__"] == ["test_shop.py"]


def test_a_project_that_does_not_use_it_pays_nothing(site: Path, tmp_path: Path) -> None:
    # Given tests that have nothing to do with flows
    heavy = ("flowledger.core", "flowledger.adapters", "sqlalchemy", "msgspec", "pydantic")
    (tmp_path / "test_else.py").write_text(
        f"import sys\ndef test_else():\n    assert 'flowledger.testing.plugin' in sys.modules\n"
        f"    assert not [m for m in {heavy!r} if m in sys.modules]\n"
    )

    done = pytest_in(tmp_path, site)

    assert done.returncode == 0, done.stdout + done.stderr


def test_everything_public_is_there() -> None:
    for name in flowledger.testing.__all__:
        assert getattr(flowledger.testing, name) is not None
    assert dir(flowledger.testing) == flowledger.testing.__all__ == sorted(flowledger.testing.__all__)
    with pytest.raises(AttributeError, match="has no attribute 'Mock'"):
        flowledger.testing.Mock  # noqa: B018


def naps(app: App) -> object:
    @app.flow
    def nap() -> Flow[None]:
        return linear(sleep(1))

    return nap()


def test_an_app_in_memory_is_what_it_was_when_the_block_is_over(tmp_path: Path) -> None:
    # Given an app with a log in a file
    app = App("shop", database_url=f"sqlite:///{tmp_path}/log.db")

    # When it is in memory for a while, closed and opened again there
    with in_memory(app):
        url = app.settings.database_url
        app.close()
        assert app.settings.database_url == url
        assert url.startswith("memory://")

    # Then its settings are its own again, and the log in memory is gone
    assert app.settings.database_url.startswith("sqlite://")
    assert url.removeprefix("memory://") not in stores._shared
    assert not (tmp_path / "log.db").exists()


def test_flow_app_comes_after_the_clock_whatever_their_order(flow_app: InMemory, virtual_clock: VirtualClock) -> None:
    app = flow_app.new("timeless")
    before = virtual_clock.now

    app.run(naps(app))  # type: ignore[arg-type]

    assert virtual_clock.now - before == timedelta(seconds=1)


def test_a_run_in_the_background_is_waited_for_by_its_events(flow_app: InMemory, virtual_clock: VirtualClock) -> None:
    # Given a week's sleep, and time that is held
    app = flow_app.new()

    @app.flow
    def week() -> Flow[None]:
        return linear(sleep(timedelta(days=7)))

    with virtual_clock.held():
        running = in_background(app, week())
        waiting = running.wait_for("TaskWaiting", "sleep")

        # When it is asked to suspend while it waits, and a month goes by
        app.get(waiting.run_id).suspend(reason="holidays")
        suspended = running.join()
        virtual_clock.advance(timedelta(days=30))

    # Then the due time has passed meanwhile (G2: timers keep their due times)
    assert suspended.state == "SUSPENDED"
    assert suspended.resume().state == "SUCCEEDED"
    fired = next(e for e in log_of(app, suspended) if e.type == "TimerFired")
    assert fired.at - waiting.at == timedelta(days=30)
    with pytest.raises(AssertionError, match="no RunFailed"):
        running.wait_for("RunFailed")
