"""procrastinate on Postgres: n no-op jobs deferred in one batch, one worker with 20 jobs at once. Prints JSON.

    fanout URL N

Runs in the environment of the peers. Set up as its quick start says: schema applied by the app, async connector.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time

import procrastinate  # type: ignore[import-not-found]  # pyright: ignore[reportMissingImports]

CONCURRENCY = 20


async def fanout(url: str, n: int) -> dict[str, float]:
    app = procrastinate.App(connector=procrastinate.PsycopgConnector(conninfo=url))

    @app.task(name="noop")  # type: ignore[untyped-decorator]
    async def noop() -> None:
        pass

    async with app.open_async():
        if not await app.check_connection_async():
            await app.schema_manager.apply_schema_async()
        await noop.batch_defer_async(*[{} for _ in range(20)])
        await app.run_worker_async(wait=False, install_signal_handlers=False, concurrency=CONCURRENCY)
        began = time.perf_counter()
        await noop.batch_defer_async(*[{} for _ in range(n)])
        await app.run_worker_async(wait=False, install_signal_handlers=False, concurrency=CONCURRENCY)
        return {"rate": n / (time.perf_counter() - began)}


if __name__ == "__main__":
    print(json.dumps(asyncio.run(fanout(sys.argv[2], int(sys.argv[3])))))
