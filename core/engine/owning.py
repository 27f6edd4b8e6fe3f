"""What a fork has of its source under a key of its own (G6): on its way into the log, like all that a run writes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from msgspec.structs import replace

from flowledger.core.plan import Plan
from flowledger.core.vault import Vault, value_type
from flowledger.events.facts import Raw, RunForked

#: What is never moved out.
NOTHING: Final = (b"null", b"{}")


def owned(
    event: RunForked, plan: Plan, vault: Vault, put: Callable[[bytes], str], *, inline_bytes: int
) -> RunForked:  # fmt: skip
    """The event, whose results and values are in clear, as it may be written. ``put`` makes a payload row."""
    results, rows, values = dict[str, Raw](), dict[str, str](), dict[str, Raw]()
    secrets: list[str] = []

    def concealed(path: str, value: Raw) -> bytes:
        type_ = value_type(plan.nodes[plan.by_path[path]])
        if type_ is None or not type_.secretive:
            return bytes(value)
        content, found = vault.concealed(bytes(value), put)
        secrets.extend(found)
        return content

    for path, result in event.results.items():
        content = concealed(path, result)
        if len(content) <= inline_bytes or content in NOTHING:
            results[path] = Raw(content)
        else:
            rows[path] = put(vault.stored(content))
    for path, value in event.values.items():
        content = concealed(path, value)
        if vault.codec is not None:
            content, digests = vault.sealed_value(content, put)
            secrets.extend(digests)
        values[path] = Raw(content)
    every = tuple(dict.fromkeys([*secrets, *rows.values()]))
    return replace(event, results=results, rows=rows, values=values, secrets=every)
