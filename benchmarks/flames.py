"""A flame graph out of folded stacks: each frame as wide as it was seen often, standing on the one that called it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from html import escape

_WIDTH, _ROW = 1_400, 17
_LEAST = 0.6  # narrower frames are left out


@dataclass
class _Frame:
    count: int = 0
    inner: dict[str, _Frame] = field(default_factory=dict["str", "_Frame"])


def flame_graph(lines: Iterable[str]) -> str:
    """An SVG of lines like ``outer;inner;innermost 12``; the pointer on a frame shows its name and share."""
    root, deepest = _Frame(), 0
    for line in lines:
        stack, _, count = line.rpartition(" ")
        frame = root
        frame.count += int(count)
        names = stack.split(";")
        deepest = max(deepest, len(names))
        for name in names:
            frame = frame.inner.setdefault(name, _Frame())
            frame.count += int(count)
    height = (deepest + 1) * _ROW
    opening = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height}" font-family="monospace"'
    parts = [f'{opening} font-size="11">']
    _draw(root, 0.0, 0, height, root.count, parts)
    return "\n".join([*parts, "</svg>", ""])


def _draw(frame: _Frame, left: float, depth: int, height: int, total: int, parts: list[str]) -> None:
    for name, inner in sorted(frame.inner.items()):
        width = inner.count / total * _WIDTH
        if width >= _LEAST:
            parts.append(_box(name, left, width, height - (depth + 1) * _ROW, inner.count / total))
            _draw(inner, left, depth + 1, height, total, parts)
        left += width


def _box(name: str, left: float, width: float, top: float, share: float) -> str:
    shown = escape(name if len(name) * 6.7 < width else name[: int(width / 6.7)])
    hue = 10 + hash(name.partition(" ")[0]) % 40
    return (
        f"<g><title>{escape(name)}: {share:.1%}</title>"
        f'<rect x="{left:.1f}" y="{top}" width="{width:.1f}" height="{_ROW - 1}" fill="hsl({hue},80%,65%)"/>'
        f'<text x="{left + 2:.1f}" y="{top + 12}">{shown}</text></g>'
    )
