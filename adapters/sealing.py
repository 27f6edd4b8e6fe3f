"""The notary: reads what is new in the log, checks that it goes on from what was sealed, and signs where it stands.

A seal over a log that had been changed would make the change true, so everything new is verified first.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from flowledger.events.chain import GENESIS, verified
from flowledger.events.errors import SealBroken, Tampered
from flowledger.events.merkle import Head, root
from flowledger.events.seals import GENESIS_SEAL, Seal, Statement, check_seal, statement_bytes
from flowledger.events.store import START, Cursor, Followed, Store

from .signing import Signer, is_signed_by

PAGE = 2_000
#: A seal covers at most about so many events, so that none grows without limit; the next one goes on.
MOST_EVENTS = 50_000


class Written(NamedTuple):
    """A seal that has been written, and what it says."""

    seal: Seal
    statement: Statement


def seal_log(store: Store, signer: Signer) -> list[Written]:
    """Seal all that has come since the last seal, as far as the log can be read now; nothing new, no seal.

    Raises:
        Tampered: an event does not fit the chain; nothing more has been sealed.
        SealBroken: the log does not go on from what was sealed, the last seal does not hold, or somebody else seals.
    """
    written: list[Written] = []
    while (next_ := _next(store, signer)) is not None:
        written.append(next_)
    return written


def _next(store: Store, signer: Signer) -> Written | None:
    last = store.seals.last()
    said = None if last is None else check_seal(last, last.read().previous, None, is_signed_by)
    new = _News(store)
    new.read(START if said is None else Cursor(said.through))
    if not new.heads:
        return None
    heads = [new.heads[run_id] for run_id in sorted(new.heads)]
    statement = Statement(
        seal=1 if said is None else said.seal + 1,
        previous=GENESIS_SEAL if last is None else last.digest,
        time_us=max(store.now_us(), 0 if said is None else said.time_us),
        through=str(new.through),
        runs=len(heads),
        events=new.events,
        root=root(heads).hex(),
        key=signer.name,
        public_key=signer.public_key.hex(),
    )
    seal = _signed(statement, signer)
    if not store.seals.add(seal, heads):
        raise SealBroken(
            f"seal {seal.number} has just been made by somebody else", seal=seal.number,
            hint="one process at a time seals; nothing is lost, try again",
        )  # fmt: skip
    return Written(seal, statement)


def _signed(statement: Statement, signer: Signer) -> Seal:
    unsigned = Seal(statement.seal, statement_bytes(statement), b"")
    return unsigned._replace(signature=signer.sign(unsigned.signed))


class _News:
    """What has come after a place of the log: the heads of the runs that went on."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self.heads: dict[str, Head] = {}
        self.events = 0
        self.through: Cursor = START

    def read(self, after: Cursor) -> None:
        self.through = after
        while self.events < MOST_EVENTS and (page := self._store.read_all(self.through, limit=PAGE)):
            self._check(page)
            self.events += len(page)
            self.through = page[-1].cursor

    def _check(self, page: Sequence[Followed]) -> None:
        by_run: dict[str, list[Followed]] = {}
        for followed in page:
            by_run.setdefault(followed.run_id, []).append(followed)
        strangers = [run_id for run_id in by_run if run_id not in self.heads]
        sealed = self._store.seals.newest(strangers)
        for run_id, found in by_run.items():
            before = self.heads.get(run_id) or (sealed[run_id].head if run_id in sealed else Head(run_id, 0, GENESIS))
            self.heads[run_id] = _goes_on(before, found)


def _goes_on(before: Head, found: Sequence[Followed]) -> Head:
    """The head of a run after these events, which must follow ``before``."""
    first = found[0].event.version
    if before.version and first != before.version + 1:
        raise SealBroken(
            f"run {before.run_id}: event {before.version} was sealed, and the log goes on with event {first}",
            run_id=before.run_id, version=min(first, before.version + 1),
        )  # fmt: skip
    events = (followed.event for followed in found)
    last = found[-1].event
    try:
        list(verified(before.run_id, events, previous=before.hash, after_version=before.version))
    except Tampered as error:
        error.hint = f"{error.hint}. Nothing of it has been sealed"
        raise
    return Head(before.run_id, last.version, last.hash)
