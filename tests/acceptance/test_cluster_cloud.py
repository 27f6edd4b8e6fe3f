"""The cloud of examples/cluster, with real processes: made once and taken away, whoever is killed meanwhile."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

from examples.cluster import cloud as cloud_module
from examples.cluster import homes as homes_module
from examples.cluster.cloud import Cloud, NameTaken, PeersUnconfirmed, ServerDidNotStart, ServerUnhealthy
from examples.cluster.homes import Claim
from examples.cluster.models import Node
from examples.cluster.processes import servers_in
from tests.acceptance.cluster_world import eventually, leftovers, no_server_left_behind, processes_per_node

OWNER = "run-1/create_cluster/servers/node-1/create_server"
NODE = Node(name="node-1", warm_up_s=0)
CRASH_POINTS = 24

# The fork is killed before it could miss a thread of its parent.
pytestmark = pytest.mark.filterwarnings("ignore:.*multi-threaded.*:DeprecationWarning")


@pytest.fixture
def cloud(tmp_path: Path) -> Iterator[Cloud]:
    with no_server_left_behind(tmp_path):
        yield Cloud(tmp_path)


# -- create -----------------------------------------------------------------------------------------


def test_the_same_token_gives_the_same_process(cloud: Cloud) -> None:
    # Given a server
    server_id = cloud.create(NODE, token="t", owner=OWNER)
    before = servers_in(cloud.directory)

    # When it is created again, by a client that has never seen it
    again = Cloud(cloud.directory).create(NODE, token="t", owner=OWNER)

    # Then it is the very same process
    assert again == server_id
    assert servers_in(cloud.directory) == before
    assert len(before) == 1


def test_four_processes_creating_at_once_make_one_server(cloud: Cloud) -> None:
    # Given four programs that all want the same server
    creators = [_creator(cloud.directory) for _ in range(4)]

    # When all have ended
    answers = [(creator.communicate(timeout=60)[0].strip(), creator.returncode) for creator in creators]

    # Then all were told the same id, and there is one process
    assert {code for _, code in answers} == {0}
    assert len({server_id for server_id, _ in answers}) == 1
    assert processes_per_node(cloud.directory) == {"node-1": 1}


def test_a_server_outlives_its_creator_and_is_found_by_its_token(cloud: Cloud) -> None:
    # Given a server whose creator has been killed, with all of its process group
    creator = _creator(cloud.directory, then_wait=True)
    assert creator.stdout is not None
    server_id = creator.stdout.readline().strip()
    os.killpg(creator.pid, signal.SIGKILL)
    creator.communicate(timeout=10)

    # When the server is created again
    pids = [process.pid for process in servers_in(cloud.directory)]
    again = cloud.create(NODE, token="t", owner=OWNER)

    # Then nothing new was started
    assert again == server_id
    assert [process.pid for process in servers_in(cloud.directory)] == pids
    assert cloud.ready_now(again)


@pytest.mark.crash
def test_a_creator_killed_at_any_line_leaves_nothing_that_a_second_one_doubles(cloud: Cloud) -> None:
    # Given every line a creator runs, the start of the process included
    lines = _lines_run_by(lambda: cloud.create(NODE, token="t", owner=OWNER))
    cloud.delete("node-1", owner=OWNER)

    for line in _some(lines):
        # When a creator is killed there, and another one comes
        _run_and_kill(lambda: cloud.create(NODE, token="t", owner=OWNER), at_line=line)
        server_id = cloud.create(NODE, token="t", owner=OWNER)

        # Then the node has one process, which answers
        eventually(lambda: processes_per_node(cloud.directory) == {"node-1": 1}, what=f"one process, line {line}")
        assert cloud.ready_now(server_id)
        assert leftovers(cloud.directory) == ["node-1"]
        cloud.delete("node-1", owner=OWNER)


@pytest.mark.crash
def test_a_creator_killed_at_any_line_is_undone_by_its_owner(cloud: Cloud) -> None:
    # Given every line a creator runs
    lines = _lines_run_by(lambda: cloud.create(NODE, token="t", owner=OWNER))
    cloud.delete("node-1", owner=OWNER)

    for line in _some(lines):
        # When a creator is killed there, and a revert, which knows no id, deletes
        _run_and_kill(lambda: cloud.create(NODE, token="t", owner=OWNER), at_line=line)
        cloud.delete("node-1", owner=OWNER)

        # Then nothing is left, and nothing comes up later
        eventually(lambda: processes_per_node(cloud.directory) == {}, what=f"no process, line {line}")
        assert leftovers(cloud.directory) == []


def test_a_server_that_died_is_started_anew_and_its_old_words_are_not_believed(cloud: Cloud) -> None:
    # Given a server that was killed, and what it had written
    server_id = cloud.create(NODE, token="t", owner=OWNER)
    old = servers_in(cloud.directory)[0].pid
    os.kill(old, signal.SIGKILL)
    eventually(lambda: not servers_in(cloud.directory))
    with pytest.raises(ServerUnhealthy, match="does not answer"):
        cloud.ready_now(server_id)

    # When it is created with the same token
    assert cloud.create(NODE, token="t", owner=OWNER) == server_id

    # Then there is one new process
    assert [process.pid != old for process in servers_in(cloud.directory)] == [True]
    assert cloud.ready_now(server_id)


def test_a_name_belongs_to_one_owner(cloud: Cloud) -> None:
    cloud.create(NODE, token="t", owner=OWNER)

    with pytest.raises(NameTaken, match="node-1 is taken by run-1"):
        cloud.create(NODE, token="other", owner="run-2/add_node/create_server")

    assert processes_per_node(cloud.directory) == {"node-1": 1}


def test_a_new_token_of_the_same_owner_replaces_what_the_failed_attempt_left(cloud: Cloud) -> None:
    first = cloud.create(NODE, token="attempt-1", owner=OWNER)

    second = cloud.create(NODE, token="attempt-2", owner=OWNER)

    assert second != first
    assert [process.server_id for process in servers_in(cloud.directory)] == [second]


def test_a_server_that_cannot_start_says_why(cloud: Cloud, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cloud_module, "SERVER_PROGRAM", cloud.directory / "server.py")  # there is no such program

    with pytest.raises(ServerDidNotStart, match="No such file"):
        cloud.create(NODE, token="t", owner=OWNER)


def test_a_port_is_a_wish(cloud: Cloud) -> None:
    # Given two nodes that wish for the same port
    first = cloud.create(Node(name="a"), token="a", owner="a")
    port = int(cloud.url(first).rpartition(":")[2])

    second = cloud.create(Node(name="b", port=port, warm_up_s=0), token="b", owner="b")

    assert cloud.url(second) != cloud.url(first)
    assert cloud.ready_now(second)


# -- delete -----------------------------------------------------------------------------------------


def test_deleting_twice_or_what_never_was_is_fine(cloud: Cloud) -> None:
    cloud.create(NODE, token="t", owner=OWNER)

    cloud.delete("node-1", owner=OWNER)
    assert servers_in(cloud.directory) == []
    assert leftovers(cloud.directory) == []

    cloud.delete("node-1", owner=OWNER)
    cloud.delete("never-made", owner=OWNER)


def test_deleting_leaves_alone_what_belongs_to_others(cloud: Cloud) -> None:
    cloud.create(NODE, token="t", owner=OWNER)

    cloud.delete("node-1", owner="run-2/add_node/create_server")

    assert processes_per_node(cloud.directory) == {"node-1": 1}


def test_a_server_that_does_not_listen_to_sigterm_is_killed(cloud: Cloud, monkeypatch: pytest.MonkeyPatch) -> None:
    # Given a server that is stopped in the middle of everything
    monkeypatch.setattr(cloud_module, "TERM_TIMEOUT_S", 0.1)
    cloud.create(NODE, token="t", owner=OWNER)
    os.kill(servers_in(cloud.directory)[0].pid, signal.SIGSTOP)

    cloud.delete("node-1", owner=OWNER)

    assert servers_in(cloud.directory) == []
    assert leftovers(cloud.directory) == []


def test_a_pid_in_a_file_is_never_killed(cloud: Cloud) -> None:
    # Given a state file whose pid belongs to somebody else by now
    cloud.create(NODE, token="t", owner=OWNER)
    bystander = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    state_file = cloud.homes.path("node-1") / "state.json"
    state = json.loads(state_file.read_text())
    state_file.write_text(json.dumps(state | {"pid": bystander.pid}))

    # When the server is deleted
    cloud.delete("node-1", owner=OWNER)

    # Then the server is gone and the bystander still waits for its input
    assert servers_in(cloud.directory) == []
    bystander.communicate(b"\n", timeout=10)
    assert bystander.returncode == 0


@pytest.mark.crash
def test_a_deleter_killed_at_any_line_is_finished_by_the_next(cloud: Cloud) -> None:
    # Given every line a deleter runs
    cloud.create(NODE, token="t", owner=OWNER)
    lines = _lines_run_by(lambda: cloud.delete("node-1", owner=OWNER))

    for line in _some(lines):
        # When a deleter is killed there, and another one comes
        cloud.create(NODE, token="t", owner=OWNER)
        _run_and_kill(lambda: cloud.delete("node-1", owner=OWNER), at_line=line)
        cloud.delete("node-1", owner=OWNER)

        # Then nothing is left
        assert servers_in(cloud.directory) == []
        assert leftovers(cloud.directory) == []


def _create_unless_deleted(cloud: Cloud) -> None:
    with suppress(ServerDidNotStart):  # it was stopped while it came up
        cloud.create(NODE, token="t", owner=OWNER)


def test_creating_and_deleting_at_once_ends_with_all_or_nothing(cloud: Cloud) -> None:
    for _ in range(5):
        # When a creator and a deleter of one server run at the same time
        creating = threading.Thread(target=_create_unless_deleted, args=(cloud,))
        deleting = threading.Thread(target=cloud.delete, args=("node-1",), kwargs={"owner": OWNER})
        creating.start()
        deleting.start()
        creating.join()
        deleting.join()

        # Then there is a directory exactly if there is a process
        alive = processes_per_node(cloud.directory)
        assert leftovers(cloud.directory) == list(alive)
        assert alive in ({}, {"node-1": 1})
        cloud.delete("node-1", owner=OWNER)
        assert leftovers(cloud.directory) == []


# -- asking -----------------------------------------------------------------------------------------


def test_a_server_is_not_ready_while_it_warms_up(cloud: Cloud) -> None:
    server_id = cloud.create(Node(name="node-1", warm_up_s=0.3), token="t", owner=OWNER)

    assert not cloud.ready_now(server_id)

    eventually(lambda: cloud.ready_now(server_id))


def test_a_server_that_will_never_be_healthy_says_so(cloud: Cloud) -> None:
    server_id = cloud.create(NODE, token="t", owner=OWNER, healthy=False)

    with pytest.raises(ServerUnhealthy, match="health check said 503"):
        cloud.ready_now(server_id)


def test_each_member_confirms_all_members_over_http(cloud: Cloud) -> None:
    ids = [cloud.create(Node(name=name), token=name, owner=name) for name in ("a", "b", "c")]

    confirmed = cloud.configure(ids)

    assert confirmed == {server_id: ["a", "b", "c"] for server_id in ids}
    assert all(cloud.peers(server_id) == {i[0]: cloud.url(i) for i in ids} for server_id in ids)
    assert json.loads((cloud.homes.path("a") / "state.json").read_text())["peers"] == cloud.peers(ids[0])


def test_a_member_nobody_reaches_is_refused_and_nothing_is_changed(cloud: Cloud) -> None:
    server_id = cloud.create(NODE, token="t", owner=OWNER)
    cloud.configure([server_id])

    with pytest.raises(PeersUnconfirmed, match="cannot confirm ghost"):
        cloud.configure([server_id], strangers={"ghost": "http://127.0.0.1:1"})
    with pytest.raises(PeersUnconfirmed, match="is node-1"):
        cloud.configure([server_id], strangers={"impostor": cloud.url(server_id)})

    assert cloud.peers(server_id) == {"node-1": cloud.url(server_id)}


# -- the server program alone -------------------------------------------------------------------------


def test_a_second_server_in_a_directory_refuses_to_run(cloud: Cloud) -> None:
    cloud.create(NODE, token="t", owner=OWNER)
    program = [sys.executable, str(cloud_module.SERVER_PROGRAM), "--dir", str(cloud.homes.path("node-1"))]

    second = subprocess.run([*program, "--name", "node-1", "--id", "x"], capture_output=True, text=True, check=False)

    assert second.returncode == 3
    assert "already has a server" in second.stderr


def test_a_draft_swept_away_is_drafted_again(cloud: Cloud) -> None:
    # Given what a creator left that was killed while it drafted
    draft = cloud.homes.servers_dir / ".new-node-1.0123"
    draft.mkdir(parents=True)
    assert cloud.homes.claim("node-1") is None

    assert cloud.homes.reserve("node-1", Claim(server_id="node-1-x", token="t", owner=OWNER))
    cloud.homes.sweep("node-1")

    assert leftovers(cloud.directory) == ["node-1"]
    assert not cloud.homes.is_alive("node-1")


# -- killing at a line ----------------------------------------------------------------------------------

TRACED = {cloud_module.__file__, homes_module.__file__, subprocess.__file__}


def _some(lines: int) -> list[int]:
    """A seeded choice of the lines to be killed at; CRASH_POINTS in the environment gives more of them."""
    wanted = int(os.environ.get("CRASH_POINTS", CRASH_POINTS))
    return sorted(random.Random(7).sample(range(1, lines + 1), min(wanted, lines)))


def _lines_run_by(act: Callable[[], object]) -> int:
    seen = 0

    def count(frame: FrameType, event: str, arg: Any) -> Any:
        nonlocal seen
        if frame.f_code.co_filename not in TRACED:
            return None
        seen += event == "line"
        return count

    before = sys.gettrace()
    sys.settrace(count)
    try:
        act()
    finally:
        sys.settrace(before)
    assert seen > 20
    return seen


def _run_and_kill(act: Callable[[], object], *, at_line: int) -> None:
    """Run ``act`` in a fork of this process, which kills itself (-9) before the given line."""
    child = os.fork()
    if child == 0:
        seen = 0

        def kill(frame: FrameType, event: str, arg: Any) -> Any:
            nonlocal seen
            if frame.f_code.co_filename not in TRACED:
                return None
            seen += event == "line"
            if seen == at_line:
                os.kill(os.getpid(), signal.SIGKILL)
            return kill

        sys.settrace(kill)
        act()
        os._exit(0)  # it took fewer lines than last time
    os.waitpid(child, 0)


def _creator(directory: Path, *, then_wait: bool = False) -> subprocess.Popen[str]:
    program = (
        "import sys, pathlib\n"
        "from examples.cluster.cloud import Cloud\n"
        "from examples.cluster.models import Node\n"
        "node = Node(name='node-1', warm_up_s=0)\n"
        f"print(Cloud(pathlib.Path(sys.argv[1])).create(node, token='t', owner={OWNER!r}), flush=True)\n"
        + ("sys.stdin.read()\n" if then_wait else "")
    )
    return subprocess.Popen(
        [sys.executable, "-c", program, str(directory)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
        cwd=Path(__file__).parents[2],
    )
