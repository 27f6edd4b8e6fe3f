"""`BROKER_URL`: what it may be, what is said where it is not, and that no password is in it."""

from __future__ import annotations

import pytest

from flowledger.adapters.broker.location import Location, locate
from flowledger.events.errors import InputError


@pytest.mark.parametrize(
    ("url", "place"),
    [
        ("amqp://rabbit", Location("amqp", False, "rabbit", 5672, None, None, "/")),
        ("amqp://rabbit//", Location("amqp", False, "rabbit", 5672, None, None, "/")),
        ("amqp://rabbit/%2F", Location("amqp", False, "rabbit", 5672, None, None, "/")),
        ("amqp://me:s%2Fe%40t@rabbit:1/shop", Location("amqp", False, "rabbit", 1, "me", "s/e@t", "shop")),
        ("amqps://rabbit/x?cafile=/ca.pem", Location("amqp", True, "rabbit", 5671, None, None, "x", "/ca.pem")),
        ("amqp://[::1]:1/x", Location("amqp", False, "::1", 1, None, None, "x")),
        ("redis://redis", Location("redis", False, "redis", 6379, None, None, "0")),
        ("rediss://:pw@redis:1/3", Location("redis", True, "redis", 1, None, "pw", "3")),
        ("memory://", Location("memory")),
    ],
)
def test_what_a_url_names(url: str, place: Location) -> None:
    assert locate(url) == place


@pytest.mark.parametrize(
    "url",
    [
        "", "rabbit", "http://me:hunter2@rabbit", "amqp://", "amqp://me:hunter2@", "amqp://me:hunter2@rabbit:x/",
        "amqp://me:hunter2@rabbit:99999/", "amqp://me:hunter2@rabbit/x?heartbeat=1", "amqp://me:hun/ter2@rabbit/",
        "redis://:hunter2@redis/shop", "sqs://key:hunter2@", "amqp://me:hunter2@[::1/", "amqp://me:hunter2@h/x#y",
        "amqp://me:hunter2@h/x?cafile=/ca.pem", "memory://?hunter2=1",
    ],
)  # fmt: skip
def test_what_names_no_broker_is_refused_without_its_password(url: str) -> None:
    with pytest.raises(InputError) as caught:
        locate(url)

    assert "BROKER_URL" in str(caught.value)
    assert "amqp://user:password@host:port/vhost" in str(caught.value)
    assert "hunter2" not in str(caught.value).replace("hunter2 means nothing here", "")
    assert caught.value.field == "FLOWLEDGER_BROKER_URL"


def test_no_text_shows_a_password() -> None:
    location = locate("amqps://me:hunter2@rabbit/shop")

    assert str(location) == "amqps://me@rabbit:5671/shop"
    assert "hunter2" not in repr(location)
