"""Rule G6 for runs with secrets or encrypted values: a fork has a key of its own, and all that it needs under it."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Literal

import pytest
from pydantic import BaseModel, Secret, SecretStr

from flowledger import App, Flow, KeyMissing, Retry, Run, Settings, Try, graph, linear, link, unordered
from flowledger.adapters.bundle import export
from flowledger.adapters.bundle_reading import read_bundle, verify_bundle
from flowledger.adapters.cli.inputs import read_inputs
from flowledger.adapters.erasing import erase
from flowledger.adapters.history import History
from flowledger.adapters.keys import new_key
from flowledger.adapters.moments import Moment
from flowledger.adapters.replaying import replay
from flowledger.adapters.rewrapping import rewrap
from flowledger.adapters.verifying import verify_all
from flowledger.events import facts
from flowledger.events.errors import IllegalRequest, InputError, PayloadErased
from flowledger.projections.diff import Side, compare
from tests.acceptance.logs import events, log_of
from tests.agreeing import views_agree

KEY, NEXT_KEY = new_key("k1", "aes"), new_key("k2", "aes")
TOKEN = "tok-4f7a99b1c2d3"
PASSWORD = "hunter2-hunter2"
SMALL = 250  # bytes that a value may have in its event: a session has fewer, a note more
NOTE = "a note that is too long for its event, " * 8

pytestmark = pytest.mark.timeout(120)


class Login(BaseModel):
    user: str
    password: SecretStr


class Session(BaseModel):
    token: Secret[str]
    user: str


LOGIN = Login(user="ann-1234", password=SecretStr(PASSWORD))


class Shop:
    """A log, and the apps of the processes at it. ``seen``: what bodies were given; ``broken``: the part that fails."""

    def __init__(self, url: str, *, encrypt: bool) -> None:
        self.url, self.encrypt = url, encrypt
        self.seen: list[str] = []
        self.broken = "pack"
        self.apps: list[App] = []
        self.flow: Callable[..., Flow[str]] = self.open()

    @property
    def app(self) -> App:
        """The one that was opened last."""
        return self.apps[-1]

    def open(self, *, keys: str = KEY.line, encrypt: bool | None = None) -> Callable[..., Flow[str]]:
        """As another process: its flow."""
        app = App("shop", settings=Settings(
            database_url=self.url, codec_keys=keys, encrypt_values=self.encrypt if encrypt is None else encrypt,
            payload_inline_bytes=SMALL,
        ))  # fmt: skip
        self.apps.append(app)

        @app.task(provides="session")
        def log_in(login: Login) -> Session:
            self._saw("log_in", login.password.get_secret_value())
            return Session(token=Secret[str](TOKEN), user=login.user)

        @log_in.revert
        def log_out(login: Login, result: Session | None) -> None:
            self.seen.append(f"-{login.password.get_secret_value()} {result and result.token.get_secret_value()}")

        @app.task(provides="note")
        def write(name: str) -> str:
            self._saw("write", name)
            return NOTE + name

        @app.task
        def pack(session: Session, note: str) -> str:
            self._saw("pack", session.token.get_secret_value())
            return f"{note.removeprefix(NOTE)} for {session.user}"

        @app.flow(on_failure="stop")
        def go(login: Login, name: str = "tea") -> Flow[str]:
            return linear(unordered(log_in.bind(login), write.bind(name), name="both"), pack, returns=pack)

        return go

    def _saw(self, part: str, value: str) -> None:
        self.seen.append(value)
        if part == self.broken:
            raise ValueError(f"{part} is broken")

    def stopped(self) -> Run[Any]:
        """A run whose last part has failed; that part is mended now."""
        run = self.app.run(self.flow(LOGIN), executor="inline", check=False)
        assert run.state == "FAILED"
        self.seen.clear()
        self.broken = ""
        return run

    def erased(self, run: Run[Any]) -> None:
        """Erase it, and forget it in this process, too."""
        erase(self.app.runtime.store, self.app.stream_of(run.id), reason="asked for", actor="dpo@here")
        self.app.runtime.vaults.forget(run.id)

    def holds(self, run: Run[Any]) -> None:
        """Its log verifies, is valid under today's code, and views agree about it."""
        runtime = self.app.runtime
        assert verify_all(runtime.store).findings == []
        replayed = replay(runtime, self.app, self.app.stream_of(run.id))
        assert (replayed.error, replayed.erased) == (None, False)
        views_agree(runtime.store, log_of(self.app, run))

    def in_clear(self) -> list[str]:
        """What stands in events and payload rows and should not."""
        store = self.app.runtime.store
        written = bytearray()
        for stream in store.streams(limit=50):
            for envelope in store.read(stream.run_id):
                written += envelope.payload
            for event in log_of(self.app, self.app.get(stream.run_id)):
                for digest in (getattr(event.event, "moved", None), *getattr(event.event, "secrets", ())):
                    written += (digest and store.payload(stream.run_id, digest)) or b""
        never = [PASSWORD, TOKEN, "ann-1234", "tea", NOTE] if self.encrypt else [PASSWORD, TOKEN]
        return [text for text in never if text.encode() in written]


@pytest.fixture(params=["memory", "sqlite", "postgres"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    found = {"memory": f"memory://{tmp_path}", "sqlite": f"sqlite:///{tmp_path}/log.db"}
    return found.get(request.param) or str(request.getfixturevalue("postgres_url"))


@pytest.fixture(params=[False, True], ids=["secrets", "encrypted"])
def shop(request: pytest.FixtureRequest, url: str) -> Iterator[Shop]:
    shop = Shop(url, encrypt=request.param)
    yield shop
    for app in shop.apps:
        app.close()


@pytest.fixture(params=[False, True], ids=["secrets", "encrypted"])
def at_hand(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Shop]:
    """On SQLite only: what does not hang on the store."""
    shop = Shop(f"sqlite:///{tmp_path}/log.db", encrypt=request.param)
    yield shop
    for app in shop.apps:
        app.close()


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
