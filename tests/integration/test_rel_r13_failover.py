"""RELIABILITY R13: a standby takes over. A synchronous one has all that was acknowledged; of another it is noticed."""

from __future__ import annotations

import os
import signal
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from statistics import median
from threading import Event
from time import monotonic

import psycopg
import pytest

from flowledger import App, Flow, LogRewound, linear
from flowledger.adapters.keys import new_key
from flowledger.adapters.seal_checking import check_copy, copy_lines, read_copy
from flowledger.adapters.sealing import seal_log
from flowledger.adapters.signing import Signer
from flowledger.adapters.stores import open_store
from tests.cutting_proxy import CuttingProxy
from tests.integration.acknowledged import app, lost, under_way, until_it_goes_on
from tests.postgres import made
from tests.postgres_server import Cluster, binaries, cluster, wait_until

LONG = bool(os.environ.get("FLOWLEDGER_TEST_LONG"))
FAILOVERS, BEHIND = (20, 5) if LONG else (1, 1)

pytestmark = [
    pytest.mark.crash,
    pytest.mark.timeout(3600 if LONG else 180),
    pytest.mark.skipif(binaries() is None, reason="no Postgres binaries: install the dev extra"),
]


def asked(server: Cluster, statement: str) -> object:
    with psycopg.connect(host="127.0.0.1", port=server.port, user="postgres", autocommit=True) as connection:
        row = connection.execute(statement.encode()).fetchone()
        return None if row is None else row[0]


def in_step(primary: Cluster, *, sync: bool) -> None:
    """Wait until a standby follows, as it was asked to."""
    state = "sync" if sync else "async"
    following = f"SELECT count(*) FROM pg_stat_replication WHERE state = 'streaming' AND sync_state = '{state}'"
    wait_until(lambda: asked(primary, following) == 1, "the standby does not follow")


def waits_for_its_standby(primary: Cluster) -> None:
    """From now on a commit is one when the standby has it on its disk, too."""
    for statement in ("ALTER SYSTEM SET synchronous_standby_names = '*'", "SELECT pg_reload_conf()"):
        with psycopg.connect(host="127.0.0.1", port=primary.port, user="postgres", autocommit=True) as connection:
            connection.execute(statement.encode())
    in_step(primary, sync=True)


def either(one: Cluster, other: Cluster) -> str:
    """The URL of whichever of them may be written to."""
    hosts = "&".join(f"host=127.0.0.1:{server.port}" for server in (one, other))
    return f"postgresql+psycopg://postgres@/postgres?{hosts}&target_session_attrs=read-write&connect_timeout=2"


def test_rel_r13_a_synchronous_standby_that_takes_over_has_all_that_was_acknowledged() -> None:
    took = [_failover() for _ in range(FAILOVERS)]
    print(f"{FAILOVERS} fail-overs; went on after p50 {median(took):.2f} s, most {max(took):.2f} s")


def _failover() -> float:
    # Given runs under way on a primary with a standby that it waits for
    with cluster() as primary:
        made(primary.url())
        with cluster(standby_of=primary) as standby:
            waits_for_its_standby(primary)
            app.close()
            app.use(database_url=either(primary, standby))
            with under_way() as load:
                until_it_goes_on(load, monotonic())
                # When the primary dies, and the standby takes over
                since = monotonic()
                primary.stop(signal.SIGKILL)
                standby.promote()
                until_it_goes_on(load, monotonic())
                took_s = load.last - since
            # Then all runs have ended, nothing that was acknowledged is missing, and nothing is there twice
            assert not lost(load)
            app.close()
            return took_s


# -- a standby that lags behind -------------------------------------------------------------------

shop = App("shop")
entered, go_on = Event(), Event()


@shop.task
def pay(n: int) -> int:
    return n


@shop.task
def ship() -> None:
    entered.set()
    assert go_on.wait(60)


@shop.flow
def order() -> Flow[None]:
    return linear(pay.bind(1), pay.bind(2), ship)


def test_rel_r13_what_a_standby_lacks_that_takes_over_is_noticed_and_reported() -> None:
    for _ in range(BEHIND):
        _fall_behind()


def _fall_behind() -> None:
    # Given a run that goes on while the standby hears nothing any more, and the log's seals, which are carried away
    signer = Signer(new_key("test", "ed25519"))
    entered.clear()
    go_on.clear()
    with cluster() as primary:
        made(primary.url())
        with closing(CuttingProxy(primary.port)) as link, cluster(standby_of=primary, port=link.port) as standby:
            in_step(primary, sync=False)
            shop.close()
            shop.use(database_url=either(primary, standby))
            whole = shop.run(pay.bind(0))
            caught_up(primary)
            link.mode = "black hole"
            with ThreadPoolExecutor(1) as pool:
                driven = pool.submit(shop.execute, order(), key="k")
                assert entered.wait(30)
                with closing(open_store(primary.url())) as store:
                    run = store.find(app="shop", factory="order", key="k")
                    assert run is not None
                    seal_log(store, signer)
                    copy = read_copy(copy_lines(store), name="seals.jsonl")
                # When the primary dies, and the standby takes over
                primary.stop(signal.SIGKILL)
                link.close()
                standby.promote()
                go_on.set()
                error = driven.exception()
            shop.close()
            # Then who drove the run knows what has become of it
            assert isinstance(error, LogRewound)
            assert f"run {run.run_id} is not there" in error.message
            # And whoever holds the log to the seals that were carried away
            with closing(open_store(standby.url())) as store:
                findings = check_copy(store, copy, frozenset([signer.public_key])).findings
                assert "older copy" in findings[0].what
                assert run.run_id in {finding.run_id for finding in findings[1:]}
                assert whole.id not in {finding.run_id for finding in findings}


def caught_up(primary: Cluster) -> None:
    """Wait until the standby has all there is."""
    behind = "SELECT count(*) FROM pg_stat_replication WHERE replay_lsn = pg_current_wal_flush_lsn()"
    wait_until(lambda: asked(primary, behind) == 1, "the standby does not catch up")
