"""Attempts, a retry that tries one value after the other, a switch, and a link that may say no.

python -m examples.ex4_retry_branch
"""

from typing import Literal, assert_type

from flowledger import App, Flow, Permanent, TryEach, exponential, graph, linear, link, switch

app = App("quota")
Tier = Literal["small", "large"]
LEFT = {"a": 0, "b": 7, "c": 1}


@app.task(timeout=30, attempts=3, retry_on=(TimeoutError, OSError), read_only=True)
def check_quota(zone: str) -> int:
    if zone not in LEFT:
        raise Permanent("no such zone")
    if not LEFT[zone]:
        raise ValueError(f"zone {zone} is full")
    return LEFT[zone]


@app.task(read_only=True)
def choose_tier(quota: int) -> Tier:
    return "large" if quota > 5 else "small"


@app.task
def make_small(zone: str) -> str:
    return f"small machine in {zone}"


@app.task
def make_large(zone: str) -> str:
    return f"large machine in {zone}"


@make_small.revert
@make_large.revert
def delete_machine(result: str | None) -> None:
    print(f"deleting {result}")


@app.task(read_only=True)
def page_operator(zone: str) -> None:
    print(f"zone {zone} is almost full")


@app.flow
def provision(zones: list[str]) -> Flow[str]:
    """The next zone after each failure; what was made in the last one is undone first."""
    zone = TryEach(zones, backoff=exponential(0.01), provides="zone")
    quota = check_quota.bind(zone)
    tier = choose_tier.bind(quota)
    machine = switch(tier, {"small": make_small, "large": make_large})
    return linear(quota, tier, machine, returns=machine, retry=zone)


@app.flow
def alarm(zone: str) -> Flow[None]:
    quota = check_quota.bind(zone)
    return graph(quota, page_operator, link(quota, page_operator, when=lambda left: left < 2, depth="atom"))


if __name__ == "__main__":
    run = app.run(provision(["a", "b"]))
    assert_type(run.result, str)
    print(run.result)
    app.run(alarm("b"))
    app.run(alarm("c"))
