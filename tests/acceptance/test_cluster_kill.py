"""Killed (-9) at a random moment and run again: every node has exactly one process, or none after a revert."""

from __future__ import annotations

import random
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from examples.cluster.models import Cluster, Node
from examples.cluster.processes import servers_in
from tests.acceptance.cluster_runs import Driver, World, new_world
from tests.acceptance.cluster_world import eventually, processes_per_node

RUNS = 20
EVENTS_OF_THE_SHORTEST_RUN = 16
killed_half_way: list[bool] = []  # of each run, in the order they came


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    with new_world(tmp_path) as world:
        yield world


def small_cluster(chance: random.Random) -> Cluster:
    """Two or three nodes that warm up fast; some fail once, and every third cluster cannot be configured."""
    nodes = [
        Node(name=f"node-{number}", warm_up_s=0.05, fail_times=chance.choice([0, 0, 1]))
        for number in range(1, chance.choice([2, 3]) + 1)
    ]
    return Cluster(nodes=nodes, fail_configure=chance.random() < 1 / 3)


def kill_at_random(world: World, driver: Driver, chance: random.Random) -> bool:
    """Kill a driver (-9) some time after it has written some more events; False if it ended before."""
    wanted = world.events_so_far() + chance.randrange(1, EVENTS_OF_THE_SHORTEST_RUN)
    eventually(lambda: world.events_so_far() >= wanted or not driver.process.is_alive(), within_s=30)
    time.sleep(chance.uniform(0, 0.05))  # not for anything: the moment shall be any, not just after a commit
    return driver.kill()


@pytest.mark.crash
@pytest.mark.parametrize("seed", range(RUNS))
def test_b3_a_killed_run_goes_on_and_no_server_is_doubled(world: World, seed: int) -> None:
    # Given a run, killed at a random moment, once or twice
    chance = random.Random(seed)
    cluster = small_cluster(chance)
    kills = chance.choice([1, 2])  # three interruptions in one try would park it (C6)
    killed = [kill_at_random(world, world.start(cluster), chance) for _ in range(kills)]
    killed_half_way.append(killed[0])

    # When it is run again with the same key
    code, out = world.run(cluster)

    # Then it ends as if nothing had happened
    if cluster.fail_configure:
        assert (code, world.run_states()) == (1, ["REVERTED"]), out
        world.expect_nothing()
    else:
        assert (code, world.run_states()) == (0, ["SUCCEEDED"]), out
        world.expect_whole(cluster)
        made = world.events("TaskSucceeded", "%/create_server")
        wanted = {f"create_cluster/servers/{node.name}/create_server": node.fail_times + 1 for node in cluster.nodes}
        assert made == wanted


@pytest.mark.crash
def test_the_runs_above_were_killed_half_way() -> None:
    if not killed_half_way:
        pytest.skip("the runs were left out, or another process had them")
    assert sum(killed_half_way) >= 0.75 * len(killed_half_way)


def test_c5_a_server_whose_outcome_was_lost_is_found_again(world: World) -> None:
    # Given a run that was killed as soon as its server's process was there, before anybody had noted it
    cluster = Cluster(nodes=[Node(name="a", warm_up_s=0)])
    driver = world.start(cluster)
    eventually(lambda: processes_per_node(world.directory), what="a first process")
    assert driver.kill()
    eventually(lambda: world.cloud.homes.state("a"), what="the server has spoken")
    eventually(lambda: processes_per_node(world.directory) == {"a": 1}, what="what started it has gone")
    orphans = servers_in(world.directory)

    # When the run goes on
    code, out = world.run(cluster)

    # Then it takes up that very process
    assert code == 0, out
    assert servers_in(world.directory) == orphans


def test_b1_two_engines_resuming_one_run_one_wins_and_nothing_is_doubled(world: World) -> None:
    # Given a run that was killed when its first server had come up
    cluster = Cluster(nodes=[Node(name="a", warm_up_s=1), Node(name="b", warm_up_s=1)])
    driver = world.start(cluster)
    eventually(lambda: processes_per_node(world.directory), what="a first server")
    assert driver.kill()

    # When two processes resume it at the same time
    rivals = [world.start(cluster), world.start(cluster)]
    (won, _), (lost, complaint) = sorted(rival.end() for rival in rivals)

    # Then one drives it to its end, the other is refused
    assert (won, lost) == (0, 4), complaint
    assert "FL407" in complaint
    assert world.run_states() == ["SUCCEEDED"]
    world.expect_whole(cluster)
    assert set(world.events("TaskSucceeded").values()) == {1}
