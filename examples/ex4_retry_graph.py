"""Attempts, a retry whose value is used, a graph, and what a failure for good does to all of it.

python -m examples.ex4_retry_graph
"""

from typing import Literal, assert_type

from flowledger import App, Flow, Permanent, Times, constant, graph, linear, link

app = App("quota")
Tier = Literal["small", "large"]

ZONES: tuple[str, ...] = ("full", "full-too", "empty")


@app.task(timeout=30, attempts=3, retry_on=(TimeoutError, OSError), read_only=True, provides="quota")
def check_quota(round: int) -> int:  # noqa: A002 - the name the retry gives its value
    zone = ZONES[round - 1]
    if zone == "forbidden":
        raise Permanent("no such zone")
    if zone.startswith("full"):
        raise ValueError(f"zone {zone} is full")
    return 7


@app.task(read_only=True)
def choose_tier(quota: int) -> Tier:
    return "large" if quota > 5 else "small"


@app.task
def make_machine(tier: Tier) -> str:
    return f"machine-{tier}"


@make_machine.revert
def delete_machine(result: str | None) -> None:
    print(f"deleting {result}")


@app.task(read_only=True)
def announce() -> None:
    print("a machine is coming")


@app.flow
def provision() -> Flow[str]:
    retry = Times(3, backoff=constant(0.1), provides="round")
    tier = choose_tier.bind()
    machine = make_machine.bind(tier)
    return graph(
        linear(check_quota, retry=retry, name="quota"),
        tier,
        machine,
        announce,
        link(announce, machine),
        returns=machine,
    )


if __name__ == "__main__":
    run = app.run(provision())
    assert_type(run.result, str)
    print(run.result)
