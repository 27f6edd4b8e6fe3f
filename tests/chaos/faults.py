"""The faults, by name. Each does its harm to a world, lets it last, and makes it good; nobody waits for the rest."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any, cast

import psycopg
from amqp.basic_message import Message  # type: ignore[import-untyped]
from amqp.exceptions import AMQPError  # type: ignore[import-untyped]
from kombu.connection import Connection

from flowledger.adapters.broker.naming import queue_name
from tests.cutting_proxy import CuttingProxy

from . import shop
from .world import FAKETIME, Kind, World

Fault = Callable[[World], None]

# -- processes ----------------------------------------------------------------------------------


def kill_conductor(world: World) -> None:
    """R4: kill -9."""
    world.kill(world.any("conductor"))


def kill_worker(world: World) -> None:
    """R5: kill -9."""
    world.kill(world.any("worker"))


def stop_conductor(world: World) -> None:
    """R8: it stands still until others have its runs, then goes on."""
    _stop(world, "conductor", 4.0, 7.0)


def stop_worker(world: World) -> None:
    """It stands still for a while."""
    _stop(world, "worker", 1.0, 6.0)


def _stop(world: World, kind: Kind, least_s: float, most_s: float) -> None:
    member = world.any(kind)
    world.signal(member, signal.SIGSTOP)
    world.wait(world.dice.uniform(least_s, most_s))
    world.signal(member, signal.SIGCONT)


def drain_conductor(world: World) -> None:
    """SIGTERM: it lets go, and ends."""
    world.signal(world.any("conductor"), signal.SIGTERM)
    world.wait(1.0)


def drain_worker(world: World) -> None:
    """SIGTERM: it finishes what it makes, and ends."""
    world.signal(world.any("worker"), signal.SIGTERM)
    world.wait(1.0)


# -- Postgres -----------------------------------------------------------------------------------


def kill_backend(world: World) -> None:
    """R6: kill -9 of a process of the server: it ends all of them, and recovers."""
    with suppress(psycopg.OperationalError, ProcessLookupError, IndexError):
        os.kill(world.dice.choice(world.backends()), signal.SIGKILL)
    world.revive_postgres()


def kill_postmaster(world: World) -> None:
    """R6: kill -9 of the server, and once more while it recovers if the dice say so."""
    world.postgres.stop(signal.SIGKILL)
    world.revive_postgres()
    if world.dice.random() < 0.5:
        kill_backend(world)


# -- connections (R11) --------------------------------------------------------------------------


def _between(world: World) -> CuttingProxy:
    return world.dice.choice([world.to_postgres, world.to_rabbitmq])


def cut(world: World) -> None:
    """All connections to one of the servers are reset."""
    _between(world).drop_all()


def half_open(world: World) -> None:
    """The server's ends are gone, and nobody is told."""
    _between(world).drop_all(sides="server")


def silence(world: World) -> None:
    """Nothing passes, and nobody is told."""
    _for_a_while(world, "black hole", 1.0, 5.0)


def slow(world: World) -> None:
    """All that is said comes later."""
    _for_a_while(world, "slow", 2.0, 4.0)


def _for_a_while(world: World, mode: str, least_s: float, most_s: float) -> None:
    proxy = _between(world)
    proxy.mode = mode  # type: ignore[assignment]
    world.wait(world.dice.uniform(least_s, most_s))
    proxy.mode = "pass"
    if mode == "black hole":
        proxy.drop_all()  # what was swallowed does not come any more


# -- RabbitMQ -----------------------------------------------------------------------------------


def kill_broker(world: World) -> None:
    """R7: kill -9 of the node, which comes back."""
    world.rabbitmq.stop()
    world.wait(world.dice.uniform(0.0, 3.0))
    world.rabbitmq.start()


def mischief(world: World) -> None:
    """R12: what is in the queue comes three times, with garbage between."""
    with suppress(OSError, AMQPError), Connection(world.rabbitmq.url) as connection:  # type: ignore[no-untyped-call]
        channel, message = connection.default_channel, cast(Any, Message)
        queue = queue_name(shop.app.name, shop.QUEUE)
        for _ in range(20):
            got = channel.basic_get(queue)
            garbage = message(world.dice.randbytes(64), content_type=world.dice.choice(CONTENT_TYPES))
            channel.basic_publish(garbage, exchange="", routing_key=queue)
            if got is None:
                world.wait(0.01)
                continue
            for _ in range(3):
                channel.basic_publish(message(got.body, **got.properties), exchange="", routing_key=queue)
            channel.basic_reject(got.delivery_tag, requeue=True)


CONTENT_TYPES = ("application/json", "application/x-python-serialize", "text/plain", "application/x-yaml")

# -- clocks -------------------------------------------------------------------------------------


def wrong_clock(world: World) -> None:
    """R9: one that is killed comes back with another time."""
    kind = world.dice.choice(KINDS)
    world.kill(world.any(kind))
    world.launch(kind, fake_time=world.dice.choice(TIMES))


KINDS: Sequence[Kind] = ("conductor", "worker")
TIMES = ("+1h", "-1h", "-3d", "+400d", "@2038-01-19 03:14:00")

#: By name, with how often the dice are to choose it.
FAULTS: dict[str, tuple[Fault, int]] = {
    "kill-conductor": (kill_conductor, 8), "kill-worker": (kill_worker, 8), "stop-conductor": (stop_conductor, 2),
    "stop-worker": (stop_worker, 2), "drain-conductor": (drain_conductor, 2), "drain-worker": (drain_worker, 2),
    "kill-backend": (kill_backend, 3), "kill-postmaster": (kill_postmaster, 2), "cut": (cut, 3),
    "half-open": (half_open, 2), "silence": (silence, 2), "slow": (slow, 1), "kill-broker": (kill_broker, 1),
    "mischief": (mischief, 3), "wrong-clock": (wrong_clock, 2),
}  # fmt: skip


def possible() -> list[str]:
    """The faults that can be done here."""
    return [name for name in FAULTS if name != "wrong-clock" or FAKETIME is not None]
