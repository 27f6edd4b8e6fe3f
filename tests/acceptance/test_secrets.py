"""Secrets never stand in the log: of inputs, results, retries' values, plans that grow, child runs (DESIGN §10)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import msgspec
import pytest
from pydantic import Secret, SecretStr
from sqlalchemy import Connection

from flowledger import (
    App,
    Flow,
    Retry,
    Signal,
    Try,
    linear,
)
from flowledger.adapters.erasing import erase
from flowledger.adapters.verifying import verify_all
from flowledger.core.replay import check
from flowledger.events import facts
from flowledger.events.errors import (
    FlowledgerError,
    NotSupported,
    PayloadErased,
    UnserialisableType,
)  # fmt: skip
from flowledger.testing import crash_at, save_history
from tests.acceptance.command_line import run as run_process
from tests.acceptance.logs import events, log_of
from tests.acceptance.secret_shop import (
    KEY,
    LOGIN,
    PASSWORD,
    TOKEN,
    Login,
    Make,
    Session,
    everything_written,
    new_app,
    shop,
)

__all__ = ["new_app"]


# -- values ---------------------------------------------------------------------------------------


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
