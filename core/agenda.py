"""What is enabled, by node, cheap to keep up to date: each event adds or drops a few entries, nothing is rescanned.

Entries are kept per *lane* (the kind of executor an action needs, or "control" for what needs none), so that a full
lane of ten thousand ready atoms costs nothing when only another lane has room.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from heapq import heappop, heappush
from typing import Any, Literal

Kind = Literal[
    "Start", "StartRound", "AskRetry", "RevertScope", "Revert", "ResetScope", "AskBranch", "Skip", "Expand", "End"
]  # fmt: skip

CONTROL = "control"


class Agenda:
    """At most one enabled action per node. Adding and dropping are O(log n); the first k come in O(k log k)."""

    __slots__ = ("_entries", "_heaps")

    def __init__(self) -> None:
        self._entries: dict[int, tuple[Kind, str]] = {}
        self._heaps: dict[str, list[int]] = {}  # may hold stale numbers; dropped when they come to the top

    def add(self, number: int, kind: Kind, lane: str = CONTROL) -> None:
        """Enable ``kind`` for a node, in place of whatever was enabled for it."""
        self._entries[number] = (kind, lane)
        heappush(self._heaps.setdefault(lane, []), number)

    def drop(self, number: int) -> None:
        """Nothing is enabled for this node any more."""
        self._entries.pop(number, None)

    def clear(self) -> None:
        """Nothing is enabled any more."""
        self._entries.clear()
        self._heaps.clear()

    def kind(self, number: int) -> Kind | None:
        """What is enabled for this node."""
        entry = self._entries.get(number)
        return None if entry is None else entry[0]

    def __len__(self) -> int:
        return len(self._entries)

    def __iter__(self) -> Iterator[tuple[int, Kind]]:
        """All entries in plan order."""
        in_order: list[tuple[int, Kind]] = [(number, self._entries[number][0]) for number in sorted(self._entries)]
        return iter(in_order)

    def first(self, room: Callable[[str], int]) -> list[tuple[int, Kind]]:
        """The first entries in plan order, at most ``room(lane)`` of each lane."""
        if not self._entries:
            return []
        found: list[int] = []
        for lane in self._heaps:
            limit = room(lane)
            if limit:
                found += self._smallest(lane, limit)
        if len(found) > 1:
            found.sort()
        return [(number, self._entries[number][0]) for number in found]

    def has(self, lane: str) -> bool:
        """Whether something waits for room in this lane."""
        return lane in self._heaps and bool(self._smallest(lane, 1))

    def _smallest(self, lane: str, count: int) -> list[int]:
        heap, entries = self._heaps[lane], self._entries
        while heap and ((entry := entries.get(heap[0])) is None or entry[1] != lane):
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
            entry = self._entries.get(number)
            if entry is not None and entry[1] == lane and (not found or found[-1] != number):
                found.append(number)
            for child in (2 * at + 1, 2 * at + 2):
                if child < len(heap):
                    heappush(frontier, (heap[child], child))
        return found


class OrderedAgenda(Agenda):
    """The agenda of a plan that may grow, or has priorities: in an order that the numbers of its nodes do not say.

    Inside, an entry stands under the rank of its node instead of its number.
    """

    __slots__ = ("_numbers", "_rank")

    def __init__(self, rank: Callable[[int], Any]) -> None:
        super().__init__()
        self._rank = rank
        self._numbers: dict[Any, int] = {}  # of the nodes that have an entry, by rank

    def add(self, number: int, kind: Kind, lane: str = CONTROL) -> None:
        rank = self._rank(number)
        self._numbers[rank] = number
        super().add(rank, kind, lane)

    def drop(self, number: int) -> None:
        rank = self._rank(number)
        if self._numbers.pop(rank, None) is not None:
            super().drop(rank)

    def kind(self, number: int) -> Kind | None:
        return super().kind(self._rank(number))

    def __iter__(self) -> Iterator[tuple[int, Kind]]:
        return ((self._numbers[rank], kind) for rank, kind in super().__iter__())

    def first(self, room: Callable[[str], int]) -> list[tuple[int, Kind]]:
        return [(self._numbers[rank], kind) for rank, kind in super().first(room)]
