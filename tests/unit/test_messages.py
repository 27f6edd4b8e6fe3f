"""Messages between engines and workers: what is taken, and that nothing else is (S3)."""

from __future__ import annotations

import json
import random
from collections.abc import Callable

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from flowledger.adapters.broker.messages import (
    CONTENT_TYPE,
    MAX_BYTES,
    MAX_DEPTH,
    Expected,
    Unreadable,
    is_too_deep,
    message_keys,
    packed,
    unpacked,
)
from flowledger.adapters.broker.naming import LONGEST_BYTES, dead_queue_name, queue_name
from flowledger.adapters.keys import Key, new_key
from flowledger.events.errors import InputError, PayloadTooLarge

KEY = Key("prod-2026", "hmac", bytes(range(32)))
OLD = Key("prod-2025", "hmac", bytes(32))
NOW_US = 1_764_144_000_000_000
CONTENT = '{"run":"01JD","path":"shop/ördern","arguments":{"to":"a\\n\\"b\\"","n":[1,2.5,null]}}'.encode()


def message(
    content: bytes = CONTENT, *, key: Key = KEY, app: str = "shop", queue: str = "mail", expires_us: int = NOW_US + 1
) -> bytes:
    return packed(content, key=key, app=app, queue=queue, expires_us=expires_us)


def expected(*keys: Key, app: str = "shop", queue: str = "mail", now_us: int = NOW_US) -> Expected:
    return Expected({key.name: key for key in keys or (KEY,)}, app, queue, now_us)


def why_refused(body: bytes, *, content_type: object = CONTENT_TYPE, encoding: object = None, **more: object) -> str:
    with pytest.raises(Unreadable) as caught:
        unpacked(body, content_type, encoding, expected(**more))  # type: ignore[arg-type]
    return str(caught.value)


def nested(levels: int) -> bytes:
    return b"[" * levels + b"]" * levels


def test_a_message_is_json_and_comes_out_as_it_went_in() -> None:
    body = message()

    assert unpacked(body, "application/json", "utf-8", expected()) == CONTENT
    assert json.loads(body)["content"] == json.loads(CONTENT)
    assert set(json.loads(body)) == {"v", "key", "expires", "app", "queue", "mac", "content"}


ANY_JSON = st.recursive(
    st.none() | st.integers() | st.text(), lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner)
)


@given(ANY_JSON)
def test_any_json_comes_out_as_it_went_in(value: object) -> None:
    content = json.dumps(value).encode()

    assert unpacked(message(content), CONTENT_TYPE, None, expected()) == content


@given(st.text(min_size=1, max_size=100).filter(lambda text: text.isprintable()))
def test_any_name_of_a_queue_can_be_signed(name: str) -> None:
    assert unpacked(message(queue=name), CONTENT_TYPE, None, expected(queue=name)) == CONTENT


# -- signatures ---------------------------------------------------------------------------------


def test_rel_s3_every_changed_byte_is_seen() -> None:
    body = message()

    accepted = [
        (at, value)
        for at in range(len(body))
        for value in range(256)
        if value != body[at] and is_taken(body[:at] + bytes([value]) + body[at + 1 :])
    ]

    assert not accepted


def test_rel_s3_two_thousand_flips_are_seen() -> None:
    chance = random.Random(3)
    bodies = [message(CONTENT.replace(b"01JD", b"%d" % number)) for number in range(20)]

    taken = 0
    for _ in range(2_000):
        changed = bytearray(chance.choice(bodies))
        for _ in range(chance.randint(1, 4)):
            changed[chance.randrange(len(changed))] ^= 1 << chance.randrange(8)
        taken += bytes(changed) not in bodies and is_taken(bytes(changed))

    assert taken == 0


@pytest.mark.parametrize("what", ["dropped", "doubled", "cut", "begun late", "longer", "space"])
def test_rel_s3_every_byte_more_or_less_is_seen(what: str) -> None:
    body = message()
    changes: dict[str, Callable[[int], bytes]] = {
        "dropped": lambda at: body[:at] + body[at + 1 :],
        "doubled": lambda at: body[:at] + body[at : at + 1] + body[at:],
        "cut": lambda at: body[:at],
        "begun late": lambda at: body[at + 1 :],
        "longer": lambda at: body + body[: at + 1],
        "space": lambda at: body[:at] + b" " + body[at:],
    }

    made = {changes[what](at) for at in range(len(body))} - {body}

    assert not [each for each in made if is_taken(each)]


def is_taken(body: bytes) -> bool:
    try:
        unpacked(body, CONTENT_TYPE, None, expected())
    except Unreadable:
        return False
    return True


def test_parts_of_two_messages_make_no_third() -> None:
    one, two = json.loads(message()), json.loads(message(b'{"run":"other"}', expires_us=NOW_US + 2))
    dumped = [
        json.dumps(one | {name: two[name]}, ensure_ascii=False, separators=(",", ":")).encode()
        for name in ("content", "expires", "mac")
    ]

    assert {why_refused(body) for body in dumped} == {"its signature does not hold"}


def test_the_first_key_signs_and_all_verify() -> None:
    # Given an old key, which still has messages under way, and a new one
    both = expected(KEY, OLD)

    # Then messages of either are taken where both are known, and none of a key that is gone
    assert unpacked(message(key=KEY), CONTENT_TYPE, None, both) == CONTENT
    assert unpacked(message(key=OLD), CONTENT_TYPE, None, both) == CONTENT
    assert why_refused(message(key=OLD)) == "it is signed with a key that is not known here"


def test_a_key_of_the_same_name_is_another_key() -> None:
    assert why_refused(message(key=KEY._replace(content=b"x" * 32))) == "its signature does not hold"


def test_the_keys_are_the_hmac_keys_of_the_setting() -> None:
    lines = [new_key("seals", "ed25519").line, KEY.line, new_key("x", "aes").line, OLD.line]

    assert message_keys("\n".join(lines)) == [KEY, OLD]


@pytest.mark.parametrize("setting", [None, "", Key("seals", "ed25519", bytes(32)).line])
def test_without_a_key_nothing_is_signed(setting: str | None) -> None:
    with pytest.raises(InputError) as caught:
        message_keys(setting)

    assert "keys new --kind hmac" in str(caught.value)


# -- what else is refused -----------------------------------------------------------------------


@pytest.mark.parametrize(
    "content_type",
    [
        None, "", "application/x-python-serialize", "application/data", "application/x-yaml", "application/x-msgpack",
        "text/plain", "application/JSON", "application/json;charset=utf-8", " application/json", b"application/json", 7,
    ],
)  # fmt: skip
def test_rel_s1_only_one_content_type_is_taken(content_type: object) -> None:
    assert why_refused(message(), content_type=content_type) == "its content type is not application/json"


@pytest.mark.parametrize("encoding", ["binary", "utf-16", "rot13", "zlib"])
def test_rel_s1_only_one_encoding_is_taken(encoding: str) -> None:
    assert why_refused(message(), encoding=encoding) == "its content type is not application/json"


def test_it_is_refused_before_it_is_looked_at_where_it_is_too_long() -> None:
    body = b"{" * (MAX_BYTES + 1)

    assert why_refused(body) == f"it is longer than {MAX_BYTES} bytes"


@pytest.mark.parametrize("levels", [MAX_DEPTH + 1, 1_000, 100_000])
@pytest.mark.parametrize("form", ["lists", "objects", "signed", "unclosed"])
def test_rel_r12_it_is_refused_where_it_is_nested_too_deeply(levels: int, form: str) -> None:
    bodies = {
        "lists": nested(levels),
        "objects": b'{"a":' * levels + b"1" + b"}" * levels,
        "signed": message().replace(CONTENT, nested(levels)),
        "unclosed": b"[" * levels,
    }

    assert why_refused(bodies[form]) == f"it is nested more than {MAX_DEPTH} deep"


def test_what_looks_like_depth_in_a_text_is_none() -> None:
    content = json.dumps({"text": "[" * 5_000 + '\\"{' * 5_000, "list": [[n] for n in range(1_000)]}).encode()

    assert unpacked(message(content), CONTENT_TYPE, None, expected()) == content


@pytest.mark.parametrize("hostile", [b'"' + b'\\"' * 500_000, b'\\"' * 500_000, b'"\\' * 500_000, b'[""' * 300_000])
def test_looking_for_depth_takes_no_longer_than_reading(hostile: bytes) -> None:
    body = b"[]" * 300 + hostile  # were it quadratic, this would take hours: the test's own time limit is the check

    assert is_too_deep(body) == hostile.startswith(b"[")


def test_the_deepest_that_is_taken_can_be_sent_and_no_deeper() -> None:
    assert unpacked(message(nested(MAX_DEPTH - 1)), CONTENT_TYPE, None, expected())
    with pytest.raises(InputError):
        message(nested(MAX_DEPTH))


def test_what_is_too_long_is_not_sent() -> None:
    with pytest.raises(PayloadTooLarge):
        message(b'"' + b"x" * MAX_BYTES + b'"')


@pytest.mark.parametrize(
    ("body", "why"),
    [
        (b"", "it is no message of this protocol"),
        (b"null", "it is no message of this protocol"),
        (b"\xff\xfe\x00", "it is no message of this protocol"),
        (b"[1]", "it is no message of this protocol"),
        (b'{"v":1}', "it is no message of this protocol"),
        (message()[:-20], "it is no message of this protocol"),
        (message().replace(b'"v":1', b'"v":"1"'), "it is no message of this protocol"),
        (message().replace(b'"v":1', b'"v":2'), "its version is 2; known here is 1"),
        (b'{"v":99}', "its version is 99; known here is 1"),
        (message(expires_us=NOW_US), "it has expired"),
        (message(queue="other"), "it was meant for another queue"),
        (message(app="other"), "it was meant for another queue"),
    ],
)
def test_the_reason_says_what_is_wrong(body: bytes, why: str) -> None:
    assert why_refused(body) == why


def test_a_reason_repeats_nothing_of_the_message() -> None:
    assert "hunter2" not in why_refused(message().replace(b"prod-2026", b"hunter2--"))


# -- names of queues ----------------------------------------------------------------------------


def test_a_queue_says_whose_it_is() -> None:
    assert queue_name("shop", "mail") == "flowledger.shop.mail"
    assert dead_queue_name("shop") == "flowledger-dead.shop"


@example("a.b", "c", "a", "b.c")
@example("a.b", "c", "a%2eb", "c")
@example("a%2eb", "c", "a%252eb", "c")
@given(*[st.text(alphabet="ab.%-~", min_size=1, max_size=6)] * 4)
def test_no_two_queues_share_a_name(app: str, queue: str, other_app: str, other: str) -> None:
    same = (app, queue) == (other_app, other)

    assert (queue_name(app, queue) == queue_name(other_app, other)) == same


@given(st.text(min_size=60, max_size=100).filter(lambda text: text.isprintable()))
def test_every_name_fits(name: str) -> None:
    assert len(queue_name(name, name).encode()) <= LONGEST_BYTES
    assert queue_name(name, name) != queue_name(name, name + "x")
