"""Processes that begin at once: forked from one that has imported what they need, and does no more.

A process of the command line costs mostly its imports. What is forked has them; all else (its app, its settings, its
connections, its threads) it makes itself, as one that was started by hand.

    python -m tests.nursery SOCKET [MODULE...]     what they are forked from
"""

from __future__ import annotations

import atexit
import gc
import importlib
import json
import os
import random
import select
import selectors
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, suppress
from functools import cache
from pathlib import Path
from threading import Lock
from time import monotonic
from typing import IO, Any

from tests.postgres_server import die_with_parent

#: What conductors and workers import before they do anything: nothing of it looks at the environment.
IMPORTED = (
    "cli.commands", "cli.process_log", "app", "runtime", "conductor.conductor", "conductor.health", "worker.worker",
    "worker.working", "asking", "broker.consumer", "broker.publisher", "executors.remote", "stores.postgres.store",
    "projecting.embedded", "stores.sqlite",
)  # fmt: skip
#: The command line: a module whose `main` is the whole program.
COMMAND = "flowledger.adapters.cli"
_CHECKOUT = Path(__file__).parents[1]
_MOST_BYTES = 1 << 20  # of what is asked in one message


class Child:
    """A process of the command line, as `subprocess.Popen` shows one."""

    def __init__(self, nursery: Nursery, pid: int) -> None:
        self._nursery = nursery
        self._file = os.pidfd_open(pid)
        self.pid = pid
        self.returncode: int | None = None

    def poll(self) -> int | None:
        """Its exit code, if it has ended."""
        return self.wait(0)

    def wait(self, timeout_s: float | None = None) -> int | None:
        """Its exit code, once it has ended; None: it has not, within this time."""
        if self.returncode is None and select.select([self._file], [], [], timeout_s)[0]:
            self.returncode = int(self._nursery.ask(reap=self.pid))
            os.close(self._file)
        return self.returncode

    def send_signal(self, number: signal.Signals) -> None:
        """Any signal; none, if it has ended."""
        if self.poll() is None:
            with suppress(ProcessLookupError):
                signal.pidfd_send_signal(self._file, number)

    def kill(self) -> None:
        """kill -9."""
        self.send_signal(signal.SIGKILL)


class Piped:
    """A child whose output comes through pipes, as text."""

    def __init__(self, child: Child, stdout: IO[str], stderr: IO[str]) -> None:
        self.stdout, self.stderr = stdout, stderr
        self._child = child
        self.pid, self.poll, self.send_signal, self.kill = child.pid, child.poll, child.send_signal, child.kill

    @property
    def returncode(self) -> int | None:
        return self._child.returncode

    def wait(self, timeout: float | None = None) -> int:
        """Its exit code, once it has ended; TimeoutError: it has not, within so many seconds."""
        code = self._child.wait(timeout)
        if code is None:
            raise TimeoutError(f"the process {self.pid} has not ended")
        return code

    def communicate(self, timeout: float | None = None) -> tuple[str, str]:
        """All that it still says, to stdout and to stderr, once it has ended. Raises as `wait`."""
        until = None if timeout is None else monotonic() + timeout
        said: dict[int, list[bytes]] = {}
        with selectors.DefaultSelector() as speaking:
            for file in (self.stdout, self.stderr):
                speaking.register(file, selectors.EVENT_READ, said.setdefault(file.fileno(), []))
            while speaking.get_map():
                ready = speaking.select(_left(until))
                if not ready and _left(until) == 0:
                    raise TimeoutError(f"the process {self.pid} has not ended")
                for key, _ in ready:
                    key.data.append(os.read(key.fd, 1 << 16))
                    if not key.data[-1]:
                        speaking.unregister(key.fileobj)
        self.wait(_left(until))
        out, err = (b"".join(parts).decode() for parts in said.values())
        self.close()
        return out, err

    def close(self) -> None:
        """Kill it where it has not ended, and hear no more of it."""
        self.kill()
        self._child.wait()
        self.stdout.close()
        self.stderr.close()


def _left(until: float | None) -> float | None:
    return None if until is None else max(0.0, until - monotonic())


class Nursery:
    """Where they come from; they end with it, and it with this process.

    Args:
        more: modules that it imports, besides those that the command line needs.
    """

    def __init__(self, *more: str) -> None:
        self._lock = Lock()
        self._asking, there = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with there:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "tests.nursery", str(there.fileno()), *more], cwd=_CHECKOUT,
                stdin=subprocess.DEVNULL, pass_fds=[there.fileno()],
                preexec_fn=die_with_parent,  # noqa: PLW1509 - it calls nothing that could wait
            )  # fmt: skip

    def start(self, *argv: object, cwd: Path, log: Path, environment: Mapping[str, str]) -> Child:
        """The command with these arguments; what it says goes to the end of the file ``log``."""
        with log.open("ab") as said, Path(os.devnull).open("rb") as nothing:
            return self.fork(
                COMMAND, argv, cwd, environment, files=(nothing.fileno(), said.fileno(), said.fileno())
            )  # fmt: skip

    def pipe(
        self, *argv: object, cwd: Path, environment: Mapping[str, str], program: str = COMMAND, given: bytes = b""
    ) -> Piped:
        """The program with these arguments, and ``given`` to read, which is no more than a pipe holds."""
        with ExitStack() as there:
            asked, giving = os.pipe()
            there.callback(os.close, asked)
            os.write(giving, given)
            os.close(giving)
            (out, to_out), (err, to_err) = os.pipe(), os.pipe()
            there.callback(os.close, to_out)
            there.callback(os.close, to_err)
            child = self.fork(program, argv, cwd, environment, files=(asked, to_out, to_err))
        return Piped(child, os.fdopen(out, encoding="utf-8"), os.fdopen(err, encoding="utf-8"))

    def fork(
        self, program: str, argv: Sequence[object], cwd: Path, environment: Mapping[str, str], *, files: Sequence[int]
    ) -> Child:
        """The program with these arguments and these three files."""
        words = [str(word) for word in argv]
        pid = self.ask(files, program=program, argv=words, cwd=str(cwd), environment=dict(environment))
        return Child(self, int(pid))

    def ask(self, files: Sequence[int] = (), **what: object) -> Any:
        """Have something done there; what it answers."""
        with self._lock:
            socket.send_fds(self._asking, [json.dumps(what).encode()], files)
            return json.loads(self._asking.recv(_MOST_BYTES))

    def close(self) -> None:
        """End it, and all that came from it."""
        self._process.kill()
        self._process.wait()
        self._asking.close()


@cache
def nursery(*more: str) -> Nursery:
    """The one of this process, which has imported these modules besides."""
    made = Nursery(*more)
    atexit.register(made.close)
    return made


# -- there --------------------------------------------------------------------------------------


def serve(asking: socket.socket, more: Sequence[str]) -> None:
    """Fork what is asked for. There is one thread, so what is forked begins with nothing held."""
    for name in (*(f"flowledger.adapters.{name}" for name in IMPORTED), *more):
        importlib.import_module(name)
    importlib.import_module(f"{COMMAND}.commands").verbs()
    gc.freeze()  # what is shared stays shared
    while True:
        message, files, _, _ = socket.recv_fds(asking, _MOST_BYTES, 3)
        if not message:
            return
        asked = json.loads(message)
        if "reap" in asked:
            _, status = os.waitpid(asked["reap"], 0)
            answer = os.waitstatus_to_exitcode(status)
        elif not (answer := os.fork()):
            asking.close()
            be(asked, files)
        for file in files:
            os.close(file)
        asking.send(json.dumps(answer).encode())


def be(asked: Mapping[str, Any], files: Sequence[int]) -> None:
    """Be the program that was asked for; does not come back."""
    die_with_parent()
    for number, file in enumerate(files):
        os.dup2(file, number)
    os.closerange(3, max(files) + 1)
    sys.stdin, sys.stdout = open(0, closefd=False), open(1, "w", 1, closefd=False)  # noqa: SIM115
    sys.stderr = open(2, "w", 1, errors="backslashreplace", closefd=False)  # noqa: SIM115
    os.chdir(asked["cwd"])
    os.environ.clear()
    os.environ.update(asked["environment"])
    paths = os.environ.get("PYTHONPATH", "").split(os.pathsep)
    sys.path[1:1] = [path for path in paths if path and path not in sys.path]
    random.seed()
    sys.argv = ["flowledger", *asked["argv"]]
    importlib.import_module(asked["program"]).main()
    sys.exit()


if __name__ == "__main__":
    with socket.socket(fileno=int(sys.argv[1])) as served:
        serve(served, sys.argv[2:])
