"""The rows a fold works on: read where they are needed, changed in memory, written once per batch."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Final, Protocol, TypeVar

from .outline import Place, outline
from .tables import Key, Row, Table

T = TypeVar("T")


class RowSource(Protocol):
    """Where rows come from that are not in memory."""

    def load(self, table: Table, keys: Sequence[Key]) -> Mapping[Key, Row]:
        """Those of these rows that exist, by their keys."""
        ...

    def under(self, table: Table, beginning: Key) -> Sequence[Row]:
        """All rows whose key begins like this, in the order of their keys."""
        ...


class SourceFailed(Exception):
    """Rows could not be read, for the reason in ``error``: nothing that a fold does is at fault."""

    def __init__(self, error: Exception) -> None:
        super().__init__(str(error))
        self.error = error


class Changes:
    """What one batch did to one table: ``rows`` to write, ``gone`` keys to delete; no key is in both.

    ``made`` are the keys of rows that were not there before, as far as that is known: writing those takes less.
    """

    def __init__(self, table: Table) -> None:
        self.table = table
        self.rows: dict[Key, Row] = {}
        self.made: set[Key] = set()
        self.gone: set[Key] = set()

    def make(self, key: Key) -> Row:
        """An empty row under this key, where there is none."""
        if key in self.gone:
            self.gone.discard(key)  # the old one has not been deleted yet
        else:
            self.made.add(key)
        row = self.rows[key] = self.table.new(key)
        return row

    def delete(self, key: Key) -> None:
        """No row under this key."""
        self.rows.pop(key, None)
        self.made.discard(key)
        self.gone.add(key)

    def clear(self) -> None:
        """Nothing has been done yet."""
        self.rows.clear()
        self.made.clear()
        self.gone.clear()


class Rows:
    """The tables of one projection, as its fold sees them."""

    def __init__(self, tables: Iterable[Table], plan: Callable[[str], bytes | None]) -> None:
        self._source: RowSource | None = None
        self._plan = plan
        self._places: dict[str, list[Place]] = {}
        self._known: dict[str, dict[Key, Row | None]] = {}
        self._changes: dict[str, Changes] = {}
        for table in tables:
            self._known[table.name] = {}
            self._changes[table.name] = Changes(table)

    # -- for folds ------------------------------------------------------------------------------

    def at(self, table: Table, *key: object) -> Row:
        """The row under this key, to change: an empty one where there is none yet. It will be written."""
        changes = self._changes[table.name]
        row = changes.rows.get(key)
        if row is None:
            row = self.find(table, *key)
            if row is None:
                row = self._known[table.name][key] = changes.make(key)
            changes.rows[key] = row
        return row

    def find(self, table: Table, *key: object) -> Row | None:
        """The row under this key, only to look at; None where there is none."""
        known = self._known[table.name]
        if key not in known:
            self.expect(table, (key,))
        return known[key]

    def new(self, table: Table, *key: object) -> Row:
        """`at` for a key of which it is known that nothing has been under it: nobody looks."""
        row = self._known[table.name][key] = self._changes[table.name].make(key)
        return row

    def under(self, table: Table, *beginning: object) -> list[Row]:
        """All rows whose key begins like this, in the order of their keys, only to look at."""
        known = self._known[table.name]
        found: dict[Key, Row] = {}
        if self._source is not None:
            names = table.key_names
            for row in self._read(lambda source: source.under(table, beginning)):
                key = tuple(row[name] for name in names)
                found[key] = known.setdefault(key, row) or row
        gone = self._changes[table.name].gone
        many = len(beginning)
        found.update((key, row) for key, row in known.items() if row is not None and key[:many] == beginning)
        return [found[key] for key in sorted(found) if key not in gone]

    def delete(self, table: Table, *key: object) -> None:
        """Have no row under this key any more."""
        self._changes[table.name].delete(key)
        self._known[table.name][key] = None

    def plan(self, fingerprint: str) -> bytes | None:
        """The document of a plan the log names; None where the log has none."""
        return self._plan(fingerprint)

    def places(self, fingerprint: str) -> list[Place]:
        """The nodes of a plan the log names; none where the log has none. The last few plans are kept in mind."""
        if fingerprint not in self._places:
            document = self._plan(fingerprint)
            if len(self._places) >= KEPT_PLANS:
                self._places.clear()
            self._places[fingerprint] = [] if document is None else outline(document)
        return self._places[fingerprint]

    # -- for who drives folds -------------------------------------------------------------------

    def begin(self, source: RowSource) -> None:
        """Read from here until `settled` or `forget`."""
        self._source = source

    def expect(self, table: Table, keys: Iterable[Key]) -> None:
        """Read these rows, all at once, unless they are known."""
        known = self._known[table.name]
        wanted = [key for key in dict.fromkeys(keys) if key not in known]
        if wanted:
            found: Mapping[Key, Row] = {} if self._source is None else self._read(lambda s: s.load(table, wanted))
            known.update((key, found.get(key)) for key in wanted)

    def _read(self, read: Callable[[RowSource], T]) -> T:
        assert self._source is not None
        try:
            return read(self._source)
        except Exception as error:
            raise SourceFailed(error) from error

    def changes(self) -> list[Changes]:
        """What is to be written now.

        Raises:
            KeyError: a row has been given a column that its table has not.
        """
        changed = [changes for changes in self._changes.values() if changes.rows or changes.gone]
        for changes in changed:
            many = len(changes.table.names)
            for row in changes.rows.values():
                if len(row) != many:
                    unknown = ", ".join(sorted(row.keys() - set(changes.table.names)))
                    raise KeyError(f"table {changes.table.name} has no column {unknown}")
        return changed

    def settled(self) -> None:
        """All changes are durable; what is known stays known, within bounds."""
        for name, changes in self._changes.items():
            changes.clear()
            if len(self._known[name]) > (KEPT_SOON_DONE if changes.table.soon_done else KEPT_ROWS):
                self._known[name].clear()
        self._source = None

    def forget(self) -> None:
        """Nothing of the batch has happened, or somebody else has gone on: what was known may be wrong."""
        for name, changes in self._changes.items():
            changes.clear()
            self._known[name].clear()
        self._source = None


#: Rows of a table kept in memory from one batch to the next; of one whose rows are soon done, most are never met again.
KEPT_ROWS: Final = 20_000
KEPT_SOON_DONE: Final = 500
#: Plans whose nodes are kept in memory.
KEPT_PLANS: Final = 32
