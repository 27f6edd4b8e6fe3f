"""The tree on the screen: guides, alignment, and what is left out where there is no room."""

from __future__ import annotations

import msgspec

from flowledger import App, Flow, Times, linear, unordered
from flowledger.adapters.cli.frame import failures, frame
from flowledger.adapters.cli.terminal import text_of
from flowledger.adapters.cli.tree import Drawing, tree
from flowledger.events import facts
from flowledger.projections.run_view import RunView
from tests.unit.build_log import BEGUN, DONE, FIRST, PAIR, ROUND_FAILED, SECOND, build
from tests.unit.build_log import app as shop
from tests.unit.written_log import Story, envelopes, failure

wide_app = App("wide")


@wide_app.task
def one(n: int) -> int:
    return n


@wide_app.flow
def part(n: int) -> Flow[None]:
    return linear(one.bind(n), retry=Times(2))


@wide_app.flow
def wide(count: int) -> Flow[list[None]]:
    return unordered(*(part(n).named(f"part-{n}") for n in range(count)))


def drawn(story: Story, drawing: Drawing | None = None) -> list[str]:
    return [text_of(line) for line in tree(seen(story), drawing)]


def seen(story: Story) -> RunView:
    return RunView(document=shop.plan(build()).document).extend(envelopes(story))


def test_a_tree_has_a_line_for_every_node_with_guides_and_aligned_durations() -> None:
    assert drawn([*BEGUN, *DONE]) == [
        "├ ✔ pairs  2/2",
        "│ └ ✔ pair",
        "│   ├ ✔ first   0.1s",
        "│   └ ✔ second  0.1s",
        "└ ✔ last   0.1s",
    ]


def test_a_task_says_which_worker_made_it_once_it_is_made() -> None:
    made = facts.TaskSucceeded(result=facts.Raw(b"2"), worker="W 7@rack4")
    assert "│   └ ✔ second  0.1s  by 7@rack4" in drawn([*BEGUN, (SECOND, made)])


def test_c6_a_task_says_how_often_it_lost_its_process_and_how_often_it_may() -> None:
    lost: Story = [*BEGUN, (SECOND, facts.TaskInterrupted(cause="owner o1 is gone"))]
    assert "│   └ ! second  interrupted  lost 1 of 5 times" in drawn(lost)


def test_failed_rounds_stand_under_their_flow_and_waiting_tasks_say_for_what() -> None:
    again = [(PAIR, facts.RoundStarted(round=2)), (FIRST, facts.TaskStarted(try_=2, key="e"))]
    lines = drawn([*BEGUN, *ROUND_FAILED, *again])
    assert "│ └ ↻ pair  try 2/3" in lines
    assert "│     try 1 ✘ QuotaError: no quota → reverted" in lines
    assert lines[-1] == "└ ◌ last  waiting for pair"


def test_a_compact_tree_puts_a_small_flow_into_one_line() -> None:
    lines = drawn([*BEGUN, *DONE], Drawing(compact=True))
    assert lines[1] == "│ └ ✔ pair  first 0.1s  second 0.1s"


def test_a_failed_attempt_stands_under_its_task() -> None:
    again = (SECOND, facts.TaskFailed(failure=failure(SECOND), again=True))
    assert "│       attempt 1 ✘ QuotaError: no quota" in drawn([*BEGUN, again])


def test_a_failure_is_shown_with_the_line_that_raised_it_whatever_its_message_is_like() -> None:
    # Given a message of several lines, and a line of code of which Python marks a part
    raised = [
        "Traceback (most recent call last):", '  File "flows.py", line 3, in body', "    ask(bank)",
        '  File "bank.py", line 7, in ask', "    return rates[day] + 1", "           ~~~~~^^^^^",
        "ValueError: no rate", "for the day", "in the book",
    ]  # fmt: skip
    failed = msgspec.structs.replace(failure(SECOND, message="no rate\nfor the day"), traceback="\n".join(raised))
    view = RunView(document=shop.plan(build()).document)
    view.extend(envelopes([*BEGUN, (SECOND, facts.TaskFailed(failure=failed))]))
    # Then
    assert [text_of(line).strip() for line in failures(view)][1:] == [
        'File "bank.py", line 7, in ask', "return rates[day] + 1",
    ]  # fmt: skip


def test_a_screen_never_has_more_lines_than_it_may_and_keeps_what_matters() -> None:
    # Given a wide flow in which one part runs and one has failed
    view = RunView(document=wide_app.plan(wide(500)).document)
    story: list[tuple[str, facts.Event]] = [
        ("", facts.RunSubmitted(app="wide", factory="wide")),
        ("", facts.RunStarted(fingerprint="f")),
    ]
    for n in range(300):
        story += [(f"wide/part-{n}/one", facts.TaskStarted(key="k")), (f"wide/part-{n}/one", facts.TaskSucceeded())]
    story += [("wide/part-400/one", facts.TaskStarted(key="k")), ("wide/part-450/one", facts.TaskStarted(key="k"))]
    story.append(("wide/part-450/one", facts.TaskFailed(failure=failure("wide/part-450/one"))))
    view.extend(envelopes(story))
    for height in (6, 12, 24, 60):
        # When it is drawn on a screen
        lines = [text_of(line) for line in frame(view, Drawing(compact=True), name="x", height=height)]
        # Then it fits, shows the two, and says what it does not show
        assert len(lines) <= height
        assert any("part-400" in line for line in lines)
        assert any("✘ part-450" in line for line in lines)
        assert "not shown" in lines[-1]
        assert "succeeded" in lines[-1]


def test_what_a_log_says_cannot_reach_the_terminal_as_it_is() -> None:
    evil = facts.TaskFailed(failure=failure(SECOND, message="\x1b[2J\u202ebad"))
    lines = "".join(drawn([*BEGUN, (SECOND, evil)]))
    assert "\x1b" not in lines
    assert "\u202e" not in lines
    assert "\\x1b[2J" in lines
