"""The fold of plans that grow (rules E7, D8): numbers, order, tries, what is legal, and what a plan keeps to itself."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from flowledger.core.agenda import OrderedAgenda
from flowledger.core.compiler import compile as compile_part
from flowledger.core.document import differences, read_document
from flowledger.core.evolve import evolve
from flowledger.core.parts import Flow
from flowledger.core.patterns import linear
from flowledger.core.plan import RUN
from flowledger.core.registry import Registry
from flowledger.core.replay import decisions
from flowledger.core.retry import Times
from flowledger.core.state import State
from flowledger.core.symbols import symbol
from flowledger.events import facts
from flowledger.events.errors import InternalError, Nondeterminism, PlanDiffers
from flowledger.events.failure import Failure

app = Registry("growing")


@app.task
def pick() -> list[int]: ...  # type: ignore[empty-body]


@app.task(label="{n}")
def pack(n: int, size: int = 1) -> int: ...  # type: ignore[empty-body]


@app.flow(label="{n}")
def parcel(n: int) -> Flow[int]:
    packed = pack.bind(n)
    return linear(packed, returns=packed, retry=Times(2))


@app.flow
def orders() -> Flow[list[int]]:
    first = pack.each(pick).named("first")
    return linear(pick, first, parcel.each(pick).named("second"), pack.bind(9).named("last"), retry=Times(3))  # type: ignore[return-value]


class Story:
    """A run without an engine, over a flow that grows."""

    def __init__(self, part: Flow[Any]) -> None:
        self.plan = compile_part(part, app)
        self.state = State(self.plan)
        self.root = self.plan.nodes[1].path
        self.tell("", facts.RunSubmitted(app="growing", factory=self.root))
        self.tell("", facts.RunStarted(fingerprint=self.plan.fingerprint))
        self.tell(self.root, facts.RoundStarted(round=1, value=facts.Raw(b"1")))

    def number(self, path: str) -> int:
        by_path = self.state.plan.by_path
        return by_path[path] if path in by_path else by_path[f"{self.root}/{path}"]

    def tell(self, path: str, event: facts.Event) -> Story:
        evolve(self.state, self.number(path), event, self.state.time_us + 1)
        return self

    def done(self, path: str, result: object = None) -> Story:
        try_ = self.state.tries[self.number(path)]
        self.tell(path, facts.TaskStarted(try_=try_, key=""))
        return self.tell(path, facts.TaskSucceeded(try_=try_, result=facts.Raw(msgspec.json.encode(result))))

    def expanded(self, path: str, *items: int) -> Story:
        """The expansion is made of these items."""
        values, growth = msgspec.json.encode({"n": items}), self.state.plan.growth
        assert growth is not None
        made = growth.subplan(self.number(path), values)
        event = facts.FlowExpanded(
            values=facts.Raw(values), fingerprint=made.fingerprint, children=len(made.root.children)
        )
        return self.tell(path, event)

    def next_round(self, failed: str, *standing: str) -> Story:
        """An atom fails for good, all is undone, and the scope is reset."""
        self.tell(failed, facts.TaskStarted(try_=self.state.tries[self.number(failed)], key=""))
        failure = Failure(path=failed, type="ValueError", message="no")
        self.tell(failed, facts.TaskFailed(failure=failure))
        round_ = self.state.rounds[1]
        self.tell(self.root, facts.RetryDecided(round=round_, decision="RETRY"))
        self.tell(self.root, facts.ScopeReverting(round=round_))
        for path in (failed, *standing):
            self.tell(path, facts.TaskReverted(attempt=0))
        self.tell(self.root, facts.ScopeReset(round=round_))
        return self.tell(self.root, facts.RoundStarted(round=round_ + 1, value=facts.Raw(b"2")))

    @property
    def enabled(self) -> list[str]:
        return [f"{kind} {path[len(self.root) + 1 :]}" for kind, path in decisions(self.plan, self.state)]


def grown() -> Story:
    return Story(orders()).done("pick", [1, 2]).expanded("first", 1, 2)


def test_e7_an_expansion_is_enabled_when_its_turn_has_come() -> None:
    assert Story(orders()).enabled == ["Start pick"]
    assert Story(orders()).done("pick", [1, 2]).enabled == ["Expand first"]
    assert grown().enabled == ["Start first/1", "Start first/2"]


def test_e7_an_empty_one_is_passed() -> None:
    assert Story(orders()).done("pick", []).expanded("first").enabled == ["Expand second"]


def test_d8_plan_order_is_where_things_stand_whatever_their_numbers() -> None:
    # Given an expansion that was made after a later one
    story = grown().done("first/1", 1).done("first/2", 2).expanded("second", 5, 6)
    plan = story.state.plan
    numbers = [story.number(path) for path in ("second", "second/5", "second/5/5", "second/6", "last")]
    # Then its parts come after it and before what follows it
    assert numbers[1] > numbers[-1]
    assert plan.in_order(reversed(numbers)) == numbers
    assert story.enabled == ["StartRound second/5", "StartRound second/6"]


def test_e7_a_plan_is_not_changed_by_the_states_that_grow() -> None:
    story = grown()
    assert (len(story.plan.nodes), story.plan.nodes[3].children) == (6, [])
    assert len(story.state.plan.nodes) == 8
    # Then another state, also one made of a grown plan, begins as it was compiled
    assert len(State(story.plan).plan.nodes) == len(State(story.state.plan).plan.nodes) == 6


def test_e7_the_reset_drops_what_there_was_and_numbers_are_not_given_twice() -> None:
    story = grown().next_round("first/1", "pick")
    assert story.enabled == ["Start pick"]
    before = story.number("first/1")
    story.done("pick", [1, 3]).expanded("first", 1, 3)
    assert story.number("first/1") > before
    assert (story.state.tries[story.number("first/1")], story.state.tries[story.number("first/3")]) == (2, 1)
    assert story.enabled == ["Start first/1", "Start first/3"]


def test_c4_an_outcome_of_what_was_dropped_is_kept_and_changes_nothing() -> None:
    story = grown().next_round("first/1", "pick")
    before = story.enabled
    story.tell("first/1", facts.OutcomeIgnored(outcome="succeeded"))
    assert story.enabled == before
    with pytest.raises(Nondeterminism, match="not legal"):
        story.tell("first/1", facts.TaskSucceeded())


@pytest.mark.parametrize(
    ("told", "said"),
    [
        (lambda: grown().tell("first", facts.FlowExpanded()), "state EXPANDED"),
        (lambda: grown().tell("last", facts.FlowExpanded()), "state no expansion"),
        (lambda: failed().tell("first", facts.FlowExpanded()), "state FAILED"),
    ],
)
def test_e7_what_cannot_be_expanded_now_is_illegal(told: Callable[[], Story], said: str) -> None:
    with pytest.raises(Nondeterminism, match=said):
        told()


def failed() -> Story:
    error = Failure(path="orders/first", type="LookupError", message="no", kind="expansion")
    return Story(orders()).done("pick", [1]).tell("first", facts.FlowExpanded(error=error))


def test_d7_an_error_makes_the_scope_fail() -> None:
    assert failed().enabled == ["AskRetry "]


@pytest.mark.parametrize(
    ("event", "error", "said"),
    [
        (facts.FlowExpanded(values=facts.Raw(b'{"n":[1]}'), fingerprint="other"), PlanDiffers, "another flow"),
        (facts.FlowExpanded(values=facts.Raw(b'{"n":["a"]}'), fingerprint="f"), PlanDiffers, "makes no flow"),
        (facts.FlowExpanded(moved="d1", fingerprint="f"), InternalError, "without its payload row d1"),
    ],
)
def test_e8_the_fold_makes_of_the_values_what_was_made_of_them(event: facts.Event, error: Any, said: str) -> None:
    with pytest.raises(error, match=said):
        Story(orders()).done("pick", [1]).tell("first", event)


def test_e8_the_plan_covers_what_is_to_be_made_and_the_subplan_what_was() -> None:
    story = Story(orders()).done("pick", [1, 2])
    growth, number = story.state.plan.growth, story.number("second")
    assert growth is not None
    one, same, other = (growth.subplan(number, values) for values in (b'{"n":[1]}', b'{"n":[1]}', b'{"n":[2]}'))
    assert one.fingerprint == same.fingerprint != other.fingerprint
    # Then the document of the plan says what will be made, that of the subplan what has been
    node = next(node for node in read_document(story.plan.document).nodes if node.path == "orders/second")
    assert (node.expands, node.values) == ("parcel", [["n", "node", "orders/pick"]])
    root, child, atom = read_document(one.document).nodes
    assert (root.number, root.path, root.parent, root.preds) == (0, "orders/second", 0, ())
    assert (child.path, child.parent, child.retry and child.retry.kind) == ("orders/second/1", 0, "Times")
    assert (atom.path, atom.parent, atom.scope, child.returns) == ("orders/second/1/1", 1, 1, 2)
    assert differences(read_document(one.document), read_document(other.document))[:2] == [
        "- orders/second/1", "- orders/second/1/1",
    ]  # fmt: skip


def test_e8_another_task_for_the_items_is_another_plan() -> None:
    def plan_of(part: Flow[Any]) -> str:
        registry = Registry("test")
        registry.include(app)

        @registry.flow(name="f")
        def f() -> Flow[Any]:
            return linear(pick, part.named("many"))

        return compile_part(f(), registry).fingerprint

    plans = [plan_of(p) for p in (pack.each(pick), pack.each(pick, size=2), parcel.each(pick), parcel.bind(symbol("n")))
             if p.pattern == "each"]  # fmt: skip
    assert len(set(plans)) == 3


def test_e5_a_task_without_revert_is_listed_where_it_will_be_placed() -> None:
    assert compile_part(orders(), app).without_revert == ("orders/pick", "orders/first", "orders/last")


def test_an_agenda_by_place_answers_by_number() -> None:
    places: list[tuple[int, ...]] = [(0,), (1,), (2,), (1, 2), (1, 1)]
    agenda = OrderedAgenda(places.__getitem__)
    for number in (2, 3, 4, 1):
        agenda.add(number, "Start", "threads")
    assert [action.node for action in agenda] == [1, 4, 3, 2]
    places.append((1, 1, 1))
    agenda.add(5, "Start", "threads")
    agenda.drop(1)
    agenda.drop(1)
    assert (agenda.kind(1), agenda.kind(5), len(agenda)) == (None, "Start", 4)
    assert [action.node for action in agenda.first(lambda lane: 2)] == [4, 5]
    assert agenda.has("threads")


def test_the_run_itself_is_the_first_in_plan_order() -> None:
    assert grown().state.plan.in_order([7, 2, RUN]) == [RUN, 2, 7]
