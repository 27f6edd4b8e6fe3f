"""`jobs takeover`: a run is taken away from a process that lives, and goes on in another (rules B1 to B3)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from flowledger import App, Flow, linear
from flowledger.core.compiler import rebuild
from flowledger.events.errors import Fenced

from .asked import Background, Gate, log, types
from .command_line import Command
from .command_line import flowledger as flowledger  # noqa: PLC0414 - a fixture

Opened = Callable[[Gate], App]


@pytest.fixture
def opened(tmp_path: Path) -> Iterator[Opened]:
    """Make a process's app, with the gate that its body waits for."""
    apps: list[App] = []

    def make(gate: Gate) -> App:
        app = App("shop", database_url=f"sqlite:///{tmp_path}/flowledger.db")

        @app.task
        def held() -> int:
            gate.wait()
            return 1

        @app.flow
        def order() -> Flow[int]:
            return linear(held, returns=held)

        apps.append(app)
        return app

    yield make
    for app in apps:
        app.close()


def test_a_run_taken_from_a_process_that_hangs_goes_on_elsewhere(opened: Opened, flowledger: Command) -> None:
    # Given a body that does not come back, in a process that still says that it lives
    gate, open_gate = Gate(), Gate()
    open_gate.opened.set()
    app, heir = opened(gate), opened(open_gate)
    first = Background(app, rebuild(app, "order", b"{}"), "k")
    gate.reached.wait()
    # When it is not forced, nothing is done
    refused = flowledger("jobs", "takeover", "k", "--reason", "it hangs")
    assert (refused.code, "it lives" in refused.err) == (4, True)
    assert flowledger("jobs", "takeover", "k", "--force").code == 2
    # When it is
    taken = flowledger("jobs", "takeover", "k", "--reason", "it hangs", "--force")
    # Then somebody else goes on, and the first can write nothing more
    assert taken.code == 0, taken.err
    assert "flowledger resume k" in taken.err
    run = heir.get(first.run.id)
    run.resume()
    assert run.result == 1
    gate.opened.set()
    with pytest.raises(Fenced):
        first.join()
    assert types(heir, run).count("TaskSucceeded") == 1
    [released] = [e for e in log(heir, run) if e.type == "RunReleased"]
    assert "@" in released.actor
    # And it is among what people did
    said = flowledger("audit", "k", "--json").out
    assert "it hangs" in said
    assert "take over" in said
    assert "taken from" in flowledger("events", "k").out
    assert flowledger("jobs", "takeover", "k", "--reason", "again").code == 4
