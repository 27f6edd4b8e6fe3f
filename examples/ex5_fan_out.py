"""Fan-out over a list that is known only at run time, a loop, fan-in of lists of results, and flows side by side.

python -m examples.ex5_fan_out
"""

from typing import assert_type

from flowledger import App, Flow, linear, unordered

app = App("scan")


@app.task(read_only=True)
async def list_hosts(subnet: str) -> list[str]:
    return [f"{subnet}.{n}" for n in range(1, 4)]


@app.task(read_only=True, label="{host}")
def probe(host: str, timeout_s: float) -> int:
    return len(host)


@app.task(read_only=True)
def report(open_ports: list[int], title: str) -> str:
    return f"{title}: {sum(open_ports)}"


@app.flow
def scan(subnet: str) -> Flow[str]:
    hosts = list_hosts.bind(subnet)  # known only at run time
    probes = probe.each(hosts, timeout_s=2.0)  # FlowExpanded, result list[int]
    assert_type(probes, Flow[list[int]])
    summary = report.bind(probes, subnet)
    return linear(hosts, probes, summary, returns=summary)


@app.flow
def two_subnets(a: str, b: str) -> Flow[list[str]]:
    return unordered(scan(a), scan(b))  # gather: a list in declaration order


@app.task(read_only=True)
def halve(size: int) -> int:
    return size // 2


@app.flow
def narrow(size: int) -> Flow[int]:
    """A loop: the flow binds itself to what it has found, until that is small enough."""
    smaller = halve.bind(size)
    if size <= 4:
        return linear(smaller, returns=smaller)
    rest = narrow.bind(smaller)
    assert_type(rest, Flow[int])
    return linear(smaller, rest, returns=rest)


if __name__ == "__main__":
    run = app.run(two_subnets("10.0.0", "10.0.1"))
    assert_type(run.result, list[str])
    print(run.result)
    print("narrowed to", app.run(narrow(100)).result)
