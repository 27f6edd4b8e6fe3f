"""Flow factories and patterns: what a call of them gives, and what they refuse."""

from __future__ import annotations

import operator
from typing import Any

import pytest
from pydantic import BaseModel

from flowledger.core.compiler import check_pure, entry, rebuild
from flowledger.core.compiler import compile as compile_part
from flowledger.core.factory import FlowFactory
from flowledger.core.parts import Flow
from flowledger.core.patterns import graph, linear, link, unordered
from flowledger.core.registry import Registry
from flowledger.core.retry import Times
from flowledger.core.symbols import symbol
from flowledger.core.task import FunctionTask, Task
from flowledger.events import errors
from tests.unit.refusing import refused, this_line


class Node(BaseModel):
    name: str


class Sample(Registry):
    """An app with a task and a flow."""

    step: FunctionTask[..., int]
    add_node: FlowFactory[..., None]


@pytest.fixture
def app() -> Sample:
    app = Sample("app")

    @app.task
    def step(n: int = 0) -> int:
        return n

    @app.flow(label="{node.name}")
    def add_node(node: Node, tries: int = 3) -> Flow[None]:
        return linear(step.bind(tries))

    app.step, app.add_node = step, add_node
    return app


# -- factories ------------------------------------------------------------------------------------


def test_calling_a_factory_builds_the_flow_at_once_and_remembers_the_inputs(app: Sample) -> None:
    flow = app.add_node(Node(name="a"))
    assert isinstance(flow, Flow)
    found = entry(flow, app)
    assert (found.factory, found.inputs_json()) == ("add_node", b'{"node":{"name":"a"},"tries":3}')


def test_a_flow_can_be_built_again_by_name_and_is_the_same(app: Sample) -> None:
    flow = app.add_node(Node(name="a"), tries=7)
    again = rebuild(app, "add_node", entry(flow, app).inputs_json())
    assert compile_part(again, app).fingerprint == compile_part(flow, app).fingerprint


def test_a_factory_sees_its_inputs_as_they_will_be_read_back(app: Sample) -> None:
    class Special(Node):
        secret: str = "lost in the log"

    seen: list[Node] = []

    @app.flow
    def look(node: Node) -> Flow[None]:
        seen.append(node)
        return linear()

    look(Special(name="a"))
    assert type(seen[0]) is Node


@pytest.mark.parametrize(
    ("inputs", "field", "expected", "given"),
    [
        (b"{}", "node", "Node", "nothing"),
        (b'{"node":{"name":"a"},"trees":3}', "trees", "no such input", "3"),
        (b'{"node":{"name":3}}', "node.name", "a valid string", "3 (int)"),
        (b'{"node":{}}', "node.name", "a value", "nothing"),
        (b'{"node":{"name":"a"},"tries":"x"}', "tries", "int", "'x' (str)"),
        (b"[1]", "", "a JSON object", "[1]"),
        (b"{", "", "a JSON object", "{"),
    ],
)
def test_inputs_by_name_say_field_expected_and_given(
    app: Sample, inputs: bytes, field: str, expected: str, given: str
) -> None:
    with refused(errors.InputError, "add_node") as caught:
        rebuild(app, "add_node", inputs)
    assert (caught.value.field, caught.value.expected, caught.value.given) == (field, expected, given)


def test_an_unknown_flow_is_looked_up_nowhere_else(app: Sample) -> None:
    with refused(errors.FlowNotRegistered, "`ad_node`", "did you mean `add_node`?"):
        rebuild(app, "ad_node", b"{}")
    with refused(errors.FlowNotRegistered, "os.system"):
        rebuild(app, "os.system", b"{}")


def test_wrong_calls_of_a_factory_end_at_the_users_line(app: Sample) -> None:
    with refused(errors.InputError, "add_node(…)", "`node` is missing, expected Node", this_line(1)):
        app.add_node()
    with refused(errors.InputError, "`node` expected Node", this_line(1)):
        app.add_node("a")
    with refused(errors.UnknownArgument, "`noed`", "did you mean `node`?", this_line(1)):
        app.add_node(noed=Node(name="a"))
    with refused(errors.InputError, "`node`", "known only at run time", "add_node.bind(…)", this_line(1)):
        app.add_node(symbol("node"))
    with refused(errors.InputError, "add_node.bind(…)", "`node` is missing", this_line(1)):
        app.add_node.bind(tries=symbol("tries"))
    with refused(errors.UnknownArgument, "add_node.bind(…)", "`noed`", "did you mean `node`?", this_line(1)):
        app.add_node.bind(noed=symbol("node"))


def test_a_factory_must_return_a_flow_and_is_a_plain_function(app: Sample) -> None:
    @app.flow
    def nothing() -> Flow[None]:
        return None  # type: ignore[return-value]

    with refused(errors.DefinitionError, "nothing", "returned None, not a flow"):
        nothing()

    async def later() -> Flow[None]:
        return linear()

    with refused(errors.DefinitionError, "not async"):
        register: Any = app.flow
        register(later)

    with refused(errors.DefinitionError, "`**rest`"):

        @app.flow
        def open_ended(**rest: int) -> Flow[None]:
            return linear()


def test_e7_binding_a_factory_to_values_builds_the_flow_at_once_to_a_symbol_when_it_is_known(app: Sample) -> None:
    at_once, called = app.add_node.bind(Node(name="a")), app.add_node(Node(name="a"))
    assert (at_once.late, entry(at_once, app)) == (None, entry(called, app))
    late = app.add_node.bind(symbol("node"), tries=5).late
    assert late is not None
    assert (list(late.bound), late.items, late.label) == (["node", "tries"], None, None)


def test_a_factory_that_depends_on_something_else_is_not_pure(app: Sample) -> None:
    clock = iter(range(10))

    @app.flow
    def dated() -> Flow[None]:
        return linear(app.step.bind(next(clock)))

    with refused(errors.FactoryNotPure, "dated", "dated/step", "values", "no clock"):
        check_pure(dated, app)
    assert check_pure(lambda: app.add_node(Node(name="a")), app).factory == "add_node"


# -- labels ---------------------------------------------------------------------------------------


def test_a_label_names_children_and_never_the_root(app: Sample) -> None:
    @app.flow
    def both() -> Flow[Any]:
        return unordered(app.add_node(Node(name="x")), app.add_node(Node(name="y")))

    assert [n.path for n in compile_part(both(), app).nodes if n.pattern == "linear"] == ["both/x", "both/y"]
    assert compile_part(app.add_node(Node(name="x")), app).nodes[1].path == "add_node"


@pytest.mark.parametrize("label", ["{node.__class__}", "{node._secret}", "{_node}", "{nod.name}", "{node.size}", "{0}"])
def test_a_label_reads_public_attributes_of_inputs_and_nothing_else(app: Sample, label: str) -> None:
    @app.flow(label=label)
    def flow(node: Node) -> Flow[None]:
        return linear()

    with refused(errors.DefinitionError, "label"):
        flow(Node(name="a"))


@pytest.mark.parametrize("name", ["", "a/b", "a\nb", "x" * 101])
def test_e5_a_label_that_gives_no_name_is_refused(app: Sample, name: str) -> None:
    with refused(errors.DefinitionError, "cannot be a name"):
        app.add_node(Node(name=name))


def test_a_task_label_is_used_where_its_inputs_are_bound(app: Sample) -> None:
    @app.task(label="ping-{host}")
    def ping(host: str) -> None: ...

    @app.flow
    def flow(host: str) -> Flow[None]:
        return linear(ping, ping.bind("a"))

    assert [n.name for n in compile_part(flow("b"), app).nodes[2:]] == ["ping", "ping-a"]


# -- patterns -------------------------------------------------------------------------------------


def test_patterns_take_parts_and_say_what_else_was_handed_in(app: Sample) -> None:
    @app.task
    class Make(Task[None]):
        def execute(self) -> None: ...

    @app.task
    async def later() -> None: ...

    wrong: list[tuple[object, str]] = [
        (3, "calling a task runs it"),
        ("HELLO", "calling a task runs it"),
        (later(), "calling a task runs it"),
        (Make, "Make()"),
        (app.add_node, "add_node(…)"),
        (len, "@app.task"),
        (symbol("x"), "bind it to an argument"),
        (None, "place it bare"),
    ]
    for part, hint in wrong:
        with refused(errors.DefinitionError, "linear(…)", "is not a part", hint, this_line(1)):
            linear(part)  # type: ignore[call-overload]


def test_links_belong_in_graphs_and_join_two_of_its_own_parts(app: Sample) -> None:
    a, b, c = (app.step.bind(i) for i in range(3))
    with refused(errors.DefinitionError, "linear(…)", "graph(…)"):
        linear(a, b, link(a, b))  # type: ignore[call-overload]
    with refused(errors.CyclicFlow, "cannot wait for itself"):
        link(a, a)
    loose: Any = link
    with refused(errors.DefinitionError, "when=3", this_line(1)):
        loose(a, b, when=3)
    with refused(errors.DefinitionError, "depth='flw'", "flow", this_line(1)):
        loose(a, b, when=bool, depth="flw")
    with refused(errors.DefinitionError, "when=", "which arguments", "bool", "function of your own", this_line(1)):
        link(a, b, when=bool)
    with refused(errors.DefinitionError, "when=", "cannot be filled by name", this_line(1)):
        link(a, b, when=operator.truth)

    @app.flow
    def foreign() -> Flow[None]:
        return graph(a, b, link(a, c))

    with refused(errors.DefinitionError, "not in foreign", "test_def_flows.py"):
        compile_part(foreign(), app)


def test_a_retry_must_be_one(app: Sample) -> None:
    with refused(errors.DefinitionError, "retry=", "Times(…)"):
        linear(app.step, retry=Times)  # type: ignore[call-overload]
    with refused(errors.ReservedName, "'result'"):
        linear(app.step, retry=Times(3, provides="result"))
    with refused(errors.DefinitionError, "Times(0)"):
        Times(0)


def test_e7_each_over_a_symbol_waits_for_the_list(app: Sample) -> None:
    for part, argument in ((app.step.each(symbol("hosts")), "n"), (app.add_node.each(symbol("hosts")), "node")):
        assert (part.pattern, part.parts) == ("each", ())
        assert part.late is not None
        assert part.late.items == argument
    with refused(errors.UnknownArgument, "step.each(…)", "no first argument left", this_line(1)):
        app.step.each(symbol("hosts"), n=3)
    with refused(errors.InputError, "add_node.each(…)", "`tries` expected int", this_line(1)):
        app.add_node.each(symbol("hosts"), tries="many")


# -- roots ----------------------------------------------------------------------------------------


def test_an_anonymous_flow_is_no_root(app: Sample) -> None:
    with refused(errors.FlowNotRegistered, "has no factory", "@app.flow", this_line(1)):
        compile_part(linear(app.step), app)


def test_a_flow_of_another_app_is_no_root_until_it_is_included(app: Sample) -> None:
    other = Registry("other")
    with refused(errors.FlowNotRegistered, "add_node", "other.include(…)"):
        compile_part(app.add_node(Node(name="a")), other)
    other.include(app, prefix="net")
    plan = compile_part(app.add_node(Node(name="a")), other)
    assert (plan.factory, plan.nodes[1].path) == ("net/add_node", "add_node")
    assert plan.nodes[2].task is not None
    assert plan.nodes[2].task.name == "net/step"


def test_a_bound_task_may_be_a_root_and_its_arguments_are_the_inputs(app: Sample) -> None:
    part = app.step.bind(4)
    plan, found = compile_part(part, app), entry(part, app)
    assert (plan.factory, list(plan.inputs), found.inputs_json()) == ("step", ["n"], b'{"n":4}')
    assert compile_part(rebuild(app, "step", found.inputs_json()), app).fingerprint == plan.fingerprint


def test_a_task_bound_to_another_part_is_no_root(app: Sample) -> None:
    with refused(errors.FlowNotRegistered, "step", "`n`", "@app.flow"):
        compile_part(app.step.bind(symbol("m")), app)


def test_a_task_class_as_a_root_takes_its_fields_as_inputs_too(app: Sample) -> None:
    @app.task
    class Create(Task[str]):
        pool: str = "ssd"

        def execute(self, zone: str) -> str:
            return f"{self.pool}-{zone}"

    part = Create(pool="hdd").bind(zone="z")
    found = entry(part, app)
    assert found.inputs_json() == b'{"pool":"hdd","zone":"z"}'
    again = compile_part(rebuild(app, "Create", found.inputs_json()), app)
    assert again.fingerprint == compile_part(part, app).fingerprint
    assert set(again.inputs) == {"pool", "zone"}
    with refused(errors.InputError, "`zone` is missing"):
        rebuild(app, "Create", b'{"pool":"hdd"}')


def test_e6_an_async_predicate_is_refused_for_it_would_always_say_yes(app: Sample) -> None:
    async def ready(n: int) -> bool:
        return False

    class Ready:
        async def __call__(self, n: int) -> bool:
            return False

    first, second = app.step.bind(1), app.step.bind(2)
    for when in (ready, Ready()):
        with pytest.raises(errors.DefinitionError, match="is async, and a predicate answers at once"):
            link(first, second, when=when)  # type: ignore[arg-type]  # pyright: ignore[reportCallIssue, reportArgumentType]


@pytest.mark.parametrize("what", ["the factory", "a number"])
def test_what_is_no_part_cannot_be_run(app: Sample, what: str) -> None:
    part: Any = app.add_node if what == "the factory" else 3
    with pytest.raises(errors.DefinitionError, match="is not a part") as refused:
        compile_part(part, app)
    assert refused.value.hint == (
        "call it with its inputs: add_node(…)" if what == "the factory" else
        "calling a task runs it; place it bare or with .bind(…)"
    )  # fmt: skip
