"""A type at the edge of the log: how its values become bytes and come back (pydantic does the work)."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any, TypeGuard

from pydantic import PydanticSchemaGenerationError, PydanticUserError, TypeAdapter
from pydantic.errors import PydanticUndefinedAnnotation
from pydantic_core import PydanticSerializationError
from pydantic_core import to_json as pydantic_to_json

from flowledger.events.errors import UnserialisableType

from .secret import has_any, has_secrets, holds_secret, marked, unmarked


def is_class(value: object) -> TypeGuard[type[Any]]:
    """`isinstance(value, type)`, which leaves the checkers with a class of unknown."""
    return isinstance(value, type)


_IMMUTABLE = frozenset({str, int, float, bool, bytes, type(None)})


class Typed:
    """An annotation with its pydantic adapter.

    ``immutable``: a decoded value may be handed to several bodies, none of them can change it for the others.
    ``nothing``: its only value is None, which needs no asking how it is written.
    ``secretive``: there are secrets in it (`core.secret`); in its JSON they are marked.
    """

    __slots__ = (
        "_adapter",
        "_may_hold_anything",
        "annotation",
        "immutable",
        "load",
        "nothing",
        "secretive",
        "validate",
    )

    def __init__(self, annotation: Any) -> None:
        self.annotation = annotation
        self.immutable = annotation in _IMMUTABLE if isinstance(annotation, type) else annotation is None
        self.nothing = annotation in (None, type(None))
        self._adapter: TypeAdapter[Any] = TypeAdapter(annotation)
        self.secretive = not self.immutable and has_secrets(self._adapter.core_schema)
        self._may_hold_anything = not self.immutable and has_any(self._adapter.core_schema)
        # not the adapter's own methods, which hand on eight options each
        validator = self._adapter.validator
        #: any value → value of this type; raises `pydantic.ValidationError`
        self.validate: Callable[[Any], Any] = validator.validate_python
        #: bytes → value; raises `pydantic.ValidationError`
        self.load: Callable[[bytes], Any] = self._load_marked if self.secretive else validator.validate_json

    def to_json(self, value: Any) -> bytes:
        """The value as JSON, refusing what would not come back as this type.

        Raises:
            pydantic_core.PydanticSerializationError: the value is not of this type.
        """
        if self.secretive:
            return self._to_marked_json(value)
        if self._may_hold_anything and holds_secret(value):
            raise PydanticSerializationError("a secret stands where the type does not say so: annotate it")
        # not dump_json, which takes twice as long to hand on twenty options
        return self._adapter.serializer.to_json(value, round_trip=True, warnings="error", by_alias=True)

    def _to_marked_json(self, value: Any) -> bytes:
        plain = self._adapter.dump_python(value, mode="json", round_trip=True, warnings="error", by_alias=True)
        tree = self._adapter.dump_python(value, round_trip=True, warnings="error", by_alias=True)
        return pydantic_to_json(marked(tree, plain))

    def _load_marked(self, content: bytes) -> Any:
        return self._adapter.validate_json(unmarked(content))

    def schema(self) -> dict[str, Any]:
        """The JSON schema, for help texts and forms."""
        return self._adapter.json_schema()


@lru_cache(maxsize=4096)
def _cached(annotation: Any) -> Typed:
    return Typed(annotation)


def typed(annotation: Any, *, where: str) -> Typed:
    """The `Typed` of an annotation, made once.

    Raises:
        UnserialisableType: pydantic cannot read or write it. ``where`` names the argument or return value.
    """
    try:
        try:
            return _cached(annotation)
        except TypeError:  # an unhashable annotation, e.g. Annotated[..., Field(examples=[...])]
            return Typed(annotation)
    except (PydanticSchemaGenerationError, PydanticUndefinedAnnotation, PydanticUserError) as error:
        why = str(error).partition("\n")[0]
        raise UnserialisableType(f"{where}: {annotation!r} cannot be written to the log ({why})") from error


def list_of(annotation: Any) -> Any:
    """`list[annotation]`, for an annotation that is a value."""
    return list.__class_getitem__(annotation)


def to_json(value: object) -> bytes:
    """Any value that pydantic can write, as JSON.

    Raises:
        pydantic_core.PydanticSerializationError: it cannot.
    """
    return pydantic_to_json(value)
