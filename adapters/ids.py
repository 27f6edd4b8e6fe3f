"""Where new ids and chance come from (the port `core.ports.Ids`)."""

from __future__ import annotations

import random

from ulid import ULID


def new_ulid() -> str:
    """26 characters that sort by creation time; within a process in the very order in which they were made."""
    return str(ULID())


class SystemIds:
    """Ids that nobody else has, and real chance."""

    def run_id(self) -> str:
        """A new run id."""
        return new_ulid()

    def request_id(self) -> str:
        """A new id for a request of a person."""
        return new_ulid()

    def random(self) -> float:
        """A number in [0, 1): for jitter, not for secrets."""
        return random.random()  # noqa: S311
