"""What people import: all of it is there, and nothing heavy comes along before it is used."""

from __future__ import annotations

import subprocess
import sys

import pytest

import flowledger
from flowledger.events import errors


def test_everything_public_can_be_imported_and_nothing_else_is_promised() -> None:
    for name in flowledger.__all__:
        assert getattr(flowledger, name) is not None
    assert dir(flowledger) == flowledger.__all__ == sorted(flowledger.__all__)
    with pytest.raises(AttributeError, match="has no attribute 'core_of_it'"):
        flowledger.core_of_it  # noqa: B018


def test_all_errors_are_public() -> None:
    tree = {n for n, e in vars(errors).items() if isinstance(e, type) and issubclass(e, Exception)}
    assert tree <= set(flowledger.__all__)


HEAVY = ("sqlalchemy", "kombu", "pydantic", "rich", "typer", "psycopg", "msgspec", "asyncio")


def test_importing_the_package_loads_nothing_heavy() -> None:
    code = f"import flowledger, sys; print([m for m in {HEAVY!r} if m in sys.modules])"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"


def test_defining_a_flow_loads_no_database_and_no_broker() -> None:
    code = (
        "import sys\n"
        "from flowledger import App, linear\n"
        "app = App('a')\n"
        "@app.task\n"
        "def t() -> None: ...\n"
        "@app.flow\n"
        "def f(): return linear(t)\n"
        "f()\n"
        "print([m for m in ('sqlalchemy', 'kombu', 'psycopg', 'rich', 'typer') if m in sys.modules])"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"
