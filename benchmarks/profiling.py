"""Where the time goes: `make profile-NAME`, NAME one of memory, sqlite, postgres, many.

py-spy (in the environment of the peers) looks 250 times a second at the thread that runs Python code, while no-op tasks
run, 1,000 in a line (many: 500 runs of 10). Its flame graph goes to benchmarks/results/NAME.svg; what is printed is the
share of each layer: a sample counts for the innermost frame that is ours, so what pydantic or psycopg do counts for the
layer that asked. Imports, which come once per process, are left out.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections import Counter
from contextlib import ExitStack
from pathlib import Path

if __package__ in (None, ""):
    sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks import peers
from benchmarks.measuring import HERE, ROOT
from benchmarks.postgres_server import server

RESULTS = HERE / "results"
#: The first that fits names the layer of a file.
LAYERS = (
    ("core/evolve", "fold"), ("core/flowing", "fold"), ("core/undoing", "fold"), ("core/agenda", "fold"),
    ("core/state", "fold"), ("core/decide", "decide"), ("core/compiler", "compile"), ("core/document", "compile"),
    ("core/parts", "definition"), ("core/task", "definition"), ("core/patterns", "definition"),
    ("core/engine/drafts", "events: encode, hash, draft"), ("events/", "events: encode, hash, draft"),
    ("core/engine", "engine"), ("core/", "engine"), ("adapters/appender", "appender"),
    ("adapters/stores/postgres/exchange", "waiting for Postgres, libpq"), ("adapters/stores", "store"),
    ("adapters/projecting", "views"), ("projections/", "views"), ("adapters/", "the rest of adapters"),
    ("benchmarks/", "the benchmark"),
)  # fmt: skip


def main(name: str) -> None:
    RESULTS.mkdir(exist_ok=True)
    with ExitStack() as open_:
        raw = RESULTS / f"{name}.folded"
        command = _command(name, open_)
        spy = Path(peers.python()).with_name("py-spy")
        asked = [spy, "record", "--gil", "--rate", "250", "--format", "raw", "--output", raw, "--", *command]
        subprocess.run([str(part) for part in asked], check=True, cwd=ROOT, env={"PYTHONPATH": str(ROOT)})
    stacks = [line.rsplit(" ", 1) for line in raw.read_text().splitlines()]
    _draw(raw, RESULTS / f"{name}.svg")
    _table(stacks)
    print(f"flame graph: {(RESULTS / f'{name}.svg').relative_to(ROOT)}")


def _command(name: str, open_: ExitStack) -> list[object]:
    python = sys.executable
    if name == "memory":
        return [python, HERE / "noop.py", "linear", 1_000, 60]
    if name == "sqlite":
        folder = open_.enter_context(tempfile.TemporaryDirectory(dir=HERE))
        return [python, HERE / "sqlite_linear.py", folder, 1_000, 5]
    if name in ("postgres", "many"):
        url = open_.enter_context(server()).url("flow")
        what = ["linear", url, 4_000, "inline"] if name == "postgres" else ["many", url, 500, 10, "threads"]
        return [python, HERE / "postgres_flowledger.py", *what]
    raise SystemExit(f"nothing to profile is called {name}: there are memory, sqlite, postgres, many")


def _draw(raw: Path, svg: Path) -> None:
    """Nothing but the stacks: name and width of each frame, the widest at the bottom."""
    from benchmarks.flames import flame_graph  # noqa: PLC0415

    svg.write_text(flame_graph(raw.read_text().splitlines()))


def _table(stacks: list[list[str]]) -> None:
    layers: Counter[str] = Counter()
    for stack, count in stacks:
        if "importlib" not in stack:
            layers[_layer(stack)] += int(count)
    total = sum(layers.values())
    for layer, count in layers.most_common():
        print(f"{count / total:6.1%}  {layer}")


def _layer(stack: str) -> str:
    for frame in reversed(stack.split(";")):
        file = frame.rpartition("(")[2].replace("flowledger/", "")
        for beginning, layer in LAYERS:
            if beginning in file and "site-packages" not in file:
                return layer
    return "event loop, threads, Python itself"


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    main(sys.argv[1])
