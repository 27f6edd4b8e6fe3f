"""What the server's errors mean to people: what could not be done, and what to do about it."""

from __future__ import annotations

from typing import Final

import psycopg

from flowledger.events.errors import SchemaTooOld, StoreError, StoreUnavailable

from .location import Location

#: By SQLSTATE, the longest beginning that fits.
_BY_STATE: Final = {
    "53100": "the server's disk is full: free some space there, then go on; nothing acknowledged is lost",
    "53200": "the server is out of memory: see its log",
    "53300": "the server takes no more connections: raise max_connections, run fewer processes, or use a pooler",
    "57014": "the server did not finish in time (statement_timeout_s in the database URL): see what it is busy with",
    "55P03": "somebody holds a lock for long (lock_timeout_s in the database URL): see pg_stat_activity and pg_locks",
    "57P": "the server is stopping or starting: try again once it is up",
    "25006": "this server is read-only, a standby perhaps: add target_session_attrs=read-write to the database URL",
    "42501": "this database role may not do that: grant it one of the roles in docs/postgres.md",
    "58": "the server's disk or system refused: see its log",
    "40": "transactions stood in each other's way, again and again: see what else writes to these tables",
}
#: By what libpq says where there is no state yet.
_BY_TEXT: Final = {
    "unsupported startup parameter": "a pooler stands between: add pooler=transaction to the database URL",
    "password authentication failed": "see the user and the password in the database URL",
    "no password supplied": "the database URL has no password, and none is in PGPASSWORD or ~/.pgpass",
    "does not exist": "see the user and the database's name in the database URL",
    "too many clients": _BY_STATE["53300"],
    "remaining connection slots": _BY_STATE["53300"],
    "starting up": _BY_STATE["57P"],
    "shutting down": _BY_STATE["57P"],
    "recovery mode": _BY_STATE["57P"],
    "read-only": _BY_STATE["25006"],
}
#: Our tables are not there.
_NOT_MADE: Final = ("42P01", "3F000", "42883")


def unavailable(location: Location, error: BaseException) -> StoreError:
    """The error to raise for one of the driver: `StoreUnavailable`, or `SchemaTooOld` where the tables are missing."""
    state = getattr(error, "sqlstate", None) or ""
    said = " ".join(str(error).split("\n")[0].split()) or type(error).__name__
    where = location.describe()
    if state in _NOT_MADE:
        return SchemaTooOld(f"{where} does not have all tables of this release: {said}")
    return StoreUnavailable(f"{where}: {said}", hint=_hint(state, str(error)))


def _hint(state: str, text: str) -> str:
    for length in (5, 3, 2):
        if state[:length] in _BY_STATE:
            return _BY_STATE[state[:length]]
    fallback = "see that the server runs and can be reached from here; nothing acknowledged is lost"
    return next((hint for words, hint in _BY_TEXT.items() if words in text), fallback)


#: Errors that say the row is at fault, not the server's state.
UNFIT: Final = (psycopg.IntegrityError, psycopg.DataError, psycopg.errors.ProgramLimitExceeded)
#: Transactions that met: the server has undone ours.
MET: Final = (psycopg.errors.DeadlockDetected, psycopg.errors.SerializationFailure)
