"""A real RabbitMQ and a real Redis for tests, where nobody has named one.

`FLOWLEDGER_TEST_BROKER_URL` names a RabbitMQ that may be used. Else one is started from the distribution's programs, on
ports and with a node name, a folder and an epmd of its own, so that it meets no other. It is one for a whole test
session, also with xdist, and a process beside it ends it when the session is over, however it ended.

    python tests/broker_servers.py serve FOLDER PID     what that process does
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parents[1]))

from tests.postgres_server import die_with_parent, free_port, serve, wait_until

GIVEN_URL = os.environ.get("FLOWLEDGER_TEST_BROKER_URL")
RABBITMQ_MISSING = (
    "no RabbitMQ: install rabbitmq-server (as root `make test` does it), or set FLOWLEDGER_TEST_BROKER_URL"
)
START_S = 90.0
_PLACES = f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin"


def rabbitmq() -> Path | None:
    """The program, if it is installed: its own script, which any user may start."""
    scripts = sorted(Path("/usr/lib/rabbitmq/lib").glob("rabbitmq_server-*/sbin/rabbitmq-server"))
    if scripts:
        return scripts[-1]
    found = shutil.which("rabbitmq-server", path=_PLACES)
    return Path(found) if found else None


def redis() -> str | None:
    """The program, if it is installed."""
    return shutil.which("redis-server", path=_PLACES)


class RabbitMQ:
    """A node in ``folder``, which keeps its queues when it is killed and started again."""

    def __init__(self, folder: Path, settings: Sequence[str] = ()) -> None:
        self.folder = folder
        self.port = free_port()
        self._epmd_port = free_port()
        self._node = f"fl{self.port}@localhost"
        self._distribution_port = free_port()
        self._epmd: subprocess.Popen[bytes] | None = None
        self.process: subprocess.Popen[bytes] | None = None
        (folder / "rabbitmq.conf").write_text(
            f"listeners.tcp.1 = 127.0.0.1:{self.port}\nloopback_users = none\nlog.console = false\n"
            "disk_free_limit.absolute = 50MB\nvm_memory_high_watermark.absolute = 1GB\n" + "\n".join(settings)
        )
        (folder / "plugins").write_text("[].\n")
        (folder / "environment.json").write_text(json.dumps(self._environment))

    @property
    def url(self) -> str:
        """How the broker is told where this is."""
        return f"amqp://guest:guest@127.0.0.1:{self.port}//"

    @property
    def _environment(self) -> dict[str, str]:
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("RABBITMQ_", "ERL_"))}
        return kept | {
            "HOME": str(self.folder), "ERL_EPMD_PORT": str(self._epmd_port), "ERL_EPMD_ADDRESS": "127.0.0.1",
            "RABBITMQ_NODENAME": self._node, "RABBITMQ_NODE_PORT": str(self.port),
            "RABBITMQ_DIST_PORT": str(self._distribution_port), "RABBITMQ_MNESIA_BASE": str(self.folder / "mnesia"),
            "RABBITMQ_LOG_BASE": str(self.folder / "log"), "RABBITMQ_CONFIG_FILE": str(self.folder / "rabbitmq"),
            "RABBITMQ_CONF_ENV_FILE": str(self.folder / "none"),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(self.folder / "plugins"),
            "RABBITMQ_PID_FILE": str(self.folder / "pid"),
            # The script becomes the Erlang machine instead of watching over it: its pid is ours to kill.
            "RABBITMQ_ALLOW_INPUT": "1",
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": "-noshell -noinput +S 2:2 +sbwt none "
            "-kernel inet_dist_use_interface {127,0,0,1}",
        }  # fmt: skip

    def start(self) -> None:
        """Start the node and wait until it answers."""
        program = rabbitmq()
        assert program is not None
        with (self.folder / "out").open("ab") as out:
            if self._epmd is None:
                self._epmd = subprocess.Popen(
                    ["epmd", "-port", str(self._epmd_port), "-address", "127.0.0.1"],
                    stdin=subprocess.DEVNULL, stdout=out, stderr=out, preexec_fn=die_with_parent,  # noqa: PLW1509
                )  # fmt: skip
                wait_until(lambda: answers(self._epmd_port), "epmd does not answer")
            self.process = subprocess.Popen(
                [str(program)], env=self._environment, cwd=self.folder, stdin=subprocess.DEVNULL, stdout=out,
                stderr=out, preexec_fn=die_with_parent,  # noqa: PLW1509 - it calls nothing that could wait
            )  # fmt: skip
        process = self.process
        wait_until(lambda: self.is_ready() or process.poll() is not None, self.said(), within_s=START_S)
        assert process.poll() is None, self.said()

    def is_ready(self) -> bool:
        """Whether the node takes connections and has recovered its queues."""
        with suppress(OSError), socket.create_connection(("127.0.0.1", self.port), timeout=5) as connection:
            connection.sendall(b"AMQP\x00\x00\x09\x01")
            return connection.recv(1) == b"\x01"  # connection.start: it would not say that before it is there
        return False

    def said(self) -> str:
        """What the node has written."""
        logs = [self.folder / "out", *(self.folder / "log").glob("*.log")]
        return "\n".join(log.read_text(errors="replace")[-4000:] for log in logs if log.exists())

    def stop(self, how: signal.Signals = signal.SIGKILL) -> None:
        """End the node; by default without a chance to say anything."""
        if self.process is not None:
            with suppress(ProcessLookupError):
                self.process.send_signal(how)
            self.process.wait(START_S)
            self.process = None

    def close(self) -> None:
        """End all of it."""
        self.stop()
        if self._epmd is not None:
            self._epmd.kill()
            self._epmd.wait(START_S)


def make_places(folder: Path, names: Sequence[str]) -> None:
    """Make virtual hosts at the node in ``folder``, whoever has started it: what is in one is seen in no other."""
    listed = ",".join(f'<<"{name}">>' for name in names)
    made = (
        '[begin ok = rabbit_vhost:add(V, <<"tests">>), ok = rabbit_auth_backend_internal:set_permissions('
        f'<<"guest">>, V, <<".*">>, <<".*">>, <<".*">>, <<"tests">>) end || V <- [{listed}]].'
    )
    control(folder, "eval", made)


def control(folder: Path, *arguments: str) -> str:
    """Have rabbitmqctl do something to the node in ``folder``; what it says."""
    program = rabbitmq()
    assert program is not None
    ran = subprocess.run(
        [str(program.with_name("rabbitmqctl")), *arguments],
        env=json.loads((folder / "environment.json").read_text()), capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert ran.returncode == 0, f"rabbitmqctl: {ran.stdout}{ran.stderr}"
    return ran.stdout


@contextmanager
def rabbitmq_node(folder: Path | None = None, settings: Sequence[str] = ()) -> Iterator[RabbitMQ]:
    """A node of one's own, running; nothing is left of it, but for a ``folder`` that was given.

    ``settings``: more lines of its configuration.
    """
    made = folder or Path(tempfile.mkdtemp(prefix="flowledger-mq-"))
    node = RabbitMQ(made, settings)
    try:
        node.start()
        yield node
    finally:
        node.close()
        if folder is None:
            shutil.rmtree(made, ignore_errors=True)


class Redis:
    """A Redis of one's own, which keeps nothing when it is killed. ``options``: more of its command line."""

    def __init__(self, options: Sequence[str] = ()) -> None:
        self.port = free_port()
        self._options = options
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """How the broker is told where this is."""
        return f"redis://127.0.0.1:{self.port}/0"

    def start(self) -> None:
        """Start it and wait until it answers."""
        program = redis()
        assert program is not None
        self.process = subprocess.Popen(
            [
                program, "--port", str(self.port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no",
                *self._options,
            ],
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, preexec_fn=die_with_parent,  # noqa: PLW1509
        )  # fmt: skip
        wait_until(lambda: answers(self.port), "redis does not answer")

    def stop(self) -> None:
        """Kill it."""
        if self.process is not None:
            self.process.kill()
            self.process.wait(START_S)
            self.process = None


@contextmanager
def redis_server(*options: str) -> Iterator[Redis]:
    """A Redis, running; nothing is left of it."""
    server = Redis(options)
    try:
        server.start()
        yield server
    finally:
        server.stop()


def answers(port: int) -> bool:
    """Whether somebody listens there."""
    with suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
        return True
    return False


if __name__ == "__main__":
    serve(Path(sys.argv[2]), int(sys.argv[3]), rabbitmq_node)
