"""Child runs: made, taken up, looked at and undone for their parents (rule G7).

A child is a run like any other, with a log and a key of its own: whoever looks for it finds the same one, so that a
crash anywhere makes no second. Where its parent has a queue so has the child, and conductors take it from the board;
otherwise, and where nobody takes such runs, the process that drives the parent drives it.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from typing import Any

from msgspec.structs import replace as replaced

from flowledger.core.compiler import check_executors, entry
from flowledger.core.compiler import compile as compile_part
from flowledger.core.decide import held_paths, round_failures
from flowledger.core.factory import build
from flowledger.core.plan import RUN
from flowledger.core.ports import Parent, Waiting
from flowledger.core.registry import Registry
from flowledger.core.source import NOWHERE
from flowledger.core.values import Values
from flowledger.events import facts, requests
from flowledger.events.errors import (
    Fenced,
    FlowledgerError,
    FlowNotRegistered,
    IllegalRequest,
    InternalError,
    KeyTaken,
    RunOwned,
)
from flowledger.events.failure import Failure
from flowledger.events.store import FINAL, Mail, Stream

from . import driving, submitting
from .boarded import is_served
from .claiming import in_thread
from .driving import Wish
from .loading import load
from .runtime import Runtime

#: How often a revert looks at a child that somebody else drives.
LOOK_S = 1.0

_LOG = logging.getLogger("flowledger.children")


class RunChildren:
    """See `core.ports.Children`. Lives on the engine's loop."""

    def __init__(self, runtime: Runtime, registry: Registry) -> None:
        self._runtime = runtime
        self._registry = registry
        self._driven: dict[str, asyncio.Task[None]] = {}

    async def look(
        self, parent: Parent, factory: str, arguments: Mapping[str, Any], executor: str | None
    ) -> bytes | Failure | Waiting:
        """See `Children.look`."""
        stream = await self._find(parent, factory) or await self._make(parent, factory, arguments, executor)
        if stream.status in FINAL:
            return await self._ended(stream, parent.path)
        if not await self._is_left_to_others(stream):
            self._driven[stream.run_id] = self._runtime.loop.create_task(self._drive(stream))
        return Waiting(stream.run_id, f"its run of {factory} has not ended")

    async def undo(self, parent: Parent, factory: str) -> Failure | None:
        """See `Children.undo`."""
        while (stream := await self._find(parent, factory)) is not None:
            if stream.status in ("REVERTED", "CANCELLED"):
                return None
            if stream.status == "FAILED":
                return await self._failure(stream, parent.path, "cannot be undone with it: look at that first")
            try:
                await self._undone(stream, parent)
            except RunOwned:
                await asyncio.sleep(LOOK_S)
            except IllegalRequest:
                if await self._is_as_it_was(stream):
                    raise  # somebody else has to undo what it did (G6)
        return None

    # -- one child ------------------------------------------------------------------------------

    async def _find(self, parent: Parent, factory: str) -> Stream | None:
        app, key = self._registry.name, _key(parent)
        return await in_thread(
            self._runtime, lambda: self._runtime.store.find(app=app, factory=factory, key=key)
        )  # fmt: skip

    async def _make(self, parent: Parent, factory: str, arguments: Mapping[str, Any], executor: str | None) -> Stream:
        runtime, registry = self._runtime, self._registry
        above = await self._stream(parent.run_id)
        definition = registry.flows.get(factory)
        if definition is None:
            raise FlowNotRegistered(f"the app {registry.name} has no flow `{factory}`")
        part = build(definition, (), dict(arguments), NOWHERE)
        plan, root = compile_part(part, registry, executor=executor), entry(part, registry)
        check_executors(plan, registry)
        wish = Wish(
            plan=plan, factory=root.factory, inputs=root.inputs_json(), key=_key(parent), tags=above.tags,
            on_failure=plan.on_failure, executor=executor,
        )  # fmt: skip
        append = submitting.submission(
            runtime.services, registry.name, wish, queue=above.queue, priority=above.priority,
            parent=facts.ParentAtom(run=parent.run_id, path=parent.path, try_=parent.try_), parent_epoch=parent.epoch,
        )  # fmt: skip
        result = (await in_thread(runtime, lambda: runtime.store.append((append,))))[0]
        if isinstance(result, FlowledgerError) and not isinstance(result, KeyTaken):
            raise result
        return await self._stream(result.run_id if isinstance(result, KeyTaken) else append.run_id)

    async def _stream(self, run_id: str) -> Stream:
        stream = await in_thread(self._runtime, lambda: self._runtime.store.stream(run_id))
        if stream is None:
            raise InternalError(f"run {run_id} is gone")
        return stream

    async def _ended(self, stream: Stream, path: str) -> bytes | Failure:
        if stream.status != "SUCCEEDED":
            return await self._failure(stream, path, f"is {stream.status}")
        loaded = await in_thread(self._runtime, lambda: load(self._runtime, self._registry, stream))
        return Values(loaded.state, moved=loaded.moved, resource=_no_resource, vault=loaded.vault).handed_on()

    async def _failure(self, stream: Stream, path: str, how: str) -> Failure:
        """What the log of the parent keeps: the child's id, and its first failure."""
        loaded = await in_thread(self._runtime, lambda: load(self._runtime, self._registry, stream))
        errors = (*round_failures(loaded.state, RUN), *loaded.state.revert_errors.values())
        # In which of the child's attempts it was, and where in the code, says the child's own log; what the child's key
        # encrypts there, the parent's key encrypts here.
        shown = [error if loaded.vault is None else loaded.vault.shown(error) for error in errors[:1]]
        cause = replaced(shown[0], traceback="", attempt=0) if shown else None
        message = f"its run {how}"  # which one that is, says the log where the parent begins to wait for it
        return Failure(path=path, type="ChildRun", message=message, kind="child", cause=cause)

    # -- driving it -----------------------------------------------------------------------------

    async def _is_left_to_others(self, stream: Stream) -> bool:
        """Whether somebody drives it or will, or a person has suspended it."""
        if stream.run_id in self._driven or stream.run_id in self._runtime.drivers or stream.status == "SUSPENDED":
            return True
        return await in_thread(self._runtime, lambda: is_served(self._runtime, stream))

    async def _drive(self, stream: Stream) -> None:
        """Until it has ended or is suspended here; its driver tells the parent."""
        try:
            await driving.resume(self._runtime, self._registry, stream)
        except (RunOwned, Fenced):
            pass  # somebody else drives it; or nobody here drives anything any more
        except Exception as error:  # noqa: BLE001 - whoever looks next tries again
            _LOG.warning("child run %s cannot be taken up: %s", stream.run_id, error)
        finally:
            self._driven.pop(stream.run_id, None)

    async def _undone(self, stream: Stream, parent: Parent) -> None:
        """One step on the way: what is left of it shows the next look. A child that is held takes no cancel (G3)."""
        runtime, reason = self._runtime, f"{parent.path} of run {parent.run_id} is undone"
        if stream.status == "SUCCEEDED":
            await driving.revert(runtime, self._registry, stream, reason=reason)
            return
        if stream.status == "SUSPENDED" and await self._is_held(stream):
            await asyncio.sleep(LOOK_S)
            return
        mail = Mail(  # by whoever owns the child then: it may have been refused because it was held, or run again since
            stream.run_id, f"{_key(parent)}/cancel/{stream.epoch}", "cancel",
            requests.encode(requests.Cancel(reason=reason)), runtime.services.actor, live=True,
        )  # fmt: skip
        await in_thread(runtime, lambda: runtime.store.send((mail,)))
        if stream.run_id in self._driven or await in_thread(runtime, lambda: is_served(runtime, stream)):
            await asyncio.sleep(LOOK_S)
        elif await self._is_held(stream):  # its owner is gone, and it is not suspended yet
            await driving.attend(runtime, self._registry, stream)
        else:
            await driving.resume(runtime, self._registry, await self._stream(stream.run_id))

    async def _is_held(self, stream: Stream) -> bool:
        """Whether it waits for a person's word, after which it can be cancelled."""
        loaded = await in_thread(self._runtime, lambda: load(self._runtime, self._registry, stream))
        return bool(held_paths(loaded.state))

    async def _is_as_it_was(self, stream: Stream) -> bool:
        return (await self._stream(stream.run_id)).version == stream.version


def _key(parent: Parent) -> str:
    return f"{parent.run_id}/{parent.path}/{parent.try_}"


def _no_resource(name: str) -> Any:
    raise AssertionError(name)  # results need no resources
