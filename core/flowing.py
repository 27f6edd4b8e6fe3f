"""The fold's way forward: what becomes ready when something is done, what stops when it fails, what a reset does.

Part of `evolve`: nothing here is called from anywhere else but the fold.
"""

from __future__ import annotations

from bisect import insort
from collections.abc import Collection, Iterable

from . import growing
from .actions import CONTROL, Kind
from .plan import RUN
from .state import Received, State
from .states import ATOM, RUN_SCOPE, SCOPE

# What a failing scope takes away from the nodes in it. Reverts stay: what has begun to be undone is undone (D1).
_STOPPED: frozenset[Kind | None] = frozenset(
    {"Start", "StartRound", "AskRetry", "RevertScope", "ResetScope", "AskBranch", "Skip", "Expand"}
)


# -- the agenda ---------------------------------------------------------------------------------


def on_agenda(state: State, number: int, kind: Kind, lane: str = CONTROL) -> None:
    """Enable an action, unless a scope around the node is failing (rule 4 of `core.states`)."""
    scope = state.plan.nodes[number].scope
    if number == RUN or may_start(state, scope):
        state.agenda.add(number, kind, lane)
        if number != RUN:
            members = state.members.get(scope)
            if members is None:
                members = state.members[scope] = set()
            members.add(number)


def off_agenda(state: State, number: int) -> None:
    """Nothing is enabled for the node any more."""
    state.agenda.drop(number)
    members = state.members.get(state.plan.nodes[number].scope)
    if members is not None:
        members.discard(number)


def may_start(state: State, scope: int) -> bool:
    """Whether the scope and every scope around it is RUNNING."""
    states, nodes = state.states, state.plan.nodes
    while scope != RUN:
        if states[scope] != "RUNNING":
            return False
        scope = nodes[scope].scope
    return states[RUN] == "RUNNING"


# -- forward ------------------------------------------------------------------------------------


def touch(state: State, number: int) -> None:
    """Remember that the node, and so the flows around it, are no longer as they were at the start."""
    nodes, touched = state.plan.nodes, state.touched
    while number != RUN:
        parent = nodes[number].parent
        siblings = touched.get(parent)
        if siblings is not None:
            siblings[number] = None
            return
        touched[parent] = {number: None}
        if nodes[parent].retry is not None:
            return  # it was touched itself when its round began
        number = parent


def open_flow(state: State, flow: int) -> None:
    """The flow's turn has come: its first children are ready; an empty flow is done."""
    done: list[int] = []
    ready: list[int] = []
    _open(state, flow, done, ready)
    _spread(state, done, ready)


def go_on(state: State, number: int) -> None:
    """The node's turn has come, and what stood before it is settled: it was asked about, or it has been expanded."""
    _spread(state, [], [number])


def node_done(state: State, number: int) -> None:
    """The node is done: so may be its successors' waiting, its flow, the flows around it, the run."""
    _spread(state, [number], [])


def _spread(state: State, done: list[int], ready: list[int]) -> None:
    """Follow what is done and what is ready until nothing more follows. A worklist: flows may nest deeply."""
    while True:
        if ready:
            _ready(state, ready.pop(), done, ready)
        elif done:
            _done(state, done.pop(), done, ready)
        else:
            return


def _open(state: State, flow: int, done: list[int], ready: list[int]) -> None:
    children, blockers = state.plan.nodes[flow].children, state.blockers
    if children:
        ready.extend([child for child in children if blockers[child] == 0])
        return
    if flow != RUN:
        touch(state, flow)  # its successors' counters move: a reset must visit it
    done.append(flow)


def _ready(state: State, number: int, done: list[int], ready: list[int]) -> None:
    node = state.plan.nodes[number]
    if state.kept and number in state.kept:
        done.append(number)
    elif number in state.doomed:
        on_agenda(state, number, "Skip")
    elif node.conditions and number not in state.decided:
        on_agenda(state, number, "AskBranch")
    elif node.task is not None:
        on_agenda(state, number, "Start", node.lane)
    elif node.expansion is not None and not node.expanded:
        on_agenda(state, number, "Expand")
    elif node.retry is not None and state.states[number] != "DONE":  # it is, where all that is in it is kept
        on_agenda(state, number, "StartRound")
    else:
        if node.retry is not None:
            touch(state, number)  # a reset must visit it, and no round of it begins that would have said so
        _open(state, number, done, ready)


def _done(state: State, number: int, done: list[int], ready: list[int]) -> None:
    node = state.plan.nodes[number]
    if node.task is None:
        _flow_done(state, number)
    if number == RUN:
        return
    if not state.standing[number]:
        state.hollow[number] = None
    blockers, open_children = state.blockers, state.open_children
    for after in node.succs:
        blockers[after] -= 1
        if blockers[after] == 0:
            ready.append(after)
    open_children[node.parent] -= 1
    if open_children[node.parent] == 0:
        done.append(node.parent)


def _flow_done(state: State, number: int) -> None:
    node = state.plan.nodes[number]
    if number == RUN:
        if state.states[RUN] == "RUNNING":
            state.states[RUN] = RUN_SCOPE["RUNNING"]["done"]
            state.agenda.add(RUN, "End")
    elif node.retry is not None and state.states[number] == "RUNNING":
        state.states[number] = SCOPE["RUNNING"]["done"]
        live = state.live_scopes.get(node.scope)
        if live is not None:
            live.discard(number)


def close(state: State) -> None:
    """The run is done, whatever its plan holds that never had a turn: that counts as skipped (E8)."""
    state.states[RUN] = RUN_SCOPE["RUNNING"]["done"]
    state.agenda.clear()
    state.members.clear()
    stack = [RUN]
    while stack:
        flow = stack.pop()
        touched = state.touched.get(flow, {})
        state.skipped.update(child for child in state.plan.nodes[flow].children if child not in touched)
        stack.extend(touched)


# -- failing and draining -----------------------------------------------------------------------


def fail_scope(state: State, scope: int) -> None:
    """Something in the scope failed for good: it drains (D1), and is settled once nothing runs in it."""
    table = RUN_SCOPE if scope == RUN else SCOPE
    if state.states[scope] == "RUNNING":
        state.states[scope] = table["RUNNING"]["failing"]
        _freeze(state, scope)
    settle(state, scope)


def _freeze(state: State, scope: int) -> None:
    """Nothing starts any more in the scope and in the scopes inside; what waits there ends at once."""
    stack, waiting = [scope], list[int]()
    while stack:
        scope = stack.pop()
        members = state.members.get(scope)
        if members:
            for number in [n for n in members if state.agenda.kind(n) in _STOPPED]:
                off_agenda(state, number)
        waiting.extend(state.waiting.pop(scope, ()))
        for inner in state.live_scopes.get(scope, ()):
            state.due.pop(inner, None)  # a back-off between rounds
            stack.append(inner)
    end_waits(state, waiting)


def end_waits(state: State, numbers: Collection[int]) -> None:
    """Waiting atoms whose scope drains."""
    for number in numbers:
        state.due.pop(number, None)
        state.states[number] = ATOM["WAITING"]["drained"]
    unlisten(state, numbers)


def busier(state: State, scope: int) -> None:
    """One more body, busy scope or revert in the scope."""
    nodes, busy = state.plan.nodes, state.busy
    while True:
        busy[scope] = count = busy.get(scope, 0) + 1
        if count > 1 or scope == RUN:
            return
        scope = nodes[scope].scope


def calmer(state: State, scope: int) -> None:
    """One less; a failing scope in which nothing is left is settled."""
    nodes, busy = state.plan.nodes, state.busy
    while True:
        busy[scope] -= 1
        if busy[scope]:
            return
        if state.states[scope] == "DRAINING":
            settle(state, scope)
        if scope == RUN:
            return
        scope = nodes[scope].scope


def settle(state: State, scope: int) -> None:
    """A drained scope is asked (D2); the drained run answers by its on_failure, or ends if a revert failed (D3, D5)."""
    if state.states[scope] != "DRAINING" or state.busy.get(scope):
        return
    if scope != RUN:
        on_agenda(state, scope, "AskRetry")
    elif state.broken or _keeps(state):
        state.agenda.add(RUN, "End")
    else:
        state.agenda.add(RUN, "RevertScope")


def _keeps(state: State) -> bool:
    """Whether a run that has failed, or was given up, keeps what stands (D3, G4)."""
    return state.on_failure == "stop" if state.cancelled is None else state.cancelled == "keep"


# -- signals ------------------------------------------------------------------------------------


def signal_came(state: State, name: str, signal: Received) -> None:
    """A signal is there (again): whoever has waited longest takes it, or it waits for somebody (F4)."""
    _put_back(state, name, signal)
    _offer(state, name)


def listen(state: State, number: int, name: str) -> None:
    """The atom waits for a signal, unless one is there."""
    state.listening.setdefault(name, {})[number] = None
    _offer(state, name)


def unlisten(state: State, numbers: Iterable[int]) -> None:
    """The atoms wait for no signal any more. What they were offered and have not taken is for others.

    All of it is there before the first is offered: the oldest is for whoever has waited longest (F4).
    """
    names = dict[str, None]()
    for number in numbers:
        task = state.plan.nodes[number].task
        if task is None or task.signal is None:
            continue
        names[task.signal.name] = None
        state.listening.get(task.signal.name, {}).pop(number, None)
        signal = state.offered.pop(number, None)
        if signal is not None:
            _put_back(state, task.signal.name, signal)
    for name in names:
        _offer(state, name)


def _put_back(state: State, name: str, signal: Received) -> None:
    insort(state.signals.setdefault(name, []), signal, key=lambda received: received.version)


def _offer(state: State, name: str) -> None:
    queue, listening = state.signals.get(name), state.listening.get(name)
    while queue and listening:
        number = next(iter(listening))
        del listening[number]
        state.offered[number] = queue.pop(0)
        on_agenda(state, number, "Start")
    if not queue:
        state.signals.pop(name, None)
    if not listening:
        state.listening.pop(name, None)


# -- reset --------------------------------------------------------------------------------------


def reset_below(state: State, scope: int) -> None:
    """All of the scope is as it was before its first round, in the next try; only what was touched is visited."""
    nodes = state.plan.nodes
    stack, expanded = [scope], list[int]()
    while stack:
        flow = stack.pop()
        state.open_children[flow] = len(nodes[flow].children)
        _forget_scope(state, flow)
        for child in state.touched.pop(flow, ()):
            state.kept.discard(child)
            _reset_blockers(state, child)
            _reset_branch(state, child)
            node = nodes[child]
            if node.task is not None:
                reset_atom(state, child)
                continue
            state.failures.pop(child, None)  # of a predicate, or of an expansion
            if node.retry is not None:
                reset_inner_scope(state, child)
            if node.expanded:
                expanded.append(child)
            stack.append(child)
    for flow in expanded:
        growing.drop(state, flow)


def _reset_blockers(state: State, number: int) -> None:
    nodes, blockers = state.plan.nodes, state.blockers
    blockers[number] = len(nodes[number].preds)
    for after in nodes[number].succs:
        blockers[after] = len(nodes[after].preds)


def _reset_branch(state: State, number: int) -> None:
    """The node is neither skipped nor decided about, nor is what a *no* took along outside the scope."""
    state.hollow.pop(number, None)
    state.skipped.discard(number)
    forget_verdict(state, number)


def forget_verdict(state: State, number: int) -> None:
    """The node's predicates are asked again; what it took along is not doomed by it any more."""
    state.decided.pop(number, None)
    for doomed in state.skips.pop(number, ()):
        state.doomed[doomed] -= 1
        if not state.doomed[doomed]:
            del state.doomed[doomed]


def _forget_scope(state: State, flow: int) -> None:
    for per_scope in (state.failed, state.waiting, state.members, state.live_scopes, state.busy, state.open_reverts):
        per_scope.pop(flow, None)


def reset_inner_scope(state: State, scope: int) -> None:
    """The scope is as before its first round."""
    state.states[scope] = SCOPE[state.states[scope]]["reset"]
    off_agenda(state, scope)
    for per_scope in (state.rounds, state.history, state.retry_errors, state.backoff_s, state.due):
        per_scope.pop(scope, None)


def reset_atom(state: State, number: int) -> None:
    """The atom is as at the start, in its next try."""
    state.states[number] = ATOM[state.states[number]]["reset"]
    state.tries[number] += 1
    state.attempts[number] = 0
    for per_atom in (
        state.results, state.failures, state.failure_counts, state.known_failures, state.interruptions, state.polls,
        state.late, state.first_started_us, state.ended, state.revert_attempts, state.revert_errors,
        state.revert_failures, state.revert_interruptions, state.revert_scope, state.due, state.held, state.resolved,
        state.known_revert_failures,
    ):  # fmt: skip
        per_atom.pop(number, None)
