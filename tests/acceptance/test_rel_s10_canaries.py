"""RELIABILITY S10: fifty canaries planted where secrets are, and looked for wherever something is written or shown."""

from __future__ import annotations

import io
import json
import logging
import sqlite3
import sys
import zipfile
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel, Secret, SecretStr

from flowledger import App, Flow, NotReady, RunFailed, Settings, TaskContext, linear
from flowledger.adapters.bundle import export
from flowledger.adapters.cli import main
from flowledger.adapters.keys import new_key

SINKS = (
    "database file", "events", "payload rows", "views", "plans", "bundle", "process log", "errors raised", "tracebacks",
    "handles", "show", "show --json", "events --json", "attempts", "audit", "ls",
)  # fmt: skip


def canary(number: int) -> str:
    return f"canary{number:02d}q7x{number * 7919 % 9973:04d}zk"


CANARIES = [canary(number) for number in range(50)]
INPUTS, RESULTS, ENVIRONMENT, DSNS, HEADERS, RAISED, WAITING, TOKENS = (
    CANARIES[0:10], CANARIES[10:20], CANARIES[20:25], CANARIES[25:30], CANARIES[30:35], CANARIES[35:40],
    CANARIES[40:45], CANARIES[45:50],
)  # fmt: skip


class Login(BaseModel):
    user: str
    passwords: list[SecretStr]


def app_on(folder: Path, seen: list[str]) -> tuple[App, Callable[[Login], Flow[None]]]:
    settings = Settings(
        database_url=f"sqlite:///{folder}/log.db", codec_keys=new_key("k", "aes").line,
        redact=r"ticket (?P<secret>\w+)",
    )  # fmt: skip
    app = App("canaries", settings=settings)

    @app.task(provides="tokens")
    def log_in(login: Login) -> dict[str, Secret[str]]:
        seen.extend(password.get_secret_value() for password in login.passwords)
        return {f"t{n}": Secret[str](text) for n, text in enumerate(RESULTS)}

    @app.task
    def wait(ctx: TaskContext, tokens: dict[str, Secret[str]]) -> None:
        for text in WAITING:
            ctx.log.info("waiting for ticket %s", text)
        ctx.progress(0.5, f"ticket {WAITING[0]}")
        if not any(text == "waited" for text in seen):
            seen.append("waited")
            raise NotReady(" ".join(f"ticket {text}" for text in WAITING), retry_after=0.01)

    @app.task(attempts=2)
    def fail(tokens: dict[str, Secret[str]], login: Login, ctx: TaskContext) -> None:
        known = [token.get_secret_value() for token in tokens.values()]
        known += [password.get_secret_value() for password in login.passwords]
        ctx.log.error("with %s", known)
        dsns = [f"postgresql://me:{text}@db/x" for text in DSNS]
        headers = [f"Authorization: Bearer {text}" for text in HEADERS]
        plain = [f"password={RAISED[0]}", f"api_key: '{RAISED[1]}'", f'"secret": "{RAISED[2]}"', f"TOKEN={RAISED[3]}",
                 f"-----BEGIN PRIVATE KEY-----\n{RAISED[4]}\n-----END PRIVATE KEY-----"]  # fmt: skip
        marked = [f"ticket {text}" for text in TOKENS]
        try:
            raise KeyError(*known, *ENVIRONMENT)  # noqa: TRY301
        except KeyError as error:
            ctx.log.exception("again")
            raise ValueError("; ".join([*known, *dsns, *headers, *plain, *marked, *ENVIRONMENT])) from error

    @app.flow(on_failure="stop")
    def go(login: Login) -> Flow[None]:
        return linear(log_in.bind(login), wait, fail.bind(login=login))

    return app, go


@pytest.fixture(params=["run", "fork"])
def planted(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> dict[str, str]:
    """What every sink holds after a run in which all canaries were let out, or after a fork that has taken over what
    it was given and made, and lets them out again."""
    for number, text in enumerate(ENVIRONMENT):
        monkeypatch.setenv(f"SERVICE_{number}_TOKEN", text)
    monkeypatch.chdir(tmp_path)
    seen: list[str] = []
    app, go = app_on(tmp_path, seen)
    sinks: dict[str, str] = {}
    with caplog.at_level(logging.DEBUG):
        try:
            app.run(go(Login(user="ann", passwords=[SecretStr(text) for text in INPUTS])))
        except RunFailed as failed:
            sinks["errors raised"] = str(failed) + repr(failed)
            sinks["tracebacks"] = " ".join(f"{f.message} {f.traceback} {f.cause}" for f in failed.failures)
            sinks["handles"] = repr(failed.run) + repr(failed.run.results)
        if request.param == "fork":
            seen.remove("waited")
            _forked(app, sinks)
    assert seen[:10] == INPUTS, "the body has had them all"
    sinks["process log"] = caplog.text
    run, *source = app.runs()
    assert bool(source) == (request.param == "fork")
    store = app.runtime.store
    sinks["events"] = b"".join(event.payload for each in (run, *source) for event in store.read(each.id)).decode()
    export(store, app.stream_of(run.id), tmp_path / "bundle.zip", actor="me")
    app.close()
    with zipfile.ZipFile(tmp_path / "bundle.zip") as archive:
        sinks["bundle"] = " ".join(archive.read(name).decode("latin-1") for name in archive.namelist())
    sinks |= _tables(tmp_path / "log.db")
    files = [path for path in tmp_path.glob("log.db*") if path.is_file()]
    sinks["database file"] = "".join(path.read_bytes().decode("latin-1") for path in files)
    for name, argv in {
        "show": ["show", run.id], "show --json": ["show", run.id, "--json"],
        "events --json": ["events", run.id, "--json"],
        "attempts": ["attempts", run.id], "audit": ["audit", run.id], "ls": ["ls"],
    }.items():  # fmt: skip
        sinks[name] = _said(monkeypatch, ["--database-url", f"sqlite:///{tmp_path}/log.db", *argv])
    return sinks


def _forked(app: App, sinks: dict[str, str]) -> None:
    """Fork the run from its second part on; what its secrets are tells nothing but what it has taken over."""
    (source,) = app.runs()
    fork = source.fork(at="go/wait", adopt=True, reason=f"ticket {TOKENS[0]}, password={RAISED[0]}, {INPUTS[0]}")
    assert fork.results["go/log_in"]["t0"].get_secret_value() == RESULTS[0]
    with pytest.raises(RunFailed) as failed:
        fork.wait()
    sinks["errors raised"] += str(failed.value) + repr(failed.value)
    sinks["tracebacks"] += " ".join(f"{f.message} {f.traceback} {f.cause}" for f in failed.value.failures)
    sinks["handles"] += repr(fork) + repr(fork.results)


def _tables(path: Path) -> dict[str, str]:
    found = {"payload rows": "", "plans": "", "views": ""}
    with closing(sqlite3.connect(path)) as log:
        tables = [name for (name,) in log.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        for table in tables:
            name = {"payloads": "payload rows", "plans": "plans"}.get(table, "views")
            found[name] += repr(log.execute(f"SELECT * FROM {table}").fetchall())
    return found


def _said(monkeypatch: pytest.MonkeyPatch, argv: list[str]) -> str:
    out, err = io.TextIOWrapper(io.BytesIO(), "utf-8"), io.TextIOWrapper(io.BytesIO(), "utf-8")
    with monkeypatch.context() as patched:
        for name, value in (("argv", ["flowledger", *argv]), ("stdout", out), ("stderr", err)):
            patched.setattr(sys, name, value)
        with pytest.raises(SystemExit) as ended:
            main()
    assert not ended.value.code, argv
    for stream in (out, err):
        stream.flush()
    texts: list[Any] = [stream.buffer.getvalue().decode() for stream in (out, err)]
    return "".join(texts)


def test_rel_s10_no_canary_in_any_sink(planted: dict[str, str]) -> None:
    assert set(planted) == set(SINKS)
    assert all(planted.values()), "every sink has something in it"
    hits = [(text, sink) for sink, content in planted.items() for text in CANARIES if text in content]
    assert hits == []
    assert "‹redacted›" in planted["events"]
    assert json.loads(planted["show --json"].splitlines()[0])["state"] == "FAILED"
