"""RELIABILITY R6: kill -9 of Postgres' backends and of its postmaster under load, and again while it recovers."""

from __future__ import annotations

import os
import random
import signal
from collections.abc import Iterator
from contextlib import suppress
from statistics import median
from time import monotonic, sleep

import psycopg
import pytest

from tests.integration.acknowledged import app, lost, under_way, until_it_goes_on
from tests.postgres import made
from tests.postgres_server import Cluster, binaries
from tests.postgres_server import cluster as own_cluster

LONG = bool(os.environ.get("FLOWLEDGER_TEST_LONG"))
SCALE = float(os.environ.get("FLOWLEDGER_TEST_SCALE", "1"))  # of the long form: 0.2 is a fifth of it
BACKENDS, POSTMASTERS = (round(200 * SCALE), round(100 * SCALE)) if LONG else (6, 2)

pytestmark = [
    pytest.mark.crash,
    pytest.mark.timeout(3600 if LONG else 120),
    pytest.mark.skipif(binaries() is None, reason="no Postgres binaries: install the dev extra"),
]


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    with own_cluster() as running:
        yield running
        app.close()


def kill_a_backend(cluster: Cluster) -> None:
    """One of ours, by its pid, as soon as one is there; the server then ends all of them and recovers."""
    deadline = monotonic() + 30
    with psycopg.connect(host="127.0.0.1", port=cluster.port, user="postgres", autocommit=True) as connection:
        asked = "SELECT pid FROM pg_stat_activity WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()"
        while not _killed_one_of(connection.execute(asked).fetchall()):
            assert monotonic() < deadline, "nobody connects any more"
            sleep(0.005)
        with suppress(psycopg.OperationalError):
            while True:  # this connection is ended with all the others
                connection.execute("SELECT 1")
                sleep(0.005)


def _killed_one_of(found: list[tuple[int]]) -> bool:
    """Also False where the one that was chosen has just ended by itself."""
    if not found:
        return False
    with suppress(ProcessLookupError):
        os.kill(random.Random(len(found)).choice(found)[0], signal.SIGKILL)
        return True
    return False


def kill_the_postmaster(cluster: Cluster) -> None:
    cluster.stop(signal.SIGKILL)
    deadline = monotonic() + 30
    while True:
        try:
            cluster.start()
        except AssertionError:  # what its children still hold is not free yet
            assert monotonic() < deadline
            sleep(0.2)
        else:
            return


def incarnation(cluster: Cluster) -> object:
    """When the server's own processes were last started: each crash of a backend starts them anew."""
    with psycopg.connect(host="127.0.0.1", port=cluster.port, user="postgres", dbname="postgres") as connection:
        asked = "SELECT backend_start FROM pg_stat_activity WHERE backend_type = 'checkpointer'"
        return connection.execute(asked).fetchone()


def restarted(cluster: Cluster, before: object) -> None:
    """Wait until the server has recovered from a crash that was after ``before``."""
    deadline = monotonic() + 60
    while True:
        with suppress(psycopg.OperationalError):
            if incarnation(cluster) not in (before, None):
                return
        assert monotonic() < deadline
        if cluster.process is not None and cluster.process.poll() is not None:
            cluster.start()  # a server that is hit while it recovers gives up: somebody starts it again
        sleep(0.01)


def test_rel_r6_nothing_acknowledged_is_lost_whatever_of_the_server_is_killed(cluster: Cluster) -> None:
    # Given runs in flight on a server of their own
    url = made(f"postgresql+psycopg://postgres@127.0.0.1:{cluster.port}/postgres")
    app.close()
    app.use(database_url=url)
    went_on = list[float]()
    kills = [kill_a_backend] * BACKENDS + [kill_the_postmaster] * POSTMASTERS
    random.Random(6).shuffle(kills)
    with under_way() as load:
        # When its processes are killed one after the other, at times again while it recovers
        for n, kill in enumerate(kills):
            until_it_goes_on(load, monotonic())
            before, since = incarnation(cluster), monotonic()
            kill(cluster)
            restarted(cluster, before)
            if n % 3 == 0:
                before = incarnation(cluster)
                kill_a_backend(cluster)
                restarted(cluster, before)
            until_it_goes_on(load, monotonic())
            went_on.append(load.last - since)
    # Then all runs have ended, and what was acknowledged is in the logs, which are valid; nothing is there twice
    assert not lost(load)
    went_on.sort()
    print(f"{len(kills)} kills, {len(load.ended)} runs, {len(load.acknowledged)} events acknowledged, 0 lost;", end=" ")
    print(f"went on after p50 {median(went_on):.2f} s, most {went_on[-1]:.2f} s")
