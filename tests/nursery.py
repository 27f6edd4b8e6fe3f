"""Processes of the command line that begin at once: forked from one that has imported what they need, and does no more.

A process that is killed thirty times in a test costs mostly its imports. What is forked has them; all else (its app,
its settings, its connections, its threads) it makes itself, as one that was started by hand.

    python -m tests.nursery     what they are forked from
"""

from __future__ import annotations

import atexit
import importlib
import json
import os
import random
import select
import signal
import subprocess
import sys
from collections.abc import Mapping
from contextlib import suppress
from functools import cache
from pathlib import Path
from threading import Lock
from typing import Any

from tests.postgres_server import die_with_parent

#: What conductors and workers import before they do anything: nothing of it looks at the environment.
IMPORTED = (
    "cli.commands", "cli.process_log", "app", "runtime", "conductor.conductor", "conductor.health", "worker.worker",
    "worker.working", "asking", "broker.consumer", "broker.publisher", "executors.remote", "stores.postgres.store",
    "projecting.embedded",
)  # fmt: skip
_CHECKOUT = Path(__file__).parents[1]


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


class Nursery:
    """Where they come from; they end with it, and it with this process."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.nursery"], cwd=_CHECKOUT, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            text=True, preexec_fn=die_with_parent,  # noqa: PLW1509 - it calls nothing that could wait
        )  # fmt: skip

    def start(self, *argv: object, cwd: Path, log: Path, environment: Mapping[str, str]) -> Child:
        """The command with these arguments; what it says goes to the end of the file ``log``."""
        words = [str(word) for word in argv]
        return Child(self, int(self.ask(argv=words, cwd=str(cwd), log=str(log), environment=dict(environment))))

    def ask(self, **what: object) -> Any:
        """Have something done there; what it answers."""
        process = self._process
        assert process.stdin is not None
        assert process.stdout is not None
        with self._lock:
            process.stdin.write(json.dumps(what) + "\n")
            process.stdin.flush()
            return json.loads(process.stdout.readline())

    def close(self) -> None:
        """End it, and all that came from it."""
        self._process.kill()
        self._process.communicate()


@cache
def nursery() -> Nursery:
    """The one of this process."""
    made = Nursery()
    atexit.register(made.close)
    return made


# -- there --------------------------------------------------------------------------------------


def serve() -> None:
    """Fork what is asked for. There is one thread, so what is forked begins with nothing held."""
    for name in IMPORTED:
        importlib.import_module(f"flowledger.adapters.{name}")
    for line in sys.stdin:
        asked = json.loads(line)
        if "reap" in asked:
            _, status = os.waitpid(asked["reap"], 0)
            answer = os.waitstatus_to_exitcode(status)
        elif not (answer := os.fork()):
            be(asked)
        print(json.dumps(answer), flush=True)


def be(asked: Mapping[str, Any]) -> None:
    """Be the command that was asked for; does not come back."""
    from flowledger.adapters.cli import main  # noqa: PLC0415

    die_with_parent()
    log = os.open(asked["log"], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    nothing = os.open(os.devnull, os.O_RDONLY)
    for file, number in ((nothing, 0), (log, 1), (log, 2)):
        os.dup2(file, number)
    os.chdir(asked["cwd"])
    os.environ.clear()
    os.environ.update(asked["environment"])
    random.seed()
    sys.argv = ["flowledger", *asked["argv"]]
    main()
    sys.exit()


if __name__ == "__main__":
    serve()
