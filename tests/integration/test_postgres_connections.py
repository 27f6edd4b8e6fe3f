"""Connections that cannot hang, and that are made again (RELIABILITY R11 for the database; rules A3, B2)."""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from time import monotonic, sleep
from typing import Any

import pytest

from flowledger.adapters.heartbeat import Heartbeat
from flowledger.adapters.stores import open_store
from flowledger.adapters.stores.postgres import PostgresStore, locate
from flowledger.adapters.stores.postgres.connecting import GuardedConnection
from flowledger.events.errors import InputError, StoreUnavailable
from flowledger.events.store import START, Appended
from tests.conformance.streams import Run, joined, new_run
from tests.cutting_proxy import CuttingProxy, Mode, cutting
from tests.postgres import sql, through
from tests.postgres_server import binaries, cluster

#: How long a server that does not answer is waited for in these tests, and how long the store goes on trying.
STATEMENT_S, RECONNECT_S = 0.2, 0.3
#: One wait for the answer (with its grace), the tries to connect, one look (connect, answer): nothing is longer.
LIMIT_S = (STATEMENT_S + 2) * 2 + RECONNECT_S + 2 * 2 + 1


def test_a_connection_that_was_out_while_the_pool_was_given_up_is_closed_when_it_comes_back(postgres_url: str) -> None:
    # Given two reads at the same time, one of which loses its connection
    store = PostgresStore.from_url(postgres_url)
    database, out = store._database, list[GuardedConnection]()

    def read(connection: GuardedConnection) -> None:
        out.append(connection)
        if len(out) == 1:
            database.forget_idle()

    # When
    database.reading(read)
    database.reading(read)
    # Then it does not come back to a pool that nobody looks after any more; later ones are kept
    assert [connection.closed for connection in out] == [True, False]
    store.close()


def test_a_connection_that_is_out_when_the_store_is_closed_is_closed_when_it_comes_back(postgres_url: str) -> None:
    # Given a thread that is reading
    store = PostgresStore.from_url(postgres_url)
    out: list[GuardedConnection] = []

    def read(connection: GuardedConnection) -> None:
        out.append(connection)
        # When the store is closed by another
        store.close()

    store._database.reading(read)
    # Then nobody is left to close it but the one who brings it back
    assert [connection.closed for connection in out] == [True]


@pytest.fixture
def proxy(postgres_url: str) -> Iterator[CuttingProxy]:
    with cutting(locate(postgres_url).url.port or 5432) as made:
        yield made


@pytest.fixture
def store(postgres_url: str, proxy: CuttingProxy) -> Iterator[PostgresStore]:
    options = {"statement_timeout_s": STATEMENT_S, "reconnect_s": RECONNECT_S, "connect_timeout": 2}
    opened = PostgresStore.from_url(through(proxy.port, postgres_url, **options))
    yield opened
    opened.close()


def black_hole(proxy: CuttingProxy) -> None:
    """All is accepted, nothing is answered."""
    proxy.mode = "black hole"


def half_open(proxy: CuttingProxy) -> None:
    """The server has lost its end, and nobody tells us; new connections get no answer."""
    proxy.mode = "black hole"
    proxy.drop_all(sides="server")


def refused(proxy: CuttingProxy) -> None:
    """Reset, and nobody takes new connections."""
    proxy.close()


Use = Callable[[PostgresStore, Run], Any]
USES: dict[str, Use] = {
    "append": lambda store, run: store.append([run.next()]),
    "read": lambda store, run: store.read(run.run_id),
    "stream": lambda store, run: store.stream(run.run_id),
    "claim": lambda store, run: store.claim(run.run_id, "me", takeover_s=20),
    "beat": lambda store, _: store.beat("me"),
    "join": lambda store, _: joined(store),
    "now": lambda store, _: store.now_us(),
    "wait": lambda store, _: store.wait(START, timeout_s=0.1),
}


@pytest.mark.parametrize("fault", [black_hole, half_open, refused], ids=lambda fault: fault.__name__)
def test_rel_r11_nothing_hangs_longer_than_configured(
    store: PostgresStore, proxy: CuttingProxy, fault: Callable[[CuttingProxy], None]
) -> None:
    # Given: every connection there is has been in use
    run = new_run(store)
    joined(store)
    for use in (USES["read"], USES["stream"], USES["now"]):
        use(store, run)
    # When
    fault(proxy)
    took: dict[str, float] = {}

    def timed(name: str) -> None:
        began = monotonic()
        with pytest.raises(StoreUnavailable) as caught:
            USES[name](store, run)
        took[name] = monotonic() - began
        assert caught.value.hint

    with ThreadPoolExecutor(len(USES)) as pool:
        list(pool.map(timed, USES))
    # Then
    assert set(took) == set(USES)
    assert max(took.values()) < LIMIT_S, took


def test_rel_r11_opening_says_at_once_that_nobody_answers(postgres_url: str, proxy: CuttingProxy) -> None:
    proxy.mode = "black hole"
    began = monotonic()
    with pytest.raises(StoreUnavailable, match="timeout"):
        open_store(through(proxy.port, postgres_url, connect_timeout=2))
    assert monotonic() - began < 4


def test_rel_r11_after_a_reset_everything_goes_on(store: PostgresStore, proxy: CuttingProxy) -> None:
    # Given
    run, me = new_run(store), joined(store)
    store.read(run.run_id)
    for _ in range(5):
        # When
        proxy.drop_all()
        # Then: nobody above has noticed
        run.put(store)
        store.beat(me.id)
        assert len(store.read(run.run_id)) == run.version
        assert store.wait(START, timeout_s=5)


def test_rel_r11_slow_is_not_dead(store: PostgresStore, proxy: CuttingProxy) -> None:
    run = new_run(store)
    proxy.mode = "slow"
    proxy.delay_s = 0.05
    for _ in range(3):
        run.put(store)
    assert len(store.read(run.run_id)) == 4


def test_rel_r11_what_was_sent_into_a_black_hole_is_settled_when_it_ends(
    store: PostgresStore, proxy: CuttingProxy
) -> None:
    # Given
    run = new_run(store)
    request = run.next()
    proxy.mode = "black hole"
    with pytest.raises(StoreUnavailable):
        store.append([request])
    # When
    proxy.mode = "pass"
    # Then
    assert store.append([request]) == [Appended(2)]
    assert len(store.read(run.run_id)) == 2


def test_b2_a_process_cut_off_fences_itself_in_time(store: PostgresStore, proxy: CuttingProxy) -> None:
    # Given
    fenced: list[float] = []
    heart = Heartbeat(store, app="shop", heartbeat_s=0.05, fence_s=0.5, on_fenced=lambda: fenced.append(monotonic()))
    # When
    began = monotonic()
    proxy.mode = "black hole"
    while not fenced:
        assert monotonic() < began + 20
        sleep(0.01)
    # Then
    assert fenced[0] - began < 3, "it waited for an answer, not for its time"
    heart.close()


# -- the server goes ------------------------------------------------------------------------------


@pytest.mark.skipif(binaries() is None, reason="no Postgres binaries to start a server with")
@pytest.mark.parametrize("how", [signal.SIGQUIT, signal.SIGKILL, signal.SIGINT])
def test_rel_r6_a_server_that_restarts_is_waited_for(how: signal.Signals) -> None:
    from tests.postgres import made  # noqa: PLC0415

    with cluster() as server:
        url = made(server.url())
        with closing(PostgresStore.from_url(url)) as store:
            run, me = new_run(store), joined(store)
            with ThreadPoolExecutor(1) as pool:
                # When
                server.stop(how)
                appending = pool.submit(store.append, [request := run.next()])
                server.start()
                # Then
                assert appending.result() == [Appended(2)]
            run.appended(request)
            run.put(store)
            store.beat(me.id)
            assert [event.version for event in store.read(run.run_id)] == [1, 2, 3]


def test_rel_r6_backends_that_are_killed_are_replaced(store: PostgresStore, postgres_url: str) -> None:
    run = new_run(store)
    for _ in range(10):
        of_store = "application_name = 'flowledger' AND datname = current_database() AND query LIKE '%%{s}.%%'"
        sql(postgres_url, f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE {of_store}")
        run.put(store)
    assert len(store.read(run.run_id)) == 11


# -- URLs ---------------------------------------------------------------------------------------


def test_time_outs_and_keep_alives_have_defaults(postgres_url: str) -> None:
    with closing(PostgresStore.from_url(postgres_url)) as store:
        connection = store._database.connect()
        asked = "SELECT name, setting FROM pg_settings WHERE name LIKE '%%_timeout' OR name LIKE 'tcp_keep%%'"
        settings: dict[str, str] = dict(connection.execute(asked).fetchall())
        parameters = connection.info.get_parameters()
        connection.close()
    assert settings["statement_timeout"] == "10000"
    assert settings["lock_timeout"] == "5000"
    assert settings["idle_in_transaction_session_timeout"] == "60000"
    assert settings["tcp_user_timeout"] == "10000"
    assert settings["tcp_keepalives_idle"] == "5"
    assert parameters["connect_timeout"] == "5"
    assert parameters["tcp_user_timeout"] == "10000"
    assert parameters["keepalives_idle"] == "5"


@pytest.mark.parametrize(
    "query",
    ["statement_timeout_s=0", "lock_timeout_s=-1", "reconnect_s=soon", "statement_timeout_s=nan", "pooler=session",
     "colour=red", "schema=A"],
)  # fmt: skip
def test_an_option_that_does_not_fit_is_named(query: str) -> None:
    with pytest.raises(InputError, match=query.partition("=")[0]) as caught:
        open_store(f"postgresql+psycopg://me:s3cret@db/flow?{query}")
    assert "s3cret" not in str(caught.value)


@pytest.mark.parametrize("url", ["postgresql+psycopg://", "postgresql+psycopg://db", "postgresql+psycopg://db:x/flow"])
def test_a_url_without_a_database_is_refused(url: str) -> None:
    with pytest.raises(InputError):
        open_store(url)


def test_a_password_is_not_repeated_when_nobody_answers() -> None:
    with pytest.raises(StoreUnavailable) as caught:
        open_store("postgresql+psycopg://me:s3cret@127.0.0.1:1/flow")
    assert "s3cret" not in str(caught.value)
    assert "me@127.0.0.1:1/flow" in str(caught.value)


def test_options_of_libpq_go_through(postgres_url: str) -> None:
    port = locate(postgres_url).url.port or 5432
    with closing(PostgresStore.from_url(through(port, postgres_url, application_name="mine"))) as store:
        connection = store._database.connect()
        assert connection.execute("SHOW application_name").fetchone() == ("mine",)
        connection.close()


# -- fork ---------------------------------------------------------------------------------------


def test_a_forked_child_lets_go_of_the_connections(postgres_url: str) -> None:
    with closing(PostgresStore.from_url(postgres_url)) as store:
        # Given
        run = new_run(store)
        fd = store._writer._link.connection().fileno()
        read, write = os.pipe()
        # When
        pid = os.fork()
        if pid == 0:
            try:
                socket.socket(fileno=os.dup(fd)).close()
                os.write(write, b"socket")
            except OSError:
                os.write(write, b"gone")
            finally:
                os._exit(0)
        os.waitpid(pid, 0)
        # Then
        assert os.read(read, 10) == b"gone"
        run.put(store)
        os.close(read)
        os.close(write)


def test_modes_of_the_proxy() -> None:
    """The proxy itself: what is cut is cut."""
    modes: list[Mode] = ["pass", "black hole"]
    with socket.create_server(("127.0.0.1", 0)) as server, cutting(server.getsockname()[1]) as proxy:
        for mode in modes:
            proxy.mode = mode
            with socket.create_connection(("127.0.0.1", proxy.port), timeout=2) as client:
                accepted, _ = server.accept()
                client.sendall(b"hello")
                accepted.settimeout(0.2)
                if mode == "pass":
                    assert accepted.recv(10) == b"hello"
                else:
                    with pytest.raises(TimeoutError):
                        accepted.recv(10)
                accepted.close()
