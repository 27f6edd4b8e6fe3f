"""The command starts quickly: nothing heavy is loaded before it is needed."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from flowledger.adapters.stores import open_store
from tests.acceptance.command_line import environment

HEAVY = ("sqlalchemy", "kombu", "pydantic", "asyncio", "rich", "msgspec", "yaml", "automat", "alembic", "psycopg")

PROGRAM = """
import sys
from flowledger.adapters.cli import main
sys.argv = ["flowledger", *{argv!r}]
try:
    main()
except SystemExit as ended:
    assert not ended.code, ended.code
print("LOADED", *sys.modules)
"""


def loaded(cwd: Path, *argv: str) -> set[str]:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM.format(argv=list(argv))],
        cwd=cwd, env=environment(), capture_output=True, text=True, check=True, timeout=60,
    )  # fmt: skip
    return {module.partition(".")[0] for module in done.stdout.rpartition("LOADED")[2].split()}


def test_help_loads_nothing_heavy(tmp_path: Path) -> None:
    assert loaded(tmp_path, "--help") & set(HEAVY) == set()


@pytest.mark.parametrize("verb", ["ls", "run", "demo"])
def test_help_of_a_verb_loads_what_typer_loads_and_no_more(tmp_path: Path, verb: str) -> None:
    assert loaded(tmp_path, verb, "--help") & set(HEAVY) <= {"pydantic"}


def test_reading_a_log_loads_neither_a_broker_nor_what_draws(tmp_path: Path) -> None:
    open_store(f"sqlite:///{tmp_path / 'flowledger.db'}").close()
    assert loaded(tmp_path, "ls") & {"kombu", "rich", "automat", "yaml", "psycopg", "alembic"} == set()


def test_every_verb_is_there() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "flowledger", "--help"],
        env=environment(), capture_output=True, text=True, check=True, timeout=60,
    )  # fmt: skip
    for verb in ("demo", "plan", "run", "ls", "show", "events", "resume", "revert"):
        assert f"\n  {verb} " in done.stdout
