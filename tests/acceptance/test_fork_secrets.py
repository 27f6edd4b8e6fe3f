"""A fork of a run with secrets has a key of its own; what is new in it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import pytest
from pydantic import Secret, SecretStr

from flowledger import Flow, Retry, Try, linear
from flowledger.adapters.cli.inputs import read_inputs
from flowledger.adapters.verifying import verify_all
from flowledger.events import facts
from flowledger.events.errors import InputError, PayloadErased
from tests.acceptance.logs import events, log_of
from tests.acceptance.secret_forks import LOGIN, PASSWORD, TOKEN, Login, Shop, at_hand, shop, url

__all__ = ["at_hand", "shop", "url"]

pytestmark = pytest.mark.timeout(120)


# -- a key of its own -----------------------------------------------------------------------------


def test_g6_h3_a_fork_has_its_secrets_under_its_own_key_and_outlives_the_erasure_of_its_source(shop: Shop) -> None:
    # Given a run that stopped, and what a fork of it would do
    source = shop.stopped()
    preview = source.fork(reason="mended", dry_run=True)
    assert (preview.keeps, preview.runs_again) == (("go/both/log_in", "go/both/write"), ("go/pack",))
    # When it is forked
    fork = source.fork(reason="mended")
    # Then the rest is run with what has been taken over, nothing stands in clear, and the fork is valid
    assert (fork.state, fork.result, shop.seen) == ("SUCCEEDED", "tea for ann-1234", [TOKEN])
    assert fork.results["go/both/log_in"].token.get_secret_value() == TOKEN
    assert shop.in_clear() == []
    shop.holds(fork)
    # And when the original is erased, the fork does not notice, in whatever process
    shop.erased(source)
    shop.open()
    again = shop.app.get(fork.id)
    with pytest.raises(PayloadErased):
        _ = shop.app.get(source.id).results
    assert again.result == "tea for ann-1234"
    assert again.results["go/both/log_in"].token.get_secret_value() == TOKEN
    shop.holds(again)
    shop.seen.clear()
    again.rerun(from_="go/pack", reason="once more")
    assert (again.state, shop.seen) == ("SUCCEEDED", [TOKEN])
    shop.holds(again)


def test_g6_h3_the_erasure_of_a_fork_leaves_its_source_readable(shop: Shop) -> None:
    # Given
    source = shop.stopped()
    fork = source.fork(reason="mended")
    # When
    shop.erased(fork)
    # Then
    shop.open()
    assert shop.app.get(source.id).results["go/both/log_in"].token.get_secret_value() == TOKEN
    with pytest.raises(PayloadErased):
        _ = shop.app.get(fork.id).result
    assert verify_all(shop.app.runtime.store).findings == []
    # And it can be forked once more
    assert shop.app.get(source.id).fork(reason="again").state == "SUCCEEDED"


@pytest.mark.parametrize("adopt", [False, True])
def test_g6_h3_of_an_erased_run_there_is_no_fork_and_nothing_is_written(shop: Shop, adopt: bool) -> None:
    # Given
    source = shop.stopped()
    shop.erased(source)
    store, before = shop.app.runtime.store, log_of(shop.app, source)
    # When
    with pytest.raises(PayloadErased, match="its key was removed") as refused:
        shop.app.get(source.id).fork(reason="mended", adopt=adopt)
    # Then it says why and what to do, and there is no run and no key
    assert "begin a new run" in (refused.value.hint or "")
    assert [stream.run_id for stream in store.streams(limit=5)] == [source.id]
    assert store.run_keys.counts() == {}
    assert (log_of(shop.app, source), shop.app.stream_of(source.id).owner) == (before, None)


def test_g6_h3_a_fork_of_a_fork_needs_only_what_it_was_made_of(shop: Shop) -> None:
    # Given a fork whose source is gone
    source = shop.stopped()
    shop.broken = "pack"
    fork = source.fork(reason="mended?")
    assert fork.state == "FAILED"
    shop.erased(source)
    shop.broken = ""
    shop.seen.clear()
    # When it is forked in turn, and erased
    again = fork.fork(reason="mended")
    shop.erased(fork)
    # Then
    shop.open()
    found = shop.app.get(again.id)
    assert (found.state, found.result, shop.seen) == ("SUCCEEDED", "tea for ann-1234", [TOKEN])
    assert shop.in_clear() == []
    shop.holds(found)


def test_g6_h3_what_was_adopted_is_undone_with_its_secrets_also_when_the_source_is_erased(shop: Shop) -> None:
    # Given a fork that has adopted what its source did
    source = shop.stopped()
    fork = source.fork(adopt=True, reason="mended")
    assert fork.state == "SUCCEEDED"
    shop.erased(source)
    shop.seen.clear()
    # When it is undone by another process
    shop.open()
    found = shop.app.get(fork.id)
    found.revert(reason="not needed")
    # Then
    assert (found.state, shop.seen) == ("REVERTED", [f"-{PASSWORD} {TOKEN}"])
    assert shop.in_clear() == []
    shop.holds(found)


# -- what is new ----------------------------------------------------------------------------------


def test_g6_another_secret_is_another_input_and_the_same_one_is_none(at_hand: Shop) -> None:
    shop, source = at_hand, at_hand.stopped()
    # When a fork is given the same password, and another
    same = source.fork(inputs={"login": LOGIN}, reason="the same", dry_run=True)
    other = {"login": Login(user="ann-1234", password=SecretStr("another-password"))}
    preview = source.fork(inputs=other, reason="rotated", dry_run=True)
    fork = source.fork(inputs=other, reason="rotated")
    # Then what takes it is run again where it is another
    assert same.keeps == ("go/both/log_in", "go/both/write")
    assert preview.keeps == ("go/both/write",)
    assert (fork.state, shop.seen) == ("SUCCEEDED", ["another-password", TOKEN])
    shop.holds(fork)


def test_g6_one_field_beside_a_secret_is_another(at_hand: Shop) -> None:
    shop, source = at_hand, at_hand.stopped()
    # When somebody types `fork --set login.user=bob`
    inputs = read_inputs(None, ["login.user=bob"], before=shop.app.inputs_of_run(source.id))
    fork = source.fork(inputs=inputs, reason="it was bob")
    # Then the password is as it was
    assert (fork.result, shop.seen) == ("tea for bob", [PASSWORD, TOKEN])
    shop.holds(fork)
    # And nobody is shown it who types something else
    inputs = read_inputs(None, ["login.user=[1]"], before=shop.app.inputs_of_run(source.id))
    with pytest.raises(InputError) as refused:
        source.fork(inputs=inputs, reason="x")
    assert PASSWORD not in f"{refused.value!r} {refused.value.hint} {refused.value.given}"


def test_g6_h4_a_fork_of_a_version_and_of_a_part(at_hand: Shop) -> None:
    shop, source = at_hand, at_hand.stopped()
    done = next(e.version for e in log_of(shop.app, source) if e.type == "TaskSucceeded")
    # When
    then = source.fork(at=done, reason="from there")
    part = source.fork(at="go/both/log_in", reason="log in anew")
    # Then
    assert shop.seen == ["tea", TOKEN, PASSWORD, TOKEN]
    for fork in (then, part):
        assert fork.result == "tea for ann-1234"
        shop.holds(fork)


class Tokens(Retry[Secret[str]]):
    """Another token for each round."""

    provides = "token"

    def value(self, history: Sequence[Try[Secret[str]]]) -> Secret[str]:
        return Secret[str](f"{TOKEN}-{len(history)}")

    def on_failure(self, history: Sequence[Try[Secret[str]]]) -> Literal["RETRY"]:
        return "RETRY"


def test_g6_h3_the_secret_value_of_a_retry_is_taken_over(at_hand: Shop) -> None:
    # Given a flow that is done with its second token, and undoes with it what it did
    app, seen = at_hand.app, list[str]()

    @app.task
    def call(token: Secret[str]) -> None:
        seen.append(token.get_secret_value())
        if len(seen) == 1:
            raise ValueError("refused")

    @call.revert
    def hang_up(token: Secret[str]) -> None:
        seen.append(f"-{token.get_secret_value()}")

    @app.task
    def end() -> None:
        if len(seen) < 4:
            raise ValueError("not yet")

    @app.flow
    def within() -> Flow[None]:
        return linear(call, retry=Tokens())

    @app.flow(on_failure="stop")
    def around() -> Flow[None]:
        return linear(within(), end)

    source = app.run(around(), executor="inline", check=False)
    seen.append("mended")
    # When it is forked, erased, and the fork is undone
    fork = source.fork(adopt=True, reason="mended")
    at_hand.erased(source)
    fork.revert(reason="enough")
    # Then
    assert (fork.state, seen[-1]) == ("REVERTED", f"-{TOKEN}-1")
    assert next(events(log_of(app, fork), facts.RunForked)).rounds == ("around/within",)
    assert at_hand.in_clear() == []
    at_hand.holds(fork)
