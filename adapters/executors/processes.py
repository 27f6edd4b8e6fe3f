"""Sync bodies in processes of their own (rule B6, C7): a crash or a kill of one costs that one attempt, no other.

Each child makes one attempt at a time, so who is guilty of its death is never in doubt: its attempt is interrupted, the
others go on, and the next child is started. A body whose time is over is killed with its process.
"""

from __future__ import annotations

import asyncio
import os
import select
import socket
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from queue import SimpleQueue
from threading import Lock, Thread
from typing import NamedTuple

from flowledger.core.engine.attempt import Attempt, Lost, Outcome
from flowledger.core.engine.crossing import outcome_of, packed

from .frames import receive, send

#: How often whoever waits for a reply looks whether the attempt is still wanted.
LOOK_S = 0.1

Job = tuple[Attempt, Callable[[Outcome], None]]


class _Child(NamedTuple):
    process: subprocess.Popen[bytes]
    link: socket.socket


class ProcessExecutor:
    """Up to ``capacity`` children, started as they are needed.

    Args:
        loop: where outcomes are reported.
        capacity: how many bodies at once.
        app: names the app, ``module:attribute``; raises `NotImportable` where a child could not import it.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, *, capacity: int, app: Callable[[], str]) -> None:
        self.capacity = capacity
        self._loop = loop
        self._app = app
        self._jobs: SimpleQueue[Job | None] = SimpleQueue()
        self._lock = Lock()
        self._keepers = 0
        self._idle = 0
        self._closed = False
        self._running: dict[Attempt, subprocess.Popen[bytes]] = {}

    def submit(self, attempt: Attempt, done: Callable[[Outcome], None]) -> None:
        """Hand the body to an idle child, or to a new one."""
        with self._lock:
            start = self._idle == 0 and self._keepers < self.capacity
            if start:
                self._keepers += 1
            elif self._idle:
                self._idle -= 1
        self._jobs.put((attempt, done))
        if start:
            Thread(target=self._keep, name=f"flowledger-child-{self._keepers}", daemon=True).start()

    def cancel(self, attempt: Attempt) -> None:
        """Its time is over: end the process it runs in (C7)."""
        process = self._running.get(attempt)
        if process is not None:
            process.kill()

    def close(self) -> None:
        """End all children; what runs in them is interrupted."""
        self._closed = True
        for _ in range(self._keepers):
            self._jobs.put(None)
        for process in list(self._running.values()):
            process.kill()

    # -- on a thread per child ------------------------------------------------------------------

    def _keep(self) -> None:
        child: _Child | None = None
        while (job := self._jobs.get()) is not None:
            attempt, done = job
            child, outcome = self._make(child, attempt)
            with self._lock:
                self._idle += 1
            try:
                self._loop.call_soon_threadsafe(done, outcome)
            except RuntimeError:  # the loop is closed: the process is on its way out
                break
        if child is not None:
            _end(child)

    def _make(self, child: _Child | None, attempt: Attempt) -> tuple[_Child | None, Outcome]:
        try:
            child = child if child is not None and child.process.poll() is None else self._start()
            self._running[attempt] = child.process
            send(child.link, packed(attempt))
            content = self._awaited(child, attempt)
        except Exception as error:  # noqa: BLE001 - nobody else would hear of it
            content, told = None, f"{type(error).__name__}: {error}"
        else:
            told = ""
        finally:
            self._running.pop(attempt, None)
        if content is not None:
            return child, outcome_of(content)
        code = None
        if child is not None:
            _end(child)
            code = child.process.wait()
        if attempt.timed_out:
            return None, attempt.overdue()
        return None, Lost(told or f"its process ended with {code}")

    def _awaited(self, child: _Child, attempt: Attempt) -> bytes | None:
        """The reply; meanwhile the body is told if it is not wanted any more (D1)."""
        told = False
        while not select.select([child.link], [], [], LOOK_S)[0]:
            if not told and attempt.is_cancelled():
                told = True
                send(child.link, b"")
        return receive(child.link)

    def _start(self) -> _Child:
        named = self._app()
        ours, theirs = socket.socketpair()
        with theirs:
            process = subprocess.Popen(  # noqa: S603 - this interpreter, a module of ours, an app named by the user
                [sys.executable, "-m", "flowledger.adapters.executors.child", named, str(theirs.fileno())],
                pass_fds=[theirs.fileno()], stdin=subprocess.DEVNULL, process_group=0,
                env={**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)},
            )  # fmt: skip
        return _Child(process, ours)


def _end(child: _Child) -> None:
    with suppress(OSError):
        child.link.close()  # it ends by itself once it has nobody to talk to
    with suppress(subprocess.TimeoutExpired):
        child.process.wait(1)
        return
    child.process.kill()
    child.process.wait()
