"""Reading what happened, without the app: runs by what people call them, their events, their plans.

Every event handed out has passed its hash chain (A8).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import msgspec

from flowledger.events.chain import GENESIS, verified
from flowledger.events.codec import encode, opened
from flowledger.events.envelope import Envelope
from flowledger.events.errors import InputError, RunNotFound
from flowledger.events.store import RunStatus, Store, Stream
from flowledger.projections.run_view import RunView, plan_named

from .stores import open_store

if TYPE_CHECKING:
    from flowledger.projections.history.records import AttemptRecord

    from .clearing import Clearing
    from .settings import Settings

#: Events per page: a long run is never in memory at once.
PAGE = 500
#: How often a follower looks again.
LOOK_EVERY_S = 0.2
#: Candidates an error names.
_NAMED = 8
_ULID_LENGTH = 26
_SHORTEST = 6

LAST = "@last"


def missing_file(url: str) -> Path | None:
    """The file a SQLite URL names, if it does not exist: reading must not make it."""
    scheme, _, rest = url.partition("sqlite:///")
    if scheme or not rest or rest == url:
        return None
    path = Path(rest.partition("?")[0]).absolute()
    return None if path.exists() else path


class History:
    """The log behind a store, for readers. ``close`` it, or use it as a context."""

    def __init__(self, store: Store, clearing: Clearing | None = None) -> None:
        self.store = store
        self._clearing = clearing

    @classmethod
    def of(cls, settings: Settings) -> History:
        """The log that settings name, its encrypted runs readable as far as their keys are there (H3).

        Raises:
            RunNotFound, InputError, StoreError: as `at`.
        """
        store = cls.at(settings.database_url, schema=settings.database_schema).store
        return cls.reading(store, settings)

    @classmethod
    def reading(cls, store: Store, settings: Settings) -> History:
        """The same of a store that is open."""
        if settings.codec_keys is None:
            return cls(store)
        from .clearing import Clearing  # noqa: PLC0415 - only who has keys loads ciphers

        return cls(store, Clearing(store, settings))

    @classmethod
    def at(cls, url: str, *, schema: str | None = None) -> History:
        """The log that ``url`` (and ``schema`` in Postgres) names; a SQLite file that does not exist is not made.

        Raises:
            RunNotFound: there is no such file, so there are no runs.
            InputError, StoreError: as `open_store`.
        """
        path = missing_file(url)
        if path is not None:
            raise RunNotFound(
                f"there is no log at {path}", hint="name another with --database-url or FLOWLEDGER_DATABASE_URL"
            )
        return cls(open_store(url, schema=schema))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.store.close()

    # -- runs -----------------------------------------------------------------------------------

    def runs(
        self, *, statuses: Sequence[RunStatus] = (), factory: str | None = None, app: str | None = None, limit: int = 50
    ) -> list[Stream]:
        """Stream rows, newest run first."""
        return self.store.streams(statuses=statuses, factory=factory, app=app, limit=limit)

    def find(self, reference: str) -> Stream:
        """The run that ``reference`` means: an id, a key, the unique beginning of an id, or ``@last``.

        Raises:
            RunNotFound: nothing fits, or the log is empty.
            InputError: several fit; the message names them.
        """
        found = self._candidates(reference)
        if not found:
            raise self._not_found(reference)
        if len(found) > 1:
            raise self._ambiguous(reference, found)
        return found[0]

    def _candidates(self, reference: str) -> list[Stream]:
        if reference == LAST:
            return self.store.streams(limit=1)
        stream = self.store.stream(reference.upper()) if len(reference) == _ULID_LENGTH else None
        if stream is not None:
            return [stream]
        return self.store.streams(key=reference, limit=_NAMED + 1) or (
            self.store.streams(prefix=reference.upper(), limit=_NAMED + 1) if reference else []
        )

    def _not_found(self, reference: str) -> RunNotFound:
        where = self.store.describe()
        newest = self.store.streams(limit=3)
        if not newest:
            return RunNotFound(f"there are no runs in {where}", hint="is this the log you mean? see --database-url")
        near = ", ".join(named(stream) for stream in newest)
        return RunNotFound(
            f"no run of {where} has the id, the beginning of an id or the key {reference!r}",
            hint=f"the newest are {near}; `flowledger ls` lists more",
        )

    def _ambiguous(self, reference: str, found: Sequence[Stream]) -> InputError:
        shown = ", ".join(named(stream) for stream in found[:_NAMED])
        more = ", …" if len(found) > _NAMED else ""
        return InputError(
            f"{reference!r} could be any of {shown}{more}",
            field="RUN", expected="one run", given=reference, hint="give more of the id",
        )  # fmt: skip

    def short(self, run_id: str) -> str:
        """The shortest beginning of the id (from 6 characters) that no other run has."""
        for length in range(_SHORTEST, _ULID_LENGTH, 2):
            if len(self.store.streams(prefix=run_id[:length], limit=2)) < 2:
                return run_id[:length]
        return run_id

    # -- events ---------------------------------------------------------------------------------

    def envelopes(self, run_id: str, *, until: int | None = None) -> Iterator[Envelope]:
        """The run's events from the first on, at most up to version ``until``; checked and opened page by page.

        Raises:
            Tampered: at the first event that does not fit the chain.
            SchemaTooNew, IntegrityError: an event cannot be opened.
        """
        for page in self._pages(run_id, 0, GENESIS):
            for envelope in page:
                if until is not None and envelope.version > until:
                    return
                yield envelope

    def follow(
        self, run_id: str, *, after: Envelope | None = None, look_every_s: float = LOOK_EVERY_S
    ) -> Iterator[list[Envelope]]:
        """Pages of events after ``after``, as they come, for ever; an empty page each time there is nothing new."""
        version, head = (0, GENESIS) if after is None else (after.version, after.hash)
        while True:
            for page in map(list, self._pages(run_id, version, head)):
                version, head = page[-1].version, page[-1].hash
                yield page
            yield []
            time.sleep(look_every_s)

    def _pages(self, run_id: str, version: int, head: bytes) -> Iterator[Iterator[Envelope]]:
        while rows := self.store.read(run_id, after_version=version, limit=PAGE):
            found = opened(run_id, verified(run_id, rows, previous=head, after_version=version))
            yield map(self._cleared, found)
            version, head = rows[-1].version, rows[-1].hash

    def details(self, attempt: AttemptRecord) -> dict[str, Any]:
        """What the views do not hold of an attempt: code and inputs (digests), key, result, failure with traceback.

        Raises:
            Tampered, IntegrityError, SchemaTooNew: its events cannot be read.
        """
        found: dict[str, Any] = {}
        for version in (attempt.started, attempt.ended):
            rows = self.store.read(attempt.run_id, after_version=version - 1, limit=1) if version else []
            for envelope in map(self._cleared, opened(attempt.run_id, rows)):
                found |= msgspec.json.decode(encode(envelope.event))
        wanted = ("key", "code", "inputs", "result", "moved", "failure", "cause")
        return {name: found[name] for name in wanted if name in found}

    def _cleared(self, envelope: Envelope) -> Envelope:
        return envelope if self._clearing is None else self._clearing.cleared(envelope)

    def value(self, run_id: str, content: bytes) -> bytes | None:
        """A moved value of an encrypted run, as it was before; None: the key is not here, or gone."""
        vault = None if self._clearing is None else self._clearing.vault(run_id)
        return None if vault is None else vault.opened(content)

    # -- what they mean -------------------------------------------------------------------------

    def view(self, run_id: str, *, at: int | None = None, also: Callable[[Envelope], None] | None = None) -> RunView:
        """The run as of version ``at``, or as it stands; ``also`` is given each event as well."""
        view = RunView(run_id)
        for envelope in self.envelopes(run_id, until=at):
            self.show(view, envelope)
            if also is not None:
                also(envelope)
        return view

    def show(self, view: RunView, envelope: Envelope) -> None:
        """Give a view its next event, and its plan where the event names one."""
        view.apply(envelope)
        fingerprint = plan_named(envelope.event)
        document = None if fingerprint is None else self.store.plan(fingerprint)
        if document is not None:
            view.lay_out(envelope.event, document)


def named(stream: Stream) -> str:
    """A run as people see it in a sentence: its id, and its key if it has one."""
    return f"{stream.run_id} (key {stream.key})" if stream.key else stream.run_id
