"""Branches on the real engine (SEMANTICS E6, TASKFLOW 1.2)."""

from __future__ import annotations

from typing import Literal

import pytest

from flowledger import (
    App,
    Flow,
    MaybeSkipped,
    RunReverted,
    TaskContext,
    Times,
    graph,
    linear,
    link,
    switch,
    unordered,
)
from flowledger.core import replay
from flowledger.events import facts
from flowledger.events.envelope import Envelope
from flowledger.events.facts import Depth
from tests.agreeing import views_agree

calls: list[str] = []
app = App("branches", database_url="memory://")
Tier = Literal["small", "large"]


@pytest.fixture(autouse=True)
def _nothing_called() -> None:
    calls.clear()


@app.task(provides="quota", read_only=True)
def quota(left: int) -> int:
    calls.append("quota")
    return left


@app.task
def step(ctx: TaskContext) -> str:
    name = ctx.path.rsplit("/", 1)[-1]
    calls.append(name)
    return name


@step.revert
def undo(ctx: TaskContext) -> None:
    calls.append(f"-{ctx.path.rsplit('/', 1)[-1]}")


def enough(left: int) -> bool:
    return left > 2


def run(flow: Flow[object]) -> tuple[list[str], list[Envelope]]:
    seen: list[Envelope] = []
    handle = app.execute(flow, executor="inline", observe=seen.extend)
    state = replay.check(app.plan(flow), seen)
    replay.check_complete(app.plan(flow), state)
    views_agree(app.runtime.store, seen)
    return [handle.state, *calls], seen


@app.flow
def inner(left: int, depth: Depth) -> Flow[None]:
    """quota → a → b → c, with the predicate between quota and a; d has nothing to do with it."""
    a, b, c, d = (step.bind().named(name) for name in "abcd")
    q = quota.bind(left)
    chain = graph(q, a, b, c, d, link(q, a, when=enough, depth=depth), link(a, b), link(b, c), name="chain")
    return linear(chain, step.bind().named("after"))


@pytest.mark.parametrize(
    ("depth", "ran"),
    [
        ("atom", ["b", "c", "d", "after"]),
        ("neighbors", ["c", "d", "after"]),
        ("flow", ["d", "after"]),
        ("all", ["d"]),
    ],
)
def test_tf_d3_to_d6_a_no_skips_by_its_depth(depth: Depth, ran: list[str]) -> None:
    # Given a predicate that says no; when the flow runs, then what depends on it by depth is skipped
    outcome, seen = run(inner(1, depth))
    assert outcome == ["SUCCEEDED", "quota", *ran]
    decided = [e.event for e in seen if isinstance(e.event, facts.BranchDecided)]
    assert decided == [facts.BranchDecided(verdicts=(("inner/chain/quota", False),), no=depth)]


def test_e6_a_yes_changes_nothing() -> None:
    outcome, _ = run(inner(9, "all"))
    assert outcome == ["SUCCEEDED", "quota", "a", "b", "c", "d", "after"]


@app.flow
def voted(one: int, two: int) -> Flow[None]:
    a, b, c = (step.bind().named(name) for name in "abc")
    first, second = quota.bind(one).named("first"), quota.bind(two).named("second")
    return graph(
        first, second, a, b, c,
        link(first, a, when=enough, depth="atom"), link(second, a, when=enough, depth="flow"), link(a, b), link(b, c),
    )  # fmt: skip


@pytest.mark.parametrize(("one", "two", "ran"), [(9, 9, ["a", "b", "c"]), (1, 9, ["b", "c"]), (9, 1, []), (1, 1, [])])
def test_tf_d7_the_widest_depth_among_the_nos_applies(one: int, two: int, ran: list[str]) -> None:
    outcome, _ = run(voted(one, two))
    assert outcome == ["SUCCEEDED", "quota", "quota", *ran]


@app.flow
def into_a_flow(left: int) -> Flow[None]:
    q = quota.bind(left)
    inside = linear(step.bind().named("x"), step.bind().named("y"), retry=Times(2), name="inside")
    return graph(q, inside, step.bind().named("z"), link(q, inside, when=enough, depth="atom"))


def test_tf_d2_a_flow_is_skipped_as_one() -> None:
    outcome, seen = run(into_a_flow(1))
    assert outcome == ["SUCCEEDED", "quota", "z"]
    assert [e.path for e in seen if isinstance(e.event, facts.TaskSkipped)] == ["into_a_flow/inside"]
    calls.clear()
    assert run(into_a_flow(5))[0] == ["SUCCEEDED", "quota", "x", "y", "z"]


@app.task(read_only=True)
def fails_below(n: int) -> None:
    calls.append(f"try {n}")
    if n < 3:
        raise ValueError("again")


def not_in_two(left: int, n: int) -> bool:
    return n != 2


@app.flow
def asked_each_round() -> Flow[None]:
    """The predicate looks at the round: no, yes, no; what follows the scope is decided by the last."""
    times = Times(3, provides="n")
    a = step.bind().named("a")
    start = quota.bind(0)
    body = graph(
        start, a, fails_below, link(start, a, when=not_in_two, depth="all"), link(start, fails_below),
        name="body", retry=times,
    )  # fmt: skip
    return linear(body, step.bind().named("after"))


def test_e6_predicates_are_asked_again_in_each_round_and_a_former_no_is_forgotten() -> None:
    outcome, _ = run(asked_each_round())
    assert outcome == ["SUCCEEDED", "quota", "a", "try 1", "-a", "quota", "try 2", "quota", "a", "try 3", "after"]


@app.flow
def order_of_reverts(left: int) -> Flow[None]:
    """x → skipped → y: what comes after a skipped part stands after what comes before it."""
    q = quota.bind(left)
    x, skipped, y = (step.bind().named(name) for name in ("x", "skipped", "y"))
    chain = graph(
        q, x, skipped, y, link(q, x), link(x, skipped), link(q, skipped, when=enough, depth="atom"), link(skipped, y),
    )  # fmt: skip
    return linear(chain, failing)


@app.task
def failing() -> None:
    raise ValueError("no")


def test_d4_reverts_keep_their_order_across_a_skipped_part() -> None:
    outcome, _ = run(order_of_reverts(1))
    assert outcome == ["REVERTED", "quota", "x", "y", "-y", "-x"]


@app.task(read_only=True)
def wants(text: str = "default") -> str:
    calls.append(f"wants {text}")
    return text


@app.task(read_only=True)
def needs(text: str) -> str:
    return text


def test_e6_a_default_is_passed_where_the_provider_was_skipped() -> None:
    @app.flow(name="with_default")
    def with_default(left: int) -> Flow[str]:
        q, made = quota.bind(left), step.bind().named("made")
        last = wants.bind(text=made)
        return graph(q, made, last, link(q, made, when=enough, depth="atom"), returns=last)

    assert run(with_default(1))[0][-1] == "wants default"
    calls.clear()
    assert run(with_default(5))[0][-1] == "wants made"


def test_e6_a_required_argument_from_a_part_that_may_be_skipped_is_refused() -> None:
    @app.flow(name="without_default")
    def without_default(left: int) -> Flow[str]:
        q, made = quota.bind(left), step.bind().named("made")
        last = needs.bind(made)
        return graph(q, made, last, link(q, made, when=enough, depth="atom"), returns=last)

    with pytest.raises(MaybeSkipped) as caught:
        app.plan(without_default(1))
    assert "made" in str(caught.value)
    assert "default" in caught.value.hint


def test_e6_it_is_allowed_where_both_are_skipped_together() -> None:
    @app.flow(name="together")
    def together(left: int) -> Flow[str]:
        q, made = quota.bind(left), step.bind().named("made")
        last = needs.bind(made)
        return graph(q, made, last, link(q, made, when=enough, depth="flow"), returns=last)

    assert app.run(together(1)).result is None
    assert app.run(together(5)).result == "made"


def test_tf_d9_a_predicate_that_raises_is_a_failure_of_its_part() -> None:
    def broken(left: int) -> bool:
        raise LookupError("no answer")

    @app.flow(name="broken_predicate")
    def broken_predicate() -> Flow[None]:
        q, a, before = quota.bind(1), step.bind().named("a"), step.bind().named("before")
        return linear(before, graph(q, a, link(q, a, when=broken), name="g"))

    with pytest.raises(RunReverted) as caught:
        app.run(broken_predicate(), executor="inline")
    assert [(f.path, f.kind, f.message) for f in caught.value.failures] == [
        ("broken_predicate/g/a", "predicate", "no answer")
    ]
    assert isinstance(caught.value.__cause__, LookupError)
    assert calls == ["before", "quota", "-before"]


@app.task(read_only=True)
def tier(of: str) -> Tier:
    return "large" if of == "big" else "small"


@app.flow
def machine(of: str) -> Flow[str]:
    kind = tier.bind(of)
    made = switch(kind, {"small": step.bind().named("small"), "large": step.bind().named("large")}, name="size")
    last = needs.bind(made)
    return linear(kind, made, last, returns=last)


@pytest.mark.parametrize(("of", "made"), [("big", "large"), ("tiny", "small")])
def test_a_switch_runs_the_case_whose_key_is_equal_and_has_its_result(of: str, made: str) -> None:
    assert app.run(machine(of), executor="inline").result == made
    assert calls == [made]


def test_a_switch_takes_its_default_where_no_key_fits() -> None:
    @app.flow(name="defaulted")
    def defaulted(left: int) -> Flow[str]:
        q = quota.bind(left)
        made = switch(q, {1: step.bind().named("one")}, default=step.bind().named("other"))
        return linear(q, made, returns=made)

    assert app.run(defaulted(1)).result == "one"
    assert app.run(defaulted(7)).result == "other"


def test_a_switch_without_default_may_skip_everything() -> None:
    @app.flow(name="undefaulted")
    def undefaulted(left: int) -> Flow[str]:
        q = quota.bind(left)
        made = switch(q, {1: step.bind().named("one")})
        return linear(q, made, returns=made)

    assert app.run(undefaulted(7)).result is None


def test_a_list_leaves_out_what_was_skipped() -> None:
    @app.flow(name="listed")
    def listed(left: int) -> Flow[list[str | None]]:
        q = quota.bind(left)
        parts = unordered(switch(q, {1: step.bind().named("one")}), linear(step.bind().named("always")), name="parts")
        return linear(q, parts, returns=parts)

    assert app.run(listed(1)).result == ["one", None]


def test_a_branch_is_part_of_the_plan() -> None:
    assert app.plan(inner(1, "atom")).fingerprint != app.plan(inner(1, "flow")).fingerprint
