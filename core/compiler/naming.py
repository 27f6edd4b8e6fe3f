"""What the parts of a flow are called (rule E5)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from flowledger.core.names import LONGEST, part_name
from flowledger.core.parts import Atom, Flow, Part
from flowledger.core.source import Place, shown
from flowledger.events.errors import DuplicateName


def names(parts: Sequence[Part[Any]], atoms: Sequence[Atom[Any] | None], path: str, place: Place) -> list[str]:
    """One name per part: the given ones as they are, equal derived ones with -2, -3 … stepping over given ones.

    Raises:
        DuplicateName: a name was given twice.
    """
    taken = _given(parts, path, place)
    counts: dict[str, int] = {}
    return [
        part.given_name or _free(derived(part, atom), taken, counts, path)
        for part, atom in zip(parts, atoms, strict=True)
    ]


def derived(part: Part[Any], atom: Atom[Any] | None) -> str:
    """The name of a part nobody named: its label, its task's or factory's name, or its pattern."""
    if atom is not None:
        return atom.label or atom.definition.name
    assert isinstance(part, Flow)
    if part.calls:
        return part.calls[0].label or part.calls[0].factory.name
    if part.pattern == "late" and part.late is not None:
        return part.late.label or part.late.of.name
    return part.pattern


def _given(parts: Sequence[Part[Any]], path: str, place: Place) -> set[str]:
    taken: set[str] = set()
    for part in parts:
        name = part.given_name
        if name is not None:
            if name in taken:
                raise DuplicateName(
                    f"two parts of {path} ({shown(place)}) are named `{name}`", hint="names are unique among siblings"
                )
            taken.add(name)
    return taken


def _free(base: str, taken: set[str], counts: dict[str, int], path: str) -> str:
    count = counts.get(base, 0) + 1
    name = base if count == 1 else f"{base}-{count}"
    while name in taken:
        count += 1
        name = f"{base}-{count}"
    counts[base] = count
    taken.add(name)
    return name if len(name) <= LONGEST else part_name(name, path)
