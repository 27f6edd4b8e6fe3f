"""Stores behind the one protocol (`events.store`), opened by URL.

memory://                    a log that ends with the process; memory://NAME is shared within the process
sqlite:///flowledger.db      a file, relative to the working directory; made on first use
sqlite:////var/lib/x.db      a file, absolute
postgresql+psycopg://…       the next release
"""

from __future__ import annotations

from threading import Lock

from flowledger.events.errors import InputError, NotSupported
from flowledger.events.store import Store

from .memory import MemoryStore

KNOWN = "memory://, sqlite:///PATH, postgresql+psycopg://…"

_shared: dict[str, MemoryStore] = {}
_shared_lock = Lock()


def open_store(url: str) -> Store:
    """Open the store that ``url`` names, making its database where there is none yet.

    Raises:
        InputError: the URL is not one of those above.
        NotSupported: a Postgres URL; not in this release.
        StoreUnavailable: the file cannot be opened or written.
        SchemaTooNew, SchemaTooOld: the file was made by another release.
    """
    scheme, separator, rest = url.partition("://")
    if separator and scheme == "memory":
        return _memory(rest)
    if separator and scheme == "sqlite":
        from .sqlite import SqliteStore  # noqa: PLC0415 - SQLAlchemy is loaded only by who needs it

        return SqliteStore.from_url(url)
    if scheme == "postgresql+psycopg":
        raise NotSupported(
            "the Postgres store is not part of this release",
            hint="it comes with the next release; until then use sqlite:///flowledger.db",
        )
    raise InputError(
        f"{_without_password(url)!r} does not name a store",
        field="database_url",
        expected=KNOWN,
        given=_without_password(url),
        hint=f"known are {KNOWN}",
    )


def _memory(name: str) -> MemoryStore:
    if not name:
        return MemoryStore()
    with _shared_lock:
        if name not in _shared:
            _shared[name] = MemoryStore(name)
        return _shared[name]


def _without_password(url: str) -> str:
    """The URL as it may be shown: what stands before an ``@`` may hold a password."""
    scheme, separator, rest = url.partition("://")
    return f"{scheme}{separator}…@{rest.rpartition('@')[2]}" if "@" in rest else url
