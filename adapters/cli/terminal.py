"""Where output goes: data to stdout, talk to stderr; colours and tables for a person, plain lines for a pipe."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TextIO

from .printable import json_text, printable
from .spans import Line, Span

if TYPE_CHECKING:
    from rich.console import Console
    from rich.text import Text

#: The version of what ``--json`` writes; grows when a field changes its meaning or goes.
JSON_SCHEMA = 1

Cell = str | Span


def say(text: str) -> None:
    """Talk: one line on stderr."""
    print(printable(text), file=sys.stderr, flush=True)  # noqa: T201


def say_amid(text: str) -> None:
    """`say` for a signal's handler: it may have interrupted somebody who was talking, and a file that is being written
    to refuses to be."""
    try:
        os.write(sys.stderr.fileno(), f"{printable(text)}\n".encode())
    except OSError:  # it is no real one
        say(text)


def text_of(line: Line) -> str:
    """A line without its styles, printable."""
    return "".join(printable(span.text) for span in line).rstrip()


def rich_text(line: Line) -> Text:
    """A line for rich. Nothing in it is taken as markup."""
    from rich.text import Text  # noqa: PLC0415 - only who draws pays for it

    return Text.assemble(*((printable(span.text), span.style) for span in line), no_wrap=True, overflow="ellipsis")


@dataclass(frozen=True)
class Terminal:
    """One command's way out."""

    json: bool = False
    plain: bool = False

    @property
    def screen(self) -> TextIO:
        """Where a tree is drawn while a run goes on: not among the data where that is one JSON document."""
        return sys.stderr if self.json else sys.stdout

    @property
    def colourful(self) -> bool:
        """Whether stdout is a person's terminal that can show colours."""
        return not self.json and self._is_screen(sys.stdout)

    @property
    def live(self) -> bool:
        """Whether a tree may be redrawn in place."""
        return self._is_screen(self.screen) and not os.environ.get("CI")

    def _is_screen(self, stream: TextIO) -> bool:
        return not self.plain and stream.isatty() and os.environ.get("TERM", "dumb") not in ("dumb", "unknown")

    def console(self, stream: TextIO | None = None) -> Console:
        """A rich console; it minds NO_COLOR by itself."""
        from rich.console import Console  # noqa: PLC0415 - only who draws pays for it

        return Console(file=stream or sys.stdout, highlight=False, markup=False, emoji=False)

    # -- data -----------------------------------------------------------------------------------

    def document(self, kind: str, fields: Mapping[str, Any]) -> None:
        """One JSON document on one line."""
        self._put(json_text({"schema": JSON_SCHEMA, "kind": kind, **fields}))

    def lines(self, lines: Iterable[Line]) -> None:
        """Styled lines; a long one is wrapped by the terminal, never cut."""
        if not self.colourful:
            for line in lines:
                self._put(text_of(line))
            return
        console = self.console()
        for line in lines:
            console.print(rich_text(line), soft_wrap=True, overflow="ignore", crop=False)

    def line(self, text: str, style: str = "") -> None:
        """One line."""
        self.lines([[Span(text, style)]])

    def table(self, heads: Sequence[str], rows: Iterable[Sequence[Cell]], *, elastic: Sequence[str] = ()) -> None:
        """A table for a person, of which ``elastic`` columns are cut; for a pipe tab-separated values, names first."""
        if not self.colourful:
            self.tsv(heads)
            for row in rows:
                self.tsv(row)
            return
        self._rich_table(
            heads, [[cell if isinstance(cell, Span) else Span(cell) for cell in row] for row in rows], elastic
        )

    def tsv(self, row: Sequence[Cell]) -> None:
        """One line of tab-separated values."""
        self._put("\t".join(printable(cell.text if isinstance(cell, Span) else cell) for cell in row))

    def _rich_table(self, heads: Sequence[str], rows: Sequence[Sequence[Span]], elastic: Sequence[str]) -> None:
        from rich.table import Table  # noqa: PLC0415 - only who draws pays for it

        table = Table(box=None, pad_edge=False, header_style="dim", padding=(0, 2, 0, 0))
        for place, head in enumerate(heads):
            widest = max((len(printable(row[place].text)) for row in rows), default=0)
            gives_way = head in elastic  # rich takes room from what could be wrapped first, the widest before others
            table.add_column(head, no_wrap=not gives_way, min_width=None if gives_way else max(widest, len(head)))
        for row in rows:
            table.add_row(*(rich_text([cell]) for cell in row))
        self.console().print(table)

    def _put(self, text: str) -> None:
        try:
            print(text, flush=True)  # noqa: T201
        except BrokenPipeError:
            # Whoever read our output has seen enough (`| head`). Python must not try again when it ends.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            sys.exit(0)
