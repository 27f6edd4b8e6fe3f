"""Where a task's arguments come from: in each kind of flow, outwards and under retries (rule E3)."""

from __future__ import annotations

from typing import Any

from flowledger.core.compiler import compile as compile_part
from flowledger.core.parts import Flow
from flowledger.core.patterns import graph, linear, link, unordered
from flowledger.core.registry import Registry
from flowledger.core.retry import Times
from flowledger.events import errors
from tests.unit.refusing import refused
from tests.unit.symbols import app, edges, give, give_too, noop, other, plan_of, source, take


@app.task
def take_or(x: int = 7) -> int:
    return x


@app.task(provides="x")
def step(x: int) -> int:
    return x


# -- linear ---------------------------------------------------------------------------------------


def test_e2_linear_takes_the_nearest_earlier_sibling() -> None:
    plan = plan_of(linear(give, give_too, take, step, take.named("last")))
    assert source(plan, "f/take") == "f/give_too"
    assert source(plan, "f/step") == "f/give_too"
    assert source(plan, "f/last") == "f/step"


def test_e2_linear_sees_nothing_later_and_the_error_says_who_is() -> None:
    with refused(errors.MissingSymbol, "`x`", "f/take", "f/give provides it, but runs later", "symbols.py"):
        plan_of(linear(take, give))


def test_e1_in_linear_each_part_follows_the_one_before() -> None:
    plan = plan_of(linear(give, linear(noop, noop), other))
    assert edges(plan) == {
        ("f/give", "f/linear"), ("f/linear/noop", "f/linear/noop-2"), ("f/linear", "f/other")
    }  # fmt: skip


# -- unordered ------------------------------------------------------------------------------------


def test_e2_unordered_siblings_do_not_see_each_other() -> None:
    with refused(errors.MissingSymbol, "`x`", "f/give provides it", "do not see each other"):
        plan_of(unordered(give, take))
    assert edges(plan_of(unordered(give, other))) == set()


def test_e3_unordered_exports_what_one_child_exports_and_a_list_under_as() -> None:
    plan = plan_of(linear(unordered(give, other), take))
    assert source(plan, "f/take") == "f/unordered/give"

    @app.task
    def total(xs: list[int]) -> int:
        return sum(xs)

    plan = plan_of(linear(unordered(give, give_too).as_("xs"), total))
    assert source(plan, "f/total", "xs") == "f/unordered"
    with refused(errors.MissingSymbol, "`x`", "exports it twice"):
        plan_of(linear(unordered(give, give_too), take))


def test_e7_each_gives_its_list_and_nothing_else_however_short() -> None:
    @app.task(provides="probed")
    def probe(host: str) -> int:
        return 0

    @app.task
    def use(probed: int) -> None: ...

    with refused(errors.MissingSymbol, "`probed`"):
        plan_of(linear(probe.each(["a"]), use))


# -- graph ----------------------------------------------------------------------------------------


def test_e2_graph_takes_any_sibling_and_makes_the_edge() -> None:
    plan = plan_of(graph(take, give))
    assert source(plan, "f/take") == "f/give"
    assert edges(plan) == {("f/give", "f/take")}


def test_e2_two_providers_in_a_graph_are_ambiguous() -> None:
    with refused(errors.AmbiguousSymbol, "`x`", "f/take", "f/give and f/give_too", "bind(x="):
        plan_of(graph(give, give_too, take))


def test_e2_those_after_it_by_link_are_no_candidates() -> None:
    late = give_too.bind()
    plan = plan_of(graph(give, late, take, noop, link(take, noop), link(noop, late)))
    assert source(plan, "f/take") == "f/give"


def test_e2_an_atom_in_a_graph_is_not_its_own_provider() -> None:
    with refused(errors.MissingSymbol, "`x`", "f/step"):
        plan_of(graph(step))
    plan = plan_of(graph(step, give))
    assert source(plan, "f/step") == "f/give"


def test_e1_a_symbol_used_deep_inside_joins_the_siblings_around() -> None:
    plan = plan_of(graph(linear(noop, unordered(take), name="inner"), linear(give, name="outer")))
    assert source(plan, "f/inner/unordered/take") == "f/outer/give"
    assert edges(plan) == {("f/outer", "f/inner"), ("f/inner/noop", "f/inner/unordered")}


def test_a_cycle_is_refused_with_its_names_and_reasons() -> None:
    @app.task(provides="egg")
    def hen(chick: int) -> int:
        return chick

    @app.task(provides="chick")
    def hatch(egg: int) -> int:
        return egg

    with refused(errors.CyclicFlow, "hen", "hatch", "`egg`", "`chick`", "test_compile_symbols.py"):
        plan_of(graph(hen, hatch))


def test_links_alone_make_a_cycle_too() -> None:
    a, b, c = (noop.bind() for _ in range(3))
    with refused(errors.CyclicFlow, "noop → ", "link"):
        plan_of(graph(a, b, c, link(a, b), link(b, c), link(c, a)))


# -- outwards -------------------------------------------------------------------------------------


def test_e2_outwards_then_inputs_then_resources() -> None:
    registry = Registry("test")

    @registry.resource
    def x() -> int:
        return 1

    @registry.task
    def use(x: int) -> None: ...

    @registry.flow
    def plain() -> Flow[None]:
        return linear(use)

    @registry.flow
    def with_input(x: int) -> Flow[None]:
        return linear(use)

    @registry.flow
    def with_sibling(x: int) -> Flow[None]:
        return linear(give, unordered(linear(use)))

    assert source(compile_part(plain(), registry), "plain/use") == "resource x"
    assert source(compile_part(with_input(1), registry), "with_input/use") == "input x"
    path = "with_sibling/unordered/linear/use"
    assert source(compile_part(with_sibling(1), registry), path) == "with_sibling/give"


def test_e2_an_injected_value_comes_before_all() -> None:
    assert source(plan_of(linear(give, take.bind(5))), "f/take") == b"5"


def test_inputs_of_a_nested_factory_are_seen_inside_it_the_nearest_first() -> None:
    registry = Registry("test")

    @registry.task
    def use(x: int, z: int) -> None: ...

    @registry.flow
    def inner(x: int) -> Flow[None]:
        return linear(use)

    @registry.flow
    def outer(x: int, z: int) -> Flow[Any]:
        return linear(inner(x + 1), use)

    plan = compile_part(outer(1, 2), registry)
    assert (source(plan, "outer/inner/use"), source(plan, "outer/inner/use", "z")) == (b"2", "input z")
    assert source(plan, "outer/use") == "input x"


def test_a_factory_that_returns_the_flow_of_another_has_the_inputs_of_both() -> None:
    registry = Registry("test")

    @registry.task
    def use(x: int, z: int) -> None: ...

    @registry.flow
    def inner(x: int) -> Flow[None]:
        return linear(use)

    @registry.flow
    def outer(x: int, z: int) -> Flow[None]:
        return inner(x + 1)

    @registry.flow
    def root() -> Flow[Any]:
        return linear(outer(1, 2))

    plan = compile_part(root(), registry)
    assert (source(plan, "root/outer/use"), source(plan, "root/outer/use", "z")) == (b"2", b"2")
    plan = compile_part(outer(1, 2), registry)
    assert (source(plan, "outer/use"), source(plan, "outer/use", "z")) == (b"2", "input z")


def test_an_argument_without_a_provider_takes_its_default() -> None:
    assert source(plan_of(linear(take_or)), "f/take_or") is None
    assert source(plan_of(linear(give, take_or)), "f/take_or") == "f/give"


def test_e3_the_last_export_of_a_linear_flow_wins() -> None:
    assert source(plan_of(linear(linear(give, give_too), take)), "f/take") == "f/linear/give_too"


def test_e3_a_graph_does_not_export_what_two_children_export() -> None:
    with refused(errors.MissingSymbol, "`x`"):
        plan_of(linear(graph(give, give_too), take))


# -- retries --------------------------------------------------------------------------------------


def test_e3_a_retry_is_seen_inside_its_scope_only() -> None:
    plan = plan_of(linear(linear(take, unordered(take), retry=Times(3, provides="x"))))
    assert source(plan, "f/linear/take") == "retry f/linear"
    assert source(plan, "f/linear/unordered/take") == "retry f/linear"
    with refused(errors.MissingSymbol, "the retry of f/linear provides it, but only inside"):
        plan_of(linear(linear(noop, retry=Times(3, provides="x")), take))


def test_a_retry_bound_by_hand_must_be_around() -> None:
    times = Times(3)
    plan = plan_of(linear(linear(take.bind(times), retry=times)))
    assert source(plan, "f/linear/take") == "retry f/linear"
    with refused(errors.MissingSymbol, "a retry (Times)", "retry=that"):
        plan_of(linear(take.bind(Times(2))))
