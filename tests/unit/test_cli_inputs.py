"""Inputs from files and options."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from flowledger.adapters.cli.inputs import read_inputs, read_tags
from flowledger.events.errors import InputError


@pytest.mark.parametrize(("name", "text"), [("in.json", '{"n": {"a": [1, 2]}}'), ("in.yaml", "n:\n  a: [1, 2]\n")])
def test_a_file_gives_the_inputs_and_set_changes_them(tmp_path: Path, name: str, text: str) -> None:
    (tmp_path / name).write_text(text, encoding="utf-8")
    inputs = read_inputs(tmp_path / name, ["n.a.1=5", "n.b=true", "who=you", "deep.er.x=null"])
    assert inputs == {"n": {"a": [1, 5], "b": True}, "who": "you", "deep": {"er": {"x": None}}}


@pytest.mark.parametrize(
    ("text", "value"),
    [("1", 1), ("1.5", 1.5), ('"1"', "1"), ("web-7", "web-7"), ("a=b", "a=b"), ("", ""), ("[1]", [1])],
)
def test_a_value_is_json_where_it_can_be_and_text_where_not(text: str, value: Any) -> None:
    assert read_inputs(None, [f"x={text}"]) == {"x": value}


@pytest.mark.parametrize("setting", ["x", "=1", "a.b=1", "list.7=1", "list.x=1", "list.0.c=1"])
def test_a_setting_that_fits_nowhere_is_refused(setting: str) -> None:
    with pytest.raises(InputError, match="--set"):
        read_inputs(None, ["a=1", "list=[1]", setting])


@pytest.mark.parametrize(
    ("name", "text"), [("a.json", "{"), ("a.yaml", "a: ["), ("a.json", "[1]"), ("a.yaml", "!!python/name:os.system x")]
)
def test_a_file_that_is_no_object_is_refused(tmp_path: Path, name: str, text: str) -> None:
    (tmp_path / name).write_text(text, encoding="utf-8")
    with pytest.raises(InputError, match="--input"):
        read_inputs(tmp_path / name, [])
    with pytest.raises(InputError, match="--input"):
        read_inputs(tmp_path / "missing.json", [])


def test_tags() -> None:
    assert read_tags(["a=1", "b=x=y"]) == {"a": "1", "b": "x=y"}
    with pytest.raises(InputError, match="--tag"):
        read_tags(["a"])
