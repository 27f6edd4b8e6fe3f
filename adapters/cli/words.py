"""How states, times and progress are said: an icon, a word and a colour each, so that none of them is needed alone."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Final, NamedTuple


class Look(NamedTuple):
    """An icon of one column, and a style that rich knows."""

    icon: str
    style: str


#: Blue, yellow, red and green differ in brightness too; the icons differ in shape.
LOOKS: Final[dict[str, Look]] = {
    "PENDING": Look("◌", "dim"),
    "RUNNING": Look("▶", "bold blue"),
    "WAITING": Look("◔", "yellow"),
    "INTERRUPTED": Look("!", "bold yellow"),
    "SUCCEEDED": Look("✔", "green"),
    "FAILED": Look("✘", "bold red"),
    "SKIPPED": Look("⤳", "dim"),
    "REVERTING": Look("↶", "magenta"),
    "REVERTED": Look("↺", "magenta"),
    "REVERT_FAILED": Look("✘", "bold red"),
    "SUSPENDING": Look("‖", "yellow"),
    "SUSPENDED": Look("‖", "bold yellow"),
    "CANCELLED": Look("⊘", "yellow"),
}
AGAIN: Final = Look("↻", "bold yellow")

_SECOND_US: Final = 1_000_000


def look(state: str) -> Look:
    """The look of an atom's or a run's state."""
    return LOOKS.get(state, Look("?", ""))


def took(duration_us: int | None) -> str:
    """A duration to read: 31ms, 0.9s, 41.2s, 3m02s, 2h05m."""
    if duration_us is None:
        return ""
    seconds = duration_us / _SECOND_US
    if seconds < 0.1:
        return f"{max(duration_us, 0) / 1000:.0f}ms"
    if seconds < 60:
        return f"{seconds:.1f}s"
    minutes, rest = divmod(int(seconds), 60)
    return f"{minutes}m{rest:02}s" if minutes < 60 else f"{minutes // 60}h{minutes % 60:02}m"


def watch(duration_us: int | None) -> str:
    """A duration as on a stop-watch: 0:04, 12:31, 1:02:03."""
    minutes, seconds = divmod(max(0, duration_us or 0) // _SECOND_US, 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes}:{seconds:02}"


def moment(time_us: int | None) -> datetime | None:
    """A time of the log as an aware UTC datetime."""
    return None if time_us is None else datetime.fromtimestamp(time_us / _SECOND_US, UTC)


def clock(time_us: int) -> str:
    """A time as people read it in a table: UTC, to the millisecond."""
    return f"{datetime.fromtimestamp(time_us / _SECOND_US, UTC):%Y-%m-%d %H:%M:%S.%f}"[:-3] + "Z"


def iso(time_us: int | None) -> str | None:
    """A time as programs read it: ISO 8601, UTC, microseconds."""
    at = moment(time_us)
    return None if at is None else at.isoformat(timespec="microseconds").replace("+00:00", "Z")


def count(number: int, noun: str) -> str:
    """1 event, 2 events."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"
