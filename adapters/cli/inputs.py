"""The inputs of a run from the command line: a file, ``--set`` on top of it; and what a flow asks for, as help."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeGuard, cast

from flowledger.events.errors import InputError

if TYPE_CHECKING:
    from flowledger.core.signature import Parameter


def read_inputs(file: Path | None, settings: Sequence[str], *, before: dict[str, Any] | None = None) -> dict[str, Any]:
    """The inputs as plain values: those of the file, changed by each ``a.b=1`` in turn.

    ``before``: what a setting changes a field of, where the file does not have it; only inputs that are named are
    given back.

    Raises:
        InputError: the file cannot be read or holds no object; a setting has no ``=`` or names a place that is none.
    """
    inputs = _from_file(file) if file is not None else {}
    for setting in settings:
        name = setting.partition("=")[0].strip().partition(".")[0]
        if before is not None and name in before:
            inputs.setdefault(name, before[name])
        _set(inputs, setting)
    return inputs


def read_tags(tags: Iterable[str]) -> dict[str, str]:
    """``k=v`` each.

    Raises:
        InputError: there is no ``=`` or nothing before it.
    """
    return dict(_halves(tag, "--tag") for tag in tags)


def _from_file(path: Path) -> dict[str, Any]:
    try:
        text = path.read_text(encoding="utf-8")
        value: Any = _yaml(text) if path.suffix in (".yaml", ".yml") else json.loads(text)
    except (OSError, ValueError) as error:
        raise InputError(
            f"--input {path}: {error}", field="--input", expected="a readable JSON or YAML file", given=str(path)
        ) from error
    if not _is_object(value):
        raise InputError(
            f"--input {path}: expected an object with the flow's inputs by name, given {type(value).__name__}",
            field="--input", expected="an object", given=type(value).__name__,
        )  # fmt: skip
    return value


def _is_object(value: Any) -> TypeGuard[dict[str, Any]]:
    return isinstance(value, dict) and all(isinstance(key, str) for key in cast("Iterable[Any]", value))


def _yaml(text: str) -> Any:
    import yaml  # noqa: PLC0415 - only where the file is YAML

    try:
        return yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ValueError(str(error)) from error


def _halves(setting: str, option: str) -> tuple[str, str]:
    name, equals, value = setting.partition("=")
    if not equals or not name.strip():
        raise InputError(f"{option} {setting}: expected name=value", field=option, expected="name=value", given=setting)
    return name.strip(), value


def _set(inputs: dict[str, Any], setting: str) -> None:
    """Put one value in its place, making the objects on the way; a number is an index into a list."""
    name, text = _halves(setting, "--set")
    value = _json_or_text(text)
    *way, last = name.split(".")
    place: Any = inputs
    for step in way:
        place = _step(place, step, setting)
    if isinstance(place, dict):
        place[last] = value
    else:
        place[_index(place, last, setting)] = value


def _step(place: Any, step: str, setting: str) -> Any:
    inner: Any = place.setdefault(step, {}) if _is_object(place) else place[_index(place, step, setting)]
    if not isinstance(inner, (dict, list)):
        raise _no_place(setting, f"{step!r} is {type(inner).__name__}")
    return cast("Any", inner)


def _index(place: list[Any], step: str, setting: str) -> int:
    if not step.isdecimal() or int(step) >= len(place):
        raise _no_place(setting, f"{step!r} is no index of a list of {len(place)}")
    return int(step)


def _no_place(setting: str, why: str) -> InputError:
    return InputError(
        f"--set {setting}: {why}", field="--set", expected="the name of a field, or an index of a list", given=setting
    )


def _json_or_text(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text


# -- help ---------------------------------------------------------------------------------------


def inputs_help(parameters: Iterable[Parameter]) -> Iterator[tuple[str, str]]:
    """For each input of a flow: its name, and its type, default and fields in words."""
    from flowledger.core.bound import type_name  # noqa: PLC0415 - loads pydantic

    for parameter in parameters:
        default = "" if parameter.required else f"  [default: {parameter.default!r}]"
        yield parameter.name, f"{type_name(parameter.annotation)}{default}"
        yield from _fields(parameter.name, parameter.typed.schema())


def _fields(name: str, schema: dict[str, Any], depth: int = 0) -> Iterator[tuple[str, str]]:
    """The fields of an object, down to the third level, as ``--set`` would name them."""
    definitions = schema.get("$defs", {})
    target = _target(schema, definitions)
    for field, described in target.get("properties", {}).items():
        inner = _target(described, definitions)
        required = "" if field in target.get("required", ()) else f"  [default: {described.get('default')!r}]"
        said = described.get("description", "")
        yield f"{name}.{field}", f"{_kind(described, definitions)}{required}{'  ' + said if said else ''}"
        items = _target(inner.get("items", {}), definitions)
        deeper, place = (items, f"{name}.{field}.0") if items else (inner, f"{name}.{field}")
        if deeper.get("properties") and depth < 2:
            yield from _fields(place, {**deeper, "$defs": definitions}, depth + 1)


def _target(schema: dict[str, Any], definitions: dict[str, Any]) -> dict[str, Any]:
    reference = schema.get("$ref", "")
    found: dict[str, Any] = definitions.get(reference.rpartition("/")[2], schema) if reference else schema
    return found


def _kind(schema: dict[str, Any], definitions: dict[str, Any]) -> str:
    if schema.get("$ref"):
        return str(schema["$ref"].rpartition("/")[2])
    if schema.get("type") == "array":
        return f"list of {_kind(schema.get('items', {}), definitions)}"
    return str(schema.get("type", "any"))
