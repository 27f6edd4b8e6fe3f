"""Flows that grow: each over a list a run makes, factories bound late, loops (SEMANTICS E7, E3, E2, D8)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from flowledger import (
    Flow,
    MaybeSkipped,
    MissingSymbol,
    Resource,
    SymbolTypeMismatch,
    TaskContext,
    Times,
    TryEach,
    graph,
    linear,
    link,
    switch,
    symbol,
    unordered,
)
from flowledger.events import facts
from tests.acceptance.growing import (
    app,
    below_the_root,
    calls,
    expanded,
    less,
    lists,
    make,
    numbers,
    paths,
    ran,
    same,
    square,
    total,
    varying,
)  # fmt: skip


@pytest.fixture(autouse=True)
def _nothing_called() -> Iterator[None]:
    yield
    calls.clear()
    lists.clear()


# -- each over a result ---------------------------------------------------------------------------


@app.flow
def squares(upto: int) -> Flow[list[int]]:
    every = numbers.bind(upto)
    many = square.each(every, plus=1)
    return linear(every, many, returns=many)


def test_e7_each_over_a_result_runs_a_task_per_item_and_gives_their_list() -> None:
    # Given a list that a task makes; when it is there, then a task runs for each item
    run, log = ran(squares(3))
    assert run.result == [2, 5, 10]
    assert paths(log)[1:] == ["each/square", "each/square-2", "each/square-3"]
    # Then the event keeps the list and names the subplan, which is kept like a plan
    assert expanded(log) == [("squares/each", '{"n":[1,2,3]}', 3)]
    event = next(e.event for e in log if isinstance(e.event, facts.FlowExpanded))
    assert app.runtime.store.plan(event.fingerprint) is not None


def test_e7_an_empty_list_is_done_at_once() -> None:
    run, log = ran(squares(0))
    assert (run.result, expanded(log)) == ([], [("squares/each", '{"n":[]}', 0)])


def test_e7_ten_thousand_children() -> None:
    run, log = ran(squares(10_000), again=False)
    assert run.result == [n * n + 1 for n in range(1, 10_001)]
    assert len(paths(log)) == 10_001


@app.task(read_only=True)
def words(count: int) -> list[str]:
    return [f"{n:050}" for n in range(count)]


@app.task(read_only=True, label="{word}")
def length(word: str) -> int:
    return len(word.lstrip("0"))


@app.flow
def lengths(count: int) -> Flow[list[int]]:
    every = words.bind(count)
    many = length.each(every)
    return linear(every, many, returns=many)


def test_e7_a_large_list_is_kept_beside_the_event() -> None:
    run, log = ran(lengths(2_000))
    event = next(e.event for e in log if isinstance(e.event, facts.FlowExpanded))
    assert event.moved is not None
    assert (bytes(event.values), event.children, run.result[1_000]) == (b"{}", 2_000, 4)
    # Then a run that is read back has it again
    assert app.get(run.id).result == run.result
    assert paths(log)[1] == f"each/{0:050}"


def test_d8_with_threads_each_atom_does_the_same() -> None:
    run, log = ran(squares(20), "threads")
    assert run.result == [n * n + 1 for n in range(1, 21)]
    assert sorted(paths(log)[1:]) == sorted(paths(ran(squares(20))[1])[1:])


@app.task(read_only=True, priority=5)
def urgent(n: int, ctx: TaskContext) -> None:
    calls.append(ctx.path.rpartition("/")[2])


@app.task(read_only=True)
def usual(n: int, ctx: TaskContext) -> None:
    calls.append(ctx.path.rpartition("/")[2])


@app.flow
def by_priority() -> Flow[None]:
    every = numbers.bind(2)
    return linear(every, unordered(usual.each(every).named("first"), urgent.each(every).named("last")))


def test_d8_children_have_the_priority_of_their_task() -> None:
    ran(by_priority())
    assert calls == ["urgent", "urgent-2", "usual", "usual-2"]


# -- where a list may come from ---------------------------------------------------------------------


@app.task(provides=("odd", "even"))
def halves(upto: int) -> tuple[list[int], list[int]]:
    return list(range(1, upto + 1, 2)), list(range(2, upto + 1, 2))


@app.flow
def over_an_item(upto: int) -> Flow[list[int]]:
    many = square.each(symbol("even"))
    return linear(halves.bind(upto), many, returns=many)


@app.flow
def over_an_input(values: list[int]) -> Flow[list[int]]:
    many = square.each(symbol("values"))
    return linear(many, returns=many)


@app.flow
def over_a_round() -> Flow[list[int]]:
    tries = TryEach([[-1], [2, 3]], provides="values")
    many = make.each(symbol("values"))
    return linear(many, returns=many, retry=tries)


@app.flow
def over_a_list_of_lists(upto: int) -> Flow[list[int]]:
    """A list that is itself the result of an expansion."""
    every = numbers.bind(upto)
    lower = numbers.each(every).named("lower")
    sums = total.each(lower).named("sums")
    return linear(every, lower, sums, returns=sums)


@pytest.mark.parametrize(
    ("flow", "result"),
    [
        (over_an_item(5), [4, 16]),
        (over_an_input([3, 1]), [9, 1]),
        (over_a_round(), [2, 3]),
        (over_a_list_of_lists(3), [1, 3, 6]),
    ],
)
def test_e7_a_list_may_be_any_value_of_the_run(flow: Flow[Any], result: list[int]) -> None:
    assert ran(flow)[0].result == result


# -- the late form does what the form of known values does --------------------------------------------


@app.flow(label="pair-{n}")
def pair(n: int, by: int = 1) -> Flow[int]:
    both = unordered(make.bind(n).named("one"), make.bind(n + by).named("two"), name="both")
    sum_ = total.bind(both)
    return linear(both, sum_, returns=sum_, retry=Times(2))


@app.flow
def known(values: list[int], by: int) -> Flow[list[int]]:
    sums = pair.each(values, by=by).named("sums")
    one = pair(by, by)
    return linear(same.bind(values), less.bind(by + 1), sums, one, make.each(values).named("made"), returns=sums)


@app.flow
def late(values: list[int], by: int) -> Flow[list[int]]:
    given, step = same.bind(values), less.bind(by + 1)
    sums = pair.each(given, by=step).named("sums")
    one = pair.bind(by, step)
    return linear(given, step, sums, one, make.each(given).named("made"), returns=sums)


@pytest.mark.parametrize(("values", "by"), [([1, 2, 3], 2), ([], 5), ([4, -9, 6], 1)])
def test_e7_the_late_form_does_what_the_form_of_known_values_does(values: list[int], by: int) -> None:
    # Given one flow over values known when it is built, and one over the same values as results
    run, log = ran(known(values, by))
    other, late_log = ran(late(values, by))
    # Then paths, inputs, outcomes, reverts, their order: all is the same, but for the events of the expansions
    assert other.state == run.state
    assert [fact for fact in below_the_root(late_log) if not fact.startswith("FlowExpanded")] == below_the_root(log)


# -- factories bound late, loops ----------------------------------------------------------------------


@app.flow
def countdown(n: int) -> Flow[int]:
    next_ = less.bind(n)
    if n <= 0:
        return linear(next_, returns=next_)
    again = countdown.bind(next_)
    return linear(next_, again, returns=again)


def test_e7_a_factory_that_binds_itself_is_a_loop() -> None:
    run, log = ran(countdown(4))
    assert run.result == -1
    assert [path for path, _, _ in expanded(log)] == ["/".join(["countdown"] * depth) for depth in range(2, 6)]


def test_e7_a_loop_may_go_deep() -> None:
    run, log = ran(countdown(300), again=False)
    assert (run.result, len(expanded(log))) == (-1, 300)


@app.flow
def until_small(n: int) -> Flow[int]:
    """A loop whose end is a branch: the pass that is not needed is skipped, never built."""
    next_ = less.bind(n)
    small = is_small.bind(next_)
    rest = switch(small, {True: same_number.bind(next_), False: until_small.bind(next_)}, name="rest")
    return linear(next_, small, rest, returns=rest)


@app.task(read_only=True)
def is_small(n: int) -> bool:
    return n < 3


@app.task(read_only=True)
def same_number(n: int) -> int:
    return n


def test_e7_a_loop_ends_where_a_branch_says_so() -> None:
    run, log = ran(until_small(5))
    assert (run.result, [values for _, values, _ in expanded(log)]) == (2, ['{"n":4}', '{"n":3}'])


@app.flow(label="{n}")
def tree(n: int) -> Flow[list[int]]:
    """Each node has as many children as its number, each of a lesser number."""
    below = numbers.bind(n - 1)
    children = tree.each(below).named("children")
    sums = total.each(children).named("sums")
    own = unordered(same_number.bind(n), name="own")
    return linear(below, children, sums, own, returns=sums)


def test_e7_expansions_may_nest_as_the_values_say() -> None:
    run, log = ran(tree(4))
    assert [path.partition("/")[2] for path, _, _ in expanded(log)][:4] == [
        "children", "children/1/children", "children/1/sums", "children/2/children",
    ]  # fmt: skip
    assert run.result == [0, 0, 0]


@app.flow
def listing(upto: int) -> Flow[list[int]]:
    return square.each(symbol("given"))


@app.flow
def handing_on(upto: int) -> Flow[list[int]]:
    """A factory that, called late, gives what has to wait itself."""
    step, given = less.bind(upto), numbers.bind(upto).as_("given")
    rest = listing.bind(step)
    return linear(step, given, rest, returns=rest)


def test_e7_a_late_factory_may_give_what_has_to_wait_itself() -> None:
    run, log = ran(handing_on(3))
    assert run.result == [1, 4, 9]
    assert [path.partition("/")[2] for path, _, _ in expanded(log)] == ["listing", "listing/each"]


# -- what it gives, and what it sees (E2, E3) -----------------------------------------------------------


@app.task
def take_made(made: int) -> int:
    return made


@app.task(read_only=True)
def take_all(all_made: list[int]) -> int:
    return sum(all_made)


@app.flow
def exporting(upto: int, by_name: bool) -> Flow[int]:
    every = numbers.bind(upto)
    many = make.each(every).as_("all_made")
    last = take_made if by_name else take_all
    return linear(every, many, last, returns=last)


def test_e3_outwards_it_gives_only_its_list() -> None:
    # Given children that all provide `made`; then nobody outside finds it, but the list under its name
    with pytest.raises(MissingSymbol, match="exporting/take_made"):
        app.plan(exporting(2, by_name=True))
    assert ran(exporting(3, by_name=False))[0].result == 6


@app.flow
def inner(n: int) -> Flow[int]:
    """`found` is found outside, `made` is its own, `cloud` is a resource nobody else asks for."""
    first, last = make.bind(n), gather
    return linear(first, last, returns=last)


@app.task(read_only=True)
def gather(made: int, found: list[int], cloud: int, base: int) -> int:
    return made + len(found) + cloud + base


@app.resource
def cloud() -> int:
    return 1_000


assert isinstance(cloud, Resource)


@app.flow
def seeing(base: int) -> Flow[list[int]]:
    first = varying
    many = inner.each(symbol("found"))
    return linear(first, many, make.bind(99), returns=many)


def test_e2_inside_it_sees_what_its_place_sees() -> None:
    # Given tasks inside that ask by name for a result before, an input of the run, a resource; then they find them
    lists.append([5, 6])
    assert ran(seeing(10_000))[0].result == [11_007, 11_008]


@app.flow
def in_a_graph(linked: bool) -> Flow[list[int]]:
    """`found` runs beside the expansion, or before it."""
    every, beside = numbers.bind(2), varying
    many = found_inside.each(every)
    return graph(every, many, beside, *([link(beside, many)] if linked else []), returns=many)


@app.flow
def found_inside(n: int) -> Flow[int]:
    last = length_of.bind(n)
    return linear(last, returns=last)


@app.task(read_only=True)
def length_of(n: int, found: list[int]) -> int:
    return n + len(found)


def test_e2_in_a_graph_it_sees_only_what_it_waits_for() -> None:
    lists.append([7, 8, 9])
    assert ran(in_a_graph(linked=True))[0].result == [4, 5]
    lists.append([7])
    run, _ = ran(in_a_graph(linked=False))
    assert run.state == "REVERTED"
    assert (run.failures[0].path, run.failures[0].kind) == ("in_a_graph/each", "expansion")
    assert "argument `found` of length_of" in run.failures[0].message


# -- refused before anything is written -----------------------------------------------------------------


@app.flow
def of_words() -> Flow[list[int]]:
    every: Any = words.bind(2)
    return linear(every, many := square.each(every), returns=many)


@app.flow
def of_no_list() -> Flow[list[int]]:
    step: Any = less.bind(2)
    return linear(step, many := square.each(step), returns=many)


@app.flow
def of_a_resource() -> Flow[list[int]]:
    return linear(many := square.each(symbol("cloud")), returns=many)


@app.flow
def of_nothing() -> Flow[list[int]]:
    return linear(many := square.each(symbol("numbres")), returns=many)


@app.flow
def without_the_rest() -> Flow[list[int]]:
    every = numbers.bind(2)
    return linear(every, many := length_of.each(every), returns=many)


def positive(n: int) -> bool:
    return n > 0


@app.flow
def of_a_skipped_list() -> Flow[list[int]]:
    every, gate = numbers.bind(2), less.bind(1)
    return graph(gate, every, many := square.each(every), link(gate, every, when=positive, depth="atom"), returns=many)


@pytest.mark.parametrize(
    ("flow", "error", "said"),
    [
        (of_words, SymbolTypeMismatch, r"of_words/each .*n: list\[str\] → list\[int\]"),
        (of_no_list, SymbolTypeMismatch, r"n: int → list\[int\]"),
        (of_a_resource, Exception, "live object|int → list"),
        (of_nothing, MissingSymbol, "`n` .*has no provider"),
        (without_the_rest, MissingSymbol, "argument `found` of length_of"),
        (of_a_skipped_list, MaybeSkipped, "of_a_skipped_list/numbers"),
    ],
)
def test_e7_what_it_waits_for_is_checked_with_the_rest_of_the_flow(flow: Any, error: Any, said: str) -> None:
    with pytest.raises(error, match=said):
        app.plan(flow())
