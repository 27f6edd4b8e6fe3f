"""The cloud: makes servers, takes them away, and asks them things. Knows nothing of flowledger.

`create` and `delete` may be repeated, raced and killed at any instant (homes.py says why that is safe).
"""

from __future__ import annotations

import asyncio
import hashlib
import http.client
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from .homes import Claim, Homes
from .models import Node
from .processes import servers_in

SERVER_PROGRAM = Path(__file__).with_name("server.py")
START_TIMEOUT_S = 15.0
TERM_TIMEOUT_S = 2.0
STOP_TIMEOUT_S = 10.0
LOOK_EVERY_S = 0.02
REQUEST_TIMEOUT_S = 10.0


class CloudError(Exception):
    """Something the cloud could not do."""


class NameTaken(CloudError):
    """Another owner has a server of this name."""


class ServerDidNotStart(CloudError):
    """The process ended, or did not speak, before it had a port."""


class ServerDidNotStop(CloudError):
    """The process still runs, although it was killed."""


class ServerUnhealthy(CloudError):
    """The server says it will not become healthy, or is gone."""


class PeersUnconfirmed(CloudError):
    """A server could not reach everybody it was told of."""


class Cloud:
    """Servers of one work directory, each a process of its own on 127.0.0.1."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory.resolve()
        self.homes = Homes(self.directory / "servers")

    # -- making and taking away ---------------------------------------------------------------

    def create(self, node: Node, *, token: str, owner: str, healthy: bool = True) -> str:
        """Make the server of ``node`` and return its id once it has a port. The same token gives the same server.

        A server of the same owner under another token is a leftover and is replaced.
        Raises: NameTaken, ServerDidNotStart.
        """
        claim = Claim(server_id=server_id_of(node.name, token), token=token, owner=owner)
        give_up_at_s = time.monotonic() + START_TIMEOUT_S
        while time.monotonic() < give_up_at_s:
            self._claim(node.name, claim)
            with suppress(FileNotFoundError):  # deleted under our hands: claim it again
                self._run_server(node, claim, healthy)
                self.homes.sweep(node.name)
                return claim.server_id
        raise ServerDidNotStart(f"{claim.server_id}: somebody keeps deleting it")

    def delete(self, name: str, *, owner: str) -> None:
        """Stop and remove what ``owner`` has under ``name``, whichever its token; nothing to do is fine, too.

        Raises: ServerDidNotStop.
        """
        kill_at_s = time.monotonic() + TERM_TIMEOUT_S
        give_up_at_s = time.monotonic() + STOP_TIMEOUT_S
        while (claim := self.homes.claim(name)) and claim.owner == owner:
            if self._removed(name, claim):
                break
            if time.monotonic() > give_up_at_s:
                raise ServerDidNotStop(f"{claim.server_id} still runs after {STOP_TIMEOUT_S:g} s")
            self._signal(claim, signal.SIGTERM if time.monotonic() < kill_at_s else signal.SIGKILL)
            time.sleep(LOOK_EVERY_S)
        self.homes.sweep(name)

    def _claim(self, name: str, wanted: Claim) -> None:
        while (claim := self.homes.claim(name)) != wanted:
            if claim is None:
                self.homes.reserve(name, wanted)
            elif claim.owner == wanted.owner:
                self.delete(name, owner=wanted.owner)
            else:
                raise NameTaken(f"{name} is taken by {claim.owner}")

    def _run_server(self, node: Node, claim: Claim, healthy: bool) -> None:
        """Return when the server of this claim has spoken, started by us or by somebody else."""
        spawned = False
        give_up_at_s = time.monotonic() + START_TIMEOUT_S
        while time.monotonic() < give_up_at_s:
            lock = self.homes.try_lock(node.name)
            if lock is not None:
                try:
                    if spawned:  # free again: it has died
                        raise ServerDidNotStart(f"{claim.server_id} ended at once: {self._last_words(node.name)}")
                    self._spawn(node, claim, healthy, lock)
                finally:
                    os.close(lock)  # the server has its own copy
                spawned = True
            state = self.homes.state(node.name)
            if state is not None and state.server_id == claim.server_id:
                return
            time.sleep(LOOK_EVERY_S)
        raise ServerDidNotStart(f"{claim.server_id} has no port after {START_TIMEOUT_S:g} s")

    def _spawn(self, node: Node, claim: Claim, healthy: bool, lock: int) -> None:
        home = self.homes.path(node.name)
        if self.homes.claim(node.name) != claim:
            raise FileNotFoundError(home)
        self.homes.forget_state(node.name)
        # -I -S: the server needs the standard library only, and starts in half the time without the rest.
        command = [sys.executable, "-I", "-S", str(SERVER_PROGRAM), "--dir", str(home), "--name", node.name]
        command += ["--id", claim.server_id, "--port", str(node.port), "--warm-up", str(node.warm_up_s)]
        command += ["--lock-fd", str(lock), "--detach"] + ([] if healthy else ["--unhealthy"])
        with (home / "server.log").open("ab") as log:
            subprocess.run(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=home,
                pass_fds=(lock,),
                start_new_session=True,  # ^C on the engine is not for the server
                check=False,
            )

    def _removed(self, name: str, claim: Claim) -> bool:
        """Take the directory of ``claim`` away if no process lives in it; False while one does."""
        try:
            lock = self.homes.try_lock(name)
            if lock is None:
                return False
            try:
                if self.homes.claim(name) == claim:
                    self.homes.remove(name)
            finally:
                os.close(lock)
        except FileNotFoundError:
            pass  # somebody else has done it
        return True

    def _signal(self, claim: Claim, number: signal.Signals) -> None:
        # Found by its command line, which names this very server: a pid out of a file may be anybody's by now.
        for process in servers_in(self.directory):
            if process.server_id == claim.server_id:
                with suppress(ProcessLookupError):
                    os.kill(process.pid, number)

    def _last_words(self, name: str) -> str:
        with suppress(OSError):
            lines = (self.homes.path(name) / "server.log").read_text(errors="replace").splitlines()
            return lines[-1] if lines else "it said nothing"
        return "it left no log"

    # -- asking -------------------------------------------------------------------------------

    async def ready(self, server_id: str) -> bool:
        """Whether the server answers that it is healthy; False while it warms up.

        Raises: ServerUnhealthy if waiting longer is of no use.
        """
        return await asyncio.to_thread(self.ready_now, server_id)

    def ready_now(self, server_id: str) -> bool:
        """As `ready`, for callers that may block."""
        try:
            status, body = self._ask(server_id, "GET", "/health")
        except OSError as error:
            raise ServerUnhealthy(f"{server_id} does not answer: {error}") from error
        if status == 200 or body.get("status") == "warming":
            return status == 200
        raise ServerUnhealthy(f"{server_id}: health check said {status} ({body.get('status')})")

    def configure(
        self, server_ids: Iterable[str], *, strangers: Mapping[str, str] | None = None
    ) -> dict[str, list[str]]:
        """Tell each server of all of them (and of ``strangers``, name to url); return whom each has confirmed, by id.

        Raises: PeersUnconfirmed.
        """
        members = list(server_ids)
        peers = {name_of(member): self.url(member) for member in members} | dict(strangers or {})
        return {member: self.introduce(member, peers) for member in members}

    def introduce(self, server_id: str, peers: Mapping[str, str]) -> list[str]:
        """Give one server its peers (name to url) and return the names it has confirmed over HTTP."""
        try:
            status, body = self._ask(server_id, "PUT", "/peers", {"peers": dict(peers)})
        except OSError as error:
            raise PeersUnconfirmed(f"{server_id} does not answer: {error}") from error
        if status != 200:
            silent = "; ".join(f"{name} ({why})" for name, why in body.get("unconfirmed", {}).items())
            raise PeersUnconfirmed(f"{server_id} cannot confirm {silent or body}")
        return list(body["confirmed"])

    def peers(self, server_id: str) -> dict[str, str]:
        """The peers a server has confirmed, name to url."""
        return dict(self._ask(server_id, "GET", "/peers")[1]["peers"])

    def url(self, server_id: str) -> str:
        """Where a server listens. Raises: ServerUnhealthy if there is no such server."""
        return f"http://127.0.0.1:{self._port(server_id)}"

    def standing(self) -> list[str]:
        """The ids of the servers that stand, by name."""
        claims = [self.homes.claim(name) for name in self.homes.names() if self.homes.is_alive(name)]
        return [claim.server_id for claim in claims if claim]

    def close(self) -> None:
        """Nothing is held open: servers live on without us."""

    def _port(self, server_id: str) -> int:
        state = self.homes.state(name_of(server_id))
        if state is None or state.server_id != server_id:
            raise ServerUnhealthy(f"there is no server {server_id}")
        return state.port

    def _ask(self, server_id: str, method: str, page: str, body: object = None) -> tuple[int, dict[str, Any]]:
        connection = http.client.HTTPConnection("127.0.0.1", self._port(server_id), timeout=REQUEST_TIMEOUT_S)
        try:
            connection.request(method, page, body=None if body is None else json.dumps(body))
            answer = connection.getresponse()
            if answer.getheader("X-Server-Id") != server_id:
                raise ConnectionRefusedError("its port belongs to somebody else by now")
            return answer.status, json.loads(answer.read())
        except http.client.HTTPException as error:
            raise ConnectionAbortedError(f"{type(error).__name__}: {error}") from error
        finally:
            connection.close()


def server_id_of(name: str, token: str) -> str:
    """The id of the server that ``token`` asks for: the same for the same token, on any machine."""
    return f"{name}-{hashlib.sha256(token.encode()).hexdigest()[:8]}"


def name_of(server_id: str) -> str:
    """The node name in a server's id."""
    return server_id.rpartition("-")[0]
