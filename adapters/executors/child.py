"""The child of a process executor: ``python -m flowledger.adapters.executors.child MODULE:APP FD`` (rule B6).

Frames over a socket: a length of four bytes, then JSON. One request at a time comes in and its reply goes out; an empty
frame says that nobody wants the one under way any more. The app is named by who started us, never by what comes in.
"""

from __future__ import annotations

import asyncio
import signal
import socket
import sys
from contextlib import suppress
from queue import SimpleQueue
from threading import Event, Thread

from flowledger.adapters.executors.elsewhere import (
    Elsewhere,
    arguments_of,
    attempt_of,
    not_begun,
    resources_of,
)
from flowledger.adapters.executors.frames import receive, send
from flowledger.core.engine.attempt import Outcome
from flowledger.core.engine.crossing import reply
from flowledger.core.engine.resources import ResourcePool
from flowledger.core.portable import Request, request_of
from flowledger.core.registry import Registry


class Child:
    """Makes attempts one after the other, with resources of its own."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry
        self._pool = ResourcePool(registry.resources, registry.resource_needs)
        self._loop = asyncio.new_event_loop()
        self._thread = Thread(target=self._loop.run_forever, name="flowledger-loop", daemon=True)
        self._thread.start()
        self.cancelled = Event()

    def make(self, content: bytes) -> bytes:
        """`run_attempt` of rule B6: request in, reply out."""
        return reply(self._made(request_of(content)))

    def _made(self, request: Request) -> Outcome:
        try:
            attempt, signature = attempt_of(self._registry, request, Elsewhere(request, self.cancelled.is_set))
            needed = resources_of(self._registry, request, signature)
            live = {argument: self._resource(name, request.run) for argument, name in needed.items()}
            attempt.arguments = arguments_of(attempt, request, signature, live)
        except Exception as error:  # noqa: BLE001 - makers, validators: the user's code (D7, C9)
            return not_begun(request, error)
        return attempt.run()

    def _resource(self, name: str, run_id: str) -> object:
        if not self._pool.has([name], run_id):
            asyncio.run_coroutine_threadsafe(self._pool.acquire([name], run_id), self._loop).result()
        return self._pool.get(name, run_id)

    def close(self) -> None:
        """Close the resources."""
        asyncio.run_coroutine_threadsafe(self._pool.close(), self._loop).result()


def serve(registry: Registry, link: socket.socket) -> None:
    """Until the other end is closed: who asked is gone, so is the point of it."""
    child = Child(registry)
    requests: SimpleQueue[bytes | None] = SimpleQueue()

    def listen() -> None:
        while (frame := receive(link)) is not None:
            if frame:
                requests.put(frame)
            else:
                child.cancelled.set()
        child.cancelled.set()
        requests.put(None)

    Thread(target=listen, name="flowledger-listen", daemon=True).start()
    while (content := requests.get()) is not None:
        child.cancelled.clear()
        with suppress(OSError):
            send(link, child.make(content))
    child.close()


def main(argv: list[str]) -> None:
    """See the module's docstring."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # ^C is for who drives the run (B5)
    from flowledger.adapters.importing import app_named  # noqa: PLC0415 - loads the user's code

    named, fd = argv
    serve(app_named(named), socket.socket(fileno=int(fd)))


if __name__ == "__main__":
    main(sys.argv[1:])
