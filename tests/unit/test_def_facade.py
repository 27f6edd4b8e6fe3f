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


#: What the reference of the public interface names; here, so that none of it is lost.
PROMISED = """
    App AlwaysRevert AlwaysRevertAll AsyncFunctionTask Atom Backoff Deadline Decision Depth Executor Failure Flow
    FlowFactory FlowledgerError FunctionTask Hold Link NotReady OnFailure OnInterrupt Part Permanent Preview Provides
    Resource Retry Run RunCancelled RunFailed RunReverted RunState RunSuspended RunUnsuccessful Seconds Settings Signal
    Symbol Task TaskContext Times Try TryEach constant exponential graph linear link sleep switch symbol unordered
"""
METHODS = {
    "App": "task flow resource include run arun submit asubmit submit_named get runs conductor history",
    "AsyncFunctionTask": "bind each revert named as_",
    "FlowFactory": "bind each child",  # no part: it is placed by a call, `bind` or `each`, whose result is one
    "FunctionTask": "bind each revert named as_",
    "Resource": "override",
    "Retry": "value on_failure",
    "Run": "state result results failures wait resume suspend cancel send rerun revert fork resolve __await__",
    "Signal": "wait",
    "Task": "execute revert bind named as_",
    "TaskContext": "progress cancelled current deadline log outcome other_outcomes idempotency_key run_id path attempt",
}


def test_what_the_reference_names_is_there() -> None:
    assert set(PROMISED.split()) <= set(flowledger.__all__)
    for owner, names in METHODS.items():
        home = getattr(flowledger, owner)
        known = {*dir(home), *getattr(home, "__dataclass_fields__", ())}
        assert set(names.split()) <= known, owner


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
