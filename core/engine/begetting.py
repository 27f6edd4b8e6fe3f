"""Atoms that are runs of their own (rule G7): begun, looked at, and undone; a waiting parent holds no thread."""

from __future__ import annotations

import asyncio

from flowledger.core.plan import Call, Node
from flowledger.core.ports import Children, Parent, Waiting
from flowledger.events.errors import Fenced, InternalError, StoreUnavailable, VersionConflict
from flowledger.events.facts import Phase

from .attempt import Attempt, Host, Lost, Outcome, Raised, Returned, Unready

#: How often a parent looks at its child, whatever it is told (G7).
LOOK_EVERY_S = 30.0
#: How soon it looks again where the store was away, or the child was taken from this process while it was undone.
AGAIN_S = 1.0


class ChildAttempt(Attempt):
    """An attempt whose body is a look at the child run, which makes it if there is none."""

    __slots__ = ("_children", "_epoch", "_executor")

    def __init__(
        self, host: Host, node: Node, phase: Phase, call: Call, try_: int, attempt: int, key: str,
        children: Children | None, executor: str | None, epoch: int,
    ) -> None:  # fmt: skip
        super().__init__(host, node, phase, call, try_, attempt, key)
        self._children = children
        self._executor = executor
        self._epoch = epoch  # the one under which this process drives the run

    async def arun(self) -> Outcome:
        """Look, or undo; whatever goes wrong is a failure of the atom (D7), unless it says nothing of the child: then
        it is looked at again, as long as the run is this process's."""
        while self._host.awaits(self):
            try:
                return await (self._look() if self.phase == "execute" else self._undo())
            except (StoreUnavailable, Fenced, VersionConflict):
                await asyncio.sleep(AGAIN_S)
            except Exception as error:  # noqa: BLE001 - the factory is the user's code
                return Raised(self.failure(error, "error"), again=True, exception=error)
        return Lost("the run was lost to this process")

    @property
    def _parent(self) -> Parent:
        return Parent(self._host.run_id, self.node.path, self.try_, self._epoch)

    async def _look(self) -> Outcome:
        found = await self._runs().look(self._parent, self._factory, self.arguments, self._executor)
        if isinstance(found, Waiting):
            return Unready(LOOK_EVERY_S, found.message, found.run_id)
        return Returned(found) if isinstance(found, bytes) else Raised(found, again=False, exception=None)

    async def _undo(self) -> Outcome:
        failure = await self._runs().undo(self._parent, self._factory)
        return Returned(b"null") if failure is None else Raised(failure, again=False, exception=None)

    def _runs(self) -> Children:
        if self._children is None:
            raise InternalError("this process drives no child runs")
        return self._children

    @property
    def _factory(self) -> str:
        assert self.node.task is not None
        return self.node.task.name
