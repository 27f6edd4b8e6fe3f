"""Tasks with ``transactional=True``: which argument gets the connection, and what makes no sense (rule C8)."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

from flowledger.events.errors import DefinitionError

from .result import result_annotation
from .signature import Signature

_HOW = "e.g. `def book(order: Order, connection: sqlalchemy.Connection) -> None`"


def connection_of(body: Callable[..., Any], signature: Signature, where: str) -> str:
    """The argument of a transactional task's execute that gets the connection.

    Raises:
        DefinitionError: it does not ask for exactly one, or is async.
    """
    asked = _connections(signature)
    if len(asked) != 1:
        given = f"asks for {len(asked)}: {', '.join(asked)}" if asked else "asks for none"
        raise DefinitionError(
            f"{where} is transactional: it must ask for exactly one `sqlalchemy.Connection`, and {given}", hint=_HOW
        )
    _check_sync(body, signature, f"{where} is transactional")
    return asked[0]


def revert_connection_of(body: Callable[..., Any], signature: Signature, where: str) -> str | None:
    """The argument of its revert that gets a connection, if it asks for one: then that is a transaction, too.

    Raises:
        DefinitionError: it asks for several, or is async.
    """
    asked = _connections(signature)
    if len(asked) > 1:
        raise DefinitionError(f"{where} asks for {len(asked)} connections: {', '.join(asked)}", hint="one is enough")
    if not asked:
        return None
    _check_sync(body, signature, f"{where} asks for a connection")
    return asked[0]


def _connections(signature: Signature) -> list[str]:
    return [parameter.name for parameter in signature.parameters if parameter.is_connection]


def _check_sync(body: Callable[..., Any], signature: Signature, what: str) -> None:
    if inspect.iscoroutinefunction(body) or result_annotation(signature.returns) is not signature.returns:
        raise DefinitionError(f"{what}: it cannot be async", hint="a `sqlalchemy.Connection` blocks; write `def`")
