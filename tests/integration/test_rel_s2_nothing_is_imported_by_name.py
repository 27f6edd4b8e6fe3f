"""S2: what the database, the broker or a person names is looked up among what is registered; nothing is imported."""

from __future__ import annotations

import random
import string
import sys
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import msgspec
import pytest

from flowledger import App, Settings
from flowledger.adapters.broker.dead_letters import DeadLetters
from flowledger.adapters.broker.publisher import Publisher
from flowledger.adapters.ids import new_ulid
from flowledger.adapters.keys import Key
from flowledger.core.portable import Request
from flowledger.events import codec, facts
from flowledger.events.chain import GENESIS, link
from flowledger.events.envelope import StoredEvent
from flowledger.events.errors import FlowNotRegistered
from flowledger.events.store import Append, Appended, NewStream
from tests.postgres_server import wait_until

NAMES = 500
#: Modules of the standard library that nothing here needs: to have one of them in `sys.modules` is to have imported it.
UNUSED = ("antigravity", "this", "turtledemo", "nntplib", "sndhdr", "xdrlib", "idlelib", "lib2to3")
SHAPES = (
    "{m}", "{m}.{a}", "{m}:{a}", "os.system", "os:system", "subprocess.Popen", "builtins.eval", "__import__('{m}')",
    "../{m}", "/etc/passwd", "..\\{m}", "{m}\0", "{m}\n{a}", "ｏｓ.system", "{m}․{a}", "{m}.{a}.{a}.{a}", "{long}",
    "flowledger.core.{a}", "examples.cluster:app", "{a}", "", " ", "{m} ", "%s{m}", "${{{m}}}", "'; import {m} #",
)  # fmt: skip


def names() -> list[str]:
    dice = random.Random(2)
    made: list[str] = []
    for n in range(NAMES):
        attribute = "".join(dice.choices(string.ascii_letters + "_ä☃", k=dice.randint(1, 12)))
        shape = SHAPES[n % len(SHAPES)]
        made.append(shape.format(m=dice.choice(UNUSED), a=attribute, long=f"{dice.choice(UNUSED)}." * 1000))
    return made


@pytest.fixture
def nothing_imported() -> Iterator[None]:
    before = set(sys.modules)
    yield
    assert not {name for name in set(sys.modules) - before if name.split(".")[0] in (*UNUSED, "examples")}


def shop(url: str, **settings: Any) -> App:
    app = App("shop", settings=Settings(database_url=url, views="off", **settings))
    app.task(queue="mail")(_pack)
    return app


def _pack() -> None:
    """The one task there is."""


def test_rel_s2_a_flow_that_somebody_names_is_one_that_is_registered(nothing_imported: None) -> None:
    with closing(shop("memory://")) as app:
        for name in names():
            with pytest.raises(FlowNotRegistered):
                app.submit_named(name, {})


def test_rel_s2_a_flow_that_the_log_names_is_one_that_is_registered(nothing_imported: None) -> None:
    # Given a log into which somebody has written runs of other flows
    with closing(shop("memory://")) as app:
        store = app.runtime.store
        runs = [_written(store, name) for name in names()]
        for run_id in runs:
            # When it is gone on with
            with pytest.raises(FlowNotRegistered):
                app.get(run_id).resume()
            # Then it stands as it was
            assert app.get(run_id).state == "PENDING"


def _written(store: Any, name: str) -> str:
    run_id, at_us = new_ulid(), store.now_us()
    payload = codec.encode(facts.RunSubmitted(app="shop", factory=name, inputs=facts.Raw(b"{}")))
    head = link(GENESIS, run_id.encode(), 1, "RunSubmitted", 1, "", at_us, "stranger", payload)
    event = StoredEvent(1, "RunSubmitted", 1, "", at_us, "stranger", payload, head)
    new = NewStream(app="shop", factory=name, key=None, inputs_digest="")
    asked = Append(run_id=run_id, events=[event], status="PENDING", epoch=0, expected=0, create=new)
    assert store.append([asked]) == [Appended(1)]
    return run_id


def test_rel_s2_a_task_that_a_signed_message_names_is_one_that_is_registered(
    memory_broker_url: str, message_key: Key, nothing_imported: None
) -> None:
    # Given a worker, and one who has a key and asks for what there is not
    keys = {"broker_url": memory_broker_url, "signing_keys": message_key.line}
    with closing(shop(f"memory://{new_ulid()}", **keys)) as app, app.worker():
        publisher = Publisher(memory_broker_url, app="shop", keys=[message_key])
        for name in (wrong := names()):
            request = Request(run=new_ulid(), path="a", task=name, key="k", max_bytes=100)
            publisher.publish("mail", msgspec.json.encode(request), expires_s=60)
        letters = DeadLetters(memory_broker_url, "shop")
        # Then all are put aside, and say why
        wait_until(lambda: len(letters.ls()) == len(wrong), "they are not put aside")
        assert all("has no task" in letter.reason or "it is no request" in letter.reason for letter in letters.ls())
        publisher.close()
