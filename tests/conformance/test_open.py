"""Stores are named by URL."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from flowledger.adapters.stores import open_store
from flowledger.events.errors import InputError, StoreUnavailable
from flowledger.events.store import START

from .conftest import NEW_URL
from .streams import new_run

ROOT = Path(__file__).parents[2]


def test_every_memory_store_is_a_log_of_its_own() -> None:
    new_run(open_store("memory://"))
    assert open_store("memory://").read_all(START) == []


def test_a_named_memory_store_is_shared_in_the_process() -> None:
    # Given
    first = open_store("memory://shared-in-this-test")
    run = new_run(first)
    first.close()
    # When / Then
    assert len(open_store("memory://shared-in-this-test").read(run.run_id)) == 1
    assert open_store("memory://another").read(run.run_id) == []


def test_a_relative_sqlite_path_starts_at_the_working_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given
    monkeypatch.chdir(tmp_path)
    store = open_store("sqlite:///flowledger.db")
    # When
    monkeypatch.chdir("/")
    new_run(store)
    # Then
    assert store.describe() == str(tmp_path / "flowledger.db")
    assert (tmp_path / "flowledger.db").exists()
    store.close()


@pytest.mark.parametrize("option", ["", "?synchronous=FULL", "?synchronous=normal"])
def test_an_absolute_sqlite_path_and_its_option(tmp_path: Path, option: str) -> None:
    store = open_store(f"sqlite:///{tmp_path}/x.db{option}")
    new_run(store)
    assert store.describe() == f"{tmp_path}/x.db"
    store.close()


@pytest.mark.parametrize("url", ["", "flowledger.db", "mysql://h/d", "memory", "sqlite:", "postgresql://h/d", "://"])
def test_an_unknown_url_is_refused_with_the_known_ones(url: str) -> None:
    with pytest.raises(InputError) as caught:
        open_store(url)
    assert all(known in caught.value.hint for known in ("memory://", "sqlite:///", "postgresql+psycopg://"))


@pytest.mark.parametrize("url", ["sqlite://", "sqlite:///", "sqlite:///:memory:", "sqlite:///x.db?mode=ro",
                                 "sqlite:///x.db?synchronous=OFF", "sqlite://x.db"])  # fmt: skip
def test_a_sqlite_url_that_names_no_file_or_an_unknown_option_is_refused(
    url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError):
        open_store(url)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("url", ["memory://", "sqlite:///x.db"])
def test_a_schema_where_there_are_none_is_refused(url: str) -> None:
    with pytest.raises(InputError, match="database_schema"):
        open_store(url, schema="team_a")


def test_a_password_is_not_repeated() -> None:
    with pytest.raises(InputError) as caught:
        open_store("mysql://me:s3cret@db/flow")
    assert "s3cret" not in f"{caught.value} {caught.value.given}"


def test_memory_needs_no_sqlalchemy() -> None:
    program = (
        "import sys; from flowledger.adapters.stores import open_store; open_store('memory://'); "
        "sys.exit('sqlalchemy' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", program], cwd=ROOT, check=False).returncode == 0


RUN_AND_LOOK = """
import sys
from flowledger import App, linear
app = App("a", database_url=sys.argv[1])
@app.task
def t() -> None: ...
@app.flow
def f(): return linear(t)
app.run(f())
assert len(app.history.runs().items) == 1
print([name for name in sys.argv[2:] if name in sys.modules])
app.close()
"""
ONLY_OF = {
    "sqlite": ("sqlite3", "sqlalchemy.dialects.sqlite", "flowledger.adapters.stores.sqlite_schema"),
    "postgres": ("psycopg", "sqlalchemy.dialects.postgresql", "flowledger.adapters.stores.postgres.schema"),
}


@pytest.mark.parametrize(("scheme", "other"), [("sqlite", "postgres"), ("postgres", "sqlite")])
def test_a_process_loads_nothing_of_the_other_database(
    scheme: str, other: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    # Given
    url, names = NEW_URL[scheme](request, tmp_path), ONLY_OF[scheme] + ONLY_OF[other]
    # When it runs a flow, and looks at its views
    done = subprocess.run(
        [sys.executable, "-c", RUN_AND_LOOK, url, *names], cwd=ROOT, capture_output=True, text=True, check=True
    )
    # Then
    assert done.stdout.strip() == str(list(ONLY_OF[scheme]))


@pytest.mark.parametrize("scheme", ["sqlite", "postgres"])
def test_a_closed_store_says_so(scheme: str, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    # Given
    store = open_store(NEW_URL[scheme](request, tmp_path))
    run = new_run(store)
    # When
    store.close()
    store.close()
    # Then
    for use in (
        lambda: store.append([run.next()]),
        lambda: store.read(run.run_id),
        lambda: store.stream(run.run_id),
        lambda: store.wait(START, timeout_s=1),
        lambda: store.beat("me"),
    ):
        with pytest.raises(StoreUnavailable, match="closed"):
            use()
