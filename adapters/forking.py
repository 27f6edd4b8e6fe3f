"""Forks: a new run that takes over what another has done (G6)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import msgspec
from pydantic import ValidationError

from flowledger.core.bound import input_error
from flowledger.core.changes import plan_in_force
from flowledger.core.compiler import check_executors, entry, inputs_of, rebuild
from flowledger.core.compiler import compile as compile_part
from flowledger.core.context import outside_bodies
from flowledger.core.engine.active import Observer
from flowledger.core.engine.run import RunDriver
from flowledger.core.forking import Inheritance, changed_inputs, check_adoption, inherit, merged_inputs, rotated
from flowledger.core.handing_over import handed_over
from flowledger.core.inheriting import had
from flowledger.core.names import did_you_mean
from flowledger.core.plan import Plan
from flowledger.core.registry import Registry
from flowledger.core.vault import Vault
from flowledger.events import facts
from flowledger.events.chain import link
from flowledger.events.codec import encode
from flowledger.events.envelope import Envelope, StoredEvent
from flowledger.events.errors import (
    DefinitionError,
    IllegalRequest,
    InputError,
    IntegrityError,
    PayloadErased,
    StoreError,
    StoreUnavailable,
)
from flowledger.events.store import FINAL, Append, Claim, Stream

from .claiming import claimed_only, in_thread
from .driving import Forked, Wish, drive, new
from .failpoint import reach
from .loading import Loaded
from .runtime import Runtime
from .sources import moved_values, read, source_of


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """How a run is to be forked. ``at``: the path of the part from which on everything is new, or the version of the
    source up to which it is read; ``inputs``: new values by name, the others stay; ``adopt``: undoing what is taken
    over becomes the fork's."""

    at: str | int | None = None
    inputs: Mapping[str, Any] | None = None
    adopt: bool = False
    reason: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Prepared:
    """A fork, ready to be made."""

    wish: Wish
    chosen: Inheritance
    forked: Forked
    last_us: int  # when the source's last event happened


@outside_bodies()
def prepare(runtime: Runtime, registry: Registry, stream: Stream, asked: Asked) -> Prepared:
    """See what a fork would take over. Writes nothing.

    Raises:
        InputError: a new input does not fit, or ``at`` names nothing.
        IllegalRequest: the source was not started then, or may not be adopted.
        DefinitionError: today's code has no such flow.
        PayloadErased, KeyMissing: its values cannot be read, or not be written.
    """
    store = runtime.store
    log = read(store, stream.run_id)
    submitted = log[0].event
    assert isinstance(submitted, facts.RunSubmitted)
    _check_not_erased(stream.run_id, log)
    source = source_of(store, log)
    moved = {**source.moved, **moved_values(store, stream.run_id, log)}
    version = _version(stream.run_id, asked.at, log)
    document = _document(runtime, stream.run_id, log[:version])
    vault = runtime.vaults.of_source(stream.run_id, submitted)
    before = _inputs(registry, submitted, vault, moved, asked.inputs or {})
    part = rebuild(registry, submitted.factory, _merged(registry, submitted.factory, before, asked.inputs or {}))
    plan = compile_part(part, registry, executor=submitted.executor)
    check_executors(plan, registry)
    inputs = entry(part, registry).inputs_json()
    then, now = (had(log, until=until, source=source.had) for until in (version, None))
    changed = changed_inputs(_as_today(registry, submitted.factory, before), inputs)
    chosen = inherit(
        plan, document, then, now, at=_part(plan, stream.run_id, asked.at), changed=changed,
        rotated=_rotated(registry, submitted, before, plan, changed),
    )  # fmt: skip
    if asked.adopt:
        _check_over(stream)
        check_adoption(stream.run_id, now, chosen, document, plan)
    event = facts.RunForked(
        source=stream.run_id, version=version, hash=log[version - 1].hash.hex(), inherited=chosen.inherited,
        skipped=chosen.skipped, decided=chosen.decided, rounds=chosen.rounds, adopted=asked.adopt, reason=asked.reason,
    )  # fmt: skip
    vaults = runtime.vaults.of_forks(submitted.codec)
    vaults.check(plan)
    event = handed_over(event, plan, then, vault, moved, everything=vaults.encodes)
    wish = Wish(
        plan=plan, factory=submitted.factory, inputs=inputs, tags=stream.tags, on_failure=_on_failure(log),
        executor=submitted.executor, digest=vaults.digest,
    )  # fmt: skip
    return Prepared(wish=wish, chosen=chosen, forked=Forked(event, then, moved, vaults), last_us=log[-1].time_us)


async def fork(
    runtime: Runtime, registry: Registry, stream: Stream, asked: Asked, *, observe: Observer | None = None,
    started: Callable[[RunDriver], None] | None = None,
) -> Loaded:  # fmt: skip
    """Make the fork and drive it until it has ended.

    Raises:
        As `prepare`.
    """
    if not asked.reason.strip():
        raise InputError("a fork needs a reason", field="reason", expected="text", given=repr(asked.reason))
    if not asked.adopt:
        prepared = await in_thread(runtime, lambda: prepare(runtime, registry, stream, asked))
        return await drive(runtime, _driver(runtime, registry, prepared, observe), None, started)
    _check_over(stream)
    try:
        driver = await _adopting(runtime, registry, stream, asked, observe)
    except StoreUnavailable:
        runtime.adrift.add(stream.run_id)
        raise
    return await drive(runtime, driver, None, started)


async def _adopting(
    runtime: Runtime, registry: Registry, stream: Stream, asked: Asked, observe: Observer | None
) -> RunDriver:
    """A fork that has begun, and has adopted what its source did."""
    claim = await claimed_only(runtime, stream.run_id)
    try:  # what is read now cannot change until it is adopted; it may have since somebody looked
        source = await in_thread(runtime, lambda: runtime.store.stream(stream.run_id)) or stream
        prepared = await in_thread(runtime, lambda: prepare(runtime, registry, source, asked))
        driver = _driver(runtime, registry, prepared, observe)
        first = driver.drafts.take()
        request = facts.RequestAccepted(
            request=runtime.services.ids.request_id(), kind="fork", reason=driver.vault.redactor(asked.reason),
            fork=driver.run_id,
        )  # fmt: skip
        adopted = _adoption(runtime, source, claim, request, prepared.last_us)
        try:
            await in_thread(runtime, lambda: _append_both(runtime, adopted, first))
        except StoreUnavailable:  # it may be there, in the name of this process, and nobody drives it
            runtime.adrift.add(driver.run_id)
            raise
    except BaseException:
        await in_thread(runtime, lambda: runtime.store.release(stream.run_id, epoch=claim.epoch))
        raise
    driver.begun(first)
    return driver


def _driver(runtime: Runtime, registry: Registry, prepared: Prepared, observe: Observer | None) -> RunDriver:
    return new(runtime, registry, prepared.wish, observe, prepared.forked)


def _check_not_erased(run_id: str, log: list[Envelope]) -> None:
    """Raise `PayloadErased` if the run's key was removed: there is nothing that could be taken over."""
    if any(isinstance(envelope.event, facts.RunErased) for envelope in log):
        raise PayloadErased(
            f"run {run_id}: its key was removed, so its values cannot be read any more, and a fork could not have them",
            hint="begin a new run; what was forked from it before has a key of its own, and can be forked",
        )


def _check_over(stream: Stream) -> None:
    if stream.status not in FINAL:
        raise IllegalRequest(
            f"run {stream.run_id} is {stream.status}: only what a run that is over did can be adopted",
            hint="wait until it has ended, or fork without --adopt",
        )


# -- what is asked for ----------------------------------------------------------------------------


def _version(run_id: str, at: str | int | None, log: list[Envelope]) -> int:
    if not isinstance(at, int):
        return len(log)
    if not 1 <= at <= len(log):
        raise InputError(
            f"run {run_id} has no event {at}", field="at", expected=f"1 to {len(log)}, or the path of a part",
            given=str(at),
        )  # fmt: skip
    return at


def _part(plan: Plan, run_id: str, at: str | int | None) -> str | None:
    if not isinstance(at, str):
        return None
    if not at or at not in plan.by_path:
        raise InputError(
            f"today's plan of run {run_id} has no part {at!r}", field="at", expected="the path of a part, or a version",
            given=at, hint=did_you_mean(at, list(plan.by_path)) or f"`flowledger show {run_id}` shows its parts",
        )  # fmt: skip
    return at


def _document(runtime: Runtime, run_id: str, log: list[Envelope]) -> bytes:
    fingerprint = plan_in_force(log)
    if fingerprint is None:
        raise IllegalRequest(f"run {run_id} had not started at event {len(log)}", hint="begin a new run")
    document = runtime.store.plan(fingerprint)
    if document is None:
        raise IntegrityError(f"run {run_id}: its plan {fingerprint[:12]} is not in the store")
    return document


def _inputs(
    registry: Registry, submitted: facts.RunSubmitted, vault: Vault, moved: Mapping[str, bytes], new: Mapping[str, Any]
) -> bytes:
    """The inputs of the source, its secrets marked.

    Raises:
        InputError: one that was secret would not be any more.
    """
    content = vault.opened(moved[submitted.moved]) if submitted.moved else bytes(submitted.inputs)
    clear = vault.revealed(content, moved)
    parameters = inputs_of(registry, submitted.factory)
    for name in changed_inputs(content, clear) - new.keys():
        parameter = parameters.get(name)
        if parameter is not None and not parameter.typed.secretive:
            raise InputError(
                f"{submitted.factory}: the input `{name}` was secret, of which today's type says nothing", field=name,
                expected="a type with its secrets annotated", hint="annotate them, or give it anew",
            )  # fmt: skip
    return clear


def _merged(registry: Registry, factory: str, before: bytes, inputs: Mapping[str, Any]) -> bytes:
    parameters = inputs_of(registry, factory)
    changes: dict[str, msgspec.Raw] = {}
    for name, value in inputs.items():
        parameter = parameters.get(name)
        if parameter is None:
            raise InputError(
                f"{factory}: there is no input `{name}`", field=name, expected="no such input", given=repr(value)[:40],
                hint=did_you_mean(name, parameters) or f"its inputs: {', '.join(parameters) or 'none'}",
            )  # fmt: skip
        try:
            content = parameter.typed.to_json(parameter.typed.validate(value))
        except ValidationError as error:
            raise input_error(name, parameter.typed, error, factory, None) from error
        changes[name] = msgspec.Raw(content)
    return merged_inputs(before, changes)


def _as_today(registry: Registry, factory: str, inputs: bytes) -> bytes:
    """Inputs as today's code would have submitted them: a field with a default that is new is no change."""
    try:
        return entry(rebuild(registry, factory, inputs), registry).inputs_json()
    except (DefinitionError, InputError):
        return inputs


def _rotated(
    registry: Registry, submitted: facts.RunSubmitted, inputs: bytes, plan: Plan, changed: set[str]
) -> set[str]:
    """What is given other secrets than with the source's ``inputs``: secrets are no part of a plan's digests (E8)."""
    if not any(name in plan.inputs and plan.inputs[name].secretive for name in changed):
        return set()
    try:
        before = compile_part(rebuild(registry, submitted.factory, inputs), registry, executor=submitted.executor)
    except (DefinitionError, InputError):
        return rotated(plan, None)
    return rotated(plan, before)


def _on_failure(log: list[Envelope]) -> facts.OnFailure:
    return next(e.event.on_failure for e in log if isinstance(e.event, facts.RunStarted))


# -- adoption -------------------------------------------------------------------------------------


def _adoption(runtime: Runtime, stream: Stream, claim: Claim, request: facts.RequestAccepted, last_us: int) -> Append:
    """What the source says of it: as its present owner, and then nobody's again."""
    services = runtime.services
    claimed = facts.RunClaimed(owner=runtime.owner, epoch=claim.epoch)
    head, events, now = claim.head_hash, list[StoredEvent](), max(last_us, services.clock.now_us())
    for version, event in enumerate((claimed, request), start=claim.version + 1):
        name, schema, payload = type(event).__name__, event.schema_version, encode(event)
        head = link(head, stream.run_id.encode(), version, name, schema, "", now, services.actor, payload)
        events.append(StoredEvent(version, name, schema, "", now, services.actor, payload, head))
    return Append(
        run_id=stream.run_id, expected=claim.version, epoch=claim.epoch, events=events, status=stream.status,
        direction=stream.direction, release=True,
    )  # fmt: skip


def _append_both(runtime: Runtime, adopted: Append, first: Append) -> None:
    """In one transaction: the source is adopted by a run that exists, or by none."""
    results = runtime.store.append(sorted((adopted, first), key=lambda append: append.run_id))
    reach("append.before_ack")
    for result in results:
        if isinstance(result, StoreError):
            raise result
    reach("append.after_ack")
