"""What may reach a terminal or a pipe: the one place where text out of the log is made harmless.

A run's values are whatever users and their servers said: an escape sequence in a failure's message could repaint the
screen, a bidi override could make a path read as another one.
"""

from __future__ import annotations

import re
from typing import Any, Final

#: Controls (C0, DEL, C1), separators that break lines, bidi and other invisible marks, tags, halves of surrogates.
_HARMFUL: Final = re.compile(
    "[\x00-\x1f\x7f-\x9f\xad\u061c\u180e\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb\ud800-\udfff"
    "\U000e0000-\U000e007f]"
)
_NAMED: Final = {"\n": "\\n", "\r": "\\r", "\t": "\\t"}


def printable(text: object) -> str:
    """The text in one line, with everything that is not to be seen written as an escape (``\\x1b``)."""
    return _HARMFUL.sub(_escape, str(text))


def lines_of(text: str) -> list[str]:
    """A text of several lines (a traceback), each line printable."""
    return [printable(line) for line in text.split("\n")]


def json_text(value: Any) -> str:
    """A value as JSON in one line; harmful characters, which JSON would let pass, as ``\\uXXXX``."""
    import msgspec  # noqa: PLC0415 - a terminal that shows no JSON does not need it

    return _HARMFUL.sub(_json_escape, msgspec.json.encode(value).decode())


def _escape(match: re.Match[str]) -> str:
    code = ord(match[0])
    if match[0] in _NAMED:
        return _NAMED[match[0]]
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def _json_escape(match: re.Match[str]) -> str:
    code = ord(match[0])
    if code < 0x10000:
        return f"\\u{code:04x}"
    code -= 0x10000  # JSON writes these as two halves
    return f"\\u{0xD800 + (code >> 10):04x}\\u{0xDC00 + (code & 0x3FF):04x}"
