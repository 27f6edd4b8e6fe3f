"""What `replay` says of the runs it has gone through."""

from __future__ import annotations

import pytest
import typer

from flowledger import App
from flowledger.adapters.cli.replaying import _report
from flowledger.adapters.cli.terminal import Terminal
from flowledger.adapters.replaying import Replayed
from flowledger.events.errors import PlanDiffers


def test_a_run_whose_values_are_erased_does_not_count_as_replayed(capsys: pytest.CaptureFixture[str]) -> None:
    # When
    _report(Terminal(), App("shop"), [Replayed(run_id="A", erased=True), Replayed(run_id="B", events=8)])
    # Then
    said = capsys.readouterr()
    assert said.out == "✔ REPLAYED  1 run, 8 events\n"
    assert "1 run could not be replayed" in said.err


def test_a_run_is_named_once(capsys: pytest.CaptureFixture[str]) -> None:
    # When
    with pytest.raises(typer.Exit):
        _report(Terminal(), App("shop"), [Replayed(run_id="A", error=PlanDiffers("run A cannot go on:\n  - shop/pay"))])
    # Then
    assert capsys.readouterr().out.splitlines()[:2] == ["✘ run A: cannot go on:", "    - shop/pay"]
