"""Rule G5: when a run is not run again, and what people see of it."""

from __future__ import annotations

import pytest

from flowledger import IllegalRequest, InputError, Times, linear
from flowledger.events import facts
from flowledger.projections.run_view import RunView
from tests.acceptance.logs import log_of
from tests.acceptance.mending import Mending, stopped, w, world

__all__ = ["w", "world"]


# -- refused --------------------------------------------------------------------------------------


def test_g5_a_kept_retry_with_nothing_in_it_but_retries_without_atoms_begins_anew_too(w: Mending) -> None:
    # Given a retry without atoms in another one, which a rerun keeps
    w.broken = {"b"}
    hollow = linear(linear(name="core", retry=Times(1)), name="shell", retry=Times(1))
    run = w.app.run(stopped(w, linear(hollow, w.part("b"), name="in", retry=Times(2))), check=False)
    before = len(log_of(w.app, run))

    # When the flow around it is tried again
    run.rerun(reason="perhaps")

    # Then it has its round in the second round, as at first; in the first it was kept
    log = log_of(w.app, run)[before:]
    assert [e.path for e in log if e.type == "RoundStarted"] == [
        "line/in", "line/in", "line/in/shell", "line/in/shell/core",
    ]  # fmt: skip


def test_g5_a_rerun_is_refused_where_there_is_nothing_to_run(w: Mending) -> None:
    run = w.app.run(stopped(w, *w.parts("ab")))

    with pytest.raises(IllegalRequest, match="have succeeded") as refused:
        run.rerun(reason="why not")

    assert "--from" in refused.value.hint
    assert run.state == "SUCCEEDED"
    assert w.app.stream_of(run.id).owner is None


def test_g5_a_rerun_names_a_part_there_is_and_gives_a_reason(w: Mending) -> None:
    run = w.app.run(stopped(w, *w.parts("ab")))

    with pytest.raises(InputError, match="no part 'line/x'"):
        run.rerun(reason="again", from_="line/x")
    with pytest.raises(InputError, match="reason"):
        run.rerun(reason=" ", from_="line/a")

    assert w.app.stream_of(run.id).owner is None


def test_g5_only_a_run_that_is_over_runs_again(w: Mending) -> None:
    seen: list[str] = []

    @w.app.task
    def asks() -> None:
        (run,) = w.app.runs()
        with pytest.raises(IllegalRequest, match="only a run that is over"):
            run.rerun(reason="too early")
        seen.append("refused")

    w.app.run(stopped(w, asks))

    assert seen == ["refused"]


# -- what people see ------------------------------------------------------------------------------


def test_g5_a_view_shows_a_rerun_going_forward(w: Mending) -> None:
    # Given a run that was stopped and is run again
    w.broken = {"c"}
    flow = stopped(w, *w.parts("abcd"))
    run = w.app.run(flow, check=False)
    w.broken = set()
    run.rerun(reason="mended")
    log = log_of(w.app, run)
    at = next(n for n, envelope in enumerate(log, start=1) if isinstance(envelope.event, facts.ScopeReset))

    # When it is looked at as it stood when it had just begun
    view = RunView(document=w.app.plan(flow).document).extend(log[:at])

    # Then what was kept is done, and the rest waits
    assert (view.state, view.direction) == ("RUNNING", "FORWARD")
    assert [view.atoms[f"line/{name}"].state for name in "abcd"] == ["SUCCEEDED", "SUCCEEDED", "PENDING", "PENDING"]
    view.extend(log[at:])
    assert (view.state, view.succeeded, view.progress) == ("SUCCEEDED", True, (4, 4))
