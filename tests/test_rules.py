"""Every rule that is in force has a test that names it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
RULE = re.compile(r"^- \*\*([A-H]\d+)\*\*(.*)$", re.MULTILINE)
RULES = RULE.findall((ROOT / "docs" / "semantics.md").read_text(encoding="utf-8"))


def named() -> set[str]:
    """The rules that stand in the name of some test."""
    found: set[str] = set()
    for path in (ROOT / "tests").rglob("*.py"):
        for name in re.findall(r"def (test_\w+)", path.read_text(encoding="utf-8")):
            words = name.removeprefix("test_").removeprefix("tf_").split("_")
            if not name.startswith(("test_tf_", "test_rel_")):
                found.update(word.upper() for word in words if re.fullmatch(r"[a-h]\d+", word))
    return found


def test_the_page_of_rules_has_rules() -> None:
    assert len(RULES) > 50


@pytest.mark.parametrize("rule", [rule for rule, text in RULES if not text.lstrip().startswith("*(")])
def test_a_rule_in_force_has_a_test_that_names_it(rule: str) -> None:
    assert rule in named(), f"no test is called test_{rule.lower()}_…"


@pytest.mark.parametrize("rule", [rule for rule, text in RULES if text.lstrip().startswith("*(not yet)*")])
def test_a_rule_that_is_not_in_force_says_so_and_has_none(rule: str) -> None:
    """When the first test comes, the mark has to go."""
    assert rule not in named()
