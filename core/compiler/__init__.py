"""From a placed flow to a plan: number the nodes, gather the symbols, bind the arguments, fix the fingerprint.

    tree.py       nested parts → numbered nodes with names and paths
    symbols.py    bottom-up: results and exports of flows
    binding.py    in plan order: arguments and edges (scopes.py: what a name means; links.py: edges of a graph)
    root.py       what a run is a run of, and how it is built again
    expanding.py  the same for an expansion when its values are known (late.py: before; building.py: its parts)

Everything that can be wrong with a flow is found here, before anything is written. Linear in atoms and edges.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from flowledger.core.definition import TaskDefinition
from flowledger.core.document import describe, differences, read_document
from flowledger.core.parts import Atom, Flow, Part
from flowledger.core.plan import Plan
from flowledger.core.registry import Registry
from flowledger.core.task import TaskClass
from flowledger.core.typed import Typed, typed
from flowledger.events.errors import FactoryNotPure
from flowledger.events.facts import OnFailure

from .binding import Binder
from .collecting import no_collections
from .draft import Draft
from .executors import check_executors, executors_of
from .expanding import Expander
from .resources import with_needs
from .root import Entry, entry, inputs_of, rebuild
from .symbols import gather_symbols, typed_of
from .tree import grow

__all__ = ["Entry", "check_executors", "check_pure", "compile", "entry", "inputs_of", "rebuild"]


def compile(  # noqa: A001 - the word for it
    part: Part[Any], registry: Registry, *, executor: str | None = None, on_failure: OnFailure | None = None
) -> Plan:
    """The plan of a flow, or of a bound task. ``executor`` and ``on_failure`` override what the definitions say.

    Whether the app has the executors it asks for is not looked at (see `check_executors`): who only reads a run need
    not have them.

    Raises:
        DefinitionError: something is wrong with the flow; the message names the line and what to do.
    """
    with no_collections():
        return _compile(part, registry, executor, on_failure)


def _compile(part: Part[Any], registry: Registry, executor: str | None, on_failure: OnFailure | None) -> Plan:
    root = entry(part, registry)
    draft = grow(part, root.name, registry, executor)
    gather_symbols(draft, draft.nodes)
    binder = Binder(draft, root.inputs)
    binder.bind_all()
    lanes = tuple(sorted({node.lane for node in draft.nodes if node.task is not None}))
    expanding = [node for node in draft.nodes if node.expansion is not None]
    mode = on_failure or root.on_failure
    fingerprint, document = describe(draft.nodes, root.factory, mode)
    return Plan(
        factory=root.factory,
        nodes=draft.nodes,
        by_path={node.path: node.number for node in draft.nodes},
        inputs=_input_types(root, part),
        returns=typed_of(draft, 1),
        resources=with_needs(registry, binder.resources),
        on_failure=mode,
        fingerprint=fingerprint,
        document=document,
        prioritised={node.priority for node in draft.nodes} != {0},
        lanes=lanes,
        executors=executors_of(draft, lanes),
        without_revert=tuple(_without_revert(draft)),
        growth=Expander(binder, draft.nodes) if expanding else None,
    )


def _without_revert(draft: Draft) -> Iterator[str]:
    """Of tasks that will be placed once per item, the path stands for all of them; what factories make is not known."""
    for node, atom in zip(draft.nodes, draft.atoms, strict=True):
        definition = draft.definition_of(node.number) if atom is None else atom.definition
        if isinstance(definition, TaskDefinition) and definition.lacks_revert:
            yield node.path


def check_pure(build: Callable[[], Part[Any]], registry: Registry) -> Plan:
    """Compile what ``build`` makes, twice, and compare.

    Raises:
        FactoryNotPure: the two plans differ; the message says where.
    """
    first, second = compile(build(), registry), compile(build(), registry)
    if first.fingerprint != second.fingerprint:
        lines = differences(read_document(first.document), read_document(second.document))
        raise FactoryNotPure(
            "\n  ".join([f"{first.factory} built two different plans from the same inputs:", *lines[:5]])
        )
    return first


def _input_types(root: Entry, part: Part[Any]) -> dict[str, Typed]:
    if isinstance(part, Flow) or not root.config:
        return {name: value.typed for name, value in root.inputs.items()}
    return {**_field_types(part.atom()), **{name: value.typed for name, value in root.inputs.items()}}


def _field_types(atom: Atom[Any]) -> dict[str, Typed]:
    """The fields of a task class that is a root: they travel as inputs."""
    owner = atom.definition.owner
    assert isinstance(owner, TaskClass)
    return {
        name: typed(annotation, where=f"field `{name}` of {owner.name}") for name, annotation in owner.fields.items()
    }
