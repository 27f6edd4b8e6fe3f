"""What a flow is made of: atoms and flows, and the links between them. Placing is naming a part in a flow."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from copy import copy
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, Self, cast

from .names import Provides, can_be_part_name, part_name, provides_names
from .source import Place, caller, shown
from .symbols import Symbol, T_co

if TYPE_CHECKING:
    from flowledger.events.facts import Depth

    from .bound import Bound
    from .definition import FactoryDefinition, TaskDefinition
    from .plan import Given
    from .retry import Retry

FlowPattern = Literal["linear", "unordered", "graph", "each", "switch", "late"]


class Part(Symbol[T_co]):
    """A task (bound by name), an atom (bound by hand), or a flow. Stands for its result."""

    __slots__ = ()

    # set by `named` and `as_`; subclasses give them room
    given_name: str | None
    given_provides: Provides | None

    def named(self, name: str) -> Self:
        """A copy of this part with this name among its siblings."""
        if not can_be_part_name(name):
            part_name(name, f".named() at {shown(caller())}")
        return self._copy("given_name", name)

    def as_(self, provides: Provides) -> Self:
        """A copy whose result the scope sees under this name (or its items under these names)."""
        return self._copy("given_provides", provides_names(provides, f".as_() at {shown(caller())}"))

    def _copy(self, attribute: str, value: object) -> Self:
        copied = copy(self)
        object.__setattr__(copied, attribute, value)  # task classes are frozen
        return copied

    def atom(self) -> Atom[T_co]:
        """What is placed for it where it is a task; flows have none."""
        raise NotImplementedError


class Atom(Part[T_co]):
    """A task with some arguments bound by hand; the others are found by name when the flow is compiled."""

    __slots__ = ("bound", "definition", "given_name", "given_provides", "label", "place")

    def __init__(
        self, definition: TaskDefinition, bound: Mapping[str, Bound], place: Place, label: str | None = None
    ) -> None:
        self.definition = definition
        self.bound = bound
        self.place = place  # where it was bound
        self.label = label
        self.given_name: str | None = None
        self.given_provides: Provides | None = None

    def __copy__(self) -> Atom[T_co]:
        copied: Atom[T_co] = Atom(self.definition, self.bound, self.place, self.label)
        copied.given_name, copied.given_provides = self.given_name, self.given_provides
        return copied

    def _copy(self, attribute: str, value: object) -> Self:
        copied = self.__copy__()  # what `copy` would find, after a search
        setattr(copied, attribute, value)
        return cast("Self", copied)

    def atom(self) -> Atom[T_co]:
        return self


class FactoryCall(NamedTuple):
    """The call of a flow factory that built a flow: what is needed to build it again."""

    factory: FactoryDefinition
    inputs: Mapping[str, Given]
    label: str | None
    place: Place

    def inputs_json(self) -> bytes:
        """The inputs as a JSON object, all of them, in the order of the signature."""
        return json_object({name: given.content for name, given in self.inputs.items()})


class Link(NamedTuple):
    """``after`` waits for ``before``; both are parts of the same `graph`. ``when``: and runs only if that says yes."""

    before: Part[Any]
    after: Part[Any]
    place: Place
    when: Callable[..., Any] | None = None
    depth: Depth = "all"


class Late(NamedTuple):
    """What a flow without parts waits for (E7): it is made of ``of`` when all that is ``bound`` to it is known.

    ``items`` is the argument that gets the items of the list bound to it, one each; None: ``of`` is called once.
    """

    of: TaskDefinition | FactoryDefinition
    bound: Mapping[str, Bound]
    items: str | None = None
    label: str | None = None


class Flow(Part[T_co]):
    """Parts under a pattern. ``calls``: the factories that built it, outermost first; empty for an anonymous flow."""

    __slots__ = (
        "calls",
        "given_name",
        "given_provides",
        "keys",
        "late",
        "links",
        "on",
        "parts",
        "pattern",
        "place",
        "result",
        "retry",
    )

    def __init__(
        self,
        pattern: FlowPattern,
        parts: tuple[Part[Any], ...],
        place: Place,
        *,
        name: str | None = None,
        result: Part[Any] | None = None,
        retry: Retry[Any] | None = None,
        links: tuple[Link, ...] = (),
        on: Symbol[Any] | None = None,
        keys: tuple[Any, ...] = (),
        late: Late | None = None,
    ) -> None:
        self.pattern: FlowPattern = pattern
        self.parts = parts
        self.place = place  # where the pattern was called
        self.result = result  # `returns=`
        self.retry = retry
        self.links = links
        self.on = on  # of a switch: the value that decides, and for which value each part is (the default has no key)
        self.keys = keys
        self.late = late
        self.calls: tuple[FactoryCall, ...] = ()
        self.given_name = name
        self.given_provides: Provides | None = None

    def built_by(self, call: FactoryCall) -> Flow[T_co]:
        """A copy that remembers the factory; it takes the factory's name and label, whatever it was called inside."""
        copied = copy(self)
        copied.calls = (call, *self.calls)
        copied.given_name = None
        copied.given_provides = None
        return copied


def json_object(members: Mapping[str, bytes]) -> bytes:
    """A JSON object from members that are JSON already."""
    return b"{" + b",".join(b'"' + name.encode() + b'":' + content for name, content in members.items()) + b"}"
