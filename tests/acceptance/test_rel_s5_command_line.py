"""RELIABILITY S5: whatever is typed after whatever command, it ends with one of the codes and an error in words; and
nothing that the log, an app or the one who types says acts on the terminal."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import pytest
import typer.main
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from flowledger.adapters.cli.commands import commands
from flowledger.adapters.cli.exits import Exit
from flowledger.adapters.stores import open_store
from flowledger.events import facts
from flowledger.events.failure import Failure
from flowledger.events.store import PlanRow
from tests.acceptance.command_line import Command, flowledger
from tests.unit.build_log import BEGUN, SECOND, app, build
from tests.unit.written_log import RUN_ID, Story, write

__all__ = ["flowledger"]

EXAMPLES = 2_000 if os.environ.get("FLOWLEDGER_TEST_LONG") else 25
#: Those that go on until they are told to stop, make what they are asked for, or start processes.
NOT_TYPED = {
    "demo",
    "conductor",
    "worker",
    "projector",
    "keys new",
    "seals export",
    "export",
    "completion",
    "db upgrade",
}
HARMFUL = "\x1b[2J\x1b]0;title\x07\x9b31m\u202eexe\u2066\u200b\x7f\r\x00\U000e0041"


def leaves(group: Any, name: str = "") -> Iterator[str]:
    """The names of all commands below a group."""
    if not hasattr(group, "commands"):
        yield name
        return
    for each, command in group.commands.items():
        yield from leaves(command, f"{name} {each}".strip())


TYPED = sorted(set(leaves(typer.main.get_command(commands))) - NOT_TYPED)
STORY: Story = [
    *BEGUN,
    (SECOND, facts.TaskFailed(failure=Failure(path=SECOND, type=f"shop.{HARMFUL}", message=HARMFUL, attempt=1,
                                              traceback=f"Traceback\n{HARMFUL}\n"))),
    ("", facts.RunFailed(reason="stopped")),
    ("", facts.RequestRefused(request="r", kind="revert", why=HARMFUL, reason=HARMFUL)),
]  # fmt: skip


@pytest.fixture
def log(flowledger: Command) -> None:
    """A run that says harmful things wherever something can be said."""
    with closing(open_store("sqlite:///flowledger.db")) as store:
        write(store, STORY, status="FAILED", plan=PlanRow("f", app.plan(build()).document))


def harmless(text: str) -> bool:
    return not any(char in text for char in "\x1b\x07\x9b\u202e\u2066\u200b\x7f\r\x00\U000e0041")


WORDS = st.one_of(
    st.text(st.characters(exclude_characters="\0"), max_size=30),
    st.binary(max_size=20).map(lambda typed: os.fsdecode(typed.replace(b"\0", b""))),
    st.sampled_from(
        [RUN_ID, "@last", "--json", "--limit", "--", "-", "--reason", "--at", "--set", "a=b", HARMFUL[:-6]]
    ),
    st.sampled_from(["--", "-"]).flatmap(lambda dashes: st.text(max_size=8).map(lambda name: dashes + name)),
)


@pytest.mark.usefixtures("log")
@settings(max_examples=EXAMPLES, suppress_health_check=[HealthCheck.function_scoped_fixture])
@example(command="events", words=["a", "b\u202e"])
@example(command="ls", words=["--n\u202e"])
@given(command=st.sampled_from(TYPED), words=st.lists(WORDS, max_size=3))
def test_rel_s5_every_command_ends_in_words_whatever_is_typed(
    flowledger: Command, command: str, words: list[str]
) -> None:  # fmt: skip
    said = flowledger(*command.split(), *(word for word in words if "\0" not in word))
    assert said.code in set(Exit)
    assert "Traceback" not in said.err
    assert harmless(said.out)
    assert harmless(said.err)


@pytest.mark.usefixtures("log")
@pytest.mark.parametrize("how", [[], ["--json"]], ids=["words", "json"])
@pytest.mark.parametrize(
    "command", ["ls", "show", "events", "attempts", "attempts --full", "audit", "why", "jobs show"]
)
def test_rel_s5_nothing_of_the_log_acts_on_the_terminal(flowledger: Command, command: str, how: list[str]) -> None:
    target = [] if command in ("ls", "audit") else [RUN_ID]
    said = flowledger(*command.split(), *target, *how)
    assert said.code in set(Exit)
    assert harmless(said.out.replace("\r\n", "\n"))
    assert harmless(said.err)
