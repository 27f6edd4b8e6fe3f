"""Workers: processes that make tasks for engines elsewhere (rules C1 to C3, C7).

`consuming` takes requests from the broker and claims them, `making` calls the bodies, `reporting` puts outcomes into
inboxes, `beating` says that all this lives; `worker` puts them together, `places` bounds them.
"""

from __future__ import annotations

from .worker import Worker, queues_of
from .working import Working

__all__ = ["Worker", "Working", "queues_of"]
