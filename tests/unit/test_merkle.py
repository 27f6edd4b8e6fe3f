"""One hash over the heads of many runs, and proofs that one of them is among these (RFC 6962's tree)."""

from __future__ import annotations

from hashlib import sha256

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowledger.events.merkle import EMPTY, Head, Proof, leaf, prove, proven, root

HEADS = st.lists(
    st.builds(Head, st.text(max_size=6), st.integers(1, 2**40), st.binary(min_size=32, max_size=32)),
    min_size=1, max_size=40,
)  # fmt: skip


def by_the_book(leaves: list[bytes]) -> bytes:
    """The tree as RFC 6962 §2.1 says it."""
    if len(leaves) == 1:
        return leaves[0]
    split = 1
    while split * 2 < len(leaves):
        split *= 2
    return sha256(b"\x01" + by_the_book(leaves[:split]) + by_the_book(leaves[split:])).digest()


@given(HEADS)
def test_the_root_is_the_one_of_the_book(heads: list[Head]) -> None:
    assert root(heads) == by_the_book([leaf(head) for head in heads])


def test_the_root_over_nothing_is_fixed() -> None:
    assert root([]) == EMPTY == sha256(b"").digest()


@given(HEADS, st.data())
def test_a_proof_leads_from_each_head_to_the_root_and_from_no_other(heads: list[Head], draw: st.DataObject) -> None:
    # Given
    place = draw.draw(st.integers(0, len(heads) - 1))
    proof = prove(heads, place)
    # When / Then
    assert proven(heads[place], proof) == root(heads)
    assert proven(heads[place]._replace(version=heads[place].version + 1), proof) != root(heads)
    for at, other in enumerate(proof.beside):
        changed = (*proof.beside[:at], bytes(32) if other != bytes(32) else b"\x01" * 32, *proof.beside[at + 1 :])
        assert proven(heads[place], proof._replace(beside=changed)) != root(heads)


@pytest.mark.parametrize(
    "proof", [Proof(-1, 1, ()), Proof(1, 1, ()), Proof(0, 0, ()), Proof(0, 2, ()), Proof(0, 1, (bytes(32),))], ids=str
)
def test_what_has_not_the_shape_of_a_proof_proves_nothing(proof: Proof) -> None:
    assert proven(Head("r", 1, bytes(32)), proof) is None


def test_a_leaf_is_never_a_node_and_its_fields_cannot_be_shifted() -> None:
    assert leaf(Head("ab", 1, bytes(32))) != leaf(Head("a", 1, b"b" + bytes(31)))
    assert leaf(Head("", 0, bytes(32))) != sha256(b"\x01" + bytes(64)).digest()
