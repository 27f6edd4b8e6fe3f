"""The log in Postgres: where teams run it. Opened as `PostgresStore`; made and upgraded by `upgrading`."""

from .location import locate
from .store import PostgresStore

__all__ = ["PostgresStore", "locate"]
