"""The source of a fork: what it had, read from its log (G6). A source may be a fork itself."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256

from flowledger.core.inheriting import Had, had
from flowledger.events import facts
from flowledger.events.chain import GENESIS, verified
from flowledger.events.codec import opened
from flowledger.events.envelope import Envelope
from flowledger.events.errors import IllegalRequest, IntegrityError
from flowledger.events.store import Store

PAGE = 2_000  # events per read: keyset pages, no open transaction (STORE §2)

#: The events that may refer to payload rows.
_REFERRING = frozenset(
    cls for cls in facts.EVENTS if "moved" in cls.__struct_fields__ or "secrets" in cls.__struct_fields__
)


@dataclass(frozen=True, slots=True)
class Source:
    """What a source ``had``, and the contents of its payload rows by digest. ``moved`` of a run that is no fork: {}."""

    had: Had | None = None
    moved: Mapping[str, bytes] = field(default_factory=dict[str, bytes])


def read(store: Store, run_id: str) -> list[Envelope]:
    """All events of a run, the chain checked (A8).

    Raises:
        Tampered: a stored event is not what was written.
    """
    envelopes: list[Envelope] = []
    version, previous = 0, GENESIS
    while page := store.read(run_id, after_version=version, limit=PAGE):
        envelopes += opened(run_id, verified(run_id, page, previous=previous, after_version=version))
        if len(page) < PAGE:
            break
        version, previous = page[-1].version, page[-1].hash
    return envelopes


def moved_values(store: Store, run_id: str, envelopes: Sequence[Envelope]) -> dict[str, bytes]:
    """The contents of all payload rows the events refer to, checked against their digests.

    Raises:
        IntegrityError: one is missing or has been changed.
    """
    moved: dict[str, bytes] = {}
    for envelope in envelopes:
        if type(envelope.event) not in _REFERRING:
            continue
        for digest in _digests(envelope.event):
            if digest in moved:
                continue
            content = store.payload(run_id, digest)
            if content is None or sha256(content).hexdigest() != digest:
                raise IntegrityError(
                    f"run {run_id}: payload {digest[:12]} of event {envelope.version} is missing or changed"
                )
            moved[digest] = content
    return moved


def _digests(event: facts.Event) -> Iterator[str]:
    """The payload rows that an event refers to."""
    digest: str | None = getattr(event, "moved", None)
    if digest is not None:
        yield digest
    secrets: tuple[str, ...] = getattr(event, "secrets", ())
    yield from secrets


def forked(envelopes: Sequence[Envelope]) -> facts.RunForked | None:
    """The event that says of which run this is a fork."""
    return next((e.event for e in envelopes[:2] if isinstance(e.event, facts.RunForked)), None)


def source_of(store: Store, envelopes: Sequence[Envelope], *, goes_on: bool = False) -> Source:
    """What the source of this run had when it was forked. ``goes_on``: an adoption must have taken effect.

    Raises:
        IntegrityError: the source is gone, or is not what it was.
        IllegalRequest: the adoption did not take effect.
    """
    event = forked(envelopes)
    if event is None:
        return Source()
    log = read(store, event.source)
    if len(log) < event.version or log[event.version - 1].hash.hex() != event.hash:
        raise IntegrityError(
            f"run {envelopes[0].run_id} is a fork of run {event.source} at event {event.version}, which is not there, "
            "or not what it was",
            hint="a source is kept as long as its forks; look for it in the archive or in a backup",
        )
    further = source_of(store, log)
    if goes_on and event.adopted and had(log, source=further.had).adopted_by != envelopes[0].run_id:
        raise IllegalRequest(
            f"run {envelopes[0].run_id} was to adopt what run {event.source} did, but that did not take effect",
            hint=f"fork run {event.source} again",
        )
    then = log[: event.version]
    return Source(had(then, source=further.had), {**further.moved, **moved_values(store, event.source, then)})
