"""Secret values in JSON: pydantic's `SecretStr`, `SecretBytes` and `Secret[...]`, wherever they stand in a type.

In the memory of a process a secret is ``{"$clear": value}``, so that whoever writes the log can tell it from other
values. In the log it is ``{"$secret": reference, "fingerprint": …}``: the reference is the digest of an encrypted
payload row, the fingerprint is keyed. Neither form is ever looked for in a type that has no secrets in it, so nobody's
own JSON can be taken for one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from hashlib import sha256
from typing import Any, Final, NamedTuple, cast

from pydantic import Secret, SecretBytes, SecretStr
from pydantic_core import PydanticSerializationError, from_json, to_json, to_jsonable_python

CLEAR: Final = "$clear"
SECRET: Final = "$secret"  # noqa: S105 - a name, not a secret
FINGERPRINT: Final = "fingerprint"
#: What stands for a secret where only its place matters: in digests of plans, on a terminal.
MASK: Final = {SECRET: "…"}

_KINDS: Final = (SecretStr, SecretBytes, Secret)
Tree = Any


class Kept(NamedTuple):
    """A secret after it has been kept: the digest of its payload row, and its fingerprint."""

    reference: str
    fingerprint: str


# -- types --------------------------------------------------------------------------------------


def has_secrets(schema: Any) -> bool:
    """Whether a pydantic core schema has a secret anywhere in it."""
    if isinstance(schema, dict):
        node = cast("dict[str, Any]", schema)
        written_by: Any = node.get("function")
        if getattr(written_by, "__module__", "") == "pydantic.types" and "serialize_secret" in written_by.__name__:
            return True
        return any(has_secrets(value) for name, value in node.items() if name != "metadata")
    return isinstance(schema, (list, tuple)) and any(has_secrets(each) for each in cast("list[Any]", schema))


def has_any(schema: Any) -> bool:
    """Whether a pydantic core schema lets anything in at some place, a secret too."""
    if isinstance(schema, dict):
        node = cast("dict[str, Any]", schema)
        if node.get("type") in ("any", "is-instance"):
            return True
        return any(has_any(value) for name, value in node.items() if name not in ("metadata", "serialization"))
    return isinstance(schema, (list, tuple)) and any(has_any(each) for each in cast("list[Any]", schema))


def marked(value: Any, plain: Tree) -> Tree:
    """``plain`` (the value's JSON, where pydantic has put stars) with each secret as ``{"$clear": …}``.

    ``value`` is the same tree before it became JSON, with the secrets in it.

    Raises:
        PydanticSerializationError: a serialiser of the user's has given the value another shape.
    """
    if isinstance(value, _KINDS):
        return {CLEAR: to_jsonable_python(cast("Any", value).get_secret_value())}
    below, places = _below(value), _below(plain)
    if below is not None and places is not None and len(below) == len(places):
        trees = [marked(each, place) for each, place in zip(below, places, strict=True)]
        return dict(zip(cast("dict[str, Tree]", plain), trees, strict=True)) if isinstance(plain, dict) else trees
    if holds_secret(value):
        raise PydanticSerializationError("a custom serialiser hides where a secret stands")
    return plain


def _below(tree: Tree) -> list[Tree] | None:
    """What is one level down, in order; None of a leaf."""
    if isinstance(tree, Mapping):
        return [*tree.values()]  # pyright: ignore[reportUnknownVariableType]
    return list(cast("list[Tree]", tree)) if isinstance(tree, (list, tuple, set, frozenset)) else None


def item_json(value: Any) -> bytes:
    """A part of a value as JSON, its secrets marked. Only a type knows where they stand in an object of the user's.

    Raises:
        PydanticSerializationError: there is one in such an object.
    """
    return to_json(marked(value, to_jsonable_python(value)) if holds_secret(value) else value)


def holds_secret(value: Tree) -> bool:
    """Whether a secret stands in a value: itself, in a collection, or in a field."""
    if isinstance(value, _KINDS):
        return True
    below = _below(value)
    if below is None:
        below = list(cast("dict[str, Tree]", getattr(value, "__dict__", {})).values())
    return any(holds_secret(each) for each in below)


# -- JSON ---------------------------------------------------------------------------------------


def _mapped(content: bytes, key: str, change: Callable[[dict[str, Tree]], Tree]) -> bytes:
    """The JSON with every object that has ``key`` changed."""
    if f'"{key}"'.encode() not in content:
        return content

    def walk(tree: Tree) -> Tree:
        below = _below(tree)
        if below is None:
            return tree
        if not isinstance(tree, dict):
            return [walk(each) for each in below]
        node = cast("dict[str, Tree]", tree)
        return change(node) if key in node else {name: walk(each) for name, each in node.items()}

    return to_json(walk(from_json(content)))


def unmarked(content: bytes) -> bytes:
    """JSON as pydantic reads it: the secrets themselves, without their marks."""
    return _mapped(content, CLEAR, lambda node: node[CLEAR])


def masked(content: bytes) -> bytes:
    """JSON without its secrets, for digests and for people."""
    return _mapped(content, CLEAR, lambda _: MASK)


def concealed(content: bytes, keep: Callable[[bytes], Kept]) -> bytes:
    """JSON as it may stand in the log; ``keep`` is given each secret as JSON."""

    def change(node: dict[str, Tree]) -> Tree:
        kept = keep(to_json(node[CLEAR]))
        return {SECRET: kept.reference, FINGERPRINT: kept.fingerprint}

    return _mapped(content, CLEAR, change)


def revealed(content: bytes, find: Callable[[str], bytes | None]) -> bytes:
    """JSON out of the log with its secrets again, marked; ``find`` gives a secret (JSON) by its reference, or None."""

    def change(node: dict[str, Tree]) -> Tree:
        found = find(str(node[SECRET])) if node.keys() == {SECRET, FINGERPRINT} else None
        return node if found is None else {CLEAR: from_json(found)}

    return _mapped(content, SECRET, change)


def secrets_in(contents: Iterable[bytes]) -> set[str]:
    """The texts of all secrets that stand, marked, in these values."""
    found: set[str] = set()

    def note(text: bytes) -> Kept:
        found.update(texts_of(text))
        return Kept("", "")

    for content in contents:
        concealed(content, note)
    return found


def given_digest(content: bytes, *, secretive: bool) -> str:
    """The digest of a value bound by hand. It does not hang on secrets: a new token makes no new plan."""
    return sha256(masked(content) if secretive else content).hexdigest()


def texts_of(content: bytes) -> set[str]:
    """The texts (and long numbers) that a secret, as JSON, consists of: what must not be seen anywhere."""
    found: set[str] = set()

    def walk(tree: Tree) -> None:
        if isinstance(tree, str):
            found.add(tree)
        elif isinstance(tree, (int, float)) and not isinstance(tree, bool):
            found.add(str(tree))
        for each in _below(tree) or ():
            walk(each)

    walk(from_json(content))
    return found
