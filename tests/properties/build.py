"""A spec as a real flow: an app whose bodies do what the script says and write down what they were called with."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from threading import Lock
from typing import Any, Literal, NamedTuple

from sqlalchemy import Connection

import flowledger
from flowledger import App, Flow, Hold, NotReady, Permanent, Signal, TaskContext, Times, constant, sleep, symbol
from tests.properties import spec as specs
from tests.properties.model import Call
from tests.properties.spec import Spec, value_of


class Entry(NamedTuple):
    """A body began or ended: ``how`` is the end."""

    name: str
    phase: Literal["execute", "revert"]
    how: Literal["begin", "ok", "raise", "not_ready"]
    arguments: tuple[Any, ...] = ()
    key: str = ""


class Boom(Exception):
    """What a body raises when the script says so."""


@dataclass
class Recorder:
    """What the bodies saw, in the order in which they saw it."""

    entries: list[Entry] = field(default_factory=list[Entry])
    lock: Lock = field(default_factory=Lock)
    keys: dict[str, list[str]] = field(default_factory=dict[str, list[str]])
    polls: dict[str, int] = field(default_factory=dict[str, int])
    revert_keys: dict[str, list[str]] = field(default_factory=dict[str, list[str]])

    def of(self, run_id: str) -> Recorder:
        """What the bodies of this run see: where one flow is run more than once, each run has its own."""
        return self

    def begin(self, name: str, phase: Literal["execute", "revert"], arguments: tuple[Any, ...], key: str) -> None:
        with self.lock:
            self.entries.append(Entry(name, phase, "begin", arguments, key))

    def end(self, name: str, phase: Literal["execute", "revert"], how: Literal["ok", "raise", "not_ready"]) -> None:
        with self.lock:
            self.entries.append(Entry(name, phase, how))

    def attempt(self, name: str, key: str) -> int:
        """Which attempt of the run this is, from 0: each has its own key (C5), its polls share one (F2)."""
        return self._index(self.keys, name, key)

    def revert(self, name: str, key: str) -> int:
        """Which revert of the run this is, from 0; one that was interrupted is called again with its key (D5)."""
        return self._index(self.revert_keys, name, key)

    def told(self, name: str, outcome: str) -> None:
        """What a revert is told of how the execute has ended."""

    def _index(self, keys: dict[str, list[str]], name: str, key: str) -> int:
        with self.lock:
            known = keys.setdefault(name, [])
            if key not in known:
                known.append(key)
            return known.index(key)

    def calls(self) -> list[Call]:
        """The calls in order; the polls of one attempt are one call."""
        found: list[Call] = []
        seen: set[tuple[str, str]] = set()
        for entry in self.entries:
            if entry.how == "begin" and (entry.phase == "revert" or (entry.name, entry.key) not in seen):
                seen.add((entry.name, entry.key))
                found.append(Call(entry.name, entry.phase, entry.arguments))
        return found


def _execute(task: specs.Task, recorders: Recorder, arguments: tuple[Any, ...], ctx: TaskContext) -> int:
    recorder, key = recorders.of(ctx.run_id), ctx.idempotency_key
    n = recorder.attempt(task.name, key)
    recorder.begin(task.name, "execute", arguments, key)
    wanted = task.attempt(n)
    said = recorder.polls.get(key, 0)
    if said < wanted.polls:
        recorder.polls[key] = said + 1
        recorder.end(task.name, "execute", "not_ready")
        raise NotReady(retry_after=0)
    recorder.end(task.name, "execute", "ok" if wanted.ends == "ok" else "raise")
    if wanted.ends == "ok":
        return value_of(task.name, n, arguments)
    raise {"raise": Boom, "permanent": Permanent, "hold": Hold}[wanted.ends](task.name)


def _revert(task: specs.Task, recorders: Recorder, arguments: tuple[Any, ...], ctx: TaskContext) -> None:
    recorder, key = recorders.of(ctx.run_id), ctx.idempotency_key
    recorder.told(task.name, str(ctx.outcome))
    n = recorder.revert(task.name, key)
    recorder.begin(task.name, "revert", arguments, key)
    raises = task.revert_raises(n)
    recorder.end(task.name, "revert", "raise" if raises else "ok")
    if raises:
        raise Boom(task.name)


def _lent(body: Callable[..., Any]) -> Callable[..., Any]:
    """The body with a connection, through which it writes under which key it was called."""

    def lent(connection: Any, ctx: TaskContext, **given: Any) -> Any:
        connection.append(ctx.idempotency_key)
        return body(ctx, **given)

    shape = inspect.signature(body)
    asked = inspect.Parameter("connection", inspect.Parameter.KEYWORD_ONLY, annotation=Connection)
    lent.__signature__ = shape.replace(parameters=[*shape.parameters.values(), asked])  # type: ignore[attr-defined]
    lent.__annotations__ = {**body.__annotations__, "connection": Connection}
    return lent


def _bodies(task: specs.Task, recorder: Recorder) -> tuple[Callable[..., int], Callable[..., None]]:
    """Two functions with as many arguments as the task takes."""
    match len(task.takes):
        case 0:

            def execute0(ctx: TaskContext) -> int:
                return _execute(task, recorder, (), ctx)

            def revert0(ctx: TaskContext, result: int | None) -> None:
                _revert(task, recorder, (result,), ctx)

            return execute0, revert0
        case 1:

            def execute1(ctx: TaskContext, a: Any) -> int:
                return _execute(task, recorder, (a,), ctx)

            def revert1(ctx: TaskContext, result: int | None, a: Any) -> None:
                _revert(task, recorder, (a, result), ctx)

            return execute1, revert1
        case _:

            def execute2(ctx: TaskContext, a: Any, b: Any) -> int:
                return _execute(task, recorder, (a, b), ctx)

            def revert2(ctx: TaskContext, result: int | None, a: Any, b: Any) -> None:
                _revert(task, recorder, (a, b, result), ctx)

            return execute2, revert2


@dataclass
class Builder:
    """Places the parts of a spec, each name once.

    What is ``inside`` a flow that is made late finds what is outside by name: every part provides its own.
    """

    app: App
    recorder: Recorder
    placed: dict[str, Any] = field(default_factory=dict[str, Any])
    definitions: dict[str, Any] = field(default_factory=dict[str, Any])
    factories: dict[str, Any] = field(default_factory=dict[str, Any])
    lists: dict[str, str] = field(default_factory=dict[str, str])  # of an each: the input with the names of its parts
    inputs: dict[str, Any] = field(default_factory=dict[str, Any])
    inside: bool = False

    def define(self, spec: Spec) -> None:
        for task in specs.tasks(spec.root):
            if not task.has_body or task.child is not None:
                continue
            execute, revert = _bodies(task, self.recorder)
            if task.transactional:
                execute, revert = _lent(execute), _lent(revert)
            options: dict[str, Any] = {"backoff": constant(task.backoff_s)} if task.backoff_s else {}
            made = self.app.task(
                name=task.name, attempts=task.attempts, read_only=task.read_only, on_interrupt=task.on_interrupt,
                transactional=task.transactional, **options,
            )(execute)  # fmt: skip
            if task.revert is not None and not task.read_only:
                made.revert(attempts=task.revert_attempts, **options)(revert)
            self.definitions[task.name] = made
        for flow in specs.walk(spec.root):
            if isinstance(flow, specs.Flow) and flow.late:
                self.factories[flow.name] = self._factory(flow)

    def _factory(self, flow: specs.Flow) -> Any:
        """What makes a flow late: the flow itself, or one of its parts by name."""
        if flow.name in self.lists:
            parts = {part.name: part for part in flow.children if isinstance(part, specs.Flow)}

            @self.app.flow(name=f"part of {flow.name}", label="{name}")
            def one(name: str) -> Flow[Any]:
                return self._anew().flow(parts[name])

            return one

        @self.app.flow(name=f"late {flow.name}")
        def whole(go: str) -> Flow[Any]:
            return self._anew().flow(flow)

        return whole

    def _anew(self) -> Builder:
        return replace(self, placed={}, inside=True)

    def place(self, part: specs.Part) -> Any:
        if isinstance(part, specs.Task):
            made = self._task(part)
        elif part.late:
            factory = self.factories[part.name]
            which = self.lists.get(part.name)
            made = factory.bind(symbol("go")) if which is None else factory.each(symbol(which))
            made = made.named(part.name)
        else:
            made = self.flow(part)
        made = self.placed[part.name] = made.as_(part.name)
        return made

    def _task(self, task: specs.Task) -> Any:
        if task.sleep_s is not None:
            return sleep(task.sleep_s).named(task.name)
        if task.signal:
            return Signal(task.signal, int).wait(timeout=task.timeout_s).named(task.name)
        arguments = [self._taken(taken) for taken in task.takes]
        if task.child is not None:
            given = dict(zip("xy", [*arguments, 0, 0], strict=False))
            return self.factories[task.name].child(**given).named(task.name)
        return self.definitions[task.name].bind(**dict(zip("ab", arguments, strict=False))).named(task.name)

    def _taken(self, name: str) -> Any:
        if name.startswith("input:"):
            wanted = name.removeprefix("input:")
            return symbol(wanted) if name == specs.INPUTS[0] or self.inside else self.inputs[wanted]
        found = self.placed.get(name)
        return symbol(name.replace(":", "_")) if found is None and self.inside else found

    def flow(self, flow: specs.Flow) -> Flow[Any]:
        options: dict[str, Any] = {"name": flow.name}
        if flow.retry is not None:
            retry = Times(
                flow.retry,
                revert_all=flow.revert_all,
                backoff=constant(flow.backoff_s),
                provides=f"retry_{flow.name}",
            )
            options["retry"] = self.placed[f"retry:{flow.name}"] = retry
        children: list[Any] = [self.place(child) for child in flow.children]
        if flow.pattern == "linear":
            return flowledger.linear(*children, **options)
        if flow.pattern == "unordered":
            return flowledger.unordered(*children, **options)
        links = [flowledger.link(children[before], children[after]) for before, after in flow.links]
        return flowledger.graph(*children, *links, **options)


def _is_each(flow: specs.Flow) -> bool:
    """Whether a flow that is made late is one over a list: of flows side by side, without a retry."""
    sides = all(isinstance(child, specs.Flow) and not child.late for child in flow.children)
    return flow.pattern == "unordered" and flow.retry is None and sides


def build(spec: Spec, app: App, recorder: Recorder) -> Any:
    """The flow to run: a factory that builds it anew each time, as a resume would."""
    flows = [part for part in specs.walk(spec.root) if isinstance(part, specs.Flow)]
    over = [flow for flow in flows if flow.late and _is_each(flow)]
    lists = dict(zip([flow.name for flow in over], ["one", "two", "three"], strict=False))
    builder = _builder(spec, app, recorder, lists)

    @app.flow(name=spec.root.name, on_failure=spec.on_failure)
    def factory(go: str, one: list[str], two: list[str], three: list[str], x: Any, y: Any) -> Flow[Any]:
        return replace(builder, placed={}, inputs={"x": x, "y": y}).flow(spec.root)

    named = {lists[flow.name]: [part.name for part in flow.children] for flow in over if flow.name in lists}
    return factory("now", x=0, y=0, **{name: named.get(name, []) for name in ("one", "two", "three")})


def _builder(spec: Spec, app: App, recorder: Recorder, lists: dict[str, str]) -> Builder:
    """What places a spec, with a factory for each task of it that is a run of its own."""
    builder = Builder(app, recorder, lists=lists)
    builder.define(spec)
    for task in specs.tasks(spec.root):
        if task.child is not None:
            builder.factories[task.name] = _child(task.child, app, recorder)
    return builder


def _child(spec: Spec, app: App, recorder: Recorder) -> Any:
    builder = _builder(spec, app, recorder, {})

    @app.flow(name=spec.root.name, on_failure=spec.on_failure)
    def factory(x: Any, y: Any) -> Flow[Any]:
        return replace(builder, placed={}, inputs={"x": x, "y": y}).flow(spec.root)

    return factory
