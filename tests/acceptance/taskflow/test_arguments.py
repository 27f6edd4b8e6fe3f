"""Arguments, results, names: what the ancestor's tests pin (TASKFLOW §3 49–62, §1.3), matched or better on purpose."""

from __future__ import annotations

from typing import Any

import pytest

from flowledger import Failure, Flow, Task, TaskContext, graph, linear, link, symbol
from flowledger.events.errors import (
    AmbiguousSymbol,
    CyclicFlow,
    DefinitionError,
    DuplicateName,
    MissingSymbol,
    ProvidesMismatch,
)

from .conftest import World


def test_tf_behaviour_49_provides_maps_a_tuple_by_index_and_a_text_takes_all(world: World) -> None:
    @world.app.task(provides=("net", "port"))
    def two() -> tuple[str, int]:
        return "n1", 80

    @world.app.task(provides="both")
    def both() -> tuple[str, int]:
        return "n2", 81

    @world.app.task
    def use(net: str, port: int, both: tuple[str, int]) -> str:
        return f"{net}:{port} {both}"

    @world.app.flow
    def flow() -> Flow[str]:
        last = use.bind()
        return linear(two, both, last, returns=last)

    assert world.app.run(flow()).result == "n1:80 ('n2', 81)"


def test_tf_behaviour_49_provides_that_is_no_name_is_refused(world: World) -> None:
    provides: Any = object()
    with pytest.raises(DefinitionError):
        world.app.task(provides=provides)(lambda: None)


def test_tf_behaviour_50_rebind_is_bind_with_a_symbol_and_a_missing_name_is_found_before_anything_runs(
    world: World,
) -> None:
    @world.app.task(provides="server_id")
    def make() -> str:
        return "s1"

    @world.app.task
    def use(server: str) -> str:
        return server

    @world.app.flow
    def renamed(name: str) -> Flow[str]:
        last = use.bind(server=symbol(name))
        return linear(make, last, returns=last)

    assert world.app.run(renamed("server_id")).result == "s1"
    with pytest.raises(MissingSymbol, match="server_ids"):
        world.app.run(renamed("server_ids"))


def test_tf_behaviour_52_a_result_too_short_for_its_names_is_refused_when_it_is_written(world: World) -> None:
    """The ancestor warns, and dies later in whoever needs the item."""

    @world.app.task(provides=("a", "b", "c"))
    def short() -> tuple[int, int]:
        return 1, 2

    with pytest.raises(ProvidesMismatch):
        world.app.plan(_under(world, short))


def _under(world: World, task: Any) -> Flow[None]:
    @world.app.flow
    def flow() -> Flow[None]:
        return linear(task)

    return flow()


def test_tf_behaviour_55_what_is_bound_by_hand_is_part_of_the_plan_and_is_there_on_resume(world: World) -> None:
    """The ancestor forgets injected values with the process; here they come with the factory (E8)."""
    plan = world.app.plan(_under(world, world.task("a")))
    other = world.app.plan(_under_again(world))
    assert plan.fingerprint != other.fingerprint


def _under_again(world: World) -> Flow[None]:
    @world.app.flow(name="again")
    def flow() -> Flow[None]:
        return linear(world.task("b").named("a"))

    return flow()


def test_tf_behaviour_56_a_name_given_twice_among_siblings_is_refused(world: World) -> None:
    with pytest.raises(DuplicateName):
        world.app.plan(_pair(world))


def _pair(world: World) -> Flow[None]:
    @world.app.flow
    def pair() -> Flow[None]:
        return linear(world.task("a"), world.task("a"))

    return pair()


def test_tf_behaviour_8_an_input_and_a_result_of_one_name_are_two_things(world: World) -> None:
    """There: `fetch` gives the input, `fetch_all` a list of both. Here results are known by path, and never mixed."""

    @world.app.task(provides="x", read_only=True)
    def more(x: int) -> int:
        return x + 1

    @world.app.flow
    def flow(x: int) -> Flow[None]:
        return linear(more, more.bind().named("again"))

    assert dict(world.app.run(flow(1)).results) == {"flow/more": 2, "flow/again": 3}


def test_tf_behaviour_62_one_name_in_two_flows_is_two_atoms(world: World) -> None:
    """There: Duplicate. Here an atom is known by its path, so that a flow can be used twice."""

    @world.app.flow
    def flow() -> Flow[None]:
        return linear(linear(world.task("a"), name="one"), linear(world.task("a"), name="two"))

    assert list(world.app.run(flow()).results) == ["flow/one/a", "flow/two/a"]
    with pytest.raises(DuplicateName, match="a"):
        world.app.run(world.app.flow(name="twice")(lambda: linear(world.task("a"), world.task("a")))())


def test_tf_a5_a_revert_has_arguments_of_its_own_which_are_checked_before_anything_runs(world: World) -> None:
    # Given a revert that asks for something its execute does not
    @world.app.task
    def make() -> str:
        return "made"

    @make.revert
    def unmake(result: str | None, failures: list[Failure], token: str) -> None:
        world.said.append(f"-{result} with {token} after {failures[0].type}")

    @world.app.flow
    def flow(token: str) -> Flow[None]:
        return linear(make, world.task("bad"))

    @world.app.flow
    def without() -> Flow[None]:
        return linear(make)

    # Then a flow in which nobody provides it is refused, and in another it is given
    with pytest.raises(MissingSymbol, match="token"):
        world.app.run(without())
    world.failing.add("bad")
    world.app.run(flow("t1"), check=False)
    assert world.said == ["+bad", "-bad", "-made with t1 after ValueError"]


def test_tf_a9_what_failed_is_undone_too_and_knows_how_it_ended(world: World) -> None:
    @world.app.task
    def make(ctx: TaskContext) -> str:
        raise ValueError("half made")

    @make.revert
    def unmake(ctx: TaskContext, result: str | None) -> None:
        world.said.append(f"-{result} {ctx.outcome}")

    assert world.app.run(make.bind(), check=False).state == "REVERTED"
    assert world.said == ["-None failed"]


def test_tf_behaviour_59_cycles_and_two_providers_are_refused_before_anything_runs(world: World) -> None:
    @world.app.flow
    def cycle() -> Flow[None]:
        a, b = world.task("a"), world.task("b")
        return graph(a, b, link(a, b), link(b, a))

    @world.app.task(provides="x")
    def one() -> int:
        return 1

    @world.app.task(provides="x")
    def other() -> int:
        return 2

    @world.app.task
    def use(x: int) -> None: ...

    @world.app.flow
    def two() -> Flow[None]:
        return graph(one, other, use)

    with pytest.raises(CyclicFlow):
        world.app.plan(cycle())
    with pytest.raises(AmbiguousSymbol):
        world.app.plan(two())


def test_tf_behaviour_61_a_name_is_the_nearest_provider_before_the_task(world: World) -> None:
    @world.app.task(provides="x")
    def make(n: int) -> int:
        return n

    @world.app.task
    def use(x: int) -> int:
        return x

    @world.app.flow
    def nested() -> Flow[None]:
        inner_use = use.named("inner-use")
        inner = linear(make.bind(2).named("two"), inner_use, name="inner", returns=inner_use)
        outer_use = use.named("outer-use")
        return linear(make.bind(1).named("one"), inner, outer_use, make.bind(3).named("three"))

    results = world.app.run(nested()).results
    assert results["nested/inner/inner-use"] == 2
    assert results["nested/outer-use"] == 2


def test_tf_w5_the_configuration_of_a_task_class_is_kept(world: World) -> None:
    """The ancestor's workers lose constructor arguments."""

    @world.app.task
    class Multiply(Task[int]):
        factor: int = 1

        def execute(self, by: int) -> int:
            return self.factor * by

    @world.app.flow
    def flow(by: int) -> Flow[int]:
        product = Multiply(factor=3)
        return linear(product, returns=product)

    assert world.app.run(flow(4)).result == 12


def test_tf_a12_map_and_reduce_are_each_and_a_task(world: World) -> None:
    @world.app.task
    def double(n: int) -> int:
        return 2 * n

    @world.app.task
    def total(numbers: list[int]) -> int:
        return sum(numbers)

    @world.app.flow
    def flow(numbers: list[int]) -> Flow[int]:
        doubled = double.each(numbers).as_("numbers")
        last = total.bind(doubled)
        return linear(doubled, last, returns=last)

    assert world.app.run(flow([1, 2, 3])).result == 12
