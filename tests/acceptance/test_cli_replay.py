"""`replay`: is a recorded run still a run of today's code? Which event is the first that is not, and why (D8)."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from tests.acceptance.command_line import Command, Said, flowledger
from tests.acceptance.command_line import run as run_process

__all__ = ["flowledger"]

APP = """\
from flowledger import App, Flow, linear

app = App("shop")


@app.task(provides="ticket")
def reserve(item: str) -> str:
    return f"one {item}"


@app.task
def pay(ticket: str) -> str:
    return f"paid {ticket}"


@app.flow
def buy(item: str) -> Flow[str]:
    return linear(reserve, pay, returns=pay)
"""


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    """A log with two runs, and the code that made them."""
    (tmp_path / "shop_code.py").write_text(APP)
    for key in ("one", "two"):
        assert call(tmp_path, "run", "buy", "--set", f"item={key}", "--key", key).code == 0
    return tmp_path


def call(folder: Path, *argv: object) -> Said:
    """The command in a process of its own: each has the code as it stands then."""
    return run_process(*argv, cwd=folder, FLOWLEDGER_APP="shop_code:app", PYTHONDONTWRITEBYTECODE="1")


def change(folder: Path, old: str, new: str) -> None:
    assert old in APP
    (folder / "shop_code.py").write_text(APP.replace(old, new))


def test_d8_what_was_recorded_replays_and_nothing_is_run_or_written(shop: Path) -> None:
    # Given
    before = sorted(shop.iterdir())
    # When
    one, all_ = call(shop, "replay", "one"), call(shop, "replay", "--all", "--json")
    # Then
    assert (one.code, all_.code) == (0, 0)
    assert one.out.startswith("✔ REPLAYED  1 run, ")
    assert (all_.json["runs"], all_.json["bad"]) == (2, [])
    assert sorted(shop.iterdir()) == before
    with closing(sqlite3.connect(shop / "flowledger.db")) as log:
        assert log.execute("SELECT count(DISTINCT run_id) FROM events").fetchone() == (2,)


def test_d8_an_event_that_would_not_be_valid_is_explained(shop: Path) -> None:
    # Given code under which the parts come in another order
    change(shop, "linear(reserve, pay, returns=pay)", 'linear(reserve, pay.named("settle"), returns=reserve)')
    # When
    said = call(shop, "replay", "one")
    # Then
    assert said.code == 7
    assert "✘ NOT REPLAYED" in said.out
    assert "buy/pay" in said.out
    assert "shop_code.py:" in said.out


def test_d8_which_event_what_was_due_and_the_line(shop: Path) -> None:
    # Given a result that was recorded otherwise than its consumer's digest says: the code is the same, the log is not
    rewrite(shop)
    # When
    said = call(shop, "replay", "one", "--json")
    # Then
    assert said.code == 7
    (bad,) = said.json["bad"]
    assert (bad["code"], bad["path"], bad["version"]) == ("FL702", "buy/pay", 6)
    assert bad["expected"] == ["Start buy/pay"]
    assert bad["line"].endswith("shop_code.py:11")
    assert "inputs digest" in bad["what"]


def rewrite(folder: Path) -> None:
    """A log whose chain holds, of a run that could not have happened."""
    from flowledger.events.chain import GENESIS, link  # noqa: PLC0415

    with closing(sqlite3.connect(folder / "flowledger.db", isolation_level=None)) as log:
        for (name,) in log.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'").fetchall():
            log.execute(f"DROP TRIGGER {name}")
        (run_id,) = log.execute("SELECT run_id FROM streams WHERE key = 'one'").fetchone()
        rows = log.execute(
            "SELECT version, type, schema_version, path, time_us, actor, payload FROM events WHERE run_id = ? "
            "ORDER BY version", (run_id,)
        ).fetchall()  # fmt: skip
        head = GENESIS
        for version, type_, schema, path, time_us, actor, payload in rows:
            changed = payload.replace(b'"one one"', b'"two one"')
            head = link(head, run_id.encode(), version, type_, schema, path, time_us, actor, changed)
            log.execute(
                "UPDATE events SET payload = ?, hash = ? WHERE run_id = ? AND version = ?",
                (changed, head, run_id, version),
            )
        log.execute("UPDATE streams SET head_hash = ? WHERE run_id = ?", (head, run_id))


def test_a_changed_body_is_no_other_run(shop: Path) -> None:
    change(shop, 'f"paid {ticket}"', 'f"paid for {ticket}"')
    assert call(shop, "replay", "--all").code == 0


def test_code_that_is_gone_is_said_so(shop: Path) -> None:
    change(shop, "def buy(", "def sell(")
    said = call(shop, "replay", "--all")
    assert said.code == 7
    assert said.out.count("has no flow or task `buy`") == 2


def test_a_log_that_was_changed_is_not_the_codes_fault(shop: Path) -> None:
    with closing(sqlite3.connect(shop / "flowledger.db", isolation_level=None)) as log:
        log.execute("DROP TRIGGER events_no_update")
        log.execute("UPDATE events SET actor = 'nobody' WHERE version = 4")
    assert call(shop, "replay", "--all").code == 6


def test_only_what_was_submitted_since(shop: Path) -> None:
    assert call(shop, "replay", "--all", "--since", "1h", "--json").json["runs"] == 2
    assert call(shop, "replay", "--all", "--since", "2099-01-01", "--json").json["runs"] == 0
    for wrong in ("soon", "5x"):
        assert call(shop, "replay", "--all", "--since", wrong).code == 2


@pytest.mark.parametrize("argv", [(), ("one", "--all"), ("one", "--since", "1d")], ids=["nothing", "both", "since"])
def test_replay_wants_one_thing(flowledger: Command, argv: tuple[str, ...]) -> None:
    assert flowledger("replay", *argv).code == 2
