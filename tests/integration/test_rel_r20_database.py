"""RELIABILITY R20 in the databases: somebody who may drop triggers changes the log, and `verify` names where.

The same changes on SQLite and Postgres, by SQL; on Postgres the database computes the chains (A8).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from flowledger.adapters.keys import new_key
from flowledger.adapters.seal_checking import Copied, check_copy, copy_lines, read_copy
from flowledger.adapters.sealing import seal_log
from flowledger.adapters.signing import Signer
from flowledger.adapters.stores import open_store
from flowledger.adapters.verifying import verify_all
from flowledger.events.store import Store
from tests.conformance.streams import Run, everything, new_run, payload_row
from tests.integration.tampering import in_postgres, in_sqlite

SIGNER = Signer(new_key("test", "ed25519"))
TRUSTED = frozenset([SIGNER.public_key])


@dataclass
class Log:
    """Three runs, sealed; then the second went on, and was not sealed again."""

    store: Store
    runs: list[Run]
    copy: list[Copied]
    change: Callable[[str], None]


@pytest.fixture(params=["sqlite", "postgres"])
def log(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Log]:
    if request.param == "sqlite":
        url, change = f"sqlite:///{tmp_path}/log.db", in_sqlite(tmp_path / "log.db")
    else:
        url = str(request.getfixturevalue("postgres_url"))
        change = in_postgres(url)
    with closing(open_store(url)) as store:
        moved = payload_row(b'"a large value"')
        runs = sorted((new_run(store, count=3, app="a") for _ in range(3)), key=lambda run: run.run_id)
        runs[1].put(store, payload=b'{"moved":"%s"}' % moved.digest.encode(), payloads=[moved])
        everything(store)
        seal_log(store, SIGNER)
        copy = read_copy(copy_lines(store), name="copy")
        runs[1].put(store, 2)
        everything(store)
        assert verify_all(store, trusted=TRUSTED).holds
        yield Log(store, runs, copy, change)


def found(log: Log) -> list[tuple[int, int, int]]:
    """Per finding: the number of the run (0: none), the version, the seal."""
    places = {run.run_id: number for number, run in enumerate(log.runs, start=1)}
    done = verify_all(log.store, trusted=TRUSTED)
    return [(places.get(each.run_id, 0), each.version, each.seal) for each in done.findings]


RUN_2 = "run_id = (SELECT max(run_id) FROM {s}.streams WHERE run_id < (SELECT max(run_id) FROM {s}.streams))"


@pytest.mark.parametrize(
    ("statement", "expected"),
    [
        (f"UPDATE {{s}}.events SET payload = E'\\\\x7b207d'::bytea WHERE version = 2 AND {RUN_2}", (2, 2, 0)),
        (f"UPDATE {{s}}.events SET actor = 'somebody@else' WHERE version = 1 AND {RUN_2}", (2, 1, 0)),
        (f"UPDATE {{s}}.events SET path = 'flow' WHERE version = 3 AND {RUN_2}", (2, 3, 0)),
        (f"UPDATE {{s}}.events SET time_us = time_us + 1 WHERE version = 6 AND {RUN_2}", (2, 6, 0)),
        (f"UPDATE {{s}}.events SET type = 'TaskSucceeded' WHERE version = 2 AND {RUN_2}", (2, 2, 0)),
        (f"UPDATE {{s}}.events SET schema_version = 7 WHERE version = 2 AND {RUN_2}", (2, 2, 0)),
        (f"UPDATE {{s}}.events SET version = 9 WHERE version = 6 AND {RUN_2}", (2, 6, 0)),
        (f"DELETE FROM {{s}}.events WHERE version = 2 AND {RUN_2}", (2, 2, 0)),
        (f"DELETE FROM {{s}}.events WHERE version = 1 AND {RUN_2}", (2, 1, 0)),
        (f"DELETE FROM {{s}}.events WHERE version = 6 AND {RUN_2}", (2, 6, 0)),
        (f"DELETE FROM {{s}}.events WHERE {RUN_2}", (2, 1, 0)),
        (f"UPDATE {{s}}.streams SET version = 7 WHERE {RUN_2}", (2, 7, 0)),
        (f"UPDATE {{s}}.payloads SET content = E'\\\\x2222'::bytea WHERE {RUN_2}", (2, 4, 0)),
        (f"DELETE FROM {{s}}.payloads WHERE {RUN_2}", (2, 4, 0)),
        (f"UPDATE {{s}}.sealed_heads SET version = 1 WHERE {RUN_2}", (0, 0, 1)),
        (f"DELETE FROM {{s}}.sealed_heads WHERE {RUN_2}", (0, 0, 1)),
        ("UPDATE {s}.seals SET signature = statement", (0, 0, 1)),
        ("UPDATE {s}.seals SET number = 2", (0, 0, 1)),
    ],
    ids=range(18),
)
def test_rel_r20_what_somebody_changes_in_the_database_is_found(
    log: Log, statement: str, expected: tuple[int, int, int]
) -> None:
    log.change(statement)
    assert expected in found(log)


def test_rel_r20_two_runs_with_their_events_exchanged_are_found(log: Log) -> None:
    # Given
    one, three = log.runs[0].run_id, log.runs[2].run_id
    # When
    log.change(
        f"UPDATE {{s}}.events SET run_id = 'X' WHERE run_id = '{one}' AND version = 2;"
        f"UPDATE {{s}}.events SET run_id = '{one}' WHERE run_id = '{three}' AND version = 2;"
        f"UPDATE {{s}}.events SET run_id = '{three}' WHERE run_id = 'X'"
    )
    # Then
    assert sorted(each[:2] for each in found(log)) == [(1, 2), (3, 2)]


def _cut(log: Log, left: int) -> str:
    """Cut a run's end off, and make its stream row fit."""
    run_id = log.runs[2].run_id
    return (
        f"DELETE FROM {{s}}.events WHERE run_id = '{run_id}' AND version > {left};"
        f"UPDATE {{s}}.streams SET version = {left}, head_hash = (SELECT hash FROM {{s}}.events "
        f"WHERE run_id = '{run_id}' AND version = {left}) WHERE run_id = '{run_id}'"
    )


def test_rel_r20_an_end_cut_off_is_found_by_the_seal(log: Log) -> None:
    log.change(_cut(log, 2))
    assert found(log) == [(3, 3, 1)]


def test_rel_r20_a_run_that_is_gone_without_a_trace_is_found_by_the_seal(log: Log) -> None:
    run_id = log.runs[2].run_id
    log.change(
        f"DELETE FROM {{s}}.events WHERE run_id = '{run_id}'; DELETE FROM {{s}}.streams WHERE run_id = '{run_id}'"
    )
    assert found(log) == [(3, 1, 1)]


def test_rel_r20_a_whole_history_written_anew_is_found_by_the_seal(log: Log) -> None:
    # Given a run with another history, of which the chain holds
    run_id = log.runs[2].run_id
    events = Run(run_id).next(4, payload=b'{"other":1}').events
    columns = "version, type, schema_version, path, time_us, actor, payload, hash"
    more = "" if "sqlite" in type(log.store).__module__ else "generation, "
    value = "" if "sqlite" in type(log.store).__module__ else "1, "
    rows = ", ".join(
        f"({value}'{run_id}', {e.version}, '{e.type}', 1, '{e.path}', {e.time_us}, '{e.actor}', "
        f"E'\\\\x{e.payload.hex()}'::bytea, E'\\\\x{e.hash.hex()}'::bytea)"
        for e in events
    )
    # When
    log.change(
        f"DELETE FROM {{s}}.events WHERE run_id = '{run_id}';"
        f"INSERT INTO {{s}}.events ({more}run_id, {columns}) VALUES {rows};"
        f"UPDATE {{s}}.streams SET version = 4, head_hash = E'\\\\x{events[-1].hash.hex()}'::bytea "
        f"WHERE run_id = '{run_id}'"
    )
    # Then
    assert found(log) == [(3, 3, 1)]


def test_rel_r20_who_removes_the_seals_too_is_found_by_the_copy(log: Log) -> None:
    # Given
    log.change(_cut(log, 2) + ";DELETE FROM {s}.seals; DELETE FROM {s}.sealed_heads")
    assert found(log) == [], "nothing is left in this log that could tell"
    # When
    findings = check_copy(log.store, log.copy, TRUSTED).findings
    # Then
    assert [(each.run_id, each.version, each.seal) for each in findings] == [
        ("", 0, 1), (log.runs[2].run_id, 3, 1)
    ]  # fmt: skip


def test_a_finding_says_what_and_where(log: Log) -> None:
    log.change(f"UPDATE {{s}}.events SET actor = 'x' WHERE version = 2 AND {RUN_2}")
    (finding,) = verify_all(log.store).findings
    said: Any = finding.what
    assert log.runs[1].run_id in said
    assert "event 2 TaskStarted" in said
    assert "events 1 to 1 are intact" in said
