"""Views must be kept alike by every store: tables, checkpoints, slots, conditions (rule H1)."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from pathlib import Path
from threading import Event

import pytest

from flowledger.adapters.stores.views import sqlite, views_of
from flowledger.events.errors import InputError, StoreUnavailable, ViewsMissing
from flowledger.events.store import Cursor, Store
from flowledger.projections.projection import Projection
from flowledger.projections.rows import Changes, Rows
from flowledger.projections.selecting import (
    AllOf,
    AnyOf,
    Compares,
    Condition,
    Fits,
    Holds,
    InTable,
    IsEmpty,
    IsIn,
    Not,
    Select,
)
from flowledger.projections.tables import Int16, Int32, Row, Table
from flowledger.projections.view_store import Mark, Slot, ViewStore

THINGS = Table(
    "things",
    key={"kind": str, "number": int},
    columns={
        "note": str | None,
        "weight": float,
        "small": Int16,
        "content": bytes,
        "count": int,
        "end": int | None,
        "rest": Int32 | None,
    },
    indexes=(("note",),),
)
MARKS = Table("marks", key={"mark": str, "number": int})
SHOP = Projection("shop", 1, (THINGS, MARKS), lambda *_: None)
NEWER = Projection("shop", 2, (THINGS, MARKS), lambda *_: None)
MARK = Mark(Cursor("7"), 7, "run", 3, b"\1" * 32, 99)


@pytest.fixture
def views(store: Store) -> Iterator[ViewStore]:
    opened = views_of(store)
    yield opened
    opened.close()


def thing(kind: str, number: int, **fields: object) -> Row:
    return THINGS.new((kind, number)) | fields


def write(views: ViewStore, slot: Slot, *rows: Row, mark: Mark | None = None) -> Slot:
    """Have these rows there, and the checkpoint moved by one."""
    changes = Changes(THINGS)
    changes.rows = {(row["kind"], row["number"]): row for row in rows}
    moved = mark or slot.mark._replace(events=slot.mark.events + 1)
    with views.turn(SHOP, slot) as turn:
        assert turn is not None
        turn.write([changes])
        turn.advance(moved)
    return slot._replace(mark=moved)


def write_all(views: ViewStore, slot: Slot, changes: Changes) -> None:
    with views.turn(SHOP, slot) as turn:
        assert turn is not None
        turn.write([changes])


def found(views: ViewStore, *where: Condition) -> list[int]:
    rows = views.select("shop", Select(THINGS, where, order=("kind", "number")))
    return [row["number"] for row in rows]


def test_many_who_open_a_new_file_at_once_do_not_collide(tmp_path: Path) -> None:
    for n in range(20):
        with ThreadPoolExecutor(8) as pool:
            for opened in pool.map(lambda _, n=n: sqlite.SqliteViews(tmp_path / f"views-{n}"), range(8)):
                opened.close()


def test_rows_come_back_as_they_were_written(views: ViewStore) -> None:
    # Given
    slot = views.make(SHOP, number=1, live=True)
    strange = thing("a\0b\x01c", -(2**63), note="é\u0301\u200f'; --", weight=0.1, content=b"\0\xff", count=2**63 - 1)
    strange |= {"small": -(2**15), "rest": 2**31 - 1}
    plain = thing("b", 0)
    # When
    write(views, slot, plain, strange)
    # Then
    assert views.select("shop", Select(THINGS, order=("kind", "number"))) == [strange, plain]
    assert plain["note"] is None


def test_a_row_that_is_there_is_put_in_its_place_and_what_is_gone_is_gone(views: ViewStore) -> None:
    slot = write(views, views.make(SHOP, number=1, live=True), thing("a", 1, note="old"), thing("a", 2))
    changes = Changes(THINGS)
    changes.rows = {("a", 1): thing("a", 1, note="new")}
    changes.gone = {("a", 2), ("nobody", 9)}
    with views.turn(SHOP, slot) as turn:
        assert turn is not None
        turn.write([changes])
    assert views.select("shop", Select(THINGS)) == [thing("a", 1, note="new")]


@pytest.mark.parametrize("many", [1, 100])
def test_new_rows_come_back_as_they_were_written_however_many(views: ViewStore, many: int) -> None:
    # Given
    slot = views.make(SHOP, number=1, live=True)
    changes = Changes(THINGS)
    for n in range(many):
        changes.make(("a\0", n)).update(note=None if n % 2 else "\x01é", weight=n / 8, small=-n, content=b"\0")
    # When
    write_all(views, slot, changes)
    # Then
    assert views.select("shop", Select(THINGS, order=("kind", "number"), limit=many)) == list(changes.rows.values())


@pytest.mark.parametrize("many", [1, 100])
def test_rows_that_were_there_though_they_were_said_to_be_new_are_put_in_their_place(
    views: ViewStore, many: int
) -> None:
    # Given
    slot = write(views, views.make(SHOP, number=1, live=True), thing("a", 0, note="old"))
    changes = Changes(THINGS)
    for n in range(many):
        changes.make(("a", n))["note"] = "new"
    # When
    write_all(views, slot, changes)
    # Then
    assert [row["note"] for row in views.select("shop", Select(THINGS, limit=many))] == ["new"] * many


@pytest.mark.parametrize("settled", [True, False])
def test_a_row_may_be_deleted_and_made_again(views: ViewStore, settled: bool) -> None:
    # Given a row that is there, and a fold that deletes it
    slot = write(views, views.make(SHOP, number=1, live=True), thing("a", 1, note="old"), thing("b", 1))
    rows = Rows(SHOP.tables, lambda _: None)
    with views.turn(SHOP, slot) as turn:
        assert turn is not None
        rows.begin(turn)
        rows.delete(THINGS, "a", 1)
        if settled:
            turn.write(rows.changes())
            rows.settled()
            rows.begin(turn)
        # When it makes it again
        rows.at(THINGS, "a", 1)["count"] = 7
        rows.at(THINGS, "b", 1)["count"] = 8
        turn.write(rows.changes())
    # Then nothing of the old one is left
    assert views.select("shop", Select(THINGS, order=("kind",))) == [thing("a", 1, count=7), thing("b", 1, count=8)]


def test_a_turn_loads_rows_by_key_and_by_the_beginning_of_keys(views: ViewStore) -> None:
    rows = [thing("a", 1), thing("a", 2), thing("b", 1), thing("a\0", 3)]
    slot = write(views, views.make(SHOP, number=1, live=True), *rows)
    with views.turn(SHOP, slot) as turn:
        assert turn is not None
        assert turn.load(THINGS, [("a", 2), ("c", 1), ("a\0", 3)]) == {("a", 2): rows[1], ("a\0", 3): rows[3]}
        assert sorted(row["number"] for row in turn.under(THINGS, ("a",))) == [1, 2]
        assert turn.under(THINGS, ("c",)) == []


def test_h1_rows_and_checkpoint_are_one_transaction(views: ViewStore) -> None:
    # Given
    slot = views.make(SHOP, number=1, live=True)
    changes = Changes(THINGS)
    changes.rows = {("a", 1): thing("a", 1)}

    # When
    def die() -> None:
        with views.turn(SHOP, slot) as turn:
            assert turn is not None
            turn.write([changes])
            turn.advance(MARK)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        die()
    # Then
    assert found(views) == []
    assert views.slots() == [slot]


def test_h1_the_checkpoint_is_kept_as_it_is(views: ViewStore) -> None:
    slot = views.make(SHOP, number=1, live=True)
    moved = write(views, slot, mark=MARK)
    assert views.slots() == [moved] == [Slot("shop", 1, 1, True, MARK)]


def test_h1_who_knows_an_older_checkpoint_gets_no_turn(views: ViewStore) -> None:
    slot = views.make(SHOP, number=1, live=True)
    write(views, slot)
    with views.turn(SHOP, slot) as turn:
        assert turn is None


def test_h1_one_projector_is_active_and_the_other_stands_by(store: Store, elsewhere: Store) -> None:
    with ExitStack() as opened, ThreadPoolExecutor(1) as pool:
        # Given
        first, second = (opened.enter_context(closing(views_of(each))) for each in (store, elsewhere))
        slot = first.make(SHOP, number=1, live=True)
        began = Event()

        def stand_by() -> bool:
            began.set()
            with second.turn(SHOP, slot) as turn:
                return turn is None

        # When
        with first.turn(SHOP, slot) as turn:
            assert turn is not None
            waiting = pool.submit(stand_by)
            began.wait(10)
            turn.advance(MARK)
        # Then
        assert waiting.result(30)


def test_a_slot_is_made_once(views: ViewStore) -> None:
    slot = write(views, views.make(SHOP, number=1, live=True), thing("a", 1))
    assert views.make(SHOP, number=1, live=True) == slot
    assert found(views) == [1]


def test_h1_a_new_slot_is_read_once_it_has_caught_up(views: ViewStore) -> None:
    # Given
    old = write(views, views.make(SHOP, number=1, live=True), thing("a", 1))
    new = views.make(NEWER, number=2, live=False)
    # When / Then
    assert not views.swap(NEWER, old, new)
    assert found(views) == [1]
    new = write(views, new, thing("a", 2))
    assert views.swap(NEWER, old, new)
    assert found(views) == [2]
    assert views.slots() == [new._replace(live=True)]


def test_a_dropped_slot_leaves_nothing(views: ViewStore) -> None:
    slot = write(views, views.make(SHOP, number=1, live=True), thing("a", 1))
    views.drop(slot)
    assert views.slots() == []
    with pytest.raises(ViewsMissing):
        views.select("shop", Select(THINGS))
    assert views.make(SHOP, number=1, live=True).mark == Mark()
    assert found(views) == []


def test_equal_tables_have_equal_digests_in_whatever_order_they_were_written(views: ViewStore) -> None:
    rows = [thing("a", n, note=f"n{n}", weight=n / 3) for n in range(20)]
    first = write(views, views.make(SHOP, number=1, live=True), *rows)
    second = write(views, views.make(SHOP, number=2, live=False), *rows[::-1])
    assert views.digest(SHOP, first) == views.digest(SHOP, second)
    write(views, second, thing("a", 3, note="other"))
    assert views.digest(SHOP, first) != views.digest(SHOP, second)
    assert (views.count(first, THINGS), views.count(first, MARKS)) == (20, 0)


@pytest.fixture
def shelf(views: ViewStore) -> ViewStore:
    slot = views.make(SHOP, number=1, live=True)
    write(
        views, slot, thing("a", 1, note="Alpha_1", count=1), thing("a", 2, note="beta%", count=2, end=5),
        thing("a", 3, note="[gamma]?", count=3, end=9), thing("a", 4, note=None, count=4),
        thing("a", 5, note="a\\b", count=5),
    )  # fmt: skip
    changes = Changes(MARKS)
    changes.rows = {("red", n): MARKS.new(("red", n)) for n in (1, 3)}
    with views.turn(SHOP, views.slots()[0]) as turn:
        assert turn is not None
        turn.write([changes])
    return views


@pytest.mark.parametrize(
    ("condition", "numbers"),
    [
        (IsIn("note", ("Alpha_1",)), [1]),
        (IsIn("number", (2, 3, 99)), [2, 3]),
        (IsIn("number", ()), []),
        (IsEmpty("note"), [4]),
        (Fits("note", "Alpha*"), [1]),
        (Fits("note", "alpha*"), []),
        (Fits("note", "*"), [1, 2, 3, 5]),
        (Fits("note", "*_1"), [1]),
        (Fits("note", "Alpha?1"), []),
        (Fits("note", "[gamma]?"), [3]),
        (Fits("note", "[a-z]*"), []),
        (Fits("note", "a\\*"), [5]),
        (Fits("note", "beta%"), [2]),
        (Fits("note", "be%"), []),
        (Holds("note", "ALPHA"), [1]),
        (Holds("note", "_"), [1]),
        (Holds("note", "%"), [2]),
        (Holds("note", "\\"), [5]),
        (Compares("count", ">", 3), [4, 5]),
        (Compares("count", "<=", 2), [1, 2]),
        (Compares("end", "<", 9), [2]),
        (Compares("end", ">=", 3, since="count"), [2, 3]),
        (Compares("end", ">=", 6, since="count", otherwise=10), [1, 3, 4]),
        (Not(Compares("end", "<", 9)), [1, 3, 4, 5]),
        (Not(Holds("note", "a")), [4]),
        (AnyOf((IsIn("number", (1,)), IsEmpty("note"))), [1, 4]),
        (AnyOf(()), []),
        (AllOf((Compares("count", ">", 1), Compares("count", "<", 4))), [2, 3]),
        (AllOf(()), [1, 2, 3, 4, 5]),
        (InTable("number", MARKS, "number", (IsIn("mark", ("red",)),)), [1, 3]),
        (InTable("number", MARKS, "number", (IsIn("mark", ("red", "green")),)), [1, 3]),
        (Not(InTable("number", MARKS, "number", (Fits("mark", "r*"),))), [2, 4, 5]),
    ],
)
def test_conditions_mean_the_same_everywhere(shelf: ViewStore, condition: Condition, numbers: list[int]) -> None:
    assert found(shelf, condition) == numbers


def test_pages_go_on_after_the_last_row(shelf: ViewStore) -> None:
    order = ("kind", "number")
    first = shelf.select("shop", Select(THINGS, order=order, descending=True, limit=2, columns=("number",)))
    assert first == [{"number": 5}, {"number": 4}]
    page = Select(THINGS, order=order, descending=True, after=("a", 4), limit=2)
    assert [row["number"] for row in shelf.select("shop", page)] == [3, 2]
    assert [row["number"] for row in shelf.select("shop", Select(THINGS, order=order, skip=3))] == [4, 5]


def test_rel_s6_what_is_no_column_is_refused(shelf: ViewStore) -> None:
    for name in ("nothing", 'note" OR 1=1 --', "note; DROP TABLE shop_1_things"):
        with pytest.raises(InputError):
            shelf.select("shop", Select(THINGS, (IsEmpty(name),)))
        with pytest.raises(InputError):
            shelf.select("shop", Select(THINGS, order=(name,)))


def test_h1_who_finds_the_file_busy_for_long_stands_by(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Given
    monkeypatch.setattr(sqlite, "BUSY_TIMEOUT_S", 0.02)
    with (
        closing(sqlite.SqliteViews(tmp_path / "views")) as first,
        closing(sqlite.SqliteViews(tmp_path / "views")) as other,
    ):
        slot = first.make(SHOP, number=1, live=True)
        with first.turn(SHOP, slot) as turn:
            assert turn is not None
            # When / Then
            with other.turn(SHOP, slot) as second:
                assert second is None
            with pytest.raises(StoreUnavailable, match="another process"):
                other.make(SHOP, number=2, live=False)
        with other.turn(SHOP, slot) as second:
            assert second is not None
