"""`why` and `diff`: one run explained, two runs compared. Neither imports the app."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Any

import typer

from .exits import Exit
from .options import DatabaseUrlOption, JsonOption, PlainOption, RunArgument, terminal_of
from .reading import reading
from .spans import Line, Span
from .terminal import say

if TYPE_CHECKING:
    from flowledger.events.envelope import Envelope
    from flowledger.projections.diff import Change, Difference, Pace
    from flowledger.projections.why import Reason

#: Of the tasks that took longer or shorter, so many are shown.
_PACES = 10
#: A task is slower or faster from this ratio on.
_RATIO = 1.5


# -- why ----------------------------------------------------------------------------------------


def why(
    context: typer.Context,
    run: RunArgument,
    database_url: DatabaseUrlOption = None,
    json: JsonOption = False,
    plain: PlainOption = False,
) -> None:
    """Say what a run waits for, or why it failed, with the events that prove it."""
    from flowledger.adapters.drivers import driver_of  # noqa: PLC0415
    from flowledger.adapters.remote_attempts import asked_of_workers  # noqa: PLC0415
    from flowledger.events.store import LIVE  # noqa: PLC0415
    from flowledger.projections.why import Evidence  # noqa: PLC0415
    from flowledger.projections.why import why as explain  # noqa: PLC0415

    from .as_json import asked_fields, driver_fields  # noqa: PLC0415

    terminal = terminal_of(json=json, plain=plain)
    with reading(context, database_url) as history:
        stream = history.find(run)
        evidence = Evidence()
        view = history.view(stream.run_id, also=evidence.apply)
        now_us = history.store.now_us()
        standing = asked_of_workers(history.store, view)
        evidence.asked = {path: each.words(now_us) for path, each in standing.items()}
        evidence.driver = driver_of(history.store, stream.run_id)
        reasons = explain(view, evidence)
        if terminal.json:
            items = [_reason_fields(reason) for reason in reasons]
            remote = [asked_fields(each) for each in standing.values()]
            terminal.document(
                "why",
                {"run": view.run_id, "state": view.state, "reasons": items, "asked": remote}
                | driver_fields(evidence.driver),
            )
            return
        from .frame import header  # noqa: PLC0415

        ends_us = now_us if view.status in LIVE else view.last_us
        lines: list[Line] = [header(view, name=view.run_id, now_us=ends_us, bar=False)]
        terminal.lines([*lines, *(_reason_line(reason) for reason in reasons)])
        say(f"log: {history.store.describe()}; numbers are events: `flowledger events {view.run_id}`")


def _reason_line(reason: Reason) -> Line:
    from .words import clock  # noqa: PLC0415

    line = [Span("" if not reason.depth else "  ├ ", "dim"), Span(reason.text, "" if reason.depth else "bold")]
    if reason.until_us is not None:
        line.append(Span(f"  (due {clock(reason.until_us)})", "yellow"))
    if reason.evidence:
        line.append(Span(f"  [{', '.join(map(str, reason.evidence))}]", "dim"))
    return line


def _reason_fields(reason: Reason) -> dict[str, Any]:
    from .words import iso  # noqa: PLC0415

    return {"text": reason.text, "events": list(reason.evidence), "due": iso(reason.until_us), "depth": reason.depth}


# -- diff ---------------------------------------------------------------------------------------


def diff(
    context: typer.Context,
    first: Annotated[str, typer.Argument(metavar="A", help="One run.", show_default=False)],
    second: Annotated[str, typer.Argument(metavar="B", help="Another run.", show_default=False)],
    database_url: DatabaseUrlOption = None,
    json: JsonOption = False,
    plain: PlainOption = False,
) -> None:
    """Compare two runs: plan, inputs, the way each went, results, durations, and where they part first.

    Ends with 1 where they did not do the same.
    """
    from flowledger.projections.diff import Side, compare  # noqa: PLC0415

    terminal = terminal_of(json=json, plain=plain)
    with reading(context, database_url) as history:
        sides: list[Side] = []
        for reference in (first, second):
            events: list[Envelope] = []
            view = history.view(history.find(reference).run_id, also=events.append)
            sides.append(Side(view, events))
        found = compare(*sides)
        ids = [side.view.run_id for side in sides]
        if terminal.json:
            terminal.document("diff", {"runs": ids, **_difference_fields(found)})
        else:
            terminal.lines(_difference_lines(found, ids))
            say(f"log: {history.store.describe()}")
    if not found.equal:
        raise typer.Exit(Exit.UNSUCCESSFUL)


def _difference_lines(found: Difference, ids: list[str]) -> Iterator[Line]:
    yield [Span(f"A {ids[0]}   B {ids[1]}", "bold")]
    if found.equal:
        yield [Span("✔ they did the same", "green")]
    parts = (("inputs", found.inputs), ("plan", found.plan), ("way", found.path_taken), ("results", found.results))
    for name, changes in parts:
        if changes:
            yield [Span(f"{name}", "bold")]
            for change in changes:
                yield from _change_lines(change)
    if found.divergence is not None:
        fields = ", ".join(found.divergence.fields)
        yield [
            Span("they part first at ", "bold"), Span(found.divergence.path or "the run itself"),
            Span(f", with other {fields}" if fields else ""),
        ]  # fmt: skip
        for side, envelope in (("A", found.divergence.first), ("B", found.divergence.second)):
            yield [Span(f"  {side} "), *_event_spans(envelope)]
    yield from _pace_lines(found.paces)


def _change_lines(change: Change) -> Iterator[Line]:
    if change.first is None:
        yield [Span("  + ", "green"), Span(f"{change.what}: {change.second}")]
    elif change.second is None:
        yield [Span("  - ", "red"), Span(f"{change.what}: {change.first}")]
    else:
        yield [Span("  ~ ", "yellow"), Span(f"{change.what}: {change.first}  →  {change.second}")]


def _event_spans(envelope: Envelope | None) -> Line:
    if envelope is None:
        return [Span("did nothing more there", "dim")]
    from .telling import told  # noqa: PLC0415

    return [Span(f"[{envelope.version}] {envelope.type}  ", "dim"), Span(told(envelope).text)]


def _pace_lines(paces: list[Pace]) -> Iterator[Line]:
    """Those that took much longer, or much less long, the largest difference first."""
    from .words import took  # noqa: PLC0415

    both = [(p, p.first_us, p.second_us) for p in paces if p.first_us is not None and p.second_us is not None]
    slower = [
        (abs(b - a), pace, a, b) for pace, a, b in both if max(a, b) > 1000 and max(a, b) > _RATIO * max(min(a, b), 1)
    ]
    if slower:
        yield [Span("durations", "bold")]
    for _, pace, a, b in sorted(slower, key=lambda item: -item[0])[:_PACES]:
        word, style = ("slower", "yellow") if b > a else ("faster", "green")
        ratio = max(a, b) / max(min(a, b), 1)
        yield [Span(f"  {pace.path}: {took(a)}  →  {took(b)}  "), Span(f"{ratio:.1f}× {word}", style)]


def _difference_fields(found: Difference) -> dict[str, Any]:
    from .as_json import event_fields, seconds  # noqa: PLC0415

    def changes(of: list[Change]) -> list[dict[str, Any]]:
        return [{"what": c.what, "a": c.first, "b": c.second} for c in of]

    parting = found.divergence
    return {
        "equal": found.equal,
        "plan": changes(found.plan),
        "inputs": changes(found.inputs),
        "way": changes(found.path_taken),
        "results": changes(found.results),
        "durations": [{"path": p.path, "a_s": seconds(p.first_us), "b_s": seconds(p.second_us)} for p in found.paces],
        "divergence": None if parting is None else {
            "path": parting.path, "fields": list(parting.fields),
            "a": None if parting.first is None else event_fields(parting.first),
            "b": None if parting.second is None else event_fields(parting.second),
        },
    }  # fmt: skip
