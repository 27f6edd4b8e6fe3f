"""How many tasks a run has and how many of them are done: what is skipped, expanded, reset or begun anew changes both.

Skipped parts and expansions are few beside the tasks that run, so what they count for is kept with the run itself, as
JSON: skipped paths with the number of tasks, paths of expansions with the fingerprint of their plan.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import msgspec

from flowledger.events import facts
from flowledger.projections.rows import Rows
from flowledger.projections.run_view import RunView
from flowledger.projections.tables import Row

from .tables import ATTEMPTS, EXECUTE

_JSON: Final = msgspec.json.Encoder(order="deterministic")


def is_in(path: str | None, scope: str) -> bool:
    """Whether a path is a scope or inside it."""
    return path is not None and (not scope or path == scope or path.startswith(f"{scope}/"))


def count_tasks(rows: Rows, plan: str | None, path: str = "") -> int:
    """How many atoms a plan has at or below a path."""
    return sum(place.pattern == "task" and is_in(place.path, path) for place in rows.places(plan or ""))


def _kept(run: Row, column: str) -> dict[str, int]:
    return msgspec.json.decode(run[column], type=dict[str, int]) if run[column] else {}


def _keep(run: Row, column: str, counts: dict[str, int]) -> None:
    run[column] = _JSON.encode(counts).decode() if counts else None


# -- branches -----------------------------------------------------------------------------------


def skip(rows: Rows, run: Row, path: str) -> None:
    """A part is not run: all that is in it counts as done."""
    skipped = _kept(run, "skipped")
    many = _skips(rows, run, path)
    run["done"] += many - skipped.get(path, 0)
    skipped[path] = many
    _keep(run, "skipped", skipped)


def _skips(rows: Rows, run: Row, path: str) -> int:
    plans = [run["plan"], *_grown(run).values()]
    if not any(rows.places(plan or "") for plan in plans):
        return 1  # no plan tells: then it is an atom
    return sum(count_tasks(rows, plan, path) for plan in plans)


def forget_skipped(run: Row, scope: str) -> None:
    """A scope was reset: what was skipped in it is asked again."""
    kept: dict[str, int] = {}
    for path, many in _kept(run, "skipped").items():
        if is_in(path, scope):
            run["done"] -= many
        else:
            kept[path] = many
    _keep(run, "skipped", kept)


# -- forks --------------------------------------------------------------------------------------


def take_over(rows: Rows, run: Row, event: facts.RunForked, version: int) -> None:
    """What the fork has from its source (G6): atoms that are done, and parts that stay skipped."""
    run["forked_from"] = f"{event.source}@{event.version}"
    for path in event.inherited:
        row = rows.new(ATTEMPTS, run["run_id"], path, 1, EXECUTE, 0)
        row["state"], row["actor"], row["stands"] = "SUCCEEDED", event.source, 1
        row["started"] = row["ended"] = version
        row["started_us"] = row["ended_us"] = run["updated_us"]
    run["done"] += len(event.inherited)
    _keep(run, "skipped", dict.fromkeys(event.skipped, 0))  # how many that is, the plan will tell


def recount(rows: Rows, run: Row) -> None:
    """The plan is known now."""
    for path in _kept(run, "skipped"):
        skip(rows, run, path)


def forget_unreverted(rows: Rows, run: Row, scope: str) -> None:
    """A scope was reset: what no revert takes back stands no more, either. What a fork had from its source is made
    anew, what was waited for (pauses, signals) is waited for again."""
    if run["forked_from"] is None and not run["waited"]:
        return
    for seen in rows.under(ATTEMPTS, run["run_id"]):
        if seen["stands"] and not seen["attempt"] and is_in(seen["path"], scope):
            rows.at(ATTEMPTS, *(seen[name] for name in ATTEMPTS.key_names))["stands"] = 0
            run["done"] -= 1


def make_anew(rows: Rows, run: Row, path: str) -> None:
    """A fork runs a task that it had taken over."""
    seen = rows.find(ATTEMPTS, run["run_id"], path, 1, EXECUTE, 0)
    if seen is not None and seen["stands"]:
        rows.at(ATTEMPTS, run["run_id"], path, 1, EXECUTE, 0)["stands"] = 0
        run["done"] -= 1


# -- expansions ---------------------------------------------------------------------------------


def _grown(run: Row) -> dict[str, str]:
    """The plans of the expansions there are, by path."""
    return msgspec.json.decode(run["grown"], type=dict[str, str]) if run["grown"] else {}


def grow(rows: Rows, run: Row, path: str, plan: str) -> None:
    """An expansion is made, or made anew: its tasks are the run's."""
    forget_grown(rows, run, path)
    run["tasks"] += count_tasks(rows, plan)
    run["grown"] = _JSON.encode({**_grown(run), path: plan}).decode()


def forget_grown(rows: Rows, run: Row, scope: str) -> None:
    """A scope was reset: the expansions in it are dropped (E7)."""
    grown = _grown(run)
    kept = {path: plan for path, plan in grown.items() if not is_in(path, scope)}
    if len(kept) < len(grown):
        run["tasks"] -= sum(count_tasks(rows, plan) for path, plan in grown.items() if path not in kept)
        run["grown"] = _JSON.encode(kept).decode() if kept else None


# -- reruns -------------------------------------------------------------------------------------


def start_over(rows: Rows, run: Row, forgotten: Sequence[str]) -> None:
    """A rerun goes forward (G5): what stands is kept, but for what is ``forgotten``, and what was skipped before
    anything that runs again."""
    run["direction"], run["state"] = "FORWARD", "RUNNING"
    gone = set(forgotten)
    for seen in rows.under(ATTEMPTS, run["run_id"]) if gone else ():  # one question, however many there are
        if seen["stands"] and seen["path"] in gone:
            rows.at(ATTEMPTS, *(seen[name] for name in ATTEMPTS.key_names))["stands"] = 0
            run["done"] -= 1
    skipped = _kept(run, "skipped")
    if not skipped:
        return
    document = rows.plan(run["plan"]) if run["plan"] else None
    view = RunView(run["run_id"], document)
    for path, plan in sorted(_grown(run).items()):
        made = rows.plan(plan)
        if made is not None:
            view.flow(path)
            view.grow(made)
    for attempt in rows.under(ATTEMPTS, run["run_id"]):
        if attempt["stands"]:
            view.move(attempt["path"], "SUCCEEDED")
    for path in skipped:
        view.skip(path)
    view.start_over(forgotten)
    kept = {path: many for path, many in skipped.items() if view.is_skipped(path)}
    run["done"] += sum(kept.values()) - sum(skipped.values())
    _keep(run, "skipped", kept)
