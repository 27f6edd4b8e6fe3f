"""When two failures are the same: the fingerprint that groups them (the failures view, `failure:` in queries)."""

from __future__ import annotations

import re
from hashlib import sha256
from typing import Final

from flowledger.events.failure import Failure

from .nodes import one_line

#: So much of a message is kept and compared, in characters.
MESSAGE_KEPT: Final = 300

#: What differs from one occurrence to the next: quoted words, ids, numbers; of an encrypted run all that it says.
_VARYING: Final = re.compile(
    r"""‹encrypted:[^›]*›?|'[^']{1,200}'|"[^"]{1,200}"|\b[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}\b|\b0x[0-9a-fA-F]+\b"""
    r"""|\b(?=[0-9A-Za-z]*[0-9])[0-9A-Za-z]{8,}\b|[0-9]+"""
)


def settled(message: str) -> str:
    """The first line of a message without what differs from one occurrence to the next."""
    return _VARYING.sub("…", message.strip().partition("\n")[0][:MESSAGE_KEPT])


def fingerprint(failure: Failure, task: str) -> str:
    """Twelve hexadecimal digits: the same for failures of one task that differ in numbers, ids and quoted words."""
    content = "\0".join((failure.type, task, settled(failure.message)))
    return sha256(content.encode(errors="surrogatepass")).hexdigest()[:12]


def shown(failure: Failure) -> str:
    """A failure in one line of a view."""
    return one_line(failure)[:MESSAGE_KEPT]
