"""Everything here is right, and both checkers must say so; `assert_type` says what they must make of it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Coroutine, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, assert_type

from pydantic import BaseModel
from sqlalchemy import Connection, text

from flowledger import (
    App,
    AsyncFunctionTask,
    Atom,
    Flow,
    FlowFactory,
    OtherOutcome,
    Progress,
    Resource,
    Retry,
    Run,
    Signal,
    Symbol,
    Task,
    TaskContext,
    Times,
    Try,
    exponential,
    graph,
    linear,
    link,
    symbol,
    unordered,
)


class Node(BaseModel):
    name: str


class Cloud: ...


app = App("typing")


# -- decorators register, they never change what a call means -----------------------------------------


@app.task
def create(node: Node, zone: str, size: int = 1) -> str:
    return node.name


@app.task(provides="count", attempts=3, backoff=exponential(1), timeout=3, retry_on=OSError)
async def count(server: str) -> int:
    return len(server)


@create.revert
def delete(result: str | None) -> None: ...


@create.revert(attempts=3, backoff=2)
def delete_again(result: str | None, **kwargs: Any) -> None: ...


node = Node(name="a")
assert_type(create(node, "z"), str)
assert_type(create(node, zone="z", size=3), str)
pending: Coroutine[Any, Any, int] = count("s")
delete(None)
delete_again(result=None)
kept: Callable[[str | None], None] = delete
an_async_task: AsyncFunctionTask[[str], int] = count


# -- bind: by position, by name, values and symbols mixed ----------------------------------------------

assert_type(create.bind(node, "z"), Atom[str])
assert_type(create.bind(node), Atom[str])
assert_type(create.bind(node=node), Atom[str])
assert_type(create.bind(), Atom[str])
assert_type(create.bind(symbol("node"), "z"), Atom[str])
assert_type(count.bind(create), Atom[int])
assert_type(count.bind(create.bind(node)), Atom[int])
assert_type(count.bind(server=create), Atom[int])
assert_type(count.each(["a", "b"]), Flow[list[int]])
assert_type(create.each([node], zone="z"), Flow[list[str]])
a_symbol: Symbol[str] = create.bind(node).named("first").as_("server")


# -- classes --------------------------------------------------------------------------------------


@app.task
class Volume(Task[str]):
    provides = "volume"
    pool: str = "ssd"
    size: int

    def execute(self, zone: str) -> str:
        return zone

    def revert(self, result: str | None, **kwargs: object) -> None: ...


@app.task(attempts=3)
class Attach(Task[None]):
    async def execute(self, volume: str, server: str) -> None: ...


assert_type(Volume(size=3), Volume)
assert_type(Volume(size=3, pool="hdd").bind(zone="z"), Atom[str])
assert_type(Volume(size=3).size, int)


# -- flows ----------------------------------------------------------------------------------------


@app.flow(label="{node.name}")
def add(node: Node, zone: str = "z") -> Flow[str]:
    server = create.bind(node, zone)
    return linear(server, count.bind(server), returns=server, retry=Times(3))


@app.flow
def several(nodes: list[Node]) -> Flow[list[str]]:
    servers = add.each(nodes)
    assert_type(servers, Flow[list[str]])
    return linear(servers, Attach(), returns=servers)


@app.flow(name="other", on_failure="stop")
def bare() -> Flow:
    return graph(create, count, link(create, count))


@app.task
def pick(zone: str) -> list[Node]:
    return []


@app.flow
def growing(node: Node, zone: str) -> Flow[list[str]]:
    """What is known only at run time: lists, and the inputs of flows."""
    picked, one = pick.bind(zone), create.bind(node)
    many = create.each(picked, zone=one)
    assert_type(many, Flow[list[str]])
    assert_type(add.each(pick), Flow[list[str]])
    assert_type(add.each(symbol("nodes"), zone=symbol("zone")), Flow[list[str]])
    assert_type(count.each(many).named("counts").as_("counts"), Flow[list[int]])
    assert_type(add.bind(symbol("node")), Flow[str])
    assert_type(add.bind(node, one), Flow[str])
    assert_type(add.bind(node=symbol("node"), zone=one), Flow[str])
    assert_type(growing.bind(node, one), Flow[list[str]])
    return linear(picked, one, many, returns=many)


a_factory: FlowFactory[[list[Node]], list[str]] = several
assert_type(add(node), Flow[str])
assert_type(add.child(node), Atom[str])
assert_type(add.child(symbol("node"), "z"), Atom[str])
assert_type(add.child(node=node), Atom[str])
assert_type(several.child([node]), Atom[list[str]])
count.bind(add.child(node))


@app.task(transactional=True, priority=3)
def booked(node: Node, connection: Connection) -> int:
    connection.execute(text("SELECT 1"))
    return 1


@booked.revert
def unbooked(connection: Connection, ctx: TaskContext) -> None:
    assert_type(ctx.other_outcomes, tuple[OtherOutcome, ...])


assert_type(booked.bind(node), Atom[int])


async def submitting(connection: Connection) -> None:
    assert_type(app.submit(add(node), key="k", priority=2, connection=connection), Run[str])
    assert_type(await app.asubmit(add(node), not_before=datetime.now(UTC)), Run[str])
    assert_type(app.submit_named("add", {"node": node}), Run[Any])
    assert_type(app.get("x").progress, Mapping[str, Progress])


assert_type(add(node, zone="y"), Flow[str])
assert_type(several([node]), Flow[list[str]])
assert_type(bare(), Flow[Any])
assert_type(linear(create, count), Flow[None])
assert_type(linear(create, count, returns=count), Flow[int])
assert_type(unordered(create, create.bind(node)), Flow[list[str]])
assert_type(graph(create, count, link(create, count), returns=create), Flow[str])


# -- runs -----------------------------------------------------------------------------------------


def runs() -> None:
    assert_type(app.run(add(node), key="k").result, str)
    assert_type(app.run(several([node])).result, list[str])
    assert_type(app.run(create.bind(node, "z"), check=False).result, str)


async def aruns() -> None:
    assert_type((await app.arun(add(node))).result, str)


# -- resources ------------------------------------------------------------------------------------


@app.resource
def cloud() -> Cloud:
    return Cloud()


@app.resource
def closing() -> Iterator[Cloud]:
    yield Cloud()


@app.resource(scope="run")
async def awaited() -> Cloud:
    return Cloud()


@app.resource
async def aclosing() -> AsyncIterator[Cloud]:
    yield Cloud()


assert_type(cloud, Resource[Cloud])
assert_type(closing, Resource[Cloud])
assert_type(awaited, Resource[Cloud])
assert_type(aclosing, Resource[Cloud])


@app.task
def use(cloud: Cloud, ctx: TaskContext) -> None:
    assert_type(ctx.cancelled, bool)
    assert_type(TaskContext.current(), TaskContext)


def overriding() -> None:
    with cloud.override(Cloud()) as fake:
        assert_type(fake, Cloud)
    use.bind(cloud)


# -- retries ----------------------------------------------------------------------------------------


class Zones(Retry[str]):
    value_type = str

    def __init__(self, zones: tuple[str, ...]) -> None:
        self.zones = zones

    def value(self, history: Sequence[Try[str]]) -> str:
        return self.zones[len(history)]


zones = Zones(("a", "b"))
retried = linear(count.bind(zones), retry=zones)
assert_type(Times(3).value([]), int)
past: Try[int] = Try(1, ())


# -- signals ----------------------------------------------------------------------------------------


arrival = Signal("arrival", Node)
assert_type(arrival, Signal[Node])
assert_type(arrival.wait(timeout=3), Atom[Node])
create.bind(arrival.wait(), "zone")
app.get("run").send(arrival, Node(name="a"), reason="change 77")
