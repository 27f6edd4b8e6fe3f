"""The rows a fold works on: what is kept in memory from one batch to the next, and what is asked for again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pytest

from flowledger.projections.rows import KEPT_ROWS, KEPT_SOON_DONE, Rows
from flowledger.projections.tables import Key, Row, Table

LASTING = Table("lasting", key={"number": int}, columns={"count": int})
SOON_DONE = Table("soon", key={"number": int}, columns={"count": int}, soon_done=True)


class Nothing:
    """A database without rows, which counts how often it is asked."""

    def __init__(self) -> None:
        self.asked = 0

    def load(self, table: Table, keys: Sequence[Key]) -> Mapping[Key, Row]:
        self.asked += 1
        return {}

    def under(self, table: Table, beginning: Key) -> Sequence[Row]:
        return ()


@pytest.mark.parametrize(("table", "kept"), [(LASTING, KEPT_ROWS), (SOON_DONE, KEPT_SOON_DONE)])
@pytest.mark.parametrize("more", [0, 1])
def test_rows_are_kept_in_mind_up_to_a_bound(table: Table, kept: int, more: int) -> None:
    # Given a batch that has made as many rows as are kept, or one more
    rows, source = Rows([table], lambda _: None), Nothing()
    rows.begin(source)
    for number in range(kept + more):
        rows.new(table, number)
    rows.settled()
    # When the next one looks at one of them
    rows.begin(source)
    rows.find(table, 0)
    # Then it is known, or asked for
    assert source.asked == more


def test_what_is_made_is_told_from_what_was_there() -> None:
    # Given
    rows = Rows([LASTING], lambda _: None)
    # When one is made, one was deleted before, and one is made and deleted
    rows.delete(LASTING, 2)
    for number in (1, 2, 3):
        rows.at(LASTING, number)
    rows.delete(LASTING, 3)
    # Then
    [changes] = rows.changes()
    assert (sorted(changes.rows), changes.made, changes.gone) == ([(1,), (2,)], {(1,)}, {(3,)})
