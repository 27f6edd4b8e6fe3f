"""A process that takes runs from the job board and drives them (rules B1 to B3).

conductor.py   claims, drives, gives up: on the engine's loop
refusals.py    which jobs this process could not take up, and when it looks at them again
health.py      whether the process lives and takes jobs, for who watches it
conducting.py  the conductor as a part of a process: a new name after it has been fenced, and notices beside it
"""

from __future__ import annotations

from .conducting import Conducting
from .conductor import Conductor

__all__ = ["Conducting", "Conductor"]
