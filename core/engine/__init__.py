"""The engine: the one shell in the core. It performs what `decide` enables, and answers each action with its event.

run.py       `RunDriver`: one run — outcomes in, events out, bodies started once their start is durable
drafts.py    the next append of a run: events folded, encoded, chained
attempt.py   one call of a user's body, on whatever executor, and how it ended
values.py    arguments from the log: bytes to values, digests, idempotency keys
resources.py live objects, made once and closed in reverse
slots.py     how many bodies may run at once, shared among runs
"""
