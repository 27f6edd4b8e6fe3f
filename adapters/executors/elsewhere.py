"""Making an attempt that was packed somewhere else: in a child process, or in a worker (rules B6, C1)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from flowledger.core.definition import TaskDefinition
from flowledger.core.engine.attempt import Attempt, Outcome, Raised, failure_of
from flowledger.core.plan import Node, TaskSpec
from flowledger.core.portable import Request
from flowledger.core.redaction import Redactor
from flowledger.core.registry import Registry
from flowledger.core.secret import secrets_in
from flowledger.core.signature import Parameter, Signature
from flowledger.core.state import Ended
from flowledger.core.task import Task
from flowledger.core.vault import LEAST_LEAK_CHARS
from flowledger.events import facts
from flowledger.events.errors import FlowNotRegistered
from flowledger.events.facts import OutcomeIgnored, Phase
from flowledger.events.failure import Failure

Progress = Callable[[float, str], None]


def unheard(_fraction: float, _message: str) -> None:
    """Nobody wants to know."""


class Elsewhere:
    """The run as an attempt sees it that is made away from its engine."""

    lost = False
    guards = True

    def __init__(self, request: Request, is_cancelled: Callable[[], bool], on_progress: Progress = unheard) -> None:
        self.run_id = request.run
        self.max_bytes = request.max_bytes
        self._request = request
        self._is_cancelled = is_cancelled
        self._on_progress = on_progress
        self._redactor = Redactor(known=secrets_in(map(bytes, request.arguments.values())))

    def redacted(self, text: str) -> str:
        """Without the secrets that came with the request, and what looks like one."""
        return self._redactor(text)

    def leaks(self, content: bytes) -> bool:
        """Whether one of those secrets stands in a result."""
        return self._redactor.found_in(content.decode("utf-8", "replace"), least_chars=LEAST_LEAK_CHARS)

    def is_cancelled(self, node: Node, phase: Phase) -> bool:
        """Whether whoever asked does not want it any more."""
        return self._is_cancelled()

    def awaits(self, attempt: Attempt) -> bool:
        """Whoever asked waits for it, as far as is known here."""
        return True

    def deadline_us(self, node: Node) -> int | None:
        """As the request says."""
        return self._request.deadline_us

    def ended(self, number: int) -> Ended:
        """As the request says."""
        return self._request.ended or "unknown"

    def late(self, number: int) -> tuple[OutcomeIgnored, ...]:
        """As the request says."""
        return self._request.late

    def progressed(self, attempt: Attempt, progress: facts.Progress) -> None:
        """Pass it on."""
        self._on_progress(progress.fraction, progress.message)


def attempt_of(registry: Registry, request: Request, host: Elsewhere) -> tuple[Attempt, Signature]:
    """The attempt, without its arguments, and what its body asks for.

    Raises:
        FlowNotRegistered: this code has no such task, or the task has no revert.
    """
    definition = _definition(registry, request)
    spec = definition.spec(request.task)
    call, signature = spec.execute, definition.signature
    if request.phase == "revert":
        if spec.revert is None or definition.revert_signature is None:
            raise FlowNotRegistered(f"task {request.task} has no revert in this code")
        call, signature = spec.revert, definition.revert_signature
    return Attempt(
        host, _node(request, spec), request.phase, call, request.try_, request.attempt, request.key
    ), signature


def _definition(registry: Registry, request: Request) -> TaskDefinition:
    found = registry.tasks.get(request.task)
    if found is None:
        known = ", ".join(sorted(registry.tasks)) or "none"
        raise FlowNotRegistered(f"the app {registry.name} has no task {request.task!r}", hint=f"it has: {known}")
    if isinstance(found, TaskDefinition):
        return found
    config = msgspec.json.decode(request.config, type=dict[str, Any])
    task: Task[Any] = found.cls(**config)
    return task.atom().definition


def _node(request: Request, spec: TaskSpec) -> Node:
    name = request.path.rpartition("/")[2]
    return Node(number=0, path=request.path, name=name, pattern="task", parent=0, scope=0, task=spec)


def resources_of(registry: Registry, request: Request, signature: Signature) -> Mapping[str, str]:
    """Argument → resource, for what the request does not bring."""
    wanted = {
        parameter.name: registry.find_resource(parameter.name, request.task)
        for parameter in signature.parameters
        if not parameter.is_context and parameter.name not in request.arguments
    }
    return {argument: name for argument, name in wanted.items() if name is not None}


def arguments_of(
    attempt: Attempt, request: Request, signature: Signature, resources: Mapping[str, Any]
) -> dict[str, Any]:
    """The body's arguments. Raises whatever a conversion raises."""
    arguments: dict[str, Any] = dict(resources)
    for name, content in request.arguments.items():
        arguments[name] = _value(attempt, name, bytes(content), signature.by_name.get(name))
    for parameter in signature.parameters:
        if parameter.is_context:
            arguments[parameter.name] = attempt.context
    return arguments


def _value(attempt: Attempt, name: str, content: bytes, parameter: Parameter | None) -> Any:
    """What the log keeps is read through the annotation; in a revert, what its execute ended with has types of ours."""
    if attempt.phase == "revert":
        if name == "failure":
            return msgspec.json.decode(content, type=Failure | None)
        if name == "failures":
            return msgspec.json.decode(content, type=list[Failure])
        if name == "result" and content != b"null" and attempt.node.task is not None:
            return attempt.node.task.result.load(content)
    if parameter is None or (content == b"null" and attempt.phase == "revert"):
        return msgspec.json.decode(content)
    return parameter.typed.load(content)


def not_begun(request: Request, error: BaseException) -> Outcome:
    """The outcome of an attempt whose body could not begin here (C9)."""
    failure = failure_of(error, path=request.path, attempt=request.attempt, kind="arguments")
    return Raised(failure, again=False, exception=None)
