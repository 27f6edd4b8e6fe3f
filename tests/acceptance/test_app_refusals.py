"""What an app refuses to do, and what it says to do instead."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from flowledger import App, InputError, RunNotFound


@pytest.fixture
def app(tmp_path: Path) -> Iterator[App]:
    app = App("mine", database_url=f"sqlite:///{tmp_path}/log.db")
    yield app
    app.close()


@pytest.fixture
def other(tmp_path: Path) -> Iterator[App]:
    app = App("theirs", database_url=f"sqlite:///{tmp_path}/log.db")
    yield app
    app.close()


def task_of(app: App) -> Any:
    @app.task(read_only=True)
    def one(n: int = 1) -> int:
        return n

    return one


def test_a_run_of_another_app_in_the_same_database_is_said_to_be_one(app: App, other: App) -> None:
    theirs = other.run(task_of(other).bind())
    with pytest.raises(RunNotFound, match=f"run {theirs.id} is one of the app theirs, and this is the app mine") as no:
        app.get(theirs.id)
    assert "--app" in no.value.hint
    with pytest.raises(RunNotFound, match="app mine has no run 01NOSUCH"):
        app.get("01NOSUCH")


@pytest.mark.parametrize("at_once", [0, -1, "all"])
def test_no_run_at_once_is_not_enough(app: App, at_once: Any) -> None:
    with pytest.raises(InputError, match="expected a number from 1"):
        app.run_many([task_of(app).bind()], at_once=at_once)
    assert list(app.runs()) == []


def test_keys_of_many_runs_are_one_for_each(app: App) -> None:
    one = task_of(app)
    with pytest.raises(InputError, match="there are 2 keys and 1 parts"):
        app.run_many([one.bind()], keys=["a", "b"])
    assert list(app.runs()) == []
    assert [run.key for run in app.run_many([one.bind(), one.bind(2)], keys=["a"])] == ["a", None]


def test_a_queue_without_a_name_is_nobodys(app: App) -> None:
    for asks in (app.conducting, app.working):
        with pytest.raises(InputError, match="queue='': expected 1 to 100 characters"):
            asks(queues=["default", ""])
