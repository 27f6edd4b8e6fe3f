"""RELIABILITY R21: a log that was dumped and restored verifies; that it is an older one is reported, by the seals."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import closing
from itertools import count
from pathlib import Path

import pytest
from sqlalchemy import make_url

from flowledger.adapters.keys import new_key
from flowledger.adapters.seal_checking import check_copy, copy_lines, read_copy
from flowledger.adapters.sealing import seal_log
from flowledger.adapters.signing import Signer
from flowledger.adapters.stores import open_store
from flowledger.adapters.stores.postgres import locate
from flowledger.adapters.verifying import verify_all
from tests.conformance.streams import everything, new_run, payload_row
from tests.postgres import another_database
from tests.postgres_server import binaries

SIGNER = Signer(new_key("test", "ed25519"))
TRUSTED = frozenset([SIGNER.public_key])
_numbers = count(1)


def tool(name: str) -> str:
    """A program of the server's own release."""
    folder = binaries()
    found = None if folder is None else Path(folder) / name
    if found is None or not found.exists():
        pytest.skip(f"no {name} beside the server")
    return str(found)


def dump(url: str, path: Path) -> Path:
    location = locate(url)
    subprocess.run(
        [tool("pg_dump"), "--format=custom", f"--schema={location.schema}", f"--file={path}", _plain(url)],
        check=True, capture_output=True,
    )  # fmt: skip
    return path


def _plain(url: str) -> str:
    parsed = make_url(url).set(drivername="postgresql", query={})
    return parsed.render_as_string(hide_password=False)


@pytest.fixture
def elsewhere(postgres_database: str) -> Iterator[str]:
    """Another database on the same server, empty."""
    with another_database(postgres_database, f"restored_{os.getpid()}_{next(_numbers)}") as url:
        yield url


def restore(path: Path, database: str, url: str) -> str:
    """Restore a dump into a database; the URL of the log there."""
    subprocess.run(
        [tool("pg_restore"), "--no-owner", f"--dbname={_plain(database)}", str(path)], check=True, capture_output=True
    )
    schema = locate(url).schema
    return make_url(database).update_query_dict({"schema": schema}).render_as_string(hide_password=False)


def test_rel_r21_a_restored_log_verifies_and_an_older_one_is_reported(
    postgres_url: str, elsewhere: str, tmp_path: Path
) -> None:
    # Given a log that is dumped, goes on, and is dumped again; its seals are carried away
    with closing(open_store(postgres_url)) as store:
        moved = payload_row(b'"large"')
        runs = [new_run(store, count=3) for _ in range(4)]
        runs[0].put(store, payload=b'{"moved":"%s"}' % moved.digest.encode(), payloads=[moved])
        everything(store)
        seal_log(store, SIGNER)
        older = dump(postgres_url, tmp_path / "older.dump")
        runs[1].put(store, 2)
        new_run(store)
        everything(store)
        seal_log(store, SIGNER)
        copy = read_copy(copy_lines(store), name="copy")
        assert verify_all(store, trusted=TRUSTED).holds
    # When the older one is restored
    restored = restore(older, elsewhere, postgres_url)
    # Then it is what was written, byte for byte, and it is told that it is not all of it
    with closing(open_store(restored)) as store:
        done = verify_all(store, trusted=TRUSTED)
        assert (done.runs, done.events, done.payloads, done.seals, done.findings) == (4, 13, 1, 1, [])
        findings = check_copy(store, copy, TRUSTED).findings
        assert "older copy" in findings[0].what
        assert {finding.run_id for finding in findings[1:]} >= {runs[1].run_id}


def test_rel_r21_the_newest_backup_holds_all_that_was_sealed(postgres_url: str, elsewhere: str, tmp_path: Path) -> None:
    # Given
    with closing(open_store(postgres_url)) as store:
        for _ in range(3):
            new_run(store, count=5)
        everything(store)
        seal_log(store, SIGNER)
        copy = read_copy(copy_lines(store), name="copy")
    # When
    restored = restore(dump(postgres_url, tmp_path / "newest.dump"), elsewhere, postgres_url)
    # Then
    with closing(open_store(restored)) as store:
        assert verify_all(store, trusted=TRUSTED).holds
        assert check_copy(store, copy, TRUSTED).findings == []
