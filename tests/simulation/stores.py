"""The store of a world, with a witness for each run: in memory, or a real one that lives in the world's time."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from flowledger.adapters.stores.memory import MemoryStore
from flowledger.events.errors import Fenced
from flowledger.events.store import Append, Appended, AppendResult, Claim, Held, Owner, Store, Stream

from .ledger import Ledger

if TYPE_CHECKING:
    from .judge import Witness
    from .world import World


class Watched:
    """What a world asks of its store, beside what any store can do."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.ledger = Ledger()
        self.seen: dict[str, Witness] = {}

    def witness(self, run_id: str, request: Append | None = None) -> Witness:
        """Who watches this run; called for at its first append."""
        found = self.seen.get(run_id)
        if found is None:
            assert request is not None
            found = self.seen[run_id] = self.world.new_witness(run_id, request.events)
        return found

    def known(self, run_id: str) -> Witness | None:
        """The same, if the run is in the log."""
        return self.seen.get(run_id)

    @property
    def witnesses(self) -> Sequence[Witness]:
        """Of all runs that are in the log."""
        return list(self.seen.values())

    def judged(self, batch: Sequence[Append], results: list[AppendResult]) -> list[AppendResult]:
        """Have what is new in the log judged; what was sent twice is there already."""
        for request, result in zip(batch, results, strict=True):
            known = self.seen.get(request.run_id)
            if isinstance(result, Appended) and (known is None or len(known.log) < request.events[0].version):
                self._judge(request)
        return results

    def _judge(self, request: Append) -> None:
        try:
            self.witness(request.run_id, request).stored(request)
        except AssertionError as error:  # who appends beside the appender would take it for a failure of its own
            self.world.complain(error)
            raise


class InMemory(Watched, MemoryStore):
    """The log in memory, in the world's time."""

    def __init__(self, world: World) -> None:
        Watched.__init__(self, world)
        MemoryStore.__init__(self)

    def now_us(self) -> int:
        return self.world.now_us()

    def append(self, batch: Sequence[Append]) -> list[AppendResult]:
        return self.judged(batch, super().append(batch))


class Real(Watched):
    """A real store, as it is but for time: whoever is silent for long in the world's time is dead.

    Transactions are the ledger's, as in memory. The runs of many worlds may be in it, each under an app's name.
    """

    immediate = True  # the world is one thread, and waits

    def __init__(self, world: World, store: Store) -> None:
        super().__init__(world)
        self._store = store
        self._beats: dict[str, tuple[Owner, int]] = {}

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    def now_us(self) -> int:
        return self.world.now_us()

    def append(self, batch: Sequence[Append]) -> list[AppendResult]:
        return self.judged(batch, self._store.append(batch))

    def streams(self, **wanted: Any) -> list[Stream]:
        return self._store.streams(app=self.world.app.name, **wanted)

    # -- owners ---------------------------------------------------------------------------------

    def join(self, owner: Owner) -> None:
        self._store.join(owner)
        self._beats[owner.id] = (owner, self.now_us())

    def beat(self, owner_id: str) -> int:
        if owner_id not in self._beats:
            raise Fenced(f"owner {owner_id} has no row any more: others take it for dead")
        self._store.beat(owner_id)
        self._beats[owner_id] = (self._beats[owner_id][0], self.now_us())
        return self.now_us()

    def leave(self, owner_id: str) -> None:
        if self._beats.pop(owner_id, None) is not None:
            self._store.leave(owner_id)

    def leave_all(self) -> None:
        """The world is at its end: its owners' rows and locks are free for the next one's."""
        for owner_id in list(self._beats):
            self.leave(owner_id)

    def seen_s(self, owner_id: str | None) -> float | None:
        joined = None if owner_id is None else self._beats.get(owner_id)
        return None if joined is None else (self.now_us() - joined[1]) / 1e6

    def claim(self, run_id: str, owner_id: str, *, takeover_s: float) -> Claim | Held | None:
        """The store looks at the real time: who is dead in the world's has no row while it does."""
        stream = self._store.stream(run_id)
        owner = None if stream is None else stream.owner
        silent_s = self.seen_s(owner)
        if owner is None or owner == owner_id or silent_s is None or silent_s <= takeover_s:
            return self._store.claim(run_id, owner_id, takeover_s=takeover_s)
        self._store.leave(owner)
        try:
            return self._store.claim(run_id, owner_id, takeover_s=takeover_s)
        finally:
            self._store.join(self._beats[owner][0])
