"""A piece that is a flow of its own, used for each node of a cluster; a resource, a revert, a poll, a retry.

python -m examples.ex2_cluster
"""

from collections.abc import Iterator
from typing import assert_type

from pydantic import BaseModel

from flowledger import App, Flow, NotReady, TaskContext, Times, exponential, linear


class Node(BaseModel):
    name: str


class Cluster(BaseModel):
    nodes: list[Node]


class Cloud:
    """A cloud that makes servers out of nothing; they are ready when asked for the second time."""

    def __init__(self) -> None:
        self.servers: dict[str, int] = {}

    def create(self, node: Node, *, token: str) -> str:
        server_id = f"{node.name}-{token[:8]}"  # the same token makes the same server
        self.servers.setdefault(server_id, 0)
        return server_id

    def delete(self, server_id: str) -> None:
        self.servers.pop(server_id, None)

    async def ready(self, server_id: str) -> bool:
        self.servers[server_id] += 1
        return self.servers[server_id] > 1

    def close(self) -> None:
        self.servers.clear()


app = App("provisioning")


@app.resource
def cloud() -> Iterator[Cloud]:
    client = Cloud()
    yield client
    client.close()


@app.task(provides="server_id", attempts=3, backoff=exponential(1, max=30))
def create_server(node: Node, cloud: Cloud, ctx: TaskContext) -> str:
    return cloud.create(node, token=ctx.idempotency_key)


@create_server.revert
def delete_server(cloud: Cloud, server_id: str | None) -> None:  # None: never made, or unknown
    if server_id is not None:
        cloud.delete(server_id)


@app.task(deadline=600, read_only=True)
async def wait_for_server(server_id: str, cloud: Cloud) -> None:
    if not await cloud.ready(server_id):
        raise NotReady(retry_after=0.1)


@app.task(read_only=True)
def configure_cluster(cluster: Cluster, server_ids: list[str]) -> None:
    print(f"{len(cluster.nodes)} nodes on {', '.join(server_ids)}")


@app.flow(label="{node.name}")
def add_node(node: Node) -> Flow[str]:
    server = create_server.bind(node)
    return linear(server, wait_for_server, returns=server, retry=Times(5))


@app.flow
def create_cluster(cluster: Cluster) -> Flow[list[str]]:
    servers = add_node.each(cluster.nodes).named("servers")
    return linear(servers, configure_cluster.bind(cluster, servers), returns=servers)


async def test_wait() -> None:
    with cloud.override(Cloud()) as fake:  # for tests: the same object for all, and nothing else is made
        assert_type(fake, Cloud)
        made = app.run(create_cluster(Cluster(nodes=[Node(name="c")]))).result
        assert list(fake.servers) == made
        await wait_for_server(made[0], fake)  # a body is a function, also where a flow waits for it again and again


if __name__ == "__main__":
    run = app.run(create_cluster(Cluster(nodes=[Node(name="a"), Node(name="b")])), key="c-42")
    assert_type(run.result, list[str])
    print(run.result)
