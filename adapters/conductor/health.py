"""Whether the process lives and takes jobs: two addresses for whatever watches it.

``/livez``: its event loop turns (B4: one that has not for 60 s is reported). ``/readyz``: it has an owner row that is
fresh, the board answers, and it is not draining. 200 or 503, with a line of text that says why. What keeps only some
runs from going on (no broker, a queue without workers) is a warning in that line: 503 would take a process out that
does all the others.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import NamedTuple

from flowledger.events.errors import InputError

_LOG = logging.getLogger("flowledger.health")


class Verdict(NamedTuple):
    """``why`` is a line for people."""

    good: bool
    why: str


class Health:
    """Answers on ``address`` (``host:port``; port 0: any free one, see `port`) until it is closed.

    Raises:
        InputError: the address is none, or cannot be listened on.
    """

    def __init__(self, address: str, *, alive: Callable[[], Verdict], ready: Callable[[], Verdict]) -> None:
        host, port = parse(address)
        answers = {"/livez": alive, "/readyz": ready}

        class Answer(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                """One of the two addresses."""
                ask = answers.get(self.path)
                verdict = Verdict(good=False, why="not found") if ask is None else ask()
                body = f"{verdict.why}\n".encode()
                self.send_response(404 if ask is None else 200 if verdict.good else 503)
                self.send_header("Content-Type", "text/plain; charset=utf-8")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - as the base class calls it
                _LOG.debug(format, *args)

        try:
            self._server = ThreadingHTTPServer((host, port), Answer)
        except OSError as error:
            raise InputError(
                f"health cannot be served on {address}: {error}", field="health", given=address,
                expected="host:port", hint="choose another port, or 0 for any",
            ) from error  # fmt: skip
        self._server.daemon_threads = True
        self._thread = Thread(target=self._server.serve_forever, name="flowledger-health", daemon=True)
        self._thread.start()

    @property
    def port(self) -> int:
        """Where it listens."""
        return int(self._server.server_address[1])

    def close(self) -> None:
        """Answer no more."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


def parse(address: str) -> tuple[str, int]:
    """Host and port of ``host:port``.

    Raises:
        InputError: it is not of that form.
    """
    host, colon, port = address.rpartition(":")
    if not colon or not port.isdigit() or int(port) > 65_535:
        raise InputError(
            f"{address!r} is no address", field="health", given=address, expected="host:port",
            hint="e.g. 127.0.0.1:8086",
        )  # fmt: skip
    return host.strip("[]") or "127.0.0.1", int(port)
