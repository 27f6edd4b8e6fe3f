"""`show`, `events`: reading the log. None of them imports the app."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from difflib import get_close_matches
from time import monotonic
from typing import TYPE_CHECKING, Annotated

import typer

from .options import (
    DatabaseUrlOption,
    FollowOption,
    JsonOption,
    PlainOption,
    RunArgument,
    settings_of,
    terminal_of,
)
from .spans import Line, Span
from .terminal import Terminal, say

if TYPE_CHECKING:
    from flowledger.adapters.history import History
    from flowledger.events.envelope import Envelope
    from flowledger.events.store import Stream
    from flowledger.projections.nodes import AtomView
    from flowledger.projections.remote import Asked
    from flowledger.projections.run_view import RunView
    from flowledger.projections.why import Driver

    from .tree import Note


@contextmanager
def reading(context: typer.Context, database_url: str | None) -> Generator[History]:
    """The log that the options name, open as long as it is read."""
    from flowledger.adapters.history import History  # noqa: PLC0415 - loads SQLAlchemy

    settings = settings_of(context, database_url=database_url)
    with History.of(settings) as history:
        yield history


def _one_of(name: str, known: list[str], option: str) -> str:
    from flowledger.events.errors import InputError  # noqa: PLC0415

    if name in known:
        return name
    near = get_close_matches(name, known, n=3)
    raise InputError(
        f"{option} {name}: there is none of this name", field=option, expected=", ".join(known), given=name,
        hint=f"did you mean {' or '.join(near)}?" if near else f"known are {', '.join(known)}",
    )  # fmt: skip


# -- show ---------------------------------------------------------------------------------------


def show(
    context: typer.Context,
    run: RunArgument,
    at: Annotated[
        str | None,
        typer.Option("--at", metavar="V", help="As it stood after event V, or at a time: 2h (ago), 2026-11-26T09:30."),
    ] = None,
    symbols: Annotated[
        bool, typer.Option("--symbols", help="Also what was known by name: inputs, results, values of retries.")
    ] = False,
    follow: FollowOption = False,
    database_url: DatabaseUrlOption = None,
    json: JsonOption = False,
    plain: PlainOption = False,
) -> None:
    """Show a run: its tree with states, durations, tries and failures."""
    from flowledger.adapters.drivers import driver_of  # noqa: PLC0415
    from flowledger.events.store import LIVE  # noqa: PLC0415

    terminal = terminal_of(json=json, plain=plain)
    with reading(context, database_url) as history:
        stream = history.find(run)
        version = _version(history, stream, at) if at is not None else None
        if follow and at is None:
            _follow(terminal, history, stream)
        if symbols:
            _show_symbols(terminal, history, stream, version)
            return
        view = history.view(stream.run_id, at=version)
        driver = driver_of(history.store, stream.run_id) if at is None else None
        if terminal.json:
            from .as_json import asked_fields, driver_fields, run_fields  # noqa: PLC0415

            remote = {"asked": [asked_fields(each) for each in _asked(history, view).values()]} if at is None else {}
            terminal.document("run", run_fields(view) | remote | driver_fields(driver))
            return
        note = _notes(history, view) if at is None else None
        now_us = history.store.now_us() if at is None and view.status in LIVE else None
        terminal.lines(shown_run(view, at=version, now_us=now_us, note=note, driver=driver))
        if version is not None:
            _say_steps(version, stream)
        say(f"log: {history.store.describe()}")


def _version(history: History, stream: Stream, at: str) -> int:
    """The version that ``--at`` names: a number, or the last one at a time.

    Raises:
        InputError: it names none.
    """
    from flowledger.adapters.moments import version_at  # noqa: PLC0415
    from flowledger.events.errors import InputError  # noqa: PLC0415
    from flowledger.projections.query import moment_us  # noqa: PLC0415

    if not at.lstrip("-").isdigit():
        return version_at(history, stream.run_id, moment_us(at, history.store.now_us(), field="--at"))
    version = int(at)
    if not 1 <= version <= stream.version:
        raise InputError(
            f"--at {at}: run {stream.run_id} has events 1 to {stream.version}", field="--at",
            expected=f"1 to {stream.version}", given=at,
        )  # fmt: skip
    return version


def _say_steps(version: int, stream: Stream) -> None:
    """How to go one step back and one forward."""
    back = [f"--at {version - 1} is one event before"] if version > 1 else []
    forward = [f"--at {version + 1} one after"] if version < stream.version else []
    say("; ".join([*back, *forward]) or "it has no other event")


def _show_symbols(terminal: Terminal, history: History, stream: Stream, version: int | None) -> None:
    """What was known by name."""
    import msgspec  # noqa: PLC0415

    from flowledger.adapters.moments import Moment  # noqa: PLC0415

    moment = Moment(history, stream.run_id, stream.version if version is None else version)
    known = [(name, each, moment.value(each)) for name, several in moment.symbols.items() for each in several]
    if terminal.json:
        items = [
            {"name": name, "from": each.path, "event": each.version,
             "value": None if value is None else msgspec.Raw(value)}
            for name, each, value in known
        ]  # fmt: skip
        terminal.document("symbols", {"run": stream.run_id, "at": moment.version, "items": items})
        return
    rows = [
        (name, each.path, str(each.version), "(not there)" if value is None else value.decode(errors="replace"))
        for name, each, value in known
    ]
    terminal.table(("SYMBOL", "FROM", "V", "VALUE"), rows, elastic=("FROM", "VALUE"))
    say(f"as of event {moment.version} of {stream.version}")


def _follow(terminal: Terminal, history: History, stream: Stream) -> None:
    """Watch the run until it has ended."""
    from .watching import Watch  # noqa: PLC0415

    notes: dict[str, str] = {}
    looked_at = 0.0

    def note(atom: AtomView) -> str:
        return notes.get(atom.path, "")

    with Watch(terminal, history.store.plan, name=history.short, note=note, silent=terminal.json) as watch:
        for page in history.follow(stream.run_id):
            watch.observe(page)
            if terminal.live and monotonic() - looked_at >= 1.0:
                noted, looked_at = _notes(history, watch.view), monotonic()
                notes = {atom.path: text for atom in list(watch.view.atoms.values()) if (text := noted(atom))}
            if not page and watch.view.is_final:
                return


def _asked(history: History, view: RunView) -> dict[str, Asked]:
    """How it stands with tasks that workers make."""
    from flowledger.adapters.remote_attempts import asked_of_workers  # noqa: PLC0415

    return asked_of_workers(history.store, view)


def _notes(history: History, view: RunView) -> Note:
    """How far bodies have got, for atoms of which somebody says so while they run (F2), and who makes them (C3)."""
    said = {(note.path, note.try_, note.attempt): note for note in history.store.progress.of(view.run_id)}
    asked, now_us = _asked(history, view), history.store.now_us()

    def note(atom: AtomView) -> str:
        words = [asked[atom.path].words(now_us)] if atom.path in asked else []
        found = said.get((atom.path, atom.try_, atom.attempt))
        if found is not None and atom.state in ("RUNNING", "WAITING"):
            words.append(f"{found.fraction:.0%} {found.message}".rstrip())
        return "  ".join(words)

    return note


def shown_run(
    view: RunView,
    *,
    at: int | None = None,
    now_us: int | None = None,
    note: Note | None = None,
    driver: Driver | None = None,
) -> list[Line]:
    """A run as `show` draws it. ``now_us`` measures what goes on; None: nothing does."""
    from .frame import failures, header, resumed  # noqa: PLC0415
    from .tree import Drawing, tree  # noqa: PLC0415
    from .watching import no_note  # noqa: PLC0415
    from .words import clock, count  # noqa: PLC0415

    parts = [f"key {view.key}"] if view.key else []
    parts += [f"app {view.app}", *(f"{name}={value}" for name, value in view.tags.items())]
    parts += [f"submitted {clock(view.submitted_us)}"] if view.submitted_us else []
    parts.append(f"as of event {at}" if at is not None else f"{count(view.version, 'event')}, chain verified")
    lines = [header(view, name=view.run_id, now_us=now_us or view.last_us, bar=False), [Span("  ".join(parts), "dim")]]
    if driver is not None and not driver.lives:
        lines.append([Span("! ", "bold yellow"), Span(driver.words)])
    lines += resumed(view)
    lines += tree(view, Drawing(now_us=now_us or view.last_us, note=note or no_note))
    if view.state != "SUCCEEDED" and view.failures:
        lines += [[Span("")], *failures(view)]
    return lines


# -- events -------------------------------------------------------------------------------------


def events(
    context: typer.Context,
    run: RunArgument,
    follow: FollowOption = False,
    type_: Annotated[
        list[str] | None, typer.Option("--type", metavar="TYPE", help="Only events of this type; may be repeated.")
    ] = None,
    path: Annotated[str | None, typer.Option("--path", metavar="PATH", help="Only of this part of the tree.")] = None,
    database_url: DatabaseUrlOption = None,
    json: JsonOption = False,
    plain: PlainOption = False,
) -> None:
    """List a run's events; with --json one document per line."""
    from flowledger.events.facts import EVENTS  # noqa: PLC0415

    known = [cls.__name__ for cls in EVENTS]
    types = {_one_of(name, known, "--type") for name in type_ or ()}
    lister = _Lister(terminal_of(json=json, plain=plain), types, path)
    with reading(context, database_url) as history:
        stream = history.find(run)
        last = None
        for last in history.envelopes(stream.run_id):
            lister.put(last)
        if follow and not lister.over:
            for page in history.follow(stream.run_id, after=last):
                for envelope in page:
                    lister.put(envelope)
                if not page and lister.over:
                    break
        say(f"log: {history.store.describe()}")


class _Lister:
    """Puts out events one by one, those that are wanted, and sees whether the run has ended."""

    def __init__(self, terminal: Terminal, types: set[str], path: str | None) -> None:
        from flowledger.projections.run_view import RunView  # noqa: PLC0415

        self._terminal = terminal
        self._types = types
        self._path = path.strip("/") if path is not None else None
        self._view = RunView()
        self._heads = not terminal.json

    @property
    def over(self) -> bool:
        """Whether the run is final, as far as its events have come."""
        return self._view.is_final

    def put(self, envelope: Envelope) -> None:
        from .as_json import event_fields  # noqa: PLC0415

        self._view.apply(envelope)
        if not self._wanted(envelope):
            return
        if self._terminal.json:
            self._terminal.document("event", event_fields(envelope))
        elif self._terminal.colourful:
            self._terminal.lines([_event_line(envelope)])
        else:
            self._put_tsv(envelope)

    def _wanted(self, envelope: Envelope) -> bool:
        if self._types and envelope.type not in self._types:
            return False
        return self._path is None or envelope.path == self._path or envelope.path.startswith(f"{self._path}/")

    def _put_tsv(self, envelope: Envelope) -> None:
        from .telling import told  # noqa: PLC0415
        from .words import iso  # noqa: PLC0415

        if self._heads:
            self._terminal.tsv(("V", "TIME", "TYPE", "PATH", "ACTOR", "DETAIL"))
            self._heads = False
        cells = (
            str(envelope.version), iso(envelope.time_us) or "", envelope.type, envelope.path, envelope.actor,
            told(envelope).text,
        )  # fmt: skip
        self._terminal.tsv(cells)


def _event_line(envelope: Envelope) -> Line:
    from .telling import told  # noqa: PLC0415
    from .words import clock  # noqa: PLC0415

    story = told(envelope)
    icon, style = story.look
    return [
        Span(f"{envelope.version:>4}  {clock(envelope.time_us)[11:]}  ", "dim"),
        Span(f"{icon} {envelope.type:<15}  ", style),
        Span(f"{envelope.path}  " if envelope.path else "", "bold"),
        Span(story.text),
    ]
