"""Outcomes that wait in a table until they are in the log (rule C8), without the secrets in them in clear."""

from __future__ import annotations

from flowledger.core.plan import Node
from flowledger.core.vault import Vault


def written_outcome(vault: Vault, node: Node, content: bytes) -> bytes:
    """A result as it may stand outside the log."""
    return vault.shut(content) if _is_shut(vault, node) else content


def read_outcome(vault: Vault, node: Node, content: bytes) -> bytes:
    """The result again."""
    return vault.open(content) if _is_shut(vault, node) else content


def _is_shut(vault: Vault, node: Node) -> bool:
    return vault.codec is not None or (node.task is not None and node.task.result.secretive)
