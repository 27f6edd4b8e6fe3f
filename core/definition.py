"""Definitions: what a decorator registered. One per task and per flow factory, shared by all parts made from it.

Everything that can be said of a definition alone (its result, its symbols, what it needs) is worked out here once, so
that placing it a hundred thousand times costs next to nothing.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from functools import cached_property
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar, get_args

from flowledger.events.errors import ReservedName

from .names import RESERVED, Provides
from .options import CallOptions, TaskOptions, transaction_call
from .plan import Call, Listen, Pause, TaskSpec
from .result import items_of, result_annotation
from .signature import Signature, check_shape, signature
from .source import Place, digest, shown
from .transactional import connection_of, revert_connection_of
from .typed import Typed, typed

if TYPE_CHECKING:
    from flowledger.events.facts import OnFailure

Around = Mapping[str, Any]  # the names around a definition nested in a function


class Export(NamedTuple):
    """A symbol an atom provides: its result, or one ``item`` of it (index or field name); ``typed`` is the item's."""

    name: str
    item: int | str | None
    typed: Typed


class Revert(NamedTuple):
    """The way back of a task."""

    body: Callable[..., Any]
    options: CallOptions
    place: Place


class TaskDefinition:
    """A task as a function, or a task class with one configuration."""

    def __init__(
        self,
        name: str,
        body: Callable[..., Any],
        options: TaskOptions,
        place: Place,
        *,
        config: bytes = b"",
        owner: object = None,
        around: Around | None = None,
        pause: Pause | None = None,
        signal: Listen | None = None,
        child: bool = False,
    ) -> None:
        self.name = name
        self.pause = pause
        self.signal = signal
        self.child = child
        self.body = body
        self.options = options
        self.place = place
        self.config = config
        self.owner = owner or self  # what the registry knows it as: the class, for the configurations of a class
        self.around = around
        self.revert: Revert | None = None
        self._specs: dict[str, TaskSpec] = {}

    @property
    def where(self) -> str:
        """For messages: the name and the line."""
        return f"{self.name} ({shown(self.place)})"

    @property
    def label(self) -> str | None:
        """How atoms of it are named where all it needs is known."""
        return self.options.label

    def set_revert(self, body: Callable[..., Any], options: CallOptions, place: Place) -> None:
        """Make ``body`` the way back."""
        check_shape(body, f"revert of {self.name} ({shown(place)})", variable_keywords=True)
        self.revert = Revert(body, options, place)
        self._specs.clear()
        self.__dict__.pop("revert_signature", None)

    @cached_property
    def signature(self) -> Signature:
        """What execute asks for.

        Raises:
            UnresolvedAnnotation: an annotation names something that does not exist at run time.
        """
        return signature(self.body, self.name, self.place, self.around)

    @cached_property
    def revert_signature(self) -> Signature | None:
        """What the revert asks for; None without one."""
        r = self.revert
        return None if r is None else signature(r.body, f"the revert of {self.name}", r.place, self.around)

    @cached_property
    def result(self) -> Typed:
        """The type of the result.

        Raises:
            UnserialisableType: it could not be written to the log.
        """
        return typed(result_annotation(self.signature.returns), where=f"what {self.where} returns")

    @cached_property
    def provides(self) -> Provides | None:
        """The names as the definition gives them."""
        return self.options.provides

    @cached_property
    def exports(self) -> tuple[Export, ...]:
        """The symbols an atom of it provides.

        Raises:
            ProvidesMismatch: the names do not fit the return annotation.
        """
        return self.exports_as(self.provides)

    def exports_as(self, provides: Provides | None) -> tuple[Export, ...]:
        """The symbols under other names (`.as_`)."""
        if provides is None:
            return ()
        if isinstance(provides, str):
            return (Export(provides, None, self.result),)
        items = items_of(self.result, provides, self.where)
        return tuple(Export(name, item, typed_) for name, (item, typed_) in zip(provides, items, strict=True))

    @property
    def lacks_revert(self) -> bool:
        """Whether undoing it is nobody's business though it changes something (rule E5)."""
        return self.revert is None and not self.options.read_only

    def spec(self, registered_name: str) -> TaskSpec:
        """What the engine needs, under the name the registry has for it."""
        found = self._specs.get(registered_name)
        if found is None:
            found = self._specs[registered_name] = self._spec(registered_name)
        return found

    def _spec(self, name: str) -> TaskSpec:
        options = self.options
        return TaskSpec(
            name=name,
            execute=_call(self.body, options.call, _is_async(self.body, self.signature), self._connection()),
            revert=self._revert_call(),
            result=self.result,
            retry_on=options.retry_on,
            deadline_s=options.deadline_s,
            on_interrupt=options.on_interrupt,
            losses=options.losses,
            read_only=options.read_only,
            code_version=digest(self.body),
            config=self.config,
            pause=self.pause,
            signal=self.signal,
            queue=options.queue or name,
            child=self.child,
        )

    def _connection(self) -> str | None:
        return connection_of(self.body, self.signature, self.where) if self.options.transactional else None

    def _revert_call(self) -> Call | None:
        revert, signature = self.revert, self.revert_signature
        if revert is None or signature is None:
            return None
        options, connection, where = revert.options, None, f"the revert of {self.name} ({shown(revert.place)})"
        if self.options.transactional:
            connection = revert_connection_of(revert.body, signature, where)
        if connection is not None:
            options = transaction_call(options, where)
        return _call(revert.body, options, None, connection)


class FactoryDefinition:
    """A flow factory: a pure function from inputs to a flow."""

    def __init__(
        self,
        name: str,
        body: Callable[..., Any],
        place: Place,
        *,
        label: str | None = None,
        on_failure: OnFailure = "revert",
        around: Around | None = None,
    ) -> None:
        self.name = name
        self.body = body
        self.place = place
        self.label = label
        self.on_failure: OnFailure = on_failure
        self.around = around

    @property
    def where(self) -> str:
        """For messages: the name and the line."""
        return f"{self.name} ({shown(self.place)})"

    @cached_property
    def signature(self) -> Signature:
        """The inputs, and the flow's result as annotated."""
        return signature(self.body, self.name, self.place, self.around)

    @property
    def result(self) -> Any:
        """The type of the flow's result as annotated: the T of `-> Flow[T]`; Any where it does not say."""
        arguments = get_args(self.signature.returns)
        return arguments[0] if arguments and not isinstance(arguments[0], TypeVar) else Any


def check_arguments(body: Callable[..., Any], where: str, *, variable_keywords: bool = True) -> None:
    """Refuse what cannot be found by name, and the reserved names (rule E4).

    Raises:
        DefinitionError, ReservedName
    """
    for parameter in check_shape(body, where, variable_keywords=variable_keywords):
        if parameter.name in RESERVED:
            raise ReservedName(
                f"{where}: argument `{parameter.name}` is reserved",
                hint="`result`, `failure` and `failures` are what a revert may ask for; rename the argument",
            )


def _call(body: Callable[..., Any], options: CallOptions, is_async: bool | None, connection: str | None) -> Call:
    return Call(
        body=body,
        is_async=inspect.iscoroutinefunction(body) if is_async is None else is_async,
        attempts=options.attempts,
        backoff=options.backoff,
        timeout_s=options.timeout_s,
        connection=connection,
    )


def _is_async(body: Callable[..., Any], sig: Signature) -> bool:
    return inspect.iscoroutinefunction(body) or result_annotation(sig.returns) is not sig.returns
