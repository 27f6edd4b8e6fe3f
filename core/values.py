"""Arguments out of the log: where each value comes from, as bytes, and as what the body is handed.

A body always gets what a resumed run would give it: the value read back from its stored bytes, its own copy. So a
result that does not survive the log is found on the first run, not on the first crash, and no body can change it for
others.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from hashlib import sha256
from typing import Any, cast

import msgspec

from flowledger.events.errors import InternalError
from flowledger.events.facts import Phase
from flowledger.events.failure import Failure

from .attempts import idempotency_key
from .plan import (
    RUN,
    Binding,
    Expansion,
    FromConnection,
    FromContext,
    FromInput,
    FromNode,
    FromOutcome,
    FromResource,
    FromRound,
    Given,
    Node,
)
from .secret import item_json
from .state import State
from .typed import Typed
from .vault import Vault


class Values:
    """Reads a run's symbols. ``moved``: contents of payload rows by digest; ``resource``: finds a live object."""

    def __init__(
        self, state: State, *, moved: Mapping[str, bytes], resource: Callable[[str], Any], vault: Vault | None = None
    ) -> None:
        self._plan = state.plan
        self._state = state
        self._moved = moved
        self._resource = resource
        self._vault = vault
        self._hasher: Callable[[], Any] = sha256 if vault is None or vault.codec is None else vault.hasher
        self._inputs: Mapping[str, msgspec.Raw] | None = None

    # -- bytes

    def content(self, number: int) -> bytes:
        """The result of a node as JSON: an atom's own, a flow's `returns`, or the list of its children's."""
        nodes = self._plan.nodes
        while True:  # not by recursion: loops nest deeply (E7)
            node = nodes[number]
            if node.task is not None:
                result = self._state.results.get(number)
                if result is None:
                    return b"null"
                return self._opened(result.moved) if result.moved else bytes(result.content)
            if number in self._state.skipped:
                return b"null"
            if node.gathers:
                return b"[" + b",".join([self.content(child) for child in self._ran(node)]) + b"]"
            further = next(iter(self._ran(node)), None) if node.pattern == "switch" else node.returns
            if further is None:
                return b"null"
            number = further

    def _ran(self, node: Node) -> list[int]:
        return [child for child in node.children if child not in self._state.skipped]

    def is_skipped(self, number: int) -> bool:
        """Whether the node, or a flow around it, was skipped; a switch is where none of its cases ran."""
        skipped, nodes = self._state.skipped, self._plan.nodes
        while skipped and number != RUN:
            node = nodes[number]
            if number in skipped or (node.pattern == "switch" and not self._ran(node)):
                return True
            number = node.parent
        return False

    def inputs(self) -> Mapping[str, msgspec.Raw]:
        """The run's inputs as submitted, each as JSON."""
        if self._inputs is None:
            submitted = self._state.submitted
            if submitted is None:
                raise InternalError("a run without RunSubmitted has no inputs")
            content = self._opened(submitted.moved) if submitted.moved else bytes(submitted.inputs)
            self._inputs = msgspec.json.decode(content, type=dict[str, msgspec.Raw])
        return self._inputs

    def digest(self, node: Node) -> str:
        """The digest of an atom's inputs, over the providers' stored bytes in parameter order (C10)."""
        if not node.arguments:
            return ""
        hashed = self._hasher()
        for binding in node.arguments:
            source = self._digested(binding)
            hashed.update(b"%d:%d:" % (len(binding.argument), len(source)))
            hashed.update(binding.argument.encode())
            hashed.update(source)
        digest: str = hashed.hexdigest()[:32]
        return digest

    def _digested(self, binding: Binding) -> bytes:
        match binding:
            case Given():
                return binding.digest.encode()
            case FromNode():
                return self.content(binding.node) + b"|" + str(binding.item).encode()
            case FromInput():
                return bytes(self.inputs()[binding.name])
            case FromRound():
                return self._round(binding.scope)
            case FromResource():
                return binding.name.encode()
            case _:
                return b""

    def _opened(self, digest: str) -> bytes:
        """A value that was moved out."""
        content = self._moved[digest]
        return content if self._vault is None else self._vault.opened(content)

    def _round(self, scope: int) -> bytes:
        """The value of a retry in its present round."""
        return self.unsealed(bytes(self._state.history[scope][-1].value))

    def unsealed(self, content: bytes) -> bytes:
        """A retry's value as JSON."""
        return content if self._vault is None else self._vault.unsealed(content, self._moved)

    def packed(self, bindings: tuple[Binding, ...], outcome: Callable[[FromOutcome], bytes] | None) -> dict[str, bytes]:
        """The arguments of a body that runs in another process, as JSON; resources and the context are made there."""
        found = ((binding.argument, self._packed(binding, outcome)) for binding in bindings)
        return {argument: content for argument, content in found if content is not None}

    def _packed(self, binding: Binding, outcome: Callable[[FromOutcome], bytes] | None) -> bytes | None:
        match binding:
            case FromNode():
                if self.is_skipped(binding.node):
                    return None
                if binding.item is None:
                    return self._clear(binding.typed, self.content(binding.node))
                return item_json(self._from_node(binding))
            case Given():
                return self._clear(binding.typed, binding.content)
            case FromInput():
                return self._clear(binding.typed, bytes(self.inputs()[binding.name]))
            case FromRound():
                return self._clear(binding.typed, self._round(binding.scope))
            case FromOutcome():
                return b"null" if outcome is None else outcome(binding)
            case FromResource() | FromContext() | FromConnection():
                return None

    # -- values

    def load(self, typed: Typed, content: bytes) -> Any:
        """A value out of its JSON, secrets and all; raises `pydantic.ValidationError`."""
        return typed.load(self._clear(typed, content))

    def _clear(self, typed: Typed, content: bytes) -> bytes:
        """A value's JSON with its secrets in it, if it has some."""
        if typed.secretive and self._vault is not None:
            return self._vault.revealed(content, self._moved)
        return content

    def expansion(self, node: Node) -> bytes:
        """What an expansion is made of (E7): the values it wants, by argument, as a JSON object."""
        expansion = node.expansion
        assert expansion is not None
        members = [b'"%b":%b' % (b.argument.encode(), self._wanted(b, expansion)) for b in expansion.wants]
        return b"{%b}" % b",".join(members)

    def _wanted(self, binding: Binding, expansion: Expansion) -> bytes:
        match binding:
            case FromNode(item=None):
                return self.content(binding.node)
            case Given():
                return binding.content
            case FromInput():
                return bytes(self.inputs()[binding.name])
            case FromRound():
                return self._round(binding.scope)
            case FromNode():
                return expansion.typed[binding.argument].to_json(self._from_node(binding))
            case _:
                raise InternalError(f"an expansion wants `{binding.argument}`, which is no value of the log")

    def arguments(
        self, bindings: tuple[Binding, ...], context: Callable[[], Any], outcome: Callable[[FromOutcome], Any] | None
    ) -> dict[str, Any]:
        """The keyword arguments of a body, without those whose provider was skipped (they have defaults, E6).

        Raises whatever a conversion raises.
        """
        if self._state.skipped:
            bindings = tuple(b for b in bindings if not (isinstance(b, FromNode) and self.is_skipped(b.node)))
        return {binding.argument: self._value(binding, context, outcome) for binding in bindings}

    def _value(self, binding: Binding, context: Callable[[], Any], outcome: Callable[[FromOutcome], Any] | None) -> Any:
        match binding:
            case FromNode():
                return self._from_node(binding)
            case Given():
                typed = binding.typed
                return self.load(typed, binding.content) if typed.secretive else typed.load(binding.content)
            case FromInput():
                return self.load(binding.typed, bytes(self.inputs()[binding.name]))
            case FromRound():
                return self.load(binding.typed, self._round(binding.scope))
            case FromResource():
                return self._resource(binding.name)
            case FromContext():
                return context()
            case FromConnection():
                return None
            case FromOutcome():
                return None if outcome is None else outcome(binding)

    def _from_node(self, binding: FromNode) -> Any:
        typed = binding.typed
        content = self.content(binding.node)
        value = self.load(typed, content) if typed.secretive else typed.load(content)
        if binding.item is not None:
            value = _item(value, binding.item)
        return value if binding.into is None else binding.into.validate(value)

    def outcome_of(self, node: Node, failures: Callable[[], tuple[Failure, ...]]) -> Callable[[FromOutcome], Any]:
        """What a revert may ask about how its execute ended (E4): ``result``, ``failure``, ``failures``."""

        def answer(binding: FromOutcome) -> Any:
            if binding.what == "failures":
                return [self.shown(failure) for failure in failures()]
            if binding.what == "failure":
                failed = None if node.number in self._state.results else self._state.failures.get(node.number)
                return None if failed is None else self.shown(failed)
            if node.number not in self._state.results or node.task is None:
                return None
            value = self.load(node.task.result, self.content(node.number))
            return value if binding.item is None else _item(value, binding.item)

        return answer

    def shown(self, failure: Failure) -> Failure:
        """A failure as user code may see it."""
        return failure if self._vault is None else self._vault.shown(failure)

    def packed_outcome_of(
        self, node: Node, failures: Callable[[], tuple[Failure, ...]]
    ) -> Callable[[FromOutcome], bytes]:
        """`outcome_of` as JSON."""
        values = self.outcome_of(node, failures)

        def answer(binding: FromOutcome) -> bytes:
            if binding.what == "result" and binding.item is None:
                if node.number not in self._state.results or node.task is None:
                    return b"null"
                return self._clear(node.task.result, self.content(node.number))
            found = values(binding)
            return item_json(found) if binding.what == "result" else msgspec.json.encode(found)

        return answer

    def result(self) -> Any:
        """The run's result through the root's return type; None where what it returns was skipped."""
        root = self._plan.nodes[RUN].children[0]
        return None if self._is_left_out(root) else self.load(self._plan.returns, self.content(root))

    def handed_on(self) -> bytes:
        """The run's result as JSON for another run, which has a key of its own for the secrets in it (G7)."""
        root = self._plan.nodes[RUN].children[0]
        return b"null" if self._is_left_out(root) else self._clear(self._plan.returns, self.content(root))

    def _is_left_out(self, root: int) -> bool:
        return self.is_skipped(self._plan.nodes[root].returns or root)


def _item(value: Any, item: int | str) -> Any:
    if isinstance(item, int) or isinstance(value, Mapping):
        return cast("Any", value)[item]
    return getattr(value, item)


def key_of(run_id: str, state: State, node: Node, phase: Phase) -> str:
    """The idempotency key of the next attempt (C5)."""
    number = node.number
    known = state.known_failures if phase == "execute" else state.known_revert_failures
    return idempotency_key(run_id, node.path, state.tries[number], phase, known.get(number, 0))
