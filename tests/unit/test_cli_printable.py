"""Nothing out of the log may act on a terminal."""

from __future__ import annotations

import json
import unicodedata

import pytest

from flowledger.adapters.cli.printable import json_text, lines_of, printable


@pytest.mark.parametrize(
    "harmful",
    [
        "\x1b[2J\x1b[31mred", "\x1b]0;title\x07", "\x9b31m", "a\rb", "a\nb", "a\tb", "a\x00b", "\x7f", "\u202eexe.doc",
        "\u2066left", "\u200bzero", "\u2028line", "\ufeff", "\U000e0041", "\ud800",
    ],
)  # fmt: skip
def test_what_would_act_on_the_screen_is_shown_as_an_escape(harmful: str) -> None:
    shown = printable(harmful)
    assert "\\" in shown
    assert not [char for char in shown if unicodedata.category(char) in ("Cc", "Cf", "Cs", "Zl", "Zp")]


def test_ordinary_text_of_any_script_stays_as_it_is() -> None:
    text = "Grüße, 世界, שלום, ✔ ━╸ 👍"
    assert printable(text) == text


def test_json_stays_the_same_value_and_is_harmless() -> None:
    value = {"a": "\x1b[31m\u202e\x9b\U000e0041\x7f", "b": ["ü", 1]}
    text = json_text(value)
    assert json.loads(text) == value
    assert "\u202e" not in text
    assert "\x9b" not in text
    assert "\x7f" not in text


def test_a_traceback_keeps_its_lines() -> None:
    assert lines_of("a\n\x1bb") == ["a", "\\x1bb"]
