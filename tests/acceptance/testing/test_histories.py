"""Golden histories of one's own flows: kept in a file, checked against today's code (E8, R16)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from flowledger import App, Flow, Part, Times, linear
from flowledger.events.errors import InputError, IntegrityError, Nondeterminism, PlanDiffers, RunNotFound, Tampered
from flowledger.testing import InMemory, check_history, save_history
from tests.acceptance.testing.forging import without_last_start


def shop(app: App, *, release: int = 1) -> Any:
    """A flow as two releases of it have it."""

    @app.task(provides="parcel")
    def pack(order: str) -> str:
        return f"parcel of {order}"

    @app.task
    def send(parcel: str) -> str:
        return f"sent {parcel}"

    @app.task
    def insure(parcel: str) -> None: ...

    @app.flow
    def sell(order: str) -> Flow[str]:
        parts: list[Part[Any]] = [pack, insure, send] if release == 2 else [pack, send]
        return linear(*parts, returns=send, retry=Times(2))

    return sell


@pytest.fixture
def history(flow_app: InMemory, tmp_path: Path) -> Path:
    app = flow_app.new("shop")
    run = app.run(shop(app)("b" * 100_000))  # large: the inputs are in a payload row
    save_history(app, run.id, tmp_path / "sell.json")
    return tmp_path / "sell.json"


def test_rel_r16_a_history_is_checked_by_the_same_code(history: Path, flow_app: InMemory) -> None:
    app = flow_app.new("shop")
    shop(app)

    assert check_history(app, history) == "SUCCEEDED"
    assert list(app.runs()) == [], "nothing is written"


def test_e8_a_changed_flow_is_refused_with_what_has_changed(history: Path, flow_app: InMemory) -> None:
    app = flow_app.new("shop")
    shop(app, release=2)

    with pytest.raises(PlanDiffers, match="sell/insure"):
        check_history(app, history)


def test_a_history_of_a_run_that_goes_on_is_checked_as_far_as_it_goes(
    flow_app: InMemory, crash_at: Any, tmp_path: Path
) -> None:
    app = flow_app.new("shop")
    sell = shop(app)
    with crash_at(app, "TaskSucceeded", "pack") as crash:
        app.run(sell("book"), key="k")

    save_history(app, crash.run_id, tmp_path / "half.json")

    assert check_history(app, tmp_path / "half.json") == "RUNNING"


def changed(history: Path, **fields: Any) -> Path:
    """The same file with other fields."""
    content = {**json.loads(history.read_text()), **fields}
    history.write_text(json.dumps(content))
    return history


def test_a_history_that_was_changed_is_refused(history: Path, flow_app: InMemory) -> None:
    app = flow_app.new("shop")
    shop(app)
    whole = json.loads(history.read_text())
    events: list[dict[str, Any]] = whole["events"]

    edited = [{**e, "time_us": e["time_us"] + (e["type"] == "TaskSucceeded")} for e in events]
    with pytest.raises(Tampered, match="TaskSucceeded"):
        check_history(app, changed(history, events=edited))
    with pytest.raises(Tampered, match="missing"):
        check_history(app, changed(history, events=[*events[:5], *events[6:]]))
    with pytest.raises(IntegrityError, match="payload"):
        check_history(app, changed(history, events=events, moved=dict.fromkeys(whole["moved"], "{}")))
    with pytest.raises(InputError, match="format 99"):
        check_history(app, changed(history, format=99))
    history.write_text("[]")
    with pytest.raises(InputError, match="holds no history"):
        check_history(app, history)


def test_d8_an_event_that_was_not_due_is_named(history: Path, flow_app: InMemory) -> None:
    app = flow_app.new("shop")
    shop(app)

    # Given a history whose chain is whole, and from which an event is missing
    with pytest.raises(Nondeterminism, match="TaskSucceeded is not legal for sell/send in state PENDING"):
        check_history(app, without_last_start(history))


def test_only_a_run_there_is_can_be_saved(flow_app: InMemory, tmp_path: Path) -> None:
    with pytest.raises(RunNotFound):
        save_history(flow_app.new("shop"), "0" * 26, tmp_path / "none.json")
