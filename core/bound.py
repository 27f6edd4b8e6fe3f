"""Values handed in by hand: validated where they are written, kept as JSON, refused with the user's line."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import ValidationError
from pydantic_core import PydanticSerializationError

from flowledger.events.errors import InputError, UnknownArgument

from .names import did_you_mean
from .plan import Given
from .secret import given_digest
from .signature import Parameter, Signature
from .source import Place, at
from .symbols import Symbol
from .typed import Typed, typed

Bound = Given | Symbol[Any]
_LONGEST_SHOWN = 80


def given(argument: str, typed_: Typed, value: Any, what: str, place: Place) -> Given:
    """``value`` as a binding. ``what`` is the call, as the user wrote it.

    Raises:
        InputError: it is not of the argument's type.
    """
    try:
        content = typed_.to_json(typed_.validate(value))
    except ValidationError as error:
        raise input_error(argument, typed_, error, what, place) from error
    except PydanticSerializationError as error:
        raise InputError(
            f"{what}{at(place)}: `{argument}` cannot be written as JSON: {error}",
            field=argument, expected=type_name(typed_.annotation), given=_short(value),
            hint=f"hand in what {type_name(typed_.annotation)} can write as JSON",
        ) from error  # fmt: skip
    return Given(argument, content, given_digest(content, secretive=typed_.secretive), typed_)


def input_error(argument: str, typed_: Typed, error: ValidationError, what: str, place: Place | None) -> InputError:
    """A validation error of pydantic, said in our words: which field, what was expected, what was given."""
    first = error.errors(include_url=False)[0]
    field = ".".join((argument, *map(str, first["loc"])))
    expected = type_name(typed_.annotation) if not first["loc"] else first["msg"].removeprefix("Input should be ")
    got = "a secret" if typed_.secretive else _short(first["input"])
    if first["type"] == "missing":
        expected, got = "a value", "nothing"
    more = f" (and {error.error_count() - 1} more)" if error.error_count() > 1 else ""
    detail = "" if first["loc"] else f" ({first['msg']})"
    return InputError(
        f"{what}{at(place)}: `{field}` expected {expected}, was given {got}{detail}{more}",
        field=field, expected=expected, given=got, hint=f"give `{field}` {expected}",
    )  # fmt: skip


def bind_arguments(
    signature: Signature, args: Sequence[Any], kwargs: Mapping[str, Any], what: str, place: Place
) -> dict[str, Bound]:
    """What `bind` was given, by argument name, each value validated; symbols stay as they are.

    Raises:
        UnknownArgument: too many, one twice, or a name the callable does not have.
        InputError: a value that does not fit its annotation.
    """
    bound: dict[str, Bound] = {}
    parameters = signature.by_name
    for name, value in _by_name(signature, args, kwargs, what, place).items():
        if isinstance(value, Symbol):
            bound[name] = value
            continue
        parameter = parameters.get(name) or Parameter(name, Any, None, "")
        bound[name] = given(name, parameter.typed, value, what, place)
    return bound


def _by_name(
    signature: Signature, args: Sequence[Any], kwargs: Mapping[str, Any], what: str, place: Place
) -> Mapping[str, Any]:
    if not args and not kwargs:
        return kwargs
    if len(args) > len(signature.parameters):
        raise UnknownArgument(
            f"{what}{at(place)}: takes {len(signature.parameters)} arguments, was given {len(args)}",
            hint=f"its arguments: {', '.join(signature.by_name) or 'none'}",
        )
    values = dict(zip(signature.by_name, args, strict=False))
    for name, value in kwargs.items():
        if name in values:
            raise UnknownArgument(f"{what}{at(place)}: `{name}` is given by position and by name", hint="give it once")
        if name not in signature.by_name and not signature.takes_any:
            raise UnknownArgument(
                f"{what}{at(place)}: there is no argument `{name}`",
                hint=did_you_mean(name, signature.by_name)
                or f"its arguments: {', '.join(signature.by_name) or 'none'}",
            )
        values[name] = value
    return values


def type_name(annotation: Any) -> str:
    """An annotation as a person would write it."""
    if annotation is None or annotation is type(None):
        return "None"
    if isinstance(annotation, type) and not getattr(annotation, "__args__", ()):
        return annotation.__name__
    return str(annotation).replace("typing.", "").replace("collections.abc.", "")


def _short(value: Any) -> str:
    text = repr(value)
    text = text if len(text) <= _LONGEST_SHOWN else f"{text[: _LONGEST_SHOWN - 1]}…"
    return f"{text} ({type(value).__name__})"


ANY = typed(Any, where="Any")
