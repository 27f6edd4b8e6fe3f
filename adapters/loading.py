"""Reading runs to go on with them: every event checked, folded under the plan that today's code builds (A8, E8)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256

from flowledger.core.changes import check_plan, expansion_differs
from flowledger.core.compiler import compile as compile_part
from flowledger.core.compiler import rebuild
from flowledger.core.evolve import fold
from flowledger.core.plan import Plan
from flowledger.core.registry import Registry
from flowledger.core.state import State
from flowledger.events import facts
from flowledger.events.chain import GENESIS, verified
from flowledger.events.codec import opened
from flowledger.events.envelope import Envelope
from flowledger.events.errors import IntegrityError, PlanDiffers
from flowledger.events.store import Store, Stream

from .runtime import Runtime

PAGE = 2_000  # events per read: keyset pages, no open transaction (STORE §2)


@dataclass(frozen=True, slots=True, kw_only=True)
class Loaded:
    """A run as its log says: everything a handle or a driver needs."""

    run_id: str
    key: str | None
    plan: Plan
    state: State
    head: bytes
    moved: dict[str, bytes]
    changed: bool = False  # its plan is another than the recorded one, and accepted: whoever goes on records that (E8)
    envelopes: Sequence[Envelope] = ()
    exceptions: Mapping[str, BaseException] = field(default_factory=dict[str, BaseException])


def read(store: Store, run_id: str) -> list[Envelope]:
    """All events of a run, the chain checked (A8).

    Raises:
        Tampered: a stored event is not what was written.
    """
    envelopes: list[Envelope] = []
    version, previous = 0, GENESIS
    while page := store.read(run_id, after_version=version, limit=PAGE):
        envelopes += opened(run_id, verified(run_id, page, previous=previous, after_version=version))
        version, previous = page[-1].version, page[-1].hash
    return envelopes


def moved_values(store: Store, run_id: str, envelopes: Sequence[Envelope]) -> dict[str, bytes]:
    """The contents of all payload rows the events refer to, checked against their digests.

    Raises:
        IntegrityError: one is missing or has been changed.
    """
    moved: dict[str, bytes] = {}
    for envelope in envelopes:
        digest = getattr(envelope.event, "moved", None)
        if digest is None or digest in moved:
            continue
        content = store.payload(run_id, digest)
        if content is None or sha256(content).hexdigest() != digest:
            raise IntegrityError(
                f"run {run_id}: payload {digest[:12]} of event {envelope.version} is missing or changed"
            )
        moved[digest] = content
    return moved


def load(
    runtime: Runtime, registry: Registry, stream: Stream, *, plan: Plan | None = None, goes_on: bool = False
) -> Loaded:
    """Read, verify and fold a run under the plan that today's code builds. ``goes_on``: it is to be driven.

    Raises:
        PlanDiffers: what has history is not the same in that plan (E8).
        Tampered: the log is not what was written.
    """
    envelopes = read(runtime.store, stream.run_id)
    moved = moved_values(runtime.store, stream.run_id, envelopes)
    submitted = envelopes[0].event if envelopes else None
    if not isinstance(submitted, facts.RunSubmitted):
        raise IntegrityError(f"run {stream.run_id}: its log does not begin with RunSubmitted")
    if plan is None:
        inputs = moved[submitted.moved] if submitted.moved else bytes(submitted.inputs)
        part = rebuild(registry, submitted.factory, inputs)
        plan = compile_part(part, registry, executor=submitted.executor)
    changed = check_plan(plan, envelopes, recorded=runtime.store.plan, moved=moved, goes_on=goes_on)
    try:
        state = fold(plan, envelopes, moved)
    except PlanDiffers as error:
        raise expansion_differs(error, runtime.store.plan) from error
    return Loaded(
        run_id=stream.run_id,
        key=stream.key,
        plan=plan,
        state=state,
        head=envelopes[-1].hash,
        moved=moved,
        changed=changed,
        envelopes=envelopes,
    )
