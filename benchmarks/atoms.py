"""What a plan and its state take half way through a run: bytes per atom. Prints JSON. Arguments: pattern, n."""

from __future__ import annotations

import gc
import json
import sys
import tracemalloc
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.noop import FLOWS, app
from flowledger.core.evolve import fold
from flowledger.events.codec import opened


def main(pattern: str, n: int) -> None:
    run = app.run(FLOWS[pattern](n), executor="inline")
    log = list(opened(run.id, app.runtime.store.read(run.id)))
    half = log[: len(log) // 2]
    gc.collect()
    tracemalloc.start()
    plan = app.plan(FLOWS[pattern](n))
    state = fold(plan, half)
    gc.collect()
    print(json.dumps({"bytes_per_atom": tracemalloc.get_traced_memory()[0] / n}))
    assert state.version == len(half)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
