"""Bad input, one test each: a clear error with its code and a hint, and nothing half-written."""

from __future__ import annotations

import os
import sqlite3
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Lock
from typing import Any

import pytest

from flowledger import App, Flow, RunReverted, graph, linear, link
from flowledger.events import errors
from tests.acceptance.half_way import Half, HalfWorld


class World:
    """An app on a database file, and what its bodies did."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.app = App("bad", database_url=f"sqlite:///{path}")
        self.done: list[str] = []

    def runs(self) -> int:
        """How many runs the file has; none where there is no file."""
        if not self.path.exists():
            return 0
        with sqlite3.connect(self.path) as connection:
            return int(connection.execute("SELECT count(*) FROM streams").fetchone()[0])


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    world = World(tmp_path / "log.db")
    yield world
    world.app.close()


@contextmanager
def refused(
    world: World, error: type[errors.FlowledgerError], *says: str
) -> Iterator[pytest.ExceptionInfo[errors.FlowledgerError]]:
    """The block raises ``error``, which says these words, has a hint, and has written nothing."""
    before = world.runs()
    with pytest.raises(error) as caught:
        yield caught
    assert type(caught.value) is error
    for word in says:
        assert word in str(caught.value)
    assert f"[{error.code}]" in str(caught.value)
    assert caught.value.hint
    assert world.done == []
    assert world.runs() == before


# -- definitions ----------------------------------------------------------------------------------


def test_an_unknown_symbol(world: World) -> None:
    @world.app.task(provides="server_id")
    def create() -> str:
        world.done.append("create")
        return "s"

    @world.app.task
    def use(sever_id: str) -> None:
        world.done.append("use")

    @world.app.flow
    def misspelt() -> Flow[Any]:
        return linear(create, use)

    with refused(world, errors.MissingSymbol, "sever_id", "use", "server_id"):
        world.app.run(misspelt())


def test_an_ambiguous_symbol(world: World) -> None:
    @world.app.task(provides="address")
    def first() -> str:
        return "a"

    @world.app.task(provides="address")
    def second() -> str:
        return "b"

    @world.app.task
    def use(address: str) -> None: ...

    @world.app.flow
    def two() -> Flow[Any]:
        return graph(first, second, use)

    with refused(world, errors.AmbiguousSymbol, "address", "first", "second"):
        world.app.run(two())


def test_a_wrong_annotation(world: World) -> None:
    @world.app.task(provides="server_ids")
    def create() -> list[str]:
        return []

    @world.app.task
    def use(server_ids: str) -> None: ...

    @world.app.flow
    def mismatched() -> Flow[Any]:
        return linear(create, use)

    with refused(world, errors.SymbolTypeMismatch, "server_ids", "list[str]", "str"):
        world.app.run(mismatched())


def test_a_cycle(world: World) -> None:
    @world.app.task
    def egg() -> None: ...

    @world.app.task
    def hen() -> None: ...

    @world.app.flow
    def circle() -> Flow[Any]:
        return graph(egg, hen, link(egg, hen), link(hen, egg))

    with refused(world, errors.CyclicFlow, "egg", "hen"):
        world.app.run(circle())


def test_a_duplicate_name(world: World) -> None:
    @world.app.task
    def step() -> None: ...

    @world.app.flow
    def twice() -> Flow[Any]:
        return linear(step.bind().named("it"), step.bind().named("it"))

    with refused(world, errors.DuplicateName, "it"):
        world.app.run(twice())


def test_an_unserialisable_result_type_is_refused_before_the_run(world: World) -> None:
    @world.app.task
    def connect() -> Lock:
        world.done.append("connect")
        return Lock()

    @world.app.flow
    def line() -> Flow[Any]:
        return linear(connect)

    with refused(world, errors.UnserialisableType, "connect"):
        world.app.run(line())


# -- values ---------------------------------------------------------------------------------------


def test_a_wrong_input_says_field_expected_and_given(world: World) -> None:
    @world.app.task
    def step(n: int) -> None:
        world.done.append("step")

    @world.app.flow
    def sized(nodes: int) -> Flow[Any]:
        return linear(step.bind(nodes))

    with refused(world, errors.InputError, "nodes", "int", "many") as error:
        world.app.run(sized("many"))  # type: ignore[arg-type]
    assert isinstance(error.value, ValueError)
    assert isinstance(error.value, errors.InputError)
    assert (error.value.field, error.value.expected) == ("nodes", "int")
    assert "many" in error.value.given


def test_a_result_over_the_limit_fails_its_atom_and_is_never_appended(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given a limit of 100,000 bytes and a body that returns more
    monkeypatch.setenv("FLOWLEDGER_PAYLOAD_MAX_BYTES", "100000")

    @world.app.task
    def made() -> str:
        return "y" * 100_001

    @made.revert
    def unmake(result: str | None) -> None:
        world.done.append(f"unmade {result}")

    @world.app.flow
    def line() -> Flow[Any]:
        return linear(made)

    # When it runs
    with pytest.raises(RunReverted) as reverted:
        world.app.run(line())

    # Then the attempt failed, what it did was undone without a result (C9), and its value is nowhere in the file
    assert world.done == ["unmade None"]
    assert [failure.kind for failure in reverted.value.failures] == ["result"]
    cause = reverted.value.__cause__
    assert isinstance(cause, errors.PayloadTooLarge)
    assert "100,001" in str(cause) or "100,003" in str(cause)
    assert cause.hint
    assert b"y" * 1_000 not in world.path.read_bytes()


# -- coming back to a run -------------------------------------------------------------------------


@pytest.fixture
def half(tmp_path: Path) -> Iterator[Half]:
    """A run whose process died in its middle."""
    half = Half(tmp_path / "log.db")
    half.crash()
    yield half
    half.close()


def test_a_plan_changed_between_crash_and_resume(half: Half) -> None:
    # Given the same flow with one more task before those that have run
    changed = half.world(extra=True)
    before = half.rows()

    # When it is resumed
    with pytest.raises(errors.PlanDiffers) as differs:
        changed.resume()

    # Then nothing has run or been written, and the run can go on under the old plan
    assert differs.value.hint
    assert "first" in str(differs.value) or "between" in str(differs.value)
    assert half.rows() == before
    assert changed.done == []
    assert half.world().resume().state == "SUCCEEDED"


def test_the_same_key_with_other_inputs(half: Half) -> None:
    # Given a key that belongs to a run with the input 3
    before = half.rows()

    # When it is used with another
    with pytest.raises(errors.KeyConflict) as conflict:
        half.world().resume(n=4)

    # Then it is refused, and says which run has the key
    assert conflict.value.hint
    assert "half" in str(conflict.value)
    assert half.rows() == before


def test_a_log_with_a_changed_byte(half: Half) -> None:
    # Given one byte of one event changed behind the engine's back
    version = half.change_a_byte()
    before = half.rows()

    # When the run is resumed
    with pytest.raises(errors.Tampered) as tampered:
        half.world().resume()

    # Then the first bad event is named and nothing is added to such a log
    assert (tampered.value.version, tampered.value.code) == (version, "FL701")
    assert tampered.value.hint
    assert half.rows() == before


# -- the database ---------------------------------------------------------------------------------


@contextmanager
def as_nobody() -> Iterator[None]:
    """Root may write anywhere; for as long as the block lasts, this process is not root."""
    user = os.geteuid()
    if user:
        yield
        return
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(user)


def test_a_database_file_that_cannot_be_written(half: Half, tmp_path: Path) -> None:
    # Given a log that this user may read but not write
    warm = HalfWorld(tmp_path / "warm.db")  # whatever is imported late is imported now
    warm.resume()
    warm.app.close()
    before = half.rows()
    for path, mode in ((half.path, 0o444), (tmp_path, 0o555)):
        path.chmod(mode)
    for parent in list(tmp_path.parents)[:3]:
        parent.chmod(parent.stat().st_mode | 0o055)

    # When somebody runs there
    try:
        with as_nobody(), pytest.raises(errors.StoreUnavailable) as unavailable:
            half.world().resume()
    finally:
        tmp_path.chmod(0o755)

    # Then the error names the file and what to do about it
    assert str(half.path) in str(unavailable.value)
    assert "write access" in unavailable.value.hint
    assert half.rows() == before


@pytest.mark.parametrize("name", ["missing/log.db", "."])
def test_a_database_path_that_cannot_be_a_file(tmp_path: Path, name: str) -> None:
    world = HalfWorld(tmp_path / name)
    with pytest.raises(errors.StoreUnavailable) as unavailable:
        world.resume()
    assert unavailable.value.hint
    assert str(tmp_path) in str(unavailable.value)
    assert world.done == []
    assert list(tmp_path.iterdir()) == []


def test_a_database_of_a_newer_schema(half: Half) -> None:
    # Given a file that a later release has migrated
    with sqlite3.connect(half.path) as connection:
        connection.execute("UPDATE meta SET value = '999' WHERE name = 'schema_version'")
    before = half.rows()

    # When this release opens it
    with pytest.raises(errors.SchemaTooNew) as newer:
        half.world().resume()

    # Then it keeps its hands off
    assert "999" in str(newer.value)
    assert "upgrade" in newer.value.hint
    assert half.rows() == before


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of its own of a megabyte and a half."""
    place = tmp_path / "disk"
    place.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=1500k", "tmpfs", place], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip("needs the right to mount a disk of its own (root)")
    yield place
    subprocess.run(["umount", "--lazy", place], check=True)


def test_a_full_disk_and_the_way_back(small_disk: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Given a disk that has room for the beginning of a run, a filler, and nobody who would make room in time
    monkeypatch.setenv("FLOWLEDGER_STORE_OUTAGE_S", "0.05")
    half = Half(small_disk / "log.db")
    filler = small_disk / "filler"
    filler.write_bytes(bytes(1_100_000))
    world = half.world(size=30_000)

    # When the run writes more than fits
    with pytest.raises(errors.StoreUnavailable) as full:
        world.resume(n=10)

    # Then the error says so, and what was acknowledged is intact
    assert "free some space" in full.value.hint
    written = half.rows()
    assert written

    # When there is room again, and somebody comes back to it
    filler.unlink()
    half.close()

    # Then the same call ends the run
    assert world.resume(n=10).state == "SUCCEEDED"
    assert half.rows()[: len(written)] == written
    half.close()
