"""Taking runs up: a new one, one whose key exists, one that was left behind, a final one to be undone (B1, G5, G8).

Coroutines on the engine's loop; what blocks (the store) is called in a thread.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from hashlib import sha256
from typing import NamedTuple, TypeVar

from flowledger.core.decide import held_paths
from flowledger.core.engine.active import Observer
from flowledger.core.engine.remote import ask_again
from flowledger.core.engine.run import RunDriver
from flowledger.core.inheriting import Had
from flowledger.core.plan import RUN, Plan
from flowledger.core.ports import Vaults
from flowledger.core.registry import Registry
from flowledger.core.rerunning import check_over, check_rerun, check_revert
from flowledger.core.secret import masked
from flowledger.core.state import State
from flowledger.core.vault import keeps_secrets
from flowledger.events import facts
from flowledger.events.chain import GENESIS
from flowledger.events.errors import (
    Fenced,
    IllegalRequest,
    InputError,
    KeyConflict,
    KeyTaken,
    RunNotFound,
    StoreError,
    StoreUnavailable,
    VersionConflict,
)
from flowledger.events.facts import OnFailure
from flowledger.events.requests import CHILD, Rerun, Resume, Revert
from flowledger.events.store import FINAL, Claim, Mail, NewStream, PlanRow, Store, Stream

from . import asking
from .claiming import check_workers, claimed, in_thread, read_under
from .loading import Loaded, load
from .rewound import rewound
from .runtime import Runtime
from .transactions import check_store

T = TypeVar("T")


def _unkeyed(inputs: bytes) -> str:
    return sha256(inputs).hexdigest()


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """What somebody wants run, checked and compiled; nothing is written yet."""

    plan: Plan
    factory: str
    inputs: bytes
    key: str | None = None
    tags: Mapping[str, str] = field(default_factory=dict[str, str])
    on_failure: OnFailure = "revert"
    executor: str | None = None

    digest: Callable[[bytes], str] = _unkeyed

    @property
    def inputs_digest(self) -> str:
        """What `key=` compares (G8): the inputs but for their secrets, so that a new token is no other input."""
        return self.digest(masked(self.inputs) if keeps_secrets(self.plan) else self.inputs)


def ready(runtime: Runtime, wish: Wish) -> Wish:
    """The wish as this process may write it.

    Raises:
        KeyMissing: it has secrets, and there is no key for them.
    """
    runtime.vaults.check(wish.plan)
    return replace(wish, digest=runtime.vaults.digest)


async def run(runtime: Runtime, registry: Registry, wish: Wish, started: Callable[[RunDriver], None] | None,
              observe: Observer | None) -> Loaded:  # fmt: skip
    """Run what is wished, or go on with the run that has its key (G8)."""
    check_store(runtime.store, wish.plan)
    check_workers(runtime, wish.plan)
    wish = ready(runtime, wish)
    if wish.key is not None:
        stream = await in_thread(runtime, lambda: runtime.store.find(
            app=registry.name, factory=wish.factory, key=wish.key or ""))  # fmt: skip
        if stream is not None:
            return await _again(runtime, registry, wish, stream, started, observe)
    try:
        return await drive(runtime, new(runtime, registry, wish, observe), wish.key, started)
    except KeyTaken as taken:  # somebody was quicker with the same key
        stream = runtime.store.stream(taken.run_id)
        if stream is None:
            raise
        return await _again(runtime, registry, wish, stream, started, observe)


class Forked(NamedTuple):
    """How a run begins as a fork: the event, what its source had, the contents of its source's payload rows, and where
    it gets a key of its own."""

    event: facts.RunForked
    taken: Had
    moved: Mapping[str, bytes]
    vaults: Vaults


def new(
    runtime: Runtime, registry: Registry, wish: Wish, observe: Observer | None, forked: Forked | None = None
) -> RunDriver:
    """A new run, its first events drafted and nothing of it written."""
    services = runtime.services if forked is None else replace(runtime.services, vaults=forked.vaults)
    run_id = services.ids.run_id()
    driver = RunDriver(
        services,
        run_id=run_id,
        plan=wish.plan,
        state=State(wish.plan),
        head=GENESIS,
        epoch=1,
        moved={},
        observe=observe,
    )
    drafts = driver.drafts
    drafts.create(
        NewStream(
            app=registry.name, factory=wish.factory, key=wish.key, inputs_digest=wish.inputs_digest,
            tags=dict(sorted(wish.tags.items())), owner=runtime.owner,
        )
    )  # fmt: skip
    drafts.keep_plan(PlanRow(wish.plan.fingerprint, wish.plan.document))
    submitted = facts.RunSubmitted(
        app=registry.name,
        factory=wish.factory,
        inputs=facts.Raw(wish.inputs),
        key=wish.key,
        tags=dict(sorted(wish.tags.items())),
        executor=wish.executor,
        codec=driver.vault.codec_name,
    )
    driver.draft(RUN, submitted)
    if forked is not None:
        driver.state.taken = forked.taken
        driver.moved.update(forked.moved)
        driver.draft(RUN, forked.event)
    driver.draft(RUN, facts.RunClaimed(owner=runtime.owner, epoch=1))
    driver.draft(RUN, facts.RunStarted(fingerprint=wish.plan.fingerprint, on_failure=wish.on_failure))
    return driver


async def _again(
    runtime: Runtime, registry: Registry, wish: Wish, stream: Stream, started: Callable[[RunDriver], None] | None,
    observe: Observer | None,
) -> Loaded:  # fmt: skip
    if stream.inputs_digest != wish.inputs_digest:
        raise KeyConflict(f"key {wish.key!r} of {wish.factory} belongs to run {stream.run_id}, which has other inputs")
    return await resume(runtime, registry, stream, plan=wish.plan, started=started, observe=observe)


async def resume(
    runtime: Runtime, registry: Registry, stream: Stream, *, plan: Plan | None = None,
    started: Callable[[RunDriver], None] | None = None, observe: Observer | None = None, reason: str = "",
    wakes: bool = True,
) -> Loaded:  # fmt: skip
    """Go on with a run: join it if this process drives it, hand it out if it is final, else claim it.

    ``wakes``: also one that was suspended, or is about to be, goes on.
    """
    driver = runtime.drivers.get(stream.run_id)
    if driver is not None and not driver.is_over:
        if observe is not None:
            driver.observe(observe)
        return await _finished(driver, stream.key)
    if stream.status in FINAL:
        loaded = await in_thread(runtime, lambda: load(runtime, registry, stream, plan=plan))
        return _shown_to(observe, loaded)
    if is_early(runtime, stream):
        raise IllegalRequest(
            f"run {stream.run_id} is not to begin before {_shown(stream.wake_at_us or 0)}",
            hint="wait for it, or submit another run",
        )
    loaded, claim = await claimed(runtime, registry, stream, plan, lambda state: check_not_held(stream.run_id, state))
    loaded = _shown_to(observe, loaded)
    if loaded.state.status in FINAL:  # it has ended since somebody looked
        await in_thread(runtime, lambda: runtime.store.release(loaded.run_id, epoch=claim.epoch))
        return loaded
    driver = _taken_up(runtime, loaded, claim, observe)
    if wakes and loaded.state.status in ("SUSPENDED", "SUSPENDING"):
        if reason:
            driver.request(Resume(reason=reason), actor=runtime.services.actor, later=True)
        else:
            driver.draft(RUN, facts.RunResumed())
    return await drive(runtime, driver, stream.key, started)


async def attend(
    runtime: Runtime, registry: Registry, stream: Stream, *, started: Callable[[RunDriver], None] | None = None,
    observe: Observer | None = None,
) -> Loaded:  # fmt: skip
    """Take up a run that nobody drives, so that its mail is answered; it goes on unless it is suspended (G1)."""
    loaded, claim = await claimed(runtime, registry, stream, None)
    loaded = _shown_to(observe, loaded)
    if loaded.state.status in FINAL and not await in_thread(runtime, lambda: runtime.store.inbox(loaded.run_id).rows):
        await in_thread(runtime, lambda: runtime.store.release(loaded.run_id, epoch=claim.epoch))
        return loaded  # it has ended since somebody looked, and nobody waits for an answer
    return await drive(runtime, _taken_up(runtime, loaded, claim, observe), stream.key, started)


def check_not_held(run_id: str, state: State) -> None:
    """Raise `IllegalRequest` if the run waits for a person's word (G3)."""
    if state.held:
        raise asking.held_at(run_id, held_paths(state))


def is_early(runtime: Runtime, stream: Stream) -> bool:
    """Whether the run was submitted for a time that has not come yet."""
    due_us = stream.wake_at_us
    return stream.status == "PENDING" and due_us is not None and due_us > runtime.services.clock.now_us()


def _shown(time_us: int) -> str:
    return datetime.fromtimestamp(time_us / 1e6, UTC).isoformat(timespec="seconds")


async def revert(
    runtime: Runtime, registry: Registry, stream: Stream, *, reason: str, observe: Observer | None = None,
    started: Callable[[RunDriver], None] | None = None,
) -> Loaded:  # fmt: skip
    """Undo all that stands of a final run (G5).

    Raises:
        IllegalRequest: the run is not over, or nothing of it stands.
        InputError: no reason.
    """
    if not reason.strip():
        raise InputError("a revert needs a reason", field="reason", expected="text", given=repr(reason))
    check_over(stream.run_id, stream.status, "be reverted")
    loaded, claim = await claimed(runtime, registry, stream, None, lambda state: check_revert(stream.run_id, state))
    loaded = _shown_to(observe, loaded)
    driver = _taken_up(runtime, loaded, claim, observe)
    driver.request(Revert(reason=reason), actor=runtime.services.actor, later=True)
    return await drive(runtime, driver, stream.key, started)


async def rerun(
    runtime: Runtime, registry: Registry, stream: Stream, *, reason: str, from_: str | None = None,
    observe: Observer | None = None, started: Callable[[RunDriver], None] | None = None,
) -> Loaded:  # fmt: skip
    """Run again what of a final run has not succeeded, or from a part on (G5).

    Raises:
        IllegalRequest: the run is not final, or what it did stands in the way.
        InputError: no reason, or no such part.
    """
    if not reason.strip():
        raise InputError("a rerun needs a reason", field="reason", expected="text", given=repr(reason))
    check_over(stream.run_id, stream.status, "run again")
    loaded, claim = await claimed(
        runtime, registry, stream, None, lambda state: check_rerun(stream.run_id, state, from_)
    )
    loaded = _shown_to(observe, loaded)
    driver = _taken_up(runtime, loaded, claim, observe)
    driver.request(Rerun(reason=reason, from_=from_), actor=runtime.services.actor, later=True)
    return await drive(runtime, driver, stream.key, started)


async def work(
    runtime: Runtime, registry: Registry, run_id: str, claim: Claim, taken_up: Callable[[RunDriver], None]
) -> Loaded:
    """Drive a job that the board has given to this process, until it is over, suspended, given up, or lost.

    Raises whatever keeps this process from taking it up (the claim is given back then), and what took it away.
    """
    runtime.claiming.add(run_id)
    try:
        stream = await in_thread(runtime, lambda: runtime.store.stream(run_id))
        if stream is None:
            raise RunNotFound(f"run {run_id} is gone")
        loaded = _shown_to(None, await read_under(runtime, registry, stream, claim))
    except StoreUnavailable:
        runtime.adrift.add(run_id)
        raise
    finally:
        runtime.claiming.discard(run_id)
    return await drive(runtime, _taken_up(runtime, loaded, claim, None), stream.key, taken_up)


def _taken_up(runtime: Runtime, loaded: Loaded, claim: Claim, observe: Observer | None) -> RunDriver:
    state = loaded.state
    driver = RunDriver(
        runtime.services, run_id=loaded.run_id, plan=loaded.plan, state=state, head=loaded.head, epoch=claim.epoch,
        moved=loaded.moved, observe=observe,
    )  # fmt: skip
    before = state.claimed_by
    driver.draft(RUN, facts.RunClaimed(owner=runtime.owner, epoch=claim.epoch))
    if not state.started:  # submitted, and never run by anybody: now its plan is fixed (E8)
        driver.drafts.keep_plan(PlanRow(loaded.plan.fingerprint, loaded.plan.document))
        driver.draft(RUN, facts.RunStarted(fingerprint=loaded.plan.fingerprint, on_failure=loaded.plan.on_failure))
    elif loaded.changed:
        driver.drafts.keep_plan(PlanRow(loaded.plan.fingerprint, loaded.plan.document))
        driver.draft(RUN, facts.PlanChanged(fingerprint=loaded.plan.fingerprint))
    for number in sorted(state.running):
        if number in state.remote:
            ask_again(driver, number)
            continue  # workers make it, whoever drives the run; the others lived in the process that is gone (C3)
        content = loaded.committed.get(number)
        if content is not None:
            driver.committed(number, content)
            continue
        phase: facts.Phase = "revert" if state.states[number] == "REVERTING" else "execute"
        counts = state.revert_attempts if phase == "revert" else state.attempts
        driver.draft(
            number,
            facts.TaskInterrupted(
                try_=state.tries[number], attempt=counts[number], phase=phase, cause=f"owner {before} is gone"
            ),
        )
    return driver


async def drive(
    runtime: Runtime, driver: RunDriver, key: str | None, started: Callable[[RunDriver], None] | None
) -> Loaded:
    """Drive a run until it is final, suspended, or lost to this process.

    Raises:
        Fenced, StoreUnavailable: what took it away.
        LogRewound: what this process has written is not in the log any more.
    """
    runtime.drivers[driver.run_id] = driver
    if started is not None:
        started(driver)
    try:
        await runtime.mailroom.introduce(driver, is_new=driver.is_new)
        driver.go_on()
        loaded = await _finished(driver, key)
    except StoreUnavailable:
        runtime.adrift.add(driver.run_id)
        raise
    except (VersionConflict, Fenced) as error:
        lost = await rewound(runtime, driver)
        if lost is None:
            raise
        raise lost from error
    finally:
        if runtime.drivers.get(driver.run_id) is driver:
            del runtime.drivers[driver.run_id]
            runtime.mailroom.dismiss(driver.run_id)
    await _tell_parent(runtime, loaded)
    return loaded


async def _tell_parent(runtime: Runtime, loaded: Loaded) -> None:
    """A child run has ended (G7): its parent may want to look. What goes wrong here costs it half a minute."""
    submitted = loaded.state.submitted
    parent = None if submitted is None else submitted.parent
    if parent is None or loaded.state.status not in FINAL:
        return
    driver = runtime.drivers.get(parent.run)
    if driver is not None:
        driver.child_ended(parent.path)
        return
    mail = Mail(
        parent.run, f"{loaded.run_id}/{loaded.state.version}", CHILD, parent.path.encode(), runtime.services.actor,
        live=True,
    )  # fmt: skip
    with suppress(StoreError):
        await in_thread(runtime, lambda: _send(runtime.store, mail))


def _send(store: Store, mail: Mail) -> None:
    """Unless the parent is suspended: it looks when it goes on."""
    stream = store.stream(mail.run_id)
    if stream is not None and stream.status in ("RUNNING", "SUSPENDING"):
        store.send((mail,))


async def _finished(driver: RunDriver, key: str | None) -> Loaded:
    await driver.over()
    return Loaded(
        run_id=driver.run_id, key=key, plan=driver.plan, state=driver.state, head=driver.head, moved=driver.moved,
        exceptions=driver.exceptions, vault=driver.vault,
    )  # fmt: skip


def _shown_to(observe: Observer | None, loaded: Loaded) -> Loaded:
    """Tell an observer of all that has happened. What is given back is without the events: a long run has hundreds of
    thousands, and nobody looks at them while it is driven."""
    if observe is not None:
        observe(loaded.envelopes)
    return replace(loaded, envelopes=())
