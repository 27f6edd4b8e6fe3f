"""Making and upgrading the database, and what an engine refuses to start on (rule A5; RELIABILITY R21, R23)."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import NullPool, create_engine, make_url
from sqlalchemy.dialects.postgresql.base import ischema_names

from flowledger.adapters import upkeep
from flowledger.adapters.settings import Settings
from flowledger.adapters.stores import open_store
from flowledger.adapters.stores.postgres import PostgresStore, identity, locate, opening, upgrading
from flowledger.adapters.stores.postgres.schema import METADATA, SCHEMA_VERSION, Xid8
from flowledger.events.errors import (
    ClusterChanged,
    InputError,
    NotSupported,
    Refused,
    SchemaTooNew,
    SchemaTooOld,
    StoreError,
    StoreUnavailable,
)
from flowledger.events.store import START, Mail, Sent
from tests.conformance.streams import everything, joined, new_run
from tests.postgres import NewUrl, another_database, made, sql

ROOT = Path(__file__).parents[2]


# -- the first time -----------------------------------------------------------------------------


def test_an_empty_database_is_refused_with_what_to_do(new_postgres_schema: NewUrl) -> None:
    with pytest.raises(SchemaTooOld) as caught:
        open_store(new_postgres_schema())
    assert "flowledger db upgrade" in caught.value.hint


def test_the_migrations_lead_to_the_schema_that_the_code_means(
    postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given
    monkeypatch.setitem(ischema_names, "xid8", Xid8)
    location = locate(postgres_url)
    search_path = {"options": f"-c search_path={location.schema}"}
    engine = create_engine(location.url, connect_args=search_path, poolclass=NullPool)
    # When
    with engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True, "compare_server_default": True})
        found: Any = compare_metadata(context, METADATA)
    # Then
    assert [each for each in found if "alembic_version" not in str(each)] == []


def test_an_upgrade_may_be_repeated(postgres_url: str) -> None:
    # Given
    with closing(PostgresStore.from_url(postgres_url)) as store:
        run = new_run(store)
        # When
        found = upgrading.upgrade(locate(postgres_url), actor="me", make_roles=False)
        # Then
        assert (found.version, found.generation, found.is_ready) == (SCHEMA_VERSION, 1, True)
        run.put(store)


def test_upgrades_at_once_make_it_once(new_postgres_schema: NewUrl) -> None:
    # Given
    location = locate(new_postgres_schema())
    # When
    with ThreadPoolExecutor(4) as pool:
        found = list(
            pool.map(lambda _: upgrading.upgrade(location, actor="me", make_roles=False), range(4), timeout=60)
        )
    # Then
    assert [(each.version, each.generation) for each in found] == [(SCHEMA_VERSION, 1)] * 4


def test_rel_r23_an_upgrade_that_is_killed_has_not_happened(
    new_postgres_schema: NewUrl, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given a server process that dies when nearly everything is done
    url = new_postgres_schema()

    def die() -> None:
        idle = "SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND state LIKE 'idle in%%'"
        locking = f"locktype = 'advisory' AND granted AND pid IN ({idle})"
        sql(url, f"SELECT pg_terminate_backend(pid) FROM pg_locks WHERE {locking}")

    monkeypatch.setattr(identity, "begin", lambda *_, **__: die())
    # When
    with pytest.raises(StoreUnavailable):
        upgrading.upgrade(locate(url), actor="me", make_roles=False)
    # Then
    assert sql(url, "SELECT count(*) FROM pg_namespace WHERE nspname = '{s}'") == [(0,)]
    monkeypatch.undo()
    made(url)
    open_store(url).close()


def test_a_schema_of_ones_own_by_url_or_by_setting(new_postgres_schema: NewUrl) -> None:
    # Given
    url = new_postgres_schema()
    schema = locate(url).schema
    bare = make_url(url).difference_update_query(["schema"]).render_as_string(hide_password=False)
    # When
    upkeep.upgrade(Settings(database_url=bare, database_schema=schema), actor="me", make_roles=False)
    # Then
    with closing(open_store(url)) as one, closing(open_store(bare, schema=schema)) as two:
        run = new_run(one)
        assert len(two.read(run.run_id)) == 1
        assert two.describe().endswith(f"?schema={schema}")
    with pytest.raises(InputError, match="schema"):
        open_store(url, schema="another")


def test_two_schemas_of_one_database_are_two_logs(postgres_url: str, new_postgres_schema: NewUrl) -> None:
    with closing(open_store(postgres_url)) as one, closing(open_store(made(new_postgres_schema()))) as two:
        run = new_run(one, key="k")
        assert two.stream(run.run_id) is None
        new_run(two, key="k")
        owner, me = joined(one), joined(two)
        new_run(one, owner=owner.id)
        assert not two.wait(everything(two)[-1].cursor, timeout_s=0.05)
        assert me.id != owner.id


@pytest.mark.parametrize("schema", ["", "Team", "9lives", "pg_mine", "a-b", 'x"; DROP', "a" * 41, "ä"])
def test_s6_a_schema_is_a_plain_name(schema: str) -> None:
    with pytest.raises(InputError, match="schema"):
        locate("postgresql+psycopg://me@db/flow", schema=schema)


# -- other releases -----------------------------------------------------------------------------


def test_a_log_of_the_first_release_is_upgraded_with_all_that_is_in_it(
    new_postgres_schema: NewUrl, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given a log as the first migration leaves it, with a run in it
    url = new_postgres_schema()
    with monkeypatch.context() as patched:
        to = command.upgrade
        patched.setattr(command, "upgrade", lambda config, _: to(config, "0001"))
        made(url)
    monkeypatch.setattr(opening, "SCHEMA_VERSION", 1)
    with closing(open_store(url)) as store:
        run = new_run(store, count=3)
        before = everything(store)
    monkeypatch.undo()
    with pytest.raises(SchemaTooOld):
        open_store(url)
    # When
    made(url)
    # Then it has what was in it, and what is new
    with closing(open_store(url)) as store:
        assert everything(store) == before
        assert store.send([Mail(run.run_id, "r1", "suspend", b"{}", "me")]) == [Sent("RUNNING", None)]
        run.put(store, answers=[1], seen=1)


@pytest.mark.parametrize(("version", "error"), [("0999", SchemaTooNew), ("0000", SchemaTooOld)])
def test_a_database_of_another_release_is_refused(postgres_url: str, version: str, error: type[StoreError]) -> None:
    # Given
    sql(postgres_url, "UPDATE {s}.alembic_version SET version_num = %s", version)
    # When / Then
    with pytest.raises(error) as caught:
        open_store(postgres_url)
    assert caught.value.hint
    if error is SchemaTooNew:
        with pytest.raises(SchemaTooNew):
            upgrading.upgrade(locate(postgres_url), actor="me", make_roles=False)


def test_a_table_that_is_gone_is_said_so(postgres_url: str) -> None:
    with closing(open_store(postgres_url)) as store:
        sql(postgres_url, "DROP TABLE {s}.payloads")
        with pytest.raises(SchemaTooOld, match="payloads"):
            store.payload("R", "d")


def test_rel_r23_who_only_reads_goes_on_where_an_upgrade_has_changed_what_it_reads(postgres_url: str) -> None:
    # Given a reader whose connections have prepared what they ask again and again
    with closing(PostgresStore.from_url(postgres_url)) as store:
        run = new_run(store, count=3)
        for _ in range(10):
            assert len(store.read(run.run_id)) == 3
        # When
        sql(postgres_url, "ALTER TABLE {s}.events ALTER COLUMN version TYPE bigint")
        # Then
        assert [event.version for event in store.read(run.run_id)] == [1, 2, 3]


def test_rel_r23_where_engines_must_stop_the_upgrade_names_them(
    postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given a database that is one version behind, and an engine at work
    with closing(PostgresStore.from_url(postgres_url)) as store:
        joined(store, host="rack-7")
        monkeypatch.setattr(opening, "version", lambda *_: 1)
        monkeypatch.setattr(upgrading, "SCHEMA_VERSION", 2)
        monkeypatch.setattr(ScriptDirectory, "walk_revisions", lambda _: [_Revision("0002", engines_must_stop=True)])
        # When
        with pytest.raises(Refused, match="rack-7 pid 4711") as caught:
            upgrading.upgrade(locate(postgres_url), actor="me", make_roles=False)
        # Then
        assert "stop them" in caught.value.hint


class _Revision:
    def __init__(self, revision: str, *, engines_must_stop: bool) -> None:
        self.revision = revision
        self.module = type("module", (), {"ENGINES_MUST_STOP": engines_must_stop})


def test_a_database_that_cannot_hold_all_text_is_refused(postgres_database: str) -> None:
    # Given
    name = f"latin_{make_url(postgres_database).database}"
    with another_database(postgres_database, name, "ENCODING 'LATIN1' LOCALE 'C' TEMPLATE template0") as url:
        # When / Then
        with pytest.raises(StoreError, match="LATIN1") as caught:
            upgrading.upgrade(locate(url), actor="me", make_roles=False)
        assert "UTF8" in caught.value.hint


# -- who may ------------------------------------------------------------------------------------


@pytest.fixture
def plain_login(postgres_database: str) -> Iterator[Callable[[str], str]]:
    """A login that may make schemas in the database, and nothing else; the URL as it."""
    name = f"plain_{make_url(postgres_database).database}"
    database = make_url(postgres_database).database
    sql(postgres_database, f"CREATE ROLE {name} LOGIN; GRANT CREATE ON DATABASE {database} TO {name}")
    yield lambda url: make_url(url).set(username=name).render_as_string(hide_password=False)
    sql(postgres_database, f"DROP OWNED BY {name}; DROP ROLE {name}")


def test_who_may_not_make_roles_gets_a_log_that_works_and_is_told_what_is_missing(
    plain_login: Callable[[str], str], new_postgres_schema: NewUrl
) -> None:
    # Given
    url = plain_login(new_postgres_schema())
    # When
    found = upgrading.upgrade(locate(url), actor="me")
    # Then
    assert list(found.missing_roles) == [
        f"{locate(url).schema}_{kind}" for kind in ("owner", "engine", "worker", "projector", "sealer", "archiver")
    ]
    assert found.is_ready
    with closing(open_store(url)) as store:
        new_run(store)
        assert len(everything(store)) == 1


def test_who_may_not_make_a_schema_is_told_so(plain_login: Callable[[str], str], new_postgres_schema: NewUrl) -> None:
    # Given
    url = plain_login(new_postgres_schema())
    sql(new_postgres_schema(), f"REVOKE CREATE ON DATABASE {make_url(url).database} FROM {make_url(url).username}")
    # When / Then
    with pytest.raises(StoreUnavailable, match="permission denied") as caught:
        upgrading.upgrade(locate(url), actor="me")
    assert "docs/postgres.md" in caught.value.hint


# -- another cluster ----------------------------------------------------------------------------


def restored_from_a_dump(url: str) -> None:
    """What the database looks like after pg_dump here and pg_restore in another cluster, to whom it matters."""
    sql(url, "ALTER TABLE {s}.generations DISABLE TRIGGER generations_no_change")
    sql(url, "UPDATE {s}.generations SET system_identifier = '1', objects = '1/1'")
    sql(url, "ALTER TABLE {s}.generations ENABLE ALWAYS TRIGGER generations_no_change")


def test_a5_a_log_in_another_cluster_is_refused_until_somebody_has_said_so(postgres_url: str) -> None:
    # Given
    with closing(open_store(postgres_url)) as store:
        run = new_run(store, count=3)
        before = everything(store)
    restored_from_a_dump(postgres_url)
    with pytest.raises(ClusterChanged) as caught:
        open_store(postgres_url)
    assert "flowledger db restored" in caught.value.hint
    assert not upgrading.standing(locate(postgres_url)).is_ready
    # When
    found = upgrading.restored(locate(postgres_url), reason="fire", actor="me@host")
    # Then: no event is touched, cursors go on to be good, what follows comes behind
    assert (found.generation, found.is_ready) == (2, True)
    rows = sql(postgres_url, "SELECT id, reason, actor FROM {s}.generations ORDER BY id")
    assert rows == [(1, "made", "tests"), (2, "fire", "me@host")]
    with closing(open_store(postgres_url)) as store:
        assert everything(store) == before
        run.put(store)
        assert [met.event.version for met in everything(store)] == [1, 2, 3, 4]
        assert store.read_all(before[1].cursor)[0] == before[2]


def test_a5_a_follower_meets_all_of_the_old_cluster_though_its_transactions_were_ahead(postgres_url: str) -> None:
    # Given events whose transaction ids this cluster will only reach in years
    sql(postgres_url, "ALTER TABLE {s}.events ALTER xid SET DEFAULT '900000000000'")
    with closing(open_store(postgres_url)) as store:
        old = new_run(store, count=3)
    sql(postgres_url, "ALTER TABLE {s}.events ALTER xid SET DEFAULT pg_current_xact_id()")
    restored_from_a_dump(postgres_url)
    upgrading.restored(locate(postgres_url), reason="moved", actor="me")
    with closing(open_store(postgres_url)) as store:
        # When
        assert store.wait(START, timeout_s=10)
        halfway = store.read_all(START, limit=2)[-1].cursor
        new = new_run(store)
        # Then
        assert [met.run_id for met in everything(store)] == [old.run_id] * 3 + [new.run_id]
        assert store.wait(halfway, timeout_s=10)
        assert [met.run_id for met in store.read_all(halfway)] == [old.run_id, new.run_id]


def test_a5_while_somebody_is_at_work_no_new_generation_begins(postgres_url: str) -> None:
    with closing(open_store(postgres_url)) as store:
        me = joined(store)
        with pytest.raises(Refused, match="pid 4711"):
            upgrading.restored(locate(postgres_url), reason="x", actor="me")
        store.leave(me.id)
    assert upgrading.restored(locate(postgres_url), reason="x", actor="me").generation == 2


def test_a5_a_role_that_may_not_ask_for_the_cluster_knows_it_by_its_objects(postgres_url: str) -> None:
    # Given
    sql(postgres_url, "ALTER TABLE {s}.generations DISABLE TRIGGER generations_no_change")
    sql(postgres_url, "UPDATE {s}.generations SET system_identifier = NULL")
    # When / Then
    open_store(postgres_url).close()
    sql(postgres_url, "UPDATE {s}.generations SET objects = '1/1'")
    with pytest.raises(ClusterChanged):
        open_store(postgres_url)


# -- the command line ---------------------------------------------------------------------------


def flowledger(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "flowledger", *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


def test_db_status_upgrade_and_restored(new_postgres_schema: NewUrl) -> None:
    # Given
    url = new_postgres_schema()
    at = ("--database-url", url)
    # When / Then: nothing there yet
    asked = flowledger("db", "status", *at)
    assert asked.returncode == 4
    assert "none yet" in asked.stdout
    assert "flowledger db upgrade" in asked.stderr
    # When / Then
    upgraded = flowledger("db", "upgrade", "--no-roles", *at)
    assert (upgraded.returncode, upgraded.stderr) == (0, "")
    # When / Then
    restored_from_a_dump(url)
    asked = flowledger("db", "status", *at)
    assert asked.returncode == 4
    assert "another cluster" in asked.stdout
    again = flowledger("db", "restored", "--reason", "fire", "--json", *at)
    assert again.returncode == 0
    assert json.loads(again.stdout)["generation"] == 2
    open_store(url).close()


def test_db_on_sqlite(tmp_path: Path) -> None:
    # Given
    settings = Settings(database_url=f"sqlite:///{tmp_path}/log.db")
    # When / Then
    assert upkeep.status(settings).version == 0
    assert not (tmp_path / "log.db").exists()
    assert upkeep.upgrade(settings, actor="me").is_ready
    assert upkeep.status(settings).is_ready
    with pytest.raises(NotSupported):
        upkeep.restored(settings, reason="x", actor="me")
    with pytest.raises(InputError, match="reason"):
        upkeep.restored(settings, reason=" ", actor="me")


def test_a_server_that_is_not_there_is_said_at_once() -> None:
    asked = flowledger("db", "status", "--database-url", "postgresql+psycopg://me:s3cret@127.0.0.1:1/flow")
    assert asked.returncode == 5
    assert "s3cret" not in asked.stdout + asked.stderr
    assert "127.0.0.1:1" in asked.stderr
