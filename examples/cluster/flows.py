"""The app: what a node and a cluster are made of, and how each step is undone.

create_cluster(cluster)                     grow_cluster(node)
├ servers: for each node, at once           ├ add_node(node)
│  └ add_node(node), up to 5 tries          │  └ ...
│     ├ create_server      ⇄ delete_server  └ join_cluster     ⇄ leave_cluster
│     └ wait_for_server
└ configure_cluster        ⇄ forget_peers
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress

from flowledger import App, Flow, NotReady, TaskContext, Times, exponential, linear

from .cloud import Cloud, PeersUnconfirmed, ServerDidNotStart
from .models import Cluster, Node
from .processes import work_dir

app = App("cluster")

# A member nobody can confirm, for descriptions that ask for a configure step which fails for good.
GHOST = {"ghost": "http://127.0.0.1:1"}


@app.resource
def cloud() -> Iterator[Cloud]:
    """The cloud of ``$CLUSTER_DIR``."""
    client = Cloud(work_dir())
    yield client
    client.close()


@app.task(provides="server_id", attempts=3, backoff=exponential(0.2, max=2), retry_on=ServerDidNotStart)
def create_server(node: Node, cloud: Cloud, ctx: TaskContext, try_number: int = 1) -> str:
    """Start the server of a node; interrupted and run again, the same token finds the same process."""
    healthy = try_number > node.fail_times
    return cloud.create(node, token=ctx.idempotency_key, owner=_owner(ctx), healthy=healthy)


@create_server.revert
def delete_server(node: Node, cloud: Cloud, ctx: TaskContext) -> None:
    """Stop the server and remove its directory. Found by its owner: after a crash nobody may know its id."""
    cloud.delete(node.name, owner=_owner(ctx))


@app.task(deadline=30, read_only=True)
async def wait_for_server(server_id: str, cloud: Cloud) -> None:
    """Poll the health check until it says 200; a server that will never be healthy fails the node at once."""
    if not await cloud.ready(server_id):
        raise NotReady(retry_after=0.25)


@app.task
def configure_cluster(cluster: Cluster, server_ids: list[str], cloud: Cloud) -> dict[str, list[str]]:
    """Tell each server of all; returns whom each has confirmed over HTTP, by server."""
    return cloud.configure(server_ids, strangers=GHOST if cluster.fail_configure else None)


@configure_cluster.revert
def forget_peers(server_ids: list[str], cloud: Cloud) -> None:
    """Take back what was told, also when only some had been told."""
    for server_id in server_ids:
        with suppress(PeersUnconfirmed):  # gone: it knows nobody any more
            cloud.introduce(server_id, {})


@app.task
def join_cluster(server_id: str, cloud: Cloud) -> dict[str, list[str]]:
    """Tell all that stand of the one that came; returns whom each has confirmed, by server."""
    return cloud.configure({*cloud.standing(), server_id})


@join_cluster.revert
def leave_cluster(server_id: str, cloud: Cloud) -> None:
    """Tell those that stay of each other only."""
    cloud.configure(other for other in cloud.standing() if other != server_id)


@app.flow(label="{node.name}")
def add_node(node: Node) -> Flow[str]:
    """One server, up and healthy; a try that fails is undone and made anew, five times at most."""
    server = create_server.bind(node)
    return linear(server, wait_for_server, returns=server, retry=Times(5, provides="try_number"))


@app.flow
def create_cluster(cluster: Cluster) -> Flow[list[str]]:
    """All servers of a cluster, each knowing all of them."""
    servers = add_node.each(cluster.nodes).named("servers")
    return linear(servers, configure_cluster.bind(cluster, servers), returns=servers)


@app.flow(label="{node.name}")
def grow_cluster(node: Node) -> Flow[str]:
    """One more server for a cluster that stands: the piece it was made of, and an introduction."""
    server = add_node(node)
    return linear(server, join_cluster.bind(server), returns=server)


def _owner(ctx: TaskContext) -> str:
    # The same in each try, in execute and in revert.
    return f"{ctx.run_id}/{ctx.path}"
