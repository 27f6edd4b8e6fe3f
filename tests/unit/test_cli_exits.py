"""The exit codes of API §5, for every error there is."""

from __future__ import annotations

import pytest

from flowledger.adapters.cli.exits import Exit, exit_of, report
from flowledger.events import errors
from flowledger.events.errors import FlowledgerError

EXPECTED = {
    "FL1": Exit.USAGE, "FL2": Exit.USAGE, "FL3": Exit.UNSUCCESSFUL, "FL4": Exit.REFUSED, "FL5": Exit.USAGE,
    "FL6": Exit.UNREACHABLE, "FL7": Exit.NOT_VERIFIED, "FL9": Exit.UNSUCCESSFUL, "FL0": Exit.UNSUCCESSFUL,
}  # fmt: skip
OTHERWISE = {
    errors.RunNotFound: Exit.NOT_FOUND, errors.DeadLetterNotFound: Exit.NOT_FOUND,
    errors.RunSuspended: Exit.INTERRUPTED, errors.Fenced: Exit.REFUSED,
    errors.VersionConflict: Exit.REFUSED, errors.KeyTaken: Exit.REFUSED, errors.LogRewound: Exit.REFUSED,
    errors.Nondeterminism: Exit.NONDETERMINISM,
}  # fmt: skip


def all_errors(cls: type[FlowledgerError] = FlowledgerError) -> list[type[FlowledgerError]]:
    """Those of the tree itself: what else has been imported by now depends on which tests ran before."""
    below = [one for sub in cls.__subclasses__() for one in all_errors(sub)]
    return [cls, *below] if cls.__module__ == errors.__name__ else below


@pytest.mark.parametrize("cls", all_errors(), ids=lambda cls: cls.__name__)
def test_every_error_has_its_exit_code(cls: type[FlowledgerError]) -> None:
    assert exit_of(cls.__new__(cls)) == OTHERWISE.get(cls, EXPECTED[cls.code[:3]])


def test_an_error_is_said_with_code_and_hint_and_without_a_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("FLOWLEDGER_DEBUG", raising=False)
    said: list[str] = []
    assert report(errors.RunNotFound("no such run", hint="look\nthere"), said.append) == 3
    assert said[0] == "error FL401: no such run"
    assert said[1].startswith("  hint: look")
    assert not any("Traceback" in line for line in said)


def test_an_unknown_exception_is_said_in_one_line_and_in_full_when_debugging(monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    assert report(ZeroDivisionError("by zero"), said.append) == 1
    assert said[0] == "error: ZeroDivisionError: by zero"
    monkeypatch.setenv("FLOWLEDGER_DEBUG", "1")
    report(ZeroDivisionError("by zero"), said.append)
    assert any("ZeroDivisionError" in line for line in said[3:])
