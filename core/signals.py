"""`Signal`: a value that comes from outside while a run waits for it (rule F4)."""

from __future__ import annotations

from typing import Any, Generic

import msgspec
from pydantic import ValidationError
from pydantic_core import PydanticSerializationError
from typing_extensions import TypeVar

from flowledger.events.errors import DefinitionError, InputError, UnserialisableType

from .backoff import Seconds, seconds
from .context import refuse_inside_body
from .definition import TaskDefinition
from .names import part_name
from .options import TaskOptions
from .parts import Atom
from .plan import Listen
from .source import Place, caller, shown
from .typed import Typed, typed

V = TypeVar("V", default=Any)


class Signal(Generic[V]):
    """A name that values of one type are sent to: by `Run.send`, by `flowledger signal RUN NAME JSON`.

    ``approval = Signal("approval", Approval)``; in a flow, ``approval.wait(timeout=…)`` is a part whose result is what
    comes. Signals that come before anybody waits are kept, oldest first; each is taken once.

    Raises:
        DefinitionError: the name cannot be one.
        UnserialisableType: the type could not be written to the log.
    """

    def __init__(self, name: str, type: type[V]) -> None:  # noqa: A002 - it reads well where it is written
        place = caller()
        self.name = part_name(name, f"Signal(…) at {shown(place)}")
        self.type = type
        self._typed = typed(type, where=f"signal {name} ({shown(place)})")
        if self._typed.secretive:
            raise UnserialisableType(
                f"signal {name} ({shown(place)}): what is sent to a run cannot be secret, it lies in the run's inbox",
                hint="send a name, and have a task fetch the secret by it",
            )

    def __repr__(self) -> str:
        return f"<signal {self.name}>"

    def wait(self, *, timeout: Seconds | None = None) -> Atom[V]:
        """A part that waits for the next value, and holds nothing while it does; it survives a crash.

        ``timeout``, in seconds or as a `timedelta`, runs from when the part's turn comes and not while the run is
        suspended; with nothing come by then the part fails, and is not tried again but by a retry around it.
        """
        place = caller()
        refuse_inside_body(f"signal {self.name}.wait(…)")
        timeout_s = None if timeout is None else _timeout_s(self.name, timeout, place)
        config = msgspec.json.encode({"signal": self.name, "timeout": timeout_s})
        definition = TaskDefinition(
            self.name, _waiting_for(self.type), TaskOptions(read_only=True), place, config=config,
            signal=Listen(self.name, timeout_s),
        )  # fmt: skip
        return Atom(definition, {}, place)

    def to_json(self, value: V) -> bytes:
        """The value as it is sent.

        Raises:
            InputError: it is not of the signal's type.
        """
        return _fitting(self._typed, value, self.name)


def _fitting(wanted: Typed, value: Any, name: str) -> bytes:
    try:
        content = wanted.to_json(value)
        wanted.load(content)
    except (ValidationError, PydanticSerializationError) as error:
        wants = getattr(wanted.annotation, "__name__", str(wanted.annotation))
        raise InputError(
            f"{value!r} is not what signal {name} takes", field=name, expected=wants, given=type(value).__name__
        ) from error
    return content


def _timeout_s(name: str, timeout: Seconds, place: Place) -> float:
    try:
        wait_s = seconds(timeout)
    except ValueError:
        wait_s = 0.0
    if wait_s <= 0:
        raise DefinitionError(
            f"signal {name}.wait(…) at {shown(place)}: timeout={timeout!r} is no duration",
            hint="seconds or a timedelta; leave it out to wait as long as it takes",
        )
    return wait_s


def _waiting_for(annotation: Any) -> Any:
    """What a wait would be called, if it were: its return type is what counts."""

    def wait() -> Any: ...

    wait.__annotations__["return"] = annotation
    return wait
