"""Secrets never stand in the log: inputs, results, retries' values, and what bodies say when they fail (DESIGN §10)."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from hashlib import sha256
from pathlib import Path
from typing import Any, Literal

import msgspec
import pytest
from pydantic import BaseModel, Secret, SecretBytes, SecretStr, field_serializer
from pydantic_core import PydanticSerializationError
from sqlalchemy import Connection

from flowledger import (
    App,
    Failure,
    Flow,
    KeyMissing,
    Retry,
    RunFailed,
    Settings,
    Signal,
    TaskContext,
    Try,
    TryEach,
    linear,
)
from flowledger.adapters.erasing import erase
from flowledger.adapters.keys import Key, new_key
from flowledger.adapters.verifying import verify_all
from flowledger.core.replay import check
from flowledger.core.typed import typed
from flowledger.events import facts
from flowledger.events.errors import (
    FlowledgerError,
    IllegalRequest,
    InputError,
    NotSupported,
    PayloadErased,
    SecretInClear,
    UnserialisableType,
)  # fmt: skip
from flowledger.testing import crash_at, save_history
from tests.acceptance.command_line import run as run_process
from tests.acceptance.logs import events, log_of

KEY = new_key("k1", "aes")
TOKEN = "tok-4f7a99b1c2d3"
PASSWORD = "hunter2-hunter2"


class Login(BaseModel):
    user: str
    password: SecretStr


@dataclasses.dataclass
class Session:
    token: Secret[str]
    lifetime_s: int


Make = Callable[..., App]


@pytest.fixture
def new_app(tmp_path: Path) -> Iterator[Make]:
    """Apps on one log: a second one is another process that goes on."""
    opened: list[App] = []

    def make(keys: list[Key] | None = None, **settings: Any) -> App:
        lines = "\n".join(key.line for key in ([KEY] if keys is None else keys)) or None
        url = f"sqlite:///{tmp_path}/log.db"
        opened.append(App("shop", settings=Settings(database_url=url, codec_keys=lines, **settings)))
        return opened[-1]

    yield make
    for app in opened:
        app.close()


def everything_written(tmp_path: Path) -> bytes:
    """Every byte of the database, its write-ahead log included."""
    return b"".join(path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())


def shop(app: App, seen: list[Any]) -> Callable[[Login], Flow[str]]:
    @app.task(provides="session")
    def log_in(login: Login) -> Session:
        seen.append(login.password.get_secret_value())
        return Session(token=Secret[str](TOKEN), lifetime_s=60)

    @app.task
    def buy(session: Session) -> str:
        seen.append(session.token.get_secret_value())
        return f"bought for {session.lifetime_s} s"

    @app.flow(on_failure="stop")
    def go(login: Login) -> Flow[str]:
        return linear(log_in.bind(login), buy, returns=buy)

    return go


LOGIN = Login(user="ann", password=SecretStr(PASSWORD))


# -- values -------------------------------------------------------------------------------------


def test_bodies_get_secrets_and_the_log_a_reference_and_a_fingerprint(new_app: Make, tmp_path: Path) -> None:
    # Given
    app, seen = new_app(), list[Any]()
    # When
    run = app.run(shop(app, seen)(LOGIN), executor="inline")
    # Then
    assert seen == [PASSWORD, TOKEN]
    log = log_of(app, run)
    submitted = next(events(log, facts.RunSubmitted))
    login = msgspec.json.decode(submitted.inputs)["login"]
    assert login["user"] == "ann"
    assert set(login["password"]) == {"$secret", "fingerprint"}
    assert login["password"]["fingerprint"].startswith("k1:")
    assert submitted.secrets == (login["password"]["$secret"],)
    session = msgspec.json.decode(next(events(log, facts.TaskSucceeded)).result)
    assert set(session["token"]) == {"$secret", "fingerprint"}
    assert session["lifetime_s"] == 60
    written = everything_written(tmp_path)
    assert PASSWORD.encode() not in written
    assert TOKEN.encode() not in written
    assert verify_all(app.runtime.store).payloads == 2


def test_the_result_of_a_run_is_read_with_its_secrets_by_another_process(new_app: Make) -> None:
    # Given
    app = new_app()
    run = app.run(shop(app, [])(LOGIN), executor="inline", key="once")
    app.close()
    # When
    other = new_app()
    shop(other, [])
    found = other.get(run.id)
    # Then
    assert found.results["go/log_in"].token.get_secret_value() == TOKEN
    assert found.result == "bought for 60 s"


def test_d8_a_run_with_secrets_replays(new_app: Make) -> None:
    app = new_app()
    run = app.run(shop(app, [])(LOGIN), executor="inline")
    loaded = app.load_run(run.id)
    state = check(loaded.plan, loaded.envelopes, moved=loaded.moved, vault=loaded.vault)
    assert state.status == "SUCCEEDED"


def test_g8_a_new_secret_under_a_key_is_the_same_run_and_another_plain_input_is_not(new_app: Make) -> None:
    # Given
    app, seen = new_app(), list[Any]()
    go = shop(app, seen)
    first = app.run(go(LOGIN), executor="inline", key="once")
    # When / Then
    again = app.run(go(Login(user="ann", password=SecretStr("rotated-since"))), executor="inline", key="once")
    assert again.id == first.id
    with pytest.raises(FlowledgerError, match="other inputs"):
        app.run(go(Login(user="bob", password=SecretStr(PASSWORD))), executor="inline", key="once")


def test_e8_a_secret_bound_by_hand_is_not_written_and_does_not_change_the_plan(new_app: Make, tmp_path: Path) -> None:
    # Given
    app = new_app()

    @app.task
    def call(token: Secret[str]) -> int:
        return len(token.get_secret_value())

    @app.flow
    def go() -> Flow[int]:
        bound = call.bind(Secret[str](TOKEN))
        return linear(bound, returns=bound)

    @app.flow
    def other() -> Flow[int]:
        bound = call.bind(Secret[str]("rotated-since"))
        return linear(bound, returns=bound)

    # When
    run = app.run(go(), executor="inline")
    # Then
    assert run.result == len(TOKEN)
    assert TOKEN.encode() not in everything_written(tmp_path)
    one, two = (app.plan(part()).document.decode().partition('"nodes"')[2] for part in (go, other))
    assert one == two.replace("other", "go")


class Tokens(Retry[Secret[str]]):
    """Another token for each round."""

    provides = "token"

    def value(self, history: Sequence[Try[Secret[str]]]) -> Secret[str]:
        return Secret[str](f"{TOKEN}-{len(history)}")

    def on_failure(self, history: Sequence[Try[Secret[str]]]) -> Literal["RETRY"]:
        assert history[-1].value.get_secret_value() == f"{TOKEN}-{len(history) - 1}"
        return "RETRY"


def test_values_of_a_retry_may_be_secret(new_app: Make, tmp_path: Path) -> None:
    # Given
    app, seen = new_app(), list[str]()

    @app.task
    def call(token: Secret[str]) -> None:
        seen.append(token.get_secret_value())
        if len(seen) < 3:
            raise ValueError(f"{token.get_secret_value()} is refused")

    @app.flow
    def go() -> Flow[None]:
        return linear(call, retry=Tokens())

    # When
    run = app.run(go(), executor="inline")
    # Then
    assert seen == [f"{TOKEN}-{n}" for n in range(3)]
    assert TOKEN.encode() not in everything_written(tmp_path)
    assert all(started.secrets for started in events(log_of(app, run), facts.RoundStarted))


@pytest.mark.parametrize("encrypt_values", [False, True], ids=["secrets", "encrypted"])
@pytest.mark.parametrize("event", ["RunStarted", "TaskSucceeded"])
def test_a_run_that_was_cut_off_goes_on_with_its_secrets(new_app: Make, event: str, encrypt_values: bool) -> None:
    # Given
    app, seen = new_app(encrypt_values=encrypt_values), list[Any]()
    with crash_at(app, event) as crash:
        app.run(shop(app, seen)(LOGIN), executor="inline", key="once")
    assert crash.run_id is not None
    # When
    other = new_app(encrypt_values=encrypt_values)
    run = other.run(shop(other, seen)(LOGIN), executor="inline", key="once")
    # Then
    assert (run.id, run.result) == (crash.run_id, "bought for 60 s")
    assert seen[-1] == TOKEN
    assert seen.count(PASSWORD) == 1 or event == "RunStarted"
    assert verify_all(other.runtime.store).findings == []
    loaded = other.load_run(run.id)
    check(loaded.plan, loaded.envelopes, moved=loaded.moved, vault=loaded.vault)


# -- everything encrypted -------------------------------------------------------------------------


def test_h3_of_an_encrypted_run_no_value_stands_in_the_log(new_app: Make, tmp_path: Path) -> None:
    # Given
    app, seen = new_app(encrypt_values=True), list[Any]()

    @app.task(attempts=2)
    def greet(name: str) -> str:
        if not seen:
            seen.append(name)
            raise ValueError(f"{name} is not at home")
        return f"hello, {name}"

    @app.task
    def shout(greeting: str, failure_of: list[str]) -> str:
        return greeting.upper()

    @app.flow
    def go(name: str, words: list[str]) -> Flow[str]:
        hello = greet.bind(name)
        loud = shout.bind(hello, words)
        return linear(hello, loud, returns=loud, retry=TryEach(["apples", "pears"], provides="fruit"))

    # When
    run = app.run(go("Esmeralda", ["violets"]), executor="inline")
    # Then
    assert run.result == "HELLO, ESMERALDA"
    log = log_of(app, run)
    assert next(events(log, facts.RunSubmitted)).codec == "run-key"
    failed = next(events(log, facts.TaskFailed))
    assert failed.failure.message.startswith("‹encrypted:")
    written = everything_written(tmp_path)
    for word in (b"Esmeralda", b"ESMERALDA", b"violets", b"not at home"):
        assert word not in written, word
    assert verify_all(app.runtime.store).findings == []
    loaded = app.load_run(run.id)
    assert check(loaded.plan, loaded.envelopes, moved=loaded.moved, vault=loaded.vault).status == "SUCCEEDED"


def test_h3_digests_of_an_encrypted_run_tell_nothing_to_who_has_no_key(new_app: Make, tmp_path: Path) -> None:
    # Given the same run twice, under different keys of their own
    app = new_app(encrypt_values=True)

    @app.task
    def greet(name: str) -> str:
        return name

    runs = [app.run(greet.bind("Ann"), executor="inline") for _ in range(2)]
    plain = App("shop", settings=Settings(database_url="memory://"))
    plain.include(app)
    # When
    digests = [next(events(log_of(app, run), facts.TaskStarted)).inputs for run in runs]
    rows = [app.stream_of(run.id).inputs_digest for run in runs]
    # Then
    assert digests[0] != digests[1]
    assert rows[0] == rows[1] != sha256(b'{"name":"Ann"}').hexdigest()


def test_failures_of_an_encrypted_run_are_read_by_who_has_its_key(new_app: Make) -> None:
    # Given
    app, seen = new_app(encrypt_values=True), list[Any]()

    @app.task
    def fail() -> None:
        raise ValueError("Esmeralda is not at home")

    @fail.revert
    def undo(failure: Failure) -> None:
        seen.append(failure.message)

    # When
    run = app.run(fail, executor="inline", check=False)
    # Then
    assert seen == ["Esmeralda is not at home"]
    assert run.failures[0].message == "Esmeralda is not at home"
    assert "raise ValueError" in app.get(run.id).failures[0].traceback


class Rot13:
    """A codec of somebody else's."""

    name = "rot13"

    def encode(self, run_id: str, content: bytes) -> bytes:
        return bytes((byte + 13) % 256 for byte in content)

    def decode(self, run_id: str, content: bytes) -> bytes:
        return bytes((byte - 13) % 256 for byte in content)


def test_a_codec_of_ones_own_turns_all_values_into_what_is_stored(tmp_path: Path) -> None:
    # Given
    settings = Settings(database_url=f"sqlite:///{tmp_path}/log.db", codec_keys=KEY.line)
    app, seen = App("shop", settings=settings, codec=Rot13()), list[Any]()
    # When
    run = app.run(shop(app, seen)(LOGIN), executor="inline")
    # Then
    assert seen == [PASSWORD, TOKEN]
    assert run.result == "bought for 60 s"
    assert next(events(log_of(app, run), facts.RunSubmitted)).codec == "rot13"
    written = everything_written(tmp_path)
    assert b"bought for" not in written
    assert Rot13().encode("", b"bought for") in written
    app.close()
    without = App("shop", settings=settings)
    shop(without, [])
    with closing(without), pytest.raises(KeyMissing, match="rot13"):
        _ = without.get(run.id).result


# -- what must not happen -------------------------------------------------------------------------


def test_without_a_key_a_flow_with_secrets_does_not_begin(new_app: Make) -> None:
    app = new_app(keys=[])
    with pytest.raises(KeyMissing) as caught:
        app.run(shop(app, [])(LOGIN), executor="inline")
    assert "flowledger keys new" in caught.value.hint
    assert list(app.runs()) == []


def test_a_key_that_follows_another_reads_what_that_one_wrote(new_app: Make) -> None:
    # Given
    app = new_app()
    run = app.run(shop(app, [])(LOGIN), executor="inline")
    app.close()
    new = new_key("k2", "aes")
    # When / Then
    other = new_app(keys=[new, KEY])
    shop(other, [])
    assert other.get(run.id).results["go/log_in"].token.get_secret_value() == TOKEN
    other.close()
    for wrong in ([new], [new_key("k1", "aes")]):
        without = new_app(keys=wrong)
        shop(without, [])
        with pytest.raises(KeyMissing, match="k1"):
            _ = without.get(run.id).results
        without.close()


def test_a_secret_in_a_result_that_does_not_say_so_is_not_written(new_app: Make, tmp_path: Path) -> None:
    # Given
    app, reverted = new_app(), list[Any]()

    @app.task
    def dsn(login: Login) -> str:
        return f"postgres://{login.user}:{login.password.get_secret_value()}@db"

    @dsn.revert
    def undo(result: str | None) -> None:
        reverted.append(result)

    @app.flow
    def go(login: Login) -> Flow[str]:
        bound = dsn.bind(login)
        return linear(bound, returns=bound)

    # When
    run = app.run(go(LOGIN), executor="inline", check=False)
    # Then
    assert (run.state, run.failures[0].kind, reverted) == ("REVERTED", "result", [None])
    assert run.failures[0].type.endswith(SecretInClear.__name__)
    assert PASSWORD.encode() not in everything_written(tmp_path)


class Hiding(BaseModel):
    token: SecretStr

    @field_serializer("token", when_used="json")
    def open_it(self, token: SecretStr) -> Any:
        return {"it is": token.get_secret_value()}


class Holding(BaseModel):
    logins: list[Login]

    @field_serializer("logins", when_used="json")
    def only_users(self, logins: list[Login]) -> str:
        return ", ".join(login.user for login in logins)


def test_a_serialiser_of_ones_own_may_not_hide_where_a_secret_stands() -> None:
    assert typed(Hiding, where="x").to_json(Hiding(token=SecretStr(TOKEN))) == b'{"token":{"$clear":"%s"}}' % (
        TOKEN.encode()
    )
    with pytest.raises(PydanticSerializationError, match="hides"):
        typed(Holding, where="x").to_json(Holding(logins=[LOGIN]))


@pytest.mark.parametrize(
    ("annotation", "value"),
    [(Any, SecretStr(TOKEN)), (Any, LOGIN), (dict[str, Any], {"a": [Secret[str](TOKEN)]}), (list[Any], [LOGIN])],
    ids=["bare", "model", "deep", "list"],
)
def test_a_secret_where_nothing_says_so_is_refused_and_not_turned_into_stars(annotation: Any, value: Any) -> None:
    with pytest.raises(PydanticSerializationError, match="annotate"):
        typed(annotation, where="x").to_json(value)


def test_a_users_own_json_is_not_taken_for_a_secret(new_app: Make) -> None:
    # Given values that look like ours, beside a secret
    app, seen = new_app(), list[Any]()
    odd = {"a": {"$clear": 1}, "b": {"$secret": "0" * 64, "fingerprint": "x"}, "c": {"$moved": "d"}}

    @app.task
    def keep(odd: dict[str, Any], login: Login) -> dict[str, Any]:
        seen.append(odd)
        return odd

    @app.flow
    def go(odd: dict[str, Any], login: Login) -> Flow[dict[str, Any]]:
        bound = keep.bind(odd, login)
        return linear(bound, returns=bound)

    # When
    run = app.run(go(odd, LOGIN), executor="inline")
    # Then
    assert seen == [odd]
    assert app.get(run.id).result == odd
    assert verify_all(app.runtime.store).findings == []


@pytest.mark.parametrize(
    ("annotation", "value"),
    [
        (SecretStr, SecretStr(TOKEN)),
        (SecretBytes, SecretBytes(TOKEN.encode())),
        (Secret[str], Secret[str](TOKEN)),
        (Secret[dict[str, list[str]]], Secret[dict[str, list[str]]]({"a": [TOKEN]})),
        (Login, Login(user="ann", password=SecretStr(TOKEN))),
        (Session, Session(Secret[str](TOKEN), 1)),
        (list[SecretStr], [SecretStr(TOKEN), SecretStr("other")]),
        (dict[int, SecretStr], {1: SecretStr(TOKEN)}),
        (SecretStr | None, SecretStr(TOKEN)),
        (tuple[int, list[Login]], (1, [Login(user="ann", password=SecretStr(TOKEN))])),
        (set[SecretStr], {SecretStr(TOKEN), SecretStr("other")}),
    ],
    ids=str,
)
def test_secrets_are_found_wherever_they_stand_in_a_type(annotation: Any, value: Any) -> None:
    # Given
    type_ = typed(annotation, where="x")
    # When
    content = type_.to_json(value)
    # Then
    assert type_.secretive
    assert b'{"$clear":' in content
    assert b"***" not in content
    assert type_.load(content) == value


@pytest.mark.parametrize("annotation", [str, int, Any, dict[str, Any], list[int], str | None], ids=str)
def test_other_types_have_none(annotation: Any) -> None:
    assert not typed(annotation, where="x").secretive


# -- texts ---------------------------------------------------------------------------------------


def test_rel_s10_what_a_body_says_is_redacted_before_it_is_written(
    new_app: Make, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    # Given a body that tells all it knows
    app = new_app()

    @app.task
    def tell(login: Login, ctx: TaskContext) -> None:
        secret = login.password.get_secret_value()
        ctx.log.warning("logging in with %s", secret)
        try:
            dict[str, int]()[secret]
        except KeyError as error:
            ctx.log.exception("and again")
            raise ValueError(f"no entry for {secret} in https://me:pa55@host") from error

    @app.flow(on_failure="stop")
    def go(login: Login) -> Flow[None]:
        return linear(tell.bind(login))

    # When
    with caplog.at_level(logging.DEBUG), pytest.raises(RunFailed) as caught:
        app.run(go(LOGIN), executor="inline")
    # Then
    failure = caught.value.failures[0]
    assert failure.message == "no entry for ‹redacted› in https://‹redacted›@host"
    assert failure.cause is not None
    assert failure.cause.message == "'‹redacted›'"
    assert PASSWORD not in failure.traceback
    assert PASSWORD.encode() not in everything_written(tmp_path)
    assert PASSWORD not in caplog.text
    assert caplog.text.count("‹redacted›") >= 2
    records = [record for record in caplog.records if record.name == "flowledger.task"]
    assert {record.filename for record in records} == {Path(__file__).name}


def test_a_secret_at_the_place_where_a_text_is_cut_is_not_cut_in_two(new_app: Make, tmp_path: Path) -> None:
    app = new_app()

    @app.task
    def tell(login: Login) -> None:
        raise ValueError("x" * 3_995 + login.password.get_secret_value())

    @app.flow(on_failure="stop")
    def go(login: Login) -> Flow[None]:
        return linear(tell.bind(login))

    app.run(go(LOGIN), executor="inline", check=False)
    assert PASSWORD[:8].encode() not in everything_written(tmp_path)


def test_the_secrets_of_one_run_are_not_looked_for_in_another(new_app: Make) -> None:
    # Given
    app = new_app()

    @app.task
    def fail(login: Login, text: str) -> None:
        raise ValueError(f"about {text}")

    @app.flow(on_failure="stop")
    def go(login: Login, text: str) -> Flow[None]:
        return linear(fail.bind(login, text))

    # When
    app.run(go(Login(user="a", password=SecretStr("weather")), "x"), executor="inline", check=False)
    run = app.run(go(LOGIN, "the weather"), executor="inline", check=False)
    # Then
    assert run.failures[0].message == "about the weather"


def test_patterns_of_ones_own_are_redacted(new_app: Make) -> None:
    app = new_app(redact=r"AC\d{6}" + "\n" + r"customer (?P<secret>\w+)")

    @app.task
    def fail() -> None:
        raise ValueError("account AC123456 of customer Smith")

    run = app.run(fail, executor="inline", check=False)
    assert run.failures[0].message == "account ‹redacted› of customer ‹redacted›"
    with closing(new_app(redact="(")) as wrong, pytest.raises(FlowledgerError, match="REDACT"):
        _ = wrong.runtime


# -- erasure --------------------------------------------------------------------------------------


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


# -- plans that grow ------------------------------------------------------------------------------


def test_e7_secrets_in_an_expansion(new_app: Make, tmp_path: Path) -> None:
    # Given tasks with secrets that come into being while the run is under way
    app, seen = new_app(), list[str]()

    @app.task
    def users() -> list[Login]:
        return [Login(user=name, password=SecretStr(f"{PASSWORD}-{name}")) for name in ("ann", "bob")]

    @app.task
    def log_in(login: Login) -> Secret[str]:
        seen.append(login.password.get_secret_value())
        return Secret[str](f"{TOKEN}-{login.user}")

    @app.task
    def collect(tokens: list[Secret[str]]) -> int:
        seen.extend(token.get_secret_value() for token in tokens)
        return len(tokens)

    @app.flow
    def go() -> Flow[int]:
        found = users.named("found")
        tokens = log_in.each(found).named("tokens")
        count = collect.bind(tokens)
        return linear(found, tokens, count, returns=count)

    # When
    run = app.run(go(), executor="inline")
    # Then
    assert run.result == 2
    assert seen == [f"{PASSWORD}-ann", f"{PASSWORD}-bob", f"{TOKEN}-ann", f"{TOKEN}-bob"]
    written = everything_written(tmp_path)
    assert PASSWORD.encode() not in written
    assert TOKEN.encode() not in written
    loaded = app.load_run(run.id)
    assert check(loaded.plan, loaded.envelopes, moved=loaded.moved, vault=loaded.vault).status == "SUCCEEDED"


def test_e7_secrets_that_only_an_expansion_brings(new_app: Make, tmp_path: Path) -> None:
    # Given a plan that at first has no secrets at all
    app = new_app()

    @app.task
    def names() -> list[str]:
        return ["ann", "bob"]

    @app.task
    def log_in(name: str) -> Secret[str]:
        return Secret[str](f"{TOKEN}-{name}")

    @app.flow
    def go() -> Flow[Any]:
        found = names.named("found")
        tokens = log_in.each(found).named("tokens")
        return linear(found, tokens, returns=tokens)

    # When
    run = app.run(go(), executor="inline", key="once")
    # Then
    assert TOKEN.encode() not in everything_written(tmp_path)
    assert verify_all(app.runtime.store).payloads == 2
    loaded = app.load_run(run.id)
    assert check(loaded.plan, loaded.envelopes, moved=loaded.moved, vault=loaded.vault).status == "SUCCEEDED"


def test_f4_a_signal_is_not_secret() -> None:
    with pytest.raises(UnserialisableType, match="inbox"):
        Signal("password", SecretStr)


# -- transactional tasks --------------------------------------------------------------------------


@pytest.mark.parametrize("encrypt_values", [False, True], ids=["secrets", "encrypted"])
@pytest.mark.parametrize("event", [None, "TaskSucceeded"])
def test_c8_an_outcome_that_waits_beside_the_log_is_not_in_clear(
    new_app: Make, tmp_path: Path, encrypt_values: bool, event: str | None
) -> None:
    # Given a task whose outcome is committed with its own writes, and a process that may die before the log has it
    def flow(app: App) -> Flow[Any]:
        @app.task(transactional=True)
        def issue(connection: Connection) -> Secret[str]:
            connection.exec_driver_sql("CREATE TABLE IF NOT EXISTS issued (n int)")
            connection.exec_driver_sql("INSERT INTO issued VALUES (1)")
            return Secret[str](TOKEN)

        @app.flow
        def go() -> Flow[Secret[str]]:
            return linear(issue, returns=issue)

        return go()

    app = new_app(encrypt_values=encrypt_values)
    if event is None:
        run = app.run(flow(app), key="once")
    else:
        with crash_at(app, event, before=True):
            app.run(flow(app), key="once")
        assert TOKEN.encode() not in everything_written(tmp_path)
        other = new_app(encrypt_values=encrypt_values)
        run = other.run(flow(other), key="once")
    # Then
    assert run.result.get_secret_value() == TOKEN
    assert TOKEN.encode() not in everything_written(tmp_path)


# -- the command line and histories ---------------------------------------------------------------


def test_rel_s10_a_secret_result_is_masked_on_the_terminal(tmp_path: Path) -> None:
    (tmp_path / "vault_app.py").write_text(
        "from pydantic import SecretStr\nfrom flowledger import App\napp = App('vault')\n\n\n"
        f"@app.task\ndef issue() -> SecretStr:\n    return SecretStr('{TOKEN}')\n"
    )
    for json in ((), ("--json",)):
        said = run_process(
            "run", "issue", *json, cwd=tmp_path, FLOWLEDGER_APP="vault_app:app", FLOWLEDGER_CODEC_KEYS=KEY.line
        )
        assert said.code == 0
        assert TOKEN not in said.out + said.err
    assert '"$secret"' in said.out


def test_a_history_with_secrets_is_not_kept(new_app: Make, tmp_path: Path) -> None:
    app = new_app()
    run = app.run(shop(app, [])(LOGIN), executor="inline")
    with pytest.raises(NotSupported, match="secrets"):
        save_history(app, run.id, tmp_path / "history.json")


# -- child runs -----------------------------------------------------------------------------------


@pytest.mark.parametrize("encrypt_values", [False, True])
def test_g7_secrets_go_down_to_a_child_run_and_come_back_from_it(
    new_app: Make, tmp_path: Path, encrypt_values: bool
) -> None:
    # Given
    app, seen = new_app(encrypt_values=encrypt_values), list[str]()

    @app.task
    def log_in(login: Login) -> Session:
        seen.append(login.password.get_secret_value())
        return Session(token=Secret[str](TOKEN), lifetime_s=60)

    @app.flow
    def session(login: Login) -> Flow[Session]:
        bound = log_in.bind(login)
        return linear(bound, returns=bound)

    @app.task
    def buy(session: Session) -> None:
        seen.append(session.token.get_secret_value())

    @app.flow
    def go(login: Login) -> Flow[Session]:
        child = session.child(login)
        return linear(child, buy.bind(child), returns=child)

    # When
    run = app.run(go(LOGIN), executor="inline")
    # Then
    assert seen == [PASSWORD, TOKEN]
    assert run.result.token.get_secret_value() == TOKEN
    written = everything_written(tmp_path)
    assert PASSWORD.encode() not in written
    assert TOKEN.encode() not in written
    # And each of the two has it under its own key: one may be erased, the other still reads
    (child,) = [each for each in app.runs() if each.id != run.id]
    stream = app.runtime.store.stream(child.id)
    assert stream is not None
    erase(app.runtime.store, stream, reason="asked to", actor="me@here")
    app.runtime.vaults.forget(child.id)
    assert app.get(run.id).result.token.get_secret_value() == TOKEN
    with pytest.raises(PayloadErased):
        _ = app.get(child.id).result
    assert verify_all(app.runtime.store).holds


def test_g7_why_an_encrypted_child_failed_can_be_read_in_its_parent(new_app: Make, tmp_path: Path) -> None:
    # Given
    app = new_app(encrypt_values=True)

    @app.task
    def fail(name: str) -> None:
        raise ValueError(f"no room for {name}")

    @app.flow
    def room(name: str) -> Flow[None]:
        return linear(fail.bind(name))

    @app.flow
    def house(name: str) -> Flow[None]:
        return linear(room.child(name))

    # When
    run = app.run(house("ann-1234"), check=False)
    # Then
    cause = run.failures[0].cause
    assert cause is not None
    assert cause.message == "no room for ann-1234"
    assert b"ann-1234" not in everything_written(tmp_path)
