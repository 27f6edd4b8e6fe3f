"""Random specs: nested flows at most four deep, at most 25 tasks, failing here and there.

Drawn as plain tuples first and given names, links and arguments after that: so hypothesis can throw parts away when it
shrinks, and a found spec reads t1, t2, f1 … without gaps.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Literal, NamedTuple

from hypothesis import strategies as st

from tests.properties.spec import INPUTS, Attempt, Flow, Part, Pattern, Spec, Task, closed

MOST_TASKS = 25
MOST_DEPTH = 4
OnInterrupt = Literal["rerun", "fail", "hold"]
OnFailure = Literal["revert", "stop"]
SIGNALS = ("a", "b")
ON_FAILURE: list[OnFailure] = ["revert", "revert", "revert", "stop"]


class Leaf(NamedTuple):
    script: tuple[Attempt, ...]
    attempts: int
    undo: Literal["yes", "none", "read_only"]
    reverts: tuple[bool, ...]
    revert_attempts: int
    takes: tuple[int, ...]
    backoff_s: float = 0.0
    sleep_s: float | None = None
    signal: str = ""
    timeout_s: float | None = None
    on_interrupt: OnInterrupt = "rerun"
    transactional: bool = False
    child: Any = None  # a branch
    on_failure: OnFailure = "revert"  # of the child


class Branch(NamedTuple):
    pattern: Pattern
    children: tuple[Any, ...]
    retry: int | None
    revert_all: bool
    links: tuple[tuple[int, int], ...]
    backoff_s: float = 0.0
    late: bool = False


def attempts(*, polls: bool, holds: bool = False) -> st.SearchStrategy[Attempt]:
    ends = st.sampled_from(["ok", "ok", "raise", "raise", "permanent", *(["hold"] if holds else [])])
    return st.builds(Attempt, ends, st.integers(0, 3) if polls else st.just(0))


def leaves(*, polls: bool, reverts_fail: bool, waits: bool = False, people: bool = False) -> st.SearchStrategy[Leaf]:
    seconds = st.sampled_from([0.0, 0.0, 0.5, 20.0]) if waits else st.just(0.0)
    slept = st.sampled_from([None, None, None, None, 1.0, 100.0]) if waits else st.none()
    mostly_ok = st.one_of(
        st.just(()), st.just(()), st.lists(attempts(polls=polls, holds=people), max_size=4).map(tuple)
    )
    sometimes = st.one_of(st.just(()), st.just(()), st.just(()), st.lists(st.booleans(), max_size=3).map(tuple))
    return st.builds(
        Leaf,
        script=mostly_ok,
        attempts=st.sampled_from([1, 1, 1, 2, 3]),
        undo=st.sampled_from(["yes", "yes", "yes", "yes", "none", "read_only"]),
        reverts=sometimes if reverts_fail else st.just(()),
        revert_attempts=st.sampled_from([1, 1, 2]),
        takes=st.lists(st.integers(0, 6), max_size=2).map(tuple),
        backoff_s=seconds,
        sleep_s=slept,
        signal=st.sampled_from(["", "", "", "", "", *SIGNALS]) if people else st.just(""),
        timeout_s=st.sampled_from([None, None, 5.0, 300.0]),
        on_interrupt=st.sampled_from(["rerun", "rerun", "hold", "fail"]) if people else st.just("rerun"),
        transactional=st.sampled_from([False, False, True]) if people else st.just(False),
        child=st.none(),
        on_failure=st.just(ON_FAILURE[0]),
    )


@st.composite
def _leaves_and_runs(draw: st.DrawFn, *, polls: bool, reverts_fail: bool, waits: bool, people: bool) -> Leaf:
    """The same, and now and then a part that is a run of its own (G7), in which there are no further ones."""
    leaf = leaves(polls=polls, reverts_fail=reverts_fail, waits=waits, people=people)
    if draw(st.integers(0, 6)) < 6:
        return draw(leaf)
    takes = tuple(draw(st.lists(st.integers(0, 6), max_size=2)))
    flow, on_failure = draw(branches(leaf, 1, waits=waits)), draw(st.sampled_from(ON_FAILURE))
    return Leaf((), 1, "yes", (), 1, takes, child=flow, on_failure=on_failure)


def branches(
    leaf: st.SearchStrategy[Leaf], depth: int, *, waits: bool = False, late: bool = False
) -> st.SearchStrategy[Branch]:
    deeper = () if depth <= 1 else (branches(leaf, depth - 1, waits=waits, late=late),)
    child: st.SearchStrategy[Any] = st.one_of(leaf, leaf, *deeper)
    any_ = st.builds(
        Branch,
        pattern=st.sampled_from(["linear", "unordered", "graph"]),
        children=st.lists(child, max_size=5).map(tuple),
        retry=st.sampled_from([None, None, 1, 2, 2, 3]),
        revert_all=st.sampled_from([False, False, False, True]),
        links=st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4)), max_size=5).map(tuple),
        backoff_s=st.sampled_from([0.0, 0.0, 0.5, 20.0]) if waits else st.just(0.0),
        late=st.sampled_from([False, False, True]) if late else st.just(False),
    )
    return any_ if depth <= 1 or not late else st.one_of(any_, any_, any_, _sides(leaf))


def _sides(leaf: st.SearchStrategy[Leaf]) -> st.SearchStrategy[Branch]:
    """Flows side by side, made one for each item of a list."""
    sides = st.lists(branches(leaf, 1), min_size=1, max_size=3).map(tuple)
    none: tuple[tuple[int, int], ...] = ()
    return st.builds(Branch, st.just("unordered"), sides, st.none(), st.just(False), st.just(none), late=st.just(True))


class Namer:
    """Gives names in plan order, and turns the numbers drawn for arguments into parts that precede the task."""

    def __init__(self) -> None:
        self.tasks = 0
        self.flows = 0

    def flow(self, drawn: Branch, visible: tuple[str, ...]) -> Flow:
        self.flows += 1
        name = f"f{self.flows}"
        visible = visible if drawn.retry is None else (*visible, f"retry:{name}")
        links = _acyclic(drawn.links, len(drawn.children)) if drawn.pattern == "graph" else ()
        children: dict[int, Part] = {}
        for i, child in enumerate(drawn.children):
            if drawn.pattern == "graph":  # only what is declared earlier can be named when the child is made
                before = sorted(j for j in _ancestors(links, i) if j in children)
            else:
                before = sorted(children) if drawn.pattern == "linear" else []
            children[i] = self.part(child, (*visible, *(children[j].name for j in before)))
        revert_all = drawn.revert_all and drawn.retry is not None
        made = tuple(children.values())
        return Flow(name, drawn.pattern, made, links, drawn.retry, revert_all, drawn.backoff_s, drawn.late)

    def part(self, drawn: Leaf | Branch, visible: tuple[str, ...]) -> Part:
        if isinstance(drawn, Branch):
            return self.flow(drawn, visible)
        self.tasks += 1
        if drawn.sleep_s is not None:
            return Task(f"t{self.tasks}", revert=None, sleep_s=drawn.sleep_s)
        if drawn.signal:
            return Task(f"t{self.tasks}", revert=None, signal=drawn.signal, timeout_s=drawn.timeout_s)
        chosen = {visible[-n] for n in drawn.takes if 0 < n <= len(visible)}
        if drawn.child is not None:
            name = f"t{self.tasks}"
            return Task(name, takes=tuple(sorted(chosen)), child=Spec(self.flow(drawn.child, INPUTS), drawn.on_failure))
        return Task(
            f"t{self.tasks}",
            drawn.script,
            drawn.attempts,
            drawn.reverts if drawn.undo == "yes" else None,
            drawn.revert_attempts,
            drawn.undo == "read_only",
            tuple(sorted(chosen)),
            drawn.backoff_s,
            on_interrupt=drawn.on_interrupt,
            transactional=drawn.transactional,
        )


def _acyclic(drawn: tuple[tuple[int, int], ...], count: int) -> tuple[tuple[int, int], ...]:
    """The links that join two children and close no circle with the ones before them."""
    links: list[tuple[int, int]] = []
    for before, after in dict.fromkeys(drawn):
        if before != after and max(before, after) < count and after not in _ancestors(tuple(links), before):
            links.append((before, after))
    return tuple(links)


def _ancestors(links: tuple[tuple[int, int], ...], of: int) -> set[int]:
    found, todo = set[int](), [of]
    while todo:
        after = todo.pop()
        new = {b for b, a in links if a == after} - found
        found |= new
        todo += new
    return found


def _growing(part: Any, root: Flow) -> Any:
    """The part with only those flows made late that may be."""
    if isinstance(part, Task):
        return part
    children = tuple(_growing(child, root) for child in part.children)
    return replace(part, children=children, late=part.late and part is not root and closed(part, root))


def size(drawn: Leaf | Branch) -> int:
    """How many tasks it has, also those of child runs."""
    if isinstance(drawn, Branch):
        return sum(size(child) for child in drawn.children)
    return 1 if drawn.child is None else 1 + size(drawn.child)


@st.composite
def specs(
    draw: st.DrawFn, *, polls: bool = False, reverts_fail: bool = True, waits: bool = False, late: bool = False,
    people: bool = False, begets: bool = False,
) -> Spec:  # fmt: skip
    """Any flow. ``polls``: bodies may say not ready; ``reverts_fail``: reverts may raise; ``waits``: there are sleeps
    and back-offs, for a time that nobody has to wait for; ``late``: parts are made while the run is under way (E7);
    ``people``: some wait for what somebody sends (F4), or leave to somebody what became of them (G3); ``begets``: some
    are runs of their own (G7)."""
    kind = _leaves_and_runs if begets else leaves
    leaf = kind(polls=polls, reverts_fail=reverts_fail, waits=waits, people=people)
    root = draw(branches(leaf, MOST_DEPTH, waits=waits, late=late).filter(lambda drawn: size(drawn) <= MOST_TASKS))
    flow = Namer().flow(root, INPUTS)
    return Spec(_growing(flow, flow), draw(st.sampled_from(ON_FAILURE)))
