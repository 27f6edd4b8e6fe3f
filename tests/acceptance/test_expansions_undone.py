"""Expansions under retry, revert and rerun: what was made of a symbol is undone and made anew (rule E7)."""

from __future__ import annotations

from collections.abc import Sequence
from threading import Event

import pytest

from flowledger import (
    Flow,
    IllegalRequest,
    TaskContext,
    Times,
    linear,
    symbol,
)
from flowledger.core import replay
from flowledger.core.engine import settling
from flowledger.events import facts
from flowledger.events.envelope import Envelope
from tests.acceptance.growing import (
    app,
    calls,
    expanded,
    lists,
    log_of,
    make,
    name_of,
    nothing_called,
    numbers,
    paths,
    picky,
    ran,
    same,
    total,
    varying,
)  # fmt: skip

__all__ = ["nothing_called"]


# -- rounds ---------------------------------------------------------------------------------------


@app.flow
def rounds() -> Flow[list[int]]:
    many = make.each(varying)
    return linear(varying, many, returns=many, retry=Times(3))


def test_e7_the_next_round_may_have_another_list() -> None:
    # Given lists with a number that fails, twice, and then one without
    lists.extend([[1, 2, -3], [-4], [5, 6]])
    run, log = ran(rounds())
    # Then each round expands anew, after what stood of the one before is undone (D4), and the last one counts
    assert run.result == [5, 6]
    assert [values for _, values, _ in expanded(log)] == ['{"n":[1,2,-3]}', '{"n":[-4]}', '{"n":[5,6]}']
    assert calls == [
        "varying", "each/make", "each/make-2", "each/make-3", "-each/make", "-each/make-2", "-each/make-3", "-varying",
        "varying", "each/make", "-each/make", "-varying",
        "varying", "each/make", "each/make-2",
    ]  # fmt: skip
    # Then what was dropped is not there any more
    assert list(run.results) == ["rounds/varying", "rounds/each/make", "rounds/each/make-2"]


def test_c5_an_atom_that_comes_again_is_in_its_next_try_and_has_another_key() -> None:
    lists.extend([[1, 2, -3], [-4], [5, 6, 7]])
    _, log = ran(rounds())
    starts = [(e.path[7:], e.event.try_, e.event.key) for e in log if isinstance(e.event, facts.TaskStarted)]
    assert [(path, try_) for path, try_, _ in starts if path.startswith("each")] == [
        ("each/make", 1), ("each/make-2", 1), ("each/make-3", 1),
        ("each/make", 2),
        ("each/make", 3), ("each/make-2", 2), ("each/make-3", 2),
    ]  # fmt: skip
    assert len({key for _, _, key in starts}) == len(starts)


@app.flow
def rounds_outside() -> Flow[list[int]]:
    """The list is made once, outside; each round goes through it anew, with the round's number."""
    many = placed.each(varying, by=symbol("round"))
    inner = linear(many, name="inner", returns=many, retry=Times(3, provides="round"))
    return linear(varying, inner, returns=inner)


@app.flow(label="{n}")
def placed(n: int, by: int) -> Flow[int]:
    first, second = make.bind(n + by).named("first"), make.bind(n + 1).named("second")
    return linear(first, second, returns=second)


def test_e7_an_expansion_belongs_to_its_round() -> None:
    # Given numbers that fail until the round's number makes up for them
    lists.append([4, -3])
    run, log = ran(rounds_outside())
    assert run.state == "REVERTED"
    assert [values for _, values, _ in expanded(log)] == [
        f'{{"n":[4,-3],"by":{by}}}' for by in (1, 2, 3)
    ]  # fmt: skip


@app.flow
def nested_rounds() -> Flow[list[int]]:
    """Expansions in an expansion, whose children have retries of their own."""
    every = varying
    outer = again_inside.each(every).named("outer")
    return linear(every, outer, returns=outer, retry=Times(2))


@app.flow(label="{upto}")
def again_inside(upto: int) -> Flow[int]:
    inner = numbers.bind(upto)
    many = make_up_to.each(inner, limit=3).named("many")
    sum_ = total.bind(many)
    return linear(inner, many, sum_, returns=sum_, retry=Times(2))


@app.task
def make_up_to(n: int, limit: int, ctx: TaskContext) -> int:
    if n > limit:
        raise ValueError(f"{n} is too much")
    return n


@make_up_to.revert
def unmake_up_to() -> None: ...


def test_d6_an_outer_round_begins_expansions_inside_afresh() -> None:
    lists.extend([[2, 4], [3]])
    run, log = ran(nested_rounds())
    assert run.result == [6]
    assert [(path.partition("/")[2], children) for path, _, children in expanded(log)] == [
        ("outer", 2), ("outer/2/many", 2), ("outer/4/many", 4), ("outer/4/many", 4), ("outer", 1), ("outer/3/many", 3),
    ]  # fmt: skip
    tries = [
        e.event.try_ for e in log if isinstance(e.event, facts.TaskStarted) and e.path.endswith("4/many/make_up_to-4")
    ]
    assert tries == [1, 2]


# -- what comes back too late ---------------------------------------------------------------------


gate, heard = Event(), Event()


@app.task(timeout=0.02, read_only=True)
def stuck(n: int) -> None:
    assert gate.wait(30)


@app.task(read_only=True)
def hears(n: int) -> None:
    """Lets the body that is stuck go on, and waits until the log has heard of it."""
    gate.set()
    assert heard.wait(30)


@app.flow(label="{n}")
def stuck_or_not(n: int) -> Flow[None]:
    return linear(stuck.bind(n) if n == 1 else hears.bind(n))


@app.flow
def too_late() -> Flow[list[None]]:
    many = stuck_or_not.each(varying).named("many")
    return linear(varying, many, returns=many, retry=Times(2))


def test_c4_an_outcome_that_comes_when_its_expansion_was_dropped_is_ignored(monkeypatch: pytest.MonkeyPatch) -> None:
    # Given a thread that goes on when its time and its grace are over, in an expansion that the next round has not
    monkeypatch.setattr(settling, "GRACE_S", 0.02)
    lists.extend([[1], [2]])

    def observe(envelopes: Sequence[Envelope]) -> None:
        if any(isinstance(envelope.event, facts.OutcomeIgnored) for envelope in envelopes):
            heard.set()

    # When its outcome comes
    run = app.execute(too_late(), executor="threads", observe=observe)
    # Then it is recorded where it was, and the log is read as it was written
    assert run.state == "SUCCEEDED"
    assert paths(log_of(run), facts.OutcomeIgnored) == ["many/1/stuck"]
    assert list(app.get(run.id).results) == list(run.results)


# -- reverts --------------------------------------------------------------------------------------


@app.flow
def then_fails(values: list[int], last: int) -> Flow[None]:
    given = same.bind(values)
    many = make.each(given).named("many")
    after = make.bind(total_of := total.bind(many)).named("after")
    return linear(given, many, total_of, after, make.bind(last).named("last"))


def test_d4_what_stands_of_an_expansion_is_undone_before_what_it_came_from_and_after_what_took_it() -> None:
    run, _ = ran(then_fails([1, 2], -1))
    assert run.state == "REVERTED"
    assert calls[4:] == ["-last", "-after", "-many/make", "-many/make-2"]


def test_g5_a_finished_run_is_reverted_with_all_it_has_grown() -> None:
    run, _ = ran(then_fails([1, 2], 3))
    calls.clear()
    preview = run.revert(reason="test")
    assert (run.state, calls) == ("REVERTED", ["-last", "-after", "-many/make", "-many/make-2"])
    assert [path for path in preview.reverts if "make" in path] == ["then_fails/many/make", "then_fails/many/make-2"]


def test_d3_a_stopped_run_keeps_what_it_has_grown() -> None:
    run = app.run(then_fails([1, -2, 3], 3), executor="inline", on_failure="stop", check=False)
    assert (run.state, [failure.path for failure in run.failures]) == ("FAILED", ["then_fails/many/make-2"])
    assert run.results["then_fails/many/make"] == 1


def test_e7_an_empty_expansion_stands_between_its_neighbours() -> None:
    """Nothing in it is undone, but what came before it waits for what came after (D4)."""
    lists.append([])
    ran(around_nothing())
    assert calls == ["varying", "after", "fails", "-fails", "-after", "-varying"]


@app.flow
def around_nothing() -> Flow[None]:
    return linear(varying, make.each(varying), make.bind(1).named("after"), make.bind(-1).named("fails"))


# -- reruns ---------------------------------------------------------------------------------------


@app.task
def unlucky(n: int, ctx: TaskContext) -> int:
    """Fails for 2 the first time it is called with it."""
    calls.append(name_of(ctx))
    if n == 2 and calls.count(name_of(ctx)) == 1:
        raise ValueError("bad luck")
    return n


@unlucky.revert
def ununlucky(ctx: TaskContext) -> None:
    calls.append(f"-{name_of(ctx)}")


@app.flow(on_failure="stop")
def to_be_rerun() -> Flow[int]:
    many = unlucky.each(varying).named("many")
    sum_ = total.bind(many)
    return linear(varying, many, sum_, returns=sum_)


def test_g5_a_rerun_keeps_what_has_succeeded_in_an_expansion() -> None:
    # Given a run that stopped in one child of three
    lists.append([1, 2, 3])
    run = app.run(to_be_rerun(), executor="threads", check=False)
    assert run.state == "FAILED"
    calls[:] = [call for call in calls if call == "many/unlucky-2"]
    preview = run.rerun(reason="again")
    # Then it alone ran again, and what follows
    assert (run.state, run.result, calls) == ("SUCCEEDED", 6, ["many/unlucky-2", "many/unlucky-2"])
    assert "to_be_rerun/many/unlucky" in preview.keeps
    assert len(expanded(log_of(run))) == 1
    replay.check_complete(plan := app.plan(to_be_rerun(), executor="threads"), replay.check(plan, log_of(run)))


def test_g5_a_rerun_from_the_list_on_expands_anew() -> None:
    lists.extend([[1, 2, 3], [4, 5]])
    run = app.run(to_be_rerun(), executor="inline", check=False)
    calls.clear()
    run.rerun(reason="again", from_="to_be_rerun/varying")
    assert (run.state, run.result) == ("SUCCEEDED", 9)
    assert calls == ["-many/unlucky", "-many/unlucky-2", "-varying", "varying", "many/unlucky", "many/unlucky-2"]
    assert [values for _, values, _ in expanded(log_of(run))] == ['{"n":[1,2,3]}', '{"n":[4,5]}']
    replay.check_complete(plan := app.plan(to_be_rerun(), executor="inline"), replay.check(plan, log_of(run)))


@app.flow(on_failure="stop")
def picky_stopped() -> Flow[list[int]]:
    return linear(varying, many := picky.each(varying), returns=many)


def test_g5_an_expansion_that_failed_is_made_again() -> None:
    lists.append([1, -2])
    run = app.run(picky_stopped(), executor="inline", check=False)
    assert [failure.kind for failure in run.failures] == ["expansion"]
    run.rerun(reason="again")
    assert [failure.kind for failure in run.failures] == ["expansion"]
    assert len([e for e in log_of(run) if isinstance(e.event, facts.FlowExpanded)]) == 2


def test_g6_a_fork_makes_expansions_anew_and_so_adopts_none_that_stands() -> None:
    # Given a run that stopped after it had grown
    lists.extend([[1, 2], [1, 2]])
    run = app.run(to_be_rerun(), executor="inline", check=False)
    with pytest.raises(IllegalRequest, match="to_be_rerun/many/unlucky"):
        run.fork(adopt=True, reason="again")
    # When it is forked, then the list is taken over, and gone through anew
    fork = run.fork(reason="again")
    assert (fork.state, fork.result) == ("SUCCEEDED", 3)
    assert [values for _, values, _ in expanded(log_of(fork))] == ['{"n":[1,2]}']
    assert "varying" not in paths(log_of(fork))
