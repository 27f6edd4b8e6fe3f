"""Step 3, in plan order: what each argument of each atom is bound to, and the edges that follows from."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from flowledger.core.annotations import can_hold, can_take_object
from flowledger.core.bound import type_name
from flowledger.core.parts import Atom, Flow, Part
from flowledger.core.plan import (
    RUN,
    Binding,
    FromConnection,
    FromContext,
    FromInput,
    FromNode,
    FromResource,
    FromRound,
    Given,
    Node,
)
from flowledger.core.resource import Resource
from flowledger.core.retry import Retry
from flowledger.core.signature import Parameter
from flowledger.core.source import shown
from flowledger.core.symbols import Named, Symbol
from flowledger.core.typed import typed
from flowledger.events.errors import CyclicFlow, DefinitionError, MissingSymbol, SymbolTypeMismatch

from .branches import Conditions, check_skipped
from .draft import Draft
from .late import bind_late
from .missing import comes_too_late, missing_symbol, says_nothing_of_order
from .past import Past
from .reverting import bind_revert
from .scopes import Input, Round, Scope, Source, outwards
from .symbols import Provider, annotation_of, find_placed, target_of, typed_of


class Binder:
    """Goes through the nodes once, keeping for each flow what can be seen at the place it has got to."""

    def __init__(self, draft: Draft, inputs: Mapping[str, Given]) -> None:
        self.draft = draft
        self.inputs = {name: Input(value, False) for name, value in inputs.items()}
        self.scopes: dict[int, Scope] = {}
        self.resources: set[str] = set()
        self.conditions = Conditions(self)
        self.conditional: list[Node] = []  # nodes with predicates
        self._fits: set[tuple[int, int]] = set()
        self._opened: list[Scope] = []

    def bind_all(self) -> None:
        """Fill the bindings of all atoms and the edges of all graphs."""
        nodes = self.draft.nodes
        self.scopes[RUN] = Scope(self.draft, nodes[RUN], None, ())
        self._bind(nodes[1:])

    def bind_inside(self, root: Node, nodes: list[Node], around: Scope) -> None:
        """The same for what is in an expansion; ``around`` is what is seen where it stands."""
        self._bind_flow(root, around)
        self._bind(nodes)

    def _bind(self, nodes: list[Node]) -> None:
        for node in nodes:
            scope = self.scopes[node.parent]
            scope.enter(self.draft, node)
            node.conditions = self.conditions.of(node, scope)
            if node.conditions:
                self.conditional.append(node)
            atom = self.draft.atoms[node.number]
            if atom is None:
                self._bind_flow(node, scope)
            else:
                self.bind_atom(node, atom, atom.definition.signature.parameters)
        for scope in self._opened:
            if scope.links is not None:
                scope.links.close()
        self._opened.clear()
        check_skipped(self, nodes)

    def bind_atom(self, node: Node, atom: Atom[Any], parameters: tuple[Parameter, ...]) -> None:
        """Fill the bindings of an atom."""
        if parameters or atom.bound:
            node.arguments = self._arguments(node, atom, parameters)
        if atom.definition.revert is not None:
            node.revert_arguments = bind_revert(self, node, atom)

    def _bind_flow(self, node: Node, scope: Scope) -> None:
        flow = self.draft.parts[node.number]
        assert isinstance(flow, Flow)
        if flow.late is not None:
            bind_late(self, node, flow, flow.late)
            return
        if node.retry is not None:
            typed(node.retry.value_type, where=f"the value of the retry of {node.path}")
        self.scopes[node.number] = opened = Scope(self.draft, node, scope, self._inputs_of(node))
        if node.retry is not None:
            node.retry_arguments = self._retry_arguments(node, node.retry, opened)
        self._opened.append(opened)

    def _inputs_of(self, node: Node) -> tuple[Mapping[str, Input], ...]:
        flow = self.draft.parts[node.number]
        assert isinstance(flow, Flow)
        calls = flow.calls[::-1]  # the innermost is the nearest
        if node.parent != RUN:
            return tuple({name: Input(value, True) for name, value in call.inputs.items()} for call in calls)
        return (*({n: Input(v, True) for n, v in call.inputs.items()} for call in calls[:-1]), self.inputs)

    # -- one atom -------------------------------------------------------------------------------

    def _arguments(self, node: Node, atom: Atom[Any], parameters: tuple[Parameter, ...]) -> tuple[Binding, ...]:
        bound, is_root = atom.bound, node.parent == RUN
        found: list[Binding] = []
        for parameter in parameters:
            value = bound.get(parameter.name)
            if isinstance(value, Given):  # of the run's root, bound values are the run's inputs
                found.append(FromInput(value.argument, value.argument, value.typed) if is_root else value)
                continue
            if value is None:
                binding = self.by_name(node, parameter, parameter.name)
            else:
                binding = self.by_hand(node, parameter, value)
            if binding is not None:
                found.append(binding)
        if not bound.keys() <= atom.definition.signature.by_name.keys():
            found.extend(self._extra(node, atom))
        return tuple(found)

    def _retry_arguments(self, node: Node, retry: Retry[Any], own: Scope) -> tuple[Binding, ...]:
        """The arguments of a retry that are symbols: inputs of its flow's factory, else as if the flow had asked."""
        return tuple(self._retry_argument(node, retry, own, *item) for item in sorted(retry.symbols().items()))

    def _retry_argument(self, node: Node, retry: Retry[Any], own: Scope, name: str, value: Symbol[Any]) -> Binding:
        parameter = Parameter(name, Any, None, f"`{name}` of the retry {type(retry).__name__}")
        given = own.input(value.name) if isinstance(value, Named) else None
        return self.by_hand(node, parameter, value) if given is None else self.from_source(node, parameter, given)

    def _extra(self, node: Node, atom: Atom[Any]) -> list[Binding]:
        """What was bound to names that only ``**kwargs`` takes."""
        found: list[Binding] = []
        for name, value in atom.bound.items():
            if name not in atom.definition.signature.by_name:
                parameter = Parameter(name, Any, None, name)
                found.append(value if isinstance(value, Given) else self.by_hand(node, parameter, value))
        return found

    def by_name(self, node: Node, parameter: Parameter, name: str) -> Binding | None:
        """What an argument nobody bound gets: by annotation, by name, or its default (None).

        Raises:
            MissingSymbol, AmbiguousSymbol, SymbolTypeMismatch
        """
        if parameter.is_context:
            return FromContext(parameter.name)
        if parameter.is_connection and self._is_transactional(node):
            return FromConnection(parameter.name)
        source = self.find(node, name)
        if source is not None:
            return self.from_source(node, parameter, source)
        resource = self.draft.registry.find_resource(name, self._asking(node))
        if resource is not None:
            return self._from_resource(node, parameter, resource)
        if parameter.required or name != parameter.name:
            raise missing_symbol(self, node, parameter, name)
        return None

    def _asking(self, node: Node) -> str | None:
        """The name of the task or factory that asks for a node's arguments."""
        if node.task is not None:
            return node.task.name
        return None if node.expansion is None else node.expansion.of

    def _is_transactional(self, node: Node) -> bool:
        atom = self.draft.atoms[node.number]
        return atom is not None and atom.definition.options.transactional

    def find(self, node: Node, name: str) -> Source | None:
        """The nearest provider of a name; in a graph this makes an edge."""
        for scope in outwards(self.scopes[node.parent]):
            found = scope.own(name, node.path)
            if found is not None:
                return found
        return None

    # -- by hand --------------------------------------------------------------------------------

    def by_hand(self, node: Node, parameter: Parameter, value: Symbol[Any]) -> Binding:
        """What an argument gets that was bound to a part, a symbol, a resource or a retry."""
        if isinstance(value, Part):
            return self.from_source(node, parameter, self._placed(node, parameter, value))
        if isinstance(value, Named):
            binding = self.by_name(node, parameter, value.name)
            assert binding is not None
            return binding
        if isinstance(value, Resource):
            name = self.draft.registry.name_of(value)
            if name is None:
                raise MissingSymbol(
                    f"{self.where(node)}: `{parameter.name}` is bound to the resource {value.where}, "
                    f"which is not in the app {self.draft.registry.name}",
                    hint="include the app it is defined in",
                )
            return self._from_resource(node, parameter, name)
        if isinstance(value, Retry):
            return self.from_source(node, parameter, self._round(node, parameter, value))
        raise DefinitionError(
            f"{self.where(node)}: `{parameter.name}` cannot be bound to {value!r}",
            hint="bind a value, a part, symbol(…), a resource or a retry",
        )

    def _round(self, node: Node, parameter: Parameter, retry: Retry[Any]) -> Round:
        for scope in outwards(self.scopes[node.parent]):
            if scope.node.retry is retry:
                return Round(scope.node.number, retry.value_type)
        raise MissingSymbol(
            f"{self.where(node)}: `{parameter.name}` is bound to a retry ({type(retry).__name__}) "
            "that is not the retry of a flow around it",
            hint="hand the same object to the flow: linear(…, retry=that)",
        )

    def _placed(self, node: Node, parameter: Parameter, part: Part[Any]) -> Provider:
        draft = self.draft
        flow = node.parent
        found = find_placed(draft, part, flow)
        while found is None and flow != RUN:
            flow = draft.nodes[flow].parent
            found = find_placed(draft, part, flow)
        if found is None:
            raise MissingSymbol(
                f"{self.where(node)}: `{parameter.name}` is bound to {said(part)}, which is not placed in this flow",
                hint="place it; .named(…) and .as_(…) give copies: bind the copy that you placed",
            )
        self._order(node, parameter, flow, found)
        target = target_of(draft, found)
        return Provider(target, None, annotation_of(draft, target))

    def _order(self, node: Node, parameter: Parameter, flow: int, found: int) -> None:
        """See to it that the provider runs first, or refuse."""
        draft = self.draft
        before, after = draft.child_towards(flow, found), draft.child_towards(flow, node.number)
        what = f"{self.where(node)}: `{parameter.name}` is bound to {draft.nodes[found].path}"
        if before == after:
            raise CyclicFlow(f"{what}, which it is a part of", hint="bind it to a part that ends before this one")
        scope = next(s for s in outwards(self.scopes[node.parent]) if s.node.number == flow)
        if isinstance(scope, Past):
            if not scope.precedes(before):
                raise comes_too_late(what, scope.node)
        elif scope.links is not None:
            scope.links.add(before, after, f"`{parameter.name}`")
        elif scope.names is None:
            raise says_nothing_of_order(what, scope.node)
        elif before > after:
            raise MissingSymbol(
                f"{what}, which runs later", hint="in linear(…), place the provider before its consumer"
            )

    # -- bindings -------------------------------------------------------------------------------

    def from_source(self, node: Node, parameter: Parameter, source: Source) -> Binding:
        """The binding of an argument to a source, types compared."""
        if isinstance(source, Provider):
            self._check(node, parameter, source.annotation, source)
            return self._from_node(parameter, source)
        if isinstance(source, Round):
            self._check(node, parameter, source.annotation, source)
            annotation = parameter.annotation if parameter.annotated else source.annotation
            return FromRound(parameter.name, source.scope, typed(annotation, where=parameter.where))
        value = source.value
        self._check(node, parameter, value.typed.annotation, source)
        typed_ = parameter.typed if parameter.annotated else value.typed
        if source.nested:
            return Given(parameter.name, value.content, value.digest, typed_)
        return FromInput(parameter.name, value.argument, typed_)

    def _from_node(self, parameter: Parameter, source: Provider) -> FromNode:
        provider = typed_of(self.draft, source.node)
        if source.item is None:
            return FromNode(parameter.name, source.node, None, parameter.typed if parameter.annotated else provider)
        differs = parameter.annotated and parameter.annotation != source.annotation
        return FromNode(parameter.name, source.node, source.item, provider, parameter.typed if differs else None)

    def _from_resource(self, node: Node, parameter: Parameter, name: str) -> FromResource:
        resource = self.draft.registry.resources[name]
        if parameter.annotated and not can_take_object(resource.annotation, parameter.annotation):
            raise SymbolTypeMismatch(
                f"{self.where(node)}: {parameter.name}: {type_name(resource.annotation)} → "
                f"{type_name(parameter.annotation)}, from the resource {resource.where}",
                hint="nothing else has this name: is a part missing that provides it?",
            )
        self.resources.add(name)
        return FromResource(parameter.name, name)

    def _check(self, node: Node, parameter: Parameter, annotation: Any, source: Source) -> None:
        key = (id(parameter), id(annotation))
        if key in self._fits:
            return
        if parameter.annotated and not can_hold(annotation, parameter.annotation):
            raise SymbolTypeMismatch(
                f"{self.where(node)}: {parameter.name}: {type_name(annotation)} → "
                f"{type_name(parameter.annotation)}, from {self.origin(source)}",
                hint="change one of the annotations, or bind the argument to something else",
            )
        self._fits.add(key)

    def knows(self, number: int) -> bool:
        """Whether it is still known what a node was made from; of expansions it is kept only where it is needed."""
        return self.draft.atoms[number] is not None or self.draft.parts[number] is not None

    # -- words ----------------------------------------------------------------------------------

    def where(self, node: Node) -> str:
        """An atom in messages: its path, and the line that placed it or defined it."""
        return f"{node.path} ({shown(self.draft.place_of(node.number))})"

    def origin(self, source: Source) -> str:
        """A source in messages."""
        if isinstance(source, Provider):
            atom = self.draft.atoms[source.node]
            path = self.draft.nodes[source.node].path
            return path if atom is None else f"{path} ({shown(atom.definition.place)})"
        if isinstance(source, Round):
            return f"the retry of {self.draft.nodes[source.scope].path}"
        return f"the input `{source.value.argument}`"


def said(part: Part[Any]) -> str:
    """A part in messages."""
    if isinstance(part, Flow):
        return f"the flow made at {shown(part.place)}"
    atom = part.atom()
    return f"`{atom.definition.name}` ({shown(atom.place)})"
