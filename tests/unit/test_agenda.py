"""The agenda against a model that sorts."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from flowledger.core.actions import CONTROL, Action, Kind
from flowledger.core.agenda import Agenda

LANES = ("threads", "async", CONTROL)
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("add"), st.integers(0, 30), st.sampled_from(LANES)),
        st.tuples(st.just("drop"), st.integers(0, 30), st.just("")),
        st.tuples(st.just("ask"), st.integers(0, 5), st.sampled_from(LANES)),
    ),
    max_size=60,
)


def kind_of(lane: str) -> Kind:
    return "AskRetry" if lane == CONTROL else "Start"


class Room(dict[str, int]):
    """How many there is room for, by lane; none in the others."""

    def __call__(self, lane: str) -> int:
        return self.get(lane, 0)


@given(STEPS)
def test_the_agenda_answers_like_one_that_sorts_everything(steps: list[tuple[str, int, str]]) -> None:
    # Given an agenda and a plain dict
    agenda, model = Agenda(), dict[int, str]()
    for what, number, lane in steps:
        # When entries come and go
        if what == "add":
            agenda.add(number, kind_of(lane), lane)
            model[number] = lane
        elif what == "drop":
            agenda.drop(number)
            model.pop(number, None)
        else:
            # Then the first of each lane come in plan order, as many as there is room for
            room = {lane: number}
            by_lane = {name: sorted(n for n, at in model.items() if at == name) for name in LANES}
            expected = sorted(n for name, found in by_lane.items() for n in found[: room.get(name, 0)])
            assert [action.node for action in agenda.first(Room(room))] == expected
            assert agenda.has(lane) == bool(by_lane[lane])
    assert list(agenda) == [Action(kind_of(model[n]), n, model[n]) for n in sorted(model)]


def test_a_full_lane_does_not_hide_another() -> None:
    # Given thousands of ready atoms for threads and one for the loop
    agenda = Agenda()
    for number in range(5_000):
        agenda.add(number, "Start", "threads")
    agenda.add(5_000, "Start", "async")
    # When only the loop has room
    first = agenda.first(lambda lane: 1 if lane == "async" else 0)
    # Then its atom is the answer
    assert first == [Action("Start", 5_000, "async")]
