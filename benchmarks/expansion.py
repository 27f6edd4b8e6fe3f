"""One measurement in a process of its own: runs of an `each` with n children, in memory, one body at a time.

Arguments: form, n, repeats. ``known``: the list is an input, so the children are compiled with the plan; ``late``: it
is the result of a task, so they come while the run is under way. ``…_flows``: a flow of two tasks per item instead of a
task. ``nested``: a flow per item that has an expansion of its own. ``loop``: n passes of a factory that binds itself.
Prints the CPU time per child (or pass), compile included, and the most memory the process had, as JSON.
"""

from __future__ import annotations

import json
import resource
import sys
import time
from typing import Any

from flowledger import App, Flow, linear

app = App("bench", database_url="memory://")


@app.task(read_only=True)
def numbers(n: int) -> list[int]:
    return list(range(n))


@app.task(read_only=True)
def handle(item: int) -> int:
    return item


@app.task(read_only=True)
def less(n: int) -> int:
    return n - 1


@app.flow(label="{item}")
def two(item: int) -> Flow[int]:
    last = less.bind(item)
    return linear(handle.bind(item), last, returns=last)


@app.flow
def known(n: int) -> Flow[list[int]]:
    many = handle.each(range(n))
    return linear(numbers.bind(n), many, returns=many)


@app.flow
def late(n: int) -> Flow[list[int]]:
    every = numbers.bind(n)
    many = handle.each(every)
    return linear(every, many, returns=many)


@app.flow
def known_flows(n: int) -> Flow[list[int]]:
    many = two.each(range(n))
    return linear(numbers.bind(n), many, returns=many)


@app.flow
def late_flows(n: int) -> Flow[list[int]]:
    every = numbers.bind(n)
    many = two.each(every)
    return linear(every, many, returns=many)


@app.flow(label="{item}")
def nest(item: int) -> Flow[list[int]]:
    every = numbers.bind(2)
    many = handle.each(every)
    return linear(every, many, returns=many)


@app.flow
def nested(n: int) -> Flow[list[list[int]]]:
    every = numbers.bind(n)
    many = nest.each(every)
    return linear(every, many, returns=many)


@app.flow
def loop(n: int) -> Flow[int]:
    next_ = less.bind(n)
    if n <= 1:
        return linear(next_, returns=next_)
    rest = loop.bind(next_)
    return linear(next_, rest, returns=rest)


FORMS: dict[str, Any] = {f.name: f for f in (known, late, known_flows, late_flows, nested, loop)}


def main(form: str, n: int, repeats: int) -> None:
    factory = FORMS[form]
    app.run(factory(10), executor="inline")  # imports, threads, the first of everything
    cpu = time.process_time()
    for _ in range(repeats):
        app.run(factory(n), executor="inline")
    cpu = time.process_time() - cpu
    peak_bytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    print(json.dumps({"cpu_us": cpu / (n * repeats) * 1e6, "cpu_s": cpu, "peak_bytes": peak_bytes}))


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
