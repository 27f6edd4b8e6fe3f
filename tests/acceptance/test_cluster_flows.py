"""The main job: a cluster of real servers is provisioned, or undone, and says so in the log."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from pydantic import ValidationError

from examples.cluster.models import Cluster, Node, read_cluster
from tests.acceptance.cluster_runs import World, new_world

EXAMPLE = Path(__file__).parents[2] / "examples" / "cluster"


def any_port(cluster: Cluster) -> Cluster:
    """The same cluster on free ports: a test takes no port from anybody."""
    return cluster.model_copy(update={"nodes": [node.model_copy(update={"port": 0}) for node in cluster.nodes]})


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    with new_world(tmp_path) as world:
        yield world


def test_five_nodes_come_up_although_one_fails_twice(world: World) -> None:
    # Given the cluster of `make demo`
    cluster = any_port(read_cluster(EXAMPLE / "cluster.json"))

    # When it is provisioned
    code, out = world.run_as_users_do(cluster)

    # Then it stands: one process per node, all peers confirmed
    assert (code, world.run_states()) == (0, ["SUCCEEDED"]), out
    assert out.count("5 peers confirmed") == 5
    world.expect_whole(cluster)

    # And the log tells that node-3 took three tries and the others one
    tries = world.events("TaskStarted", "%/create_server")
    assert sorted(tries.values()) == [1, 1, 1, 1, 3]
    assert tries["create_cluster/servers/node-3/create_server"] == 3
    assert sum(world.events("TaskReverted", "%/create_server").values()) == 2


def test_d3_a_cluster_that_cannot_be_configured_leaves_nothing_standing(world: World) -> None:
    # Given a description whose configure step fails for good
    cluster = any_port(read_cluster(EXAMPLE / "broken.json"))

    code, out = world.run(cluster)

    # Then all of it is undone, and the failure says why
    assert (code, world.run_states()) == (1, ["REVERTED"]), out
    assert "cannot confirm ghost" in out
    world.expect_nothing()


def test_d6_a_node_that_always_fails_is_tried_five_times_and_then_all_is_undone(world: World) -> None:
    cluster = Cluster(nodes=[Node(name="good", warm_up_s=0), Node(name="bad", warm_up_s=0, fail_times=99)])

    code, out = world.run(cluster)

    assert (code, world.run_states()) == (1, ["REVERTED"]), out
    assert world.events("TaskStarted", "%/bad/create_server").total() == 5
    world.expect_nothing()


def test_g8_the_same_key_again_starts_nothing(world: World) -> None:
    cluster = Cluster(nodes=[Node(name="a", warm_up_s=0), Node(name="b", warm_up_s=0)])
    first = world.run_as_users_do(cluster)
    before = world.events("TaskStarted")

    again = world.run_as_users_do(cluster)

    assert again == first
    assert world.events("TaskStarted") == before
    world.expect_whole(cluster)


REVERT = """
from examples.cluster.flows import app
run = next(app.runs())
run.revert(reason="no longer needed")
print(run.state)
"""


def test_g5_a_standing_cluster_is_reverted_by_another_process_and_leaves_nothing(world: World) -> None:
    # Given a cluster that stands, and whose maker is gone
    cluster = Cluster(nodes=[Node(name="a", warm_up_s=0), Node(name="b", warm_up_s=0, fail_times=1)])
    world.run(cluster)
    world.expect_whole(cluster)

    # When its run is reverted
    code, out = world.python("-c", REVERT)

    # Then all of it is gone
    assert (code, out) == (0, "REVERTED\n")
    world.expect_nothing()


GROW = """
from examples.cluster.flows import add_node, app, grow_cluster
from examples.cluster.models import Node
print(app.run({factory}(Node(name="late", warm_up_s=0))).result)
"""


def test_add_node_is_a_flow_of_its_own(world: World) -> None:
    # Given a cluster that stands
    world.run(Cluster(nodes=[Node(name="a", warm_up_s=0)]))

    # When the piece it was made of is run alone
    code, out = world.python("-c", GROW.format(factory="add_node"))

    # Then there is one more server, which knows nobody yet
    assert code == 0, out
    assert world.cloud.ready_now(out.strip())
    assert world.cloud.peers(out.strip()) == {}
    assert world.run_states() == ["SUCCEEDED", "SUCCEEDED"]


def test_a_standing_cluster_grows_by_the_same_piece(world: World) -> None:
    # Given a cluster that stands
    nodes = [Node(name="a", warm_up_s=0), Node(name="b", warm_up_s=0)]
    world.run(Cluster(nodes=nodes))

    # When it is grown
    code, out = world.python("-c", GROW.format(factory="grow_cluster"))

    # Then each of them, the new one too, has confirmed all
    assert code == 0, out
    world.expect_whole(Cluster(nodes=[*nodes, Node(name="late")]))


def test_growing_by_a_name_that_is_taken_is_undone_and_the_standing_server_stays(world: World) -> None:
    nodes = [Node(name="late", warm_up_s=0)]
    world.run(Cluster(nodes=nodes))

    code, out = world.python("-c", GROW.format(factory="grow_cluster"))

    assert code != 0
    assert "late is taken by" in out
    assert world.run_states() == ["SUCCEEDED", "REVERTED"]
    world.expect_whole(Cluster(nodes=nodes))


def test_a_wrong_description_names_the_field() -> None:
    with pytest.raises(ValidationError, match="given twice: a"):
        Cluster(nodes=[Node(name="a"), Node(name="a")])
    with pytest.raises(ValidationError, match="fail_time"):
        Node.model_validate({"name": "a", "fail_time": 2})
    with pytest.raises(ValidationError, match="name"):
        Node(name="../../etc")
