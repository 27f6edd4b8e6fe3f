"""`dlq`: what somebody sees at three in the morning of messages that no worker could read, and does about it."""

from __future__ import annotations

import json
import time
from contextlib import closing
from pathlib import Path

import pytest

from flowledger.adapters.broker.consumer import Consumer, Delivery
from flowledger.adapters.broker.dead_letters import DeadLetters
from flowledger.adapters.broker.messages import packed
from flowledger.adapters.keys import Key, new_key
from tests.acceptance.command_line import Command, flowledger
from tests.postgres_server import free_port
from tests.strangers import stranger

__all__ = ["flowledger"]

APP = """
from flowledger import App
app = App("shop")
"""


def in_an_hour_us() -> int:
    return time.time_ns() // 1000 + 3_600_000_000


@pytest.fixture
def broker(rabbitmq_url: str, message_key: Key, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A broker that the environment names, as well as the app and the key."""
    (tmp_path / "letters_app.py").write_text(APP)
    (tmp_path / "messages.key").write_text(message_key.line)
    monkeypatch.setenv("FLOWLEDGER_BROKER_URL", rabbitmq_url)
    monkeypatch.setenv("FLOWLEDGER_APP", "letters_app:app")
    monkeypatch.setenv("FLOWLEDGER_SIGNING_KEYS_FILE", str(tmp_path / "messages.key"))
    return rabbitmq_url


def receive(url: str, *keys: Key, number: int = 1) -> list[Delivery]:
    """What a worker with these keys is given, and acknowledges."""
    with closing(Consumer(url, app="shop", queues=["mail"], keys=keys, prefetch=10)) as consumer:
        found: list[Delivery] = []
        while len(found) < number and (more := consumer.receive(20 if number else 0.5, 10)):
            for each in more:
                each.ack()
            found += more
        if not number:
            assert not consumer.receive(1, 10)
        consumer.settle()
        return found


def put_aside(url: str, key: Key, *bodies: bytes) -> None:
    """Have a worker that knows only this key put messages aside."""
    with stranger(url) as sender:
        for body in bodies:
            sender.send(body)
    with closing(Consumer(url, app="shop", queues=["mail"], keys=[key], prefetch=10)) as consumer:
        while len(DeadLetters(url, "shop").ls()) < len(bodies):
            assert not consumer.receive(0.1, 10)


def test_what_was_put_aside_is_listed_with_its_reason(broker: str, message_key: Key, flowledger: Command) -> None:
    put_aside(broker, message_key, b"nonsense\x1b[2J", b"{" * 300)

    listed = flowledger("dlq", "ls")
    found = flowledger("dlq", "ls", "--json").json

    assert listed.code == 0
    assert [(row[2], row[3], row[4]) for row in listed.table] == [
        ("mail", "12", "it is no message of this protocol"),
        ("mail", "300", "it is nested more than 200 deep"),
    ]
    assert (found["schema"], found["kind"], found["app"]) == (1, "dead-letters", "shop")
    assert [item["reason"] for item in found["items"]] == [row[4] for row in listed.table]
    assert found["items"][0]["whole"] is True
    assert found["items"][0]["time"].endswith("Z")


def test_one_is_shown_and_its_bytes_harm_no_terminal(broker: str, message_key: Key, flowledger: Command) -> None:
    put_aside(broker, message_key, b"nonsense\x1b[2J\xff")
    (item,) = flowledger("dlq", "ls", "--json").json["items"]

    shown = flowledger("dlq", "show", item["id"][:20])
    fields = flowledger("dlq", "show", item["id"], "--json").json

    assert shown.code == 0
    assert "nonsense\\x1b[2J\\xff" in shown.out
    assert "\x1b" not in shown.out
    assert fields["body_base64"] == "bm9uc2Vuc2UbWzJK/w=="
    assert flowledger("dlq", "ls", "--json").json["items"] == [item], "looking has changed nothing"


def test_after_a_key_was_added_messages_are_sent_again(broker: str, message_key: Key, flowledger: Command) -> None:
    # Given a message that a worker with another key has put aside
    body = packed(b'{"n":1}', key=message_key, app="shop", queue="mail", expires_us=in_an_hour_us())
    put_aside(broker, new_key("other", "hmac"), body)
    (item,) = flowledger("dlq", "ls", "--json").json["items"]
    assert item["reason"] == "it is signed with a key that is not known here"

    # When it is sent again
    again = flowledger("dlq", "replay", item["id"])

    # Then a worker that has the key gets it, and it is not kept any longer
    assert (again.code, again.out) == (0, f"sent again  {item['id']}  mail\n")
    assert [each.content for each in receive(broker, message_key)] == [b'{"n":1}']
    assert flowledger("dlq", "ls", "--json").json["items"] == []


def test_an_expired_message_is_sent_again_with_a_new_end(broker: str, message_key: Key, flowledger: Command) -> None:
    put_aside(broker, message_key, packed(b'{"n":1}', key=message_key, app="shop", queue="mail", expires_us=1))

    again = flowledger("dlq", "replay", "--all", "--json")

    assert again.json | {"sent": 1, "stayed": 0} == again.json
    assert [each.content for each in receive(broker, message_key)] == [b'{"n":1}']


def test_nobody_elses_message_is_made_good(broker: str, message_key: Key, flowledger: Command) -> None:
    # Given a forged message, one for another queue, and no message at all
    forged = packed(b"{}", key=new_key(message_key.name, "hmac"), app="shop", queue="mail", expires_us=in_an_hour_us())
    elsewhere = packed(b"{}", key=message_key, app="shop", queue="other", expires_us=in_an_hour_us())
    put_aside(broker, message_key, forged, elsewhere, b"nonsense")
    items = flowledger("dlq", "ls", "--json").json["items"]

    # When somebody wants them to be sent again
    for item in items:
        refused = flowledger("dlq", "replay", item["id"])
        assert refused.code == 4
        assert "FL402" in refused.err
    everything = flowledger("dlq", "replay", "--all")

    # Then they stay where they are
    assert (everything.code, everything.err.strip()) == (0, "0 sent again, 3 stay: what they are cannot be trusted")
    assert flowledger("dlq", "ls", "--json").json["items"] == items
    assert receive(broker, message_key, number=0) == []


def test_messages_are_dropped_one_by_one_and_all(broker: str, message_key: Key, flowledger: Command) -> None:
    put_aside(broker, message_key, b"1", b"2", b"3")
    ids = [item["id"] for item in flowledger("dlq", "ls", "--json").json["items"]]

    one = flowledger("dlq", "drop", ids[1])
    left = [item["id"] for item in flowledger("dlq", "ls", "--json").json["items"]]
    everything = flowledger("dlq", "drop", "--all", "--json")

    assert (one.code, one.out) == (0, f"dropped  {ids[1]}\n")
    assert left == [ids[0], ids[2]]
    assert everything.json["dropped"] == 2
    assert "was put aside" in flowledger("dlq", "ls").err


def test_a_person_is_asked_before_something_is_dropped(
    broker: str, message_key: Key, flowledger: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    put_aside(broker, message_key, b"1")
    monkeypatch.setattr("flowledger.adapters.cli.dead_letters.is_attended", lambda: True)
    monkeypatch.setattr("typer.confirm", lambda *_, **__: False)

    said = flowledger("dlq", "drop", "--all")

    assert (said.code, said.err) == (0, "nothing was changed\n")
    assert len(flowledger("dlq", "ls").table) == 1
    assert flowledger("dlq", "drop", "--all", "--yes").code == 0
    assert len(flowledger("dlq", "ls").table) == 0


def test_exit_codes(broker: str, flowledger: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    assert flowledger("dlq", "show", "nothing").code == 3
    assert flowledger("dlq", "drop").code == 2
    assert flowledger("dlq", "drop", "x", "--all").code == 2
    assert flowledger("dlq", "ls", "--of", "another").code == 0

    monkeypatch.delenv("FLOWLEDGER_SIGNING_KEYS_FILE")
    assert "keys new --kind hmac" in flowledger("dlq", "replay", "--all").err

    monkeypatch.setenv("FLOWLEDGER_BROKER_URL", f"amqp://me:hunter2@127.0.0.1:{free_port()}//")
    away = flowledger("dlq", "ls")
    assert away.code == 5
    assert "FL610" in away.err
    assert "hunter2" not in away.err

    monkeypatch.setenv("FLOWLEDGER_BROKER_URL", "http://me:hunter2@rabbit")
    assert flowledger("dlq", "ls").code == 2
    monkeypatch.delenv("FLOWLEDGER_BROKER_URL")
    assert "FLOWLEDGER_BROKER_URL" in flowledger("dlq", "ls").err


def test_a_key_for_messages_is_made(flowledger: Command, tmp_path: Path) -> None:
    made = flowledger("keys", "new", "--kind", "hmac", "--name", "prod-2026", "--out", tmp_path / "key")

    assert made.code == 0
    assert "FLOWLEDGER_SIGNING_KEYS_FILE" in made.err
    assert made.out == "", "it has no public half"
    assert (tmp_path / "key").read_text().startswith("prod-2026=hmac:")
    assert json.dumps(oct((tmp_path / "key").stat().st_mode)).endswith('600"')
