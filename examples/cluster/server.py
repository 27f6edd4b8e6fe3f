"""A small real server: one process, one directory, one port. Nothing but the standard library.

    python server.py --dir servers/node-1 --name node-1 --id node-1-5f2c81aa --port 8701

    GET /health     503 {"status": "warming"} until it is warm, then 200 {"status": "ok"}; 503 "failed" with --unhealthy
    GET /whoami     200 {"id", "name", "pid"}
    GET /peers      200 {"peers": {name: url}}
    PUT /peers      asks every peer who it is; 200 {"confirmed": [name]}, or 502 {"unconfirmed": {name: why}}

Each answer carries its id as ``X-Server-Id``. It holds the lock of its directory for as long as it lives (see
homes.py), outlives the process that started it, and stops on SIGTERM.
"""

from __future__ import annotations

import argparse
import fcntl
import http.client
import json
import os
import signal
import sys
import threading
import time
from collections.abc import Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from socketserver import TCPServer
from typing import Any
from urllib.parse import urlsplit

HOST = "127.0.0.1"
ALREADY_RUNNING = 3
PEER_TIMEOUT_S = 3.0
MAX_BODY_BYTES = 1 << 20


class Server(ThreadingHTTPServer):
    """What one server knows: who it is, when it is warm, who its peers are."""

    daemon_threads = True

    def __init__(self, options: argparse.Namespace) -> None:
        self.directory: Path = options.dir
        self.identity = {"id": options.id, "name": options.name, "pid": os.getpid()}
        self.warm_at_s = time.monotonic() + options.warm_up
        self.healthy = not options.unhealthy
        self.peers: dict[str, str] = {}
        self.changing = threading.Lock()
        try:
            super().__init__((HOST, options.port), Requests)
        except OSError:  # the port is a wish
            super().__init__((HOST, 0), Requests)

    def server_bind(self) -> None:
        TCPServer.server_bind(self)  # HTTPServer's own asks the DNS for our name, which can take seconds
        self.server_name, self.server_port = HOST, self.socket.getsockname()[1]

    def health(self) -> tuple[int, dict[str, Any]]:
        if time.monotonic() < self.warm_at_s:
            return 503, {"status": "warming"}
        return (200, {"status": "ok"}) if self.healthy else (503, {"status": "failed"})

    def meet(self, peers: dict[str, str]) -> tuple[int, dict[str, Any]]:
        """Keep ``peers`` (name to url) if each of them answers to its name; else keep those we had."""
        silent = {name: why for name, url in peers.items() if (why := _why_not(name, url))}
        if silent:
            return 502, {"unconfirmed": silent}
        with self.changing:
            self.peers = peers
            self.save()
        return 200, {"confirmed": sorted(peers)}

    def save(self) -> None:
        """Write what we are in one rename, so that a reader sees all of it or the one before."""
        state = {
            "server_id": self.identity["id"],
            "pid": self.identity["pid"],
            "port": self.server_port,
            "peers": self.peers,
        }
        draft = self.directory / "state.json.new"
        draft.write_text(json.dumps(state), encoding="utf-8")
        draft.replace(self.directory / "state.json")


class Requests(BaseHTTPRequestHandler):
    """The four requests of the module docstring."""

    timeout = 10

    @property
    def me(self) -> Server:
        assert isinstance(self.server, Server)
        return self.server

    def do_GET(self) -> None:
        if self.path == "/health":
            self._answer(*self.me.health())
        elif self.path == "/whoami":
            self._answer(200, self.me.identity)
        elif self.path == "/peers":
            self._answer(200, {"peers": self.me.peers})
        else:
            self._answer(404, {"error": f"no such page: {self.path}"})

    def do_PUT(self) -> None:
        size_bytes = int(self.headers.get("Content-Length", "0"))
        if self.path != "/peers" or size_bytes > MAX_BODY_BYTES:
            self._answer(404, {"error": f"cannot put {size_bytes} bytes to {self.path}"})
            return
        self._answer(*self.me.meet(dict(json.loads(self.rfile.read(size_bytes))["peers"])))

    def _answer(self, status: int, body: dict[str, Any]) -> None:
        payload = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("X-Server-Id", str(self.me.identity["id"]))
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(payload)))
        self.end_headers()
        self.wfile.write(payload)


def _why_not(name: str, url: str) -> str | None:
    """Why the server at ``url`` cannot be taken for ``name``; None if it can."""
    address = urlsplit(url)
    try:
        connection = http.client.HTTPConnection(address.hostname or "", address.port, timeout=PEER_TIMEOUT_S)
        connection.request("GET", "/whoami")
        who = json.loads(connection.getresponse().read())["name"]
        connection.close()
    except (OSError, http.client.HTTPException, ValueError, KeyError) as error:
        return f"{type(error).__name__}: {error}"
    return None if who == name else f"{url} is {who}"


def _options(argv: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="a small real server")
    parser.add_argument("--dir", type=Path, required=True, help="its directory, which must exist")
    parser.add_argument("--name", required=True)
    parser.add_argument("--id", required=True)
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--warm-up", type=float, default=0.8, metavar="SECONDS")
    parser.add_argument("--unhealthy", action="store_true", help="never become healthy")
    parser.add_argument("--lock-fd", type=int, help="the lock of the directory, already locked by who starts us")
    parser.add_argument("--detach", action="store_true", help="go on in a process of its own and return")
    return parser.parse_args(argv)


def _hold_lock(options: argparse.Namespace) -> None:
    """Hold the lock of our directory until we die. It is never closed, and never inherited by anybody else."""
    if options.lock_fd is not None:
        os.set_inheritable(options.lock_fd, False)
        return
    lock = os.open(options.dir / "lock", os.O_RDWR | os.O_CREAT)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        print(f"{options.dir} already has a server", file=sys.stderr)
        raise SystemExit(ALREADY_RUNNING) from None


def _detach() -> None:
    # Reparented to init at once: whoever started us need not reap us, now or after it was killed and came back.
    if os.fork():
        os._exit(0)


def main(argv: Sequence[str]) -> None:
    options = _options(argv)
    _hold_lock(options)
    if options.detach:
        _detach()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
    server = Server(options)
    server.save()
    server.serve_forever()


if __name__ == "__main__":
    main(sys.argv[1:])
