"""The single-file examples run, each as a program of its own, and say what they are there to show."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from pathlib import Path

import pytest

from examples import ex1_hello, ex2_cluster

ROOT = Path(__file__).parents[2]
SAY = {
    "ex1_hello": "HELLO, WORLD!",
    "ex2_cluster": "2 nodes on a-",
    "ex3_taskflow_port": "hdd-10 attached to srv-1",
    "ex4_retry_branch": "large machine in b",
    "ex5_fan_out": "['10.0.0: 24', '10.0.1: 24']",
    "ex6_approval": "1 release booked, not two",
    "ex6_own_view": "Grace: 1 orders, 0 open, 1 lost",
    "ex7_exactly_once": "thanks: ticket 7",
    "ex8_dask": "8 tiles, made in 2 other processes",
}


def test_every_example_is_tried() -> None:
    assert set(SAY) == {path.stem for path in (ROOT / "examples").glob("ex*.py")}


def test_the_tests_in_examples_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FLOWLEDGER_DATABASE_URL", "memory://")
    ex1_hello.test_greet()
    asyncio.run(ex2_cluster.test_wait())
    ex2_cluster.app.close()


@pytest.mark.parametrize("name", SAY)
def test_an_example_runs(name: str, tmp_path: Path) -> None:
    environment = {**os.environ, "FLOWLEDGER_DATABASE_URL": "memory://", "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", f"examples.{name}"]
    ran = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
    assert SAY[name] in ran.stdout
    assert list(tmp_path.iterdir()) == []
