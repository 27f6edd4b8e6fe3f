"""How long to wait before the broker is tried again."""

from __future__ import annotations

import random
from typing import Final

#: Short enough that workers go on soon after a broker is back, long enough not to be in its way.
LONGEST_S: Final = 3.0
_SHORTEST_S: Final = 0.1


class BackOff:
    """Twice as long each time, up to `LONGEST_S`; not everybody at the same time."""

    def __init__(self) -> None:
        self._tries = 0

    def next_s(self) -> float:
        """How long to wait this time, in seconds."""
        longest_s = min(LONGEST_S, _SHORTEST_S * (1 << self._tries))
        self._tries = min(self._tries + 1, 16)
        return longest_s * (0.5 + random.random() / 2)  # noqa: S311 - no secret hangs on it

    def reset(self) -> None:
        """It is there."""
        self._tries = 0
