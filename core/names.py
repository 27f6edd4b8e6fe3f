"""What things may be called: the names of parts (rule E5) and of symbols (rule E4)."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Mapping
from string import Formatter
from typing import Any, cast

from flowledger.events.errors import DefinitionError, ReservedName

Provides = str | tuple[str, ...]

RESERVED = frozenset({"result", "failure", "failures"})
LONGEST = 100
_FORBIDDEN = re.compile("[/\x00-\x1f\x7f-\x9f\ud800-\udfff]")


def can_be_part_name(name: object) -> bool:
    """Whether a part may be called so (rule E5)."""
    return isinstance(name, str) and 0 < len(name) <= LONGEST and not _FORBIDDEN.search(name)


def part_name(name: object, where: str) -> str:
    """``name`` if a part may be called so (rule E5); ``where`` says whose name it is, for the error."""
    if not isinstance(name, str) or not can_be_part_name(name):
        raise DefinitionError(
            f"{where}: {name!r} cannot be a name",
            hint=f"a name has 1 to {LONGEST} characters, no '/' and no control characters",
        )
    return name


def symbol_name(name: object, where: str) -> str:
    """``name`` if a symbol may be called so (rule E4): an identifier, since arguments ask for it."""
    if name in RESERVED:
        raise ReservedName(
            f"{where}: {name!r} is reserved",
            hint="`result`, `failure` and `failures` are what a revert may ask for; choose another name",
        )
    if not isinstance(name, str) or not name.isidentifier():
        raise DefinitionError(f"{where}: {name!r} cannot name a value", hint="use an identifier, e.g. 'server_id'")
    return name


def provides_names(provides: object, where: str) -> Provides | None:
    """``provides`` in its forms: a name, a tuple of different names, or None."""
    if provides is None or isinstance(provides, str):
        return None if provides is None else symbol_name(provides, where)
    if not isinstance(provides, tuple) or not provides:
        raise DefinitionError(
            f"{where}: {provides!r} is neither a name nor a tuple of names", hint='write "a" or ("a", "b")'
        )
    names = tuple(symbol_name(name, where) for name in cast("tuple[object, ...]", provides))
    if len(set(names)) < len(names):
        raise DefinitionError(f"{where}: {names!r} holds a name twice", hint="each item of the result has its own name")
    return names


def near(name: str, candidates: Iterable[str]) -> list[str]:
    """The candidates that look like a misspelling of ``name``, best first."""
    return difflib.get_close_matches(name, list(candidates), n=3, cutoff=0.6)


def did_you_mean(name: str, candidates: Iterable[str]) -> str:
    """A hint, or "" where nothing is near."""
    found = near(name, candidates)
    return f"did you mean {' or '.join(f'`{n}`' for n in found)}?" if found else ""


class _LabelFormatter(Formatter):
    """``{node.name}`` and ``{nodes[0]}``: attributes and items of inputs, nothing private, nothing called."""

    def get_field(self, field_name: str, args: Any, kwargs: Any) -> Any:
        if "._" in field_name or field_name.startswith("_"):
            raise DefinitionError(
                f"label field {{{field_name}}}: private attributes are not for labels",
                hint="use an input or a public attribute of one: {node.name}",
            )
        return super().get_field(field_name, args, kwargs)


_LABELS = _LabelFormatter()


def labelled(label: str, values: Mapping[str, Any], where: str) -> str:
    """``label`` with the values filled in, checked as a part's name.

    Raises:
        DefinitionError: a field is not there, or what comes out cannot be a name.
    """
    try:
        name = _LABELS.vformat(label, (), values)
    except (KeyError, AttributeError, IndexError, ValueError, TypeError) as error:
        raise DefinitionError(
            f"{where}: label {label!r} does not fit the inputs: {type(error).__name__}: {error}",
            hint=f"fields are the inputs and their attributes; inputs here: {', '.join(values) or 'none'}",
        ) from error
    return part_name(name, f"{where}: label {label!r}")
