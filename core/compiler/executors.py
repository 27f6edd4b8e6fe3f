"""Executors that an app was given by name: which of them a plan asks for, and whether the app has them."""

from __future__ import annotations

from collections.abc import Iterator

from flowledger.core.definition import TaskDefinition
from flowledger.core.names import did_you_mean
from flowledger.core.plan import EXECUTORS, Plan, is_named
from flowledger.core.registry import Registry
from flowledger.events.errors import UnknownExecutor

from .draft import Draft


def executors_of(draft: Draft, lanes: tuple[str, ...]) -> dict[str, str]:
    """By name the path of the first part that asks for it; "" where the whole run does. ``lanes`` are all there are."""
    found: dict[str, str] = {}
    named = {lane for lane in lanes if is_named(lane)}
    for name, path in _asked(draft, named):
        if is_named(name):
            found.setdefault(name, path)
    return found


def _asked(draft: Draft, named: set[str]) -> Iterator[tuple[str, str]]:
    """Also by tasks that will be placed once per item; what factories make later is looked at then."""
    if draft.executor is not None:
        yield draft.executor, ""
    for node in draft.nodes:
        if node.lane in named:
            yield node.lane, node.path
        if node.expansion is not None and draft.executor is None:
            definition = draft.definition_of(node.number)
            if isinstance(definition, TaskDefinition) and definition.options.executor is not None:
                yield definition.options.executor, node.path


def check_executors(plan: Plan, registry: Registry) -> None:
    """Look whether the app has been given the executors that a plan asks for, as far as it has grown.

    Raises:
        UnknownExecutor: it lacks one.
    """
    asked = dict(plan.executors)
    if plan.order is not None:  # it has parts that were not there when it was compiled
        for node in plan.nodes:
            if is_named(node.lane):
                asked.setdefault(node.lane, node.path)
    for name, path in asked.items():
        if name not in registry.executor_names:
            raise _unknown(name, path, registry)


def _unknown(name: str, path: str, registry: Registry) -> UnknownExecutor:
    known = sorted(registry.executor_names)
    near = did_you_mean(name, (*known, *EXECUTORS))
    has = f"it has {', '.join(known)}" if known else "it has none of its own"
    return UnknownExecutor(
        f"{path or 'the run'} asks for executor={name!r}, and the app {registry.name} has none of that name",
        hint=f"{near or has + ';'} always there: {', '.join(EXECUTORS)}; "
        f'to give it one: App({registry.name!r}, executors={{"{name}": …}})',
    )
