"""A Merkle tree over the heads of runs: one hash stands for many runs, and a short proof shows that one is among them.

The shape is RFC 6962's: a leaf is hashed with 0x00 before it, an inner node with 0x01, so that neither can be taken for
the other; n leaves split at the largest power of two below n. What is hashed of a leaf is length-prefixed, like an
event.
"""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import sha256
from struct import Struct
from typing import NamedTuple

_LEAF = Struct(">BIQ")  # 0x00, the length of the run id, the version

#: The root over nothing.
EMPTY = sha256(b"").digest()


class Head(NamedTuple):
    """The end of a run: ``hash`` of the event at ``version``, which vouches for every event before it."""

    run_id: str
    version: int
    hash: bytes


class Proof(NamedTuple):
    """Where a leaf stands among ``size`` of them, and the hashes beside its way up, from the leaf on."""

    place: int
    size: int
    beside: tuple[bytes, ...]


def leaf(head: Head) -> bytes:
    """The hash of one head."""
    run_id = head.run_id.encode()
    return sha256(b"".join((_LEAF.pack(0, len(run_id), head.version), run_id, head.hash))).digest()


def _node(left: bytes, right: bytes) -> bytes:
    return sha256(b"\x01" + left + right).digest()


def _split(size: int) -> int:
    return 1 << (size - 1).bit_length() - 1


def root(heads: Sequence[Head]) -> bytes:
    """The hash that stands for all ``heads``, in the order given."""
    return _root([leaf(head) for head in heads])


def _root(leaves: Sequence[bytes]) -> bytes:
    """Level by level; a node without a neighbour moves up as it is, which gives RFC 6962's tree."""
    level = list(leaves)
    if not level:
        return EMPTY
    while len(level) > 1:
        pairs = [_node(level[at], level[at + 1]) for at in range(0, len(level) - 1, 2)]
        level = pairs if len(level) % 2 == 0 else [*pairs, level[-1]]
    return level[0]


def prove(heads: Sequence[Head], place: int) -> Proof:
    """The proof for the head at ``place``."""
    leaves = [leaf(head) for head in heads]
    return Proof(place, len(leaves), tuple(_beside(leaves, place)))


def _beside(leaves: Sequence[bytes], index: int) -> list[bytes]:
    if len(leaves) < 2:
        return []
    at = _split(len(leaves))
    if index < at:
        return [*_beside(leaves[:at], index), _root(leaves[at:])]
    return [*_beside(leaves[at:], index - at), _root(leaves[:at])]


def proven(head: Head, proof: Proof) -> bytes | None:
    """The root that ``proof`` leads to from ``head``; None if the proof has not the shape of one."""
    if not 0 <= proof.place < proof.size:
        return None
    turns = _turns(proof.place, proof.size)
    if len(turns) != len(proof.beside):
        return None
    found = leaf(head)
    for is_right, other in zip(turns, proof.beside, strict=True):
        found = _node(other, found) if is_right else _node(found, other)
    return found


def _turns(index: int, size: int) -> list[bool]:
    """From the leaf up: whether the way comes from the right."""
    turns: list[bool] = []
    while size > 1:
        at = _split(size)
        is_right = index >= at
        turns.append(is_right)
        index, size = (index - at, size - at) if is_right else (index, at)
    return turns[::-1]
