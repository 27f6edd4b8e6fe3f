"""What the database itself refuses, and to whom (rules A6, C2; RELIABILITY S6)."""

from __future__ import annotations

from collections.abc import Iterator

import psycopg
import pytest
from sqlalchemy import make_url

from flowledger.adapters.stores.postgres import PostgresStore, locate, roles, upgrading
from flowledger.events.chain import verified
from flowledger.events.claims import Ask, AttemptKey, Report, Sign, WorkerRow
from flowledger.events.errors import StoreUnavailable, Tampered
from flowledger.events.store import START, Claim, Due, Mail, PlanRow, Sent
from tests.conformance.streams import everything, joined, new_run, payload_row
from tests.postgres import NewUrl, sql

COPY = "SELECT generation, run_id, version, type, schema_version, path, 7, actor, payload, hash FROM {s}.events"
COLUMNS = "generation, run_id, version, type, schema_version, path, time_us, actor, payload, hash"


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE {s}.events SET payload = ''",
        "UPDATE {s}.events SET payload = '' WHERE false",
        "DELETE FROM {s}.events",
        "TRUNCATE {s}.events",
        "TRUNCATE {s}.streams, {s}.events CASCADE",
        f"INSERT INTO {{s}}.events ({COLUMNS}) {COPY} ON CONFLICT (run_id, version) DO UPDATE SET payload = ''",
        "MERGE INTO {s}.events e USING {s}.plans ON true WHEN MATCHED THEN UPDATE SET payload = ''",
        "SET session_replication_role = replica; DELETE FROM {s}.events",
        "UPDATE {s}.payloads SET content = ''",
        "DELETE FROM {s}.payloads",
        "TRUNCATE {s}.payloads",
        "UPDATE {s}.plans SET document = ''",
        "DELETE FROM {s}.plans",
        "TRUNCATE {s}.plans",
        "DELETE FROM {s}.generations",
        "UPDATE {s}.seals SET signature = ''",
        "DELETE FROM {s}.seals",
        "TRUNCATE {s}.sealed_heads",
        "UPDATE {s}.sealed_heads SET version = 1",
    ],
)
def test_a6_the_database_refuses_to_change_what_is_written(
    store: PostgresStore, postgres_url: str, statement: str
) -> None:
    # Given
    run = new_run(store)
    content = payload_row(b"large")
    run.put(store, payloads=[content], plans=[PlanRow("f", b"plan")])
    before = everything(store)
    # When: even the owner, who is a superuser here
    with pytest.raises(psycopg.errors.InsufficientPrivilege, match="append-only"):
        sql(postgres_url, statement)
    # Then
    assert everything(store) == before
    assert (store.payload(run.run_id, content.digest), store.plan("f")) == (b"large", b"plan")


def test_a6_a_row_is_not_inserted_twice(store: PostgresStore, postgres_url: str) -> None:
    new_run(store)
    with pytest.raises(psycopg.errors.UniqueViolation):
        sql(postgres_url, f"INSERT INTO {{s}}.events ({COLUMNS}) {COPY}")


def test_a8_a_change_made_behind_the_triggers_is_found(store: PostgresStore, postgres_url: str) -> None:
    # Given somebody who may drop triggers
    run = new_run(store, count=3)
    sql(postgres_url, "DROP TRIGGER events_no_change ON {s}.events")
    # When
    sql(postgres_url, "UPDATE {s}.events SET payload = '{{ }}' WHERE version = 2")
    # Then
    with pytest.raises(Tampered) as caught:
        list(verified(run.run_id, store.read(run.run_id)))
    assert caught.value.version == 2


# -- roles --------------------------------------------------------------------------------------


@pytest.fixture
def roled_url(new_postgres_schema: NewUrl) -> Iterator[str]:
    """A log whose schema has its roles, each granted to a login of its own: ``SCHEMA_engine_login`` and so on."""
    url = new_postgres_schema()
    schema = locate(url).schema
    if sql(url, "SELECT rolsuper OR rolcreaterole FROM pg_roles WHERE rolname = current_user") != [(True,)]:
        pytest.skip("the database role that is given may not make roles")
    assert upgrading.upgrade(locate(url), actor="tests").missing_roles == []
    for kind in roles.ROLES:
        sql(url, f"CREATE ROLE {schema}_{kind}_login LOGIN IN ROLE {schema}_{kind}")
    yield url
    sql(url, "DROP SCHEMA {s} CASCADE")
    for kind in roles.ROLES:
        sql(url, f"DROP ROLE {schema}_{kind}_login")
        sql(url, f"DROP OWNED BY {schema}_{kind}; DROP ROLE {schema}_{kind}")


def as_role(url: str, kind: str) -> str:
    """The URL for the login of a role."""
    login = f"{locate(url).schema}_{kind}_login"
    return make_url(url).set(username=login).render_as_string(hide_password=False)


def may(url: str, kind: str, statement: str) -> bool:
    """Whether a role may execute this; nothing of it stays."""
    try:
        sql(as_role(url, kind), f"BEGIN; {statement}; ROLLBACK")
    except psycopg.errors.InsufficientPrivilege:
        return False
    return True


def test_an_engine_needs_no_more_than_its_role(roled_url: str) -> None:
    # Given
    store = PostgresStore.from_url(as_role(roled_url, "engine"))
    # When / Then: all that an engine does
    owner, me = joined(store), joined(store)
    run = new_run(store, owner=owner.id)
    run.put(store, 2, payloads=[payload_row(b"x")], plans=[PlanRow("f", b"plan")])
    store.beat(me.id)
    store.leave(owner.id)
    claim = store.claim(run.run_id, me.id, takeover_s=20)
    assert isinstance(claim, Claim)
    store.release(run.run_id, epoch=claim.epoch)
    assert store.wait(START, timeout_s=10)
    assert len(everything(store)) == 3
    assert store.send([Mail(run.run_id, "r1", "cancel", b"{}", "me")]) == [Sent("RUNNING", None)]
    assert len(store.inbox(run.run_id).rows) == 1
    assert store.due(me.id, seen={}, timeout_s=0) == Due({})
    run.epoch = claim.epoch
    run.put(store, answers=[1], seen=1)
    assert store.inbox(run.run_id).rows == []
    store.close()


#: A column of each append-only table.
CHANGEABLE = {
    "events": "payload", "payloads": "content", "plans": "document", "seals": "statement", "sealed_heads": "hash"
}  # fmt: skip


@pytest.mark.parametrize("kind", ["engine", "worker", "projector", "sealer", "archiver", "owner"])
def test_s6_nobody_changes_the_log_and_only_the_owner_changes_tables(roled_url: str, kind: str) -> None:
    for table, column in CHANGEABLE.items():
        for statement in ("UPDATE {t} SET {c} = {c}", "DELETE FROM {t}", "TRUNCATE {t}"):
            assert not may(roled_url, kind, statement.format(t=f"{{s}}.{table}", c=column))
    assert may(roled_url, kind, "ALTER TABLE {s}.events ADD x int") == (kind == "owner")
    assert may(roled_url, kind, "DROP TABLE {s}.owners") == (kind == "owner")
    assert may(roled_url, kind, "CREATE TABLE {s}.mine (n int)") == (kind == "owner")


@pytest.mark.parametrize("kind", ["worker", "projector", "sealer", "archiver"])
def test_c2_only_an_engine_appends_and_claims(roled_url: str, kind: str) -> None:
    # Given
    engine = PostgresStore.from_url(as_role(roled_url, "engine"))
    run = new_run(engine)
    store = PostgresStore.from_url(as_role(roled_url, kind))
    # When / Then
    with pytest.raises(StoreUnavailable, match="permission denied") as caught:
        store.append([run.next()])
    assert "docs/postgres.md" in caught.value.hint
    with pytest.raises(StoreUnavailable):
        store.claim(run.run_id, "me", takeover_s=20)
    if kind == "worker":
        with pytest.raises(StoreUnavailable):
            store.read(run.run_id)
    else:
        assert len(store.read(run.run_id)) == 1
    for opened in (engine, store):
        opened.close()


def test_c2_a_worker_sends_outcomes_and_nothing_else(roled_url: str) -> None:
    # Given
    engine = PostgresStore.from_url(as_role(roled_url, "engine"))
    run = new_run(engine)
    store = PostgresStore.from_url(as_role(roled_url, "worker"))
    # When / Then
    assert store.send([Mail(run.run_id, "o1", "outcome", b"{}", "worker")]) == [Sent("RUNNING", None)]
    with pytest.raises(StoreUnavailable, match="row-level security"):
        store.send([Mail(run.run_id, "r1", "cancel", b"{}", "worker")])
    with pytest.raises(StoreUnavailable, match="permission denied"):
        store.inbox(run.run_id)
    assert not may(roled_url, "worker", "DELETE FROM {s}.inbox")
    assert not may(roled_url, "worker", "UPDATE {s}.inbox SET kind = 'cancel'")
    assert not may(roled_url, "worker", "UPDATE {s}.streams SET status = 'FAILED'")
    # But to claim attempts, and to say what became of them
    made, key = WorkerRow("w", "host", 1, "app", ("q",), 1), AttemptKey(run.run_id, "flow/task", 1, 1)
    engine.claims.keep(key, 0, b"large")
    store.claims.join(made)
    assert store.claims.claim("w", [Ask(key)]) == [True]
    assert store.claims.kept(key, 0) == b"large"
    assert store.claims.beat(made, [Sign(key)]) == []
    store.claims.report("w", [Report(key, 0, b"{}")])
    store.claims.leave("w")
    for forbidden in ("DELETE FROM {s}.attempt_claims", "DELETE FROM {s}.parcels", "SELECT * FROM {s}.inbox"):
        assert not may(roled_url, "worker", forbidden)
    # Then the engine has the one
    assert [row.id for row in engine.inbox(run.run_id).rows] == ["o1", "execute/1/1/0/flow/task"]
    for opened in (engine, store):
        opened.close()


def test_a_login_without_any_role_is_told_what_it_lacks(roled_url: str) -> None:
    # Given
    name = f"{locate(roled_url).schema}_nobody"
    sql(roled_url, f"CREATE ROLE {name} LOGIN")
    # When / Then
    with pytest.raises(StoreUnavailable, match="permission denied") as caught:
        PostgresStore.from_url(make_url(roled_url).set(username=name).render_as_string(hide_password=False))
    assert "docs/postgres.md" in caught.value.hint
    sql(roled_url, f"DROP ROLE {name}")


def test_everybody_else_is_granted_nothing(roled_url: str) -> None:
    granted = sql(
        roled_url,
        "SELECT count(*) FROM pg_class c, aclexplode(c.relacl) a "
        "WHERE c.relnamespace = '{s}'::regnamespace AND a.grantee = 0",
    )
    assert granted == [(0,)]
