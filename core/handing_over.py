"""What a fork takes over from a run that has a key of its own (G6): in clear, to be written again under the fork's.

After that neither needs the other's key: either may be erased.
"""

from __future__ import annotations

from collections.abc import Mapping

from msgspec.structs import replace
from pydantic import ValidationError
from pydantic_core import PydanticSerializationError

from flowledger.events.errors import IllegalRequest
from flowledger.events.facts import Raw, RunForked

from .inheriting import Had
from .plan import Plan
from .stored import Result
from .typed import Typed
from .vault import Vault, keeps_secrets, value_type

_SECRET = b'"$secret"'


def handed_over(
    event: RunForked, plan: Plan, then: Had, vault: Vault, moved: Mapping[str, bytes], *, everything: bool
) -> RunForked:
    """The event with those results and values in it, in clear, that must not hang on the source's key.

    ``vault`` and ``moved`` are the source's; ``everything``: the fork's values are encrypted, so it has all anew.

    Raises:
        IllegalRequest: what the source has does not fit today's types.
    """
    if vault.is_plain and not everything and not keeps_secrets(plan):
        return event
    results, values = dict[str, Raw](), dict[str, Raw]()
    for path in event.inherited:
        content = _opened(then.done[path].result, vault, moved)
        _hand_over(path, content, plan, vault, moved, into=results, everything=everything)
    for path in event.rounds:
        content = vault.unsealed(bytes(then.rounds[path]), moved)
        _hand_over(path, content, plan, vault, moved, into=values, everything=everything)
    return replace(event, results=results, values=values) if results or values else event


def _opened(result: Result, vault: Vault, moved: Mapping[str, bytes]) -> bytes:
    return vault.opened(moved[result.moved]) if result.moved else bytes(result.content)


def _hand_over(
    path: str, content: bytes, plan: Plan, vault: Vault, moved: Mapping[str, bytes], *, into: dict[str, Raw],
    everything: bool,
) -> None:  # fmt: skip
    type_ = value_type(plan.nodes[plan.by_path[path]])
    secretive = type_ is not None and type_.secretive
    if not secretive and _SECRET in content and vault.revealed(content, moved) != content:
        raise _unfit(path, "has a secret in it, of which today's type says nothing")
    if type_ is not None and secretive:
        into[path] = Raw(_as_today(path, type_, vault.revealed(content, moved)))
    elif everything:
        into[path] = Raw(content)


def _as_today(path: str, type_: Typed, content: bytes) -> bytes:
    """Also what was no secret then is marked as one, if it is one now."""
    try:
        return type_.to_json(type_.load(content))
    except (ValidationError, PydanticSerializationError):
        raise _unfit(path, "does not fit today's type") from None  # the cause may show the value


def _unfit(path: str, why: str) -> IllegalRequest:
    return IllegalRequest(f"what {path} gave {why}", hint=f"fork it at {path!r}: then it runs again")
