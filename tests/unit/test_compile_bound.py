"""Arguments that are bound to parts, what a part provides, and what its types promise (rule E3)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import pytest
from pydantic import BaseModel
from typing_extensions import TypedDict

from flowledger.core.compiler import compile as compile_part
from flowledger.core.context import TaskContext
from flowledger.core.parts import Flow, Part
from flowledger.core.patterns import graph, linear, link, switch, unordered
from flowledger.core.plan import FromInput, FromOutcome, Given, Plan
from flowledger.core.registry import Registry
from flowledger.core.retry import TryEach
from flowledger.core.symbols import symbol
from flowledger.events import errors
from tests.unit.refusing import refused
from tests.unit.symbols import app, edges, give, give_too, noop, other, plan_of, source, take

# -- retries --------------------------------------------------------------------------------------


def _swapped(give: Any, take: Any) -> Flow[Any]:
    return linear(take, give)


def _alone(_give: Any, take: Any) -> Flow[Any]:
    return linear(take)


# -- bound parts ----------------------------------------------------------------------------------


def test_a_bound_part_is_found_wherever_it_stands_before() -> None:
    deep = give_too.bind()
    plan = plan_of(linear(linear(give, deep), give, unordered(take.bind(deep))))
    assert source(plan, "f/unordered/take") == "f/linear/give_too"


def test_a_bound_part_in_a_graph_makes_an_edge_between_siblings() -> None:
    deep = give.bind()
    plan = plan_of(graph(linear(take.bind(deep), name="b"), linear(deep, name="a")))
    assert edges(plan) == {("f/a", "f/b")}


def test_a_bound_flow_stands_for_its_result() -> None:
    inner = linear(give, other, returns=give)
    plan = plan_of(linear(inner, take.bind(inner)))
    assert source(plan, "f/take") == "f/linear/give"


@pytest.mark.parametrize(
    ("flow", "words"),
    [
        (_swapped, ["f/give", "runs later", "in linear(…)"]),
        (unordered, ["f/give", "nothing says which of them runs first"]),
        (_alone, ["`give`", "not placed in this flow"]),
        (lambda g, t: linear(g.named("copy"), t), ["not placed", "bind the copy"]),
    ],
)
def test_a_bound_part_must_be_placed_and_run_before(flow: Any, words: list[str]) -> None:
    part = give.bind()
    with refused(errors.MissingSymbol, "f/take", "`x`", "test_compile_bound.py", *words):
        plan_of(flow(part, take.bind(part)))


def test_a_part_cannot_wait_for_the_flow_it_is_in() -> None:
    # Given a flow that holds an atom bound to the flow itself: flows are made after their parts, so by force
    part = take.bind(give)
    inner = linear(give, part, returns=give)
    part.bound = {"x": inner}
    with refused(errors.CyclicFlow, "f/linear/take", "`x`", "f/linear, which it is a part of"):
        plan_of(linear(inner))


def test_a_part_placed_twice_cannot_be_meant() -> None:
    with refused(errors.AmbiguousSymbol, "f/give and as f/give-2", "which one"):
        plan_of(linear(give, give, take.bind(give)))
    assert source(plan_of(linear(give, give, take)), "f/take") == "f/give-2"


def test_the_same_definition_in_repeated_subflows_means_the_one_nearby() -> None:
    flows = [linear(give, take.bind(give), returns=give) for _ in range(3)]
    plan = plan_of(unordered(*flows))
    assert source(plan, "f/linear-3/take") == "f/linear-3/give"


def test_symbol_renames() -> None:
    plan = plan_of(linear(other, take.bind(symbol("y"))))
    assert source(plan, "f/take") == "f/other"
    with refused(errors.MissingSymbol, "argument `x` (bound to symbol('yy'))", "did you mean `y`?"):
        plan_of(linear(other, take.bind(symbol("yy"))))


def test_a_name_that_a_retry_a_switch_or_a_predicate_asks_for_has_a_provider() -> None:
    tried: TryEach[int] = TryEach(symbol("zones"), provides="x")

    @app.flow
    def root() -> Flow[None]:
        return linear(take, retry=tried)

    @app.flow
    def inside() -> Flow[None]:
        return linear(linear(take, retry=tried))

    for flow in (root(), inside()):
        with refused(errors.MissingSymbol, "`values` of the retry TryEach", "symbol('zones')", "provides='zones'"):
            compile_part(flow, app)
    tier: Any = symbol("tier")
    with refused(errors.MissingSymbol, "switch(…) at", "symbol('tier')", "provides='tier'"):
        plan_of(linear(switch(tier, {1: noop}), name="g"))

    def enough(n: int, least: int) -> bool:
        return n >= least

    given, taking = give.bind(), linear(noop, name="g")
    with refused(errors.MissingSymbol, "argument `least` of", "enough", "provides='least'"):
        plan_of(graph(given, taking, link(given, taking, when=enough)))


def test_e2_a_retry_takes_an_input_of_the_factory_of_its_flow() -> None:
    @app.flow
    def over(zones: list[int]) -> Flow[None]:
        return linear(take, retry=TryEach(symbol("zones"), provides="x"))

    def bound_to(plan: Plan, path: str) -> object:
        return plan.nodes[plan.by_path[path]].retry_arguments[0]

    assert isinstance(bound_to(compile_part(over([1, 2]), app), "over"), FromInput)
    assert isinstance(bound_to(plan_of(linear(over([1, 2]))), "f/over"), Given)


def test_as_gives_a_result_another_name() -> None:
    plan = plan_of(linear(other.as_("x"), take))
    assert source(plan, "f/take") == "f/other"


def test_a_returned_part_must_be_placed() -> None:
    with refused(errors.MissingSymbol, "f", "returns a part that is not placed", "test_compile_bound.py"):
        plan_of(linear(noop, returns=give))


# -- provides -------------------------------------------------------------------------------------


class Net(BaseModel):
    vpc: str
    cidr: str


@dataclass
class Pair:
    vpc: str
    count: int


class Typed(TypedDict):
    vpc: str


class Named(NamedTuple):
    size: int
    vpc: str


@pytest.mark.parametrize(
    ("returns", "provides", "item"),
    [
        (tuple[str, int], ("vpc", "n"), 0),
        (tuple[int, str], ("n", "vpc"), 1),
        (Net, ("vpc",), "vpc"),
        (Pair, ("count", "vpc"), "vpc"),
        (Typed, ("vpc",), "vpc"),
        (Named, ("vpc",), 1),
    ],
)
def test_several_symbols_out_of_one_result(returns: Any, provides: tuple[str, ...], item: object) -> None:
    registry = Registry("test")

    def make() -> Any: ...

    make.__annotations__["return"] = returns
    made = registry.task(provides=provides)(make)

    @registry.task
    def use(vpc: str) -> None: ...

    @registry.flow
    def f() -> Flow[None]:
        return linear(made, use)

    assert source(compile_part(f(), registry), "f/use", "vpc") == f"f/make[{item}]"


@pytest.mark.parametrize(
    ("returns", "words"),
    [
        (tuple[str], ["2 values", "returns 1", "tuple[str]"]),
        (tuple[str, ...], ["tuple[str, ...]"]),
        (list[str], ["list[str]", "TypedDict"]),
        (str, ["returns str"]),
        (Net, ["`subnet`", "no such field", "vpc, cidr"]),
    ],
)
def test_symbols_that_the_result_does_not_have_are_refused(returns: Any, words: list[str]) -> None:
    registry = Registry("test")

    def make() -> Any: ...

    make.__annotations__["return"] = returns
    made = registry.task(provides=("vpc", "subnet"))(make)
    with refused(errors.ProvidesMismatch, "make", "test_compile_bound.py", *words):
        compile_part(made, registry)


# -- types ----------------------------------------------------------------------------------------


def test_a_provider_that_can_never_fit_is_refused() -> None:
    @app.task(provides="server_id")
    def make_many() -> list[str]:
        return []

    @app.task
    def use_one(server_id: str) -> None: ...

    with refused(errors.SymbolTypeMismatch, "server_id: list[str] → str", "f/use_one", "f/make_many", ".py:"):
        plan_of(linear(make_many, use_one))
    with refused(errors.SymbolTypeMismatch, "list[str] → str"):
        many: Any = make_many.bind()
        plan_of(linear(many, use_one.bind(many)))


def test_a_resource_where_a_value_is_asked_for_is_refused() -> None:
    registry = Registry("test")

    class Cloud: ...

    @registry.resource
    def server_id() -> Cloud:
        return Cloud()

    @registry.task
    def use(server_id: str) -> None: ...

    with refused(errors.SymbolTypeMismatch, "server_id: Cloud → str", "resource server_id"):
        compile_part(use, registry)


# -- reverts --------------------------------------------------------------------------------------


def revert_of(registry: Registry, part: Part[Any], path: str) -> dict[str, object]:
    plan = compile_part(part, registry)
    node = plan.nodes[plan.by_path[path]]
    return {b.argument: (b.what, b.item) if isinstance(b, FromOutcome) else b for b in node.revert_arguments}


def test_e4_and_d4_what_a_revert_is_given() -> None:
    registry = Registry("test")

    @registry.task(provides="server")
    def make(size: int, ctx: TaskContext, zone: str = "a") -> str:
        return ""

    @make.revert
    def unmake(
        server: str | None, size: int, result: str | None, failure: Any, failures: list[Any], context: TaskContext,
        zone: str = "b",
    ) -> None: ...  # fmt: skip

    found = revert_of(registry, make.bind(3), "make")
    assert found["server"] == ("result", None)
    assert (found["result"], found["failure"], found["failures"]) == (
        ("result", None), ("failure", None), ("failures", None)
    )  # fmt: skip
    assert isinstance(found["size"], FromInput)
    assert "context" in found
    zone = found["zone"]
    assert isinstance(zone, Given)
    assert zone.content == b'"a"'  # what execute had, not the revert's own default


def test_e4_an_argument_of_execute_hides_ones_own_result() -> None:
    registry = Registry("test")

    @registry.task(provides="x")
    def bump(x: int) -> int:
        return x + 1

    @bump.revert
    def unbump(x: int) -> None: ...

    @registry.flow
    def f(x: int) -> Flow[None]:
        return linear(bump)

    assert isinstance(revert_of(registry, f(1), "f/bump")["x"], FromInput)


def test_a_revert_with_kwargs_gets_all_there_is() -> None:
    registry = Registry("test")

    @registry.task(provides=("a", "b"))
    def make(size: int) -> tuple[int, str]:
        return 0, ""

    @make.revert
    def unmake(b: str | None, **kwargs: Any) -> None: ...

    found = revert_of(registry, make.bind(3), "make")
    assert set(found) == {"b", "size", "result", "failure", "failures"}
    assert found["b"] == ("result", 1)


def test_a_revert_finds_other_names_like_execute_and_waits_for_them() -> None:
    registry = Registry("test")
    registry.include(app)

    @registry.task
    def make() -> None: ...

    @make.revert
    def unmake(x: int) -> None: ...

    @registry.flow
    def f() -> Flow[None]:
        return graph(make, give)

    plan = compile_part(f(), registry)
    assert edges(plan) == {("f/give", "f/make")}
    with refused(errors.MissingSymbol, "`x`", "make"):
        compile_part(make, registry)


def test_a_revert_whose_own_result_cannot_fit_is_refused() -> None:
    registry = Registry("test")

    @registry.task(provides="server")
    def make() -> str:
        return ""

    @make.revert
    def unmake(server: list[str]) -> None: ...

    with refused(errors.SymbolTypeMismatch, "revert of make", "server: str → list[str]", "str | None"):
        compile_part(make, registry)
