"""What people do with runs that are over, crashed at every append like the flows of the corpus (R1, R2).

A deed is done again by the same call after each death, so it looks first at how far it has got: what is in the log has
been asked for.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from pydantic import SecretStr

from flowledger import Flow, PlanDiffers, Run, TaskContext, linear, unordered
from flowledger.adapters.sources import forked, read
from flowledger.events.facts import RequestAccepted
from tests.crash.corpus import app, fails, note, steps

Call = Callable[[Flow[Any]], Run[Any]]  # run it under the case's key, or go on with it
Deed = Callable[[Call], Run[Any]]


def was_asked(run: Run[Any], kind: str) -> bool:
    """Whether the log says that this has been asked for."""
    log = read(app.runtime.store, run.id)
    return any(isinstance(e.event, RequestAccepted) and e.event.kind == kind for e in log)


def fork_of(run: Run[Any]) -> Run[Any] | None:
    """The fork of this run, if there is one already."""
    store = app.runtime.store
    for stream in store.streams(app=app.name, limit=20):
        event = forked(read(store, stream.run_id))
        if event is not None and event.source == run.id:
            return app.get(stream.run_id)
    return None


# -- flows ----------------------------------------------------------------------------------------


@app.flow(on_failure="stop")
def mended() -> Flow[int]:
    """Its third part fails once."""
    last, *rest = steps(7, 1, 2)
    return linear(*rest, fails.bind(1), last, returns=last)


@app.flow
def made() -> Flow[int]:
    last, first, *both = steps(9, 1, 2, 3)
    return linear(first, unordered(*both, name="both"), last, returns=last)


@app.flow(on_failure="stop")
def handed_on() -> Flow[int]:
    """As `mended`; what its fork has taken over is also undone."""
    return _mended()


@app.flow(on_failure="stop")
def forked_once() -> Flow[int]:
    return _mended()


def _mended() -> Flow[int]:
    last, *rest = steps(7, 1, 2)
    return linear(unordered(*rest, name="both"), fails.bind(1), last, returns=last)


PASSWORD = SecretStr("a password of the corpus")


@app.task(provides="token")
def fetch(password: SecretStr, ctx: TaskContext) -> SecretStr:
    note(ctx)
    return SecretStr(f"token for {password.get_secret_value()}")


@fetch.revert
def give_back(password: SecretStr, result: SecretStr | None, ctx: TaskContext) -> None:
    note(ctx, "revert")
    assert result is None or result.get_secret_value().endswith(password.get_secret_value())


@app.task
def use(token: SecretStr, ctx: TaskContext) -> str:
    note(ctx)
    return token.get_secret_value()[:5]


@app.flow(on_failure="stop")
def sealed(password: SecretStr) -> Flow[str]:
    """Its second part fails once; what the first one gives is secret."""
    last = use.named("last")
    return linear(fetch.bind(password), fails.bind(1), last, returns=last)


def with_secrets() -> Flow[str]:
    return sealed(PASSWORD)


#: Which code is deployed: the driver deploys the second release after the first death.
RELEASE = {"now": 1}


@app.flow
def changing() -> Flow[None]:
    return linear(*steps(1, 2, 3, 4, 5)) if RELEASE["now"] == 1 else linear(*steps(1, 2, 3, 4, 6, 7))


# -- deeds ----------------------------------------------------------------------------------------


def rerun(go: Call) -> Run[Any]:
    """Run again what has not succeeded."""
    run = go(mended())
    if run.state == "FAILED":
        run.rerun(reason="mended")
    return run


def rerun_from(go: Call) -> Run[Any]:
    """Undo half of it, and run it again."""
    run = go(made())
    if not was_asked(run, "rerun"):
        run.rerun(reason="again", from_="made/both/step-2")
    return run


def revert(go: Call) -> Run[Any]:
    """Undo all of it."""
    run = go(made())
    if run.state == "SUCCEEDED":
        run.revert(reason="not needed")
    return run


def fork(go: Call) -> Run[Any]:
    """Go on in another run."""
    return _forked(go(forked_once()))


def fork_secrets(go: Call) -> Run[Any]:
    """The same with a key of its own."""
    return _forked(go(with_secrets()))


def _forked(run: Run[Any]) -> Run[Any]:
    found = fork_of(run)
    return run.fork(reason="mended") if found is None else found.resume()


def adopt(go: Call) -> Run[Any]:
    """Go on in another run, which is undone with what it has taken over."""
    return _adopted(go(handed_on()))


def adopt_secrets(go: Call) -> Run[Any]:
    """The same with a key of its own."""
    return _adopted(go(with_secrets()))


def _adopted(run: Run[Any]) -> Run[Any]:
    found = fork_of(run)
    found = run.fork(adopt=True, reason="mended") if found is None else found.resume()
    if found.state == "SUCCEEDED":
        found.revert(reason="not needed")
    return found


def change(go: Call) -> Run[Any]:
    """Deploy another release; where it may not go on with the run, the old one does."""
    try:
        return go(changing())
    except PlanDiffers:
        RELEASE["now"] = 1
        return go(changing())


#: Every deed with the flow it is about and the state it ends in.
DEEDS: dict[str, tuple[Deed, Callable[[], Flow[Any]], str]] = {
    "rerun": (rerun, mended, "SUCCEEDED"),
    "rerun_from": (rerun_from, made, "SUCCEEDED"),
    "revert": (revert, made, "REVERTED"),
    "fork": (fork, forked_once, "SUCCEEDED"),
    "fork_secrets": (fork_secrets, with_secrets, "SUCCEEDED"),
    "adopt": (adopt, handed_on, "REVERTED"),
    "adopt_secrets": (adopt_secrets, with_secrets, "REVERTED"),
    "change": (change, changing, "SUCCEEDED"),
}
