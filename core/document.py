"""A plan as JSON, for readers that have no code; and its fingerprint (rule E8).

The document is an object: ``factory``, ``on_failure``, ``fingerprint``, ``tasks`` (by name: whether it has a revert or
is read only, …) and ``nodes``, by number. Of a node what is left out is empty: see `DocumentNode`. Values bound by hand
appear as digests only.
"""

from __future__ import annotations

from hashlib import sha256
from typing import Any, NamedTuple

import msgspec
from msgspec.structs import replace

from flowledger.events.errors import DefinitionError
from flowledger.events.facts import OnFailure

from .plan import (
    LOSSES,
    Binding,
    Condition,
    FromConnection,
    FromContext,
    FromInput,
    FromNode,
    FromOutcome,
    FromResource,
    FromRound,
    Given,
    Node,
    TaskSpec,
)
from .retry import Retry

Value = list[Any]  # a binding in short: [argument, where from, which]


class DocumentRetry(msgspec.Struct, frozen=True, kw_only=True):
    """A retry: its class and arguments."""

    kind: str
    arguments: msgspec.Raw


class DocumentNode(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """One node; ``scope`` and ``parent`` are numbers of nodes, ``config`` is the configuration of a task class.

    ``values``: each argument with where it comes from: ["node_id", "given", digest], ["size", "input", name],
    ["id", "node", path] or ["id", "node", path, item], ["n", "retry", path], ["cloud", "resource", name],
    ["ctx", "context"], ["db", "connection"].
    ``conditions``: [path of the part before or null, the predicate, depth, its values].
    ``expands``: the task or factory that the node is made of when its values are known (E7).
    """

    number: int
    path: str
    name: str
    pattern: str
    parent: int
    scope: int = 0
    preds: tuple[int, ...] = ()
    task: str = ""
    provides: str | tuple[str, ...] | None = None
    retry: DocumentRetry | None = None
    returns: int | None = None
    values: list[Value] = []
    revert_values: list[Value] = []
    config: Any = None  # written as the task keeps it, read as JSON
    conditions: list[Value] = []
    expands: str = ""


class DocumentTask(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What is the same for all atoms of a task; ``child``: it is a flow, and each of them a run of its own.

    ``losses``: so many processes lost in one try park it (C6).
    """

    revert: bool
    read_only: bool
    child: bool = False
    losses: int = LOSSES


class Document(msgspec.Struct, frozen=True, kw_only=True):
    """A plan as it is kept."""

    factory: str
    on_failure: str
    fingerprint: str
    tasks: dict[str, DocumentTask]
    nodes: list[DocumentNode]


def _plain(value: Any) -> Any:
    """Values of retries that msgspec does not know: a few that have one clear form, no others."""
    if isinstance(value, type):
        return f"{value.__module__}.{value.__qualname__}"
    if isinstance(value, range):
        return list(value)
    model_dump = getattr(value, "model_dump", None)
    if model_dump is not None:
        return model_dump(mode="json")
    raise TypeError(f"{type(value).__name__} has no JSON form")


_ENCODER = msgspec.json.Encoder(enc_hook=_plain)
_DECODER = msgspec.json.Decoder(Document)


def describe(nodes: list[Node], factory: str, on_failure: OnFailure) -> tuple[str, bytes]:
    """The fingerprint of a plan and its document. Node by node: nothing but bytes is kept of a large plan."""
    return _describe(nodes, nodes, factory, on_failure, 0)


def describe_expansion(root: Node, nodes: list[Node], first: int) -> tuple[str, bytes]:
    """The same for what an expansion has become: ``root`` and the nodes of the plan from number ``first`` on.

    The root has number 0 there; what it is to the flow around it is in the document of that flow, and not said again.
    A scope of 0 is the root, or a scope around it. ``factory`` is what was expanded, ``on_failure`` is empty.
    """
    of = "" if root.expansion is None else root.expansion.of
    alone = replace(root, preds=(), conditions=(), arguments=(), revert_arguments=(), expansion=None)
    return _describe([alone, *nodes[first:]], nodes, of, "", first)


def _describe(
    described_nodes: list[Node], nodes: list[Node], factory: str, on_failure: str, first: int
) -> tuple[str, bytes]:
    described, identities = bytearray(), bytearray()
    tasks: dict[str, DocumentTask] = {}
    encode_into = _ENCODER.encode_into
    for node in described_nodes:
        task = node.task
        if task is not None and task.name not in tasks:
            tasks[task.name] = _task(task)
        document = _node(node, nodes, first)
        encode_into(document, described, -1)
        described += b","
        encode_into(_lasting(_identity(document, described_nodes)), identities, -1)
    fingerprint = sha256(identities).hexdigest()
    head = _ENCODER.encode(
        Document(factory=factory, on_failure=on_failure, fingerprint=fingerprint, tasks=tasks, nodes=[])
    )
    return fingerprint, b"".join((head.removesuffix(b"]}"), described[:-1], b"]}"))


def read_document(content: bytes) -> Document:
    """A document that was kept."""
    return _DECODER.decode(content)


def fingerprint_of(content: bytes) -> str:
    """The fingerprint of a document as it was kept; "" where it is none. Another than its name's: it was changed."""
    try:
        document = read_document(content)
        identities = bytearray()
        for node in document.nodes:
            _ENCODER.encode_into(_lasting(_identity(node, document.nodes)), identities, -1)
    except (msgspec.MsgspecError, UnicodeDecodeError, IndexError):
        return ""
    return sha256(identities).hexdigest()


class Difference(NamedTuple):
    """One thing of E8 that differs: ``what`` is "-" (gone), "+" (new), or a field; ``text`` says it in one line."""

    path: str
    what: str
    text: str


def differing(old: Document, new: Document) -> list[Difference]:
    """What of E8 differs between two plans, in plan order; the order of the parts itself where nothing else does."""
    olds, news = ({n.path: n for n in d.nodes} for d in (old, new))
    found = [Difference(path, "-", f"- {path}") for path in olds if path not in news]
    for path, node in news.items():
        if path not in olds:
            found.append(Difference(path, "+", f"+ {path}"))
            continue
        before, after = _identity(olds[path], old.nodes), _identity(node, new.nodes)
        found.extend(
            Difference(path, field, f"~ {path}: {field} was {_text(b)}, is {_text(a)}")
            for field, b, a in zip(_IDENTITY, before, after, strict=True)
            if b != a
        )
    if not found and list(olds) != list(news):
        found.append(Difference("", "order", "~ the order of the parts"))
    return found


def differences(old: Document, new: Document) -> list[str]:
    """What of E8 differs between two plans, one line each: for people."""
    return [difference.text for difference in differing(old, new)]


_IDENTITY = (
    "path", "pattern", "task", "scope", "predecessors", "retry", "values", "returns", "config", "conditions",
    "expands",
)  # fmt: skip
_FIRST_RELEASE = 9  # how many of these every fingerprint covers; add others at the end


def _identity(node: DocumentNode, nodes: Any) -> tuple[Any, ...]:
    """What rule E8 counts, with paths instead of numbers: numbers shift when something is added in front.

    Reverts are bodies: adding one where it was missing must not keep a run from going on.
    """
    preds = [nodes[n].path for n in node.preds] if node.preds else ()
    returns = None if node.returns is None else nodes[node.returns].path
    return (
        node.path, node.pattern, node.task, nodes[node.scope].path, preds, node.retry, node.values, returns,
        node.config, node.conditions, node.expands,
    )  # fmt: skip


def _lasting(identity: tuple[Any, ...]) -> tuple[Any, ...]:
    """Without what later releases added and this node has none of, so that its plan keeps the fingerprint it had."""
    end = len(identity)
    while end > _FIRST_RELEASE and not identity[end - 1]:
        end -= 1
    return identity[:end]


def _task(task: TaskSpec) -> DocumentTask:
    return DocumentTask(revert=task.revert is not None, read_only=task.read_only, child=task.child, losses=task.losses)


def _node(node: Node, nodes: list[Node], first: int) -> DocumentNode:
    """``first``: of an expansion, the number in the plan that is 1 in the document; what is outside has 0."""
    task = node.task
    number, parent, scope, preds, returns = node.number, node.parent, node.scope, node.preds, node.returns
    if first:
        number, parent, scope = (max(0, n - first + 1) for n in (number, parent, scope))
        preds = tuple([n - first + 1 for n in preds])
        returns = None if returns is None else returns - first + 1
    if task is not None and not (node.revert_arguments or task.config or node.conditions):
        return DocumentNode(
            number=number, path=node.path, name=node.name, pattern="task", parent=parent, scope=scope, preds=preds,
            task=task.name, provides=node.provides,
            values=[_value(b, nodes) for b in node.arguments] if node.arguments else [],
        )  # fmt: skip
    return DocumentNode(
        number=number,
        path=node.path,
        name=node.name,
        pattern=node.pattern,
        parent=parent,
        scope=scope,
        preds=preds,
        task="" if task is None else task.name,
        provides=node.provides,
        retry=None if node.retry is None else _retry(node.retry, node.path),
        returns=returns,
        values=[_value(b, nodes) for b in node.arguments or node.retry_arguments],
        revert_values=[_value(b, nodes) for b in node.revert_arguments] if node.revert_arguments else [],
        config=msgspec.Raw(task.config) if task is not None and task.config else None,
        conditions=[_condition(condition, nodes) for condition in node.conditions],
        expands="" if node.expansion is None or node.expanded else node.expansion.of,
    )


def _condition(condition: Condition, nodes: list[Node]) -> Value:
    before = None if condition.before is None else nodes[condition.before].path
    return [before, condition.shown, condition.depth, [_value(binding, nodes) for binding in condition.arguments]]


def _value(binding: Binding, nodes: list[Node]) -> Value:
    match binding:
        case Given():
            return [binding.argument, "given", binding.digest]
        case FromInput():
            return [binding.argument, "input", binding.name]
        case FromNode():
            path = nodes[binding.node].path
            return (
                [binding.argument, "node", path]
                if binding.item is None
                else [binding.argument, "node", path, binding.item]
            )
        case FromRound():
            return [binding.argument, "retry", nodes[binding.scope].path]
        case FromResource():
            return [binding.argument, "resource", binding.name]
        case FromContext():
            return [binding.argument, "context"]
        case FromConnection():
            return [binding.argument, "connection"]
        case FromOutcome():
            return [binding.argument, "outcome", binding.what, binding.item]


def _retry(retry: Retry[Any], path: str) -> DocumentRetry:
    symbols = retry.symbols()
    own = sorted(vars(retry).items())
    arguments = {name: value for name, value in own if not name.startswith("_") and name not in symbols}
    try:
        content = _ENCODER.encode(arguments)
    except TypeError as error:
        raise DefinitionError(
            f"the retry of {path} ({type(retry).__name__}) has an argument that cannot be written down: {error}",
            hint="keep live objects in attributes that start with an underscore",
        ) from error
    return DocumentRetry(kind=type(retry).__qualname__, arguments=msgspec.Raw(content))


def _text(value: Any) -> str:
    return _ENCODER.encode(value).decode()
