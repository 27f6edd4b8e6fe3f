"""Calling `flowledger` as a shell would: within this process where that is enough, else in one of its own."""

from __future__ import annotations

import json
import os
import sys
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from flowledger.adapters.cli import main
from tests.nursery import Piped, nursery

CHECKOUT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Said:
    """What a command left: its exit code, data and talk."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """The one document it wrote."""
        return json.loads(self.out)

    @property
    def table(self) -> list[list[str]]:
        """The rows of its tab-separated values, without the names."""
        return [line.split("\t") for line in self.out.splitlines()][1:]


Command = Callable[..., Said]


@pytest.fixture
def flowledger(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Command:
    """The command, in an empty working directory, within this process."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(warnings, "showwarning", warnings.showwarning)  # the command line has its own
    monkeypatch.setattr(sys, "path", [*sys.path])  # and puts the working directory on the path

    def call(*argv: object) -> Said:
        monkeypatch.setattr(sys, "argv", ["flowledger", *map(str, argv)])
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            main()
        said = capsys.readouterr()
        return Said(int(ended.value.code or 0), said.out, said.err)

    return call


def environment(**more: str) -> dict[str, str]:
    """An environment in which the checkout can be imported and nothing is set."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("FLOWLEDGER_", "CLUSTER_"))}
    return {**kept, "PYTHONPATH": str(CHECKOUT), "PYTHONUNBUFFERED": "1", **more}


def start(*argv: object, cwd: Path, **more: str) -> Piped:
    """The command in a process of its own."""
    return nursery().pipe(*argv, cwd=cwd, environment=environment(**more))


def run(*argv: object, cwd: Path, timeout_s: float = 60, **more: str) -> Said:
    """The command in a process of its own, to its end."""
    process = start(*argv, cwd=cwd, **more)
    try:
        out, err = process.communicate(timeout=timeout_s)
    finally:
        process.close()
    return Said(process.returncode or 0, out, err)
