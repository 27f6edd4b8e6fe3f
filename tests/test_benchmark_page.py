"""The page of benchmarks is what its records say, and its plots are there."""

from __future__ import annotations

import xml.etree.ElementTree as ET

from benchmarks import report
from benchmarks.flames import flame_graph
from benchmarks.plotting import Point, chart
from benchmarks.run import titles


def test_the_page_shows_what_was_recorded_and_nothing_else() -> None:
    text, plots = report.page(titles())
    assert report.PAGE.read_text() == text, "made by: .venv/bin/python benchmarks/run.py NAME --record"
    assert {path.name: path.read_text() for path in report.PLOTS.glob("*.svg")} == plots


def test_a_chart_is_a_document_with_all_its_points() -> None:
    line = [Point(10.0**n, 1.0, 2.0 * n + 1, 9.0) for n in range(4)]
    drawn = ET.fromstring(chart("a & b", "x", "y", {"one": line, "two": line}))
    assert len(drawn.findall("{*}circle")) == 8


def test_a_flame_graph_shows_who_called_whom() -> None:
    drawn = ET.fromstring(flame_graph(["main (a.py:1);work (b.py:2) 30", "main (a.py:1);rest <x> (b.py:9) 10"]))
    titles_ = [title.text for title in drawn.iter("{http://www.w3.org/2000/svg}title")]
    assert titles_ == ["main (a.py:1): 100.0%", "rest <x> (b.py:9): 25.0%", "work (b.py:2): 75.0%"]
