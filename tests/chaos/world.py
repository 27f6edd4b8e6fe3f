"""The world of one chaos run: a Postgres, a RabbitMQ, a proxy before each, and conductors and workers as processes."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from threading import Event
from time import monotonic, sleep, time
from typing import Any, Literal

import psycopg

from flowledger.adapters.keys import Key
from tests.acceptance.command_line import environment
from tests.broker_servers import RabbitMQ, rabbitmq_node
from tests.cutting_proxy import CuttingProxy, cutting
from tests.nursery import Child, nursery
from tests.postgres import made
from tests.postgres_server import Cluster, cluster, die_with_parent

from .ledger import Ledger

Kind = Literal["conductor", "worker"]

#: Short leases, so that a process that stands still loses its runs within seconds.
LEASES = {
    "FLOWLEDGER_LEASE_HEARTBEAT_S": "0.5", "FLOWLEDGER_LEASE_FENCE_S": "3", "FLOWLEDGER_LEASE_TAKEOVER_S": "4",
    "FLOWLEDGER_BROKER_TIMEOUT_S": "3", "FLOWLEDGER_LOG_LEVEL": "ERROR", "FLOWLEDGER_VIEWS": "off",
}  # fmt: skip
SIGNING_KEY = Key("chaos", "hmac", bytes(range(32)))
#: What gives a process another time, where the package faketime is.
FAKETIME = next(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"), None)


@dataclass(eq=False)
class Member:
    """A process that takes part."""

    kind: Kind
    process: subprocess.Popen[str] | Child
    stopped: bool = False


@dataclass
class Death:
    """A conductor was killed: which, and when by the wall clock (microseconds)."""

    pid: int
    at_us: int


@dataclass
class World:
    """All of it. ``size``: how many processes of each kind there are to be."""

    folder: Path
    postgres: Cluster
    rabbitmq: RabbitMQ
    to_postgres: CuttingProxy
    to_rabbitmq: CuttingProxy
    url: str  # of the log, straight
    size: dict[Kind, int]
    dice: random.Random
    members: list[Member] = field(default_factory=list[Member])
    deaths: list[Death] = field(default_factory=list[Death])
    pause: Event = field(default_factory=Event)

    @property
    def ledger(self) -> Ledger:
        return Ledger(self.folder / "ledger")

    # -- processes ------------------------------------------------------------------------------

    def launch(self, kind: Kind, *, fake_time: str = "") -> Member:
        """One more process; ``fake_time``: what `faketime` takes for its wall clock."""
        argv = ["--max-runs", "200"] if kind == "conductor" else ["--concurrency", "8"]
        more: dict[str, Any] = {
            **LEASES, "FLOWLEDGER_APP": "tests.chaos.shop:app", "CHAOS_LEDGER": str(self.folder / "ledger"),
            "FLOWLEDGER_DATABASE_URL": through(self.url, self.to_postgres), "FLOWLEDGER_SIGNING_KEYS": SIGNING_KEY.line,
            "FLOWLEDGER_BROKER_URL": f"amqp://guest:guest@127.0.0.1:{self.to_rabbitmq.port}//",
        }  # fmt: skip
        if fake_time:
            more |= {"LD_PRELOAD": str(FAKETIME), "FAKETIME": fake_time, "FAKETIME_DONT_FAKE_MONOTONIC": "1"}
        start = self._begun_anew if fake_time else self._forked
        member = Member(kind, start([kind, *argv], environment(**more)))
        self.members.append(member)
        return member

    def _forked(self, argv: Sequence[str], environment: Mapping[str, str]) -> Child:
        return nursery().start(*argv, cwd=self.folder, log=self.folder / "log", environment=environment)

    def _begun_anew(self, argv: Sequence[str], environment: Mapping[str, str]) -> subprocess.Popen[str]:
        """With the libraries that its environment asks for."""
        with (self.folder / "log").open("a") as log:
            return subprocess.Popen(
                [*_COMMAND, *argv], cwd=self.folder, env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                text=True, preexec_fn=die_with_parent,  # noqa: PLW1509 - it calls nothing that could wait
            )  # fmt: skip

    def fill(self) -> None:
        """Have as many of each kind as there are to be: who has ended is replaced."""
        self.members = [member for member in self.members if member.process.poll() is None]
        for kind, size in self.size.items():
            for _ in range(size - len(self.of(kind))):
                self.launch(kind)

    def of(self, kind: Kind) -> list[Member]:
        """Those of a kind that run, in a fixed order."""
        return [member for member in self.members if member.kind == kind and member.process.poll() is None]

    def any(self, kind: Kind) -> Member:
        """One of them, by the dice."""
        return self.dice.choice(self.of(kind))

    def kill(self, member: Member) -> None:
        """kill -9."""
        if member.kind == "conductor":
            self.deaths.append(Death(member.process.pid, int(time() * 1e6)))
        member.process.kill()
        member.process.wait()

    def signal(self, member: Member, number: signal.Signals) -> None:
        """Any other signal."""
        with suppress(ProcessLookupError):
            member.process.send_signal(number)

    def wait(self, seconds: float) -> None:
        """Let it go on for a while."""
        self.pause.wait(seconds)

    # -- the servers ----------------------------------------------------------------------------

    def backends(self) -> list[int]:
        """The server's processes that serve others, by pid."""
        with psycopg.connect(self.straight, autocommit=True) as connection:
            rows = connection.execute(
                "SELECT pid FROM pg_stat_activity WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()"
                " ORDER BY pid"
            ).fetchall()
        return [row[0] for row in rows]

    @property
    def straight(self) -> str:
        """Where the server is, in libpq's words."""
        return f"host=127.0.0.1 port={self.postgres.port} user=postgres dbname=postgres connect_timeout=5"

    def revive_postgres(self) -> None:
        """Start it until it stands: one that is hit while it recovers gives up."""
        until = monotonic() + 60
        while True:
            process = self.postgres.process
            with suppress(AssertionError):
                if process is None or process.poll() is not None:
                    self.postgres.start()
                self.postgres.wait_until_ready()
                return
            assert monotonic() < until, self.postgres.log.read_text()[-2000:]
            sleep(0.2)

    def close(self) -> None:
        for member in self.members:
            self.signal(member, signal.SIGCONT)
            member.process.kill()
            member.process.wait()


def through(url: str, proxy: CuttingProxy) -> str:
    """The same, by way of a proxy."""
    before, _, after = url.partition("@127.0.0.1:")
    return f"{before}@127.0.0.1:{proxy.port}/{after.partition('/')[2]}"


@contextmanager
def world(folder: Path, *, conductors: int, workers: int, seed: int) -> Iterator[World]:
    """A world of one's own, its servers running and nobody there yet; nothing is left of it but ``folder``."""
    with ExitStack() as stack:
        postgres = stack.enter_context(cluster(settings=["max_connections=300"]))
        rabbitmq = stack.enter_context(rabbitmq_node())
        found = World(
            folder=folder, postgres=postgres, rabbitmq=rabbitmq,
            to_postgres=stack.enter_context(cutting(postgres.port)),
            to_rabbitmq=stack.enter_context(cutting(rabbitmq.port)), url=made(postgres.url()),
            size={"conductor": conductors, "worker": workers}, dice=random.Random(seed),
        )  # fmt: skip
        stack.callback(found.close)
        yield found


_COMMAND: Sequence[str] = (sys.executable, "-m", "flowledger")
