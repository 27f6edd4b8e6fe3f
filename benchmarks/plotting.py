"""Line charts as SVG, both axes logarithmic: a straight line is a power law, a level one costs the same for each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from math import ceil, floor, log10

_WIDTH, _HEIGHT = 640, 360
_LEFT, _RIGHT, _TOP, _BOTTOM = 70, 150, 40, 50
_COLOURS = ("#1b6ca8", "#c0392b", "#2e8b57", "#8e44ad", "#d68910", "#555555")


@dataclass(frozen=True)
class Point:
    """A median with its spread."""

    x: float
    least: float
    median: float
    most: float


class _Axis:
    def __init__(self, values: Sequence[float], begin: float, end: float) -> None:
        logs = [log10(value) for value in values if value > 0]
        self.low, self.high = floor(min(logs)), max(ceil(max(logs)), floor(min(logs)) + 1)
        self._begin, self._end = begin, end

    def at(self, value: float) -> float:
        share = (log10(max(value, 1e-12)) - self.low) / (self.high - self.low)
        return round(self._begin + share * (self._end - self._begin), 1)

    def ticks(self) -> list[float]:
        return [10.0**power for power in range(self.low, self.high + 1)]


def chart(title: str, x_label: str, y_label: str, series: Mapping[str, Sequence[Point]]) -> str:
    """The chart of ``series``, as a document of its own."""
    points = [point for line in series.values() for point in line]
    x = _Axis([point.x for point in points], _LEFT, _WIDTH - _RIGHT)
    y = _Axis([value for p in points for value in (p.least, p.most)], _HEIGHT - _BOTTOM, _TOP)
    opening = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT}" font-family="sans-serif"'
    parts = [
        f'{opening} font-size="11"><rect width="100%" height="100%" fill="white"/>',
        f'<text x="{_LEFT}" y="22" font-size="14">{escape(title)}</text>',
        f'<text x="{(_LEFT + _WIDTH - _RIGHT) / 2}" y="{_HEIGHT - 12}" text-anchor="middle">{escape(x_label)}</text>',
        f'<text transform="translate(16 {_HEIGHT / 2}) rotate(-90)" text-anchor="middle">{escape(y_label)}</text>',
    ]
    for tick in x.ticks():
        parts += _rule(x.at(tick), _TOP, x.at(tick), _HEIGHT - _BOTTOM)
        parts.append(f'<text x="{x.at(tick)}" y="{_HEIGHT - _BOTTOM + 16}" text-anchor="middle">{tick:,.10g}</text>')
    for tick in y.ticks():
        parts += _rule(_LEFT, y.at(tick), _WIDTH - _RIGHT, y.at(tick))
        parts.append(f'<text x="{_LEFT - 6}" y="{y.at(tick) + 4}" text-anchor="end">{tick:,.10g}</text>')
    for number, (name, line) in enumerate(series.items()):
        parts += _line(name, sorted(line, key=lambda point: point.x), x, y, number)
    return "\n".join([*parts, "</svg>", ""])


def _rule(x1: float, y1: float, x2: float, y2: float) -> list[str]:
    return [f'<line x1="{x1}" y1="{y1}" x2="{x2}" y2="{y2}" stroke="#dddddd"/>']


def _line(name: str, line: Sequence[Point], x: _Axis, y: _Axis, number: int) -> list[str]:
    colour = _COLOURS[number % len(_COLOURS)]
    path = " ".join(f"{x.at(point.x)},{y.at(point.median)}" for point in line)
    parts = [f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"/>']
    for point in line:
        at = x.at(point.x)
        parts.append(f'<line x1="{at}" y1="{y.at(point.least)}" x2="{at}" y2="{y.at(point.most)}" stroke="{colour}"/>')
        parts.append(f'<circle cx="{at}" cy="{y.at(point.median)}" r="3" fill="{colour}"/>')
    legend = _TOP + 14 + 18 * number
    parts.append(f'<text x="{_WIDTH - _RIGHT + 12}" y="{legend}" fill="{colour}">{escape(name)}</text>')
    return parts
