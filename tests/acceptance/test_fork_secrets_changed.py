"""Forks of runs with secrets where settings or code have changed, and looking at them."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from flowledger import App, Flow, KeyMissing, Settings, graph, linear, link
from flowledger.adapters.bundle import export
from flowledger.adapters.bundle_reading import read_bundle, verify_bundle
from flowledger.adapters.history import History
from flowledger.adapters.moments import Moment
from flowledger.adapters.replaying import replay
from flowledger.adapters.rewrapping import rewrap
from flowledger.events import facts
from flowledger.events.errors import IllegalRequest, InputError
from flowledger.projections.diff import Side, compare
from tests.acceptance.logs import events, log_of
from tests.acceptance.secret_forks import KEY, NEXT_KEY, NOTE, PASSWORD, TOKEN, Shop, at_hand, shop, url

__all__ = ["at_hand", "shop", "url"]

pytestmark = pytest.mark.timeout(120)


# -- settings and code that have changed ----------------------------------------------------------


def test_h3_a_fork_of_an_encrypted_run_is_encrypted_where_new_runs_are_not(tmp_path: Path) -> None:
    # Given
    shop = Shop(f"sqlite:///{tmp_path}/log.db", encrypt=True)
    source = shop.stopped()
    shop.open(encrypt=False)
    # When
    fork = shop.app.get(source.id).fork(reason="mended")
    # Then
    assert (fork.result, shop.in_clear()) == ("tea for ann-1234", [])
    digests = [shop.app.stream_of(run.id).inputs_digest for run in (source, fork)]
    assert digests[0] == digests[1], "keyed: nobody can try inputs out"
    shop.erased(source)
    shop.holds(fork)
    shop.app.close()


def test_h3_a_fork_of_a_run_in_clear_is_encrypted_where_new_runs_are(tmp_path: Path) -> None:
    # Given
    shop = Shop(f"sqlite:///{tmp_path}/log.db", encrypt=False)
    source = shop.stopped()
    shop.open(encrypt=True)
    # When
    fork = shop.app.get(source.id).fork(reason="mended")
    # Then
    assert fork.result == "tea for ann-1234"
    store = shop.app.runtime.store
    rows = [d for e in log_of(shop.app, fork) for d in getattr(e.event, "secrets", ())]
    written = b"".join([*(e.payload for e in store.read(fork.id)), *(store.payload(fork.id, d) or b"" for d in rows)])
    assert not [text for text in (PASSWORD, TOKEN, "ann-1234", "tea", NOTE) if text.encode() in written]
    shop.holds(fork)
    shop.app.close()


def secrecy_app(url: str, *, before: Any, after: Any) -> tuple[App, Any]:
    """A flow whose input is of the type ``before``, and whose first result of the type ``after``."""
    app = App("secrecy", settings=Settings(database_url=url, codec_keys=KEY.line))

    @app.task
    def first(name: before) -> after:  # pyright: ignore[reportInvalidTypeForm]
        return TOKEN if after is str else name

    @app.task
    def last(of: Any) -> None:
        raise ValueError("not yet")

    @app.flow(on_failure="stop")
    def go(name: before) -> Flow[None]:  # pyright: ignore[reportInvalidTypeForm]
        of = first.bind(name)
        return graph(of, end := last.bind(3).named("end"), link(of, end))

    return app, go


@dataclasses.dataclass
class Named:
    name: SecretStr


def test_g6_h3_what_was_secret_is_not_taken_over_where_todays_type_does_not_say_so(tmp_path: Path) -> None:
    # Given
    url = f"sqlite:///{tmp_path}/log.db"
    app, go = secrecy_app(url, before=SecretStr, after=SecretStr)
    source = app.run(go(SecretStr(PASSWORD)), executor="inline", check=False)
    app.close()
    # When today's code knows of no secret in the input, or in the result
    careless, _ = secrecy_app(url, before=Any, after=SecretStr)
    with pytest.raises(InputError, match="was secret"):
        careless.get(source.id).fork(reason="x")
    careless.close()
    careless, _ = secrecy_app(url, before=SecretStr, after=Any)
    with pytest.raises(IllegalRequest, match="has a secret in it") as refused:
        careless.get(source.id).fork(reason="x")
    # Then that is refused, and what helps is said
    assert "go/first" in (refused.value.hint or "")
    assert [stream.run_id for stream in careless.runtime.store.streams(limit=5)] == [source.id]
    careless.close()
    # And a type that it does not fit is none of the message's business
    other, _ = secrecy_app(url, before=SecretStr, after=Named)
    with pytest.raises(IllegalRequest, match="does not fit") as refused:
        other.get(source.id).fork(reason="x")
    assert PASSWORD not in f"{refused.value!r} {refused.value.hint} {refused.value.__cause__}"
    other.close()


def test_g6_h3_what_is_secret_only_now_is_sealed_in_the_fork(tmp_path: Path) -> None:
    # Given a log in clear
    url = f"sqlite:///{tmp_path}/log.db"
    app, go = secrecy_app(url, before=str, after=str)
    source = app.run(go("ann"), executor="inline", check=False)
    app.close()
    # When
    careful, _ = secrecy_app(url, before=str, after=SecretStr)
    fork = careful.get(source.id).fork(reason="x")
    # Then
    (forked,) = events(log_of(careful, fork), facts.RunForked)
    assert forked.inherited == ("go/first",)
    assert not any(TOKEN.encode() in event.payload for event in careful.runtime.store.read(fork.id))
    assert fork.results["go/first"].get_secret_value() == TOKEN
    careful.close()


def test_h3_without_a_key_there_is_no_fork(at_hand: Shop) -> None:
    shop, source = at_hand, at_hand.stopped()
    shop.open(keys=NEXT_KEY.line)
    with pytest.raises(KeyMissing):
        shop.app.get(source.id).fork(reason="x")
    assert len(shop.app.runtime.store.streams(limit=5)) == 1


class Backwards:
    """A codec of one's own."""

    name = "backwards"

    def encode(self, run_id: str, content: bytes) -> bytes:
        return run_id.encode() + content[::-1]

    def decode(self, run_id: str, content: bytes) -> bytes:
        assert content.startswith(run_id.encode()), "of another run"
        return content[len(run_id) :][::-1]


def test_h3_a_codec_of_ones_own_encodes_for_the_fork(tmp_path: Path) -> None:
    # Given a run without any secrets
    app = App("shop", settings=Settings(database_url=f"sqlite:///{tmp_path}/log.db"), codec=Backwards())
    calls: list[str] = []

    @app.task
    def name() -> str:
        return "tea"

    @app.task
    def buy(of: str) -> str:
        calls.append(of)
        if len(calls) == 1:
            raise ValueError("sold out")
        return of.upper()

    @app.flow(on_failure="stop")
    def go() -> Flow[str]:
        bought = buy.bind(name)
        return linear(name, bought, returns=bought)

    source = app.run(go(), executor="inline", check=False)
    # When
    fork = source.fork(reason="there is some again")
    # Then
    assert (fork.result, calls) == ("TEA", ["tea", "tea"])
    assert replay(app.runtime, app, app.stream_of(fork.id)).error is None
    app.close()


# -- looking at it --------------------------------------------------------------------------------


def test_h4_a_fork_with_secrets_is_shown_compared_exported_and_its_key_rewrapped(at_hand: Shop, tmp_path: Path) -> None:
    # Given a fork, and its source gone
    shop, source = at_hand, at_hand.stopped()
    fork = source.fork(reason="mended")
    shop.erased(source)
    store = shop.app.runtime.store
    # Then it can be looked at as it was at every event
    log, history = log_of(shop.app, fork), History(store)
    moments = [Moment(history, fork.id, envelope.version) for envelope in log]
    assert moments[-1].view.state == "SUCCEEDED"
    known = [moment.value(each) for moment in moments for found in moment.symbols.values() for each in found]
    assert not any(TOKEN.encode() in (value or b"") or PASSWORD.encode() in (value or b"") for value in known)
    # And compared with its source
    sides = [Side(history.view(run.id), log_of(shop.app, run)) for run in (source, fork)]
    assert compare(*sides).divergence is not None
    # And exported
    export(store, shop.app.stream_of(fork.id), tmp_path / "fork.zip", actor="me")
    bundle = verify_bundle(read_bundle(tmp_path / "fork.zip"))
    assert (bundle.findings, bundle.payloads >= 2) == ([], True)
    # And read under another key of the process
    assert rewrap(store.run_keys, f"{NEXT_KEY.line}\n{KEY.line}").done == 1
    shop.open(keys=NEXT_KEY.line)
    assert shop.app.get(fork.id).results["go/both/log_in"].token.get_secret_value() == TOKEN
    shop.holds(fork)
