"""What holds secrets is encrypted on its way through the broker."""

from __future__ import annotations

import json

import pytest

from flowledger.adapters.broker.wrapping import REQUEST, Wrapping, is_wrapped, wrapping_of
from flowledger.adapters.keys import new_key
from flowledger.events.errors import IntegrityError, KeyMissing

ONE, TWO = new_key("one", "aes"), new_key("two", "aes")
CONTENT = b'{"password":"hunter2"}'


def test_it_comes_out_as_it_went_in_and_is_json_between() -> None:
    wrapped = Wrapping([ONE]).wrapped(CONTENT, bound_to=REQUEST)

    assert Wrapping([TWO, ONE]).opened(wrapped, bound_to=REQUEST) == CONTENT
    assert is_wrapped(wrapped)
    assert not is_wrapped(CONTENT)
    assert json.loads(wrapped)["$encrypted"] == "one"
    assert b"hunter2" not in wrapped


def test_the_same_twice_does_not_look_the_same() -> None:
    wrapping = Wrapping([ONE])

    assert wrapping.wrapped(CONTENT, bound_to="a") != wrapping.wrapped(CONTENT, bound_to="a")


def test_it_is_bound_to_what_it_is() -> None:
    wrapped = Wrapping([ONE]).wrapped(CONTENT, bound_to=REQUEST)

    with pytest.raises(IntegrityError):
        Wrapping([ONE]).opened(wrapped, bound_to="reply")


def test_who_lacks_the_key_is_told_its_name() -> None:
    wrapped = Wrapping([ONE]).wrapped(CONTENT, bound_to=REQUEST)

    with pytest.raises(KeyMissing, match="'one', which CODEC_KEYS lacks"):
        Wrapping([TWO]).opened(wrapped, bound_to=REQUEST)
    with pytest.raises(IntegrityError):
        Wrapping([TWO._replace(name="one")]).opened(wrapped, bound_to=REQUEST)


def test_without_a_key_nothing_goes_in_clear() -> None:
    with pytest.raises(KeyMissing):
        wrapping_of(None).wrapped(CONTENT, bound_to=REQUEST)


@pytest.mark.parametrize(
    "content", [b"", b"{}", b"null", b'{"$encrypted":"one"}', b'{"$encrypted":"one","content":"?"}']
)
def test_what_was_never_encrypted_is_not_opened(content: bytes) -> None:
    with pytest.raises(IntegrityError):
        Wrapping([ONE]).opened(content, bound_to=REQUEST)


def test_every_changed_byte_is_seen() -> None:
    wrapped = Wrapping([ONE]).wrapped(CONTENT, bound_to=REQUEST)

    for at in range(len(wrapped)):
        changed = wrapped[:at] + bytes([wrapped[at] ^ 1]) + wrapped[at + 1 :]
        with pytest.raises((IntegrityError, KeyMissing)):
            assert Wrapping([ONE]).opened(changed, bound_to=REQUEST) != CONTENT


def test_the_keys_are_the_aes_keys_of_the_setting() -> None:
    setting = "\n".join(key.line for key in (new_key("x", "ed25519"), ONE, TWO))

    assert json.loads(wrapping_of(setting).wrapped(CONTENT, bound_to="a"))["$encrypted"] == "one"
