"""Apps as registries: names, `include`, and what may be defined twice."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest

from flowledger.core.compiler import compile as compile_part
from flowledger.core.parts import Flow
from flowledger.core.patterns import linear
from flowledger.core.registry import Registry
from flowledger.events import errors
from tests.unit.refusing import refused


class Cloud: ...


@pytest.fixture
def app() -> Registry:
    return Registry("app")


def test_a_name_is_given_once_per_app_and_the_error_names_both_lines(app: Registry) -> None:
    @app.task
    def step() -> None: ...

    with refused(errors.DuplicateName, "`step`", "app", "test_def_registry.py"):

        @app.task(name="step")
        def other() -> None: ...


def test_a_cell_run_again_replaces_its_definitions(app: Registry) -> None:
    source = "@app.task\ndef step(n: int = {}) -> int:\n    return n\n"
    for default in (1, 2):
        exec(compile(source.format(default), f"<cell {default}>", "exec"), {"app": app, "__name__": "__main__"})
    step: Any = app.tasks["step"]
    assert step.body() == 2
    assert app.name_of(step) == "step"


def test_include_takes_everything_over_under_a_prefix(app: Registry) -> None:
    net = Registry("net")

    @net.resource
    def client() -> str:
        return "client"

    @net.task
    def call(client: str) -> None: ...

    @net.flow
    def calls() -> Flow[None]:
        return linear(call)

    app.include(net, prefix="net")
    assert (list(app.tasks), list(app.flows), list(app.resources)) == (["net/call"], ["net/calls"], ["net/client"])
    plan = compile_part(calls(), app)
    assert plan.resources == {"net/client"}  # its own app's resource, though it asks for `client`


def test_include_without_a_prefix_refuses_a_name_that_is_taken(app: Registry) -> None:
    other = Registry("other")
    for registry in (app, other):

        @registry.task
        def step() -> None: ...

    with refused(errors.DuplicateName, "`step`", "prefix="):
        app.include(other)
    app.include(other, prefix="other")
    app.include(other, prefix="other")  # the same again is nothing new


# -- resources --------------------------------------------------------------------------------------


def test_the_four_kinds_of_resources(app: Registry) -> None:
    @app.resource
    def plain() -> Cloud:
        return Cloud()

    @app.resource
    def closed() -> Iterator[Cloud]:
        yield Cloud()

    @app.resource
    async def awaited() -> Cloud:
        return Cloud()

    @app.resource(scope="run")
    async def aclosed() -> AsyncIterator[Cloud]:
        yield Cloud()

    made: list[Any] = [plain, closed, awaited, aclosed]
    assert [r.kind for r in made] == ["function", "generator", "coroutine", "async_generator"]
    assert [r.annotation for r in made] == [Cloud] * 4
    assert [r.scope for r in made] == ["process", "process", "process", "run"]


def test_an_override_is_seen_while_it_is_open_the_innermost_first(app: Registry) -> None:
    @app.resource
    def cloud() -> str:
        return "real"

    with cloud.override("outer") as outer, cloud.override("inner"):
        assert outer == "outer"
        assert cloud.overridden is not None
        assert cloud.overridden.value == "inner"
    assert cloud.overridden is None


def test_resources_find_what_they_need_and_the_plan_lists_all(app: Registry) -> None:
    @app.resource
    def settings() -> str:
        return "s"

    @app.resource
    def cloud(settings: str) -> Cloud:
        return Cloud()

    @app.task
    def use(cloud: Cloud) -> None: ...

    assert app.resource_needs("cloud") == {"settings": "settings"}
    assert compile_part(use, app).resources == {"cloud", "settings"}


def test_a_resource_that_needs_what_is_not_there_is_refused_when_used(app: Registry) -> None:
    @app.resource
    def cloud(setings: str) -> Cloud:
        return Cloud()

    @app.resource
    def settings() -> str:
        return "s"

    @app.task
    def use(cloud: Cloud) -> None: ...

    with refused(errors.MissingSymbol, "cloud", "`setings`", "did you mean `settings`?", "test_def_registry.py"):
        compile_part(use, app)


def test_resources_that_need_each_other_are_refused(app: Registry) -> None:
    @app.resource
    def hen(egg: str) -> str:
        return egg

    @app.resource
    def egg(hen: str) -> str:
        return hen

    @app.task
    def use(hen: str) -> None: ...

    with refused(errors.CyclicFlow, "resources need each other", "hen", "egg"):
        compile_part(use, app)


def test_resources_are_refused_reserved_names_and_unknown_scopes(app: Registry) -> None:
    def result() -> str:
        return ""

    with refused(errors.ReservedName, "'result'"):
        app.resource(result)
    with refused(errors.DefinitionError, "scope='hour'", "'process', 'run'"):
        app.resource(scope="hour")(lambda: 1)  # type: ignore[call-overload]
