"""The document of a plan has all that its fingerprint is over, so who keeps it can tell whether it was changed (E8)."""

from __future__ import annotations

import pytest

from flowledger.core.document import fingerprint_of
from tests.crash import corpus, seats
from tests.unit.build_log import app, build


def test_e8_the_fingerprint_can_be_taken_from_the_document() -> None:
    plan = app.plan(build())
    assert fingerprint_of(plan.document) == plan.fingerprint


@pytest.mark.parametrize("name", sorted(corpus.ALL_ENDS))
def test_e8_of_every_flow_of_the_corpus(name: str) -> None:
    plan = corpus.app.plan(seats.factory(name)())
    assert fingerprint_of(plan.document) == plan.fingerprint


def test_what_is_no_document_has_none() -> None:
    assert fingerprint_of(b"{}") == fingerprint_of(b"\xff") == fingerprint_of(b"") == ""
