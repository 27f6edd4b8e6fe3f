"""RELIABILITY R20 beside the chain: what the stream row, the plans and a bundle's manifest say is held to the log.

They are not hashed with the events, so whoever changes them leaves every event as it was.
"""

from __future__ import annotations

import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

import msgspec
import pytest

from flowledger import App, Flow, Hold, linear
from flowledger.adapters.bundle import export
from flowledger.adapters.bundle_reading import read_bundle, verify_bundle
from flowledger.adapters.verifying import verify_all, verify_run
from flowledger.events.store import ChecksItself, Store
from tests.integration.tampering import in_postgres, in_sqlite


@dataclass
class Log:
    """Two orders of one plan, one of them held; the key of the first is ``k1``."""

    app: App
    change: Callable[[str], None]

    @property
    def store(self) -> Store:
        return self.app.runtime.store

    def found(self) -> list[str]:
        """What is wrong with the log; each run by itself says the same."""
        whole = [each.what for each in verify_all(self.store).findings]
        alone = [each.what for stream in self.store.streams() for each in verify_run(self.store, stream).findings]
        assert not alone or set(whole) <= set(alone)
        return whole


@pytest.fixture(params=["sqlite", "postgres"])
def log(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Log]:
    if request.param == "sqlite":
        url, change = f"sqlite:///{tmp_path}/log.db", in_sqlite(tmp_path / "log.db")
    else:
        url = str(request.getfixturevalue("postgres_url"))
        change = in_postgres(url)
    app = App("shop", database_url=url)

    @app.task
    def order(item: str) -> str:
        if item == "gift":
            raise Hold("for whom?")
        return item

    @app.flow
    def buy(item: str) -> Flow[str]:
        return linear(order, returns=order)

    @app.flow
    def wrap(like: dict[str, Any]) -> Flow[None]:
        return linear()

    app.wrap = wrap  # type: ignore[attr-defined]
    app.run(buy("tea"), key="k1", tags={"city": "Köln", "size": 'a "b", c'})
    app.run(buy("gift"), key="k2", check=False)
    yield Log(app, change)
    app.close()


def test_a8_a_log_that_is_as_it_was_holds(log: Log) -> None:
    # Given also a run without key and tags, and one on an executor
    log.app.run(log.app.wrap({}))  # type: ignore[attr-defined]
    log.app.run(log.app.wrap({"a": "b"}), key="k3", tags={"a": "b"}, executor="inline")  # type: ignore[attr-defined]
    # Then it holds, and a database that checks itself looks at one again: its tags are written otherwise there
    assert log.found() == []
    if isinstance(log.store, ChecksItself):
        (strange,) = log.store.streams(key="k1")
        assert [run_id for counted in log.store.check_log() for run_id in counted.amiss] == [strange.run_id]


@pytest.mark.parametrize(
    ("statement", "said"),
    [
        ("UPDATE {s}.streams SET key = 'k9' WHERE key = 'k1'", 'says key "k9", the log says "k1" (event 1)'),
        ("UPDATE {s}.streams SET key = NULL WHERE key = 'k1'", 'says key none, the log says "k1" (event 1)'),
        ("UPDATE {s}.streams SET app = 'bank' WHERE key = 'k1'", 'says app "bank", the log says "shop"'),
        ("UPDATE {s}.streams SET factory = 'sell' WHERE key = 'k1'", 'says factory "sell", the log says "buy"'),
        ("UPDATE {s}.streams SET tags = '{{\"city\": \"Bonn\"}}' WHERE key = 'k1'", "says tags"),
        ("UPDATE {s}.streams SET tags = '{{}}' WHERE key = 'k1'", "says tags {}, the log says"),
        ("UPDATE {s}.streams SET status = 'FAILED' WHERE key = 'k1'", "says status FAILED, the log says SUCCEEDED"),
        ("UPDATE {s}.streams SET status = 'RUNNING' WHERE key = 'k1'", "says status RUNNING, the log says SUCCEEDED"),
        (
            "UPDATE {s}.streams SET status = 'SUCCEEDED' WHERE key = 'k2'",
            "says status SUCCEEDED, the log says SUSPENDED",
        ),
    ],
)
def test_rel_r20_what_is_changed_in_the_stream_row_is_found(log: Log, statement: str, said: str) -> None:
    # When
    log.change(statement.replace("{{", "{").replace("}}", "}"))
    # Then
    (found,) = log.found()
    assert said in found


@pytest.mark.parametrize(
    ("key", "like", "change"),
    [
        ("k3", {"app": "bank"}, "app = 'bank'"),
        ("k3", {"factory": "sell"}, "factory = 'sell'"),
        ("k3", {"key": "k9"}, "key = 'k9'"),
        (None, {"key": "k9"}, "key = 'k9'"),
        (None, {"z": {"key": "k9"}}, "key = 'k9'"),
        (None, {"key": "k9", "parent": {"run": "r"}}, "key = 'k9'"),
        ("k3", {"tags": {"city": "Bonn"}}, 'tags = \'{"city": "Bonn"}\''),
        ("k3", {"key": "k3", "tags": {"city": "Bonn"}}, 'tags = \'{"city": "Bonn"}\''),
    ],
)
def test_rel_r20_inputs_that_look_like_what_the_row_was_changed_to_hide_nothing(
    log: Log, key: str | None, like: dict[str, Any], change: str
) -> None:
    # Given a run that was given what somebody will have its row say
    run = log.app.run(log.app.wrap(like), key=key)  # type: ignore[attr-defined]
    assert log.found() == []
    # When
    log.change(f"UPDATE {{s}}.streams SET {change} WHERE run_id = '{run.id}'")
    # Then
    (found,) = log.found()
    assert f"run {run.id}: the stream row says" in found


def test_rel_r20_a_stream_row_that_was_removed_is_found(log: Log) -> None:
    # When
    gone = next(stream.run_id for stream in log.store.streams() if stream.key == "k1")
    log.change("DELETE FROM {s}.streams WHERE key = 'k1'")
    # Then
    assert log.found() == [f"run {gone}: it has events, but its stream row is gone"]
    assert log.store.strays() == [gone]


@pytest.mark.parametrize(
    ("statement", "said"),
    [
        ("UPDATE {s}.plans SET document = E'\\\\x7b7d'::bytea", "was changed"),
        ("DELETE FROM {s}.plans", "is missing"),
    ],
)
def test_rel_r20_what_is_changed_in_a_plan_is_found(log: Log, statement: str, said: str) -> None:
    # When
    log.change(statement)
    # Then
    found = log.found()
    assert all(f"the plan of event 3 RunStarted {said}" in each for each in found)
    assert len(found) in (1, 2)  # Postgres names one run of each plan


@pytest.mark.parametrize(
    ("was", "is_", "said"),
    [
        (b'"SUSPENDED"', b'"SUCCEEDED"', "the manifest says status SUCCEEDED, the log says SUSPENDED"),
        (b'"k2"', b'"k1"', 'the manifest says key "k1", the log says "k2"'),
        (b'"buy"', b'"bye"', 'the manifest says factory "bye"'),
    ],
)
def test_rel_r20_what_is_changed_in_the_manifest_of_a_bundle_is_found(
    log: Log, tmp_path: Path, was: bytes, is_: bytes, said: str
) -> None:
    # Given
    path = exported(log, tmp_path)
    assert verify_bundle(read_bundle(path)).holds
    # When
    rewritten(path, lambda name, content: content.replace(was, is_) if name == "manifest.json" else content)
    # Then
    (found,) = verify_bundle(read_bundle(path)).findings
    assert said in found.what


def test_rel_r20_a_plan_that_was_exchanged_in_a_bundle_with_its_digest_is_found(log: Log, tmp_path: Path) -> None:
    # Given
    path = exported(log, tmp_path)

    # When somebody makes the manifest fit again
    def change(name: str, content: bytes) -> bytes:
        return content.replace(b'"order"', b'"tidy"') if name.startswith("plans/") else content

    rewritten(path, change)
    # Then
    (found,) = verify_bundle(read_bundle(path)).findings
    assert "the plan of event 3 RunStarted was changed" in found.what


def exported(log: Log, tmp_path: Path) -> Path:
    """The bundle of the run that is held."""
    (stream,) = log.store.streams(key="k2")
    export(log.store, stream, tmp_path / "k2.zip", actor="me@here")
    return tmp_path / "k2.zip"


def rewritten(path: Path, change: Callable[[str, bytes], bytes]) -> None:
    """Change files of a bundle, and their digests in its manifest."""
    with zipfile.ZipFile(path) as archive:
        content = {name: change(name, archive.read(name)) for name in archive.namelist()}
    manifest = msgspec.json.decode(content["manifest.json"])
    manifest["files"] = {name: sha256(content[name]).hexdigest() for name in manifest["files"]}
    content["manifest.json"] = msgspec.json.encode(manifest)
    with zipfile.ZipFile(path, "w") as archive:
        for name, each in content.items():
            archive.writestr(name, each)
