"""docs/from-taskflow.md leaves out no row of the ancestor's table; each it calls the same has a test of its name."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[3]
#: The rows of the ancestor's table of features that stand on the page one by one: letter, and how many.
ROWS = {"P": 10, "D": 9, "A": 15, "R": 13, "E": 12, "W": 8, "J": 13}
_CELL = re.compile(r"^\| ([^|]+) \| (.*) \|$", re.MULTILINE)
_ID = re.compile(r"([A-Z])(\d+)(?:\s*–\s*[A-Z](\d+))?")


def page() -> Iterator[tuple[str, str]]:
    """Each row's id, and what is said of it."""
    for cell, said in _CELL.findall((ROOT / "docs" / "from-taskflow.md").read_text()):
        for letter, first, last in _ID.findall(cell):
            for number in range(int(first), int(last or first) + 1):
                yield f"{letter}{number}", said


def rows_in_names() -> set[str]:
    """The rows that a test names: ``test_tf_p3_and_p4_…``, ``test_tf_d3_to_d6_…``."""
    found: set[str] = set()
    for file in (ROOT / "tests").rglob("test_*.py"):
        for name in re.findall(r"def (test_\w*tf_\w+)", file.read_text()):
            found |= {word.upper() for word in re.findall(r"(?<=_)[pdarewj]\d+(?=_)", name)}
            for letter, first, last in re.findall(r"_([pdarewj])(\d+)_to_[pdarewj](\d+)_", name):
                found |= {f"{letter.upper()}{number}" for number in range(int(first), int(last) + 1)}
    return found


def test_the_page_leaves_out_no_row() -> None:
    wanted = {f"{letter}{number}" for letter, count in ROWS.items() for number in range(1, count + 1)}
    assert wanted <= {row for row, _ in page()}


def test_each_row_that_is_the_same_has_a_test_of_its_name() -> None:
    same = {row for row, said in page() if said.startswith("**Same**")}
    assert len(same) > 25
    assert sorted(same - rows_in_names()) == []
