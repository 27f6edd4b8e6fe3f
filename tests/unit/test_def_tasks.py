"""Definitions of tasks: a decorator registers, it never changes what a call means; `bind` validates at the call."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from logging import LoggerAdapter, getLogger
from typing import Any

import pytest
from pydantic import BaseModel

from flowledger.core.compiler import compile as compile_part
from flowledger.core.context import RUNNING, TaskContext
from flowledger.core.parts import Flow
from flowledger.core.patterns import linear
from flowledger.core.plan import Given
from flowledger.core.registry import Registry
from flowledger.core.task import AsyncFunctionTask, FunctionTask, Task
from flowledger.events import errors
from tests.unit.refusing import refused, this_line


class Node(BaseModel):
    name: str
    size: int = 1


@pytest.fixture
def app() -> Registry:
    return Registry("app")


# -- calling ------------------------------------------------------------------------------------


def test_calling_a_task_runs_its_body(app: Registry) -> None:
    @app.task
    def double(n: int) -> int:
        """Twice."""
        return 2 * n

    assert isinstance(double, FunctionTask)
    assert double(4) == 8
    assert double.name == "double"
    assert double.__doc__ == "Twice."


def test_calling_an_async_task_gives_its_coroutine(app: Registry) -> None:
    @app.task
    async def double(n: int) -> int:
        return 2 * n

    assert isinstance(double, AsyncFunctionTask)
    assert asyncio.run(double(4)) == 8


def test_revert_gives_the_function_back_unchanged(app: Registry) -> None:
    @app.task
    def make() -> str:
        return "x"

    def unmake(result: str | None) -> None: ...

    assert make.revert(unmake) is unmake
    assert make.revert(attempts=3, backoff=2, timeout=9)(unmake) is unmake
    revert = make.definition.spec("make").revert
    assert revert is not None
    assert (revert.attempts, revert.backoff.first_s, revert.timeout_s) == (3, 2.0, 9.0)


def test_a_revert_registered_after_a_plan_was_made_counts_for_the_next(app: Registry) -> None:
    @app.task
    def make() -> None: ...

    before = compile_part(make.bind(), app)

    @make.revert
    def unmake() -> None: ...

    after = compile_part(make.bind(), app)
    assert (before.without_revert, after.without_revert) == (("make",), ())

    @make.revert
    def unmake_better(result: None) -> None: ...

    assert [b.argument for b in compile_part(make.bind(), app).nodes[1].revert_arguments] == ["result"]


# -- bind ---------------------------------------------------------------------------------------


def test_bind_keeps_values_as_json_and_reads_them_back(app: Registry) -> None:
    @app.task
    def create(node: Node, count: int) -> None: ...

    bound = create.bind(Node(name="a"), count=3).bound
    node = bound["node"]
    assert isinstance(node, Given)
    assert node.content == b'{"name":"a","size":1}'
    assert node.typed.load(node.content) == Node(name="a")


def test_a_value_of_the_wrong_type_ends_the_traceback_at_the_users_line(app: Registry) -> None:
    @app.task
    def create(node: Node) -> None: ...

    three: Any = 3
    with refused(errors.InputError, "create.bind(…)", "`node` expected Node", "3 (int)", this_line(1)) as caught:
        create.bind(three)
    assert (caught.value.field, caught.value.expected, caught.value.given) == ("node", "Node", "3 (int)")


def test_a_wrong_field_inside_a_value_is_named(app: Registry) -> None:
    @app.task
    def create(nodes: list[Node]) -> None: ...

    with refused(errors.InputError, "`nodes.0.size`", "a valid integer", "'big' (str)"):
        create.bind(nodes=[{"name": "a", "size": "big"}])


def test_an_unknown_argument_has_near_misses(app: Registry) -> None:
    @app.task
    def create(node: Node, zone: str) -> None: ...

    with refused(errors.UnknownArgument, "`nod`", "did you mean `node`?", this_line(1)):
        create.bind(nod=Node(name="a"))


@pytest.mark.parametrize(
    "place", [lambda t: t.bind(1, 2, 3), lambda t: t.bind(1, n=2), lambda t: t.each([1], n=2)]
)  # fmt: skip
def test_arguments_given_too_often_are_refused(app: Registry, place: Callable[[Any], Any]) -> None:
    @app.task
    def add(n: int, m: int) -> None: ...

    with refused(errors.UnknownArgument, "add"):
        place(add)


def test_each_binds_the_first_argument_and_validates_every_item(app: Registry) -> None:
    @app.task
    def probe(host: str, wait_s: float) -> int:
        return 0

    flow = probe.each(["a", "b"], wait_s=2.0)
    assert [part.atom().bound["host"].content for part in flow.parts] == [b'"a"', b'"b"']  # type: ignore[union-attr]
    mixed: list[Any] = ["a", 1]
    with refused(errors.InputError, "probe.each(…)", "`host` expected str", "1 (int)", this_line(1)):
        probe.each(mixed)


def test_each_of_a_string_is_refused_not_taken_letter_by_letter(app: Registry) -> None:
    @app.task
    def probe(host: str) -> int:
        return 0

    with refused(errors.InputError, "probe.each(…)", "'abc' is not a list"):
        probe.each("abc")


# -- inside a running body ------------------------------------------------------------------------


def _context() -> TaskContext:
    return TaskContext(
        run_id="r", path="flow/outer", attempt=1, idempotency_key="k", deadline=None, log=LoggerAdapter(getLogger(), {})
    )


@pytest.mark.parametrize("what", ["bind", "each", "factory", "pattern"])
def test_placing_inside_a_running_body_is_refused(app: Registry, what: str) -> None:
    @app.task
    def inner(n: int) -> None: ...

    @app.flow
    def flow() -> Flow[None]:
        return linear(inner.bind(1))

    def body() -> object:
        placing: dict[str, Callable[[], object]] = {
            "bind": lambda: inner.bind(1),
            "each": lambda: inner.each([1]),
            "factory": flow,
            "pattern": lambda: linear(inner),
        }
        return placing[what]()

    token = RUNNING.set(_context)
    try:
        with refused(errors.PlacedInsideTask, "flow/outer", "test_def_tasks.py"):
            body()
        inner(1)  # a call runs the body, there as everywhere
        assert TaskContext.current().path == "flow/outer"
    finally:
        RUNNING.reset(token)


def test_the_context_is_refused_outside_a_body() -> None:
    with refused(errors.DefinitionError, "outside a running task"):
        TaskContext.current()


# -- options ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"attempts": 0}, ["attempts=0"]),
        ({"queue": ""}, ["queue=''"]),
        ({"queue": "a\nb"}, ["queue="]),
        ({"queue": "probes", "transactional": True}, ["cannot leave this process", "queue="]),
        ({"executor": "workers", "transactional": True}, ["cannot leave this process", "workers"]),
        ({"timeout": -1}, ["timeout=-1"]),
        ({"deadline": "soon"}, ["deadline='soon'"]),
        ({"backoff": -2}, ["backoff: -2"]),
        ({"retry_on": "TimeoutError"}, ["retry_on='TimeoutError'"]),
        ({"on_interrupt": "cry"}, ["on_interrupt='cry'", "'rerun', 'fail'"]),
        ({"losses": 0}, ["losses=0", "from 1"]),
        ({"losses": "many"}, ["losses='many'"]),
        ({"provides": ["a"]}, ["provides", "['a']"]),
        ({"provides": "server id"}, ["'server id'", "identifier"]),
        ({"provides": ("a", "a")}, ["twice"]),
        ({"name": "a/b"}, ["'a/b'", "no '/'"]),
        ({"atempts": 3}, ["atempts", "did you mean `attempts`?"]),
    ],
)
def test_options_that_make_no_sense_are_refused_at_the_decorator(
    app: Registry, options: dict[str, Any], words: list[str]
) -> None:
    with refused(errors.DefinitionError, "test_def_tasks.py", *words):

        @app.task(**options)
        def body() -> None: ...


@pytest.mark.parametrize("name", ["result", "failure", "failures"])
def test_e4_reserved_names_are_refused_as_argument_and_as_symbol(app: Registry, name: str) -> None:
    scope: dict[str, Any] = {}
    exec(f"def body({name}: str) -> None: ...", scope)
    with refused(errors.ReservedName, f"`{name}`"):
        app.task(scope["body"])
    with refused(errors.ReservedName, f"'{name}'"):

        @app.task(provides=name)
        def other() -> str:
            return ""

    @app.task
    def fine() -> str:
        return ""

    with refused(errors.ReservedName, f"'{name}'", this_line(1)):
        fine.as_(name)


def test_a_method_a_generator_and_a_lambda_are_no_tasks(app: Registry) -> None:
    class Home:
        def method(self) -> None: ...

    def generator() -> Any:
        yield 1

    for body, word in ((Home.method, "method"), (generator, "generator"), (lambda: None, "lambda"), (3, "function")):
        with refused(errors.DefinitionError, word):
            app.task(body)  # type: ignore[arg-type]


def test_arguments_that_cannot_come_by_name_are_refused(app: Registry) -> None:
    def positional(n: int, /) -> None: ...

    def star(*n: int) -> None: ...

    for body in (positional, star):
        with refused(errors.DefinitionError, "`n`" if body is positional else "`*n`", body.__name__):
            app.task(body)


# -- classes --------------------------------------------------------------------------------------


def test_a_task_class_keeps_its_fields_as_json_and_in_the_fingerprint(app: Registry) -> None:
    @app.task
    class Create(Task[str]):
        provides = "volume"
        pool: str = "ssd"
        size: int = 1

        def execute(self, zone: str) -> str:
            return f"{self.pool}-{zone}"

    @app.flow
    def flow(pool: str) -> Flow[None]:
        return linear(Create(pool=pool).bind(zone="z"))

    plans = [compile_part(flow(pool), app) for pool in ("ssd", "hdd", "ssd")]
    tasks = [plan.nodes[2].task for plan in plans]
    assert [task.config for task in tasks if task] == [
        b'{"pool":"ssd","size":1}', b'{"pool":"hdd","size":1}', b'{"pool":"ssd","size":1}'
    ]  # fmt: skip
    assert tasks[0] is tasks[2]
    assert plans[0].fingerprint == plans[2].fingerprint != plans[1].fingerprint
    assert plans[1].nodes[2].provides == "volume"
    assert tasks[1] is not None
    assert tasks[1].execute.body("here") == "hdd-here"
    assert tasks[1].revert is None  # it counts only if overridden


def test_a_wrong_field_of_a_task_class_is_refused_where_it_is_made(app: Registry) -> None:
    @app.task
    class Create(Task[None]):
        size: int

        def execute(self) -> None: ...

    with refused(errors.InputError, "Create(…)", "`size` expected int", this_line(1)):
        Create(size="big")  # type: ignore[arg-type]
    assert Create(size=3).named("first").given_name == "first"


def test_a_task_class_must_be_registered_and_have_an_execute(app: Registry) -> None:
    class Lonely(Task[None]):
        def execute(self) -> None: ...

    with refused(errors.DefinitionError, "Lonely", "not registered", "@app.task"):
        Lonely().bind()

    class Empty(Task[None]): ...

    with refused(errors.DefinitionError, "Empty", "no execute"):
        app.task(Empty)


def test_an_overridden_revert_counts_and_async_execute_is_async(app: Registry) -> None:
    @app.task
    class Attach(Task[None]):
        async def execute(self, volume: str) -> None: ...
        def revert(self, volume: str, **kwargs: Any) -> None: ...

    plan = compile_part(Attach().bind(volume="v"), app)
    node = plan.nodes[1]
    assert node.task is not None
    assert node.task.execute.is_async
    assert node.lane == "async"
    assert node.task.revert is not None
    assert {b.argument for b in node.revert_arguments} == {"volume", "result", "failure", "failures"}
    assert plan.without_revert == ()


# -- annotations ----------------------------------------------------------------------------------


def test_an_annotation_that_does_not_exist_at_run_time_is_named(app: Registry) -> None:
    @app.task
    def create(node: OnlyForCheckers) -> None: ...  # type: ignore[name-defined]  # noqa: F821  # pyright: ignore[reportUndefinedVariable]

    with refused(
        errors.UnresolvedAnnotation, "`node`", "create", "OnlyForCheckers", "TYPE_CHECKING", "test_def_tasks.py"
    ):
        compile_part(create, app)


def test_a_field_annotation_that_does_not_exist_is_named_too(app: Registry) -> None:
    @app.task
    class Create(Task[None]):
        pool: OnlyForCheckers  # type: ignore[name-defined]  # noqa: F821  # pyright: ignore[reportUndefinedVariable, reportUnknownVariableType]

        def execute(self) -> None: ...

    with refused(errors.UnresolvedAnnotation, "`pool`", "Create", "OnlyForCheckers"):
        Create(pool="ssd")


def test_annotations_may_name_classes_local_to_a_function(app: Registry) -> None:
    class Local(BaseModel):
        n: int

    @app.task
    def make(local: Local) -> Local:
        return local

    assert compile_part(make.bind(local=Local(n=1)), app).returns.annotation is Local


def test_an_unserialisable_result_is_refused_before_anything_is_made(app: Registry) -> None:
    class Server: ...

    @app.task
    def create() -> Server:
        return Server()

    with refused(errors.UnserialisableType, "what create", "returns", "@app.resource", "test_def_tasks.py"):
        compile_part(create, app)
