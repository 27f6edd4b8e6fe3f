"""Reading runs to go on with them: every event checked, folded under the plan that today's code builds (A8, E8)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from flowledger.core.changes import check_plan, expansion_differs
from flowledger.core.compiler import check_executors, rebuild
from flowledger.core.compiler import compile as compile_part
from flowledger.core.context import outside_bodies
from flowledger.core.evolve import fold
from flowledger.core.plan import Plan
from flowledger.core.registry import Registry
from flowledger.core.state import State
from flowledger.core.vault import Vault
from flowledger.events import facts
from flowledger.events.envelope import Envelope
from flowledger.events.errors import IntegrityError, PayloadErased, PlanDiffers
from flowledger.events.store import Stream

from .runtime import Runtime
from .sources import Source, moved_values, read, source_of

__all__ = ["Loaded", "load", "moved_values", "read"]


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
    committed: Mapping[int, bytes] = field(default_factory=dict[int, bytes])  # outcomes the log does not know yet (C8)
    vault: Vault | None = None


def _inputs(runtime: Runtime, run_id: str, submitted: facts.RunSubmitted, moved: dict[str, bytes]) -> bytes:
    """The inputs of a run, as the factory is to have them again."""
    vault = runtime.vaults.reading(run_id, submitted)
    content = vault.opened(moved[submitted.moved]) if submitted.moved else bytes(submitted.inputs)
    return vault.revealed(content, moved)


@dataclass(frozen=True, slots=True, kw_only=True)
class Gathered:
    """All that a run is folded from: its events, the plan that today's code builds, its moved values, its source."""

    envelopes: Sequence[Envelope]
    plan: Plan
    moved: dict[str, bytes]
    vault: Vault
    source: Source


@outside_bodies()  # a body may look at runs: their plans are not placed in it
def gather(
    runtime: Runtime, registry: Registry, stream: Stream, *, plan: Plan | None = None, goes_on: bool = False
) -> Gathered:
    """Read and verify a run, and build its plan. Nothing is folded yet.

    Raises:
        PayloadErased: its key was removed.
        DefinitionError, InputError: today's code builds no plan from its inputs.
        Tampered: the log is not what was written.
    """
    envelopes = read(runtime.store, stream.run_id)
    moved = moved_values(runtime.store, stream.run_id, envelopes)
    submitted = envelopes[0].event if envelopes else None
    if not isinstance(submitted, facts.RunSubmitted):
        raise IntegrityError(f"run {stream.run_id}: its log does not begin with RunSubmitted")
    if any(type(envelope.event) is facts.RunErased for envelope in envelopes):
        raise PayloadErased(f"run {stream.run_id}: its key was removed, so its values cannot be read any more")
    if plan is None:
        part = rebuild(registry, submitted.factory, _inputs(runtime, stream.run_id, submitted, moved))
        plan = compile_part(part, registry, executor=submitted.executor)
    vault = runtime.vaults.of(stream.run_id, plan, submitted)
    source = source_of(runtime.store, envelopes, goes_on=goes_on)
    moved = {**source.moved, **moved}
    return Gathered(envelopes=envelopes, plan=plan, moved=moved, vault=vault, source=source)


def submitted_inputs(runtime: Runtime, run_id: str) -> bytes:
    """The inputs a run was submitted with, in clear: a JSON object."""
    log = read(runtime.store, run_id)[:1]
    submitted = log[0].event if log else None
    if not isinstance(submitted, facts.RunSubmitted):
        raise IntegrityError(f"run {run_id}: its log does not begin with RunSubmitted")
    return _inputs(runtime, run_id, submitted, moved_values(runtime.store, run_id, log))


@outside_bodies()
def load(
    runtime: Runtime, registry: Registry, stream: Stream, *, plan: Plan | None = None, goes_on: bool = False
) -> Loaded:
    """Read, verify and fold a run under the plan that today's code builds. ``goes_on``: it is to be driven.

    Raises:
        PlanDiffers: what has history is not the same in that plan (E8).
        UnknownExecutor: it is to be driven, and the app was not given an executor that it asks for.
        Tampered: the log is not what was written.
    """
    found = gather(runtime, registry, stream, plan=plan, goes_on=goes_on)
    plan, envelopes, moved, vault, source = found.plan, found.envelopes, found.moved, found.vault, found.source
    changed = check_plan(
        plan, envelopes, recorded=runtime.store.plan, moved=moved, taken=source.had, goes_on=goes_on, vault=vault
    )
    try:
        state = fold(plan, envelopes, moved, taken=source.had, vault=vault)
    except PlanDiffers as error:
        raise expansion_differs(error, runtime.store.plan) from error
    if goes_on:
        check_executors(state.plan, registry)
    return Loaded(
        run_id=stream.run_id,
        key=stream.key,
        plan=plan,
        state=state,
        head=envelopes[-1].hash,
        moved=moved,
        changed=changed,
        envelopes=envelopes,
        vault=vault,
    )
