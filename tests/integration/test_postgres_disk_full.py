"""The server's disk is full: nothing acknowledged is lost, and it goes on once there is room (RELIABILITY R10)."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path

import pytest

from flowledger.adapters.stores.postgres import PostgresStore
from flowledger.events.chain import verified
from flowledger.events.errors import StoreUnavailable
from flowledger.events.store import Append, Appended
from tests.conformance.streams import Run, everything, new_run
from tests.postgres import made, sql
from tests.postgres_server import binaries, cluster

pytestmark = [
    pytest.mark.skipif(os.geteuid() != 0, reason="only root can mount a small disk"),
    pytest.mark.skipif(binaries() is None, reason="no Postgres binaries to start a server with"),
]

PAYLOAD = os.urandom(20_000)  # does not compress


class SmallDisk:
    """A file system of its own in memory."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def resize(self, megabytes: int) -> None:
        subprocess.run(["mount", "-o", f"remount,size={megabytes}m", str(self.folder)], check=True)


@pytest.fixture
def new_disk(tmp_path: Path) -> Iterator[Callable[[int], SmallDisk]]:
    """Mount small disks where the server's user may go."""
    with ExitStack() as stack:

        def make(megabytes: int) -> SmallDisk:
            folder = Path(f"/tmp/flowledger-disk-{os.getpid()}")
            folder.mkdir()
            stack.callback(folder.rmdir)
            mounted = ["mount", "-t", "tmpfs", "-o", f"size={megabytes}m", "flowledger-test", str(folder)]
            if subprocess.run(mounted, check=False, capture_output=True).returncode:
                pytest.skip("this machine does not let root mount a disk")
            stack.callback(subprocess.run, ["umount", "--lazy", str(folder)], check=True)
            return SmallDisk(folder)

        yield make


def fill(store: PostgresStore, run: Run) -> tuple[Append, StoreUnavailable]:
    """Append until it no longer works; the append that did not."""
    while True:
        request = run.next(5, payload=PAYLOAD)
        try:
            assert store.append([request]) == [Appended(run.version + 5)]
        except StoreUnavailable as error:
            return request, error
        run.appended(request)


def test_rel_r10_a_full_heap_is_named_and_goes_on_with_room(new_disk: Callable[[int], SmallDisk]) -> None:
    # Given a database on a small disk
    disk = new_disk(24)
    with cluster() as server:
        if server.user:
            shutil.chown(disk.folder, server.user)
        admin = server.url(schema="x")
        sql(admin, f"CREATE TABLESPACE small LOCATION '{disk.folder}'")
        sql(admin, "CREATE DATABASE small TABLESPACE small")
        with closing(PostgresStore.from_url(made(server.url("small")))) as store:
            run, other = new_run(store), new_run(store)
            # When
            request, error = fill(store, run)
            # Then
            assert "No space left" in error.message
            assert "free some space" in error.hint
            assert [e.hash for e in verified(run.run_id, store.read(run.run_id))][-1] == run.head
            assert len(everything(store)) == run.version + 1
            # When there is room again / Then the same request goes through, on the same store
            disk.resize(64)
            assert store.append([request, other.next()]) == [Appended(run.version + 5), Appended(2)]


def test_rel_r10_a_full_wal_stops_the_server_and_loses_nothing(new_disk: Callable[[int], SmallDisk]) -> None:
    # Given a server whose write-ahead log is on a small disk, and is kept
    disk = new_disk(48)
    with cluster(wal=disk.folder, settings=["wal_keep_size=1GB", "max_wal_size=1GB"]) as server:
        url = made(server.url(reconnect_s=1))
        with closing(PostgresStore.from_url(url)) as store:
            run = new_run(store)
            # When: it panics
            request, error = fill(store, run)
            assert error.hint
            assert "PANIC" in server.log.read_text()
            disk.resize(256)
            server.stop()
            server.start()
            # Then
            assert store.append([request]) == [Appended(run.version + 5)]
            run.appended(request)
            assert [e.hash for e in verified(run.run_id, store.read(run.run_id))][-1] == run.head
            assert len(store.read(run.run_id)) == run.version
