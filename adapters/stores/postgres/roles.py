"""Least privilege: a group role for each kind of process, named after the schema (``flowledger_engine``, …).

They cannot log in; a login is granted the one it needs. Where the person who upgrades may not make roles, everything
still works for the schema's owner, and `script` says what a person who may has to run.
"""

from __future__ import annotations

from typing import Final

from sqlalchemy import Connection, text

_READ_LOG: Final = "SELECT ON {s}.events, {s}.payloads, {s}.plans, {s}.streams, {s}.owners, {s}.seals, {s}.sealed_heads"
#: Role: what it is for, and what it may do besides opening the store. Nobody may change or delete what is in the log.
ROLES: Final[dict[str, tuple[str, tuple[str, ...]]]] = {
    "owner": ("owns the tables and upgrades them", ()),
    "engine": (
        "runs flows",
        (
            _READ_LOG,
            "INSERT ON {s}.events, {s}.payloads, {s}.plans, {s}.streams, {s}.owners",
            "UPDATE ON {s}.streams, {s}.owners",
            "DELETE ON {s}.owners",
            "SELECT, INSERT, UPDATE, DELETE ON {s}.conductors, {s}.job_notes, {s}.inbox, {s}.attempt_claims",
            "SELECT, DELETE ON {s}.workers",
            "SELECT, INSERT, DELETE ON {s}.parcels",
            "SELECT, INSERT, UPDATE, DELETE ON {s}.run_keys",
            "SELECT, INSERT, UPDATE ON {s}.outcomes",
        ),
    ),
    "worker": (
        "does tasks for engines elsewhere; cannot read the log, and can send it nothing but outcomes",
        (
            "SELECT (run_id, status, owner, queue, wake_at_us, requests), UPDATE (requests, wake_at_us) ON {s}.streams",
            "INSERT ON {s}.inbox",
            "SELECT, INSERT, UPDATE ON {s}.attempt_claims",
            "SELECT, INSERT, UPDATE, DELETE ON {s}.workers",
            "SELECT ON {s}.parcels",
        ),
    ),
    "projector": ("reads the log into views", (_READ_LOG,)),
    "sealer": ("verifies the log and signs where it stands", (_READ_LOG, "INSERT ON {s}.seals, {s}.sealed_heads")),
    "archiver": ("reads the log to move final runs out", (_READ_LOG,)),
}
#: Who else reads views.
_READ_VIEWS: Final = ("owner", "engine", "archiver")
_OPEN: Final = ("USAGE ON SCHEMA {s}", "SELECT ON {s}.alembic_version, {s}.generations")

_MISSING: Final = "SELECT n FROM unnest(CAST(:names AS text[])) AS n WHERE n NOT IN (SELECT rolname FROM pg_roles)"
_MAY: Final = "SELECT rolsuper OR rolcreaterole FROM pg_roles WHERE rolname = current_user"
_BECOME: Final = "SELECT pg_has_role(current_user, CAST(:role AS text), 'MEMBER')"


def name(schema: str, kind: str) -> str:
    """The name of a role."""
    return f"{schema}_{kind}"


def missing(connection: Connection, schema: str) -> list[str]:
    """The roles that the cluster does not have, in the order of `ROLES`."""
    wanted = [name(schema, kind) for kind in ROLES]
    found = set(connection.scalars(text(_MISSING), {"names": wanted}))
    return [role for role in wanted if role in found]


def make(connection: Connection, schema: str) -> None:
    """Make the missing roles if we may, and become a member of the owner's."""
    if not connection.scalar(text(_MAY)):
        return
    for role in missing(connection, schema):
        connection.execute(text(f"CREATE ROLE {role} NOLOGIN"))
    owner = name(schema, "owner")
    if not connection.scalar(text(_BECOME), {"role": owner}):
        connection.execute(text(f"GRANT {owner} TO CURRENT_USER"))


def may_become(connection: Connection, role: str) -> bool:
    """Whether we are a member of a role that exists."""
    exists = text("SELECT EXISTS (SELECT FROM pg_roles WHERE rolname = :role)")
    return bool(connection.scalar(exists, {"role": role}) and connection.scalar(text(_BECOME), {"role": role}))


def grant(connection: Connection, schema: str) -> None:
    """Grant the roles that there are what they need, and PUBLIC nothing."""
    absent = set(missing(connection, schema))
    connection.execute(text(f"REVOKE ALL ON ALL TABLES IN SCHEMA {schema} FROM PUBLIC"))
    for kind, (_, privileges) in ROLES.items():
        role = name(schema, kind)
        if kind == "owner" or role in absent:
            continue
        for privilege in (*_OPEN, *privileges):
            connection.execute(text(f"GRANT {privilege.format(s=schema)} TO {role}"))


def grant_views(connection: Connection, schema: str, views: str) -> None:
    """Let the projector make tables in the schema of the views, and those who read the log read them.

    Its default privileges are the projector's own to give, so only who may act as the projector can set them.
    """
    absent = set(missing(connection, schema))
    projector = name(schema, "projector")
    readers = [name(schema, kind) for kind in _READ_VIEWS if name(schema, kind) not in absent]
    for reader in readers:
        connection.execute(text(f"GRANT USAGE ON SCHEMA {views} TO {reader}"))
        connection.execute(text(f"GRANT SELECT ON ALL TABLES IN SCHEMA {views} TO {reader}"))
    if projector in absent:
        return
    connection.execute(text(f"GRANT USAGE, CREATE ON SCHEMA {views} TO {projector}"))
    for reader in readers if may_become(connection, projector) else ():
        connection.execute(
            text(f"ALTER DEFAULT PRIVILEGES FOR ROLE {projector} IN SCHEMA {views} GRANT SELECT ON TABLES TO {reader}")
        )


def script(absent: list[str]) -> str:
    """What somebody has to run who may make roles; `flowledger db upgrade` then grants them what they need."""
    return "\n".join(f"CREATE ROLE {role} NOLOGIN;" for role in absent)
