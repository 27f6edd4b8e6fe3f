"""The figures of tasks that other processes make: by turns with taskflow's worker-based engine and Celery."""

from __future__ import annotations

import os
from collections.abc import Iterator
from functools import partial

from benchmarks.measuring import HERE, Figure, in_fresh_process
from benchmarks.more_figures import REDIS
from benchmarks.postgres_server import server
from benchmarks.turns import by_turns, judged, of, peer, ratio

RABBITMQ = os.environ.get("FLOWLEDGER_BENCH_RABBITMQ", "amqp://guest:guest@127.0.0.1:5672//")


def workers(*, short: bool) -> Iterator[Figure]:
    """No-op tasks made by one and by two worker processes of eight threads, all through the same RabbitMQ (`FLOWLEDGER_BENCH_RABBITMQ`): a thousand side by side with a join, and one after the other. Ours are in the log, each start before its body and each outcome, and survive whoever dies; taskflow keeps nothing; Celery acknowledges late and keeps results in Redis, which keeps nothing."""  # noqa: E501
    rounds = 3 if short else 5
    figure = partial(Figure, "workers")
    ours, theirs, celery = (
        HERE / "workers_flowledger.py", HERE / "peers" / "taskflow_remote.py", HERE / "peers" / "celery_remote.py",
    )  # fmt: skip
    for kind, n in (("fanout", 1_000), ("linear", 200)):
        for count in (1, 2):
            with server() as on:
                got = by_turns(rounds, {
                    "ours": partial(in_fresh_process, ours, kind, on.url("more"), RABBITMQ, n, count),
                    "taskflow": partial(peer, theirs, kind, RABBITMQ, n, count),
                    "celery": partial(peer, celery, kind, RABBITMQ, REDIS, n, count),
                })  # fmt: skip
            what = f"{kind}, {count} worker{'s' if count > 1 else ''}"
            for who in got:
                yield figure(f"{what}: {who}", "1/s", of(got, who, "rate"))
                if kind == "linear":
                    yield figure(f"{what}: {who}, there and back", "ms", of(got, who, "ms"))
            yield figure(f"{what}: ours, client CPU per task", "ms", of(got, "ours", "cpu_ms"))
            yield figure(f"{what}: ours / taskflow", "times", ratio(got, "ours", "taskflow"))
            against = figure(f"{what}: ours / celery", "times", ratio(got, "ours", "celery"))
            if kind == "fanout":
                against.target = "≥ 1.5"
                judged(against, least=1.5)
            yield against


def conductor(*, short: bool) -> Iterator[Figure]:
    """One conductor process that has 1,000 equal runs of 200 async tasks under way at once, each task 50 ms: what is resident, what goes into the log, and how far the slowest has come beside the fastest."""  # noqa: E501
    runs, n = 1_000, 200
    figure = partial(Figure, "conductor")
    with server() as on:
        got = by_turns(1 if short else 3, {
            "many": partial(in_fresh_process, HERE / "conductor_many.py", "many", on.url("more"), runs, n)
        })  # fmt: skip
    yield figure("events appended", "1/s", of(got, "many", "events_per_s"))
    yield figure("progress of the slowest / of the fastest", "", ratio(got, "many", "many", "slowest", "fastest"))
    yield figure("resident, with the first run", "MiB", of(got, "many", "empty_MiB"))
    yield figure(f"resident, with {runs:,} runs under way", "MiB", of(got, "many", "MiB"))
