"""Becoming the owner of a run, and then reading it (rules B1, A8)."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from typing import TypeVar

from flowledger.core.plan import Plan
from flowledger.core.registry import Registry
from flowledger.core.state import State
from flowledger.events.errors import InputError, IntegrityError, RunNotFound, RunOwned, StoreUnavailable
from flowledger.events.store import Claim, Held, Stream

from .loading import Loaded, load
from .runtime import Runtime
from .transactions import check_store, settled

T = TypeVar("T")


async def claimed(
    runtime: Runtime,
    registry: Registry,
    stream: Stream,
    plan: Plan | None,
    check: Callable[[State], None] | None = None,
) -> tuple[Loaded, Claim]:
    """Claim a run, then read it: in this order, so that nobody appends in between. What fails gives the claim back;
    ``check`` may refuse what is asked of the run as it stands."""
    run_id = stream.run_id
    if run_id in runtime.claiming:
        raise _being_taken_up(run_id)
    runtime.claiming.add(run_id)
    try:
        claim = await claimed_only(runtime, run_id)
        return await read_under(runtime, registry, stream, claim, plan, check), claim
    except StoreUnavailable:
        runtime.adrift.add(run_id)
        raise
    finally:
        runtime.claiming.discard(run_id)


async def read_under(
    runtime: Runtime, registry: Registry, stream: Stream, claim: Claim, plan: Plan | None = None,
    check: Callable[[State], None] | None = None,
) -> Loaded:  # fmt: skip
    """Read a run that is ours; a claim that leads to nothing is given back."""
    try:
        loaded = await in_thread(runtime, lambda: load(runtime, registry, stream, plan=plan, goes_on=True))
        _check_head(loaded, claim)
        if check is not None:
            check(loaded.state)
        check_store(runtime.store, loaded.plan)
        check_workers(runtime, loaded.plan, loaded.state)
        committed = await in_thread(runtime, lambda: settled(runtime.store, loaded))
    except BaseException:
        await in_thread(runtime, lambda: runtime.store.release(stream.run_id, epoch=claim.epoch))
        raise
    return replace(loaded, committed=committed)


def check_workers(runtime: Runtime, plan: Plan, state: State | None = None) -> None:
    """Raise `InputError` if workers make a part of the run, and this process has no way to ask them."""
    if ("workers" in plan.lanes or (state is not None and state.remote)) and "workers" not in runtime.services.lanes:
        raise InputError(
            f"a part of {plan.factory} is made by workers, and no broker is set to ask them through",
            field="broker_url", expected="the URL of a broker", given="none",
            hint="set FLOWLEDGER_BROKER_URL and FLOWLEDGER_SIGNING_KEYS (docs/broker.md)",
        )  # fmt: skip


async def claimed_only(runtime: Runtime, run_id: str) -> Claim:
    """Become the owner of a run; whoever asks gives it up again.

    Raises:
        RunOwned: another live process drives it.
    """
    claim = await in_thread(runtime, lambda: _claim(runtime, run_id))
    if isinstance(claim, Held) and claim.owner == runtime.owner:
        raise _being_taken_up(run_id)
    return _granted(run_id, claim)


def _being_taken_up(run_id: str) -> RunOwned:
    return RunOwned(f"run {run_id} is just being taken up by this process", hint="wait for it")


def _claim(runtime: Runtime, run_id: str) -> Claim | Held | None:
    """Claim a run that this process does not drive; also one that is its own and adrift.

    It is if the store was away when it gave the run up. Nobody takes over from itself (B1): it is let go first. One
    that is its own and not adrift has just been claimed by another part of this process (its conductor).
    """
    store, owner, takeover_s = runtime.store, runtime.owner, runtime.settings.lease_takeover_s
    claim = store.claim(run_id, owner, takeover_s=takeover_s)
    if not isinstance(claim, Held) or claim.owner != owner or run_id not in runtime.adrift:
        return claim
    stream = store.stream(run_id)
    if stream is not None and stream.owner == owner:
        store.release(run_id, epoch=stream.epoch)
    return store.claim(run_id, owner, takeover_s=takeover_s)


def _granted(run_id: str, claim: Claim | Held | None) -> Claim:
    if claim is None:
        raise RunNotFound(f"run {run_id} is gone")
    if isinstance(claim, Held):
        raise RunOwned(
            f"run {run_id} is driven by process {claim.pid} on {claim.host}, last seen {claim.seen_s:.0f} s ago",
            hint="wait for it; if that process hangs, end it, and the run can be taken over",
        )
    return claim


def _check_head(loaded: Loaded, claim: Claim) -> None:
    """The stream row and the log must end alike: a tail cut off shows here (A8)."""
    if loaded.state.version != claim.version or loaded.head != claim.head_hash:
        raise IntegrityError(
            f"run {loaded.run_id}: the stream says version {claim.version}, the log has {loaded.state.version}"
        )


async def in_thread(runtime: Runtime, work: Callable[[], T]) -> T:
    """The store blocks; the loop must not. One in memory does not."""
    return work() if runtime.store.immediate else await asyncio.to_thread(work)
