"""How a process asks workers, as its settings say (rule C2)."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import NamedTuple

from flowledger.adapters.broker.location import locate
from flowledger.adapters.broker.messages import message_keys
from flowledger.adapters.broker.publisher import Publisher
from flowledger.adapters.broker.wrapping import Wrapping, wrapping_of
from flowledger.adapters.keys import Key
from flowledger.adapters.settings import Settings
from flowledger.core.ports import Clock, Post
from flowledger.events.claims import AttemptClaims

from .remote import RemoteExecutor


class Broker(NamedTuple):
    """What the settings say of it, checked: nothing has been opened."""

    url: str
    keys: Sequence[Key]
    wrapping: Wrapping
    timeout_s: float

    def publisher(self, app: str, now_us: Callable[[], int]) -> Publisher:
        """Opens the way to workers; whether there is a broker shows later."""
        return Publisher(
            self.url, app=app, keys=self.keys, wrapping=self.wrapping, confirm_timeout_s=self.timeout_s, now_us=now_us
        )

    def executor(
        self, loop: asyncio.AbstractEventLoop, publisher: Publisher, claims: AttemptClaims, *, owner: str, app: str,
        clock: Clock, post: Post,
    ) -> RemoteExecutor:  # fmt: skip
        """The lane "workers" of a process."""
        return RemoteExecutor(
            loop, publisher, claims, owner=owner, app=app, clock=clock, post=post, wrapping=self.wrapping
        )


def broker_of(settings: Settings) -> Broker | None:
    """The broker that is set; None: there is none, and all is made here.

    Raises:
        InputError: the URL names no broker, or there is no key to sign with.
    """
    if settings.broker_url is None:
        return None
    locate(settings.broker_url)
    return Broker(
        settings.broker_url, message_keys(settings.signing_keys), wrapping_of(settings.codec_keys),
        settings.broker_timeout_s,
    )  # fmt: skip
