"""Several processes on one SQLite file: the first start, and what kill -9 leaves behind (rule B2)."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from flowledger.adapters.stores.sqlite import SqliteStore
from flowledger.events.store import START, Claim, Held
from tests.postgres_server import wait_until

from .streams import joined, new_run

ROOT = Path(__file__).parents[2]

CREATE = """
import sys
from pathlib import Path
from flowledger.adapters.stores.sqlite import SqliteStore
from tests.conformance.streams import new_run
print("ready", flush=True)
sys.stdin.readline()
store = SqliteStore(Path(sys.argv[1]))
for _ in range(20):
    new_run(store)
store.close()
"""

OWN = """
import os, subprocess, sys, time
from pathlib import Path
from flowledger.adapters.stores.sqlite import SqliteStore
from tests.conformance.streams import joined, new_run
store = SqliteStore(Path(sys.argv[1]))
owner = joined(store)
run = new_run(store, owner=owner.id)
if sys.argv[2] == "fork" and os.fork() == 0:
    time.sleep(60)
if sys.argv[2] == "exec":
    subprocess.Popen(["sleep", "60"], close_fds=False)
print(owner.id, run.run_id, flush=True)
sys.stdin.readline()
"""

Spawn = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture
def spawn() -> Iterator[Spawn]:
    """Start a Python program; at the end it and its children are killed."""
    started: list[subprocess.Popen[str]] = []

    def start(program: str, *arguments: str) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, "-c", program, *arguments],
            cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, start_new_session=True,
        )  # fmt: skip
        started.append(process)
        return process

    yield start
    for process in started:
        os.killpg(process.pid, signal.SIGKILL) if _lives(process.pid) else None
        process.communicate()


def _lives(group: int) -> bool:
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return True


def line(process: subprocess.Popen[str]) -> list[str]:
    assert process.stdout is not None
    return process.stdout.readline().split()


def test_processes_that_start_at_once_make_the_file_once(tmp_path: Path, spawn: Spawn) -> None:
    # Given
    path = tmp_path / "log.db"
    processes = [spawn(CREATE, str(path)) for _ in range(4)]
    for process in processes:
        assert line(process) == ["ready"]
    # When
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    # Then
    assert [process.wait(60) for process in processes] == [0, 0, 0, 0]
    store = SqliteStore(path)
    assert len(store.read_all(START)) == 80
    store.close()


@pytest.mark.parametrize("child", ["none", "fork", "exec"])
def test_b2_after_kill_9_the_run_is_claimed_at_once(tmp_path: Path, spawn: Spawn, child: str) -> None:
    # Given: an owner in another process, and perhaps a child of it that goes on living
    path = tmp_path / "log.db"
    process = spawn(OWN, str(path), child)
    owner_id, run_id = line(process)
    store = SqliteStore(path)
    me = joined(store)
    held = store.claim(run_id, me.id, takeover_s=20)
    assert isinstance(held, Held)
    assert held.owner == owner_id
    # When
    process.kill()
    process.wait()
    # Then: as soon as the child has had its first turn, which frees what it has from its parent
    wait_until(lambda: isinstance(store.claim(run_id, me.id, takeover_s=20), Claim), "it is not", within_s=10)
    store.close()


def lock_files(path: Path) -> set[str]:
    return {file.name for file in path.with_name(path.name + "-owners").iterdir()}


def test_b2_files_of_owners_that_left_or_died_do_not_stay(tmp_path: Path, spawn: Spawn) -> None:
    # Given one that died
    path = tmp_path / "log.db"
    process = spawn(OWN, str(path), "none")
    dead_id, run_id = line(process)
    process.kill()
    process.wait()
    assert lock_files(path) == {f"{dead_id}.lock"}
    # When
    store = SqliteStore(path)
    me = joined(store)
    # Then
    assert lock_files(path) == {f"{me.id}.lock"}
    assert isinstance(store.claim(run_id, me.id, takeover_s=20), Claim)
    # When / Then
    store.leave(me.id)
    assert lock_files(path) == set()
    store.close()


def test_b2_two_owners_in_one_process_are_not_taken_for_dead(tmp_path: Path) -> None:
    # Given
    one, two = (SqliteStore(tmp_path / "log.db") for _ in range(2))
    owner, me = joined(one), joined(two)
    run = new_run(one, owner=owner.id)
    # When / Then: asking does not free the lock either
    assert isinstance(two.claim(run.run_id, me.id, takeover_s=20), Held)
    assert isinstance(two.claim(run.run_id, me.id, takeover_s=20), Held)
    # When its store is closed without leaving / Then
    one.close()
    assert isinstance(two.claim(run.run_id, me.id, takeover_s=20), Claim)
    two.close()


def test_b2_without_a_lock_file_only_time_counts(tmp_path: Path) -> None:
    # Given somebody who cleans up too much
    store = SqliteStore(tmp_path / "log.db")
    owner, me = joined(store), joined(store)
    run = new_run(store, owner=owner.id)
    for name in lock_files(tmp_path / "log.db"):
        (tmp_path / "log.db-owners" / name).unlink()
    # When / Then
    assert isinstance(store.claim(run.run_id, me.id, takeover_s=20), Held)
    assert isinstance(store.claim(run.run_id, me.id, takeover_s=-1), Claim)
    store.close()
