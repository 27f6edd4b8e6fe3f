"""The keys of runs under a new key of the process: only their rows change, the log stays as it is (rule H3).

Page by page, each in a transaction of its own, so that one that was cut off is gone on with by doing it again.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

from flowledger.events.errors import IntegrityError, KeyMissing
from flowledger.events.run_keys import RunKeyRow, RunKeys

from .encrypting import unwrap, wrap
from .keys import Key, read_keys

#: Keys of one transaction.
PAGE: Final = 500


class Rewrapped(NamedTuple):
    """What was done, or in a dry run would be. ``left`` are keys that none of the process's could open, by the name of
    the one that encrypted them; ``first_left`` is one of their runs.
    """

    to: str
    done: int
    before: Mapping[str, int]
    left: Mapping[str, int]
    first_left: str | None


def rewrap(rows: RunKeys, setting: str | None, *, dry_run: bool = False) -> Rewrapped:
    """Encrypt the keys of all runs by the first `aes` key of the setting's text; the others open what they encrypted.

    Raises:
        KeyMissing: there is no key to encrypt with.
    """
    process_keys = [key for key in read_keys(setting or "", setting="FLOWLEDGER_CODEC_KEYS") if key.kind == "aes"]
    if not process_keys:
        raise KeyMissing("CODEC_KEYS has no key of the kind aes: there is nothing to encrypt the keys of runs with")
    known, first = {key.name: key for key in process_keys}, process_keys[0]
    before, done, left, first_left, after = rows.counts(), 0, Counter[str](), None, ""
    while page := rows.wrapped_by_others(first.name, limit=PAGE, after=after):
        anew, closed = _under(first, page, known)
        done += len(anew) if dry_run else rows.rewrap(anew)
        left.update(row.wrapped_by for row in closed)
        first_left = first_left or next((row.run_id for row in closed), None)
        after = page[-1].run_id
    return Rewrapped(first.name, done, before, left, first_left)


def _under(first: Key, page: Sequence[RunKeyRow], known: dict[str, Key]) -> tuple[list[RunKeyRow], list[RunKeyRow]]:
    """The rows of a page anew, and those of them that no key opens."""
    anew, closed = list[RunKeyRow](), list[RunKeyRow]()
    for row in page:
        try:
            key = unwrap(row, known)
        except KeyMissing:
            closed.append(row)
            continue
        made = wrap(row.run_id, key, first, created_us=row.created_us)
        if unwrap(made, {first.name: first}) != key:  # the row that it replaces is the only one
            raise IntegrityError(f"run {row.run_id}: its key encrypted anew cannot be read back")
        anew.append(made)
    return anew, closed
