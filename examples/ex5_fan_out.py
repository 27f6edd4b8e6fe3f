"""Fan-out over a list that is an input, fan-in of the list of results, and flows side by side.

python -m examples.ex5_fan_out
"""

from typing import assert_type

from flowledger import App, Flow, linear, unordered

app = App("scan")


@app.task(read_only=True)
async def list_hosts(subnet: str) -> list[str]:
    return [f"{subnet}.{n}" for n in range(3)]


@app.task(read_only=True)
def probe(host: str, timeout_s: float) -> int:
    return len(host)


@app.task(read_only=True)
def report(open_ports: list[int], title: str) -> str:
    return f"{title}: {sum(open_ports)}"


@app.flow(label="{title}")
def scan(hosts: list[str], title: str) -> Flow[str]:
    probes = probe.each(hosts, timeout_s=2.0)
    assert_type(probes, Flow[list[int]])
    summary = report.bind(probes, title)
    return linear(probes, summary, returns=summary)


@app.flow
def two_subnets(a: list[str], b: list[str]) -> Flow[list[str]]:
    return unordered(scan(a, "a"), scan(b, "b"))  # gather: a list in declaration order


if __name__ == "__main__":
    run = app.run(two_subnets(["10.0.0.1", "10.0.0.2"], ["10.0.1.1"]))
    assert_type(run.result, list[str])
    print(run.result)
