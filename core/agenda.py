"""What is enabled, by node, cheap to keep up to date: each event adds or drops a few entries, nothing is rescanned.

Entries are kept per *lane* (the kind of executor an action needs, or "control" for what needs none), so that a full
lane of ten thousand ready atoms costs nothing when only another lane has room.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from heapq import heappop, heappush
from typing import Any

from .actions import CONTROL, Action, Kind


class Agenda:
    """At most one enabled action per node. Adding and dropping are O(log n); the first k come in O(k log k).

    ``entries`` are the actions by node (by its rank, in an `OrderedAgenda`); only this class changes them.
    """

    __slots__ = ("_heaps", "entries")

    def __init__(self) -> None:
        self.entries: dict[int, Action] = {}
        self._heaps: dict[str, list[int]] = {}  # may hold stale numbers; dropped when they come to the top

    def add(self, number: int, kind: Kind, lane: str = CONTROL) -> None:
        """Enable ``kind`` for a node, in place of whatever was enabled for it."""
        self._put(number, Action(kind, number, lane), lane)

    def _put(self, rank: Any, action: Action, lane: str) -> None:
        self.entries[rank] = action
        heap = self._heaps.get(lane)
        if heap is None:
            heap = self._heaps[lane] = []
        heappush(heap, rank)

    def drop(self, number: int) -> None:
        """Nothing is enabled for this node any more."""
        self.entries.pop(number, None)
        if not self.entries:  # so that a line, where never more than one is enabled, leaves nothing behind
            for heap in self._heaps.values():
                heap.clear()

    def clear(self) -> None:
        """Nothing is enabled any more."""
        self.entries.clear()
        self._heaps.clear()

    def kind(self, number: int) -> Kind | None:
        """What is enabled for this node."""
        action = self.entries.get(number)
        return None if action is None else action.kind

    def __len__(self) -> int:
        return len(self.entries)

    def __iter__(self) -> Iterator[Action]:
        """All of them in plan order."""
        return iter([self.entries[rank] for rank in sorted(self.entries)])

    def first(self, room: Callable[[str], int]) -> list[Action]:
        """The first in plan order, at most ``room(lane)`` of each lane."""
        entries = self.entries
        if len(entries) < 2:  # of a line it is never more
            return [action for action in entries.values() if room(action.lane)]
        found: list[int] = []
        for lane in self._heaps:
            limit = room(lane)
            if limit:
                found += self._smallest(lane, limit)
        if len(found) > 1:
            found.sort()
        return [entries[rank] for rank in found]

    def has(self, lane: str) -> bool:
        """Whether something waits for room in this lane."""
        return lane in self._heaps and bool(self._smallest(lane, 1))

    def _smallest(self, lane: str, count: int) -> list[int]:
        heap, entries = self._heaps[lane], self.entries
        while heap and ((entry := entries.get(heap[0])) is None or entry.lane != lane):
            heappop(heap)
        if not heap:
            return []
        if count == 1:
            return [heap[0]]
        return self._walk(heap, lane, count)

    def _walk(self, heap: list[int], lane: str, count: int) -> list[int]:
        """In order through a heap without emptying it: the next smallest is always a child of one already met."""
        found: list[int] = []
        frontier = [(heap[0], 0)]
        while frontier and len(found) < count:
            number, at = heappop(frontier)
            entry = self.entries.get(number)
            if entry is not None and entry.lane == lane and (not found or found[-1] != number):
                found.append(number)
            for child in (2 * at + 1, 2 * at + 2):
                if child < len(heap):
                    heappush(frontier, (heap[child], child))
        return found


class OrderedAgenda(Agenda):
    """The agenda of a plan that may grow, or has priorities: in an order that the numbers of its nodes do not say.

    Inside, an entry stands under the rank of its node instead of its number.
    """

    __slots__ = ("_rank",)

    def __init__(self, rank: Callable[[int], Any]) -> None:
        super().__init__()
        self._rank = rank

    def add(self, number: int, kind: Kind, lane: str = CONTROL) -> None:
        self._put(self._rank(number), Action(kind, number, lane), lane)

    def drop(self, number: int) -> None:
        super().drop(self._rank(number))

    def kind(self, number: int) -> Kind | None:
        return super().kind(self._rank(number))
