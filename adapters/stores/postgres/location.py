"""Where a log in Postgres is, and how to talk to it: the URL with its options, all of them with defaults that end.

    postgresql+psycopg://user:password@host:5432/database?schema=flowledger&statement_timeout_s=10

Ours are the options in `_OURS`; every other one goes to libpq as it is (``sslmode``, ``target_session_attrs``, …).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from psycopg.conninfo import make_conninfo
from sqlalchemy import URL, make_url
from sqlalchemy.exc import ArgumentError

from flowledger.events.errors import InputError

SCHEME: Final = "postgresql+psycopg"
DEFAULT_SCHEMA: Final = "flowledger"
#: Also the beginning of the roles' names, which have at most 63 characters; and never in need of quotes.
_SCHEMA: Final = re.compile(r"(?!pg_)[a-z_][a-z0-9_]{0,39}")

#: Option: its default. All in seconds.
_DURATIONS: Final = {
    "statement_timeout_s": 10.0,
    "lock_timeout_s": 5.0,
    "idle_in_transaction_timeout_s": 60.0,
    "reconnect_s": 10.0,
}
_OURS: Final = (*_DURATIONS, "schema", "pooler")

#: What libpq is told unless the URL says otherwise: a peer that has gone is noticed within about ten seconds.
_LIBPQ: Final[Mapping[str, str]] = {
    "connect_timeout": "5",
    "keepalives": "1",
    "keepalives_idle": "5",
    "keepalives_interval": "2",
    "keepalives_count": "3",
    "tcp_user_timeout": "10000",
    "application_name": "flowledger",
    "client_encoding": "utf8",
}
#: The same from the server's side, so that the presence lock of a machine that has gone does not stay.
_SERVER_KEEPALIVE: Final = (
    "-c tcp_keepalives_idle=5 -c tcp_keepalives_interval=2 -c tcp_keepalives_count=3 -c tcp_user_timeout=10000"
)

#: How much longer than the server a client waits for an answer: where both work, the server's own error comes first.
GRACE_S: Final = 2.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Location:
    """A database, a schema in it, and how long anything may take. Durations are seconds.

    ``pooled``: a pooler in transaction mode stands between, so nothing may hang on the session.
    """

    url: URL
    schema: str
    statement_timeout_s: float
    lock_timeout_s: float
    idle_in_transaction_timeout_s: float
    reconnect_s: float
    pooled: bool

    @property
    def answer_s(self) -> float:
        """After how long without an answer a connection counts as lost, whatever the network says."""
        return self.statement_timeout_s + GRACE_S

    def describe(self) -> str:
        """The URL without password and options, but with all its hosts and the schema."""
        url = self.url
        hosts = {name: url.query[name] for name in ("host", "port") if name in url.query}
        shown = URL.create(
            url.drivername, url.username, None, url.host, url.port, url.database, {**hosts, "schema": self.schema}
        )
        return shown.render_as_string().replace("%3A", ":")

    def libpq(self) -> dict[str, str | tuple[str, ...]]:
        """The connection's options for the URL's query."""
        given = dict(self.url.query)
        options = dict(_LIBPQ) | given
        if not self.pooled:  # poolers refuse it: the session is not ours
            options["options"] = f"{self._session()} {given.get('options', '')}".strip()
        return options

    def _session(self) -> str:
        """What a session is set to; later options win, so the URL's own stand behind these."""
        timeouts = {
            "statement_timeout": self.statement_timeout_s,
            "lock_timeout": self.lock_timeout_s,
            "idle_in_transaction_session_timeout": self.idle_in_transaction_timeout_s,
        }
        said = [f"-c {name}={round(value * 1000)}" for name, value in timeouts.items()]
        return " ".join([*said, _SERVER_KEEPALIVE, r"-c default_transaction_isolation=read\ committed -c jit=off"])


def views_schema(schema: str) -> str:
    """Where the views of a log are: a schema of their own, so that who makes tables there cannot touch the log's."""
    return f"{schema}_views"


def locate(url: str, *, schema: str | None = None) -> Location:
    """The place that ``url`` names; ``schema`` (the setting) may name its schema instead of the URL.

    Raises:
        InputError: it is not a Postgres URL, or an option does not fit. The message repeats no password.
    """
    try:
        parsed = make_url(url)
    except (ArgumentError, ValueError) as error:
        raise InputError(f"the database URL cannot be read; expected {SCHEME}://user@host/database") from error
    if not parsed.database:
        raise InputError("the database URL names no database", expected=f"{SCHEME}://user@host/database")
    ours = {name: parsed.query[name] for name in _OURS if name in parsed.query}
    named = ours.pop("schema", None)
    if schema is not None and named is not None and schema != named:
        raise _wrong("schema", str(named), f"the database_schema that is set, {schema!r}, or none")
    location = Location(
        url=parsed.difference_update_query(_OURS),
        schema=_checked_schema(next(str(said) for said in (named, schema, DEFAULT_SCHEMA) if said is not None)),
        pooled=_is_pooled(ours.pop("pooler", "none")),
        **_durations(ours),
    )
    return _known_to_libpq(location)


def _checked_schema(schema: str) -> str:
    if not _SCHEMA.fullmatch(schema):
        raise _wrong("schema", schema, "1–40 of a–z, 0–9 and _, not beginning with a digit or pg_")
    return schema


def _is_pooled(said: Any) -> bool:
    if said not in ("none", "transaction"):
        raise _wrong("pooler", str(said), "transaction (pgbouncer in transaction mode) or none")
    return bool(said == "transaction")


def _durations(given: Mapping[str, Any]) -> dict[str, float]:
    found = dict(_DURATIONS)
    for name, said in given.items():
        try:
            found[name] = float(said)
        except (TypeError, ValueError):
            found[name] = -1.0
        if not 0.001 <= found[name] <= 86_400:
            raise _wrong(name, str(said), "a number of seconds from 0.001 to 86400")
    return found


def _known_to_libpq(location: Location) -> Location:
    try:
        make_conninfo("", **{name: str(value) for name, value in location.libpq().items()})
    except Exception as error:
        ours = ", ".join(_OURS)
        raise InputError(
            f"the database URL has an option that means nothing: {str(error).strip()}",
            field="database_url", hint=f"ours are {ours}; the others are libpq's",
        ) from error  # fmt: skip
    return location


def _wrong(name: str, given: str, expected: str) -> InputError:
    return InputError(
        f"{name}={given} in the database URL: expected {expected}", field=name, expected=expected, given=given
    )
