"""The child of a process executor: ``python -m flowledger.adapters.executors.child MODULE:APP FD`` (rule B6).

Frames over a socket: a length of four bytes, then JSON. One request at a time comes in and its reply goes out; an empty
frame says that nobody wants the one under way any more. The app is named by who started us, never by what comes in.
"""

from __future__ import annotations

import signal
import socket
import sys
from contextlib import suppress
from queue import SimpleQueue
from threading import Event, Thread

from flowledger.adapters.executors.frames import receive, send
from flowledger.adapters.executors.maker import Maker
from flowledger.core.engine.crossing import reply
from flowledger.core.portable import request_of
from flowledger.core.registry import Registry


def serve(registry: Registry, link: socket.socket) -> None:
    """Until the other end is closed: who asked is gone, so is the point of it."""
    maker, cancelled = Maker(registry), Event()
    requests: SimpleQueue[bytes | None] = SimpleQueue()

    def listen() -> None:
        while (frame := receive(link)) is not None:
            if frame:
                requests.put(frame)
            else:
                cancelled.set()
        cancelled.set()
        requests.put(None)

    Thread(target=listen, name="flowledger-listen", daemon=True).start()
    while (content := requests.get()) is not None:
        cancelled.clear()
        with suppress(OSError):
            send(link, reply(maker.make(request_of(content), cancelled.is_set)))
    maker.close()


def main(argv: list[str]) -> None:
    """See the module's docstring."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # ^C is for who drives the run (B5)
    from flowledger.adapters.importing import app_named  # noqa: PLC0415 - loads the user's code

    named, fd = argv
    serve(app_named(named), socket.socket(fileno=int(fd)))


if __name__ == "__main__":
    main(sys.argv[1:])
