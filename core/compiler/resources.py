"""Which resources a plan needs: those its atoms ask for, and what these ask for in turn."""

from __future__ import annotations

from graphlib import CycleError, TopologicalSorter

from flowledger.core.names import did_you_mean
from flowledger.core.registry import Registry
from flowledger.events.errors import CyclicFlow, MissingSymbol

_NONE = frozenset[str]()  # one for all plans that need nothing


def with_needs(registry: Registry, used: set[str]) -> frozenset[str]:
    """The names of all resources that will be made.

    Raises:
        MissingSymbol: one asks for a resource the app does not have.
        CyclicFlow: they need each other.
    """
    if not used:
        return _NONE
    needs: dict[str, list[str]] = {}
    ahead = sorted(used)
    while ahead:
        name = ahead.pop()
        if name not in needs:
            needs[name] = _needs(registry, name)
            ahead.extend(needs[name])
    try:
        TopologicalSorter(needs).prepare()
    except CycleError as error:
        raise CyclicFlow(
            f"resources need each other: {' → '.join(reversed(error.args[1]))}",
            hint="make one of them without the other",
        ) from None
    return frozenset(needs)


def _needs(registry: Registry, name: str) -> list[str]:
    resource = registry.resources[name]
    found = registry.resource_needs(name)
    for parameter in resource.signature.parameters:
        if parameter.name not in found and parameter.required:
            others = sorted(registry.resources)
            raise MissingSymbol(
                f"the resource {resource.where} asks for `{parameter.name}`, which is no resource of {registry.name}",
                hint=did_you_mean(parameter.name, others) or f"resources: {', '.join(others)}",
            )
    return list(found.values())
