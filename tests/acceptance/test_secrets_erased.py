"""Erasure: the removal of a run's key, after which its chain still verifies (rule H3)."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from flowledger.adapters.erasing import erase
from flowledger.adapters.verifying import verify_all
from flowledger.events import facts
from flowledger.events.errors import (
    IllegalRequest,
    InputError,
    PayloadErased,
)  # fmt: skip
from tests.acceptance.logs import log_of
from tests.acceptance.secret_shop import LOGIN, Make, everything_written, new_app, shop

__all__ = ["new_app"]


@pytest.mark.parametrize("encrypt_values", [False, True], ids=["secrets", "encrypted"])
def test_the_removal_of_a_key_is_erasure_and_the_chain_still_verifies(
    new_app: Make, tmp_path: Path, encrypt_values: bool
) -> None:
    # Given
    app = new_app(encrypt_values=encrypt_values)
    run = app.run(shop(app, [])(LOGIN), executor="inline")
    store, stream = app.runtime.store, app.stream_of(run.id)
    key = store.run_keys.get(run.id)
    assert key is not None
    # When
    erase(store, stream, reason="the customer asked for it", actor="dpo@here")
    # Then: it is told, and verifies
    assert verify_all(store).findings == []
    told = log_of(app, run)[-1]
    assert (told.type, told.actor, told.event) == (
        "RunErased", "dpo@here", facts.RunErased(reason="the customer asked for it")
    )  # fmt: skip
    assert app.get(run.id).state == "SUCCEEDED"
    # And nobody reads the values any more, nor finds the key in a file
    assert store.run_keys.get(run.id) is None
    app.close()
    assert key.wrapped not in everything_written(tmp_path)
    again = new_app(encrypt_values=encrypt_values)
    shop(again, [])
    for read in (lambda: again.get(run.id).result, lambda: again.get(run.id).results):
        with pytest.raises(PayloadErased):
            read()
    with pytest.raises(PayloadErased):
        again.revert_run(run.id, reason="x")
    assert again.stream_of(run.id).owner is None


def test_an_erasure_needs_a_reason_a_run_that_is_over_and_something_to_erase(new_app: Make) -> None:
    app = new_app()

    @app.task
    def plain() -> None: ...

    without = app.run(plain, executor="inline")
    run = app.run(shop(app, [])(LOGIN), executor="inline")
    store = app.runtime.store
    with pytest.raises(InputError, match="reason"):
        erase(store, app.stream_of(run.id), reason=" ", actor="me")
    with pytest.raises(IllegalRequest, match="no key"):
        erase(store, app.stream_of(without.id), reason="x", actor="me")
    with pytest.raises(IllegalRequest, match="RUNNING"):
        erase(store, dataclasses.replace(app.stream_of(run.id), status="RUNNING"), reason="x", actor="me")
    assert store.run_keys.get(run.id) is not None
    erase(store, app.stream_of(run.id), reason="x", actor="me")
    with pytest.raises(IllegalRequest, match="no key"):
        erase(store, app.stream_of(run.id), reason="x", actor="me")


def test_an_erasure_cut_off_half_way_is_finished_by_the_next(new_app: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    # Given: the event is durable, the key still there
    app = new_app()
    run = app.run(shop(app, [])(LOGIN), executor="inline")
    store = app.runtime.store
    with monkeypatch.context() as patched:
        patched.setattr(store.run_keys, "remove", lambda _: None)
        erase(store, app.stream_of(run.id), reason="x", actor="me")
    assert store.run_keys.get(run.id) is not None
    with pytest.raises(PayloadErased):
        _ = app.get(run.id).results
    # When
    erase(store, app.stream_of(run.id), reason="again", actor="me")
    # Then
    assert store.run_keys.get(run.id) is None
    assert [each.type for each in log_of(app, run)].count("RunErased") == 1
