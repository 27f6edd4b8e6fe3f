"""The views everybody gets: runs, attempts, tags, audit, statistics, failures; one projection, so that they agree.

They hold no inputs, no results and no tracebacks: the versions of the events do, and whoever may read the log finds
them there. So views need no secrets of their own, and what is erased from the log is not kept here (rule H3).
"""

from .fold import HISTORY

__all__ = ["HISTORY"]
