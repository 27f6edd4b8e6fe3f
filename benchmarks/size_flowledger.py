"""How much room runs take: RUNS flows of N no-op tasks, then projected. Bytes per task, as JSON.

python benchmarks/size_flowledger.py URL RUNS N
"""

from __future__ import annotations

import json
import sys
from contextlib import closing
from typing import Any

from benchmarks.size_counting import sizes_of
from flowledger import App, Flow, Settings, linear
from flowledger.adapters.projecting.projector import Projector
from flowledger.adapters.stores import open_store
from flowledger.adapters.stores.views import views_of
from flowledger.projections.history import HISTORY


def run(url: str, runs: int, n: int) -> None:
    app = App("bench", settings=Settings(database_url=url, views="off"))

    @app.task
    def noop() -> None:
        pass

    @app.flow
    def straight(n: int) -> Flow[None]:
        return linear(*[noop.bind().named(f"t{i}") for i in range(n)])

    with closing(app):
        app.run_many([straight(n) for _ in range(runs)])
    with closing(open_store(url)) as store, closing(views_of(store)) as views:
        Projector(store, views, HISTORY).catch_up(within_s=600)


def measure(url: str, runs: int, n: int) -> dict[str, Any]:
    """What the runs of this call have added: what was there before is taken off, packed as it then is."""
    run(url, 1, n)  # what there is but once: tables, the plan
    before = sizes_of(url, packed=True)
    run(url, runs, n)
    figures: dict[str, Any] = {}
    for how in ("lies", "packed"):
        log, views = (
            (now - then) / (runs * n) for now, then in zip(sizes_of(url, packed=how == "packed"), before, strict=True)
        )
        figures |= {f"log_{how}": log, f"views_{how}": views, how: log + views}
    return figures


if __name__ == "__main__":
    print(json.dumps(measure(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))))
